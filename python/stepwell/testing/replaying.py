"""`replay`: whether the code as it is now still does what the record of an execution says."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from .. import errors
from .._spec import ExecutionState
from ..failures import ExecutionError
from ..runtime.functions import Blueprint, known_blueprint
from ..runtime.rehearsing import Rehearsed, Waiting, rehearse
from ..runtime.values import Codec
from .apart import apart, beside

if TYPE_CHECKING:
    from .._pure import Execution
    from ..runtime import BlockingHandle, Handle

    Stored: TypeAlias = Execution | BlockingHandle[Any]


class Replayed(NamedTuple):
    """What a replay found: no difference.

    `state` is the execution's. `output` is its result where it completed, as its blueprint's callers get it, and
    `error` what it failed with, both as recorded. `waits` says where the code waits, or what it would begin next, one
    text for each; it is empty for an execution that has ended.
    """

    state: str
    output: Any
    error: ExecutionError | None
    waits: tuple[Waiting, ...]


def replay(
    execution: "Stored", blueprint: Blueprint[..., Any] | None = None, *, codec: Codec | None = None
) -> Replayed:
    """Runs the code of an execution's blueprint against its record: no step runs, and nothing is written.

    `execution` is what `handle.execution()` or `Execution.from_json` gives, or the handle of a `with Kernel(…)`.
    `blueprint` is the code, without it the one that is registered under the recorded name; `codec` that of the kernel.
    Code between steps does run. Raises `DivergenceError` where a kernel would park the execution, or where one that
    has ended would not have come to that end; `SchemaMismatch` where the blueprint does not accept its version;
    `ValidationError` where it is not known. It may be called while a loop runs; `replay_async` lets that go on.
    """
    given: Any = execution
    return apart(_work(given if hasattr(given, "steps") else given.execution(), blueprint, codec))


async def replay_async(
    execution: "Stored | Handle[Any]",
    blueprint: Blueprint[..., Any] | None = None,
    *,
    codec: Codec | None = None,
) -> Replayed:
    """`replay`, awaited; it takes the handle of an `async with Kernel(…)`, too."""
    given: Any = execution
    if not hasattr(given, "steps"):
        given = given.execution()
        given = await given if hasattr(given, "__await__") else given
    return await beside(_work(given, blueprint, codec))


def _work(
    execution: Any, blueprint: Blueprint[..., Any] | None, codec: Codec | None
) -> Callable[[], Replayed]:
    found = known_blueprint(execution.blueprint) if blueprint is None else blueprint
    if found is None:
        raise errors.ValidationError(
            f"blueprint {execution.blueprint} is not known: import its module first, or give the blueprint"
        )
    if not isinstance(found, Blueprint):
        raise errors.ValidationError(f"expected a function with @blueprint, got {found.__class__.__name__}")
    return lambda: _replayed(execution, found, codec, rehearse(execution, found, codec))


def _replayed(
    execution: Any, blueprint: Blueprint[..., Any], codec: Codec | None, rehearsed: Rehearsed
) -> Replayed:
    output = None
    if execution.state == ExecutionState.COMPLETED:
        output = blueprint.result(execution.output, codec)
    return Replayed(str(execution.state), output, execution.error, rehearsed.waits)
