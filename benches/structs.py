"""The whole execution as `msgspec` Structs: what one would dump and load with the fastest JSON library of Python.

The same fields as `to_json` has for an execution and its steps, in the same order, so that both write the same bytes.
What is absent is left out, encoder and decoder are made once, outputs are known to be text, and the garbage collector
is kept away from objects that can be in no cycle: that is as fast as it gets.
"""

from typing import Literal

import msgspec

State = Literal["created", "planning", "running", "paused", "waiting", "completed", "failed", "cancelled"]
StepState = Literal["pending", "running", "completed", "failed", "skipped", "cancelled"]


class Step(msgspec.Struct, omit_defaults=True, kw_only=True, gc=False):
    id: str
    name: str
    type: str = "function"
    state: StepState
    attempt: int
    scheduled_at: int
    started_at: int | None = None
    tried_at: int | None = None
    ended_at: int | None = None
    retry_at: int | None = None
    key: str | None = None
    parent_step_id: str | None = None
    input: str | None = None
    output: str | None = None
    error: str | None = None
    source: str | None = None
    callable_id: str | None = None
    place: str | None = None
    reason: str | None = None
    usage: list[tuple[str, int]] | None = None
    attempts: list[tuple[int, int, str]] | None = None


class Execution(msgspec.Struct, omit_defaults=True, kw_only=True, gc=False):
    format: int
    version: int
    head: str | None = None
    id: str
    tenant: str | None = None
    parent_type: str | None = None
    parent_id: str | None = None
    schema_version: str | None = None
    blueprint: str | None = None
    key: str | None = None
    input: str | None = None
    state: State
    wait_reason: str | None = None
    paused_from: str | None = None
    reason: str | None = None
    created_at: int
    last_at: int
    started_at: int | None = None
    ended_at: int | None = None
    output: str | None = None
    error: str | None = None
    steps: list[Step]
    pending: list[str]


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Execution).decode
