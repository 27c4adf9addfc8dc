"""The sdist, both wheels, from the tree and from the sdist: built as a user builds them, then tried with nothing else.

The builds run without build isolation, on the pinned tools that the environment of the tests has; what pip does for a
user beyond that is to fetch what `get_requires_for_build_wheel` names, which is looked at on its own.
"""

import email
import os
import shutil
import subprocess
import sys
import tarfile
import time
import venv
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement

from backends import BACKENDS
from house.tree import PACKAGE, ROOT

NATIVE = "native" in BACKENDS
NOW = time.time()
WITH_CARGO = ["tree", "sdist"] if NATIVE else []
SMOKE = """
import sys
import stepwell
ex = stepwell.Execution.with_tenant("acme")
ex.start()
step = ex.start_step("fetch", input={"url": "a"})
ex.complete_step(step.id, output={"bytes": 512})
ex.complete(output="done")
again = stepwell.Execution.replay(ex.id, ex.drain())
assert again == ex and again.output == "done" and again.state == "completed", again
assert sys.prefix in stepwell.__file__, stepwell.__file__
print(stepwell.BACKEND)
"""


class Built(NamedTuple):
    wheel: Path
    said: str

    @property
    def tag(self) -> str:
        return self.wheel.stem.split("-", 2)[2]

    def names(self) -> set[str]:
        with zipfile.ZipFile(self.wheel) as archive:
            return set(archive.namelist())

    def metadata(self) -> dict[str, list[str]]:
        """What an index shows and an installer reads; the two builders write it in different order."""
        with zipfile.ZipFile(self.wheel) as archive:
            name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            message = email.message_from_bytes(archive.read(name))
        found = {key.lower(): [str(value) for value in message.get_all(key, [])] for key in message}
        del found["metadata-version"]
        found["description-content-type"] = [found["description-content-type"][0].partition(";")[0]]
        found["keywords"] = found["keywords"][0].split(",")
        found["requires-dist"] = [str(Requirement(line)) for line in found["requires-dist"]]
        return {key: sorted(values) for key, values in found.items()} | {
            "body": [str(message.get_payload()).strip()]
        }


def environment(*, cargo: bool, **more: str) -> dict[str, str]:
    """The environment of a build: that of the tests, with cargo on the path or without."""
    left = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("STEPWELL_", "PYTHONPATH", "MATURIN_"))
    }
    if not cargo:
        folders = left["PATH"].split(os.pathsep)
        left["PATH"] = os.pathsep.join(folder for folder in folders if not shutil.which("cargo", path=folder))
    # One target folder for all: what cargo compiled for the tree is not compiled again for the unpacked sdist.
    return left | {"CARGO_TARGET_DIR": str(ROOT / "target")} | more


def pip(*arguments: str | Path, env: dict[str, str]) -> str:
    command = [sys.executable, "-m", "pip", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def build(source: Path, target: Path, env: dict[str, str]) -> Built:
    said = pip("wheel", "-v", "--no-build-isolation", "--no-deps", "-w", target, source, env=env)
    (wheel,) = target.glob("*.whl")
    return Built(wheel, said)


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, unpacked. It is made without a cargo: nothing in it may depend on one."""
    target = tmp_path_factory.mktemp("sdist")
    command = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", target, ROOT]
    subprocess.run(command, check=True, capture_output=True, env=environment(cargo=False))
    (archive,) = target.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        # The sdist has one time for all files, long ago: cargo would take an older build of this folder for fresh.
        opened.extractall(
            target, filter=lambda member, to: tarfile.data_filter(member.replace(mtime=NOW), to)
        )
    return target / archive.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def sources(sdist: Path) -> dict[str, Path]:
    return {"tree": ROOT, "sdist": sdist}


@pytest.fixture(scope="module", params=WITH_CARGO)
def native(
    request: pytest.FixtureRequest, sources: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Built:
    return build(sources[request.param], tmp_path_factory.mktemp("native"), environment(cargo=True))


@pytest.fixture(scope="module", params=["tree", "sdist"])
def pure(
    request: pytest.FixtureRequest, sources: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Built:
    return build(sources[request.param], tmp_path_factory.mktemp("pure"), environment(cargo=False))


def smoke(built: Built, folder: Path) -> str:
    """What the smoke test prints in an empty environment with this wheel, and orjson, in it."""
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    inside = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    env = environment(cargo=False)
    pip("--python", inside, "install", "-c", ROOT / "tools" / "requirements-test.txt", built.wheel, env=env)
    # Neither the tree nor the environment of the tests is in reach of it.
    done = subprocess.run(
        [inside, "-c", SMOKE], capture_output=True, text=True, cwd=folder, env=env, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def package_files(suffixes: set[str]) -> set[str]:
    found = {
        path.relative_to(PACKAGE.parent).as_posix() for path in PACKAGE.rglob("*") if path.suffix in suffixes
    }
    return found | {"stepwell/py.typed"}


def test_native_wheel(native: Built, tmp_path: Path) -> None:
    python, abi, platform = native.tag.split("-")
    assert (python, abi) == ("cp311", "abi3")
    assert platform != "any"
    extensions = [name for name in native.names() if name.endswith((".so", ".pyd"))]
    assert len(extensions) == 1
    assert extensions[0].startswith("stepwell/_native.")
    assert "building the NATIVE package" in native.said
    assert smoke(native, tmp_path / "empty") == "native"


def test_pure_wheel(pure: Built, tmp_path: Path) -> None:
    assert pure.tag == "py3-none-any"
    assert not [name for name in pure.names() if name.endswith((".so", ".pyd"))]
    assert "building the PURE PYTHON package: no cargo is on the PATH" in pure.said
    assert smoke(pure, tmp_path / "empty") == "pure"


def test_wheels_hold_the_whole_package(native: Built, pure: Built) -> None:
    wanted = package_files({".py", ".pyi", ".sql"})
    for built in (native, pure):
        inside = {name for name in built.names() if ".dist-info/" not in name}
        assert {name for name in inside if not name.endswith((".so", ".pyd"))} == wanted
        assert any(name.endswith(".dist-info/licenses/LICENSE") for name in built.names())


def test_wheels_say_the_same_of_themselves(native: Built, pure: Built) -> None:
    assert native.metadata() == pure.metadata()


@pytest.mark.parametrize("asked", WITH_CARGO)
def test_pure_wheel_where_there_is_a_cargo(asked: str, sources: dict[str, Path], tmp_path: Path) -> None:
    built = build(sources[asked], tmp_path, environment(cargo=True, STEPWELL_PURE="1"))
    assert built.tag == "py3-none-any"
    assert "building the PURE PYTHON package: STEPWELL_PURE=1 is set" in built.said


def test_sdist_is_complete(sdist: Path) -> None:
    wanted = {"pyproject.toml", "README.md", "LICENSE", "Cargo.toml", "Cargo.lock", "tools/build_backend.py"}
    wanted |= {"spec/lifecycle.toml", "spec/generate.py", "rust/core/src/lib.rs", "rust/binding/src/lib.rs"}
    assert {name for name in wanted if not (sdist / name).is_file()} == set()
    left = [
        path for path in sdist.rglob("*") if path.suffix in {".so", ".pyd", ".pyc"} or path.name == "target"
    ]
    assert left == []


def ask_requirements(*, cargo: bool, asked: str) -> subprocess.CompletedProcess[str]:
    """Ask the build backend what a build of the wheel needs."""
    script = "import build_backend; print(*build_backend.get_requires_for_build_wheel())"
    env = environment(cargo=cargo, STEPWELL_PURE=asked)
    command = [sys.executable, "-c", script]
    return subprocess.run(command, cwd=ROOT / "tools", env=env, capture_output=True, text=True, check=False)


PURE_NEEDS = [(False, "", "hatchling"), (False, "1", "hatchling"), (True, "1", "hatchling")]
NATIVE_NEEDS = [(True, "", "maturin"), (True, "0", "maturin")]


@pytest.mark.parametrize(("cargo", "asked", "wanted"), PURE_NEEDS + NATIVE_NEEDS * NATIVE)
def test_only_what_is_used_is_fetched(cargo: bool, asked: str, wanted: str) -> None:
    needs = ask_requirements(cargo=cargo, asked=asked).stdout.split()
    assert [requirement.partition(">")[0] for requirement in needs] == [wanted]


REFUSED = [("0", "no cargo is on the PATH"), ("yes", "set it to 1 (pure) or 0 (native)")]


@pytest.mark.parametrize(("asked", "says"), REFUSED)
def test_what_cannot_be_had_is_refused(asked: str, says: str) -> None:
    done = ask_requirements(cargo=False, asked=asked)
    assert done.returncode != 0
    assert says in done.stderr


def test_a_failing_build_is_no_pure_package(sdist: Path, tmp_path: Path) -> None:
    """A cargo that is there and fails makes the installation fail."""
    name = "cargo.bat" if os.name == "nt" else "cargo"
    cargo = tmp_path / "bin" / name
    cargo.parent.mkdir()
    cargo.write_text(
        "@exit /b 1\n" if os.name == "nt" else "#!/bin/sh\necho this cargo is broken >&2\nexit 1\n"
    )
    cargo.chmod(0o755)
    env = environment(cargo=False)
    env["PATH"] = os.pathsep.join([str(cargo.parent), env["PATH"]])
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-build-isolation",
        "--no-deps",
        "-w",
        tmp_path,
        sdist,
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=ROOT, check=False)
    assert done.returncode != 0
    assert not list(tmp_path.glob("*.whl"))
