"""Writes the tables of both backends from the TOML files beside this one.

`python spec/generate.py` writes them, `python spec/generate.py --check` fails when one is not up to date.
"""

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

SPEC = Path(__file__).parent
ROOT = SPEC.parent
PYTHON = ROOT / "python" / "stepwell" / "_spec.py"
RUST = ROOT / "rust" / "core" / "src" / "spec.rs"

Table = dict[str, Any]


def load(name: str) -> Table:
    return tomllib.loads((SPEC / f"{name}.toml").read_text(encoding="utf-8"))


def camel(word: str) -> str:
    return "".join(part.capitalize() for part in word.split("_"))


def enums(lifecycle: Table, errors: Table) -> dict[str, tuple[str, list[str]]]:
    """Every enumeration: name -> (docstring, values)."""
    docs = {
        "StepType": "What kind of act a step is.",
        "WaitReason": "Why an execution waits.",
        "ParentType": "What kind of thing an execution was started by.",
    }
    found = {
        "ExecutionState": ("The states of an execution.", lifecycle["execution"]["states"]),
        "StepState": ("The states of a step.", lifecycle["step"]["states"]),
    }
    found |= {name: (docs[name], values) for name, values in lifecycle["enums"].items()}
    found["ErrorCategory"] = ("What kind of failure an `ExecutionError` is.", list(errors))
    found["LlmCode"] = ("The known codes of category `llm`.", list(errors["llm"]["codes"]))
    found["ToolCode"] = ("The known codes of category `tool`.", list(errors["tool"]["codes"]))
    return found


def terminal(states: list[str], actions: Table) -> list[str]:
    return [state for state in states if not any(state in row for row in actions.values())]


def rows(fields: Table) -> tuple[tuple[str, str, bool], ...]:
    """The fields of a record as (name, type, required)."""
    return tuple((name, type_.rstrip("?"), not type_.endswith("?")) for name, type_ in fields.items())


def python_source(lifecycle: Table, journal: Table, errors: Table) -> str:
    lines = [
        '"""The lifecycle, the journal format and the taxonomy as tables.',
        "",
        "Made from `spec/*.toml` by `spec/generate.py`; change those.",
        '"""',
        "",
        "from enum import StrEnum",
        "from typing import Final",
    ]
    for name, (doc, values) in enums(lifecycle, errors).items():
        lines += ["", "", f"class {name}(StrEnum):", f'    """{doc}"""', ""]
        lines += [f'    {value.upper()} = "{value}"' for value in values]
    execution, step = lifecycle["execution"], lifecycle["step"]
    lines += ["", "", f'INITIAL: Final = "{execution["initial"]}"']
    lines += [f"RESUME_RETURNS_TO: Final = frozenset({execution['resume_returns_to']!r})"]
    for name, table in (("EXECUTION_ACTIONS", execution["actions"]), ("STEP_ACTIONS", step["actions"])):
        lines += ["", f"{name}: Final[dict[str, dict[str, str]]] = {{"]
        lines += [f"    {kind!r}: {row!r}," for kind, row in table.items()]
        lines += ["}"]
    lines += ["", "STEP_ALLOWED_WHILE: Final[dict[str, frozenset[str]]] = {"]
    lines += [f"    {state!r}: frozenset({kinds!r})," for state, kinds in step["allowed_while"].items()]
    lines += ["}", "", f"BULK: Final[dict[str, str]] = {step['bulk']!r}", ""]
    for name, table in (("EXECUTION_TERMINAL", execution), ("STEP_TERMINAL", step)):
        lines += [f"{name}: Final = frozenset({terminal(table['states'], table['actions'])!r})"]
    lines += ["", f"FORMAT: Final = {journal['format']}"]
    lines += [f"{name.upper()}: Final = {value}" for name, value in journal["limits"].items()]
    lines += ["", "# kind -> its fields in the record's order: (name, type, required)"]
    lines += ["RECORDS: Final[dict[str, tuple[tuple[str, str, bool], ...]]] = {"]
    lines += [f"    {kind!r}: {rows(fields)!r}," for kind, fields in journal["records"].items()]
    lines += [
        "}",
        "",
        "# what `to_json` writes of an execution and of a step, in order: (name, type, required)",
    ]
    lines += ["SNAPSHOT: Final[dict[str, tuple[tuple[str, str, bool], ...]]] = {"]
    lines += [f"    {what!r}: {rows(fields)!r}," for what, fields in journal["snapshot"].items()]
    lines += ["}", "", "# category -> (may be retried, HTTP status, is fatal)"]
    lines += ["TAXONOMY: Final[dict[str, tuple[bool, int, bool]]] = {"]
    lines += [
        f"    {c!r}: {(r['retryable'], r['http'], r.get('fatal', False))!r}," for c, r in errors.items()
    ]
    lines += ["}", "", "# (category, code) -> (may be retried, HTTP status)"]
    lines += ["TAXONOMY_CODES: Final[dict[tuple[str, str], tuple[bool, int]]] = {"]
    for category, row in errors.items():
        for code, entry in row.get("codes", {}).items():
            lines += [
                f"    {(category, code)!r}: {(entry.get('retryable', row['retryable']), entry['http'])!r},"
            ]
    return "\n".join([*lines, "}", ""])


def rust_enum(name: str, doc: str, values: list[str]) -> list[str]:
    lines = [
        "",
        f"/// {doc}",
        "#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]",
        "#[repr(u8)]",
        f"pub enum {name} {{",
    ]
    lines += [f"    {camel(value)}," for value in values]
    lines += ["}", "", f"impl {name} {{", f"    pub const ALL: [{name}; {len(values)}] = ["]
    lines += [f"        {name}::{camel(value)}," for value in values]
    lines += ["    ];", "", f"    pub const NAMES: [&'static str; {len(values)}] = {json.dumps(values)};"]
    lines += [
        "",
        "    /// The name used in journals and in Python.",
        "    pub const fn name(self) -> &'static str {",
    ]
    lines += ["        match self {"]
    lines += [f'            {name}::{camel(value)} => "{value}",' for value in values]
    lines += [
        "        }",
        "    }",
        "",
        f"    pub fn parse(name: &str) -> Option<{name}> {{",
        "        match name {",
    ]
    lines += [f'            "{value}" => Some({name}::{camel(value)}),' for value in values]
    return [*lines, "            _ => None,", "        }", "    }", "}"]


def rust_transition(function: str, doc: str, enum: str, table: Table, hole: str) -> list[str]:
    lines = ["", f"/// {doc}", f"pub const fn {function}(kind: Kind, from: {enum}) -> Option<{enum}> {{"]
    lines += ["    match (kind, from) {"]
    for kind, row in table.items():
        for source, target in row.items():
            if hole not in (source, target):
                lines += [
                    f"        (Kind::{camel(kind)}, {enum}::{camel(source)}) => Some({enum}::{camel(target)}),"
                ]
    return [*lines, "        _ => None,", "    }", "}"]


def rust_match(signature: str, doc: str, arms: list[str], default: str) -> list[str]:
    head = ["", f"/// {doc}", f"pub const fn {signature} {{", "    match (kind, state) {"]
    return [*head, *(f"        {arm} => true," for arm in arms), f"        _ => {default},", "    }", "}"]


def rust_fields(records: Table) -> list[str]:
    """The fields of every record, in order."""
    names = sorted({name for fields in records.values() for name in fields})
    types = sorted({type_.rstrip("?") for fields in records.values() for type_ in fields.values()})
    lines = [
        "",
        "/// The names of fields in records.",
        "#[derive(Clone, Copy, Debug, PartialEq, Eq)]",
        "pub enum Field {",
    ]
    lines += [*(f"    {camel(name)}," for name in names), "}", "", "/// What a field holds."]
    lines += ["#[derive(Clone, Copy, Debug, PartialEq, Eq)]", "pub enum FieldType {"]
    lines += [*(f"    {type_ if type_[0].isupper() else camel(type_)}," for type_ in types), "}"]
    lines += [
        "",
        "/// A field of a record: its name, the name as it is written, its type, whether it must be there.",
    ]
    lines += ["pub type Row = (Field, &'static str, FieldType, bool);"]
    lines += [
        "",
        "/// The fields of a record in order.",
        "pub const fn record(kind: Kind) -> &'static [Row] {",
    ]
    lines += ["    match kind {"]
    for kind, fields in records.items():
        rows_ = [
            f'(Field::{camel(name)}, r#","{name}":"#, FieldType::{t if t[0].isupper() else camel(t)}, {str(req).lower()})'
            for name, t, req in rows(fields)
        ]
        lines += [f"        Kind::{camel(kind)} => &[{', '.join(rows_)}],"]
    return [*lines, "    }", "}"]


def rust_source(lifecycle: Table, journal: Table) -> str:
    execution, step = lifecycle["execution"], lifecycle["step"]
    lines = ["//! The lifecycle and the journal format as tables.", "//!"]
    lines += ["//! Made from `spec/*.toml` by `spec/generate.py`; change those."]
    names = enums(lifecycle, {"llm": {"codes": {}}, "tool": {"codes": {}}})
    for name in ("ExecutionState", "StepState", "StepType", "WaitReason", "ParentType"):
        lines += rust_enum(name, *names[name])
    lines += rust_enum("Kind", "The kinds of journal records.", list(journal["records"]))
    doc = "Where an execution action leads; `None` where it is refused."
    lines += rust_transition("execution_transition", doc, "ExecutionState", execution["actions"], "*")
    doc = "Where a step action leads; `None` where it is refused."
    lines += rust_transition("step_transition", doc, "StepState", step["actions"], "new")
    doc = "Whether `resume` from this state goes back to where the execution was paused from."
    arms = [
        f"(Kind::{camel(kind)}, ExecutionState::{camel(source)})"
        for kind, row in execution["actions"].items()
        for source, target in row.items()
        if target == "*"
    ]
    lines += rust_match("returns(kind: Kind, state: ExecutionState) -> bool", doc, arms, "false")
    doc = "Whether the state of an execution lets this step action happen."
    arms = [
        f"(Kind::{camel(kind)}, ExecutionState::{camel(state)})"
        for state, kinds in step["allowed_while"].items()
        for kind in kinds
    ]
    lines += rust_match("step_allowed(kind: Kind, state: ExecutionState) -> bool", doc, arms, "false")
    lines += ["", "/// The state in which a step action creates its step."]
    lines += ["pub const fn step_created(kind: Kind) -> Option<StepState> {", "    match kind {"]
    for kind, row in step["actions"].items():
        if "new" in row:
            lines += [f"        Kind::{camel(kind)} => Some(StepState::{camel(row['new'])}),"]
    lines += ["        _ => None,", "    }", "}", "", "/// The single action that a bulk action repeats."]
    lines += ["pub const fn single(kind: Kind) -> Option<Kind> {", "    match kind {"]
    lines += [
        f"        Kind::{camel(bulk)} => Some(Kind::{camel(kind)})," for bulk, kind in step["bulk"].items()
    ]
    lines += ["        _ => None,", "    }", "}"]
    for enum, table in (("ExecutionState", execution), ("StepState", step)):
        states = " | ".join(f"{enum}::{camel(s)}" for s in terminal(table["states"], table["actions"]))
        lines += ["", f"impl {enum} {{", "    /// Whether no action leads out of this state."]
        lines += [
            "    pub const fn is_terminal(self) -> bool {",
            f"        matches!(self, {states})",
            "    }",
            "}",
        ]
    lines += rust_fields(journal["records"])
    lines += ["", f"pub const INITIAL: ExecutionState = ExecutionState::{camel(execution['initial'])};"]
    lines += [f"pub const FORMAT: i64 = {journal['format']};"]
    lines += [f"pub const {name.upper()}: usize = {value};" for name, value in journal["limits"].items()]
    return "\n".join([*lines, ""])


def formatted(path: Path, source: str) -> str:
    """The source as the project's formatters leave it, so that a formatter never disagrees with the check."""
    import subprocess

    command = ["rustfmt", "--edition", "2024", "--emit", "stdout", "--quiet"]
    if path.suffix == ".py":
        command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(path), "-"]
    return subprocess.run(command, input=source, capture_output=True, text=True, check=True, cwd=ROOT).stdout


def main() -> int:
    lifecycle, journal, errors = load("lifecycle"), load("journal"), load("errors")
    made = {PYTHON: python_source(lifecycle, journal, errors), RUST: rust_source(lifecycle, journal)}
    stale = 0
    for path, source in made.items():
        text = formatted(path, source)
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if "--check" in sys.argv[1:]:
            print(f"{path.relative_to(ROOT)} is not what spec/ says: run `make spec`", file=sys.stderr)
            stale = 1
        else:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")
    return stale


if __name__ == "__main__":
    raise SystemExit(main())
