"""Log records that say which execution and step they are of, and say it once: `stepwell.logging.install()`."""

import logging

from .runtime import places

__all__ = ["LogFilter", "install"]


class LogFilter(logging.Filter):
    """Puts `execution_id`, `step_id` and `attempt` on every record, and drops what a blueprint logs while it replays.

    Code of a step has all three, code of a blueprint its `execution_id`; what is absent is `None`. Put it on handlers,
    not on loggers: a logger's filters do not see what its children log. Nothing of a step is dropped, since code of a
    step runs only where it really runs.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is kept; part of `logging`."""
        here = places.here()
        record.execution_id = record.step_id = record.attempt = None
        if isinstance(here, places.Call):
            record.execution_id, record.attempt = here.run.execution.id, here.attempt
            record.step_id = None if here.step is None else here.step.id
        elif here is not None:
            record.execution_id = here.run.execution.id
            return not here.is_replaying
        return True


def install(logger: logging.Logger | None = None) -> LogFilter:
    """Adds one `LogFilter` to each handler that the root logger, or `logger`, has now, and returns it.

    Call it after the handlers were set up, for instance by `logging.basicConfig()`. Handlers that have one keep theirs,
    so it may be called again.
    """
    made = LogFilter()
    for handler in (logging.getLogger() if logger is None else logger).handlers:
        if not any(isinstance(known, LogFilter) for known in handler.filters):
            handler.addFilter(made)
    return made
