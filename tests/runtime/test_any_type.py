"""Generated types and values, and what must hold in every process."""

import sys
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from hypothesis import given, settings, strategies as st

from runtime import shapes
from runtime.shapes import Box, Pair
from runtime.typed import INDIA, TRIPS, Checked, Colour, Item, Level, Model, Order, Struct, trip
from stepwell import EncodingError, ValidationError
from stepwell.runtime import values

decimals = st.decimals(allow_nan=False, allow_infinity=False)
floats = st.floats(allow_nan=False, allow_infinity=False)
moments = st.datetimes(timezones=st.sampled_from([UTC, INDIA]))
durations = st.timedeltas()
small = st.integers(-(2**63), 2**63)
LEAVES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, small),
    (float, floats),
    (str, st.text()),
    (bool, st.booleans()),
    (type(None), st.none()),
    (Decimal, decimals),
    (datetime, moments),
    (date, st.dates()),
    (time, st.times(timezones=st.just(UTC))),
    (timedelta, durations),
    (UUID, st.uuids()),
    (Colour, st.sampled_from([Colour.RED, Colour.DEEP, Colour.ONE])),
    (Level, st.sampled_from(list(Level))),
    (Item, st.builds(Item, st.text(), floats)),
    (
        Order,
        st.builds(
            Order, st.lists(st.builds(Item, st.text(), floats)), moments, st.frozensets(st.text()), decimals
        ),
    ),
    (Pair, st.builds(Pair, decimals, st.none())),
    (Struct, st.builds(Struct, moments, st.dictionaries(small, decimals), st.sets(st.text()))),
    (Checked, st.builds(Checked, decimals.filter(lambda number: abs(number) < 10**9), st.integers(1, 9))),
    (Model, st.builds(lambda when, tags: Model(when=when, tags=tags), moments, st.sets(st.text()))),
]
HASHABLE = (int, str, Decimal, datetime, date, UUID, Level)


def wider(kind: tuple[Any, st.SearchStrategy[Any]], shape: int) -> tuple[Any, st.SearchStrategy[Any]]:
    annotation, strategy = kind
    hashable = annotation in HASHABLE
    return [
        lambda: (list[annotation], st.lists(strategy, max_size=3)),
        lambda: (tuple[annotation, int], st.tuples(strategy, small)),
        lambda: (tuple[annotation, ...], st.lists(strategy, max_size=3).map(tuple)),
        lambda: (dict[str, annotation], st.dictionaries(st.text(), strategy, max_size=3)),
        lambda: (annotation | None, st.none() | strategy),
        lambda: (Box[annotation], st.builds(Box, strategy, st.lists(strategy, max_size=2).map(tuple))),
        lambda: (shapes.Holder[annotation], strategy.map(lambda value: {"held": value})),
        lambda: (set[annotation], st.sets(strategy)) if hashable else kind,
        lambda: (dict[annotation, int], st.dictionaries(strategy, small)) if hashable else kind,
    ][shape]()


@st.composite
def typed(draw: Any) -> tuple[Any, Any]:
    kind = draw(st.sampled_from(LEAVES))
    for shape in draw(st.lists(st.integers(0, 8), max_size=3)):
        kind = wider(kind, shape)
    return kind[0], draw(kind[1])


@settings(max_examples=400, deadline=None)
@given(typed())
def test_any_value_of_any_type_comes_back(case: tuple[Any, Any]) -> None:
    annotation, value = case
    once = trip(value, annotation)
    assert once == value
    assert trip(once, annotation) == once
    data = values.encode(value, annotation=annotation)
    assert values.encode(once, annotation=annotation) == data


ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | small
    | floats
    | st.text(max_size=3)
    | st.sampled_from(["red", "2024-02-29", "1"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "price", "value", "when", "items", "x"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from([annotation for annotation, _ in [*LEAVES, *TRIPS]]), ANY_JSON)
def test_any_json_is_read_or_refused(annotation: Any, value: Any) -> None:
    """Nothing but a refusal, and what is read is written and read again to the same."""
    try:
        found = values.restore(value, annotation)
    except ValidationError:
        return
    try:
        data = values.encode(found, annotation=annotation)
    except EncodingError:
        return  # an annotation alone does not look at JSON's own types
    assert values.decode(data, annotation=annotation) == found


SETS = """
import dataclasses, sys
import msgspec, pydantic
from stepwell.runtime import values

class Struct(msgspec.Struct):
    names: set[str]
    more: list[frozenset[str]]

class Model(pydantic.BaseModel):
    names: set[str] = pydantic.Field({"seven", "ate", "nine", "ten"}, alias="n")
    more: dict[str, set[str]] = {"b": {"seven", "ate", "nine", "ten"}, "a": set()}
    inner: "Model | None" = None

class Root(pydantic.RootModel[set[str]]):
    pass

@dataclasses.dataclass
class Data:
    structs: list[Struct]
    model: Model
    root: Root
    names: set[str]

names = {"seven", "ate", "nine", "ten"}
data = Data([Struct(names, [frozenset(names)])], Model(inner=Model()), Root(names), names)
print(values.encode(data, annotation=Data).decode())
"""


def test_sets_are_written_the_same_in_every_process() -> None:
    """Else the input of a step would not be the recorded one when a new process goes on."""
    import os
    import subprocess

    outputs = set()
    for seed in range(4):
        environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
        command = [sys.executable, "-c", SETS]
        outputs.add(
            subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
        )
    (output,) = outputs
    assert output.count('["ate","nine","seven","ten"]') == 2 + 4 + 2
    assert output.index('"b"') < output.index('"a":')


def test_no_library_is_imported_for_it() -> None:
    import subprocess

    script = "import sys; from stepwell.runtime import values; values.hints(print); values.restorer(dict[int, float]);"
    script += "print(*{'pydantic', 'msgspec', 'numpy', 'attrs'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
