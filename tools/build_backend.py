"""The build backend (PEP 517, PEP 660): native by maturin where there is a cargo, else pure by hatchling.

`STEPWELL_PURE=1` asks for the pure wheel, `STEPWELL_PURE=0` for the native one. When there is a cargo and the
build fails, it fails: nobody gets the slower package without knowing. The sdist is the same either way.
"""

import importlib
import os
import shutil
import sys
import sysconfig
from typing import Any

Settings = dict[str, Any] | None

HATCHLING = "hatchling>=1.27,<2"
MATURIN = "maturin>=1.9.4,<2"
SQLITE_FLAGS = "-DHAVE_FDATASYNC=1 -DSQLITE_DEFAULT_MEMSTATUS=0 -DSQLITE_DQS=0"


def pure_because() -> str | None:
    """Why the wheel has to be the pure one; `None` when it is to be the native one."""
    asked = os.environ.get("STEPWELL_PURE", "")
    if asked not in ("", "0", "1"):
        raise SystemExit(f"STEPWELL_PURE is {asked!r}: set it to 1 (pure) or 0 (native), or not at all")
    if asked == "1":
        return "STEPWELL_PURE=1 is set"
    lacks = None
    if sys.implementation.name != "cpython":
        lacks = f"the native one is for CPython, this is {sys.implementation.name}"
    elif shutil.which("cargo") is None:
        lacks = "no cargo is on the PATH (https://rustup.rs installs one)"
    if lacks and asked == "0":
        raise SystemExit(f"STEPWELL_PURE=0 asks for the native wheel, but {lacks}")
    return lacks


def chosen() -> Any:
    """The backend that builds the wheel; says which one it is."""
    why = pure_because()
    if why is not None:
        print(f"stepwell: building the PURE PYTHON package: {why}", file=sys.stderr)
        print("stepwell: it does the same, slower; stepwell.BACKEND says 'pure'", file=sys.stderr, flush=True)
        return importlib.import_module("hatchling.build")
    print("stepwell: building the NATIVE package (Rust)", file=sys.stderr, flush=True)
    if sys.platform == "linux":
        # The bundled SQLite does not look for it by itself, and then syncs more than the file's data with each commit.
        os.environ.setdefault("LIBSQLITE3_FLAGS", SQLITE_FLAGS)
    # maturin is a program: without build isolation it lies beside the interpreter, perhaps not on the PATH.
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), sysconfig.get_path("scripts")])
    return importlib.import_module("maturin")


def get_requires_for_build_sdist(_config_settings: Settings = None) -> list[str]:
    return [HATCHLING]


def get_requires_for_build_wheel(_config_settings: Settings = None) -> list[str]:
    return [MATURIN] if pure_because() is None else [HATCHLING]


get_requires_for_build_editable = get_requires_for_build_wheel


def build_sdist(sdist_directory: str, config_settings: Settings = None) -> Any:
    return importlib.import_module("hatchling.build").build_sdist(sdist_directory, config_settings)


def build_wheel(folder: str, config_settings: Settings = None, metadata_directory: str | None = None) -> Any:
    return chosen().build_wheel(folder, config_settings, metadata_directory)


def build_editable(
    folder: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> Any:
    return chosen().build_editable(folder, config_settings, metadata_directory)


# hatchling has no such hook under pip either: its wheel takes no time to build, so pip reads that.
if pure_because() is None:

    def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: Settings = None) -> Any:
        return chosen().prepare_metadata_for_build_wheel(metadata_directory, config_settings)

    prepare_metadata_for_build_editable = prepare_metadata_for_build_wheel
