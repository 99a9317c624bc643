"""Objects that cannot be pickled, and functions that take them apart: to be imported by daemons too."""

from __future__ import annotations

import threading


class Handle:
    """Holds a value, and what cannot be pickled."""

    def __init__(self, value):
        self.value = value
        self.lock = threading.Lock()


class Special(Handle):
    """Derives from one that has a serializer."""


class Carrier(Exception):
    """An exception that holds one."""

    def __init__(self, handle):
        super().__init__(handle)
        self.handle = handle


def dump(handle):
    return repr(handle.value).encode()


def load(data):
    return Handle(eval(bytes(data)))


def dump_all(handles):
    return [dump(handle) for handle in handles]


def load_all(data):
    return [load(one) for one in data]


def fail_to_dump(handle):
    raise ValueError("dump failed")


def fail_to_load(data):
    raise ValueError("load failed")


def dump_text(handle):
    return "text"


def twice(*handles):
    """Handles of twice the value, the first one in two places."""
    made = [Handle(2 * handle.value) for handle in handles]
    return {"first": made[0], "all": made}


def is_one(first, second, others):
    return first is second and all(first is other for other in others)


def make(value):
    return Handle(value)


def value_of(handle):
    return handle.value


def add(first, second):
    return first.value + second.value


def raise_one(value):
    raise Carrier(Handle(value))
