"""How long large data takes to a local worker, and there and back: milliseconds until the result is here.

The workers are warm. An argument is another object each time, as a peer may remember what it has sent, unless it says
"again"; what is sent is looked at there, page by page. `memcpy` is the floor: it copies once into memory that was used
before, in one thread.

To measure the peers, install them: `pip install joblib "ray" distributed pyarrow torch`.
"""

from __future__ import annotations

import copy
import functools
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import contenders as c
import harness
import numpy as np
from harness import Bar, Question
from tasks import echo, look

import mirai

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from harness import Contender

MB = 1_000_000


def timed(peer: c.Peer, task: Callable[..., Any], make: Callable[[], Any]) -> Callable[[], float]:
    """Milliseconds of `task` with what `make` gives; the result lives until the next one is here, as in a loop."""
    last: list[Any] = []

    def once() -> float:
        payload = make()
        start = time.perf_counter()
        result = peer.result(peer.submit(task, payload))
        elapsed = time.perf_counter() - start
        last[:] = [result]
        return elapsed * 1e3

    return once


def timed_map(peer: c.Peer, task: Callable[..., Any], make: Callable[[], Any]) -> Callable[[], float]:
    """The same, of a task for each part of what `make` gives."""

    def once() -> float:
        payload = make()
        start = time.perf_counter()
        list(peer.map(task, payload))
        return (time.perf_counter() - start) * 1e3

    return once


@contextmanager
def joblib() -> Iterator[c.Peer]:
    """Arrays over 1 MB go through a file in /dev/shm that the worker maps."""
    from joblib import Parallel, delayed

    with Parallel(n_jobs=c.WORKERS, backend="loky") as parallel:

        def map_(task: Any, xs: Any) -> Any:
            return parallel(delayed(task)(x) for x in xs)

        yield c.Peer(lambda task, x: map_(task, [x])[0], lambda value: value, map_)


@contextmanager
def spawned(context: str = "multiprocessing") -> Iterator[c.Peer]:
    """As a process that has used torch must not be forked."""
    import importlib
    from concurrent.futures import ProcessPoolExecutor

    spawn = importlib.import_module(context).get_context("spawn")
    pool = ProcessPoolExecutor(c.WORKERS, mp_context=spawn)
    list(pool.map(c.nothing, range(100)))
    yield c.Peer(pool.submit, lambda future: future.result(), pool.map)
    for worker in list(pool._processes.values()):
        worker.kill()  # one that holds torch's handles may wait at its end for ever
    pool.shutdown()


@contextmanager
def torchs() -> Iterator[c.Peer]:
    """Its storages move to shared memory when they are first sent; then only handles go."""
    with spawned("torch.multiprocessing") as peer:
        yield peer


OURS = "mirai()"
PEERS: dict[str, Callable[[], AbstractContextManager[c.Peer]]] = {
    OURS: c.ours,
    "ProcessPoolExecutor": c.executor,
    "joblib (loky, memmap)": joblib,
    "Ray": c.ray,
    "Dask distributed": c.dask,
}
TORCH_PEERS = {**PEERS, "ProcessPoolExecutor": spawned, "torch.multiprocessing": torchs}


def memcpy(make: Callable[[], Any]) -> Contender:
    """One copy of a payload's bytes into memory that is warm."""

    def contender() -> Iterator[Callable[[], float]]:
        payload = make()
        arrays = [np.frombuffer(memoryview(buffer).cast("B"), "u1") for buffer in buffers(payload)]
        targets = [array.copy() for array in arrays]

        def once() -> float:
            start = time.perf_counter()
            for target, array in zip(targets, arrays, strict=True):
                np.copyto(target, array)
            return (time.perf_counter() - start) * 1e3

        yield once

    return contender


def buffers(payload: Any) -> list[Any]:
    import pickle

    if hasattr(payload, "parameters"):
        return [parameter.detach().numpy() for parameter in payload.parameters()]
    found: list[pickle.PickleBuffer] = []
    pickle.dumps(payload, 5, buffer_callback=found.append)
    return [buffer.raw() for buffer in found]


def sent(
    task: Callable[..., Any],
    make: Callable[[], Any],
    bars: Sequence[Bar] = (),
    *,
    measured: Callable[[c.Peer, Callable[..., Any], Callable[[], Any]], Callable[[], float]] = timed,
    peers: Mapping[str, Callable[[], AbstractContextManager[c.Peer]]] = PEERS,
) -> Question:
    """What one payload takes with each of them."""

    def contender(peer: Callable[[], AbstractContextManager[c.Peer]]) -> Contender:
        def steps() -> Iterator[Callable[[], float]]:
            make()  # raises `ImportError` where its library is missing
            with peer() as ready:
                yield measured(ready, task, make)

        return steps

    return Question("ms", {**{who: contender(peer) for who, peer in peers.items()}, "memcpy": memcpy(make)}, bars)


def array(n: int = 100 * MB // 8) -> Any:
    return np.full(n, np.random.default_rng().random())


def arrays() -> Any:
    return [array(MB // 8) for _ in range(200)]


def table() -> Any:
    import pyarrow as pa

    return pa.table({f"c{i}": array(1000 * MB // 8 // 10) for i in range(10)})


@functools.cache
def model() -> Any:
    import torch

    return torch.nn.Sequential(*(torch.nn.Linear(1024, 1024) for _ in range(25)))  # 105 MB


def new_model() -> Any:
    return copy.deepcopy(model())


def shared() -> Question:
    """What was put aside before: what is left for each task that uses it."""

    def ours() -> Iterator[Callable[[], float]]:
        with c.ours() as peer:
            handle = mirai.share(array())
            mirai.everywhere(look, handle).collect()
            yield timed(peer, look, lambda: handle)

    def rays() -> Iterator[Callable[[], float]]:
        with c.ray() as peer:
            import ray

            reference = ray.put(array())
            yield timed(peer, look, lambda: reference)

    return Question("ms", {"mirai(), share()": ours, "Ray, put()": rays})


THIRD = [Bar(most=1 / 3, of=who) for who in PEERS if who != OURS]

if __name__ == "__main__":
    harness.main(
        f"Large data, {c.WORKERS} local workers",
        {
            "100 MB float64 as argument": sent(look, array, [Bar(most=2, of="memcpy")]),
            "100 MB float64, echoed": sent(echo, array, [Bar(most=1, of="Ray")]),
            "200 × 1 MB as argument": sent(look, arrays, THIRD),
            "100 MB float64, shared before": shared(),
            "200 tasks, each with 1 MB as argument": sent(look, arrays, THIRD, measured=timed_map),
            "1 GB Arrow table as argument": sent(look, table),
            "torch model of 105 MB as argument": sent(look, new_model, peers=TORCH_PEERS),
            "torch model of 105 MB as argument, again": sent(look, model, peers=TORCH_PEERS),
        },
    )
