"""Which store files this process has open: each by one engine, by one SQLite library, and never by a forked child."""

import os
import stat
import threading
from pathlib import Path
from typing import Any, Final, NoReturn

from .. import errors
from ..trouble import store_failure
from . import sql
from .ticket import parts

NETWORK: Final = {
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "fuse.glusterfs", "fuse.sshfs", "ncpfs",
    "lustre", "gpfs", "vboxsf", "prl_fs", "fuse.s3fs", "beegfs", "orangefs", "coda",
}  # fmt: skip
"""File systems on which the locks and the shared memory that SQLite relies on cannot be relied on."""

Identity = tuple[int, int]


class OpenFile:
    """A file and its engine."""

    def __init__(
        self, path: str, identity: Identity, backend: str, busy_seconds: float, read_only: bool
    ) -> None:
        self.path = path
        self.identity = identity
        self.backend = backend
        self.read_only = read_only
        self.pid = os.getpid()
        self.is_inherited = False
        self.users = 1
        self.parts = parts(backend)
        self.engine: Any = self.parts.engine(
            path, identity, list(sql.QUERIES.items()), sql.SCHEMA, sql.MIGRATIONS, busy_seconds, read_only
        )

    def refuse_child(self) -> NoReturn:
        """Raises `ForkedProcessError`."""
        raise errors.ForkedProcessError(
            f"{self.path} was opened before the process forked: open it after the fork, or start the child with spawn"
        )


_open: dict[Identity, OpenFile] = {}
_aside: list[OpenFile] = []
_lock = threading.Lock()
_inherited: dict[Identity, OpenFile] = {}


def open_file(
    path: str, backend: str, busy_seconds: float, *, read_only: bool = False, network: bool = False
) -> OpenFile:
    """The one engine of a file in this process, however it is spelt or linked; it is made where there is none.

    One that only reads is a new one each time, beside that. Raises `StoreError` for a file that cannot be used.
    """
    path = os.path.realpath(path)
    with _lock:
        if not read_only:
            _make(path)
        identity = _check(path, backend, network)
        if not read_only:
            _may_write(path)
        known = _open.get(identity)
        if known is not None and not read_only:
            known.users += 1
            return known
        opened = OpenFile(path, identity, backend, busy_seconds, read_only)
        if read_only:
            _aside.append(opened)
        else:
            _open[identity] = opened
        return opened


def close_file(opened: OpenFile) -> None:
    """Lets one user of a file go; with the last of them the engine ends."""
    if opened.pid != os.getpid():
        return  # the parent's: it is left alone
    with _lock:
        opened.users -= 1
        if opened.users:
            return
        if opened.read_only:
            _aside.remove(opened)
        else:
            _open.pop(opened.identity, None)
        opened.engine.stop()


def _make(path: str) -> None:
    # Only a file that is not there yet is opened here: closing a second descriptor of a database that is open would
    # give away all its locks.
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        pass
    except PermissionError as error:
        raise errors.StoreReadOnly(f"{path} cannot be made: check the rights of the folder") from error
    except OSError as error:
        if error.errno == 28:
            raise errors.StoreFull(f"there is no room left for {path}: make some, then ask again") from error
        if error.errno == 30:
            raise errors.StoreReadOnly(f"{path} cannot be made: its file system is read-only") from error
        raise errors.StoreError(
            f"{path} cannot be made: {error.strerror}; check that its folder is there"
        ) from error


def _may_write(path: str) -> None:
    # SQLite would open it for reading without a word, or not at all, and say nothing of the reason.
    effective = os.access in os.supports_effective_ids
    for each in (path, Path(path).parent):
        if not os.access(each, os.W_OK, effective_ids=effective):
            raise store_failure("readonly", path)


def _check(path: str, backend: str, network: bool) -> Identity:
    try:
        found = os.stat(path)
    except OSError as error:
        raise errors.StoreError(f"there is no store at {path}") from error
    identity = found.st_dev, found.st_ino
    if identity in _inherited:
        raise errors.ForkedProcessError(
            f"the process from which this one forked has {path} open, and SQLite cannot be used on it here: open it "
            "after the fork, or start the child with spawn"
        )
    if not stat.S_ISREG(found.st_mode):
        raise store_failure("unopenable", path)
    if found.st_nlink > 1:
        raise errors.StoreError(
            f"{path} has {found.st_nlink} names (hard links), and its journal belongs to one of them: remove the others"
        )
    if not network and filesystem(found.st_dev) in NETWORK:
        raise errors.StoreError(
            f"{path} is on a network file system ({filesystem(found.st_dev)}), whose locks cannot be relied on: use a "
            "local disk"
        )
    ours = [opened for opened in (*_open.values(), *_aside) if opened.identity == identity]
    if any(opened.backend != backend for opened in ours) or (not ours and _is_open_here(identity)):
        raise errors.StoreError(
            f"{path} is open in this process already, by another SQLite library or another program part: locks belong "
            "to the process, and each would give away those of the other; close it there first"
        )
    return identity


def unfinished(path: str) -> errors.StepwellError | None:
    """What to say where SQLite does not open a file for reading alone, since a journal beside it is to be undone."""
    try:
        left = os.stat(path + "-journal").st_size
    except OSError:
        return None
    return store_failure("unfinished", path) if left else None


def filesystem(device: int, mounts: str = "/proc/self/mountinfo") -> str | None:
    """The type of the file system with this device number, where the system says it."""
    try:
        lines = Path(mounts).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in lines:
        fields = line.split(" ")
        if fields[2:3] == [wanted] and "-" in fields:
            return fields[fields.index("-") + 1]
    return None


def _is_open_here(identity: Identity) -> bool:
    """Whether this process has a descriptor of the file, where the system says it."""
    try:
        numbers = os.listdir("/proc/self/fd")  # noqa: PTH208 - names alone are wanted
    except OSError:
        return False
    for number in numbers:
        try:
            found = os.fstat(int(number))
        except OSError:
            continue
        if (found.st_dev, found.st_ino) == identity:
            return True
    return False


def _before_fork() -> None:
    _lock.acquire()
    for opened in (*_open.values(), *_aside):
        opened.engine.before_fork()


def _after_fork() -> None:
    for opened in (*_open.values(), *_aside):
        opened.engine.after_fork()
    _lock.release()


def _after_fork_in_child() -> None:
    for opened in (*_open.values(), *_aside):
        opened.engine.after_fork()
        opened.is_inherited = True
        _inherited[opened.identity] = opened
    _open.clear()
    _aside.clear()
    _lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
