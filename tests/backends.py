"""Which backends are under test."""

import os

BACKENDS = tuple(os.environ.get("STEPWELL_TEST_BACKENDS", "native,pure").split(","))
"""The backends that every test of the kernel runs on. One that is named here and missing is a failure, not a skip."""
