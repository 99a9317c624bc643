"""What the kernel knows of a peer that says nothing: whether its machine can be reached, and its process is there.

A process that has ended has no connection: the kernel of its machine closes it, or resets it when it is asked. So where
the one at the other end answers, as it does to TCP's keepalive without the process, the process is there, too.

That holds where both are on one machine as well, but says nothing there: what answers may be a tunnel's end. So it is
asked instead whether the process itself has the other end, and is not stopped. Elsewhere than on Linux nothing is
known.
"""

from __future__ import annotations

import glob
import os
import socket
import struct
import sys
from typing import Any

PROBES = 20  # keepalive gives a connection up after so many: never before its heartbeat does
LAST_ACK_RECEIVED = 56  # bytes; where `struct tcp_info` has it, in milliseconds ago: <linux/tcp.h>
ESTABLISHED = "01"  # proc(5), /proc/net/tcp
STOPPED = "TtZX"  # proc(5), /proc/pid/stat: and those that have ended

IS_LINUX = sys.platform == "linux"


def have_asked(fd: int, beat: float) -> None:
    """Have the kernel ask that of the peer, twice a beat; once a second at most."""
    with _socket(fd) as sock:
        if not IS_LINUX or not _is_tcp(sock):
            return
        interval = _interval(beat)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, interval)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)


def vouches(fd: int, pid: int, beat: float) -> bool | None:
    """Whether the kernel at the other end has answered within a beat, or two seconds; None where nothing is known.

    `pid`: the process that should have the other end.
    """
    if not IS_LINUX:
        return None
    try:
        with _socket(fd) as sock:
            if not _is_tcp(sock):
                return _runs(struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])
            here, there = sock.getsockname(), sock.getpeername()
            if here[0] == there[0]:
                return _runs(pid) if _has_end(pid, sock.family, there, here) else None
            return _seconds_since_answer(sock) < max(beat, 2 * _interval(beat))
    except OSError:
        return None  # it has just gone, or is another user's


def _socket(fd: int) -> socket.socket:
    """The one beneath whatever a connection is clothed in; closing it closes a copy."""
    return socket.socket(fileno=os.dup(fd))


def _is_tcp(sock: socket.socket) -> bool:
    return sock.family in (socket.AF_INET, socket.AF_INET6)


def _interval(beat: float) -> int:
    return max(1, int(beat / 2))  # whole seconds: tcp(7)


def _seconds_since_answer(sock: socket.socket) -> float:
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, LAST_ACK_RECEIVED + 4)
    return float(struct.unpack_from("I", info, LAST_ACK_RECEIVED)[0]) / 1000


def _runs(pid: int) -> bool:
    """Whether a process is there, and not stopped."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] not in STOPPED


def _has_end(pid: int, family: int, end: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Whether a process of this machine has the end of a connection to `other`."""
    ends = [_as_listed(family, *address[:2]) for address in (end, other)]
    with open("/proc/net/tcp" if family == socket.AF_INET else "/proc/net/tcp6") as table:
        rows = (row.split() for row in table)
        inode = next((row[9] for row in rows if row[1:3] == ends and row[3] == ESTABLISHED), None)
    return inode is not None and f"socket:[{inode}]" in map(_link, glob.iglob(f"/proc/{pid}/fd/*"))


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return ""  # closed just now


def _as_listed(family: int, host: str, port: int) -> str:
    """An address as proc(5) has it: words of 32 bits, in the machine's order."""
    packed = socket.inet_pton(family, host.partition("%")[0])
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return "".join(f"{word:08X}" for word in words) + f":{port:04X}"
