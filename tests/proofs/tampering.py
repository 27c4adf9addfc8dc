"""Every byte of a small store is changed, one at a time: `verify` finds it, or it changes no answer.

    make prove-tampering                                     everything, on both backends
    PYTHONPATH=tests python -m proofs.tampering --bits 8     every bit

Bytes of the rows are changed by another process through SQLite, which keeps indexes and checks right, as somebody would
who knows what he does; bytes of the file as a failing disk would.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from backends import BACKENDS
from stepwell import StoreError
from stepwell.store import ExecutionRow, verify
from stepwell.store.sqlite import SqliteSource
from store.journals import answers, fill
from store.processes import run_python

CLAIMS = {"epoch", "owner", "wake_at_ns", "lease_until_ns", "claims"}
"""Who runs an execution and when it is looked at again: no journal tells that, so `verify` cannot know it."""
CLAIM_COLUMNS = {"epoch", "owner", "wake_at", "lease_until", "claims"}

CHANGER = """
    import json, sqlite3, sys
    path = sys.argv[1]
    sound = open(path, "rb").read()
    def where(table):
        return "number = ?" if table == "journal" else "tenant || ' ' || id = ?"
    for line in sys.stdin:
        table, key, column, at, bit = json.loads(line)
        with open(path, "wb") as file:
            file.write(sound)
        db = sqlite3.connect(path, isolation_level=None)
        db.text_factory = bytes
        [[kind, value]] = db.execute(f"SELECT typeof({column}), {column} FROM {table} WHERE {where(table)}", [key])
        changed = "?"
        if kind == b"integer":
            value ^= 1 << (8 * at + bit)
            value -= (value >> 63 & 1) << 64 if value >= 1 << 63 else 0
        else:
            value = bytearray(value)
            value[at] ^= 1 << bit
            changed = "CAST(? AS TEXT)" if kind == b"text" else "?"
        try:
            db.execute(f"UPDATE {table} SET {column} = {changed} WHERE {where(table)}", [value, key])
            print("changed", flush=True)
        except (sqlite3.IntegrityError, OverflowError) as error:
            print("refused", flush=True)
        finally:
            db.close()
"""

SHAPES = """
    import json, sqlite3, sys
    db = sqlite3.connect(sys.argv[1])
    db.text_factory = bytes
    found = []
    for table, key in (("journal", "number"), ("executions", "tenant || ' ' || id")):
        cursor = db.execute(f"SELECT {key}, * FROM {table} ORDER BY 1")
        names = [each[0] for each in cursor.description]
        for own, *values in cursor:
            own = own.decode() if isinstance(own, bytes) else own
            for column, value in zip(names[1:], values):
                if value is not None:
                    found.append([table, own, column, 8 if isinstance(value, int) else len(value)])
    print(json.dumps(found))
"""


class Place(NamedTuple):
    """A byte of a row, or of the file where the table is empty."""

    table: str
    key: Any
    column: str
    at: int


class Outcome(NamedTuple):
    place: Place
    bit: int
    what: str
    """`found`, `harmless`, `claims` (only who runs it is another), `impossible` (SQLite refuses it), or `MISSED`."""


class Small:
    """A small closed store of one backend, and how it answers."""

    def __init__(self, folder: Path, engine: str) -> None:
        self.path = folder / f"{engine}.db"
        self.source = SqliteSource(self.path, backend=engine, busy_seconds=5)
        store = self.source.open("acme")
        fill(store)
        self.sound = answers(store)
        assert verify(store).findings == []
        store.close()
        self.bytes = self.path.read_bytes()

    def look(self) -> str:
        """What comes of looking at the changed file."""
        try:
            store = self.source.open("acme")
        except StoreError:
            return "found"
        try:
            if verify(store).findings:
                return "found"
            now = answers(store)
        except StoreError:
            return "found"
        finally:
            store.close()
        if now == self.sound:
            return "harmless"
        return "claims" if without_claims(now) == without_claims(self.sound) else "MISSED"

    def restore(self) -> None:
        self.path.write_bytes(self.bytes)


def without_claims(value: Any) -> Any:
    """The answers without who runs what."""
    if isinstance(value, ExecutionRow):
        return tuple(each for name, each in value._asdict().items() if name not in CLAIMS)
    if isinstance(value, dict):
        return {key: without_claims(each) for key, each in value.items()}
    return [without_claims(each) for each in value] if isinstance(value, list | tuple) else value


def rows(small: Small, every: int, bits: int, seed: int) -> Iterator[Outcome]:
    """Changes every so manieth byte of the journal and of the executions' rows."""
    drawn = random.Random(seed)
    shapes, _ = run_python(SHAPES, small.path).communicate(timeout=60)
    places = [
        Place(table, key, column, at)
        for table, key, column, size in json.loads(shapes)
        for at in range(size)
        if at == 0 or drawn.randrange(every) == 0
    ]
    changer = run_python(CHANGER, small.path)
    assert changer.stdin is not None
    assert changer.stdout is not None
    try:
        for place in places:
            for bit in drawn.sample(range(8), bits):
                changer.stdin.write(json.dumps([*place, bit]) + "\n")
                changer.stdin.flush()
                answer = changer.stdout.readline()
                assert answer in ("changed\n", "refused\n")
                yield Outcome(place, bit, "impossible" if answer == "refused\n" else small.look())
    finally:
        changer.communicate()
        small.restore()


def file_bytes(small: Small, every: int, bits: int, seed: int) -> Iterator[Outcome]:
    """Changes every so manieth byte of the file."""
    drawn = random.Random(seed)
    for at in range(drawn.randrange(every), len(small.bytes), every):
        for bit in drawn.sample(range(8), bits):
            changed = bytearray(small.bytes)
            changed[at] ^= 1 << bit
            small.path.write_bytes(changed)
            yield Outcome(Place("", None, "file", at), bit, small.look())
    small.restore()


def bad(outcome: Outcome) -> bool:
    """Whether it is none of the outcomes that are promised."""
    where = outcome.place
    if outcome.what == "claims":
        return where.table != "" and where.column not in CLAIM_COLUMNS
    return outcome.what == "MISSED"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backends", nargs="+", default=BACKENDS)
    parser.add_argument("--every", type=int, default=1, help="only every so manieth byte of the rows")
    parser.add_argument("--file-every", type=int, default=16, help="only every so manieth byte of the file")
    parser.add_argument("--bits", type=int, default=1, help="how many bits of each byte, one after the other")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    asked = parser.parse_args()
    missed = 0
    for engine in asked.backends:
        with tempfile.TemporaryDirectory() as folder:
            small = Small(Path(folder), engine)
            print(f"{engine}: a store of {len(small.bytes)} bytes, seed {asked.seed}", flush=True)
            began = time.monotonic()
            counts: Counter[tuple[str, str]] = Counter()
            for outcome in chain(
                rows(small, asked.every, asked.bits, asked.seed),
                file_bytes(small, asked.file_every, asked.bits, asked.seed),
            ):
                counts[f"{outcome.place.table}.{outcome.place.column}".lstrip("."), outcome.what] += 1
                if bad(outcome):
                    missed += 1
                    print(f"  MISSED: {outcome}")
            for (column, what), count in sorted(counts.items()):
                print(f"  {column:28} {what:10} {count:7}")
            print(f"  {sum(counts.values())} changes in {time.monotonic() - began:.0f} s", flush=True)
    print(f"{missed} missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
