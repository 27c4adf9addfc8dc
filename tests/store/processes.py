"""Other processes: what a test does to a file that this one has open, it does there."""

import subprocess
import sys
import textwrap
from pathlib import Path


def run_python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A process of its own: what a test does to a file that this process has open, it does there."""
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def in_sqlite(path: Path, *statements: str) -> str:
    """What `sqlite3` answers to the last statement, in another process."""
    code = """
        import sqlite3, sys
        db = sqlite3.connect(sys.argv[1], isolation_level=None)
        for statement in sys.argv[2:]:
            rows = db.execute(statement).fetchall()
        print(rows)
    """
    process = run_python(code, path, *statements)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    return output.strip()
