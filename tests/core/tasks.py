"""Tasks for daemons: to be imported there too, so without what a test module brings along."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from tests.waiting import wait_until


def double(x):
    return 2 * x


def note(path, x):
    """Twice of it, and a line in a file for each time that it was evaluated."""
    with open(path, "a") as file:
        file.write(f"{x}\n")
    return 2 * x


def digest(data):
    return hashlib.blake2b(data).hexdigest()


def noise(size):
    return os.urandom(size)


def pid():
    return os.getpid()


def begin(started: Path):
    """Say that it has begun, and go on for longer than any test."""
    started.touch()
    time.sleep(300)


def meet(place: Path, number: int, others: int):
    """Wait until so many of these are in evaluation at once; the process of this one."""
    (place / str(number)).touch()
    wait_until(lambda: len(list(place.iterdir())) >= others, "the others to begin")
    return os.getpid()


def begin_and_wait(started: Path, released: Path):
    """Say that it has begun, and end when it is told to."""
    started.touch()
    while not released.exists():
        time.sleep(0.002)
    return "released"


def ignore_interrupts(started: Path, released: Path):
    """As `begin_and_wait`, whatever interrupts it."""
    while True:
        try:
            return begin_and_wait(started, released)
        except BaseException:
            (started.parent / "interrupted").touch()


def kill_daemon(number: int):
    os.kill(os.getpid(), number)
    time.sleep(300)


class Unpicklable:
    def __reduce__(self):
        raise RuntimeError("not this one")


class Picky(Exception):
    """Takes other arguments than it keeps: pickle cannot make it again."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


class Unprintable(Exception):
    def __str__(self):
        raise ValueError("no words")


def spin(value, seconds):
    """Hot Python code, and then its end: where it is when an interrupt comes cannot be told."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
    return value


def draw(*_):
    import random

    return [random.random() for _ in range(3)]


def draw_numpy(*_):
    import numpy.random

    return numpy.random.random(3).tolist()


def draw_both():
    return draw() + draw_numpy()


def hold_the_interpreter(seconds):
    """As compiled code does: no other thread of Python runs meanwhile."""
    import ctypes

    ctypes.PyDLL(None).poll(None, 0, int(seconds * 1000))
    return "held"
