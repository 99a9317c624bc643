"""Two network namespaces and the cable between them, which delays, loses and reorders packets: a program of its own.

Whatever it makes is gone when it ends, and it ends with its standard input: nothing is left of it, even where the tests
are killed. The namespaces have no name, only descriptors of this process; each has one interface (tun), and what is
sent there is read here. netem(8) would do as well, but not every kernel has it, and nobody could say what it lost.

Orders are lines of JSON on standard input, each answered by a line: what is to be different from now on.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import json
import os
import random
import select
import struct
import subprocess
import sys
import time

CLONE_NEWNET = 0x40000000  # sched.h
TUNSETIFF = 0x400454CA  # linux/if_tun.h
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
ROOM = 65536  # bytes of the largest packet


def end_of_cable(address: str, mtu: int) -> tuple[int, int]:
    """A new namespace, and what is plugged into it."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    plug = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(plug, TUNSETIFF, struct.pack("16sH22x", b"cable", IFF_TUN | IFF_NO_PI))
    for words in (
        "link set lo up",
        f"link set cable mtu {mtu} txqueuelen 10000",
        f"addr add {address}/24 dev cable",
        "link set cable up",
    ):
        subprocess.run(["ip", *words.split()], check=True)
    return os.open("/proc/self/ns/net", os.O_RDONLY), plug


class Cable:
    """What becomes of the packets.

    Attributes:
        cut: nothing arrives any more, and nobody is told.
        delay: seconds that each takes, at least and at most: those that take longer are overtaken.
        loss: the part that is lost.
        copies: the part that arrives twice.
    """

    def __init__(self, one: int, other: int) -> None:
        self.cut, self.delay, self.loss, self.copies = False, (0.0, 0.0), 0.0, 0.0
        self._to = {one: other, other: one}
        self._random = random.Random()
        self._on_the_way: list[tuple[float, int, int, bytes]] = []
        self._sent = self._lost = 0

    def obey(self, order: dict) -> dict:
        self._random.seed(order.pop("seed", None))
        for name, value in order.items():
            setattr(self, name, value)
        return {"sent": self._sent, "lost": self._lost}

    def carry(self) -> None:
        poll = select.poll()
        for fd in (0, *self._to):
            poll.register(fd, select.POLLIN)
        while True:
            due = self._on_the_way[0][0] - time.monotonic() if self._on_the_way else None
            for fd, _ in poll.poll(None if due is None else max(0.0, due) * 1000):
                if fd:
                    self._take(fd)
                elif line := sys.stdin.readline():
                    print(json.dumps(self.obey(json.loads(line))), flush=True)
                else:
                    return
            self._deliver()

    def _take(self, fd: int) -> None:
        """What has been sent at one end."""
        try:
            for _ in range(64):
                packet = os.read(fd, ROOM)
                self._sent += 1
                if self.cut or self._random.random() < self.loss:
                    self._lost += 1
                    continue
                for _ in range(2 if self._random.random() < self.copies else 1):
                    at = time.monotonic() + self._random.uniform(*self.delay)
                    heapq.heappush(self._on_the_way, (at, self._sent, self._to[fd], packet))
        except BlockingIOError:
            pass

    def _deliver(self) -> None:
        now = time.monotonic()
        while self._on_the_way and self._on_the_way[0][0] <= now:
            _, _, fd, packet = heapq.heappop(self._on_the_way)
            if self.cut:
                self._lost += 1
                continue
            try:
                os.write(fd, packet)
            except OSError:
                self._lost += 1  # its queue is full, as that of a router may be


def main(mtu: int, *addresses: str) -> None:
    ends = [end_of_cable(address, mtu) for address in addresses]
    print(json.dumps([f"/proc/{os.getpid()}/fd/{namespace}" for namespace, _ in ends]), flush=True)
    Cable(*(plug for _, plug in ends)).carry()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
