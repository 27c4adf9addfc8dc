"""What the annotations of functions say, and codecs."""

import dataclasses
from collections import abc
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from runtime import shapes
from runtime.shapes import Tree
from runtime.typed import DAY, NOON, Item, Order
from stepwell import Codec, EncodingError, ValidationError, blueprint, encoding, step
from stepwell.runtime import values


def test_arguments_are_restored_by_the_signature() -> None:
    args, kwargs = values.arguments(
        shapes.takes, ["1.0", "2024-02-29", {"value": "2"}], {"c": [1], "d": "x", "e": "2024-02-29"}
    )
    assert args == (Decimal("1.0"), DAY, Tree(Decimal(2)))
    assert kwargs == {"c": {1}, "d": "x", "e": DAY}
    written = values.hints(shapes.takes).plain(args, kwargs)
    assert values.arguments(shapes.takes, *encoding.decode(encoding.encode(list(written)))) == (args, kwargs)
    assert values.arguments(shapes.takes, ["1"], {"b": "2024-02-29"}) == ((Decimal(1),), {"b": DAY})


def test_hints() -> None:
    found = values.hints(shapes.takes)
    assert found is values.hints(shapes.takes)
    assert {*found.parameters} == {"a", "b", "rest", "c", "others"}
    assert found.annotations["d"] is Any
    assert found.annotation is Tree
    assert found.result is values.restorer(Tree)
    unknown = values.hints(shapes.unresolvable)
    assert (unknown.annotation, unknown.result, {*unknown.parameters}) == (Any, None, {"b"})


def test_arguments_beyond_the_signature_stay_as_they_are() -> None:
    def one(a: date) -> None: ...

    assert values.arguments(one, ["2024-02-29", 2], {"x": 3}) == ((DAY, 2), {"x": 3})
    assert values.arguments(len, [[1]], {}) == (([1],), {})
    assert values.arguments(print, [1], {"sep": ""}) == ((1,), {"sep": ""})


def test_a_default_of_none_is_of_the_type() -> None:
    def one(a: date = None, *, b: float = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013

    assert values.arguments(one, [None], {"b": None}) == ((None,), {"b": None})
    assert values.arguments(one, ["2024-02-29"], {"b": 1}) == ((DAY,), {"b": 1.0})


def test_blueprints_and_steps_are_their_functions() -> None:
    @blueprint(name="typed")
    async def flow(when: date) -> Order: ...

    @step
    def work(when: date) -> Order: ...

    for fn in (flow, work):
        assert values.arguments(fn, ["2024-02-29"], {}) == ((DAY,), {})
        assert values.hints(fn).annotation is Order


def test_the_refusal_of_an_argument_names_it() -> None:
    with pytest.raises(ValidationError, match=r"^argument rest: \$\.value: expected Decimal, found float$"):
        values.arguments(shapes.takes, ["1.0", "2024-02-29", {"value": 1.5}], {"c": []})


def test_all_kinds_of_callables() -> None:
    from functools import partial, wraps

    class Worker:
        def method(self, when: date) -> Decimal: ...

        @classmethod
        def of_class(cls, when: date) -> Decimal: ...

        @staticmethod
        def static(when: date) -> Decimal: ...

        def __call__(self, when: date) -> Decimal: ...

    async def function(first: int, when: date) -> Decimal: ...

    def awaited(when: date) -> abc.Coroutine[Any, Any, Decimal]: ...

    def soon(when: date) -> abc.Awaitable[Decimal]: ...

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any: ...

    worker = Worker()
    for fn in (worker.method, Worker.of_class, Worker.static, worker, partial(function, 1), awaited, soon):
        assert values.arguments(fn, ["2024-02-29"], {}) == ((DAY,), {}), fn
        assert values.hints(fn).annotation is Decimal
    assert values.arguments(wrapped, [1, "2024-02-29"], {}) == ((1, DAY), {})
    assert values.arguments(Order, [[], NOON.isoformat()], {"total": "1"}) == (
        ([], NOON),
        {"total": Decimal(1)},
    )
    assert values.hints(Order).result is values.restorer(Order)


def test_a_class_with_an_init() -> None:
    class Made:
        def __init__(self, when: date) -> None: ...

    assert values.arguments(Made, ["2024-02-29"], {}) == ((DAY,), {})
    assert values.hints(Made).annotation is Made


def test_text_annotations_may_name_what_the_body_uses() -> None:
    @dataclasses.dataclass
    class Local:
        when: date

    def work() -> "Local":
        return Local(DAY)

    assert values.restore({"when": "2024-02-29"}, values.hints(work).annotation) == Local(DAY)


def test_hints_go_with_their_function() -> None:
    import gc

    def work(a: date) -> Order: ...

    values.hints(work)
    before = len(values._hints)
    del work
    gc.collect()
    assert len(values._hints) < before


# --- codecs -------------------------------------------------------------------------------------------------------


class Reversed(Codec):
    """Text backwards, and what type it was asked for."""

    asked: Any = None

    def encode(self, value: Any) -> Any:
        return values.encode(value).decode()[::-1]

    def decode(self, value: Any, type: Any) -> Any:
        self.asked = type
        return values.decode(value[::-1].encode(), annotation=type)


def test_a_codec_does_it_all() -> None:
    codec = Reversed()
    data = values.encode(Item("a", 1.5), codec, Item)
    assert data == b'"}\\"der\\":\\"ruoloc\\",5.1:\\"ecirp\\",\\"a\\":\\"eman\\"{"'
    assert values.decode(data, codec, Item) == Item("a", 1.5)
    assert codec.asked is Item
    values.decode(data, codec)
    assert codec.asked is Any


def test_what_a_codec_makes_has_to_be_json() -> None:
    class Odd(Reversed):
        def encode(self, value: Any) -> Any:
            return {"a": object()}

    with pytest.raises(EncodingError) as caught:
        values.encode(1, Odd())
    assert caught.value.path == "$.a"
