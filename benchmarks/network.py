"""What a scheme costs: the same tasks by 2 daemons over each, on this machine, beside the bare streams."""

from __future__ import annotations

import os
import socket
import statistics
import time
from typing import TYPE_CHECKING

import contenders as c
import harness
import latency
import throughput
from harness import Bar, Question
from tasks import nothing

import mirai
from mirai.transport import schemes, tls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness import Contender

TASKS = 20_000
ROUNDS = 1_000
LARGE = 64 * 2**20  # bytes
SCHEMES = ["ipc", "tcp", "tls+tcp", "ws", "wss"]


def url(scheme: str) -> str | None:
    return None if scheme == "ipc" else f"{scheme}://127.0.0.1:0"


def over(scheme: str, measure: Callable[[], float]) -> Contender:
    """`measure` with a profile whose 2 daemons have come over `scheme`."""

    def contender() -> Iterator[Callable[[], float]]:
        with mirai.daemons(c.WORKERS, url=url(scheme), compute=scheme):
            mirai.collect_mirai(mirai.everywhere(nothing, 0, _min=c.WORKERS, _compute=scheme))

            def once() -> float:
                with mirai.with_daemons(scheme):
                    return measure()

            yield once

    return contender


def rate() -> float:
    n = harness.scaled(TASKS)
    start = time.perf_counter()
    values = [m.result() for m in [mirai.mirai(nothing, i) for i in range(n)]]
    elapsed = time.perf_counter() - start
    assert values == list(range(n)), "a task was lost"
    return n / elapsed


def round_trip() -> float:
    times = []
    for i in range(ROUNDS):
        start = time.perf_counter()
        mirai.mirai(nothing, i).result()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def size(data: bytes) -> int:
    return len(data)


def large() -> float:
    data = bytes(LARGE)
    start = time.perf_counter()
    assert mirai.mirai(size, data).result() == LARGE
    return LARGE / (time.perf_counter() - start) / 1e6


def stream(scheme: str, measure: Callable[[socket.socket], float]) -> Contender:
    """`measure` on a bare stream, whose other end sends back bytes as many as it is told."""

    def contender() -> Iterator[Callable[[], float]]:
        identity = tls.identity() if scheme in ("tls+tcp", "wss") else None
        listener = schemes.listen(url(scheme) or mirai.local_url(), identity)
        child = os.fork()
        if not child:
            reply(schemes.dial(listener.url, 10, identity and identity.tlscert))
        while (connection := listener.accept()) is None:
            time.sleep(0.01)
        yield lambda: measure(connection)
        connection.shutdown(socket.SHUT_RDWR)  # children that came later hold copies of it
        connection.close()
        listener.close()
        os.waitpid(child, 0)

    return contender


def reply(connection: socket.socket) -> None:
    data = bytes(LARGE)
    while word := connection.recv(8):
        connection.sendall(memoryview(data)[: int.from_bytes(word, "little")])
    os._exit(0)


def ping(connection: socket.socket) -> float:
    times = []
    buffer = bytearray(65536)
    for _ in range(ROUNDS):
        start = time.perf_counter()
        connection.sendall((200).to_bytes(8, "little"))
        connection.recv_into(buffer)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def bulk(connection: socket.socket) -> float:
    buffer = memoryview(bytearray(2**20))
    start = time.perf_counter()
    connection.sendall(LARGE.to_bytes(8, "little"))
    missing = LARGE
    while missing:
        missing -= connection.recv_into(buffer[: min(missing, len(buffer))])
    return LARGE / (time.perf_counter() - start) / 1e6


def table(of: Callable[[str, Callable[..., float]], Contender], measure: Callable[..., float]) -> dict[str, Contender]:
    return {scheme: of(scheme, measure) for scheme in SCHEMES}


def local(measured: Callable[[c.Peer], Callable[[], float]]) -> dict[str, Contender]:
    """Peers on this machine, which come over what they like."""
    return {who: steps for who, steps in c.each(measured).items() if who in LOCAL}


LOCAL = ("ProcessPoolExecutor", "Dask distributed")
LEAST = {"tcp": 8.0, "tls+tcp": 6.0}

if __name__ == "__main__":
    harness.main(
        f"Over each scheme, on one machine; {c.WORKERS} daemons",
        {
            "a bare stream: round trip of 200 bytes": Question("µs", table(stream, ping)),
            "a bare stream: 64 MiB one way": Question("MB/s", table(stream, bulk)),
            "tasks that do nothing, submitted one by one": Question(
                "tasks/s",
                {**table(over, rate), **local(throughput.rate)},
                [Bar(least=LEAST[who], of=peer, who=who) for who in LEAST for peer in LOCAL],
            ),
            "one round trip, submit and wait": Question("µs", {**table(over, round_trip), **local(latency.median)}),
            "an argument of 64 MiB": Question("MB/s", table(over, large)),
        },
    )
