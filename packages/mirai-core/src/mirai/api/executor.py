"""The `concurrent.futures` interface over a profile of its own."""

from __future__ import annotations

import itertools
import threading
import time
from concurrent.futures import BrokenExecutor, Executor
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from mirai.api.daemons import daemons
from mirai.api.mapping import mirai_map
from mirai.api.submit import mirai
from mirai.api.waiting import stop_mirai
from mirai.runtime import profile as profiles
from mirai.runtime.evaluate import call_each

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mirai.api.future import Mirai
    from mirai.hookspecs import Launcher

T = TypeVar("T")

_numbers = itertools.count(1)


class MiraiExecutor(Executor):
    """An executor whose workers are daemons. For everything that takes a `concurrent.futures.Executor`."""

    def __init__(self, compute: str, n: int) -> None:
        """Made by `make_cluster()`. `compute`: the profile, its own; `n`: how many daemons."""
        self.compute = compute
        self.n = n
        self._max_workers = n  # where Dask, for one, looks for it
        self._profile = profiles.require(compute)
        self._down = False

    def __repr__(self) -> str:
        return f"< mirai cluster > profile {self.compute!r}, {self.n} daemons, {'down' if self._down else 'up'}"

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Mirai[T]:
        """As `mirai()`.

        Raises:
            RuntimeError: it was shut down.
            BrokenExecutor: no daemon is left.
        """
        self._check()
        if any(name.startswith("_") for name in kwargs):
            fn, kwargs = partial(fn, **kwargs), {}  # they are the function's, not ours
        return mirai(fn, *args, _compute=self.compute, **kwargs)

    def map(
        self, fn: Callable[..., T], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[T]:
        """As `Executor.map`: all are submitted now, in tasks of `chunksize` calls; values in order, errors raised."""
        if chunksize < 1:
            raise ValueError(f"chunksize={chunksize}: give 1 or more")
        self._check()
        deadline = None if timeout is None else time.monotonic() + timeout
        calls = zip(*iterables, strict=False)
        chunks = iter(lambda: list(itertools.islice(calls, chunksize)), [])
        mirais = list(mirai_map(chunks, call_each, fn, _compute=self.compute))
        return self._values(mirais, deadline)

    @staticmethod
    def _values(mirais: list[Mirai[list[T]]], deadline: float | None) -> Iterator[T]:
        try:
            mirais.reverse()
            while mirais:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                values = mirais[-1].result(left)
                mirais.pop()
                yield from values
        finally:
            stop_mirai(mirais)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks; let the daemons go when those submitted are done, or cancelled."""
        if self._down:
            return
        self._down = True
        if cancel_futures:
            self._profile.service.cancel_waiting()
        if wait:
            self._end()
        else:
            threading.Thread(target=self._end, name="mirai-shutdown", daemon=True).start()

    def _end(self) -> None:
        self._profile.service.wait_until_quiet()
        profiles.remove(self.compute)

    def _check(self) -> None:
        if self._down or not profiles.is_set(self._profile):
            raise RuntimeError(f"{self!r}: cannot schedule new futures after shutdown")
        if self.n and self._profile.service.is_deserted():
            raise BrokenExecutor(f"{self!r}: all of its daemons have left; make another one")


def make_cluster(
    n: int | None = None, *, url: str | None = None, remote: Launcher | None = None, **options: Any
) -> MiraiExecutor:
    """An executor with daemons of its own.

    Args:
        n: how many daemons; one for each processor unless given. With `url` and without `n` they dial in, with
            `remote` there are as many as it has places.
        url: as for `daemons()`.
        remote: likewise.
        **options: as for `daemons()`.

    Source: `make_cluster()` in R.
    """
    if n is None and url is None and remote is None:
        n = profiles.cores()
    if n == 0 and url is None:
        raise ValueError("n=0: a cluster needs daemons: give 1 or more, or url= where they dial in")
    compute = f"cluster-{next(_numbers)}"
    number = () if n is None else (n,)
    return MiraiExecutor(compute, daemons(*number, url=url, remote=remote, compute=compute, **options).n)


def stop_cluster(cl: MiraiExecutor) -> None:
    """Let the daemons of a cluster go at once; unresolved tasks resolve to `ConnectionReset`.

    Source: `stop_cluster()` in R.
    """
    if not isinstance(cl, MiraiExecutor):
        raise TypeError(f"{cl!r:.80} is no cluster: give what make_cluster() returned")
    cl._down = True
    profiles.remove(cl.compute)
