"""What it costs the host to dispatch a task, with ever more of them queued, and with ever more daemons.

The daemons are light: one process that speaks the protocol for all of them, and answers at once.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import selectors
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from harness import Bar, Question, main, scaled
from tasks import nothing

import mirai
from mirai.protocol.messages import Kind, Status
from mirai.protocol.serialize import dumps
from mirai.protocol.wire import HEADER, Decoder, encode
from mirai.runtime.joining import join

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

QUEUED = (1_000, 100_000, 1_000_000)
DAEMONS = (2, 100, 1_000)


@contextmanager
def light_daemons(n: int, name: str) -> Iterator[int]:
    """A profile of that name with `n` of them; their process."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    url = mirai.local_url()
    with mirai.daemons(url=url, compute=name):
        process = multiprocessing.get_context("spawn").Process(target=answer, args=(url, n), daemon=True)
        process.start()
        while mirai.info(compute=name).connections < n:
            time.sleep(0.01)
        assert process.pid is not None
        yield process.pid
    process.join()


def answer(url: str, n: int) -> None:
    """Be `n` daemons at `url`, until the host closes their connections."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    poll = selectors.DefaultSelector()
    for i in range(n):
        for sock in join(url, f"light {i}", None, None):
            sock.setblocking(True)
            poll.register(sock, selectors.EVENT_READ, (sock, Decoder()))
    _, value = dumps(0)
    while poll.get_map():
        for key, _ in poll.select():
            sock, decoder = key.data
            read = sock.recv_into(decoder.space())
            if not read:
                poll.unregister(sock)
            answers = []
            for kind, _, _, _, seq, _ in decoder.received(read):
                if kind == Kind.TASK:
                    answers.append(HEADER.pack(Kind.RESULT, Status.VALUE, 0, 5, seq, len(value)) + value)
                elif kind == Kind.PING:
                    answers.append(encode(Kind.PING))
            if answers:
                sock.sendall(b"".join(answers))


def cost(tasks: int, daemons: int) -> Callable[[], Iterator[Callable[[], float]]]:
    """Microseconds of the host's processor for each of so many tasks that are queued, until all are done."""

    def steps() -> Iterator[Callable[[], float]]:
        name = f"{tasks} tasks, {daemons} daemons"
        with light_daemons(daemons, name) as pid:

            def once() -> float:
                times = max(1, 10_000 // tasks)
                spent = 0.0
                for _ in range(times):
                    os.kill(pid, signal.SIGSTOP)
                    mirais = [mirai.mirai(nothing, i, _compute=name) for i in range(tasks)]
                    start = time.process_time()
                    os.kill(pid, signal.SIGCONT)
                    mirai.call_mirai(mirais)
                    spent += time.process_time() - start
                return spent / (tasks * times) * 1e6

            yield once

    return steps


def queued(tasks: int) -> Callable[[], Iterator[Callable[[], float]]]:
    """With so many tasks, or a fifth of them where they are many."""
    return lambda: cost(scaled(tasks) if tasks > 1000 else tasks, DAEMONS[0])()


if __name__ == "__main__":
    few = f"{QUEUED[0]:,} tasks"
    main(
        "Scaling",
        {
            f"tasks queued, {DAEMONS[0]} daemons": Question(
                "µs/task",
                {f"{n:,} tasks": queued(n) for n in QUEUED},
                [Bar(most=1.5, of=few, who=f"{n:,} tasks") for n in QUEUED[1:]],
            ),
            "daemons, 100 tasks each": Question(
                "µs/task",
                {f"{n:,} daemons": cost(100 * n, n) for n in DAEMONS},
                [Bar(most=1.5, of=f"{DAEMONS[0]:,} daemons", who=f"{n:,} daemons") for n in DAEMONS[1:]],
            ),
        },
    )
