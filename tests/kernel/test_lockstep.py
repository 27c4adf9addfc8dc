"""Both twins are driven at once, and after each call nothing of the one differs from the other.

`STEPWELL_LOCKSTEP_EXAMPLES` says how many runs of 40 calls are made.
"""

import copy
import json
import os
import pickle
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import precondition, rule

from kernel import arguments as args
from kernel.arguments import Ref, Text, Word, mostly, resolved
from kernel.drive import (
    EXEC,
    T0,
    Twin,
    bodies_of,
    forged,
    looped,
    outcome,
    raised,
    readings,
    seen,
    shown,
)
from kernel.lockstep import Calls
from stepwell import Action, ResourceLimits, StepState, StepwellError, TenantContext

EXAMPLES = int(os.environ.get("STEPWELL_LOCKSTEP_EXAMPLES", "300"))
SPEC = Path(__file__).parents[2] / "spec"
RECORDS: dict[str, dict[str, str]] = tomllib.loads((SPEC / "journal.toml").read_text())["records"]
KINDS = [kind for kind in RECORDS if kind != "created"]
STEP_KINDS = [kind for kind in KINDS if kind.startswith("step")]

actions = st.sampled_from(KINDS + STEP_KINDS).flatmap(
    lambda kind: st.tuples(st.just(kind), args.fields_of(kind, RECORDS[kind]), args.at_times)
)


class Lockstep(Calls):
    """Native and pure, or pure and copies of itself, under the same clock and with the same ids."""

    # --- actions as values ---

    @staticmethod
    def action(twin: Twin, found: tuple[str, dict[str, object], object]) -> Action:
        kind, given, at = found
        return Action(kind, at_ns=at, **{name: resolved(twin, value) for name, value in given.items()})

    @rule(found=actions)
    def apply(self, found: tuple[str, dict[str, object], object]) -> None:
        self.both(lambda twin: twin.ex.apply(self.action(twin, found)))

    @rule(found=st.lists(actions, max_size=5), junk=st.integers(0, 30))
    def apply_many(self, found: list[tuple[str, dict[str, object], object]], junk: int) -> None:
        def call(twin: Twin) -> object:
            made = []
            for one in found:
                try:
                    made.append(self.action(twin, one))
                except StepwellError:
                    continue
            return twin.ex.apply_many([*made, "junk"] if junk == 0 else made)

        self.both(call)

    @rule(found=actions)
    def apply_apart(self, found: tuple[str, dict[str, object], object]) -> None:
        """One by one, the actions that a bulk action stands for make the steps that it makes."""

        def call(twin: Twin) -> object:
            other = twin.backend.Execution.from_json(twin.ex.to_json(), clock=twin.clock, ids=twin.ids)
            action = twin.ex.apply(self.action(twin, found))
            expanded = action.expand()
            other.apply_many(expanded)
            assert json.loads(other.to_json())["steps"] == json.loads(twin.ex.to_json())["steps"]
            assert other.version == twin.ex.version - 1 + len(expanded)
            assert other.step_order == twin.ex.step_order
            return expanded

        self.both(call)

    @rule(found=actions)
    def apply_pure_data(self, found: tuple[str, dict[str, object], object]) -> None:
        self.both(lambda twin: twin.ex.apply(Action.from_json(self.action(twin, found).to_json())))

    # --- the journal, and the whole execution elsewhere ---

    @rule(_=st.integers(0, 99))  # what takes nothing would be repeated too often
    def drain(self, _: int) -> None:
        def call(twin: Twin) -> object:
            records = twin.ex.drain()
            twin.journal += records
            return records

        self.both(call)

    @rule(bare=st.booleans(), schema=st.sampled_from([None, None, "v1", "v2", 5, "\ud800"]))
    def replay(self, bare: bool, schema: object) -> None:
        version = self.twins[0].journal[-1][0] if self.twins[0].journal else None
        for given in (None, version, 0, 2**70, "1", 1.0):
            self.both(lambda twin: self.replayed(twin, twin.journal, bare, schema, given))  # noqa: B023
        for twin in self.twins:
            self.replays(twin, bare)

    def replays(self, twin: Twin, bare: bool) -> None:
        """What was drained gives the execution as it was then."""
        if twin.journal:
            again = self.replayed(twin, twin.journal, bare, None, None)
            assert again.version == twin.journal[-1][0]
            assert (again == twin.ex) == (twin.ex.version == again.version)

    @staticmethod
    def replayed(twin: Twin, journal: list[Any], bare: bool, schema: object, version: object) -> Any:
        records = bodies_of(journal) if bare else journal
        return twin.backend.Execution.replay(
            twin.ex.id, records, schema, version=version, clock=twin.clock, ids=twin.ids
        )

    @rule(_=st.integers(0, 99))
    def take_snapshot(self, _: int) -> None:
        for twin in self.twins:
            twin.snapshots.append((twin.ex.to_json(), len(twin.journal)))

    @precondition(lambda self: self.twins[0].snapshots)
    @rule(
        which=st.integers(0, 30),
        cut=st.integers(0, 3),
        shape=st.sampled_from(["records", "bodies", "buffer"]),
    )
    def replay_tail(self, which: int, cut: int, shape: str) -> None:
        """From a snapshot on, the tail of the journal makes what the journal makes."""

        def call(twin: Twin) -> object:
            snapshot, drained = twin.snapshots[which % len(twin.snapshots)]
            end = max(len(twin.journal) - cut, drained)
            tail: Any = twin.journal[drained:end]
            if shape != "records":
                tail = bodies_of(tail)
            if shape == "buffer":
                tail = b"\n".join(tail)
            given = {"clock": twin.clock, "ids": twin.ids}
            again = twin.backend.Execution.replay(twin.ex.id, tail, snapshot=snapshot, **given)
            held = twin.backend.Execution.from_json(snapshot)
            if end > held.version:
                whole = twin.backend.Execution.replay(twin.ex.id, twin.journal[:end], **given)
                assert (again.to_json(), again.head) == (whole.to_json(), whole.head)
            else:
                assert again == held
            return again

        self.both(call)

    @precondition(lambda self: self.twins[0].journal)
    @rule(data=st.data())
    def replay_damaged(self, data: st.DataObject) -> None:
        records = list(self.twins[0].journal)
        at = data.draw(st.integers(0, len(records) - 1))
        to = data.draw(st.integers(0, len(records) - 1))
        seq, time, kind, body = records[at]
        columns = [
            (seq + 1, time, kind, body), (seq, time + 1, kind, body), (seq, time, "plan", body),
            (None, time, kind, body), (seq, time, kind, body + b" "), (seq, float(time), kind, body),
            (str(seq), time, kind, body),
            (seq, 2**70, kind, body), (seq, time, b"start", body), (seq, time, kind), (seq, time, kind, body.decode()),
            [seq, time, kind, body], 5, None,
        ]  # fmt: skip
        damages: dict[str, Callable[[], object]] = {
            "cut": lambda: records[:at],
            "lose": lambda: records[:at] + records[at + 1 :],
            "move": lambda: [*records[:to], records[at], *records[to:]],
            "columns": lambda: [*records[:at], data.draw(st.sampled_from(columns)), *records[at + 1 :]],
            "forge": lambda: forged(bodies_of(records[:at] + records[at + 1 :])),
            "shuffle": lambda: forged(data.draw(st.permutations(bodies_of(records)))),
            "repeat": lambda: forged(bodies_of([*records, records[at]])),
            "iterator": lambda: iter(records),
            "buffer": lambda: [b"".join(body + ends for body in bodies_of(records[:at] + records[to:]))],
            "tail": lambda: records[to:],
        }
        ends = data.draw(st.sampled_from([b"\n", b"\n", b"", b"\r\n", b"\n\n", b" "]))
        name = data.draw(st.sampled_from(sorted(damages)))
        damaged = list(damages[name]())  # type: ignore[call-overload]
        which = data.draw(mostly(st.none(), range(5), [b"{}", 5], odds=4))
        ident = data.draw(mostly(st.just(None), [EXEC, "exec_", 5, "\ud800"]))

        def call(twin: Twin) -> object:
            asked = twin.ex.id if ident is None else ident
            found: Any = damaged[0] if name == "buffer" else iter(damaged)
            snapshot = which
            if type(which) is int and which < 5:
                snapshot = twin.snapshots[which % len(twin.snapshots)][0] if twin.snapshots else None
            given = {"clock": twin.clock, "ids": twin.ids, "snapshot": snapshot}
            return twin.backend.Execution.replay(asked, found, **given)

        self.both(call)

    @rule(how=st.sampled_from(["json", "copy", "deepcopy", "pickle", "child"]))
    def go_on_elsewhere(self, how: str) -> None:
        def call(twin: Twin) -> object:
            if how == "child":
                return twin.ex.child()
            if how == "pickle":  # unpickles on the backend that was chosen for the process
                steps = pickle.loads(pickle.dumps(list(twin.ex.steps.values())))
                return [pickle.loads(pickle.dumps(twin.ex)).to_json(), *map(repr, steps)]
            if how == "json":
                again = twin.backend.Execution.from_json(twin.ex.to_json(), clock=twin.clock, ids=twin.ids)
            else:
                again = getattr(copy, how)(twin.ex)
            assert again is not twin.ex
            assert again == twin.ex
            assert hash(again) == hash(twin.ex)
            assert again.to_json() == twin.ex.to_json()
            twin.ex, twin.ranges = again, []
            return again

        self.both(call)

    # --- seeds, look-ups and the clock ---

    @rule(
        name=st.sampled_from(["with_id", "with_tenant", "with_schema_version"]),
        value=st.sampled_from(
            [EXEC, "acme", TenantContext("b", limits=ResourceLimits(max_steps=1)), *args.BAD_TEXT, 5, None]
        ),
        instance=st.booleans(),
    )
    def seed(self, name: str, value: object, instance: bool) -> None:
        def call(twin: Twin) -> object:
            if instance:
                return getattr(twin.ex, name)(value)
            found = getattr(twin.backend.Execution, name)(value)  # with an id and times of its own
            if name == "with_id":
                return found.id if value else None  # without one it has a new id
            return (found.tenant_id, found.schema_version)

        self.both(call)

    @rule(key=args.existing() | st.sampled_from([*args.BAD_IDS, *args.NOT_TEXT]))
    def look_up(self, key: object) -> None:
        def call(twin: Twin) -> object:
            mine = resolved(twin, key)
            steps = twin.ex.steps
            found = twin.ex.get_step(mine), twin.ex.get_step_mut(mine), mine in steps
            assert raised(outcome(lambda: steps[mine])) == ("builtins.KeyError" if found[0] is None else None)
            return shown(found[0]), shown(found[1]), found[2]

        self.both(call)

    @rule(
        which=st.builds(Ref, st.sampled_from(["range", "slice"]), st.integers(0, 30)),
        index=st.integers(-5, 5),
    )
    def look_at_range(self, which: Ref, index: int) -> None:
        def call(twin: Twin) -> object:
            found = which.of(twin)
            assert raised(outcome(lambda: found[index])) == (  # type: ignore[index]
                None if -len(found) <= index < len(found) else "builtins.IndexError"  # type: ignore[arg-type]
            )
            return found

        self.both(call)

    @rule(
        which=st.builds(Ref, st.sampled_from(["range", "slice", "foreign range"]), st.integers(0, 30)),
        state=mostly(st.none(), [*StepState, "running", Word.PLAIN], ["x", 5, "\ud800", ""], odds=3),
        name=mostly(st.none(), ["a", "b", "many", Text("a"), "é"], [5, b"a", "\ud800"], odds=3),
        type=mostly(st.none(), ["tool", "function", Word.TOOL, "wait"], ["x", 5, ""], odds=3),
        whole=st.booleans(),
    )
    def choose(self, which: Ref, state: object, name: object, type: object, whole: bool) -> None:
        """What is found is as good for the next bulk call as any other range."""

        def call(twin: Twin) -> object:
            table: Any = twin.ex.steps if whole else which.of(twin)
            if isinstance(table, list):
                return None
            found = table.filter(state=state, name=name, type=type)
            if found._execution is twin.ex:
                twin.ranges.append(found)
            steps = list(table.values()) if whole else list(table)
            assert readings(table) == looped(
                table._execution, steps, twin.clock.now if table._execution is twin.ex else T0
            )
            return found, readings(found)

        self.both(call)

    @rule(
        which=st.builds(Ref, st.just("range"), st.integers(0, 30)),
        n=mostly(st.integers(0, 5), [-1, 2**70, 1.5, True]),
    )
    def slowest(self, which: Ref, n: object) -> None:
        def call(twin: Twin) -> object:
            table: Any = which.of(twin) or twin.ex.steps
            found = table.slowest(n)
            twin.ranges.append(found)
            return found

        self.both(call)

    @rule(by=mostly(st.integers(1, 10**10), [0, -1, -(10**12)]))
    def move_clock(self, by: int) -> None:
        for twin in self.twins:
            twin.clock.now += by

    @rule(now=st.sampled_from([-1, 2**63, 2**70, "now", None, 1.5, True, args.Number.NOW, T0]))
    def odd_clock(self, now: object) -> None:
        before = self.twins[0].clock.now
        for twin in self.twins:
            twin.clock.now = now
        found = [outcome(twin.ex.plan) for twin in self.twins]
        assert found[0] == found[1]
        assert seen(self.twins[0].ex) == seen(self.twins[1].ex)
        for twin in self.twins:
            twin.clock.now = before


TestLockstep = Lockstep.TestCase
TestLockstep.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=40,
    suppress_health_check=list(HealthCheck),
    derandomize=EXAMPLES <= 300,
    deadline=None,
    print_blob=True,
)
