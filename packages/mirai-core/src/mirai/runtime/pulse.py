"""Across a network, a peer that vanishes says no goodbye: how each side notices.

The host asks, and counts the beats without an answer (`protocol/heartbeat.py`). The daemon has its kernel ask the
host's, which answers also for a host that is stopped, as by Ctrl-Z: that one finds its daemons when it goes on.
"""

from __future__ import annotations

import socket
import struct

from mirai.protocol.heartbeat import BEATS

PATIENCE = 20  # beats without a word from the host, where the kernel cannot be asked


def watch_host(control: socket.socket, data: socket.socket, beat: float) -> None:
    """Have both connections end when the host's machine, or the way to it, has been gone for three beats: tcp(7).

    Beats are of whole seconds here, 1 at least.
    """
    if control.family not in (socket.AF_INET, socket.AF_INET6):
        # The host says something at each beat. Not `settimeout`, with which a peek would wait, too.
        control.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(PATIENCE * beat) + 1, 0))
        return
    seconds = max(1, round(beat))
    for connection in (control, data):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", seconds), ("TCP_KEEPINTVL", seconds), ("TCP_KEEPCNT", BEATS - 1)):
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # Not on the data connection: a host that is stopped while it receives a large result has a full buffer, and
        # Linux counts that, too.
        control.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * BEATS * seconds)
