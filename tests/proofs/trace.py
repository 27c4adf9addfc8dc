"""What a process did to one folder's files, from the system calls that strace recorded."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Final, NamedTuple

from proofs.command import Violation

LONGEST: Final = 1 << 20
ORDINARY: Final = "openat,close,pwrite64,write,ftruncate,fsync,fdatasync,unlink,unlinkat"
STRANGE: Final = (
    "open,creat,dup,dup2,dup3,writev,pwritev,pwritev2,fallocate,truncate,copy_file_range,sendfile,splice,"
    "rename,renameat,renameat2,link,linkat,symlink,sync_file_range,sync,syncfs"
)
"""Other ways to change files. Where one of them meets a file of ours, the picture would be wrong: that is an error."""

_LINE = re.compile(r"(\d+) +(.*)")
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)")
_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+|\?)")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')


class Event(NamedTuple):
    """One thing that happened.

    `kind` is `write` (file, offset, data), `truncate` (file, offset: the new size), `sync` (file), `link` (name, file:
    a new empty one), `unlink` (name), `sync names`, or `said` (offset: the number). Files are numbers: a name that is
    made anew is another file.
    """

    kind: str
    file: int = 0
    offset: int = 0
    data: bytes = b""
    name: str = ""


def strace() -> str:
    """The program. Fails where it is missing, with what to install."""
    found = which("strace")
    assert found is not None, (
        "this proof records system calls, and strace is not here: apt-get install strace"
    )
    return found


def record(command: list[str], log: Path, environment: dict[str, str]) -> list[str]:
    """Runs a command to its end; the lines of its calls."""
    options = [
        "-f",
        "-qq",
        "-xx",
        "-s",
        str(LONGEST),
        "-e",
        "signal=none",
        "-e",
        f"trace={ORDINARY},{STRANGE}",
    ]
    traced = [strace(), *options, "--seccomp-bpf", "-o", str(log), "--", *command]
    done = subprocess.run(traced, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"the recorded process failed:\n{done.stdout}\n{done.stderr}"
    return log.read_text(encoding="ascii").splitlines()


def _calls(lines: list[str]) -> Iterator[tuple[str, str, str]]:
    """Name, arguments and result of every call when it ended. What is said counts from when it began."""
    open_calls: dict[str, str] = {}
    for line in lines:
        found = _LINE.fullmatch(line)
        assert found, f"strace wrote {line[:80]!r}"
        thread, text = found.groups()
        if text.endswith("<unfinished ...>"):
            text = text.removesuffix("<unfinished ...>").rstrip()
            if text.startswith("write(1, "):
                yield "write", text.removeprefix("write("), "0"
                text = ""
            open_calls[thread] = text
            continue
        resumed = _RESUMED.fullmatch(text)
        if resumed:
            text = open_calls.pop(thread) + resumed[2].lstrip()
            if text.startswith(")"):
                continue
        call = _CALL.match(text)
        if call:
            name, arguments, result = call.groups()
            yield name, arguments, result
        else:
            assert text.startswith(("+++", "---")), f"strace wrote {line[:80]!r}"


def _text(arguments: str) -> bytes:
    found = _TEXT.search(arguments)
    assert found, f"no text in {arguments[:80]!r}"
    assert not found[2], f"strace has cut off a text of more than {LONGEST} bytes"
    return bytes.fromhex(found[1].replace("\\x", ""))


class Folder:
    """Follows which descriptor is which file."""

    def __init__(self, folder: Path, there: dict[str, int]) -> None:
        self._prefix = f"{folder}/"
        self._folder = str(folder)
        self._names = dict(there)
        self._files = max(there.values(), default=0)
        self._open: dict[int, int] = {}
        self._handles: set[int] = set()

    def event(self, name: str, arguments: str, result: int) -> Event | None:
        """What a successful call means."""
        if name == "openat":
            return self._opened(_text(arguments).decode(), arguments, result)
        if name in ("unlink", "unlinkat"):
            path = _text(arguments).decode()
            if self._ours(path):
                short = path.removeprefix(self._prefix)
                del self._names[short]
                return Event("unlink", name=short)
            return None
        number = arguments.partition(",")[0]
        handle = int(number) if number.isdigit() else -1
        if name == "write" and handle == 1:
            return Event("said", offset=int(_text(arguments)))
        file = self._open.get(handle)
        if name == "close":
            self._open.pop(handle, None)
            self._handles.discard(handle)
        elif name in ("fsync", "fdatasync"):
            if handle in self._handles:
                return Event("sync names")
            if file is not None:
                return Event("sync", file)
        elif name == "ftruncate" and file is not None:
            return Event("truncate", file, int(arguments.split(", ")[1]))
        elif name == "pwrite64" and file is not None:
            data, offset = _text(arguments), int(arguments.rpartition(", ")[2])
            return Event("write", file, offset, data[:result])
        elif file is not None or self._prefix.encode().hex() in arguments.replace("\\x", ""):
            raise Violation(f"{name} on a file of the store: the proof does not know what that does")
        return None

    def _ours(self, path: str) -> bool:
        return path.startswith(self._prefix) and not path.endswith("-shm")

    def _opened(self, path: str, arguments: str, handle: int) -> Event | None:
        if path == self._folder:
            self._handles.add(handle)
        if not self._ours(path):
            return None
        if "O_TRUNC" in arguments or "O_APPEND" in arguments:
            raise Violation("a file of the store is opened in a way that the proof does not know")
        short = path.removeprefix(self._prefix)
        made = short not in self._names
        if made:
            self._files += 1
            self._names[short] = self._files
        self._open[handle] = self._names[short]
        return Event("link", self._names[short], name=short) if made else None


def events(lines: list[str], folder: Path, there: dict[str, int]) -> list[Event]:
    """What happened to the files of a folder; `there` are those that were there before, by their names."""
    follower = Folder(folder, there)
    found = []
    for name, arguments, result in _calls(lines):
        if result != "?" and int(result) >= 0:
            event = follower.event(name, arguments, int(result))
            if event is not None:
                found.append(event)
    return found
