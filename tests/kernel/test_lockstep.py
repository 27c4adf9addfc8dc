"""Both twins are driven at once, and after each call nothing of the one differs from the other.

`STEPWELL_LOCKSTEP_EXAMPLES` says how many runs of 40 calls are made.
"""

import copy
import os
import pickle
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from kernel import arguments as args
from kernel.arguments import Ref, mostly, resolved
from kernel.drive import (
    ALONE,
    EXEC,
    PAIR,
    T0,
    Ids,
    ReservingIds,
    Twin,
    bodies_of,
    forged,
    outcome,
    raised,
    seen,
    shown,
)
from stepwell import Action, ParentLink, ResourceLimits, StepRange, StepwellError, TenantContext

EXAMPLES = int(os.environ.get("STEPWELL_LOCKSTEP_EXAMPLES", "300"))
SPEC = Path(__file__).parents[2] / "spec"
RECORDS: dict[str, dict[str, str]] = tomllib.loads((SPEC / "journal.toml").read_text())["records"]
KINDS = [kind for kind in RECORDS if kind != "created"]
STEP_KINDS = [kind for kind in KINDS if kind.startswith("step")]

limits = st.builds(
    ResourceLimits,
    max_steps=mostly(st.none(), [0, 3, 10, 20], odds=2),
    max_wall_time_ms=mostly(st.none(), [0, 1, 5000, 10**9], odds=3),
    max_tokens=mostly(st.none(), [0, 3, 100, 10**7, 2**63 - 1], odds=2),
    max_cost=mostly(st.none(), [0.0, 0.3, 3, 10.5, 1e12], odds=2),
    max_payload_bytes=mostly(st.none(), [0, 4, 30, 60, 100, 300], odds=1),
)
tenants = mostly(st.just("acme"), [None], ["", "a\0b", "x" * 256, 5, b"acme", "\ud800"], odds=20)
actions = st.sampled_from(KINDS + STEP_KINDS).flatmap(
    lambda kind: st.tuples(st.just(kind), args.fields_of(kind, RECORDS[kind]), args.at_times)
)


class Lockstep(RuleBasedStateMachine):
    """Native and pure, or pure and copies of itself, under the same clock and with the same ids."""

    def make(self, ids: type[Ids], tenant: object, given: dict[str, object], start: bool) -> None:
        found = []
        for backend in PAIR:
            warnings: list[Any] = []
            mine = tenant
            if isinstance(tenant, ResourceLimits):
                mine = TenantContext("acme", limits=tenant, on_warning=warnings.append)
            twin = outcome(lambda: Twin(backend, ids(), tenant=mine, **given).ex)  # noqa: B023
            found.append(twin)
            if raised(twin) is None:
                made = Twin(backend, ids(), tenant=mine, **given)
                made.warnings = warnings
                self.twins.append(made)
        assert found[0] == found[1]
        if not self.twins:
            self.make(ids, "acme", {}, start)
            return
        one, two = self.twins
        one.other, two.other = two, one
        if start:
            self.both(lambda twin: twin.ex.start())

    @initialize(
        reserving=st.booleans(),
        tenant=st.one_of(tenants, limits, limits.map(lambda found: found)),
        given=st.fixed_dictionaries(
            {},
            optional={
                "id": st.just(EXEC),
                "schema_version": args.texts("v1"),
                "blueprint": args.texts("module.function"),
                "key": args.texts("order-1"),
                "input": args.json_values,
                "parent": mostly(st.just(ParentLink("schedule", "nightly")), [5, "x", EXEC]),
            },
        ),
        start=st.integers(0, 3),
    )
    def begin(self, reserving: bool, tenant: object, given: dict[str, object], start: int) -> None:
        self.twins: list[Twin] = []
        self.make(ReservingIds if reserving else Ids, tenant, given, start > 0)

    # --- comparing ---

    def both(self, call: Callable[[Twin], object]) -> object:
        """Makes the same call on both and compares everything after it; returns the outcome."""
        before = self.twins[0].ex.to_json()
        for twin in self.twins:
            twin.look()
        found = [outcome(lambda: call(twin)) for twin in self.twins]  # noqa: B023
        assert found[0] == found[1]
        if ALONE:
            self.twins[1].reborn()
        one, two = self.twins
        after = one.ex.to_json()
        assert after == two.ex.to_json()
        assert seen(one.ex) == seen(two.ex)
        for mine, other in zip(one.ex.steps.values(), two.ex.steps.values(), strict=True):
            assert repr(mine) == repr(other)
            assert seen(mine) == seen(other)
        assert one.warnings == two.warnings
        assert one.clock.reads == two.clock.reads
        assert one.ids.made == two.ids.made
        error = raised(found[0])
        if error is not None:
            assert error.startswith("stepwell."), found[0]
            assert before == after, "a refusal changed something"
        return found[0]

    def step(self, name: str, step: object, *given: object, **more: object) -> None:
        self.both(
            lambda twin: getattr(twin.ex, name)(
                resolved(twin, step), *given, **{key: resolved(twin, value) for key, value in more.items()}
            )
        )

    def bulk(self, name: str, *given: object, **more: object) -> None:
        def call(twin: Twin) -> StepRange:
            mine = [resolved(twin, value) for value in given]
            found = getattr(twin.ex, name)(
                *mine, **{key: resolved(twin, value) for key, value in more.items()}
            )
            twin.ranges.append(found)
            return found

        self.both(call)

    # --- the execution ---

    @rule(name=st.sampled_from(["plan", "start", "start", "resume", "resume"]))
    def simple(self, name: str) -> None:
        self.both(lambda twin: getattr(twin.ex, name)())

    @rule(plan=st.integers(0, 3))
    def go_on(self, plan: int) -> None:
        """Whatever leads back to where steps may start."""
        ex = self.twins[0].ex
        if ex.is_terminal:
            ids = type(self.twins[0].ids)
            self.twins = []
            self.make(ids, "acme", {}, True)
        elif ex.can_resume:
            self.simple("resume")
        elif ex.state == "created":
            self.simple("start" if plan else "plan")

    def ready(self, luck: int) -> None:
        """Mostly goes on first, so that what follows is allowed."""
        if luck:
            self.go_on(luck)

    @rule(reason=args.reasons | st.none())
    def pause(self, reason: object) -> None:
        self.both(lambda twin: twin.ex.pause(reason))

    @rule(reason=args.wait_reasons)
    def wait(self, reason: object) -> None:
        self.both(lambda twin: twin.ex.wait(reason))

    @rule(step=st.none() | args.existing(), payload=args.json_values)
    def input_received(self, step: object, payload: object) -> None:
        self.both(lambda twin: twin.ex.input_received(resolved(twin, step), payload))

    @rule(end=st.sampled_from(["complete", "fail", "cancel"]), luck=st.integers(0, 2), data=st.data())
    def end(self, end: str, luck: int, data: st.DataObject) -> None:
        if luck:  # the end is the end: mostly what is refused
            values = {
                "complete": args.BAD_PAYLOADS,
                "fail": [*args.BAD_ERRORS, None],
                "cancel": ["\ud800", 5, b"x"],
            }
            given = data.draw(st.sampled_from(values[end]))
        else:
            values = {"complete": args.json_values, "fail": args.error_values, "cancel": args.reasons}
            given = data.draw(values[end])
        self.both(lambda twin: getattr(twin.ex, end)(given))

    # --- steps ---

    @rule(
        name=st.sampled_from(["a", "b"]),
        type=st.sampled_from(["tool", "wait"]),
        pending=st.booleans(),
        luck=st.integers(0, 5),
    )
    def plain_step(self, name: str, type: str, pending: bool, luck: int) -> None:
        self.ready(luck)
        self.step("schedule_step" if pending else "start_step", name, type=type)

    @rule(count=st.integers(2, 4), pending=st.booleans(), luck=st.integers(0, 5))
    def plain_steps(self, count: int, pending: bool, luck: int) -> None:
        self.ready(luck)
        self.bulk("schedule_steps" if pending else "start_steps", "many", count=count)

    @rule(
        name=args.texts("a", "b"),
        given=args.new_step(),
        method=st.sampled_from(["start_step", "schedule_step"]),
        luck=st.integers(0, 5),
    )
    def new_step(self, name: object, given: dict[str, object], method: str, luck: int) -> None:
        self.ready(luck)
        self.step(method, name, **given)

    @rule(step=args.existing("pending"), name=st.none() | args.texts("a", "b"))
    def start_pending(self, step: object, name: object) -> None:
        self.both(lambda twin: twin.ex.start_step(name, step_id=resolved(twin, step)))

    @rule(step=args.existing("running"), output=args.json_values)
    def complete_step(self, step: object, output: object) -> None:
        self.step("complete_step", step, output)

    @rule(step=args.existing("running"), error=args.error_values, retry_at=st.none() | args.times)
    def retry_step(self, step: object, error: object, retry_at: object) -> None:
        self.step("retry_step", step, error, retry_at)

    @rule(step=args.existing("running"), error=args.error_values)
    def fail_step(self, step: object, error: object) -> None:
        self.step("fail_step", step, error)

    @rule(
        step=args.existing("pending"),
        reason=st.none() | args.reasons,
        name=st.sampled_from(["skip_step", "cancel_step"]),
    )
    def leave_step(self, step: object, reason: object, name: str) -> None:
        self.step(name, step, reason)

    @rule(step=args.existing("running"), counter=args.texts(*args.COUNTERS), amount=args.amounts)
    def add_usage(self, step: object, counter: object, amount: object) -> None:
        self.step("add_usage", step, counter, amount)

    @rule(
        verbs=st.lists(
            st.sampled_from(["use", "retry", "again", "complete", "fail", "cancel", "drain", "tick"]),
            max_size=6,
        ),
        error=st.sampled_from(args.ERRORS),
        output=args.payloads,
    )
    def life(self, verbs: list[str], error: object, output: object) -> None:
        """One step through its life, mostly as it should be."""
        self.ready(1)
        self.step("start_step", "lively", input=output)
        last = len(self.twins[0].ex.steps) - 1
        own = Ref("view", last)
        for verb in verbs:
            if verb == "use":
                self.step("add_usage", own, "tokens", 2.5)
            elif verb == "retry":
                self.step("retry_step", own, error, T0 + 5)
            elif verb == "again":
                self.step("start_step", None, step_id=own)
            elif verb == "drain":
                self.drain(0)
            elif verb == "tick":
                self.move_clock(1_000_001)
            else:
                given = {"complete": output, "fail": error, "cancel": "enough"}[verb]
                self.step(f"{verb}_step", own, given)

    # --- many steps ---

    @rule(
        given=args.new_steps(),
        method=st.sampled_from(["start_steps", "schedule_steps"]),
        luck=st.integers(0, 5),
    )
    def new_steps(self, given: dict[str, object], method: str, luck: int) -> None:
        self.ready(luck)
        self.bulk(method, **given)

    @rule(
        steps=args.some_steps(2, "running"),
        outputs=st.none() | args.many("outputs", 2),
        output=st.none() | args.json_values,
    )
    def complete_steps(self, steps: object, outputs: object, output: object) -> None:
        self.bulk("complete_steps", steps, outputs, output=output)

    @rule(
        steps=args.some_steps(2, "running"),
        errors=st.none() | args.many("errors", 2),
        error=st.none() | args.error_values,
    )
    def fail_steps(self, steps: object, errors: object, error: object) -> None:
        self.bulk("fail_steps", steps, errors, error=error)

    @rule(steps=args.some_steps(2, "running"), reason=st.none() | args.reasons)
    def cancel_steps(self, steps: object, reason: object) -> None:
        self.bulk("cancel_steps", steps, reason)

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
        }
        damage = damages[data.draw(st.sampled_from(sorted(damages)))]()
        damaged = list(damage)  # type: ignore[call-overload]
        ident = data.draw(mostly(st.just(None), [EXEC, "exec_", 5, "\ud800"]))

        def call(twin: Twin) -> object:
            asked = twin.ex.id if ident is None else ident
            return twin.backend.Execution.replay(asked, iter(damaged), clock=twin.clock, ids=twin.ids)

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
