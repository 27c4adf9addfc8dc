"""Types and values of them, for the tests of annotations."""

import collections
import dataclasses
import enum
import typing
from collections import abc
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import (
    Annotated,
    Any,
    ClassVar,
    Generic,
    Literal,
    NewType,
    Optional,
    TypedDict,
    TypeVar,
)
from uuid import UUID

import msgspec
import pydantic
import typing_extensions

from runtime import shapes
from runtime.shapes import Box, DateBox, Job, Pair, Shelf, Tree
from stepwell.runtime import values

T = TypeVar("T")
Id = NewType("Id", UUID)
INDIA = timezone(timedelta(hours=5, minutes=30))


class Colour(enum.Enum):
    RED = "red"
    DEEP = [1, {"a": 2}]
    ONE = 1
    WHEN = date(2024, 2, 29)
    NEVER = b"no JSON"


class Word(enum.StrEnum):
    A = "a"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Right(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Item:
    name: str
    price: float
    colour: Colour = Colour.RED


@dataclasses.dataclass
class Order:
    items: list[Item]
    when: datetime
    tags: frozenset[str] = frozenset()
    total: Decimal = Decimal(0)


@dataclasses.dataclass
class Counted:
    """Its fields are changed as it is made."""

    count: int
    double: int = dataclasses.field(init=False)
    shared: ClassVar[int] = 9

    def __post_init__(self) -> None:
        self.count += 1
        self.double = self.count * 2


@dataclasses.dataclass
class Named:
    kind: Literal["named"]
    name: str


@dataclasses.dataclass
class Numbered:
    kind: Literal["numbered"]
    number: int
    name: str = ""


class Film(TypedDict):
    title: str


class Extended(typing_extensions.TypedDict):
    due: typing_extensions.ReadOnly[date]
    note: typing_extensions.NotRequired[typing_extensions.ReadOnly[Decimal]]


class Model(pydantic.BaseModel):
    when: datetime
    price: Decimal = Decimal("1.10")
    tags: set[str] = set()
    size: timedelta = timedelta(hours=1)
    inner: "Model | None" = None


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True, frozen=True)
    when: date
    name: str = pydantic.Field("", alias="Name")
    other: int = pydantic.Field(0, validation_alias="Other")


@pydantic.dataclasses.dataclass
class Checked:
    price: Decimal
    size: pydantic.PositiveInt = 1


class Root(pydantic.RootModel[set[str]]):
    pass


class Struct(msgspec.Struct):
    when: datetime
    by: dict[int, Decimal] = {}
    names: set[str] = set()
    inner: "Struct | None" = None


class Circle(msgspec.Struct, tag=True):
    size: float


class Square(msgspec.Struct, tag=True):
    size: float


class GenericStruct(msgspec.Struct, Generic[T]):
    content: T


@dataclasses.dataclass
class Small:
    left: int


@dataclasses.dataclass
class Large:
    left: int
    right: None


@dataclasses.dataclass
class Growing(Generic[T]):
    one: T
    next: "Growing[list[T]] | None" = None


def trip(value: Any, annotation: Any) -> Any:
    return values.decode(values.encode(value, annotation=annotation), annotation=annotation)


NOON = datetime(2024, 2, 29, 12, 0, 0, 5, tzinfo=INDIA)
DAY = date(2024, 2, 29)
ID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
TREE = Tree(
    Decimal("1.10"), Tree(Decimal(2)), [Tree(Decimal("1E+2")), Tree(Decimal(0), children=[Tree(Decimal(-1))])]
)

TRIPS: list[tuple[Any, Any]] = [
    (float, 1.5),
    (list[float], [1.0, -0.0]),
    (dict[str, float | None], {"a": None, "b": 2.5}),
    (datetime, NOON),
    (date, DAY),
    (time, time(9, 30, tzinfo=UTC)),
    (timedelta, timedelta(days=-3, microseconds=7)),
    (timedelta, timedelta.max),
    (timedelta, timedelta.min),
    (UUID, ID),
    (Id, Id(ID)),
    (Decimal, Decimal("-0.100")),
    (Colour, Colour.RED),
    (list[Colour], [Colour.DEEP, Colour.ONE, Colour.WHEN]),
    (Word, Word.A),
    (Level, Level.HIGH),
    (Right, Right.READ | Right.WRITE),
    (Literal[Colour.RED, "x", 1, None], Colour.RED),  # noqa: PYI061
    (tuple[int, date], (1, DAY)),
    (tuple[date, ...], (DAY, DAY)),
    (tuple[()], ()),
    (tuple, (1, "a")),
    (set[int], {3, 1, 2}),
    (set, {"a", 1, None}),
    (frozenset[date], frozenset({DAY})),
    (set[frozenset[int]], {frozenset({1, 2}), frozenset({3})}),
    (set[tuple[int, str]], {(1, "a"), (1, "b")}),
    (abc.Set[str], {"b", "a"}),
    (abc.Sequence[date], [DAY]),
    (abc.Mapping[str, date], {"a": DAY}),
    (dict[int, str], {1: "a", -2: "b"}),
    (dict[UUID, int], {ID: 1}),
    (dict[date, int], {DAY: 1}),
    (dict[datetime, int], {NOON: 1}),
    (dict[Decimal, int], {Decimal("1.0"): 1}),
    (dict[Word, date], {Word.A: DAY}),
    (dict[Level, int], {Level.HIGH: 1}),
    (dict[Colour, int], {Colour.ONE: 1, Colour.RED: 2}),
    (dict[Id, int], {Id(ID): 1}),
    (dict[Literal[1, "a"], int], {1: 1, "a": 2}),
    (dict[timedelta, int], {timedelta(seconds=1): 1}),
    (collections.abc.MutableMapping[str, set[int]], {"a": {1}}),
    (Item, Item("a", 1.5, Colour.DEEP)),
    (Order, Order([Item("a", 1.0)], NOON, frozenset({"x", "y"}), Decimal("9.90"))),
    (list[Order], [Order([], NOON)]),
    (Optional[Order], None),  # noqa: UP045
    (dict[str, Order | None], {"a": Order([], NOON), "b": None}),
    (Tree, TREE),
    (Box[date], Box(DAY, (DAY,))),
    (Box[Box[Decimal]], Box(Box(Decimal(1)))),
    (Shelf[int, date], Shelf({1: Box(DAY)})),
    (DateBox, DateBox(DAY, (DAY,), "x")),
    (Job, {"due": DAY}),
    (Job, {"due": DAY, "note": Decimal("1.0")}),
    (shapes.Partial, {"due": DAY}),
    (shapes.Holder[date], {"held": DAY}),
    (shapes.DateHolder, {"held": DAY, "other": DAY}),
    (shapes.Calendar, shapes.Calendar(DAY)),
    (Film, {"title": "M", "more": [1]}),
    (shapes.Chain, shapes.Chain(DAY, shapes.Chain(DAY), [shapes.Chain(DAY)])),
    (shapes.LongChain, shapes.LongChain(DAY, shapes.LongChain(DAY))),
    (shapes.Loose, shapes.Loose()),
    (Extended, {"due": DAY}),
    (dict[Literal["a", "b"], date], {"a": DAY}),
    (typing.List[typing.Dict[int, typing.Tuple[date, ...]]], [{1: (DAY,)}]),  # noqa: UP006
    (Pair, Pair(Decimal(1), TREE)),
    (list[Pair], [Pair(Decimal(1))]),
    (collections.namedtuple("Point", "x y"), (1, 2)),  # noqa: PYI024
    (Named | Numbered, Numbered("numbered", 1)),
    (Numbered | Named, Named("named", "x")),
    (int | Decimal, Decimal("1.0")),
    (Decimal | int, 5),
    (int | float, 5),
    (date | datetime, NOON),
    (datetime | date, DAY),
    (list[int] | set[str] | None, {"a"}),
    (list[date] | list[int], [1]),
    (Annotated[date, "a note", {}], DAY),
    (list[Annotated[Decimal, {}]], [Decimal(1)]),
    (Model, Model(when=NOON, tags={"a"}, inner=Model(when=NOON))),
    (Strict, Strict(when=DAY, Name="x", Other=3)),
    (list[Model | int], [1, Model(when=NOON)]),
    (list[Root], [Root({"b", "a"})]),
    (Root | Model, Root({"a"})),
    (Model | Root, Root({"a"})),
    (Checked, Checked(Decimal("1.5"), 2)),
    (Struct, Struct(NOON, {1: Decimal("1.0")}, {"b", "a"}, Struct(NOON))),
    (Circle | Square, Square(1.5)),
    (Square | Circle, Circle(1.5)),
    (list[GenericStruct[date]], [GenericStruct(DAY)]),
    (dict[str, list[Struct]], {"a": [Struct(NOON)]}),
]
