"""Mirais in the order in which they are resolved."""

from __future__ import annotations

from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from mirai.api.future import Mirai

T = TypeVar("T")


class Completed(Generic[T]):
    """Iterate over it, also with `async for`; once."""

    def __init__(self, mirais: Sequence[Mirai[T]]) -> None:
        """Of any mix of compute profiles."""
        self._mirais = mirais

    def __iter__(self) -> Iterator[Mirai[T]]:
        there: SimpleQueue[Any] = SimpleQueue()
        for m in self._mirais:
            m.add_done_callback(there.put)
        for _ in self._mirais:
            yield there.get()

    async def __aiter__(self) -> AsyncIterator[Mirai[T]]:
        import asyncio

        loop = asyncio.get_running_loop()
        there: asyncio.Queue[Any] = asyncio.Queue()

        def note(m: Any) -> None:
            try:
                loop.call_soon_threadsafe(there.put_nowait, m)
            except RuntimeError:
                pass  # the loop was closed meanwhile

        for m in self._mirais:
            m.add_done_callback(note)
        for _ in self._mirais:
            yield await there.get()
