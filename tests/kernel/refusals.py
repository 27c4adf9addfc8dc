"""Refusals of the kernel, a row each: which function of `errors` words it, what is said, and what brings it about."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from kernel.support import START_NS, in_state, made_id, running, seed
from stepwell import (
    Action,
    DuplicateStep,
    EncodingError,
    ExecutionError,
    InvalidId,
    InvalidTransition,
    OpenSteps,
    PayloadTooLarge,
    ReplayError,
    ResourceLimits,
    SchemaMismatch,
    TenantContext,
    TenantRequired,
    TerminalExecution,
    UnknownStep,
    UnsupportedFormat,
    ValidationError,
)
from stepwell._spec import MAX_BULK_STEPS, MAX_PAYLOAD_BYTES

SECRET = "SECRET payload"
"""Is in every payload that is refused here, and in no message."""


class Refusal(NamedTuple):
    """`act` gets what `make` made of the backend; the first made step is `made_id(2)`."""

    function: str | None
    cls: type[Exception]
    message: str
    act: Callable[[Any], Any]
    make: Callable[[Any], Any] = running
    index: int | None = None


def nested(depth: int) -> Any:
    value: Any = SECRET
    for _ in range(depth):
        value = [value]
    return value


def with_step(backend: Any) -> Any:
    ex = running(backend)
    ex.start_step("a")
    return ex


def with_pending(backend: Any) -> Any:
    ex = running(backend)
    ex.schedule_step("a", input=SECRET)
    return ex


def with_ended(backend: Any) -> Any:
    ex = with_step(backend)
    ex.complete_step(made_id(2), SECRET)
    return ex


def with_six_open(backend: Any) -> Any:
    ex = running(backend)
    ex.start_steps("a", count=5)
    ex.schedule_step("b")
    return ex


def with_usage(backend: Any) -> Any:
    ex = with_step(backend)
    ex.add_usage(made_id(2), "tokens", 9_223_372_036_854)
    return ex


def waiting(backend: Any) -> Any:
    return in_state(backend, "waiting")


def paused(backend: Any) -> Any:
    return in_state(backend, "paused")


def completed(backend: Any) -> Any:
    return in_state(backend, "completed")


def failed(backend: Any) -> Any:
    return in_state(backend, "failed")


def limited(backend: Any) -> Any:
    return running(backend, tenant=TenantContext("acme", limits=ResourceLimits(max_steps=1)))


def tenantless(backend: Any) -> Any:
    return running(backend, tenant=None)


def step_of_another(ex: Any) -> Any:
    """A step with an id that this execution has too, but of another object."""
    return type(ex).from_json(ex.to_json()).get_step(made_id(2))


STEP = made_id(2)
UNKNOWN = made_id(99)
LABEL = "1 to 255 characters without control characters or lone surrogates"
TYPEID = (
    "expected an id like step_01h455vb4pex5vsknk084sn02q (step_ and 26 characters of the TypeID alphabet, the first at "
    "most 7), got "
)
KINDS = (
    "plan, start, pause, resume, wait, input_received, complete, fail, cancel, step_scheduled, step_started, "
    "step_completed, step_retrying, step_failed, step_skipped, step_cancelled, step_usage, steps_scheduled, "
    "steps_started, steps_completed, steps_failed, steps_cancelled"
)
OPEN = ", ".join(made_id(number) for number in range(2, 7))

TRANSITIONS = [
    Refusal(
        "invalid_transition", InvalidTransition,
        "complete is not allowed while the execution is created; it needs running",
        lambda ex: ex.complete(SECRET), seed,
    ),
    Refusal(
        "invalid_transition", InvalidTransition,
        "plan is not allowed while the execution is running; it needs created", lambda ex: ex.plan(),
    ),
    Refusal(
        "invalid_transition", InvalidTransition,
        "resume is not allowed while the execution is running; it needs waiting or paused", lambda ex: ex.resume(),
    ),
    Refusal(
        "invalid_transition", InvalidTransition,
        "step_started is not allowed while the execution is created; it needs planning or running",
        lambda ex: ex.start_step("a", input=SECRET), seed,
    ),
    Refusal(
        "invalid_transition", InvalidTransition,
        "step_scheduled is not allowed while the execution is waiting; it needs planning or running",
        lambda ex: ex.schedule_step("a"), waiting,
    ),
    Refusal(
        "invalid_transition", InvalidTransition,
        "steps_started is not allowed while the execution is paused; it needs planning or running",
        lambda ex: ex.start_steps("a", count=2), paused,
    ),
    Refusal(
        "terminal_execution", TerminalExecution, "start is not allowed: the execution has ended as completed",
        lambda ex: ex.start(), completed,
    ),
    Refusal(
        "terminal_execution", TerminalExecution, "cancel is not allowed: the execution has ended as failed",
        lambda ex: ex.cancel("why"), failed,
    ),
    Refusal(
        "terminal_execution", TerminalExecution,
        "step_started is not allowed: the execution has ended as completed",
        lambda ex: ex.start_step("a", input=SECRET), completed,
    ),
    Refusal(
        "terminal_execution", TerminalExecution, "input_received is not allowed: the execution has ended as failed",
        lambda ex: ex.input_received(payload=SECRET), failed,
    ),
    Refusal(
        "invalid_step_transition", InvalidTransition,
        f"step_completed is not allowed while step {STEP} is completed; it needs running",
        lambda ex: ex.complete_step(STEP, SECRET), with_ended,
    ),
    Refusal(
        "invalid_step_transition", InvalidTransition,
        f"step_failed is not allowed while step {STEP} is completed; it needs running or pending",
        lambda ex: ex.fail_step(STEP, SECRET), with_ended,
    ),
    Refusal(
        "invalid_step_transition", InvalidTransition,
        f"step_skipped is not allowed while step {STEP} is running; it needs pending",
        lambda ex: ex.skip_step(STEP), with_step,
    ),
    Refusal(
        "invalid_step_transition", InvalidTransition,
        f"step_usage is not allowed while step {STEP} is pending; it needs running",
        lambda ex: ex.add_usage(STEP, "tokens", 1), with_pending,
    ),
    Refusal(
        "not_a_wait", InvalidTransition,
        f"input_received takes a step of type wait; step {STEP} is of type function",
        lambda ex: ex.input_received(STEP, SECRET), with_step,
    ),
    Refusal(
        "open_steps", OpenSteps,
        f"complete is not allowed while 1 step is open: {STEP}; complete, fail, skip or cancel them first",
        lambda ex: ex.complete(SECRET), with_pending,
    ),
    Refusal(
        "open_steps", OpenSteps,
        f"complete is not allowed while 6 steps are open: {OPEN}, …; complete, fail, skip or cancel them first",
        lambda ex: ex.complete(), with_six_open,
    ),
    Refusal(
        "quota_exceeded", ExecutionError, "quota_exceeded/max_steps: over the limit max_steps: 2 of 1",
        lambda ex: ex.start_steps("a", count=2), limited,
    ),
    Refusal(
        "already_started", ValidationError,
        "with_tenant is for an execution without actions; this one has a journal already",
        lambda ex: ex.with_tenant("other"),
    ),
    Refusal(
        "tenant_required", TenantRequired,
        "a journal needs a tenant: make the execution with Execution.with_tenant(…)",
        lambda ex: ex.drain(), tenantless,
    ),
    Refusal(
        "time_backwards", ValidationError,
        f"at_ns {START_NS - 1} is before the last action at {START_NS}; leave it out to take the clock's time",
        lambda ex: ex.apply(Action("complete", output=SECRET, at_ns=START_NS - 1)),
    ),
]  # fmt: skip

STEPS = [
    Refusal(
        "unknown_step", UnknownStep, f"this execution has no step {UNKNOWN}",
        lambda ex: ex.complete_step(UNKNOWN, SECRET),
    ),
    Refusal(
        "unknown_step", UnknownStep, f"this execution has no step {UNKNOWN}",
        lambda ex: ex.input_received(UNKNOWN, SECRET),
    ),
    Refusal(
        "unknown_step", UnknownStep, f"this execution has no step {UNKNOWN}",
        lambda ex: ex.start_step("a", parent_step_id=UNKNOWN),
    ),
    Refusal(
        "unknown_step", UnknownStep, f"this execution has no step {UNKNOWN}",
        lambda ex: ex.complete_steps([STEP, UNKNOWN], output=SECRET), with_step, 1,
    ),
    Refusal(
        "foreign_step", UnknownStep, f"step {STEP} belongs to another execution",
        lambda ex: ex.complete_step(step_of_another(ex)), with_step,
    ),
    Refusal(
        "foreign_step", UnknownStep, f"step {STEP} belongs to another execution",
        lambda ex: ex.schedule_step("b", parent_step_id=step_of_another(ex)), with_step,
    ),
    Refusal(
        "foreign_step", UnknownStep, f"step {STEP} belongs to another execution",
        lambda ex: ex.cancel_steps([STEP, step_of_another(ex)]), with_step, 1,
    ),
    Refusal(
        "duplicate_step", DuplicateStep,
        f"this execution has a step {STEP} already; leave the id out to get a new one",
        lambda ex: ex.schedule_step("b", step_id=STEP, input=SECRET), with_step,
    ),
    Refusal(
        "duplicate_step", DuplicateStep,
        f"this execution has a step {UNKNOWN} already; leave the id out to get a new one",
        lambda ex: ex.start_steps("b", steps=[UNKNOWN, UNKNOWN]), running, 1,
    ),
    Refusal(
        "step_name_differs", ValidationError, f"step {STEP} is named 'a', not 'b'",
        lambda ex: ex.start_step("b", step_id=STEP), with_pending,
    ),
    Refusal(
        "step_already_described", ValidationError,
        f"step {STEP} exists already: only its id and its name may be given to start it",
        lambda ex: ex.start_step(step_id=STEP, input=SECRET), with_pending,
    ),
    Refusal(
        "invalid_id", InvalidId, TYPEID + "'step_nonsense'", lambda ex: ex.complete_step("step_nonsense", SECRET),
    ),
    Refusal("invalid_id", InvalidId, TYPEID + f"'{made_id(1, 'exec')}'", lambda ex: ex.skip_step(ex.id)),
    Refusal("invalid_id", InvalidId, TYPEID + "int", lambda ex: ex.fail_step(5, SECRET)),
    Refusal(
        "invalid_id", InvalidId, TYPEID + "'step_\\ud800'", lambda ex: ex.complete_steps([STEP, "step_\ud800"]),
        with_step, 1,
    ),
    Refusal("usage_overflow", ValidationError, "the sum of 'tokens' does not fit 64 bits with sign",
            lambda ex: ex.add_usage(STEP, "tokens", 1), with_usage),
]  # fmt: skip

VALUES = [
    Refusal("not_a_parent", ValidationError, "parent must be a ParentLink, got str",
            lambda ex: type(ex)(parent="exec_1", input=SECRET)),
    Refusal("not_text", ValidationError, "tenant must be text, got bytes", lambda ex: type(ex).with_tenant(b"acme")),
    Refusal("not_text", ValidationError, "name must be text, got int", lambda ex: ex.start_step(5)),
    Refusal("bad_label", ValidationError, f"tenant must be {LABEL}", lambda ex: type(ex)(tenant="a\x07b")),
    Refusal("bad_label", ValidationError, f"tenant must be {LABEL}", lambda ex: type(ex)(tenant="")),
    Refusal("bad_label", ValidationError, f"tenant must be {LABEL}", lambda ex: type(ex)(tenant="x" * 256)),
    Refusal("bad_label", ValidationError, f"tenant must be {LABEL}", lambda ex: type(ex)(tenant="a\x85b")),
    Refusal("bad_label", ValidationError, f"name must be {LABEL}", lambda ex: ex.start_step("\ud800")),
    Refusal("bad_label", ValidationError, f"place must be {LABEL.replace('255', '1024')}",
            lambda ex: ex.start_step("a", place="x" * 1025)),
    Refusal("bad_note", ValidationError, "reason must be at most 4096 characters without lone surrogates",
            lambda ex: ex.pause("\udfff")),
    Refusal("bad_note", ValidationError, "reason must be at most 4096 characters without lone surrogates",
            lambda ex: ex.skip_step(STEP, "x" * 4097), with_pending),
    Refusal("not_int", ValidationError, "at_ns must be a whole number, got float",
            lambda ex: ex.apply(Action("pause", at_ns=1.5))),
    Refusal("int_range", ValidationError, "at_ns must fit 64 bits with sign",
            lambda ex: ex.apply(Action("pause", at_ns=2**63))),
    Refusal("int_range", ValidationError, "amount must fit 64 bits with sign",
            lambda ex: ex.add_usage(STEP, "tokens", 10**400), with_step),
    Refusal("time_range", ValidationError, "retry_at must be between the years 1970 and 2262",
            lambda ex: ex.retry_step(STEP, SECRET, retry_at=-1), with_step),
    Refusal(None, ValidationError, "retry_at must be an aware datetime: give it a time zone, for example UTC",
            lambda ex: ex.retry_step(STEP, SECRET, datetime(2026, 1, 1)), with_step),  # noqa: DTZ001
    Refusal("not_a_choice", ValidationError,
            "reason must be one of approval, user_input, rate_limit, external, checkpoint, cost_threshold, "
            "memory_pressure, sub_agent, timer; got 'lunch\\x1b'", lambda ex: ex.wait("lunch\x1b")),
    Refusal("not_a_choice", ValidationError,
            "type must be one of function, llm, tool, graph, condition, loop, wait, scope, child; got int",
            lambda ex: ex.start_step("a", type=5)),
    Refusal("missing_field", ValidationError, "step_started needs name", lambda ex: ex.start_step()),
    Refusal("missing_field", ValidationError, "fail needs error", lambda ex: ex.fail(None)),
    Refusal("missing_field", ValidationError, "steps_failed needs error", lambda ex: ex.fail_steps([STEP]), with_step),
    Refusal("unknown_field", ValidationError, "complete has no field 'outputs'; it has output",
            lambda ex: ex.apply(Action("complete", outputs=SECRET))),
    Refusal("unknown_kind", ValidationError, f"'created' is not a kind of action; the kinds are {KINDS}",
            lambda ex: ex.apply(Action("created"))),
    Refusal("length_differs", ValidationError, "outputs must have one entry per step: expected 1, got 2",
            lambda ex: ex.complete_steps([STEP], [SECRET, 1]), with_step),
    Refusal("bulk_too_large", ValidationError,
            f"a bulk action is about at most {MAX_BULK_STEPS} steps, got {MAX_BULK_STEPS + 1}: make several",
            lambda ex: ex.start_steps("a", count=MAX_BULK_STEPS + 1)),
    Refusal("one_or_many", ValidationError, "give output for all steps or outputs with one entry per step, not both",
            lambda ex: ex.complete_steps([STEP, UNKNOWN], [SECRET, 2], output=SECRET), with_step),
    Refusal(None, EncodingError,
            "cannot encode the value at $[1]: NaN and infinity have no JSON form; use None or text",
            lambda ex: ex.complete([SECRET, float("nan")])),
    Refusal(None, EncodingError,
            "cannot encode the value at $: text with a lone surrogate is not Unicode; decode it properly, or use "
            "bytes as base64", lambda ex: ex.start_step("a", input=SECRET + "\ud800")),
    Refusal(None, EncodingError, "cannot encode the value at $: the integer does not fit 64 bits; use text",
            lambda ex: ex.complete_step(STEP, 2**64), with_step),
    Refusal(None, EncodingError,
            "cannot encode the value at $" + "[0]" * 128 + ": it is nested deeper than 128 levels",
            lambda ex: ex.complete(nested(129))),
    Refusal(None, EncodingError, "cannot encode the value at $.a: keys must be text, got int",
            lambda ex: ex.complete({"a": {1: SECRET}})),
    Refusal(None, EncodingError,
            "cannot encode the value at $: bytes has no JSON form; use plain values, a dataclass, or a codec",
            lambda ex: ex.input_received(payload=SECRET.encode())),
    Refusal(None, PayloadTooLarge,
            f"the payload has {MAX_PAYLOAD_BYTES + 16} bytes, at most {MAX_PAYLOAD_BYTES} are allowed: keep large data "
            "elsewhere and pass a reference", lambda ex: ex.complete(SECRET + "x" * MAX_PAYLOAD_BYTES)),
    Refusal(None, ValidationError, "error must be an ExecutionError, an exception or text; got list",
            lambda ex: ex.fail([SECRET])),
    Refusal(None, ValidationError, "source must be a StepSource, got str",
            lambda ex: ex.start_step("a", source=SECRET)),
    Refusal(None, ValidationError, "amount must be a number, got str",
            lambda ex: ex.add_usage(STEP, "tokens", SECRET), with_step),
    Refusal("not_a_sequence", ValidationError, "names must be a sequence, got dict",
            lambda ex: ex.start_steps({"a": SECRET})),
    Refusal(None, ValidationError, "count must be between 0 and 4294967295",
            lambda ex: ex.start_steps("a", count=-1)),
]  # fmt: skip


def journal(ex: Any) -> list[bytes]:
    """The bodies of the execution's journal, without draining it."""
    return [body for _, _, _, body in type(ex).from_json(ex.to_json()).drain()]


def replay(change: Callable[[list[bytes]], Any], **given: Any) -> Callable[[Any], Any]:
    return lambda ex: type(ex).replay(ex.id, change(journal(ex)), **given)


def newer(data: bytes) -> bytes:
    return data.replace(b'"format":1', b'"format":2')


def retimed(body: bytes) -> bytes:
    return body.replace(b'"at":%d' % START_NS, b'"at":1')


JOURNALS = [
    Refusal("not_an_action", ValidationError, "not an action: expected the JSON object that Action.to_json writes",
            lambda ex: ex.apply(Action.from_json(SECRET.encode()))),
    Refusal("not_an_execution", ValidationError,
            "not an execution: expected the JSON object that Execution.to_json writes",
            lambda ex: ex.from_json(ex.to_json()[:-1])),
    Refusal("newer_execution", UnsupportedFormat,
            "this execution has format 2, this stepwell reads up to 1: upgrade stepwell",
            lambda ex: ex.from_json(newer(ex.to_json()))),
    Refusal("journal_empty", ReplayError, "record 0: the journal is empty; expected a header",
            replay(lambda records: []), index=0),
    Refusal("not_a_record", ReplayError, "record 2: not a record of this journal's format",
            replay(lambda records: [*records[:2], records[2][:-1], *records[3:]]), with_ended, 2),
    Refusal("not_record_columns", ReplayError, "record 1: expected (seq, at_ns, kind, body) or the body as bytes",
            replay(lambda records: [records[0], SECRET]), with_ended, 1),
    Refusal("columns_differ", ReplayError,
            "record 1: its seq, time or kind beside the record are not those in the record",
            replay(lambda records: [records[0], (1, START_NS, "plan", records[1])]), with_ended, 1),
    Refusal("seq_differs", ReplayError, "record 1: expected seq 1, found 2",
            replay(lambda records: [records[0], records[2], records[1]]), with_ended, 1),
    Refusal("chain_broken", ReplayError,
            "record 3: its digest of the record before does not match: an edit, a loss or a reordering",
            replay(lambda records: [*records[:2], records[2].replace(b'"a"', b'"b"'), records[3]]), with_ended, 3),
    Refusal("header_misplaced", ReplayError, "record 0: a header is the first record, and only that",
            replay(lambda records: [records[1].replace(b'"seq":1', b'"seq":0').replace(records[1][17:49], b"0" * 32)]),
            index=0),
    Refusal("other_execution", ReplayError,
            f"record 0: the journal is of {made_id(1, 'exec')}, not of {made_id(7, 'exec')}",
            lambda ex: ex.replay(made_id(7, "exec"), journal(ex)), index=0),
    Refusal("journal_length", ReplayError, "record 1: the journal ends with seq 1; expected 3",
            replay(lambda records: records[:2], version=3), with_ended, 1),
    Refusal("snapshot_differs", ReplayError, "record 1: it is not the action that the snapshot holds in its place",
            lambda ex: ex.replay(ex.id, [journal(ex)[0], journal(ex)[1].replace(b"start", b"plan")],
                                 snapshot=ex.to_json()), index=1),
    Refusal("replay_newer", UnsupportedFormat,
            "record 0: journal format 2, this stepwell reads up to 1: upgrade stepwell",
            replay(lambda records: [newer(records[0])]), index=0),
    Refusal("tenant_differs", ValidationError, "the execution is of another tenant than the one given",
            replay(lambda records: records, tenant="other")),
    Refusal("schema_mismatch", SchemaMismatch,
            "the journal was written with schema version None, this code has 'v2': replay it with the code it was "
            "written with, or migrate it", replay(lambda records: records, schema_version="v2")),
    Refusal("replay", ReplayError,
            f"record 1: at_ns 1 is before the last action at {START_NS}; leave it out to take the clock's time",
            replay(lambda records: [records[0], retimed(records[1])]), index=1),
]  # fmt: skip

ALL = [*TRANSITIONS, *STEPS, *VALUES, *JOURNALS]

UNREACHED = {
    "internal": "only a defect of stepwell's own raises it",
    "too_many_steps": "it takes four billion steps",
    "no_pyarrow": "it is no refusal of the kernel's: see test_arrow.py",
    "not_a_payload": "payloads in a journal are checked when they are read; it is `decode`'s, see tests/values",
}
"""The refusals that nothing here can bring about, and why."""
