"""The peers, each made ready with 2 workers."""

from __future__ import annotations

import multiprocessing
import pickle
import socket
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tasks import nothing

import mirai

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.pool import Pool

WORKERS = 2


@contextmanager
def ours() -> Iterator[None]:
    """Local daemons, with default settings."""
    with mirai.daemons(WORKERS):
        mirai.mirai_map(range(100), nothing).collect()
        yield


@contextmanager
def executor() -> Iterator[ProcessPoolExecutor]:
    """The standard library's, as it comes."""
    with ProcessPoolExecutor(WORKERS) as pool:
        list(pool.map(nothing, range(100)))
        yield pool


@contextmanager
def pool() -> Iterator[Pool]:
    """Multiprocessing's."""
    with multiprocessing.Pool(WORKERS) as workers:
        workers.map(nothing, range(100))
        yield workers


@contextmanager
def ping_pong() -> Iterator[socket.socket]:
    """The floor: a process that unpickles a call, makes it, and pickles the result, over a Unix socket."""
    ours, theirs = socket.socketpair()
    process = multiprocessing.get_context("fork").Process(target=_answer, args=(theirs, ours), daemon=True)
    process.start()
    theirs.close()
    yield ours
    ours.close()
    process.join()


def _answer(sock: socket.socket, other: socket.socket) -> None:
    other.close()
    while data := sock.recv(65536):
        task, args = pickle.loads(data)
        sock.sendall(pickle.dumps(task(*args), 5))
