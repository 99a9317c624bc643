"""Mirais in the order in which they are resolved."""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Iterator, Sequence

    from mirai.api.future import Mirai
    from mirai.runtime.lead import Waker
    from mirai.runtime.watch import Watch

T = TypeVar("T")


class Completed(Generic[T]):
    """Iterate over it, also with `async for`; once."""

    def __init__(self, mirais: Sequence[Mirai[T]]) -> None:
        """Of any mix of compute profiles."""
        self._mirais = mirais

    def __iter__(self) -> Iterator[Mirai[T]]:
        arrivals: _Arrivals[T] = _Arrivals()
        for m in self._mirais:
            m.wake_when_done(_Bell(m, arrivals))
        first = 0  # of those that may be unresolved: whoever waits drives the sockets, its own among them
        for _ in self._mirais:
            while not arrivals.here:
                while first < len(self._mirais) - 1 and self._mirais[first].done():
                    first += 1
                self._mirais[first]._service.wait(arrivals)
            yield arrivals.here.popleft()

    async def __aiter__(self) -> AsyncIterator[Mirai[T]]:
        import asyncio

        loop = asyncio.get_running_loop()
        there: asyncio.Queue[Any] = asyncio.Queue()
        with ExitStack() as entered:
            watches = {service: service.watch(loop) for service in {m._service for m in self._mirais}}
            for watch in watches.values():
                entered.enter_context(watch)
            for m in self._mirais:
                m.wake_when_done(_Note(m, watches[m._service], there))
            for _ in self._mirais:
                yield await there.get()


class _Arrivals(Generic[T]):
    """Those that are resolved and not yet taken: what `Lead.wait` can wait for."""

    def __init__(self) -> None:
        self.here: deque[Mirai[T]] = deque()
        self._wakers: deque[Waker] = deque()

    def done(self) -> bool:
        return bool(self.here)

    def wake_when_done(self, waker: Waker) -> None:
        self._wakers.append(waker)
        if self.here:
            self._wake()

    def add(self, m: Mirai[T]) -> None:
        self.here.append(m)
        self._wake()

    def _wake(self) -> None:
        while self._wakers:
            try:
                self._wakers.popleft().release()
            except (IndexError, RuntimeError):
                pass  # another thread was there first


class _Bell(Generic[T]):
    """Rung, as a lock is released, when a mirai is resolved."""

    __slots__ = ("_arrivals", "_m")

    def __init__(self, m: Mirai[T], arrivals: _Arrivals[T]) -> None:
        self._m, self._arrivals = m, arrivals

    def release(self) -> None:
        self._arrivals.add(self._m)


class _Note(Generic[T]):
    """Put in a queue of asyncio's, as a lock is released, when a mirai is resolved."""

    __slots__ = ("_m", "_there", "_watch")

    def __init__(self, m: Mirai[T], watch: Watch, there: asyncio.Queue[Any]) -> None:
        self._m, self._watch, self._there = m, watch, there

    def release(self) -> None:
        self._watch.tell(self._there.put_nowait, self._m)
