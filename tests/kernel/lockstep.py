"""The lockstep machine's calls of methods, each made on both twins and followed by a look at all of them."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

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
    outcome,
    raised,
    readings,
    seen,
)
from stepwell import ParentLink, ResourceLimits, StepRange, TenantContext

limits = st.builds(
    ResourceLimits,
    max_steps=mostly(st.none(), [0, 3, 10, 20], odds=2),
    max_wall_time_ms=mostly(st.none(), [0, 1, 5000, 10**9], odds=3),
    max_tokens=mostly(st.none(), [0, 3, 100, 10**7, 2**63 - 1], odds=2),
    max_cost=mostly(st.none(), [0.0, 0.3, 3, 10.5, 1e12], odds=2),
    max_payload_bytes=mostly(st.none(), [0, 4, 30, 60, 100, 300], odds=1),
)
tenants = mostly(st.just("acme"), [None], ["", "a\0b", "x" * 256, 5, b"acme", "\ud800"], odds=20)


class Calls(RuleBasedStateMachine):
    """Two twins, and the methods that make an execution and its steps."""

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
        assert readings(one.ex.steps) == readings(two.ex.steps)
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
