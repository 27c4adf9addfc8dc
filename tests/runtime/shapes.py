"""Types for the tests of values, with annotations that are text."""

from __future__ import annotations

import dataclasses
from datetime import date
from decimal import Decimal
from typing import (
    TYPE_CHECKING,
    ClassVar,
    Generic,
    NamedTuple,
    NotRequired,
    Required,
    Self,
    TypedDict,
    TypeVar,
)

if TYPE_CHECKING:
    from nowhere import Unknown

T = TypeVar("T")
K = TypeVar("K")


@dataclasses.dataclass
class Tree:
    value: Decimal
    left: Tree | None = None
    children: list[Tree] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class Box(Generic[T]):
    content: T
    more: tuple[T, ...] = ()


@dataclasses.dataclass
class Shelf(Generic[K, T]):
    boxes: dict[K, Box[T]]


@dataclasses.dataclass(frozen=True)
class DateBox(Box[date]):
    label: str = ""


class Job(TypedDict):
    due: date
    note: NotRequired[Decimal]


class Partial(TypedDict, total=False):
    due: Required[date]
    note: Decimal


class Holder(TypedDict, Generic[T]):
    held: T


class DateHolder(Holder[date]):
    other: date


class Pair(NamedTuple):
    left: Decimal
    right: Tree | None = None


@dataclasses.dataclass
class Seeded:
    value: int
    seed: dataclasses.InitVar[int]
    shared: ClassVar[int] = 1


@dataclasses.dataclass
class Chain:
    when: date
    next: Self | None = None
    others: list[Self] = dataclasses.field(default_factory=list)


class LongChain(Chain):
    pass


@dataclasses.dataclass
class Loose:
    """Defaults that are not of the type."""

    price: float = None  # type: ignore[assignment]
    count: Decimal = 0  # type: ignore[assignment]


@dataclasses.dataclass
class Half:
    """One name is found by type checkers only."""

    unknown: Unknown
    price: Decimal


@dataclasses.dataclass
class Calendar:
    """A field with the name of its type."""

    date: date | None = None


def takes(a: Decimal, /, b: date, *rest: Tree, c: set[int], d: Unknown | None = None, **others: date) -> Tree:
    return Tree(a)


def unresolvable(a: Unknown, b: Decimal) -> Unknown:
    return a
