"""Real servers to launch on: a test that needs one is skipped, with the reason, where it is not there."""

from __future__ import annotations

import os
import shutil

import pytest

UP = 'install it and export its variables: eval "$(…/backends/{}/up)"'
REQUIRED = "BACKENDS"  # set to "required" where they were started: to skip a test would be to lose it
FIXTURES = frozenset({"sge", "slurm", "sshd", "torque"})  # of the tests that need one


def require(variable: str, backend: str, *programs: str) -> str:
    """The value of a variable that tells where a backend is, or skip the test."""
    value = os.environ.get(variable)
    if not value:
        _do_without(f"no {backend} here ({variable} is not set): {UP.format(backend)}")
    for program in programs:
        if not shutil.which(program):
            _do_without(f"no {backend} here ({program} is not on PATH): {UP.format(backend)}")
    return value or ""


def _do_without(reason: str) -> None:
    if os.environ.get(REQUIRED) == "required":
        pytest.fail(f"{reason}; {REQUIRED} says that it must be here")
    pytest.skip(reason)
