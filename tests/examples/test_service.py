"""The web service over real HTTP, under the server that its page names, killed in the middle and started again."""

import json
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backends import BACKENDS
from examples.processes import EXAMPLES, Example
from loops import LOOPS
from waiting import until

DOCUMENT = {"document": "three short words"}


class Service(Example):
    """The server, and requests to it."""

    def __init__(self, folder: Path, backend: str, loop: str) -> None:
        self.log = folder / "log"
        self.log.touch()
        super().__init__("service", folder, backend, SERVICE_LOG=str(self.log))
        self.command = [sys.executable, "-W", "error", "-m", "uvicorn", "--app-dir", str(EXAMPLES)]
        self.command += ["service:app", "--port", "0", "--no-access-log", "--loop", loop]
        self.up()

    def up(self) -> None:
        """Starts the server and learns its address."""
        before = len(self.lines())
        self.process = self.start()
        until(
            lambda: self.process.poll() is not None or re.search("running on", "".join(self.lines()[before:]))
        )
        found = re.search(r"running on (\S+)", "".join(self.lines()[before:]))
        assert found, self.out.read_text()
        self.address = found[1]

    def ask(self, method: str, path: str, body: Any = None, code: int = 200, **headers: str) -> Any:
        """The JSON of an answer with this status."""
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                status, found = answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            status, found = error.code, json.load(error)
            error.close()
        assert status == code, found
        return found

    def until_it_waits_for(self, id: str, name: str) -> str:
        """The id of what it waits for, as soon as it does."""
        until(lambda: name in self.ask("GET", f"/executions/{id}")["waits_for"])
        return str(self.ask("GET", f"/executions/{id}")["waits_for"][name])

    def noted(self) -> list[str]:
        """What was really done."""
        return [line.split()[0] for line in self.log.read_text().splitlines()]


@pytest.fixture(params=[(backend, loop) for backend in BACKENDS for loop in LOOPS], ids="-".join)
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    running = Service(tmp_path, *request.param)
    yield running
    running.close()


def test_the_server_is_killed_and_the_work_goes_on(service: Service) -> None:
    made = service.ask("POST", "/executions", DOCUMENT, 201, **{"Idempotency-Key": "a"})["id"]
    assert service.ask("POST", "/executions", DOCUMENT, 201, **{"Idempotency-Key": "a"})["id"] == made
    asked = service.until_it_waits_for(made, "translated")
    until(
        lambda: (
            ("send_to_translator", "completed") in service.ask("GET", f"/executions/{made}")["steps"].items()
        )
    )
    service.kill(service.process)

    service.up()
    assert service.ask("GET", "/executions") == [{"id": made, "key": "a", "state": "waiting"}]
    assert service.until_it_waits_for(made, "translated") == asked, "the answer comes under the same id"
    assert service.ask("POST", f"/callbacks/{asked}", "drei kurze Wörter") == {"counts": True}
    service.kill(service.process)

    service.up()
    assert service.ask("POST", f"/callbacks/{asked}", "other words") == {"counts": False}
    service.until_it_waits_for(made, "approve")
    assert service.ask("POST", f"/executions/{made}/signals/approve", {"by": "Ada"}) == {"heard": True}
    service.kill(service.process)

    service.up()
    found = service.ask("GET", f"/executions/{made}?wait=30s")
    assert found["state"] == "completed"
    assert found["output"] == {"words": 3, "by": "Ada", "result": "published: drei kurze Wörter"}
    assert found["waits_for"] == {}
    done = service.noted()
    assert sorted({*done}) == ["counted", "published", "sent"]
    assert done.count("counted") == done.count("sent") == 1
    assert service.ask("POST", f"/executions/{made}/signals/approve", {"by": "Bob"}) == {"heard": False}


def test_killed_in_a_step(service: Service) -> None:
    made = service.ask("POST", "/executions", DOCUMENT, 201)["id"]
    until(lambda: service.noted() == ["counted"])
    service.kill(service.process)
    service.up()
    service.until_it_waits_for(made, "translated")
    assert service.noted().count("sent") == 1


def test_cancelling(service: Service) -> None:
    made = service.ask("POST", "/executions", DOCUMENT, 201)["id"]
    asked = service.until_it_waits_for(made, "translated")
    assert service.ask("POST", f"/executions/{made}/cancel") == {"heard": True}
    assert service.ask("GET", f"/executions/{made}?wait=30s")["state"] == "cancelled"
    assert service.ask("POST", f"/executions/{made}/cancel") == {"heard": False}
    assert service.ask("POST", f"/callbacks/{asked}", "too late") == {"counts": False}
    assert service.ask("GET", f"/executions/{made}?wait=1ms")["steps"]["translated"] == "cancelled"


def test_what_is_refused(service: Service) -> None:
    service.ask("GET", "/executions/exec_01jd3f0q1xe7m9v3k5t2b8h6ca", code=404)
    service.ask("POST", "/callbacks/step_01jd3f0q1xe7m9v3k5t2b8h6ca", 1, code=404)
    service.ask("DELETE", "/executions", code=404)
    service.ask("POST", "/executions", {"text": "a"}, code=422)
    service.ask("POST", "/executions", b"{no json", code=422)
    made = service.ask("POST", "/executions", DOCUMENT, 201, **{"Idempotency-Key": "a"})["id"]
    service.ask("POST", "/executions", {"document": "another"}, code=422, **{"Idempotency-Key": "a"})
    service.ask("GET", f"/executions/{made}?wait=soon", code=422)
    assert service.ask("GET", f"/executions/{made}?wait=1ms")["output"] is None


def test_it_ends_when_it_is_asked_to(service: Service) -> None:
    service.ask("POST", "/executions", DOCUMENT, 201)
    until(lambda: "sent" in service.noted())
    service.process.terminate()
    service.process.wait(30)
    assert "Application shutdown complete." in service.out.read_text()
    (row,) = service.rows()
    assert row.owner is None


def test_a_store_that_cannot_be_opened_is_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "runs.db").mkdir()
    with pytest.raises(AssertionError, match="Application startup failed"):
        Service(tmp_path, BACKENDS[0], LOOPS[0])
