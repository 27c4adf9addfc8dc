"""What is not of an annotated type is refused, on the way out and on the way in."""

import dataclasses
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import msgspec
import pydantic
import pytest

from runtime.shapes import Box, Job, Pair, Tree
from runtime.typed import DAY, NOON, Checked, Colour, Item, Level, Model, Named, Numbered, Order, Struct
from stepwell import EncodingError, ExecutionError, ValidationError, encoding
from stepwell.runtime import values
from values.libraries import both

MISFITS: list[tuple[Any, Any, str]] = [
    (float, "secret", "$: expected float, found text"),
    (float, True, "$: expected float, found bool"),
    (list[float], [1, None], "$[1]: expected float, found null"),
    (Item, [], "$: expected Item, found list"),
    (Item, {"name": "secret"}, "$.price: expected float, found nothing"),
    (Item, {"name": 1, "price": 1.0}, "$.name: expected text, found int"),
    (Order, {"items": [{"name": "a", "price": 1}, {"name": "b", "price": "secret"}], "when": ""},
     "$.items[1].price: expected float, found text"),
    (dict[str, Item], {"a b": {"name": "secret", "price": {}}}, "$['a b'].price: expected float, found object"),
    (dict[str, date], [], "$: expected object, found list"),
    (dict[int, str], {"secret": "a"}, "$: a key: expected int, found other text"),
    (dict[int, str], {"01": "a"}, "$: a key: expected int, found other text"),
    (dict[date, str], {"secret": "a"}, "$: a key: expected date, found other text"),
    (date, "secret", "$: expected date, found other text"),
    (date, 5, "$: expected date, found int"),
    (datetime, "2024-02-29T12:00:00", "$: expected datetime, found other text"),
    (datetime, "2024-02-29", "$: expected datetime, found other text"),
    (timedelta, "secret", "$: expected timedelta, found other text"),
    (timedelta, "P999999999DT99999S", "$: expected timedelta, found other text"),
    (UUID, "secret", "$: expected UUID, found other text"),
    (Decimal, "secret", "$: expected Decimal, found other text"),
    (Decimal, "NaN", "$: expected Decimal, found other text"),
    (Decimal, 1.5, "$: expected Decimal, found float"),
    (Colour, "secret", "$: expected Colour, found another value"),
    (Level, "secret", "$: expected Level, found text"),
    (Colour, {"secret": 1}, "$: expected Colour, found object"),
    (list[Literal["a"] | date], ["secret"], "$[0]: expected Literal | date, found text"),
    (Box[Literal["a"]], {"content": "secret"}, "$.content: expected one of the values of the Literal, found another"),
    (Box[int], {"content": 1.5}, "$.content: expected int, found float"),
    (Box[None], {"content": 1}, "$.content: expected null, found int"),
    (tuple[int, date], [1], "$: expected tuple of 2, found a list of 1"),
    (tuple[int, date], [1, "secret"], "$[1]: expected date, found other text"),
    (tuple[int, ...], ["secret"], "$[0]: expected int, found text"),
    (tuple[int, ...], {}, "$: expected tuple, found object"),
    (set[Any], [[1]], "$: expected set, found members that cannot be in one"),
    (set[int], {}, "$: expected set, found object"),
    (Pair, [], "$: expected Pair of 2, found a list of 0"),
    (Pair, ["1", 2], "$[1]: expected Tree, found int"),
    (Job, {}, "$.due: expected date, found nothing"),
    (Job, {"due": "2024-02-29", "note": 1.5}, "$.note: expected Decimal, found float"),
    (Tree, {"value": "1", "children": [{"value": None}]}, "$.children[0].value: expected Decimal, found null"),
    (Item | None, {"name": "a", "price": "secret"}, "$.price: expected float, found text"),
    (date | None, "secret", "$: expected date, found other text"),
    (Named | Numbered, {"kind": "numbered", "number": "secret"}, "$.number: expected int, found text"),
    (Named | Numbered, 5, "$: expected Named | Numbered, found int"),
    (Model, {"when": "secret"}, "$.when: Model refuses it: datetime_from_date_parsing"),
    (list[Model], [{}], "$[0].when: Model refuses it: missing"),
    (Model, {"when": "2024-02-29T12:00:00Z", "inner": {"when": "2024-02-29T12:00:00Z", "tags": [1]}},
     "$.inner.tags[0]: Model refuses it: string_type"),
    (Checked, {"price": 1, "size": -5}, "$.size: Checked refuses it: greater_than"),
    (Struct, {}, "$: Struct refuses it: Object missing required field when"),
    (list[Struct], [{"when": "2024-02-29T12:00:00Z", "names": [1]}],
     "$[0].names[0]: Struct refuses it: Expected str, got int"),
    (Struct, {"when": "secret"}, "$.when: Struct refuses it: ValidationError"),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "value", "words"), MISFITS, ids=lambda item: ascii(item)[:40])
def test_what_does_not_fit_is_refused_with_its_place_and_not_shown(
    annotation: Any, value: Any, words: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        values.restore(value, annotation)
    assert str(caught.value) == words
    recorded = ExecutionError.from_exception(caught.value)
    assert "secret" not in f"{recorded} {recorded.to_dict()}"


def test_what_a_class_raises_as_it_is_made_is_the_cause() -> None:
    @dataclasses.dataclass
    class Picky:
        value: date

        def __post_init__(self) -> None:
            raise LookupError("secret")

    with pytest.raises(ValidationError, match=r"^\$\.a: Picky refuses its fields: LookupError$") as caught:
        values.restore({"a": {"value": "2024-02-29"}}, dict[str, Picky])
    assert isinstance(caught.value.__cause__, LookupError)


def test_long_paths_are_cut() -> None:
    inner: Any = {"value": None}
    for _ in range(60):
        inner = {"value": "1", "children": [inner]}
    with pytest.raises(ValidationError) as caught:
        values.restore(inner, Tree)
    assert len(str(caught.value)) < 500


# --- writing ------------------------------------------------------------------------------------------------------


def test_what_is_written() -> None:
    for annotation, value, data in [
        (set[str], {"b", "a", "c"}, b'["a","b","c"]'),
        (set[Any], {"b", 1, None, "a", 2.5}, b'["a","b",1,2.5,null]'),
        (set[date], {date(2024, 3, 1), DAY}, b'["2024-02-29","2024-03-01"]'),
        (Decimal, Decimal("1.10"), b'"1.10"'),
        (timedelta, timedelta(days=1, seconds=2, microseconds=3), b'"P1DT2.000003S"'),
        (timedelta, timedelta(seconds=-1), b'"-P0DT1S"'),
        (dict[int, Decimal], {1: Decimal(2)}, b'{"1":"2"}'),
        (Pair, Pair(Decimal(1)), b'["1",null]'),
        (list[Decimal], (Decimal(1),), b'["1"]'),
        (Struct, Struct(NOON, {2: Decimal(1)}, {"c", "a", "b"}),
         b'{"when":"2024-02-29T12:00:00.000005+05:30","by":{"2":"1"},"names":["a","b","c"],"inner":null}'),
    ]:  # fmt: skip
        assert values.encode(value, annotation=annotation) == data, annotation


def test_models_of_others_read_durations_of_ours() -> None:
    for size in (timedelta(days=-3, microseconds=7), timedelta(hours=25), timedelta(0)):
        text = values.plain(size, timedelta)
        assert msgspec.convert(text, timedelta) == size
        assert pydantic.TypeAdapter(timedelta).validate_python(text) == size
        assert values.restore(msgspec.to_builtins(size), timedelta) == size


REFUSED: list[tuple[Any, Any, str]] = [
    (Any, {"a": [Decimal(1)]}, "$.a[0]"),
    (Any, {1}, "$"),
    (list[Item], [Item("a", float("nan"))], "$[0].price"),
    (Order, Order([], NOON, total=Decimal("NaN")), "$.total"),
    (Order, Order([], datetime(2024, 1, 1)), "$.when"),  # noqa: DTZ001
    (Order, Order([Item("a", 1.0, object())], NOON), "$.items[0].colour"),  # type: ignore[arg-type]
    (Tree, Tree(Decimal(1), children=[Tree(object())]), "$.children[0].value"),  # type: ignore[arg-type]
    (set[Any], {1, object()}, None),
    (dict[int, str], {(1, 2): "a"}, "$"),
    (dict[int, str], {True: "a"}, "$"),
    (dict[int, Any], {1: {"x": {2}}}, "$['1'].x"),
    (dict[Any, Any], {1: 2}, "$"),
    (bytes, b"x", "$"),
    (dict[str, bytes], {"a": b"x"}, "$.a"),
    (Colour, Colour.NEVER, "$"),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "value", "path"), REFUSED, ids=lambda item: ascii(item)[:40])
def test_what_has_no_json_form_is_refused_with_its_place(
    annotation: Any, value: Any, path: str | None
) -> None:
    kind, message, fields = both(values.encode, value, None, annotation)
    assert kind is EncodingError
    if path is not None:
        assert fields["path"] == path
        assert f"at {path}: " in message


def test_keys_that_are_one_text_are_refused() -> None:
    with pytest.raises(EncodingError, match="keys must be text"):
        values.encode({1: "a", "1": "b"}, annotation=dict[int | str, str])


def test_circles_are_refused() -> None:
    tree = Tree(Decimal(1))
    tree.children.append(tree)
    with pytest.raises(EncodingError, match="nested"):
        values.encode(tree, annotation=Tree)


def test_a_value_of_another_type_is_left_to_the_encoder() -> None:
    assert values.encode(["a"], annotation=set[str]) == b'["a"]'
    assert values.encode({"due": "x"}, annotation=Job) == b'{"due":"x"}'
    assert values.encode(Item("a", 1.0), annotation=Order) == encoding.encode(Item("a", 1.0))
    for annotation in (
        Decimal,
        Tree,
        Pair,
        list[Decimal],
        tuple[Decimal, int],
        dict[int, int],
        Struct,
        Decimal | Tree,
    ):
        assert values.encode("text", annotation=annotation) == b'"text"'
    assert values.encode([1], annotation=tuple[Decimal, int]) == b"[1]"
