"""How long large data takes to a local worker, and there and back: milliseconds until the result is here.

The workers are warm. An argument is another object each time, as a peer may remember what it has sent; what is sent is
looked at there, page by page. `memcpy` is the floor: it copies once into memory that was used before.

To measure the peers, install them: `pip install joblib "ray" distributed pyarrow torch`.
"""

from __future__ import annotations

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
    from collections.abc import Callable, Iterator, Sequence
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


@contextmanager
def joblib() -> Iterator[c.Peer]:
    """Arrays over 1 MB go through a file in /dev/shm that the worker maps."""
    from joblib import Parallel, delayed

    with Parallel(n_jobs=c.WORKERS, backend="loky") as parallel:
        yield c.Peer(lambda task, x: parallel([delayed(task)(x)])[0], lambda value: value, parallel)


OURS = "mirai()"
PEERS: dict[str, Callable[[], AbstractContextManager[c.Peer]]] = {
    OURS: c.ours,
    "ProcessPoolExecutor": c.executor,
    "joblib (loky, memmap)": joblib,
    "Ray": c.ray,
    "Dask distributed": c.dask,
}


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


def sent(task: Callable[..., Any], make: Callable[[], Any], bars: Sequence[Bar] = ()) -> Question:
    """What one payload takes with each of them."""

    def contender(peer: Callable[[], AbstractContextManager[c.Peer]]) -> Contender:
        def steps() -> Iterator[Callable[[], float]]:
            make()  # raises `ImportError` where its library is missing
            with peer() as ready:
                yield timed(ready, task, make)

        return steps

    return Question("ms", {**{who: contender(peer) for who, peer in PEERS.items()}, "memcpy": memcpy(make)}, bars)


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


if __name__ == "__main__":
    harness.main(
        f"Large data, {c.WORKERS} local workers",
        {
            "100 MB float64 as argument": sent(look, array, [Bar(most=2, of="memcpy")]),
            "100 MB float64, echoed": sent(echo, array, [Bar(most=1, of="Ray")]),
            "200 × 1 MB as argument": sent(look, arrays, [Bar(most=1 / 3, of=who) for who in PEERS if who != OURS]),
            "100 MB float64, shared before": shared(),
            "torch model of 105 MB as argument": sent(look, model),
            "1 GB Arrow table as argument": sent(look, table),
        },
    )
