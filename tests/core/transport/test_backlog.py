"""The queue of those transports whose connections do not wait in the kernel."""

from __future__ import annotations

import socket

from mirai.transport.backlog import Backlog


def test_connections_leave_in_the_order_in_which_they_came():
    """Whoever dialled first is served first."""
    backlog = Backlog()
    ends = [socket.socketpair() for _ in range(3)]
    for end, _ in ends:
        backlog.put(end)

    assert [backlog.accept() for _ in range(4)] == [*[end for end, _ in ends], None]

    backlog.close()
    for end, other in ends:
        end.close()
        other.close()


def test_closed_backlog_closes_what_comes_too_late():
    """A dialler that is in the midst of it learns that nobody will come."""
    backlog = Backlog()
    backlog.close()
    end, other = socket.socketpair()

    assert not backlog.put(end)
    assert other.recv(1) == b""
    other.close()
