"""The types of ids: plain text to a user, told apart by a type checker."""

from typing import NewType

ExecutionId = NewType("ExecutionId", str)
"""The TypeID `exec_…` of an execution."""

StepId = NewType("StepId", str)
"""The TypeID `step_…` of a step."""
