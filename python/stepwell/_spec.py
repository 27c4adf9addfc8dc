"""The lifecycle, the journal format and the taxonomy as tables.

Made from `spec/*.toml` by `spec/generate.py`; change those.
"""

from enum import StrEnum
from typing import Final


class ExecutionState(StrEnum):
    """The states of an execution."""

    CREATED = "created"
    PLANNING = "planning"
    RUNNING = "running"
    PAUSED = "paused"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StepState(StrEnum):
    """The states of a step."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


class StepType(StrEnum):
    """What kind of act a step is."""

    FUNCTION = "function"
    LLM = "llm"
    TOOL = "tool"
    GRAPH = "graph"
    CONDITION = "condition"
    LOOP = "loop"
    WAIT = "wait"
    SCOPE = "scope"
    CHILD = "child"


class WaitReason(StrEnum):
    """Why an execution waits."""

    APPROVAL = "approval"
    USER_INPUT = "user_input"
    RATE_LIMIT = "rate_limit"
    EXTERNAL = "external"
    CHECKPOINT = "checkpoint"
    COST_THRESHOLD = "cost_threshold"
    MEMORY_PRESSURE = "memory_pressure"
    SUB_AGENT = "sub_agent"
    TIMER = "timer"


class ParentType(StrEnum):
    """What kind of thing an execution was started by."""

    EXECUTION = "execution"
    STEP_EXECUTION = "step_execution"
    USER_MESSAGE = "user_message"
    SYSTEM = "system"
    SCHEDULE = "schedule"


class ErrorCategory(StrEnum):
    """What kind of failure an `ExecutionError` is."""

    LLM = "llm"
    TOOL = "tool"
    POLICY_VIOLATION = "policy_violation"
    TIMEOUT = "timeout"
    QUOTA_EXCEEDED = "quota_exceeded"
    KERNEL_INTERNAL = "kernel_internal"
    VALIDATION = "validation"
    NETWORK = "network"


class LlmCode(StrEnum):
    """The known codes of category `llm`."""

    RATE_LIMIT = "rate_limit"
    CONTEXT_OVERFLOW = "context_overflow"
    CONTENT_FILTERED = "content_filtered"
    INVALID_REQUEST = "invalid_request"
    AUTH_FAILED = "auth_failed"
    MODEL_UNAVAILABLE = "model_unavailable"
    PROVIDER_ERROR = "provider_error"


class ToolCode(StrEnum):
    """The known codes of category `tool`."""

    NOT_FOUND = "not_found"
    PERMISSION_DENIED = "permission_denied"
    INVALID_INPUT = "invalid_input"
    EXECUTION_FAILED = "execution_failed"
    TIMEOUT = "timeout"
    OUTPUT_INVALID = "output_invalid"


INITIAL: Final = "created"
RESUME_RETURNS_TO: Final = frozenset(["planning", "waiting", "running"])

EXECUTION_ACTIONS: Final[dict[str, dict[str, str]]] = {
    "plan": {"created": "planning"},
    "start": {"created": "running", "planning": "running"},
    "pause": {"planning": "paused", "running": "paused", "waiting": "paused"},
    "resume": {"waiting": "running", "paused": "*"},
    "wait": {"planning": "waiting", "running": "waiting"},
    "input_received": {"running": "running", "waiting": "running", "paused": "paused"},
    "complete": {"running": "completed"},
    "fail": {
        "created": "failed",
        "planning": "failed",
        "running": "failed",
        "paused": "failed",
        "waiting": "failed",
    },
    "cancel": {
        "created": "cancelled",
        "planning": "cancelled",
        "running": "cancelled",
        "paused": "cancelled",
        "waiting": "cancelled",
    },
}

STEP_ACTIONS: Final[dict[str, dict[str, str]]] = {
    "step_scheduled": {"new": "pending"},
    "step_started": {"new": "running", "pending": "running"},
    "step_completed": {"running": "completed"},
    "step_retrying": {"running": "pending"},
    "step_failed": {"running": "failed", "pending": "failed"},
    "step_skipped": {"pending": "skipped"},
    "step_cancelled": {"pending": "cancelled", "running": "cancelled"},
    "step_usage": {"running": "running"},
}

STEP_ALLOWED_WHILE: Final[dict[str, frozenset[str]]] = {
    "planning": frozenset(
        [
            "step_scheduled",
            "step_started",
            "step_completed",
            "step_retrying",
            "step_failed",
            "step_skipped",
            "step_cancelled",
            "step_usage",
        ]
    ),
    "running": frozenset(
        [
            "step_scheduled",
            "step_started",
            "step_completed",
            "step_retrying",
            "step_failed",
            "step_skipped",
            "step_cancelled",
            "step_usage",
        ]
    ),
    "waiting": frozenset(
        ["step_completed", "step_retrying", "step_failed", "step_skipped", "step_cancelled", "step_usage"]
    ),
    "paused": frozenset(
        ["step_completed", "step_retrying", "step_failed", "step_skipped", "step_cancelled", "step_usage"]
    ),
}

BULK: Final[dict[str, str]] = {
    "steps_scheduled": "step_scheduled",
    "steps_started": "step_started",
    "steps_completed": "step_completed",
    "steps_failed": "step_failed",
    "steps_cancelled": "step_cancelled",
}

EXECUTION_TERMINAL: Final = frozenset(["completed", "failed", "cancelled"])
STEP_TERMINAL: Final = frozenset(["completed", "failed", "skipped", "cancelled"])

FORMAT: Final = 1
MAX_DEPTH: Final = 128
MAX_PAYLOAD_BYTES: Final = 8388608
MAX_LABEL_CHARS: Final = 255
MAX_PATH_CHARS: Final = 1024
MAX_NOTE_CHARS: Final = 4096
MAX_BULK_STEPS: Final = 1048576

# kind -> its fields in the record's order: (name, type, required)
RECORDS: Final[dict[str, tuple[tuple[str, str, bool], ...]]] = {
    "created": (
        ("format", "int", True),
        ("id", "exec", True),
        ("tenant", "label", True),
        ("parent_type", "ParentType", False),
        ("parent_id", "label", False),
        ("schema_version", "label", False),
        ("blueprint", "label", False),
        ("key", "label", False),
        ("input", "json", False),
    ),
    "plan": (),
    "start": (),
    "pause": (("reason", "note", False),),
    "resume": (),
    "wait": (("reason", "WaitReason", True),),
    "input_received": (("step_id", "step", False), ("payload", "json", False)),
    "complete": (("output", "json", False),),
    "fail": (("error", "json", True),),
    "cancel": (("reason", "note", False),),
    "step_scheduled": (
        ("step_id", "step", True),
        ("name", "label", True),
        ("type", "StepType", False),
        ("key", "label", False),
        ("parent_step_id", "step", False),
        ("input", "json", False),
        ("source", "json", False),
        ("callable_id", "label", False),
        ("place", "path", False),
    ),
    "step_started": (
        ("step_id", "step", True),
        ("name", "label", False),
        ("type", "StepType", False),
        ("key", "label", False),
        ("parent_step_id", "step", False),
        ("input", "json", False),
        ("source", "json", False),
        ("callable_id", "label", False),
        ("place", "path", False),
    ),
    "step_completed": (("step_id", "step", True), ("output", "json", False)),
    "step_retrying": (("step_id", "step", True), ("error", "json", True), ("retry_at", "time", False)),
    "step_failed": (("step_id", "step", True), ("error", "json", True)),
    "step_skipped": (("step_id", "step", True), ("reason", "note", False)),
    "step_cancelled": (("step_id", "step", True), ("reason", "note", False)),
    "step_usage": (("step_id", "step", True), ("counter", "label", True), ("amount_micros", "int", True)),
    "steps_scheduled": (
        ("steps", "runs", True),
        ("name", "label", False),
        ("names", "labels", False),
        ("type", "StepType", False),
        ("key", "label", False),
        ("keys", "labels", False),
        ("parent_step_id", "step", False),
        ("input", "json", False),
        ("inputs", "jsons", False),
        ("source", "json", False),
        ("callable_id", "label", False),
        ("place", "path", False),
        ("places", "paths", False),
    ),
    "steps_started": (
        ("steps", "runs", True),
        ("name", "label", False),
        ("names", "labels", False),
        ("type", "StepType", False),
        ("key", "label", False),
        ("keys", "labels", False),
        ("parent_step_id", "step", False),
        ("input", "json", False),
        ("inputs", "jsons", False),
        ("source", "json", False),
        ("callable_id", "label", False),
        ("place", "path", False),
        ("places", "paths", False),
    ),
    "steps_completed": (("steps", "runs", True), ("output", "json", False), ("outputs", "jsons", False)),
    "steps_failed": (("steps", "runs", True), ("error", "json", False), ("errors", "jsons", False)),
    "steps_cancelled": (("steps", "runs", True), ("reason", "note", False)),
}

# what `to_json` writes of an execution and of a step, in order: (name, type, required)
SNAPSHOT: Final[dict[str, tuple[tuple[str, str, bool], ...]]] = {
    "execution": (
        ("format", "int", True),
        ("version", "int", True),
        ("head", "digest", False),
        ("id", "exec", True),
        ("tenant", "label", False),
        ("parent_type", "ParentType", False),
        ("parent_id", "label", False),
        ("schema_version", "label", False),
        ("blueprint", "label", False),
        ("key", "label", False),
        ("input", "json", False),
        ("state", "ExecutionState", True),
        ("wait_reason", "WaitReason", False),
        ("paused_from", "ExecutionState", False),
        ("reason", "note", False),
        ("created_at", "time", True),
        ("last_at", "time", True),
        ("started_at", "time", False),
        ("ended_at", "time", False),
        ("output", "json", False),
        ("error", "json", False),
        ("steps", "steps", True),
        ("pending", "actions", True),
    ),
    "step": (
        ("id", "step", True),
        ("name", "label", True),
        ("type", "StepType", False),
        ("state", "StepState", True),
        ("attempt", "int", True),
        ("scheduled_at", "time", True),
        ("started_at", "time", False),
        ("tried_at", "time", False),
        ("ended_at", "time", False),
        ("retry_at", "time", False),
        ("key", "label", False),
        ("parent_step_id", "step", False),
        ("input", "json", False),
        ("output", "json", False),
        ("error", "json", False),
        ("source", "json", False),
        ("callable_id", "label", False),
        ("place", "path", False),
        ("reason", "note", False),
        ("usage", "usage", False),
        ("attempts", "attempts", False),
    ),
}

# category -> (may be retried, HTTP status, is fatal)
TAXONOMY: Final[dict[str, tuple[bool, int, bool]]] = {
    "llm": (False, 502, False),
    "tool": (False, 500, False),
    "policy_violation": (False, 403, True),
    "timeout": (True, 504, False),
    "quota_exceeded": (False, 429, True),
    "kernel_internal": (False, 500, True),
    "validation": (False, 422, True),
    "network": (True, 503, False),
}

# (category, code) -> (may be retried, HTTP status)
TAXONOMY_CODES: Final[dict[tuple[str, str], tuple[bool, int]]] = {
    ("llm", "rate_limit"): (True, 429),
    ("llm", "context_overflow"): (False, 413),
    ("llm", "content_filtered"): (False, 422),
    ("llm", "invalid_request"): (False, 400),
    ("llm", "auth_failed"): (False, 401),
    ("llm", "model_unavailable"): (True, 503),
    ("llm", "provider_error"): (True, 502),
    ("tool", "not_found"): (False, 404),
    ("tool", "permission_denied"): (False, 403),
    ("tool", "invalid_input"): (False, 422),
    ("tool", "execution_failed"): (True, 500),
    ("tool", "timeout"): (True, 504),
    ("tool", "output_invalid"): (False, 502),
}
