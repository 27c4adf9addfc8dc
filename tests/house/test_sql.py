"""No statement is made of pieces: what goes into one is bound, or is a number."""

import ast
import re
from collections.abc import Iterator

from house.tree import files, text

SQL = re.compile(r"^\s*(SELECT|INSERT|UPDATE|DELETE|CREATE|DROP|ALTER|PRAGMA|VACUUM|ATTACH|WITH)\b")


def pasted(source: str) -> Iterator[int]:
    """The lines where a statement is put together from what is no number."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr) and node.values and is_sql(node.values[0]):
            parts = [part for part in node.values if isinstance(part, ast.FormattedValue)]
            if not all(
                part.format_spec is not None and ast.unparse(part.format_spec) == "f'd'" for part in parts
            ):
                yield node.lineno
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
            if is_sql(node.left):
                yield node.lineno
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and is_sql(node.func.value):
            yield node.lineno


def is_sql(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL.match(node.value) is not None
    )


def test_no_statement_of_python_is_pasted_together() -> None:
    found = [f"{path}:{line}" for path in files(".py", under=("python",)) for line in pasted(text(path))]
    assert found == []


def test_no_statement_of_rust_is_pasted_together() -> None:
    calls = re.compile(r"\b(?:format|write|concat)!\(\s*\"([^\"]*)")
    made = [(path, call[1]) for path in files(".rs", under=("rust",)) for call in calls.finditer(text(path))]
    assert [(path, words) for path, words in made if SQL.match(words)] == []


def test_the_check_finds_what_it_is_for() -> None:
    name = "x"
    assert [*pasted('f"SELECT {name}"')] == [1]
    assert [*pasted('"DELETE FROM t WHERE id = " + name')] == [1]
    assert [*pasted('"UPDATE t SET a = %s" % name')] == [1]
    assert [*pasted('f"PRAGMA user_version = {name:d}"')] == []
    assert name
