"""The process whose system calls are recorded: it writes a plan, and says on its standard output what is acknowledged.

`python -m proofs.power_writer SCENARIO BACKEND PATH BEFORE`: the first so many requests are there already.
"""

import os
import sys
from collections.abc import Callable

from proofs.plan import TENANT, Plan, plan
from stepwell.store.sqlite import SqliteSource, SqliteStore


def write(path: str, backend: str, what: Plan, said: Callable[[int], object]) -> None:
    """Carries the plan out; tells of each request by its number when it is acknowledged."""

    def opened() -> SqliteStore:
        return SqliteSource(path, backend=backend).open(TENANT)

    store = opened()
    number = 0
    for action in what.actions:
        if action == "checkpoint":
            store.rows("checkpoint").wait(60)
        elif action == "reopen":
            store.close()
            store = opened()
        else:
            requests = [request for request in action if not isinstance(request, str)]
            done = max(0, what.before - number)
            tickets = [request.ask(store) for request in requests[done:]]
            for ticket in tickets:
                ticket.wait(60)
            number += len(requests)
            if tickets:
                said(number)
    store.close()


def main() -> None:
    scenario, backend, path, before = sys.argv[1:]
    what = plan(scenario)._replace(before=int(before))
    write(path, backend, what, lambda number: os.write(1, b"%d\n" % number))


if __name__ == "__main__":
    main()
