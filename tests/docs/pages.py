"""The pages of the documentation, taken apart: their code, their tables, their links."""

import re
from pathlib import Path
from typing import NamedTuple

from house.tree import ROOT, text

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "examples" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]


class Block(NamedTuple):
    """Something between fences: its language, the line of its opening fence from 1, its text, what it is to print."""

    language: str
    line: int
    code: str
    prints: str


def blocks(page: Path) -> list[Block]:
    """The fenced blocks. What one prints is in the `text` block after it, or in "It prints `…`", else nothing."""
    found = []
    content = text(page)
    for match in re.finditer(r"^```([^\n]*)\n(.*?)^```\n", content, re.MULTILINE | re.DOTALL):
        line = content.count("\n", 0, match.start()) + 1
        after = re.match(
            r"\s*(?:```text\n(.*?)^```\n|It prints `(.*?)`)", content[match.end() :], re.MULTILINE | re.DOTALL
        )
        prints = ""
        if after:
            prints = after[1] if after[1] is not None else after[2] + "\n"
        found.append(Block(match[1], line, match[2], prints))
    return found


def script(page: Path) -> str:
    """The page as a program: its Python where it stands, all else blank, and a mark printed after each block."""
    lines = [""] * len(text(page).splitlines())
    for block in blocks(page):
        if block.language == "python":
            code = block.code.splitlines()
            lines[block.line : block.line + len(code)] = code
            lines[block.line + len(code)] = 'print("\\x1e", end="")'
    return "\n".join(lines) + "\n"


def prose(page: Path) -> str:
    """The page without its blocks."""
    return re.sub(r"^```.*?^```$", "", text(page), flags=re.MULTILINE | re.DOTALL)


def table(page: str, *head: str) -> list[list[str]]:
    """The rows of the one table of `docs/<page>.md` with this head, without back quotes."""
    found = []
    for match in re.finditer(r"(?:^\|.*\n)+", text(ROOT / "docs" / f"{page}.md"), re.MULTILINE):
        rows = [
            [cell.strip() for cell in line.strip()[1:-1].split("|")]
            for line in match[0].replace("`", "").splitlines()
        ]
        if tuple(rows[0]) == head:
            found.append(rows[2:])
    (rows,) = found
    assert all(len(row) == len(head) for row in rows)
    return rows


def tables(page: str, *head: str) -> list[list[str]]:
    """The rows of all tables of `docs/<page>.md` with this head, as they are."""
    found = []
    for match in re.finditer(r"(?:^\|.*\n)+", text(ROOT / "docs" / f"{page}.md"), re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip()[1:-1].split("|")] for line in match[0].splitlines()]
        if tuple(rows[0]) == head:
            found += rows[2:]
    return found
