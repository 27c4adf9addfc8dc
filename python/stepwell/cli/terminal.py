"""What the commands use of `rich`."""

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

__all__ = ["Console", "Live", "Table", "Text"]
