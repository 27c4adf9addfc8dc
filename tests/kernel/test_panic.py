"""A panic in the core is an ordinary exception, and what it may have left half done is not used any more."""

import pytest

from backends import BACKENDS
from stepwell import InternalError


@pytest.mark.parametrize("detached", [False, True])
@pytest.mark.parametrize("backend", [name for name in BACKENDS if name == "native"])
def test_a_panic_is_an_internal_error(backend: str, detached: bool) -> None:
    from stepwell import _native

    execution = _native.Execution(tenant="acme")
    execution.start()
    with pytest.raises(InternalError, match="report it: the core panicked"):
        execution._panic(detached)  # type: ignore[attr-defined]
    for use in (execution.complete, execution.to_json, execution.drain, lambda: execution.state):
        with pytest.raises(InternalError, match="report it"):
            use()
    _native.Execution(tenant="acme").start()
