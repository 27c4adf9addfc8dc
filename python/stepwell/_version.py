"""The version of the package, the same as in `pyproject.toml` and `Cargo.toml`."""

from typing import Final

VERSION: Final = "0.1.0"
