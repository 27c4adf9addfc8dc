"""What the proofs of power and of failures stand on: the reading of recorded calls, and the picture of a disk."""

import random
from pathlib import Path

import pytest

from proofs.command import Violation
from proofs.images import Chosen, Disk
from proofs.plan import SCENARIOS, plan
from proofs.trace import Event, events, strace
from stepwell import Execution

FOLDER = Path("/f")


def hexed(text: str) -> str:
    return '"' + "".join(f"\\x{byte:02x}" for byte in text.encode()) + '"'


def opened(name: str, handle: int, flags: str = "O_RDWR|O_CREAT") -> str:
    return f"7 openat(AT_FDCWD, {hexed(name)}, {flags}, 0600) = {handle}"


def test_recorded_calls_become_events() -> None:
    lines = [
        opened("/elsewhere", 3),
        opened("/f/a", 4),
        f"7 pwrite64(3, {hexed('xyz')}, 3, 0) = 3",
        f"7 pwrite64(4, {hexed('xyz')}, 3, 512 <unfinished ...>",
        f"8 write(1, {hexed('12')}, 2 <unfinished ...>",
        "7 <... pwrite64 resumed>) = 2",
        "8 <... write resumed>) = 2",
        "7 fdatasync(4) = -1 EIO (Input/output error)",
        "7 fdatasync(4) = 0",
        "7 ftruncate(4, 1) = 0",
        opened("/f", 5, "O_RDONLY"),
        "7 fsync(5)                = 0",
        f"7 unlink({hexed('/f/a')}) = 0",
        opened("/f/a", 6),
        "7 +++ exited with 0 +++",
    ]
    assert events(lines, FOLDER, {}) == [
        Event("link", 1, name="a"),
        Event("said", offset=12),
        Event("write", 1, 512, b"xy"),
        Event("sync", 1),
        Event("truncate", 1, 1),
        Event("sync names"),
        Event("unlink", name="a"),
        Event("link", 2, name="a"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "7 fallocate(4, 0, 0, 4096) = 0",
        f"7 rename({hexed('/f/a')}, {hexed('/f/b')}) = 0",
        opened("/f/a", 5, "O_RDWR|O_TRUNC"),
    ],
)
def test_a_call_that_is_not_understood_is_an_error(line: str) -> None:
    with pytest.raises(Violation):
        events([opened("/f/a", 4), line], FOLDER, {"a": 1})


def test_a_cut_text_is_an_error() -> None:
    line = f"7 pwrite64(4, {hexed('x')}..., 9, 0) = 9"
    with pytest.raises(AssertionError, match="cut off"):
        events([opened("/f/a", 4), line], FOLDER, {"a": 1})


def test_without_strace_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(AssertionError, match="apt-get install strace"):
        strace()


def test_what_is_synced_stays_and_the_rest_may_not() -> None:
    disk = Disk({"a": b"old"})
    disk.happen(Event("write", 1, 0, b"N"))
    assert disk.image([]) == {"a": b"old"}
    assert disk.image([Chosen(1)]) == {"a": b"Nld"}
    disk.happen(Event("sync", 1))
    disk.happen(Event("write", 1, 5, b"x"))
    disk.happen(Event("truncate", 1, 1))
    disk.happen(Event("link", 2, name="b"))
    disk.happen(Event("write", 2, 0, b"new"))
    disk.happen(Event("sync", 2))
    assert disk.image([]) == {"a": b"Nld"}  # synced, but nobody knows its name
    assert disk.image([Chosen(2)]) == {"a": b"Nld\0\0x"}
    assert disk.image([Chosen(3)]) == {"a": b"N"}
    assert disk.image([Chosen(4)]) == {"a": b"Nld", "b": b"new"}
    disk.happen(Event("sync names"))
    disk.happen(Event("unlink", name="a"))
    assert disk.image([]) == {"a": b"Nld", "b": b"new"}
    assert disk.image([Chosen(6)]) == {"b": b"new"}


def test_a_torn_write_is_cut_at_sectors() -> None:
    disk = Disk({"a": b""})
    disk.happen(Event("write", 1, 500, b"a" * 12 + b"b" * 512 + b"c" * 10))
    whole = disk.image([Chosen(1)])["a"]
    draw = random.Random(1)
    seen = {disk.image([disk.torn(1, draw)])["a"] for _ in range(200)}
    assert len(seen) > 8
    for image in seen:
        for start, end in ((500, 512), (512, 1024), (1024, 1034)):
            part = image[start:end].ljust(end - start, b"\0")
            assert part in (whole[start:end], bytes(end - start))


@pytest.mark.parametrize("scenario", [*SCENARIOS, "short"])
def test_plans_are_real_journals(scenario: str) -> None:
    made = plan(scenario)
    for whose, records in made.everything.items():
        replayed = Execution.replay(whose, [record[3] for record in records])
        assert replayed.head == made.heads[whose, records[-1][0]]


def test_the_levels_make_the_same_requests() -> None:
    # A recording of one is held against the promise of the other.
    power, process = plan("power").requests, plan("process").requests
    assert [request[:-1] for request in power] == [request[:-1] for request in process]
    assert {request.durability for request in power} == {"power"}
    assert {request.durability for request in process} == {"process"}
