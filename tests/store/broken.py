"""Stores that break the contract, each in one point: what the public checks have to find."""

from collections.abc import Callable, Sequence
from typing import Any

from stepwell import errors, journal
from stepwell._spec import EXECUTION_TERMINAL
from stepwell.store import ExecutionRow, Record, Ticket
from stepwell.store.memory import MemorySource, MemoryStore
from stepwell.store.ticket import Known

BROKEN: dict[str, type[MemoryStore]] = {}


def broken(made: type[MemoryStore]) -> type[MemoryStore]:
    BROKEN[made.__name__] = made
    return made


def known(value: Any) -> Any:
    ticket = Known()
    ticket.value = value
    return ticket


def changed(ticket: Ticket[Any], change: Callable[[Any], Any]) -> Any:
    """The ticket with another outcome; an error stays."""
    if isinstance(ticket, Known) and ticket.error is None:
        ticket.value = change(ticket.value)
    return ticket


def source_of(made: type[MemoryStore]) -> MemorySource:
    class Source(MemorySource):
        def open(self, tenant: str) -> MemoryStore:
            super().open(tenant)
            return made(self, tenant)

    return Source()


# --- writing ------------------------------------------------------------------------------------------------------


@broken
class NoFence(MemoryStore):
    def append(self, execution_id: str, expected_seq: int, epoch: int, *rest: Any, **options: Any) -> Any:
        entry = self._entries.get(execution_id)
        now = epoch if entry is None else entry.row.epoch
        return super().append(execution_id, expected_seq, now, *rest, **options)


@broken
class NoComparison(MemoryStore):
    def append(
        self,
        execution_id: str,
        expected_seq: int,
        epoch: int,
        action_id: bytes,
        records: Sequence[Record],
        *rest: Any,
        **options: Any,
    ) -> Any:
        entry = self._entries.get(execution_id)
        if entry is not None and records and action_id not in entry.action_ids.values():
            at = entry.row.version
            records = [(at + 1 + each, *record[1:]) for each, record in enumerate(records)]
            expected_seq = at
        return super().append(execution_id, expected_seq, epoch, action_id, records, *rest, **options)


@broken
class AppendsTwice(MemoryStore):
    def append(
        self, execution_id: str, expected_seq: int, epoch: int, action_id: bytes, *rest: Any, **options: Any
    ) -> Any:
        entry = self._entries.get(execution_id)
        again = entry is not None and action_id in entry.action_ids.values()
        ticket = super().append(execution_id, expected_seq, epoch, action_id, *rest, **options)
        if again and entry is not None:
            entry.records += rest[0]
        return ticket


@broken
class ForgetsActions(MemoryStore):
    def append(self, execution_id: str, *rest: Any, **options: Any) -> Any:
        entry = self._entries.get(execution_id)
        if entry is not None:
            entry.action_ids.clear()
        return super().append(execution_id, *rest, **options)


@broken
class RemembersTheLastAction(MemoryStore):
    def append(self, execution_id: str, *rest: Any, **options: Any) -> Any:
        entry = self._entries.get(execution_id)
        if entry is not None:
            last = max(entry.action_ids)
            entry.action_ids = {last: entry.action_ids[last]}
        return super().append(execution_id, *rest, **options)


@broken
class TakesAnyDurability(MemoryStore):
    def append(self, *rest: Any, **options: Any) -> Any:
        options.pop("durability", None)
        return super().append(*rest, **options)


@broken
class ForgetsKeys(MemoryStore):
    def create(self, new: Any, *rest: Any, **options: Any) -> Any:
        self._keys.clear()
        return super().create(new, *rest, **options)


@broken
class OverwritesWhatIsThere(MemoryStore):
    def create(self, new: Any, *rest: Any, **options: Any) -> Any:
        self._entries.pop(new.id, None)
        return super().create(new, *rest, **options)


@broken
class LosesTheTimer(MemoryStore):
    def append(
        self,
        execution_id: str,
        seq: int,
        epoch: int,
        action: bytes,
        records: Any,
        row: Any,
        *rest: Any,
        **options: Any,
    ) -> Any:
        return super().append(
            execution_id, seq, epoch, action, records, row._replace(wake_at_ns=None), *rest, **options
        )


# --- claiming -----------------------------------------------------------------------------------------------------


@broken
class ClaimsFromAnyEpoch(MemoryStore):
    def claim(self, execution_id: str, owner: str, epoch: int, lease_until_ns: int | None = None) -> Any:
        entry = self._entries.get(execution_id)
        now = epoch if entry is None else entry.row.epoch
        return super().claim(execution_id, owner, now, lease_until_ns)


@broken
class CountsNoClaims(MemoryStore):
    def claim(self, execution_id: str, *rest: Any, **options: Any) -> Any:
        ticket = super().claim(execution_id, *rest, **options)
        entry = self._entries.get(execution_id)
        if entry is not None:
            entry.row = entry.row._replace(claims=0)
        return ticket


@broken
class CountsForEver(MemoryStore):
    def append(
        self,
        execution_id: str,
        seq: int,
        epoch: int,
        action: bytes,
        records: Any,
        row: Any,
        *rest: Any,
        **options: Any,
    ) -> Any:
        return super().append(
            execution_id, seq, epoch, action, records, row._replace(progress=False), *rest, **options
        )


@broken
class ReleasesForAnybody(MemoryStore):
    def release(self, execution_id: str, epoch: int) -> Any:
        entry = self._entries.get(execution_id)
        return super().release(execution_id, epoch if entry is None else entry.row.epoch)


@broken
class CountsWhatIsGivenUp(MemoryStore):
    def release(self, execution_id: str, epoch: int) -> Any:
        entry = self._entries.get(execution_id)
        before = 0 if entry is None else entry.row.claims
        ticket = super().release(execution_id, epoch)
        if entry is not None:
            entry.row = entry.row._replace(claims=before)
        return ticket


@broken
class ForgetsDeathsWhenGivenUp(MemoryStore):
    def release(self, execution_id: str, epoch: int) -> Any:
        ticket = super().release(execution_id, epoch)
        entry = self._entries.get(execution_id)
        if entry is not None:
            entry.row = entry.row._replace(claims=0)
        return ticket


@broken
class ForgetsLeases(MemoryStore):
    def claim(self, execution_id: str, owner: str, epoch: int, lease_until_ns: int | None = None) -> Any:
        return super().claim(execution_id, owner, epoch)


@broken
class RenewsForAnybody(MemoryStore):
    def renew(self, execution_id: str, epoch: int, lease_until_ns: int) -> Any:
        entry = self._entries.get(execution_id)
        return super().renew(execution_id, epoch if entry is None else entry.row.epoch, lease_until_ns)


@broken
class RenewsForTheMomentOnly(MemoryStore):
    def renew(self, execution_id: str, epoch: int, lease_until_ns: int) -> Any:
        entry = self._entries.get(execution_id)
        row = None if entry is None else entry.row
        ticket = super().renew(execution_id, epoch, lease_until_ns)
        if entry is not None and row is not None:
            entry.row = row
        return ticket


# --- reading ------------------------------------------------------------------------------------------------------


@broken
class LeaksTenants(MemoryStore):
    def __init__(self, source: MemorySource, tenant: str) -> None:
        super().__init__(source, tenant)
        self._all = source._tenants

    def get(self, execution_id: str) -> Any:
        for entries in self._all.values():
            if execution_id in entries:
                return known(entries[execution_id].row)
        return super().get(execution_id)


@broken
class SharesKeysOfTenants(MemoryStore):
    def find(self, blueprint: str, key: str) -> Any:
        found = [each for (_, *rest), each in self._keys.items() if rest == [blueprint, key]]
        return known(ExecutionRow(found[0], *[None] * 16)) if found else super().find(blueprint, key)  # type: ignore[arg-type]


@broken
class TellsThatItIsForeign(MemoryStore):
    def __init__(self, source: MemorySource, tenant: str) -> None:
        super().__init__(source, tenant)
        self._all = source._tenants

    def get(self, execution_id: str) -> Any:
        if execution_id not in self._entries and any(execution_id in each for each in self._all.values()):
            raise errors.NotFound(f"{execution_id} belongs to another tenant")
        return super().get(execution_id)


@broken
class ListsOldestFirst(MemoryStore):
    def list(self, *rest: Any, **options: Any) -> Any:
        return changed(super().list(*rest, **options), lambda rows: rows[::-1])


@broken
class RepeatsTheLastOfAPage(MemoryStore):
    def list(self, state: str | None = None, after: str | None = None, *rest: Any, **options: Any) -> Any:
        return super().list(state, None if after is None else after + "\0", *rest, **options)


@broken
class ListsEveryBlueprint(MemoryStore):
    def list(
        self,
        state: str | None = None,
        after: str | None = None,
        limit: int = 100,
        blueprint: str | None = None,
    ) -> Any:
        return super().list(state, after, limit)


@broken
class CountsEveryBlueprint(MemoryStore):
    def count(self, blueprint: str | None = None) -> Any:
        return super().count()


@broken
class ForgetsChildren(MemoryStore):
    def children(self, parent_id: str, after: str | None = None, limit: int = 100) -> Any:
        return changed(super().children(parent_id, after, limit), lambda rows: rows[:1])


@broken
class WakesByAge(MemoryStore):
    def due(self, now_ns: int, limit: int = 100) -> Any:
        return changed(super().due(now_ns, limit), lambda rows: sorted(rows, key=lambda row: row.id))


@broken
class WakesTooLate(MemoryStore):
    def due(self, now_ns: int, limit: int = 100) -> Any:
        return super().due(now_ns - 1, limit)


@broken
class WakesTheEnded(MemoryStore):
    def due(self, now_ns: int, limit: int = 100) -> Any:
        found = [entry.row for entry in self._entries.values()]
        come = [(row.wake_at_ns, row.id, row) for row in found if row.wake_at_ns is not None]
        due = [row for at, _, row in sorted(come) if at <= now_ns]
        return changed(super().due(now_ns, limit), lambda page: due[:limit])


@broken
class WakesTheWaitingOnly(MemoryStore):
    def due(self, now_ns: int, limit: int = 100) -> Any:
        return changed(
            super().due(now_ns, limit), lambda page: [row for row in page if row.state == "waiting"]
        )


@broken
class TakesAnyLimit(MemoryStore):
    def due(self, now_ns: int, limit: int = 100) -> Any:
        return super().due(now_ns, limit if isinstance(limit, int) and 0 < limit <= 1_000 else 10)


@broken
class LosesARecordOfAPage(MemoryStore):
    def load(self, execution_id: str, after_seq: int = -1) -> Any:
        return super().load(execution_id, after_seq + (after_seq == 999))


@broken
class GivesEverythingAtOnce(MemoryStore):
    def load(self, execution_id: str, after_seq: int = -1) -> Any:
        return known(self._entry(execution_id).records[after_seq + 1 :])


@broken
class JoinsWithoutNewlines(MemoryStore):
    def bodies(self, execution_id: str, after_seq: int = -1) -> Any:
        return changed(
            super().bodies(execution_id, after_seq), lambda page: (page[0], page[1].replace(b"\n", b""))
        )


@broken
class CutsLargeBodies(MemoryStore):
    def bodies(self, execution_id: str, after_seq: int = -1) -> Any:
        return changed(
            super().bodies(execution_id, after_seq), lambda page: (page[0], page[1][:60_000] + b"\n")
        )


@broken
class DigestsOfTheOneBefore(MemoryStore):
    def digests(self, execution_id: str, after_seq: int = -1) -> Any:
        return changed(
            super().digests(execution_id, after_seq),
            lambda page: [(seq, journal.digest(b"")) for seq, _ in page],
        )


# --- delivering ---------------------------------------------------------------------------------------------------


@broken
class TheLastDeliveryWins(MemoryStore):
    def deliver(self, execution_id: str, delivery_id: str, *rest: Any) -> Any:
        entry = self._entries.get(execution_id)
        if entry is not None:
            entry.inbox.pop(delivery_id, None)
        return super().deliver(execution_id, delivery_id, *rest)


@broken
class RefusesRepetitions(MemoryStore):
    def deliver(self, execution_id: str, delivery_id: str, *rest: Any) -> Any:
        entry = self._entries.get(execution_id)
        if entry is not None and delivery_id in entry.inbox:
            return known(False)
        return super().deliver(execution_id, delivery_id, *rest)


@broken
class DeliversToTheDead(MemoryStore):
    def deliver(self, execution_id: str, *rest: Any) -> Any:
        entry = self._entries.get(execution_id)
        if entry is None:
            return super().deliver(execution_id, *rest)
        row, entry.row = entry.row, entry.row._replace(state="running")
        try:
            return super().deliver(execution_id, *rest)
        finally:
            entry.row = row


@broken
class TakesNothingOut(MemoryStore):
    def append(self, *rest: Any, **options: Any) -> Any:
        options.pop("taken", None)
        return super().append(*rest, **options)


@broken
class TakesOutAtOnce(MemoryStore):
    def append(self, execution_id: str, *rest: Any, **options: Any) -> Any:
        if execution_id in self._entries:
            self._entries[execution_id].taken.update(options.get("taken", ()))
        return super().append(execution_id, *rest, **options)


@broken
class SortsTheInbox(MemoryStore):
    def inbox(self, execution_id: str, after: int = 0, limit: int = 100) -> Any:
        return changed(
            super().inbox(execution_id, after, limit), lambda page: sorted(page, key=lambda each: each.id)
        )


@broken
class GivesPlacesTwice(MemoryStore):
    def doom(self, execution_ids: Sequence[str]) -> Any:
        ticket = super().doom(execution_ids)
        places = [each.place for entry in self._entries.values() for each in entry.inbox.values()]
        self._places[self._tenant] = max(places, default=0)
        return ticket


@broken
class CountsPlacesByExecution(MemoryStore):
    def deliver(self, execution_id: str, *rest: Any) -> Any:
        entry = self._entries.get(execution_id)
        self._places[self._tenant] = 0 if entry is None else len(entry.inbox)
        return super().deliver(execution_id, *rest)


@broken
class ArrivesForEver(MemoryStore):
    def arrivals(self, after: int = 0, limit: int = 100) -> Any:
        every = [(each.place, own) for own, entry in self._entries.items() for each in entry.inbox.values()]
        left = sorted(each for each in every if each[0] > after)
        return changed(super().arrivals(after, limit), lambda page: left[:limit])


@broken
class ForgetsWhatItTook(MemoryStore):
    def deliver(self, execution_id: str, delivery_id: str, *rest: Any) -> Any:
        entry = self._entries.get(execution_id)
        if entry is not None and delivery_id in entry.taken and entry.row.state in EXECUTION_TERMINAL:
            return known(False)
        return super().deliver(execution_id, delivery_id, *rest)


# --- answering ----------------------------------------------------------------------------------------------------


@broken
class OpensNothing(MemoryStore):
    def append(self, *rest: Any, **options: Any) -> Any:
        options.pop("opened", None)
        return super().append(*rest, **options)


@broken
class OpensNothingAtFirst(MemoryStore):
    def create(self, *rest: Any, **options: Any) -> Any:
        options.pop("opened", None)
        return super().create(*rest, **options)


@broken
class OpensForTheLast(MemoryStore):
    def append(self, *rest: Any, **options: Any) -> Any:
        for each in options.get("opened", ()):
            self._awaited.pop(each, None)
        return super().append(*rest, **options)


@broken
class OpensWhatIsRefused(MemoryStore):
    def append(self, execution_id: str, *rest: Any, **options: Any) -> Any:
        if execution_id in self._entries:
            for each in options.get("opened", ()):
                self._awaited.setdefault(each, execution_id)
        return super().append(execution_id, *rest, **options)


@broken
class ForgetsStepsAtTheEnd(MemoryStore):
    def awaited(self, step_id: str) -> Any:
        ended = lambda row: row.state in EXECUTION_TERMINAL
        return changed(super().awaited(step_id), lambda row: None if ended(row) else row)


@broken
class LeaksSteps(MemoryStore):
    def __init__(self, source: MemorySource, tenant: str) -> None:
        super().__init__(source, tenant)
        self._all = source._awaited

    def awaited(self, step_id: str) -> Any:
        if step_id not in self._awaited and any(step_id in each for each in self._all.values()):
            raise errors.NotFound(f"{step_id} belongs to another tenant")
        return super().awaited(step_id)


# --- retention ----------------------------------------------------------------------------------------------------


@broken
class DoomsTheLiving(MemoryStore):
    def doom(self, execution_ids: Sequence[str]) -> Any:
        for each in execution_ids:
            if each in self._entries:
                self._entries[each].row = self._entries[each].row._replace(state="completed")
        return super().doom(execution_ids)


@broken
class KeepsKeysOfTheDoomed(MemoryStore):
    def doom(self, execution_ids: Sequence[str]) -> Any:
        kept = dict(self._keys)
        ticket = super().doom(execution_ids)
        self._keys.update({keyed: each for keyed, each in kept.items() if keyed not in self._keys})
        return ticket

    def find(self, blueprint: str, key: str) -> Any:
        known_id = self._keys.get((self._tenant, blueprint, key))
        return super().find(blueprint, key) if known_id in self._entries else known(None)


@broken
class DoomsWithoutASweep(MemoryStore):
    def doom(self, execution_ids: Sequence[str]) -> Any:
        ticket = super().doom(execution_ids)
        self._doomed.clear()
        return ticket


@broken
class SweepsAll(MemoryStore):
    def sweep(self, most: int) -> Any:
        return super().sweep(10**9 if isinstance(most, int) and most > 0 else most)


@broken
class SweepsEveryTenant(MemoryStore):
    def __init__(self, source: MemorySource, tenant: str) -> None:
        super().__init__(source, tenant)
        self._everyones = source._doomed

    def doom(self, execution_ids: Sequence[str]) -> Any:
        ticket = super().doom(execution_ids)
        for each in self._everyones.values():
            each.update(self._doomed)
        return ticket


@broken
class FreesIdsTooSoon(MemoryStore):
    def create(self, *rest: Any, **options: Any) -> Any:
        doomed, self._doomed = self._doomed, {}
        try:
            return super().create(*rest, **options)
        finally:
            self._doomed = doomed


@broken
class FinishesInAnyState(MemoryStore):
    def finished(self, state: str, after: str = "", limit: int = 500) -> Any:
        return known([]) if state == "running" else super().finished(state, after, limit)


# --- waiting ------------------------------------------------------------------------------------------------------


@broken
class GoesOnWhenClosed(MemoryStore):
    def close(self) -> None:
        pass


class _Once(Known):
    def result(self) -> Any:
        value, self.value = super().result(), None
        return value


@broken
class AnswersOnce(MemoryStore):
    def append(self, *rest: Any, **options: Any) -> Any:
        plain, once = super().append(*rest, **options), _Once()
        assert isinstance(plain, Known)
        once.value, once.error = plain.value, plain.error
        return once
