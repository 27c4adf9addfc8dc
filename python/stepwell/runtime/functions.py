"""Blueprints and steps: what the decorators make of a function, and how it is called outside a kernel."""

import functools
import hashlib
import inspect
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypeVar, overload

from .. import durations, encoding, errors, model
from .._spec import StepType
from ..retries import RetryPolicy
from . import performing, places, values
from .arguments import Called, check_options, pack, unpack
from .core import encode
from .journaling import LEVELS
from .naming import module_of
from .operations import Operation
from .values import Codec

if TYPE_CHECKING:
    from .run import Run

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

EFFECTS: Final = ("pure", "idempotent", "keyed", "once")


class StepSpec(Operation):
    """What is known of a step before it is called."""

    __slots__ = (
        "_hints",
        "callable_id",
        "durability",
        "effect",
        "fn",
        "is_async",
        "is_bare",
        "is_plain",
        "keyed",
        "may_interrupt",
        "once",
        "record_input",
        "retry",
        "retry_on",
        "takes_plain",
        "timeout_s",
        "untyped",
    )

    def __init__(
        self,
        fn: Callable[..., Any],
        name: str | None = None,
        type: StepType | str = StepType.FUNCTION,
        retry: RetryPolicy | None = None,
        retry_on: tuple[type[BaseException], ...] | None = None,
        timeout: str | float | timedelta | None = None,
        effect: str = "idempotent",
        durability: str | None = None,
        record_input: bool = True,
        codec: Codec | None = None,
        untyped: bool = False,
    ) -> None:
        if not callable(fn):
            raise errors.ValidationError(f"a step is made of a function, got {fn.__class__.__name__}")
        kind = model.choice("type", type, [kind.value for kind in StepType])
        super().__init__(name_of(fn) if name is None else name, kind, codec)
        self.fn = fn
        if retry is not None and not isinstance(retry, RetryPolicy):
            raise errors.ValidationError(f"retry must be a RetryPolicy, got {retry.__class__.__name__}")
        self.retry = retry
        self.retry_on = _classes(retry_on)
        self.is_async = is_async(fn)
        self.timeout_s = None if timeout is None else durations.parse(timeout, "timeout") / 1e9
        if self.timeout_s is not None and not self.is_async:
            raise errors.ValidationError(
                f"timeout needs an async def step: {self.name} is a def function, and no thread can be stopped"
            )
        self.is_plain = self.is_async and self.timeout_s is None
        self.effect = model.choice("effect", effect, EFFECTS)
        self.once = self.effect == "once"
        self.may_interrupt = self.is_async and not self.once
        # What must not be done twice has to be known to have begun.
        self.keyed = self.effect in ("keyed", "once")
        if retry is not None and retry.requires_idempotency_key and self.effect != "keyed":
            raise errors.ValidationError(
                "a policy with requires_idempotency_key needs a step with effect='keyed'"
            )
        self.durability = None if durability is None else model.choice("durability", durability, LEVELS)
        self.record_input = model.flag("record_input", record_input)
        self.callable_id = _label(f"{module_of(fn)}.{_qualname_of(fn)}")
        self._hints: values.Hints | None = None
        # Whether it is known that arguments, and results, are recorded as they are.
        self.takes_plain = self.is_bare = False
        self.untyped = untyped

    def input_of(self, run: "Run", args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes | None:
        if not self.record_input or not (args or kwargs):
            return None
        codec = self.codec or run.kernel.codec
        hints = self._hints or self.hints
        if codec is None and not kwargs and not hints.writes:
            return encode(args)
        return encoding.encode(recorded_arguments(hints, args, kwargs, codec))

    @property
    def hints(self) -> values.Hints:
        """What its annotations say. Found late: they may name what comes later in the module."""
        found = self._hints
        if found is None:
            found = self._hints = values.hints(self.fn)
            if not self.untyped:
                self.returns(found.annotation)
            self.takes_plain = self.record_input and self.codec is None and not found.writes
            self.is_bare = self.codec is None and self.restore is None and self.write is None
        return found

    def read(self, run: "Run", value: Any) -> Any:
        _ = self._hints or self.hints  # they say what type the result has
        return super().read(run, value)

    def recorded(self, run: "Run", value: Any) -> tuple[Any, Any]:
        """What is recorded of a result, and what that is to the blueprint, now as on replay.

        Raises `ValidationError` for what has no JSON form, or does not fit the annotation.
        """
        output = self.encoded(run, value)
        if output is None:
            return None, self.read(run, None)
        data = encoding.encode(output)
        return encoding.Encoded(data), self.read(run, encoding.decode(data))

    def encoded(self, run: "Run", value: Any) -> Any:
        if self._hints is None:
            self.hints  # noqa: B018 - likewise
        codec = self.codec or run.kernel.codec
        if codec is not None:
            return codec.encode(value)
        return value if self.write is None else self.write(value)

    perform = performing.perform_step


def _classes(given: object) -> tuple[type[BaseException], ...] | None:
    if given is None:
        return None
    if not isinstance(given, tuple) or not all(
        isinstance(kind, type) and issubclass(kind, Exception) for kind in given
    ):
        raise errors.ValidationError("retry_on must be a tuple of exception classes")
    return given


def is_async(fn: Callable[..., Any]) -> bool:
    """Whether a call gives a coroutine."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004


def is_lambda(fn: Callable[..., Any]) -> bool:
    """Whether it is written as `lambda`."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return inspect.isfunction(fn) and fn.__name__ == "<lambda>"


def _qualname_of(fn: Callable[..., Any]) -> str:
    while isinstance(fn, functools.partial):
        fn = fn.func
    return str(getattr(fn, "__qualname__", fn.__class__.__qualname__))


def name_of(fn: Callable[..., Any]) -> str:
    return _label(_qualname_of(fn).rpartition(".")[2])


def _label(text: str) -> str:
    return text if len(text) <= 255 else text[-255:]


@overload
def step(fn: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def step(
    *,
    name: str | None = None,
    type: StepType | str = StepType.FUNCTION,
    retry: RetryPolicy | None = None,
    retry_on: tuple[type[BaseException], ...] | None = None,
    timeout: str | float | timedelta | None = None,
    effect: str = "idempotent",
    durability: str | None = None,
    record_input: bool = True,
    codec: Codec | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


def step(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    type: StepType | str = StepType.FUNCTION,
    retry: RetryPolicy | None = None,
    retry_on: tuple[type[BaseException], ...] | None = None,
    timeout: str | float | timedelta | None = None,
    effect: str = "idempotent",
    durability: str | None = None,
    record_input: bool = True,
    codec: Codec | None = None,
) -> Any:
    """Makes a step of a function: in a blueprint its result is recorded, and a recorded call is not run again.

    Outside a kernel, and inside another step, it stays a plain call. In an `async def` blueprint every step is awaited,
    one made of a `def` function too (it runs in a thread of the kernel); in a `def` blueprint every step call blocks.

    `name` defaults to the function's. `retry` decides about failures; without it those that the taxonomy calls
    retryable get the default policy. `retry_on`: an exception of another class fails at once. `timeout` bounds one
    attempt of an `async def` step (category `timeout`, code `step_timeout`). `effect` says what running it twice means,
    which happens when a process dies in it: `pure` and `idempotent` do no harm; `keyed` does none with the same
    `current_step().idempotency_key`, and its start is durable before its code runs; `once` must not run twice, so the
    execution pauses *in doubt* until `Handle.settle` says what became of it. With `record_input=False` the arguments
    are not recorded, nor compared on replay; `codec` turns arguments and result into what is recorded. `durability`
    says when the result
    is seen, where that is not what the kernel says: `power` (it is on the disk), `process` (it is in the file, and
    survives the process), `behind` (it is written within 50 ms), `end` (it is written at the next wait or the end).
    Raises `ValidationError` for options that cannot be.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        spec = StepSpec(
            function, name, type, retry, retry_on, timeout, effect, durability, record_input, codec
        )

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return places.call(spec, args, kwargs)

        call.__stepwell_step__ = spec  # type: ignore[attr-defined]
        return call

    return decorate if fn is None else decorate(fn)


@overload
def run_step(
    fn: Callable[..., Coroutine[Any, Any, T]], /, *args: Any, name: str | None = None, **kwargs: Any
) -> Coroutine[Any, Any, T]: ...


@overload
def run_step(
    fn: Callable[..., T], /, *args: Any, name: str | None = None, **kwargs: Any
) -> Coroutine[Any, Any, T]: ...


def run_step(
    fn: Callable[..., Any],
    /,
    *args: Any,
    name: str | None = None,
    type: StepType | str | None = None,
    retry: RetryPolicy | None = None,
    retry_on: tuple[type[BaseException], ...] | None = None,
    timeout: str | float | timedelta | None = None,
    effect: str | None = None,
    durability: str | None = None,
    record_input: bool | None = None,
    codec: Codec | None = None,
    **kwargs: Any,
) -> Coroutine[Any, Any, Any]:
    """Runs any callable as a step of an `async def` blueprint: `await run_step(fn, 1, name="first")`.

    The options are those of `step`; where `fn` is a step already, those given here replace its own. An argument of
    `fn` that is called like one of them is given by position or by `functools.partial`. Outside a kernel it is the
    plain call, awaited. In a `def` blueprint use `stepwell.blocking.run_step`.
    """
    spec = spec_of(
        fn,
        (args, kwargs),
        name=name,
        type=type,
        retry=retry,
        retry_on=retry_on,
        timeout=timeout,
        effect=effect,
        durability=durability,
        record_input=record_input,
        codec=codec,
    )
    if places.in_blocking_scope():
        raise errors.PlaceError("in a def blueprint use stepwell.blocking.run_step, which needs no await")
    return _awaited(places.call(spec, args, kwargs))


async def _awaited(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def spec_of(fn: Callable[..., Any], called: Called | None, **given: Any) -> StepSpec:
    """The step that `fn` is, with other options where some are given, and what it is called with."""
    known: StepSpec | None = getattr(fn, "__stepwell_step__", None)
    given = {name: value for name, value in given.items() if value is not None}
    if given and called is not None:
        check_options(fn, given, *called)
    if known is None:
        return StepSpec(fn, **given)
    if not given:
        return known
    own = {
        "name": known.name,
        "type": known.type,
        "retry": known.retry,
        "retry_on": known.retry_on,
        "timeout": known.timeout_s,
        "effect": known.effect,
        "durability": known.durability,
        "record_input": known.record_input,
        "codec": known.codec,
    }
    return StepSpec(known.fn, **{**own, **given})


def spec_with(fn: Callable[..., Any], name: str | None, codec: Codec | None) -> StepSpec | None:
    """The step that `fn` is, if it is one, under another name or codec where that is given."""
    known: StepSpec | None = getattr(fn, "__stepwell_step__", None)
    if known is None:
        return None
    return spec_of(fn, None, name=name, codec=known.codec or codec)


def result_type(fn: Callable[..., Any]) -> Any:
    """The annotation of what a function returns, or `None`."""
    return values.hints(fn).annotation


def recorded_arguments(
    hints: values.Hints, args: tuple[Any, ...], kwargs: dict[str, Any], codec: Codec | None
) -> Any:
    """Arguments as they are recorded: by the codec where there is one, else as their parameters are annotated."""
    if codec is not None:
        return pack(tuple(map(codec.encode, args)), {name: codec.encode(one) for name, one in kwargs.items()})
    if hints.writes:
        args, kwargs = hints.plain(args, kwargs)
    return pack(args, kwargs)


# --- blueprints ---------------------------------------------------------------------------------------------------


class Blueprint(Generic[P, R]):
    """A function that a kernel can run as an execution; called directly it is just the function."""

    def __init__(
        self, fn: Callable[P, R], name: str | None, version: str | None, accepts: tuple[str, ...]
    ) -> None:
        if not callable(fn):
            raise errors.ValidationError(f"a blueprint is made of a function, got {fn.__class__.__name__}")
        functools.update_wrapper(self, fn)
        self.fn = fn
        self.name = model.label("name", f"{module_of(fn)}.{_qualname_of(fn)}" if name is None else name)
        self.is_async = is_async(fn)
        self._signature = inspect.signature(fn)
        self.version = _shape(self._signature) if version is None else model.label("version", version)
        if not isinstance(accepts, tuple):
            raise errors.ValidationError("accepts must be a tuple of versions")
        self.accepts = tuple(model.label("accepts", old) for old in accepts)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The plain call, outside a kernel."""
        return self.fn(*args, **kwargs)

    def check_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raises `ValidationError` where the function cannot be called like this."""
        try:
            self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise errors.ValidationError(
                f"{self.name}{self._signature} cannot be called like this: {error}"
            ) from None

    def check_version(self, recorded: str | None) -> None:
        """Raises `SchemaMismatch` for an execution of a version that this code does not accept."""
        if recorded != self.version and recorded not in self.accepts:
            errors.schema_mismatch(recorded, self.version)

    def recorded(self, args: tuple[Any, ...], kwargs: dict[str, Any], codec: Codec | None) -> Any:
        """Arguments as they are recorded."""
        return recorded_arguments(values.hints(self.fn), args, kwargs, codec)

    def arguments(self, run: "Run") -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The recorded arguments of an execution, of the types that the parameters are annotated with.

        Raises `ValidationError` where they do not fit: they were recorded for other code.
        """
        try:
            args, kwargs = unpack(run.execution.input)
            self.check_arguments(tuple(args), kwargs)
            return self._restored(args, kwargs, run.kernel.codec)
        except Exception as problem:
            why = problem if isinstance(problem, errors.ValidationError) else problem.__class__.__name__
            message = f"the recorded arguments do not fit {self.name}: {why}"
            raise errors.ValidationError(message) from problem

    def _restored(
        self, args: list[Any], kwargs: dict[str, Any], codec: Codec | None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        hints = values.hints(self.fn)
        if codec is None:
            return hints.restored(args, kwargs)
        types = [hints.annotations.get(name, Any) for name in self._signature.parameters]
        return (
            tuple(codec.decode(one, types[at] if at < len(types) else Any) for at, one in enumerate(args)),
            {name: codec.decode(one, hints.annotations.get(name, Any)) for name, one in kwargs.items()},
        )

    def check_types(self, given: Any, codec: Codec | None) -> None:
        """Raises `ValidationError` where arguments, as they are recorded, are not of their parameters' types."""
        if codec is None and values.hints(self.fn).parameters:
            self._restored(*unpack(encoding.decode(encoding.encode(given))), codec)

    def encoded(self, run: "Run", output: Any) -> Any:
        """What is recorded of what it returned."""
        codec = run.kernel.codec
        if codec is not None:
            return codec.encode(output)
        return values.plain(output, values.hints(self.fn).annotation)

    def final(self, run: "Run", output: Any) -> Any:
        """The same, once it is seen that it can be read again. Raises `ValidationError` where it does not fit."""
        value = self.encoded(run, output)
        data = encoding.encode(value)
        self.result(encoding.decode(data), run.kernel.codec)
        return value if value is None else encoding.Encoded(data)

    def result(self, recorded: Any, codec: Codec | None) -> Any:
        """What it returned, from its record."""
        hints = values.hints(self.fn)
        if codec is not None:
            return codec.decode(recorded, hints.annotation)
        return recorded if hints.result is None else hints.result(recorded)

    def __repr__(self) -> str:
        return f"<Blueprint {self.name} {self.version}>"


def _shape(signature: inspect.Signature) -> str:
    """What a recorded input depends on: the parameters' names and kinds."""
    text = ",".join(f"{parameter.kind.name}:{parameter.name}" for parameter in signature.parameters.values())
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:32]


_registry: dict[str, Blueprint[..., Any]] = {}


@overload
def blueprint(fn: Callable[P, R], /) -> Blueprint[P, R]: ...


@overload
def blueprint(
    *, name: str | None = None, version: str | None = None, accepts: tuple[str, ...] = ()
) -> Callable[[Callable[P, R]], Blueprint[P, R]]: ...


def blueprint(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    version: str | None = None,
    accepts: tuple[str, ...] = (),
) -> Any:
    """Makes a blueprint of an `async def` or `def` function and registers it under its name.

    `name` defaults to module and qualified name; the module of a script is its file's name, also while it is
    `__main__`. `version` is recorded with each execution as its schema version, and
    one recorded with another is not run, unless `accepts` has it; without a version it is a hash of the parameters'
    names and kinds, since a recorded input must still fit. A later blueprint of the same name takes its place.
    Raises `ValidationError` for options that cannot be.
    """

    def decorate(function: Callable[..., Any]) -> Blueprint[..., Any]:
        made: Blueprint[..., Any] = Blueprint(function, name, version, accepts)
        _registry[made.name] = made
        return made

    return decorate if fn is None else decorate(fn)


def known_blueprint(name: str | None) -> Blueprint[..., Any] | None:
    """The registered blueprint of this name."""
    return None if name is None else _registry.get(name)
