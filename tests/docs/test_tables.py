"""The tables of the documentation say what `spec/*.toml` and the code say."""

import inspect
import re
import tomllib

import pytest

import stepwell
from docs.pages import table
from house.tree import ROOT, text
from stepwell import Execution, ResourceLimits, RetryPolicy, Step, errors, exceptions
from stepwell._pure.methods import Methods

SPEC = {path.stem: tomllib.loads(text(path)) for path in (ROOT / "spec").glob("*.toml")}
EXECUTION, STEP = SPEC["lifecycle"]["execution"], SPEC["lifecycle"]["step"]


# --- docs/kernel.md -----------------------------------------------------------------------------------------------


def test_states_of_executions() -> None:
    actions = EXECUTION["actions"]
    rows = table("kernel", "from", *actions)
    expected = [
        [state, *(row.get(state, "").replace("*", "back") for row in actions.values())]
        for state in EXECUTION["states"]
        if any(state in row for row in actions.values())
    ]
    assert rows == expected


def test_states_of_steps() -> None:
    rows = table("kernel", "action", "new", "pending", "running", "while the execution is")
    expected = [
        [
            kind,
            *(row.get(state, "") for state in ("new", "pending", "running")),
            ", ".join(state for state, allowed in STEP["allowed_while"].items() if kind in allowed),
        ]
        for kind, row in STEP["actions"].items()
    ]
    assert rows == expected
    assert {state for row in STEP["actions"].values() for state in row} == {"new", "pending", "running"}


def test_enumerations() -> None:
    rows = table("kernel", "enumeration", "values")
    assert {name: values.split(", ") for name, values in rows} == SPEC["lifecycle"]["enums"]


@pytest.mark.parametrize("cls", [Execution, Step])
def test_attributes(cls: type) -> None:
    """The kernel's page has two tables of attributes, the execution's first."""
    found = [match[0] for match in re.finditer(r"(?:^\|.*\n)+", text(ROOT / "docs/kernel.md"), re.MULTILINE)]
    page = [one for one in found if one.startswith("| attribute | what it is |")][cls is Step]
    named = [name for line in page.splitlines()[2:] for name in re.findall(r"`(\w+)`", line.split("|")[1])]
    public = {name for name in dir(cls) if name[0] != "_" and not callable(getattr(cls, name))}
    assert sorted(named) == sorted(public)


def test_methods() -> None:
    rows = table("kernel", "method", "action", "returns")
    kinds = [kind for kind in SPEC["journal"]["records"] if kind != "created"]
    assert sorted(kind for _, kind, _ in rows) == sorted(kinds)
    returned = {"None": "None", "the Step": "Step", "a StepRange": "StepRange"}
    for method, _, returns in rows:
        name = method.partition("(")[0]
        assert hasattr(Execution, name)
        found = inspect.signature(getattr(Methods, name))
        assert getattr(found.return_annotation, "__name__", str(found.return_annotation)) == returned[returns]
        bare = [one.replace(annotation=inspect.Parameter.empty) for one in found.parameters.values()][1:]
        shown = f"{name}{inspect.Signature(bare)}"
        if "…" in method:
            assert shown.startswith(method.partition("…")[0])
        else:
            assert shown == method


def test_limits_of_tenants() -> None:
    rows = table("kernel", "limit", "looked at when", "what counts")
    named = [name for row in rows for name in row[0].split(", ")]
    assert sorted(named) == sorted(ResourceLimits._fields)


def test_taxonomy() -> None:
    expected = []
    for category, one in SPEC["errors"].items():
        rows = {"": {}, **one.get("codes", {})}
        for code, own in rows.items():
            retried = own.get("retryable", one["retryable"] if not code else False)
            word = "never" if one.get("fatal") else "yes" if retried else "no"
            expected.append([category, code, word, str(own.get("http", one["http"]))])
    assert table("kernel", "category", "code", "retried", "HTTP") == expected


def test_exceptions_as_data() -> None:
    head = "exception", "becomes", "retried"
    doc = (exceptions.__doc__ or "").replace("`", "")
    found = [[cell.strip() for cell in line[1:-1].split("|")] for line in doc.splitlines() if line[:1] == "|"]
    assert tuple(found[0]) == head
    assert table("kernel", *head) == found[2:]


def test_retry_policy() -> None:
    rows = table("kernel", "field", "default", "meaning")
    assert [(name, default) for name, default, _ in rows] == [
        (name, repr(value)) for name, value in RetryPolicy().to_dict().items()
    ]


def test_exceptions() -> None:
    for names, _, attributes in table("kernel", "exception", "when", "attributes"):
        for name in names.split(", "):
            cls = getattr(stepwell, name)
            assert issubclass(cls, errors.StepwellError)
            if attributes != "as above":
                assert all(hasattr(cls, attribute) for attribute in attributes.split(", ") if attribute)


# --- docs/journal.md ----------------------------------------------------------------------------------------------


def fields(cell: str) -> dict[str, str]:
    return dict(field.split(": ") for field in cell.split(", ") if field)


def test_records() -> None:
    rows = table("journal", "kind", "fields")
    assert [(kind, list(fields(cell).items())) for kind, cell in rows] == [
        (kind, list(found.items())) for kind, found in SPEC["journal"]["records"].items()
    ]


def test_whole_executions() -> None:
    rows = table("journal", "of", "fields")
    assert [(what, list(fields(cell).items())) for what, cell in rows] == [
        (what, list(found.items())) for what, found in SPEC["journal"]["snapshot"].items()
    ]


def test_types_of_fields() -> None:
    explained = {name for row in table("journal", "type", "what it is") for name in row[0].split(", ")}
    tables = [*SPEC["journal"]["records"].values(), *SPEC["journal"]["snapshot"].values()]
    used = {kind.rstrip("?") for found in tables for kind in found.values()}
    assert used - explained == {"steps", "actions", "usage", "attempts"}, "these are explained in the text"


def test_limits_of_the_format() -> None:
    rows = table("journal", "limit", "value", "of what")
    assert {name: int(value) for name, value, _ in rows} == SPEC["journal"]["limits"]
    assert f"## Format {SPEC['journal']['format']}\n" in text(ROOT / "docs/journal.md")
