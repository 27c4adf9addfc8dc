"""What every store has to do. A test module makes a class of this and gives it a source."""

import asyncio
import threading

import pytest

from stepwell import Conflict, ExecutionState, NotFound, StoreError, TenantRequired, ValidationError
from stepwell.store import NewExecution, Projection, Record, Store, StoreSource

RUNNING = Projection("running", None, "0" * 32)


def records(first: int, last: int, size: int = 10) -> list[Record]:
    return [(seq, 1_000 + seq, f"kind{seq}", bytes([seq % 251]) * size) for seq in range(first, last + 1)]


def create(
    store: Store, id: str, key: str | None = None, blueprint: str = "m.f", owner: str | None = "me"
) -> tuple[str, bool]:
    new = NewExecution(id, blueprint, key, "v1", None, None, owner)
    return store.create(new, b"create-" + id.encode(), records(0, 1), RUNNING).wait(10)


def everything(store: Store, id: str) -> list[Record]:
    found: list[Record] = []
    while page := store.load(id, len(found) - 1).wait(10):
        found += page
    return found


class StoreSuite:
    """The contract. `source` is a fixture that gives an empty `StoreSource`."""

    def test_create_and_read_back(self, source: StoreSource) -> None:
        store = source.open("acme")
        new = NewExecution("exec_1", "m.f", "k", "v1", "execution", "exec_0", "me")
        row = Projection("waiting", "timer", "ab" * 16, wake_at_ns=99)
        assert store.create(new, b"a", records(0, 2), row).wait(10) == ("exec_1", True)
        found = store.get("exec_1").wait(10)
        assert found[:12] == (
            "exec_1", "m.f", "k", "v1", "execution", "exec_0", "waiting", "timer", 2, "ab" * 16, 1, "me",
        )  # fmt: skip
        assert (found.created_at_ns, found.updated_at_ns, found.wake_at_ns) == (1_000, 1_002, 99)
        assert found.created_at.utcoffset() is not None
        assert everything(store, "exec_1") == records(0, 2)
        store.close()

    def test_append_moves_the_row(self, source: StoreSource) -> None:
        store = source.open("acme")
        create(store, "exec_1")
        row = Projection("completed", None, "cd" * 16)
        assert store.append("exec_1", 1, 1, b"x", records(2, 4), row).wait(10) == 4
        found = store.get("exec_1").wait(10)
        assert (found.state, found.version, found.head, found.updated_at_ns) == (
            "completed",
            4,
            "cd" * 16,
            1_004,
        )
        assert everything(store, "exec_1") == records(0, 4)

    def test_of_two_writers_one_is_refused(self, source: StoreSource) -> None:
        store = source.open("acme")
        create(store, "exec_1")
        mine = store.append("exec_1", 1, 1, b"mine", records(2, 2, size=5), RUNNING)
        theirs = store.append("exec_1", 1, 1, b"theirs", records(2, 3), RUNNING)
        assert mine.wait(10) == 2
        with pytest.raises(Conflict):
            theirs.wait(10)
        assert everything(store, "exec_1") == [*records(0, 1), *records(2, 2, size=5)]

    def test_the_same_append_again_does_its_work_once(self, source: StoreSource) -> None:
        store = source.open("acme")
        create(store, "exec_1")
        for _ in range(3):
            assert store.append("exec_1", 1, 1, b"x", records(2, 3), RUNNING).wait(10) == 3
        assert create(store, "exec_2") == create(store, "exec_2") == ("exec_2", True)
        assert everything(store, "exec_1") == records(0, 3)
        # Not even after others: the answer is still the one of its own records.
        assert store.append("exec_1", 3, 1, b"y", records(4, 4), RUNNING).wait(10) == 4
        assert store.append("exec_1", 1, 1, b"x", records(2, 3), RUNNING).wait(10) == 3

    def test_a_taken_id_is_refused(self, source: StoreSource) -> None:
        store = source.open("acme")
        create(store, "exec_1")
        with pytest.raises(Conflict):
            store.create(
                NewExecution("exec_1", "m.f", None, None, None, None, None), b"other", records(0, 1), RUNNING
            ).wait(10)

    def test_the_same_key_is_the_same_execution(self, source: StoreSource) -> None:
        store = source.open("acme")
        assert create(store, "exec_1", key="k") == ("exec_1", True)
        assert create(store, "exec_2", key="k") == ("exec_1", False)
        assert create(store, "exec_3", key="k", blueprint="m.g") == ("exec_3", True)
        assert create(store, "exec_4") == ("exec_4", True)
        assert create(store, "exec_5") == ("exec_5", True)
        found = store.find("m.f", "k").wait(10)
        assert found is not None
        assert found.id == "exec_1"
        assert store.find("m.f", "absent").wait(10) is None
        with pytest.raises(NotFound):
            store.get("exec_2").wait(10)

    def test_a_claim_fences_off_the_owner_before(self, source: StoreSource) -> None:
        store = source.open("acme")
        create(store, "exec_1")
        assert store.claim("exec_1", "you", 1).wait(10) == 2
        assert store.claim("exec_1", "you", 1).wait(10) == 2, "the same claim again"
        with pytest.raises(Conflict):
            store.claim("exec_1", "she", 1).wait(10)
        with pytest.raises(Conflict):
            store.append("exec_1", 1, 1, b"old", records(2, 2), RUNNING).wait(10)
        assert store.append("exec_1", 1, 2, b"new", records(2, 2), RUNNING).wait(10) == 2
        assert store.release("exec_1", 1).wait(10) is False
        assert store.get("exec_1").wait(10).owner == "you"
        assert store.release("exec_1", 2).wait(10) is True
        assert store.get("exec_1").wait(10).owner is None

    def test_tenants_do_not_see_each_other(self, source: StoreSource) -> None:
        acme, other = source.open("acme"), source.open("other")
        create(acme, "exec_1", key="k")
        requests = [
            lambda store, ident: store.get(ident),
            lambda store, ident: store.load(ident),
            lambda store, ident: store.claim(ident, "you", 1),
            lambda store, ident: store.release(ident, 1),
            lambda store, ident: store.append(ident, 1, 1, b"x", records(2, 2), RUNNING),
        ]
        for request in requests:
            with pytest.raises(NotFound) as foreign:
                request(other, "exec_1").wait(10)
            with pytest.raises(NotFound) as absent:
                request(other, "exec_9").wait(10)
            assert str(foreign.value).replace("exec_1", "exec_9") == str(absent.value)
        assert other.list().wait(10) == []
        assert other.find("m.f", "k").wait(10) is None
        assert create(other, "exec_1", key="k") == ("exec_1", True), "ids and keys are each tenant's own"
        assert everything(acme, "exec_1") == records(0, 1)
        assert acme.tenant == "acme"

    def test_listing_goes_by_pages(self, source: StoreSource) -> None:
        store = source.open("acme")
        for number in range(10):
            create(store, f"exec_{number}")
            if number % 3 == 0:
                done = Projection("completed", None, "0" * 32)
                store.append(f"exec_{number}", 1, 1, b"x", records(2, 2), done).wait(10)
        seen, after = [], None
        while page := store.list(None, after, 4).wait(10):
            assert len(page) <= 4
            seen += [row.id for row in page]
            after = page[-1].id
        assert seen == [f"exec_{number}" for number in reversed(range(10))]
        assert [row.id for row in store.list("completed").wait(10)] == [
            "exec_9",
            "exec_6",
            "exec_3",
            "exec_0",
        ]
        assert [row.id for row in store.list("completed", "exec_6", 1).wait(10)] == ["exec_3"]
        assert store.list(str(ExecutionState.FAILED)).wait(10) == []

    def test_a_long_journal_comes_in_pages(self, source: StoreSource) -> None:
        store = source.open("acme")
        create(store, "exec_1")
        store.append("exec_1", 1, 1, b"x", records(2, 2_500), RUNNING).wait(10)
        assert len(store.load("exec_1").wait(10)) < 2_500
        assert everything(store, "exec_1") == records(0, 2_500)
        assert [record[0] for record in store.load("exec_1", 2_498).wait(10)] == [2_499, 2_500]

    @pytest.mark.parametrize("bad", [[], records(3, 3), [*records(2, 2), *records(4, 4)]])
    def test_records_that_do_not_follow_are_refused(self, source: StoreSource, bad: list[Record]) -> None:
        store = source.open("acme")
        create(store, "exec_1")
        with pytest.raises(ValidationError):
            store.append("exec_1", 1, 1, b"x", bad, RUNNING)
        assert everything(store, "exec_1") == records(0, 1)

    @pytest.mark.parametrize("limit", [0, -1, 1_001])
    def test_a_page_has_a_size(self, source: StoreSource, limit: int) -> None:
        with pytest.raises(ValidationError):
            source.open("acme").list(limit=limit)

    @pytest.mark.parametrize("tenant", ["", "a\nb", "x" * 256, "\ud800"])
    def test_a_tenant_is_a_label(self, source: StoreSource, tenant: str) -> None:
        with pytest.raises((ValidationError, TenantRequired)):
            source.open(tenant)

    @pytest.mark.parametrize("hostile", ["' OR 1=1 --", "%", "_", "exec_1%", "a\0b", "é", "💣", "*"])
    def test_hostile_text_is_just_text(self, source: StoreSource, hostile: str) -> None:
        store = source.open("acme")
        create(store, "exec_1", key="k")
        with pytest.raises(NotFound):
            store.get(hostile).wait(10)
        assert store.find(hostile, "k").wait(10) is None
        assert store.find("m.f", hostile).wait(10) is None
        assert store.list(hostile).wait(10) == []
        assert create(store, "exec_2", key=hostile, blueprint=hostile) == ("exec_2", True)
        found = store.find(hostile, hostile).wait(10)
        assert found is not None
        assert found.id == "exec_2"

    def test_many_threads_append_to_their_own(self, source: StoreSource) -> None:
        store = source.open("acme")
        failures: list[BaseException] = []

        def work(number: int) -> None:
            try:
                create(store, f"exec_{number}")
                for seq in range(2, 30):
                    store.append(f"exec_{number}", seq - 1, 1, b"%d" % seq, records(seq, seq), RUNNING).wait(
                        20
                    )
            except Exception as error:  # noqa: BLE001
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert all(everything(store, f"exec_{number}") == records(0, 29) for number in range(8))

    def test_threads_that_race_for_one_place(self, source: StoreSource) -> None:
        store = source.open("acme")
        create(store, "exec_1")
        outcomes: list[str] = []

        def work(number: int) -> None:
            try:
                store.append("exec_1", 1, 1, b"%d" % number, records(2, 2), RUNNING).wait(10)
                outcomes.append("written")
            except Conflict:
                outcomes.append("refused")

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["refused"] * 7 + ["written"]

    def test_a_cancelled_wait_loses_nothing(self, source: StoreSource) -> None:
        store = source.open("acme")
        create(store, "exec_1")

        async def append() -> int:
            return await store.append("exec_1", 1, 1, b"x", records(2, 2), RUNNING)

        async def cancelled() -> None:
            task = asyncio.create_task(append())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])

        asyncio.run(cancelled())
        assert store.append("exec_1", 1, 1, b"x", records(2, 2), RUNNING).wait(10) == 2
        assert everything(store, "exec_1") == records(0, 2)

    def test_every_loop_is_told(self, source: StoreSource) -> None:
        store = source.open("acme")
        create(store, "exec_1")

        async def read() -> list[str]:
            rows = await asyncio.gather(*(store.get("exec_1") for _ in range(20)))
            return [row.id for row in rows]

        results: list[list[str]] = []
        threads = [threading.Thread(target=lambda: results.append(asyncio.run(read()))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [["exec_1"] * 20] * 4

    def test_a_loop_that_is_gone_is_no_trouble(self, source: StoreSource) -> None:
        store = source.open("acme")
        create(store, "exec_1")
        loop = asyncio.new_event_loop()
        loop.close()
        ticket = store.append("exec_1", 1, 1, b"x", records(2, 2), RUNNING)
        if not ticket.done:
            ticket.then(loop, lambda _: None)
        assert ticket.wait(10) == 2
        assert store.get("exec_1").wait(10).version == 2

    def test_closing(self, source: StoreSource) -> None:
        first, second = source.open("acme"), source.open("acme")
        create(first, "exec_1")
        first.close()
        first.close()
        with pytest.raises(StoreError):
            first.get("exec_1")
        assert second.get("exec_1").wait(10).id == "exec_1"
        second.close()
        assert source.open("acme").get("exec_1").wait(10).id == "exec_1"
