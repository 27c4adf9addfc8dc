"""The `stepwell` command. It needs the extra `cli`: `pip install stepwell[cli]`."""

import sys


def main() -> None:
    """Runs the command and exits with its code."""
    try:
        from .app import app
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package not in ("rich", "typer"):
            raise
        print(f"stepwell: {package} is not installed; run: pip install stepwell[cli]", file=sys.stderr)
        sys.exit(2)
    app()
