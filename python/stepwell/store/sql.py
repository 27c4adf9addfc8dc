"""The statements of the SQLite store, read from their files: written once, run by both backends."""

from pathlib import Path
from typing import Final


def _read(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _parts(text: str, mark: str) -> dict[str, str]:
    """What stands behind each line that begins with the mark, under the rest of that line."""
    found = {}
    for part in text.split(f"-- {mark}: ")[1:]:
        name, _, body = part.partition("\n")
        found[name.strip()] = body
    return found


def statements(text: str) -> list[str]:
    """A script as single statements, without its comments."""
    lines = (line.partition("--")[0].rstrip() for line in text.splitlines())
    script = "\n".join(line for line in lines if line)
    return [part.strip() for part in script.split(";") if part.strip()]


def _queries(text: str) -> dict[str, str]:
    once = {f"{{{name}}}": next(iter(_parts(text, name))) for name in ("row", "body")}
    found = {}
    for name, part in _parts(text, "name").items():
        [statement] = statements(part)
        for mark, columns in once.items():
            statement = statement.replace(mark, columns)
        found[name] = statement
    return found


QUERIES: Final = _queries(_read("queries.sql"))
"""Every statement by its name."""
SCHEMA: Final = statements(_read("schema.sql"))
"""What makes the tables of a new store."""
MIGRATIONS: Final = [statements(body) for body in _parts(_read("migrations.sql"), "to").values()]
"""What makes a store of format 2 from one of format 1, and so on."""
FORMAT: Final = len(MIGRATIONS) + 1
"""The format that this stepwell writes."""
