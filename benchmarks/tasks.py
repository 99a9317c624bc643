"""What the workers are given: in a module of its own, so that a daemon that imports it imports nothing else."""

from __future__ import annotations

import time

TYPE_CHECKING = False  # `typing` would take up more of an idle daemon than all else that it imports
if TYPE_CHECKING:
    from typing import Any


def nothing(x: int) -> int:
    """A task that does nothing."""
    return x


def wait(seconds: float) -> tuple[float, float]:
    """A task of that length, or somewhat more, as the system has it; when it began and ended."""
    began = time.monotonic()
    time.sleep(seconds)
    return began, time.monotonic()


def echo(x: Any) -> Any:
    """The same back."""
    return x


def look(x: Any) -> float:
    """Something of every page of an array, a list of arrays, an Arrow table or a model of torch's."""
    if isinstance(x, list):
        return sum(map(look, x))
    if hasattr(x, "column_names"):
        return sum(look(chunk.to_numpy()) for column in x.columns for chunk in column.chunks)
    if hasattr(x, "parameters"):
        return sum(look(parameter.detach().numpy()) for parameter in x.parameters())
    return float(x.reshape(-1)[::512].sum())


def kind(x: Any) -> str:
    """What it is: nothing of its content is read."""
    return type(x).__name__
