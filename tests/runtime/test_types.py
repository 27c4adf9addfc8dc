"""Values of annotated types come back from their record as what they were."""

import collections
import dataclasses
import typing
from collections import abc
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NewType, TypeVar

import pytest
import typing_extensions

from runtime import shapes
from runtime.shapes import Box, Pair
from runtime.typed import DAY, TRIPS, Counted, Film, Growing, Item, Large, Named, Order, Small, T, Word, trip
from stepwell import ValidationError
from stepwell.runtime import values
from values.libraries import both


@pytest.mark.parametrize(("annotation", "value"), TRIPS, ids=lambda item: ascii(item)[:50])
def test_a_value_comes_back_as_what_it_was(annotation: Any, value: Any) -> None:
    data, refusal, *_ = both(values.encode, value, None, annotation)
    assert refusal is None
    once = values.decode(data, annotation=annotation)
    assert once == value
    assert type(once) is type(value) or annotation is not type(value)
    assert trip(once, annotation) == once


@pytest.mark.parametrize(
    "annotation",
    [
        *(
            int,
            str,
            bool,
            list,
            dict,
            object,
            Any,
            None,
            type(None),
            bytes,
            complex,
            range,
            asyncio_like := type("X", (), {}),
        ),
        *(list[int], dict[str, list[str]], int | None, str | list[int], Literal["a", 1], abc.Sequence[str]),
        *(
            Film,
            list[Film],
            Annotated[int, "x"],
            NewType("N", str),
            dict[Literal["a"], int],
            5.5,
            T,
            type[int],
            abc.Callable[[int], str],
        ),
        *("Order", typing.Protocol, Generic[T], ..., 5, collections.OrderedDict, asyncio_like | None),
    ],
    ids=lambda item: ascii(item)[:50],
)
def test_what_decoded_json_is_already_costs_nothing(annotation: Any) -> None:
    assert values.restorer(annotation) is None
    assert values.writer(annotation) is None
    marker = object()
    assert values.restore(marker, annotation) is marker
    assert values.plain(marker, annotation) is marker


def test_an_annotation_is_compiled_once() -> None:
    first = values.restorer(list[Order])
    assert first is not None
    assert values.restorer(list[Order]) is first
    assert values.restorer(Order) is not first


def test_whole_numbers_are_floats_where_floats_are_meant() -> None:
    for annotation, value, wanted in [(float, 1, 1.0), (list[float | None], [1, None], [1.0, None])]:
        assert repr(values.restore(value, annotation)) == repr(wanted)
    assert repr(values.restore(1, float | int)) == "1"
    assert repr(values.restore([1], tuple[float, ...])) == "(1.0,)"


def test_a_union_takes_json_types_first_and_then_the_members_in_order() -> None:
    assert values.restore("2024-02-29", date | str) == "2024-02-29"
    assert values.restore("2024-02-29", date | Word) == DAY
    assert values.restore("a", date | Word) is Word.A
    assert values.restore({"kind": "x", "name": "n"}, dict[str, str] | Named) == {"kind": "x", "name": "n"}
    # The order counts, though Python holds such unions for equal.
    assert values.restore(["a"], list[str] | set[str] | date) == ["a"]
    assert values.restore(["a"], set[str] | list[str] | date) == {"a"}
    assert values.restore([["a"]], list[set[str] | list[str]]) == [{"a"}]
    assert values.restore([["a"]], list[list[str] | set[str]]) == [["a"]]
    # Of objects the one that has exactly these fields is meant.
    assert values.restore({"left": 1, "right": None}, Small | Large) == Large(1, None)
    assert values.restore({"left": 1}, Large | Small) == Small(1)
    assert values.restore({"left": 1, "more": 2}, Small | Large) == Small(1)


def test_aliases() -> None:
    alias = typing_extensions.TypeAliasType("alias", dict[str, date])
    pairs = typing_extensions.TypeAliasType("pairs", list[tuple[T, T]], type_params=(T,))
    assert values.restore({"a": "2024-02-29"}, alias) == {"a": DAY}
    assert values.restore([["2024-02-29", "2024-02-29"]], pairs[date]) == [(DAY, DAY)]


def test_type_variables_stand_for_their_bounds() -> None:
    bounded = TypeVar("bounded", bound=date)
    limited = TypeVar("limited", date, int)
    assert values.restore(["2024-02-29"], list[bounded]) == [DAY]
    assert values.restore(["2024-02-29", 1], list[limited]) == [DAY, 1]
    assert values.restore({"content": "2024-02-29"}, Box) == Box("2024-02-29")


def test_a_type_without_end_ends() -> None:
    assert trip(Growing(1, Growing([2])), Growing[int]) == Growing(1, Growing([2]))


# --- how classes are made again -----------------------------------------------------------------------------------


def test_defaults_stand_in_for_what_older_code_did_not_record() -> None:
    assert values.restore({"name": "a", "price": 1}, Item) == Item("a", 1.0)
    assert values.restore(["2"], Pair) == Pair(Decimal(2))


def test_what_the_class_no_longer_has_is_left_out() -> None:
    assert values.restore({"name": "a", "price": 1, "gone": 2}, Item) == Item("a", 1.0)


def test_fields_are_as_recorded_whatever_the_class_does_as_it_is_made() -> None:
    made = Counted(1)
    again = trip(made, Counted)
    assert (again.count, again.double) == (made.count, made.double) == (2, 4)


def test_a_dataclass_without_an_init_of_its_own_making() -> None:
    @dataclasses.dataclass(init=False)
    class Bare:
        when: date

        def __init__(self) -> None:
            raise AssertionError

    assert values.restore({"when": "2024-02-29"}, Bare).when == DAY


def test_init_only_parameters_are_refused() -> None:
    @dataclasses.dataclass
    class Seeded:
        value: int
        seed: dataclasses.InitVar[int]

    @dataclasses.dataclass
    class Defaulted:
        value: int
        seed: dataclasses.InitVar[int] = 1

    with pytest.raises(ValidationError, match=r"^\$\[0\]: Seeded cannot be made again: InitVar seed is not"):
        trip([Seeded(1, 2)], list[Seeded])
    with pytest.raises(ValidationError, match="InitVar seed"):
        trip(shapes.Seeded(1, 2), shapes.Seeded)
    assert trip(Defaulted(1, 2), Defaulted) == Defaulted(1)


def test_classes_made_in_functions_may_name_themselves() -> None:
    @dataclasses.dataclass
    class Node:
        when: date
        next: "Node | None" = None

    assert trip(Node(DAY, Node(DAY)), Node) == Node(DAY, Node(DAY))


def test_what_only_type_checkers_know_is_missing_and_the_rest_is_not() -> None:
    made = values.restore({"unknown": {"a": 1}, "price": "1.0"}, shapes.Half)
    assert made == shapes.Half({"a": 1}, Decimal("1.0"))
