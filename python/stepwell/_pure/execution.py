"""The record of one run of a blueprint: state, steps and journal, changed only by actions."""

from _thread import allocate_lock  # what `threading.Lock` is, without the rest of it
from collections.abc import Callable, Iterable
from typing import Any, Self

from .. import builder, encoding, errors, fields, model
from .._spec import INITIAL, MAX_PATH_CHARS
from ..action import Action
from ..clock import Clock
from ..journal import Fields
from ..steps import StepRange, restored_execution
from . import snapshot
from .clock import SystemClock
from .columns import Columns
from .ids import new_id
from .limits import check_payload
from .lookup import Indices
from .methods import Methods
from .reducer import reduce
from .replay import replay
from .step import Step, view
from .undo import Undo
from .view import View

_CLOCK = SystemClock()

Record = tuple[int, int, str, bytes]


class Execution(View, Methods):
    """One run of a blueprint: a state machine, its steps and its journal.

    It is changed only by actions: one method each, or `apply`. An action that is not allowed raises and changes
    nothing. Every action is a journal record; `drain` hands them to a store, `replay` rebuilds the execution from them.
    `clock` has `now_ns()`, `ids` makes a new id from a prefix; both default to those of the process. Any number of
    threads may use it.
    """

    __slots__ = (
        "_blueprint",
        "_clock",
        "_columns",
        "_context",
        "_created",
        "_ended",
        "_error",
        "_head",
        "_id",
        "_input",
        "_key",
        "_last",
        "_limits",
        "_lock",
        "_output",
        "_parent",
        "_paused_from",
        "_pending",
        "_reason",
        "_schema_version",
        "_source",
        "_started",
        "_state",
        "_tenant",
        "_undo",
        "_usage",
        "_version",
        "_wait",
        "_warned",
        "_warnings",
    )

    _context: model.TenantContext | None
    _limits: model.ResourceLimits | None

    def __new__(
        cls,
        *,
        id: str | None = None,
        tenant: str | model.TenantContext | None = None,
        parent: model.ParentLink | None = None,
        schema_version: str | None = None,
        blueprint: str | None = None,
        key: str | None = None,
        input: object = None,
        clock: Clock | None = None,
        ids: Callable[[str], str] | None = None,
    ) -> Self:
        self = object.__new__(cls)
        context = tenant if isinstance(tenant, model.TenantContext) else None
        header: dict[str, object] = {
            "tenant": context.tenant_id if context else tenant,
            "schema_version": schema_version,
            "blueprint": blueprint,
            "key": key,
            "input": input,
        }
        if parent is not None:
            if not isinstance(parent, model.ParentLink):
                errors.not_a_parent(parent)
            header["parent_type"], header["parent_id"] = parent.parent_type, parent.parent_id
        source = new_id if ids is None else ids
        values = fields.header({**header, "id": fields.execution_id(source("exec") if id is None else id)})
        self._begin(values, fields.now(_CLOCK if clock is None else clock), clock, ids)
        self._context = context
        if context is not None:
            self._limits = context.limits
            check_payload(self, values)
            self._warn(self._take_warnings())
        return self

    def _begin(self, header: Fields, at: int, clock: Clock | None, ids: Callable[[str], str] | None) -> None:
        self._lock = allocate_lock()
        self._clock: Clock = _CLOCK if clock is None else clock
        self._source: Callable[[str], str] = new_id if ids is None else ids
        self._id: str = header["id"]
        self._tenant: str | None = header.get("tenant")
        self._parent: model.ParentLink | None = None
        if "parent_type" in header:
            self._parent = model.ParentLink(header["parent_type"], header["parent_id"])
        self._schema_version: str | None = header.get("schema_version")
        self._blueprint: str | None = header.get("blueprint")
        self._key: str | None = header.get("key")
        self._input: bytes | None = header.get("input")
        self._state: str = INITIAL
        self._wait: str | None = None
        self._paused_from: str | None = None
        self._reason: str | None = None
        self._created = self._last = at
        self._started: int | None = None
        self._ended: int | None = None
        self._output: bytes | None = None
        self._error: bytes | None = None
        self._version = 0
        self._columns = Columns()
        self._usage: dict[str, int] = {}
        # Time, kind and fields of each action, flat: a list of tuples would be work for the garbage collector.
        self._pending: list[Any] = []
        self._head: str | None = None
        self._undo: Undo | None = None
        self._limits = None
        self._context = None
        self._warned: set[str] = set()
        self._warnings: list[tuple[str, float, float]] = []

    # --- seeds ---

    with_id = builder.with_id
    with_tenant = builder.with_tenant
    with_schema_version = builder.with_schema_version

    def _with(self, name: str, field: str, value: object) -> "Execution":
        if self._version or self._head is not None:
            errors.already_started(name)
        seed: dict[str, Any] = {
            "id": self._id,
            "tenant": self._owner(),
            "parent": self._parent,
            "schema_version": self._schema_version,
            "blueprint": self._blueprint,
            "key": self._key,
            "input": self.input,
            "clock": self._clock,
            "ids": self._source,
        }
        return Execution(**{**seed, field: value})

    def _belong(self, tenant: str | model.TenantContext | None) -> None:
        context = tenant if isinstance(tenant, model.TenantContext) else None
        if tenant is not None:
            if (model.label("tenant", tenant) if context is None else context.tenant_id) != self._tenant:
                errors.tenant_differs()
            self._context = context
            self._limits = None if context is None else context.limits

    def _owner(self) -> str | model.TenantContext | None:
        return self._tenant if self._context is None else self._context

    def child(self) -> "Execution":
        """A new execution of the same tenant with a `parent` link to this one."""
        parent = model.ParentLink("execution", self._id)
        return Execution(tenant=self._owner(), parent=parent, clock=self._clock, ids=self._source)

    # --- actions as values ---

    def apply(self, action: Action) -> Action:
        """Applies an action and returns it as recorded: with its time and, for new steps, their ids.

        Raises what the method of that kind raises; `ValidationError` if `at_ns` is before the last action.
        """
        filled = fields.fill(action, self._source)
        at, _ = self._apply(filled._kind, filled._fields, filled._at)
        return fields.applied(filled, at)

    def apply_many(self, actions: Iterable[Action]) -> list[Action]:
        """Applies actions one after the other, all or none; an error carries the `index` of the first refused one."""
        filled = fields.fill_many(actions, self._source)
        now = self._read_clock()
        done = []
        with self._lock:
            undo = self._undo = Undo(self)
            try:
                for action in filled:
                    at, _ = self._reduce(action._kind, action._fields, action._at, now)
                    done.append(fields.applied(action, at))
            except BaseException as error:  # an interrupt too leaves nothing half done
                undo.restore()
                if isinstance(error, errors.StepwellError):
                    error.index = len(done)
                raise
            finally:
                self._undo = None
            warnings = self._take_warnings()
        self._warn(warnings)
        return done

    # --- the journal ---

    def drain(self) -> list[Record]:
        """The records that were not drained yet, `(seq, at_ns, kind, body)`, the header first: the store's from now on.

        Raises `TenantRequired` without a tenant.
        """
        with self._lock:
            if self._tenant is None:
                errors.tenant_required("a journal")
            return snapshot.drain(self)

    @classmethod
    def replay(
        cls,
        id: str,
        records: Iterable[Record | bytes] | bytes | bytearray | memoryview,
        schema_version: str | None = None,
        *,
        version: int | None = None,
        snapshot: bytes | None = None,
        tenant: str | model.TenantContext | None = None,
        clock: Clock | None = None,
        ids: Callable[[str], str] | None = None,
    ) -> "Execution":
        """The execution that wrote these records, as `drain` gave them or their bodies alone.

        The bodies may also be one buffer, each followed by a newline, which the last may lack; an empty one is an
        empty journal. An iterable may have such pieces of several bodies too, each with a newline at its end. With
        a `snapshot`, which `to_json` wrote, the records are those after the last one that was drained before it:
        they must be the actions that the snapshot holds as not drained, then go on from it; what they do not reach
        stays as not drained, and there may be none.

        Where `schema_version` or `version` (the number of actions) is given, the record must have it; where a
        `tenant` is given, it must be the recorded one, and the limits of a `TenantContext` hold from here on. Raises
        `ReplayError` with the `index` of a record that is corrupt, illegal or out of place, `UnsupportedFormat` for a
        newer format, `SchemaMismatch` for another schema version, `ValidationError` for what is no snapshot.
        """
        execution = object.__new__(cls)
        replay(execution, id, records, schema_version, version, snapshot, clock, ids)
        execution._belong(tenant)
        return execution

    def to_json(self) -> bytes:
        """The whole execution as one JSON object, with the actions that were not drained yet."""
        with self._lock:
            return snapshot.dump(self)

    @classmethod
    def from_json(
        cls,
        data: bytes,
        *,
        tenant: str | model.TenantContext | None = None,
        clock: Clock | None = None,
        ids: Callable[[str], str] | None = None,
    ) -> "Execution":
        """The execution that `to_json` wrote; `tenant` as in `replay`.

        Raises `ValidationError`, or `UnsupportedFormat` for a newer format.
        """
        execution = object.__new__(cls)
        snapshot.load(execution, data, clock, ids)
        execution._belong(tenant)
        return execution

    # --- protocols ---

    def __init_subclass__(cls) -> None:
        raise TypeError("type 'stepwell.Execution' is not an acceptable base type")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Execution):
            return NotImplemented
        return self is other or snapshot.state(self) == snapshot.state(other)

    def __hash__(self) -> int:
        return hash(self._id)

    def __repr__(self) -> str:
        return f"<Execution {self._id} {self._state} version={self._version} steps={len(self._columns)}>"

    def __reduce__(self) -> tuple[object, ...]:
        return restored_execution, (self.to_json(),)

    def __copy__(self) -> "Execution":
        other = Execution.from_json(self.to_json(), clock=self._clock, ids=self._source)
        other._context, other._limits, other._warned = self._context, self._limits, set(self._warned)
        return other

    def __deepcopy__(self, memo: object) -> "Execution":
        return self.__copy__()

    # --- inside ---
    def _do(self, kind: str, given: dict[str, object]) -> None:
        self._apply(kind, fields.convert(kind, given))

    def _own(self, step: object) -> object:
        """What may be the id of a step; a view of a step must be of this execution."""
        if isinstance(step, Step):
            if step._execution is not self:
                errors.foreign_step(step.id)
            return step.id
        if fields.is_step(step):
            errors.invalid_id(step, "step")
        return step

    def _new(
        self,
        kind: str,
        step_id: object,
        name: object,
        type: object,
        key: object,
        parent_step_id: object,
        input: object,
        source: object,
        callable_id: object,
        place: object,
    ) -> Step:
        if step_id is not None:
            step_id = self._own(step_id)
        if parent_step_id is not None:
            parent_step_id = self._own(parent_step_id)
        values: Fields = {}
        if step_id is not None:
            values["step_id"] = fields.step_id(step_id)
        if name is not None:
            known = name.__class__ is str and name in self._columns.spelled
            values["name"] = name if known else model.label("name", name)
        if type != "function" and type is not None:
            values["type"] = fields.step_type(type)
        if key is not None:
            values["key"] = model.label("key", key)
        if parent_step_id is not None:
            values["parent_step_id"] = fields.step_id(parent_step_id)
        if input is not None:
            values["input"] = fields.encoded("input", input)
        if source is not None:
            values["source"] = fields.encoded("source", source)
        if callable_id is not None:
            values["callable_id"] = model.label("callable_id", callable_id)
        if place is not None:
            values["place"] = model.label("place", place, MAX_PATH_CHARS)
        if name is None and kind == "step_scheduled":
            errors.missing_field(kind, "name")
        if step_id is None:
            values["step_id"] = (
                new_id("step") if self._source is new_id else fields.step_id(self._source("step"))
            )
        return view(self, self._apply(kind, values)[1], values["step_id"])

    def _complete(self, step_id: object, output: object) -> None:
        values: Fields = {}
        if type(step_id) is str and step_id in self._columns.lookup.by_text:
            values["step_id"] = step_id
        elif type(step_id) is Step and step_id._execution is self:
            values["step_id"] = step_id.id
        elif step_id is not None:
            values["step_id"] = fields.step_id(self._own(step_id))
        if output is not None:
            values["output"] = encoding.encode(output)
        if step_id is None:
            errors.missing_field("step_completed", "step_id")
        self._apply("step_completed", values)

    def _one(self, kind: str, step_id: object, given: dict[str, object]) -> None:
        given["step_id"] = self._own(step_id)
        self._apply(kind, fields.convert(kind, given))

    def _many(self, kind: str, given: dict[str, object], count: int | None = None) -> StepRange:
        values = fields.bulk(kind, given, count, self._source, self)
        steps = given["steps"]
        known = steps._indices if isinstance(steps, StepRange) else None
        return StepRange(self, self._apply(kind, values, known=known)[1])

    def _read_clock(self) -> int:
        return _CLOCK.now_ns() if self._clock is _CLOCK else fields.now(self._clock)

    def _now(self) -> int:
        return max(self._read_clock(), self._last)

    def _apply(
        self, kind: str, values: Fields, at: int | None = None, known: "Indices | None" = None
    ) -> tuple[int, Any]:
        now = _CLOCK.now_ns() if self._clock is _CLOCK else fields.now(self._clock)
        with self._lock:
            done = self._reduce(kind, values, at, now, known)
            if not self._warnings:
                return done
            warnings = self._take_warnings()
        self._warn(warnings)
        return done

    def _reduce(
        self, kind: str, values: Fields, at: int | None, now: int, known: "Indices | None" = None
    ) -> tuple[int, Any]:
        last = self._last
        if at is None:
            at = now if now > last else last
        elif at < last:
            errors.time_backwards(at, last)
        try:
            touched = reduce(self, kind, at, values, known)
        except errors.StepwellError:
            self._forget_warnings()
            raise
        self._last = at
        self._version += 1
        self._pending += (at, kind, values)
        return at, touched

    def _forget_warnings(self) -> None:
        for limit, _, _ in self._warnings:
            self._warned.discard(limit)
        self._warnings.clear()

    def _take_warnings(self) -> list[tuple[str, float, float]]:
        warnings, self._warnings = self._warnings, []
        return warnings

    def _warn(self, warnings: list[tuple[str, float, float]]) -> None:
        hook = None if self._context is None else self._context.on_warning
        for warning in warnings:
            model.warn(hook, *warning)


Execution.__module__ = "stepwell"
