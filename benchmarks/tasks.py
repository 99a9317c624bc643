"""What the workers are given: in a module of its own, so that a daemon that imports it imports nothing else."""

import time


def nothing(x: int) -> int:
    """A task that does nothing."""
    return x


def wait(seconds: float) -> float:
    """A task of that length; when it began."""
    began = time.monotonic()
    time.sleep(seconds)
    return began
