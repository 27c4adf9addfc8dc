"""Everything that users can name says what it is."""

import inspect
from collections.abc import Iterator
from enum import Enum

import stepwell


def undocumented() -> Iterator[str]:
    for name in stepwell.__all__:
        thing = getattr(stepwell, name)
        if not (inspect.isclass(thing) or callable(thing) or inspect.ismodule(thing)):
            continue
        if not (thing.__doc__ or "").strip():
            yield name
        if inspect.isclass(thing) and not issubclass(thing, Enum):
            for member, value in vars(thing).items():
                if inspect.ismemberdescriptor(value):  # a field: the class says what it is
                    if not member.startswith("_") and f"`{member}`" not in (thing.__doc__ or ""):
                        yield f"{name}.{member}"
                    continue
                routine = inspect.isroutine(value) or inspect.isdatadescriptor(value)
                if (
                    not member.startswith("_")
                    and routine
                    and not (inspect.getdoc(getattr(thing, member)) or "").strip()
                ):
                    yield f"{name}.{member}"


def test_public_names_have_docstrings() -> None:
    assert sorted(undocumented()) == []


def test_public_names_are_listed_once_and_exist() -> None:
    assert len(set(stepwell.__all__)) == len(stepwell.__all__)
    assert [name for name in stepwell.__all__ if not hasattr(stepwell, name)] == []
