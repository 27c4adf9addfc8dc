"""A small disk of the proof's own, which can be full, read-only, and all right again."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

NEEDED = (
    "this proof mounts a small tmpfs in a mount namespace of its own: it needs `unshare` and `mount` (package "
    "util-linux), and root or a system that lets users make namespaces"
)
SOURCE = "stepwell-proof"
_INSIDE = "STEPWELL_PROOF_HAS_MOUNTS"


def enter_namespace(module: str) -> None:
    """Starts this program again where it may mount, so that nothing it mounts outlives it."""
    if os.environ.get(_INSIDE) == "1":
        return
    tool = shutil.which("unshare")
    if tool is None:
        sys.exit(NEEDED)
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    if subprocess.run([tool, *user, "--mount", "true"], check=False).returncode != 0:
        sys.exit(NEEDED)
    command = [tool, *user, "--mount", sys.executable, "-m", f"proofs.{module}", *sys.argv[1:]]
    os.execve(tool, command, {**os.environ, _INSIDE: "1"})


class Disk:
    """It is mounted inside the block."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self._size = size
        self._ballast = folder / "ballast"

    def __enter__(self) -> Self:
        self.folder.mkdir()
        _run("mount", "-t", "tmpfs", "-o", f"size={self._size}", SOURCE, str(self.folder))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _run("umount", "--lazy", str(self.folder))

    def fill(self, but: int = 0) -> None:
        """Leaves so many bytes, or fewer."""
        with self._ballast.open("wb", buffering=0) as file:
            found = os.statvfs(self.folder)
            try:
                file.write(bytes(max(0, found.f_bavail * found.f_frsize - but)))
            except OSError:
                pass

    def empty(self) -> None:
        """Makes room again."""
        self._ballast.unlink(missing_ok=True)

    def read_only(self, yes: bool) -> None:
        """Changes whether it can be written; nothing may be open for writing."""
        # With its source named, `mount` does not add the options of before, which a user's namespace refuses.
        _run("mount", "-o", f"remount,{'ro' if yes else 'rw'}", SOURCE, str(self.folder))


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise AssertionError(NEEDED) from None
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()} ({NEEDED})"
