"""Objects of 100 MB of the libraries that `mirai-serial` is for: to a daemon, and there and back.

Against mirai without its serializers, so as pickle has it; the standard library's executor; and copying as much memory.
A library that is not installed is left out.
"""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from harness import Question, main, scaled
from tasks import echo, kind

import mirai

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness import Contender

SIZE = 100_000_000  # bytes


def arrow_table() -> Any:
    import numpy
    import pyarrow

    return pyarrow.table({f"column {i}": numpy.random.default_rng(i).random(scaled(SIZE) // 80) for i in range(10)})


def arrow_slices() -> Any:
    """200 rows of each of 5 places of such a table."""
    table = arrow_table()
    return [table.slice(i * 1000, 200) for i in range(5)]


def polars_frame() -> Any:
    import numpy
    import polars

    return polars.DataFrame({f"column {i}": numpy.random.default_rng(i).random(scaled(SIZE) // 80) for i in range(10)})


def torch_model() -> Any:
    import torch

    return torch.nn.Sequential(*(torch.nn.Linear(1250, 1250) for _ in range(scaled(SIZE) // 6_255_000)))


def torch_rows() -> Any:
    """5 rows of a tensor of 100 MB, which share its storage."""
    import torch

    return list(torch.zeros(1000, scaled(SIZE) // 4000)[::200])


def dates() -> Any:
    import numpy

    return numpy.arange(scaled(SIZE) // 8).astype("datetime64[s]")


def daemons(make: Callable[[], Any], task: Callable[[Any], Any], serial: list[str] | None) -> Contender:
    """Milliseconds until the result of a task is there."""

    def contender() -> Iterator[Callable[[], float]]:
        value = make()
        with mirai.daemons(1, serial=serial, compute=str(serial)):
            yield lambda: timed(lambda: mirai.mirai(task, value, _compute=str(serial)).result())

    return contender


def executor(make: Callable[[], Any], task: Callable[[Any], Any]) -> Contender:
    """The same, with the standard library. Spawned, as polars cannot be forked."""

    def contender() -> Iterator[Callable[[], float]]:
        value = make()
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            yield lambda: timed(lambda: pool.submit(task, value).result())

    return contender


def memcpy() -> Iterator[Callable[[], float]]:
    """The floor: into memory that is there."""
    source, target = bytes(scaled(SIZE)), memoryview(bytearray(scaled(SIZE)))

    def copy() -> None:
        target[:] = source

    yield lambda: timed(copy)


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - start)


OBJECTS = {
    "Arrow table": ("pyarrow", arrow_table),
    "5 slices of an Arrow table": ("pyarrow", arrow_slices),
    "polars frame": ("polars", polars_frame),
    "torch model": ("torch", torch_model),
    "5 rows of a tensor": ("torch", torch_rows),
    "array of dates": ("numpy", dates),
}

if __name__ == "__main__":
    main(
        f"Objects of {SIZE // 1_000_000} MB, one worker",
        {
            f"{name}, {how}": Question(
                "ms",
                {
                    "mirai()": daemons(make, task, None),
                    "mirai(), serial=[]": daemons(make, task, []),
                    "ProcessPoolExecutor": executor(make, task),
                    "memcpy": memcpy,
                },
            )
            for name, (library, make) in OBJECTS.items()
            if find_spec(library) is not None
            for how, task in (("to a daemon", kind), ("there and back", echo))
        },
        repetitions=3,
    )
