"""Who runs an execution, and whether that process is still there.

A claim names its owner: the machine since its boot, the process, and the kernel in it. This keeps two processes from
running the same execution at the same time; what keeps its record right is the epoch that every append is checked for.
"""

import itertools
import os
import sys
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .kernel import Kernel

_numbers = itertools.count(1)
_kernels: "weakref.WeakValueDictionary[str, Kernel]" = weakref.WeakValueDictionary()


def register(kernel: "Kernel") -> str:
    """The owner's name of a kernel that has just started."""
    name = f"{_machine()} {os.getpid()} {_started(os.getpid())} {next(_numbers)}"
    _kernels[name] = kernel
    return name


def is_gone(owner: str | None) -> bool:
    """Whether nobody owns it, or an owner that has certainly ended. Another machine's owner may always be there."""
    if owner is None:
        return True
    machine, pid, started, _ = [*owner.split(" "), "", "", "", ""][:4]
    if machine != _machine() or not pid.isdecimal():
        return False
    if int(pid) == os.getpid() and started == _started(os.getpid()):
        kernel = _kernels.get(owner)
        return kernel is None or kernel.is_stopped
    found = _started(int(pid))
    return found == "" or ("?" not in (found, started) and found != started)


def is_elsewhere(owner: str | None) -> bool:
    """Whether its owner lives, or lived, where this process cannot look."""
    return owner is not None and owner.split(" ")[0] != _machine()


def _machine() -> str:
    """This machine since its boot, and the process namespace; where it cannot be told, the host's name."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        import socket

        return socket.gethostname().replace(" ", "_")


def _started(pid: int) -> str:
    """When a process started, in the system's own words; "" if there is none, "?" if it cannot be told."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        state, fields = stat.rpartition(")")[2].split()[0], stat.rpartition(")")[2].split()
        return "" if state in "ZX" else fields[19]
    except OSError:
        if Path("/proc/self/stat").exists():
            return ""
    if sys.platform == "win32":
        return "?"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except OSError:
        pass
    return "?"
