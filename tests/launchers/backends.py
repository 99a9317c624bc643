"""Real servers to launch on: a test that needs one is skipped, with the reason, where it is not there."""

from __future__ import annotations

import os
import shutil

import pytest

UP = 'install it and export its variables: eval "$(…/backends/{}/up)"'


def require(variable: str, backend: str, *programs: str) -> str:
    """The value of a variable that tells where a backend is, or skip the test."""
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"no {backend} here ({variable} is not set): {UP.format(backend)}")
    for program in programs:
        if not shutil.which(program):
            pytest.skip(f"no {backend} here ({program} is not on PATH): {UP.format(backend)}")
    return value
