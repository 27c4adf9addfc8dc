"""Methods that work on a class and on its instances alike: `Execution.with_tenant("acme").with_id(…)`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import Execution


class Builder:
    # A seed constructor of `Execution`: from the class it makes a new execution, from an instance a changed copy.

    __slots__ = ("__doc__", "_field", "_name")

    def __init__(self, field: str, name: str, doc: str) -> None:
        self._field = field
        self._name = name
        self.__doc__ = doc

    def __get__(self, instance: "Execution | None", owner: "type[Execution]") -> "Callable[[Any], Execution]":
        def build(value: Any) -> "Execution":
            if instance is None:
                return owner(**{self._field: value})
            return instance._with(self._name, self._field, value)

        build.__name__ = build.__qualname__ = self._name
        build.__doc__ = self.__doc__
        return build


with_id = Builder(
    "id", "with_id", "The execution with this id, a TypeID `exec_…`; only before its first action."
)
with_tenant = Builder(
    "tenant",
    "with_tenant",
    "The execution with this tenant, text or a `TenantContext` with limits; only before its first action.",
)
with_schema_version = Builder(
    "schema_version",
    "with_schema_version",
    "The execution with this schema version, which `replay` compares; only before its first action.",
)
