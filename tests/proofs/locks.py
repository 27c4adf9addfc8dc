"""Which locks of SQLite a process holds, as the system tells it."""

from pathlib import Path

WRITER_IN_WAL = "120"
"""The byte of the shared memory that a writer locks."""


def keeps_others_out(pid: int, path: Path) -> bool:
    """Whether a process that stands still holds what another one needs to write into this file."""
    shared = path.with_name(f"{path.name}-shm")
    in_wal = shared.exists()
    inode = str((shared if in_wal else path).stat().st_ino)
    for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
        _, _, _, kind, owner, file, start, *_ = line.replace("-> ", "").split()
        # In rollback mode a reader keeps the commit waiting too.
        matters = not in_wal or (kind == "WRITE" and start == WRITER_IN_WAL)
        if matters and int(owner) == pid and file.rpartition(":")[2] == inode:
            return True
    return False
