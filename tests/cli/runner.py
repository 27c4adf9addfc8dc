"""The command in this process, which is faster than in one of its own; the engine of its stores can be chosen."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

from stepwell import _backend


class Done(NamedTuple):
    code: int
    out: str
    err: str
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Command:
    """`command("list", "--json")` on a store, as `acme` unless a tenant is given."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(
        self, *arguments: object, code: int = 0, tenant: str = "acme", given: bytes | None = None
    ) -> Done:
        from stepwell.cli.app import app

        environment = {"STEPWELL_STORE": f"sqlite:///{self.path}", "STEPWELL_TENANT": tenant}
        found = CliRunner().invoke(app, [*map(str, arguments)], input=given, env=environment)
        if found.exception is not None and not isinstance(found.exception, SystemExit):
            raise found.exception
        assert found.exit_code == code, found.output
        return Done(found.exit_code, found.stdout, found.stderr, found.stdout_bytes)


def use_engine(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has stores opened with this engine, whatever runs the executions."""
    monkeypatch.setattr(_backend, "choose", lambda: (kind, import_module(f"stepwell._{kind}")))
