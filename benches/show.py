"""Tables for a terminal."""

import sys

from results import Sheet
from rich import box
from rich.console import Console
from rich.table import Table


def show(*sheets: Sheet) -> None:
    # Wide enough for the tables where nobody says how wide it is.
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    for sheet in sheets:
        console.print(f"\n{sheet.title}")
        table = Table(box=box.SIMPLE_HEAD)
        for column, heading in enumerate(sheet.head):
            table.add_column(heading, justify="left" if column < sheet.left else "right")
        for row in sheet.rows:
            table.add_row(*row)
        console.print(table)
