"""Checks: journals come back byte for byte, however long they are and however large their payloads."""

import json

from ..journal import digest
from ..store import Record, Store
from .checking import (
    RUNNING,
    SECONDS,
    Fresh,
    all_bodies,
    append,
    check,
    create,
    equal,
    everything,
    execution,
    joined,
    projected,
    records,
    row_of,
    store_real,
    sweep_all,
    true,
)

MARKS = (1_022, 1_023, 1_024, 1_025, 2_046, 2_047, 2_048, 3_071, 3_072)
"""Where a store may begin to count anew."""
LARGE = 32 * 1024


def _from_everywhere(store: Store, ident: str, written: list[Record]) -> None:
    """The journal, read from behind many of its records."""
    last = written[-1][0]
    for after in sorted({-1, 0, 1, 2, last - 1, last, last + 1, last + 5_000, *MARKS}):
        wanted = written[after + 1 :]
        equal(everything(store, ident, after), wanted, f"the records after {after}")
        equal(all_bodies(store, ident, after), joined(wanted), f"the bodies after {after}")
        found: list[int] = []
        while page := store.digests(ident, found[-1] if found else after).wait(SECONDS):
            true(not found or page[0][0] > found[-1], "a page of digests has to go on")
            found += [seq for seq, _ in page]
        equal(found, [record[0] for record in wanted], f"the seqs of the digests after {after}")


@check
def a_long_journal_comes_in_pages(fresh: Fresh) -> None:
    """From wherever it is asked for, each page as long as it likes but never empty before the end."""
    store = fresh.open()
    written = records(0, 4_200)
    create(store, written=written[:2])
    append(store, "exec_1", written[2:2_500])
    append(store, "exec_1", written[2_500:])
    true(len(store.load("exec_1").wait(SECONDS)) < len(written), "a page is less than a long journal")
    _from_everywhere(store, "exec_1", written)


@check
def a_long_journal_may_be_written_at_once(fresh: Fresh) -> None:
    """By `create` alone."""
    store = fresh.open()
    written = records(0, 2_600)
    create(store, written=written)
    equal(append(store, "exec_1", records(2_601, 2_602)), 2_602, "an append")
    _from_everywhere(store, "exec_1", records(0, 2_602))


@check
def journals_that_are_written_in_turn_keep_apart(fresh: Fresh) -> None:
    """Each has its own records, in pieces of many lengths."""
    store = fresh.open()
    names = ["exec_1", "exec_2", "exec_3"]
    for salt, ident in enumerate(names):
        create(store, ident, written=records(0, 1, salt=salt))
    ends = [2, 3, 500, 501, 1_023, 1_024, 1_025, 1_900, 2_050, 2_051, 2_400]
    first = 2
    for end in ends:
        tickets = [
            store.append(ident, first - 1, 1, b"%d" % end, records(first, end, salt=salt), RUNNING)
            for salt, ident in enumerate(names)
        ]
        equal([ticket.wait(SECONDS) for ticket in tickets], [end] * 3, "the appends")
        first = end + 1
    for salt, ident in enumerate(names):
        _from_everywhere(store, ident, records(0, 2_400, salt=salt))


@check
def every_record_may_be_asked_for_alone(fresh: Fresh) -> None:
    """The page after any seq begins with the next one."""
    store = fresh.open()
    create(store, "exec_1", written=records(0, 1_100))
    create(store, "exec_2")
    for after in range(-1, 1_100, 37):
        equal(store.load("exec_1", after).wait(SECONDS)[0], records(after + 1, after + 1)[0], "the record")
        last, page = store.bodies("exec_1", after).wait(SECONDS)
        true(last > after, "the seq of the last one")
        equal(page.partition(b"\n")[0], records(after + 1, after + 1)[0][3], "the body")
    equal(store.load("exec_1", -7).wait(SECONDS)[0], records(0, 0)[0], "the record after what cannot be")
    equal(store.bodies("exec_1", 1_100).wait(SECONDS), (1_100, b""), "behind the end")
    equal(store.bodies("exec_1", 5_000).wait(SECONDS), (5_000, b""), "far behind the end")
    equal(store.load("exec_1", 1_100).wait(SECONDS), [], "the records behind the end")
    equal(store.digests("exec_1", 1_100).wait(SECONDS), [], "the digests behind the end")


@check
def a_page_has_a_bound_in_bytes(fresh: Fresh) -> None:
    """Where records are large it has few, but one at least."""
    store = fresh.open()
    written = records(0, 11, size=1_500_000)
    create(store, written=written)
    page = store.load("exec_1").wait(SECONDS)
    true(page, "a page has a record at least")
    equal(everything(store), written, "the journal")
    equal(all_bodies(store), joined(written), "the bodies")


@check
def real_records_replay(fresh: Fresh) -> None:
    """Those of an execution, appended as they come; every digest that is known is right."""
    store = fresh.open()
    made = execution(["a", 1, None, {"x": [1, 2.5, "é"]}], input={"n": 1})
    written = store_real(store, made)
    for number in range(5):
        made.complete_step(made.start_step(f"more {number}"), {"n": number})
        given = made.drain()
        ticket = store.append(made.id, written[-1][0], 1, b"%d" % number, given, projected(made))
        written += given
        equal(ticket.wait(SECONDS), made.version, "an append")
    equal(everything(store, made.id), written, "the records")
    bodies = all_bodies(store, made.id)
    again = type(made).replay(made.id, bodies, version=row_of(store, made.id).version)
    equal((again.head, again.version), (made.head, made.version), "the execution")
    for (seq, found), record in zip(store.digests(made.id).wait(SECONDS), written, strict=True):
        equal(seq, record[0], "the seq of a digest")
        true(found is None or found == digest(record[3]), f"the digest of record {seq}: found {found}")


@check
def large_payloads_come_back(fresh: Fresh) -> None:
    """Of every size about the one from which a store may keep them elsewhere; inputs, outputs, and errors."""
    store = fresh.open()
    made = execution([], input="i" * (LARGE + 5))
    step = made.start_step("fails", input="s" * (2 * LARGE))
    made.fail_step(step, "e" * 5_000)
    for size in (LARGE - 300, LARGE - 3, LARGE - 2, LARGE - 1, LARGE, LARGE + 1, 5 * LARGE):
        made.complete_step(made.start_step("s"), "o" * size)
    made.complete_step(made.start_step("s"), {"deep": ['"\\\n\0é💣' * 9_000], "seq": 5, "prev": "x"})
    made.complete({"output": "y" * (3 * LARGE)})
    written = store_real(store, made)
    equal(everything(store, made.id), written, "the records")
    equal(all_bodies(store, made.id), joined(written), "the bodies")
    for after in range(-1, made.version):
        equal(everything(store, made.id, after), written[after + 1 :], f"the records after {after}")
    for (seq, found), record in zip(store.digests(made.id).wait(SECONDS), written, strict=True):
        true(found is None or found == digest(record[3]), f"the digest of record {seq}: found {found}")


@check
def payloads_may_be_shared(fresh: Fresh) -> None:
    """By the records of one and of many executions: each has them until it goes, and only then they go."""
    store = fresh.open()
    shared = json.loads(json.dumps({"text": "0123456789" * 5_000}))
    journals: dict[str, list[Record]] = {}
    for number in range(3):
        made = execution([shared, shared, f"{number}" * 40_000])
        made.complete(shared)
        journals[made.id] = store_real(store, made)
    while journals:
        for ident, written in journals.items():
            equal(everything(store, ident), written, "the records")
            equal(all_bodies(store, ident), joined(written), "the bodies")
        gone = next(iter(journals))
        del journals[gone]
        equal(store.doom([gone]).wait(SECONDS), 1, "dooming one")
        sweep_all(store, 3)


@check
def large_texts_that_are_no_records_come_back(fresh: Fresh) -> None:
    """A store does not believe that what is large is what it looks like."""
    store = fresh.open()
    large = "z" * (LARGE + 10)
    texts = [
        f'{{"seq":0,"prev":"{"0" * 32}","at":5,"kind":"complete","output":"{large}"}}',
        f'{{"seq":1,"prev":"{"0" * 32}","at":5,"kind":"complete","output":"{large}"',
        f'{{"seq":2,"prev":"{"0" * 32}","at":5,"kind":"complete","output":"{large}","output":"{large}"}}',
        f'{{"kind":"complete","output":"{large}"}}',
        f'"{large}"',
        large,
        f'{{"seq":6,"prev":"{large}","at":5,"kind":"start"}}',
        f'{{"seq":7,"prev":"{"0" * 32}","at":5,"kind":"created","id":"{large}","input":"{large}"}}',
        f' {{"seq":8,"prev":"{"0" * 32}","at":5,"kind":"complete","output":"{large}"}} ',
    ]
    written: list[Record] = [(seq, 5, "k", text.encode()) for seq, text in enumerate(texts)]
    create(store, written=written)
    equal(everything(store), written, "the records")
    equal(all_bodies(store), joined(written), "the bodies")
