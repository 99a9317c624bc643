"""What goes through a message, and daemons that it goes to."""

from __future__ import annotations

import pytest

from mirai import daemons
from mirai.api.serial import chosen
from mirai.protocol.serialize import dumps, joined, loads


class Sent:
    """What arrived, and what it took."""

    def __init__(self, value, names):
        self.buffers, body = dumps(value, serializers=chosen(names))
        data = bytearray(joined(body))
        self.size = len(data)
        self.data = data
        self.value = loads(self.buffers, data)


@pytest.fixture
def send():
    """Through the serializers of some names, of all unless given."""
    return lambda value, *names: Sent(value, list(names) or None)


@pytest.fixture(scope="module")
def daemon():
    """One, with all serializers."""
    with daemons(1):
        yield
