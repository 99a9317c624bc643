"""Which descriptors are ready, and whom that concerns."""

from __future__ import annotations

import select
import selectors
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Callback = Callable[[int], None]

READ, WRITE = 1, 4  # EPOLLIN, EPOLLOUT: epoll(7)


class EpollPoller:
    """Linux's, without the layer of `selectors`, which takes longer than the call itself."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callback] = {}

    def register(self, fd: int, callback: Callback, events: int = READ) -> None:
        """Have `poll` give `callback` when `fd` is ready."""
        self._callbacks[fd] = callback
        self._epoll.register(fd, events)

    def modify(self, fd: int, events: int) -> None:
        """Wait for other events."""
        self._epoll.modify(fd, events)

    def unregister(self, fd: int) -> None:
        """Forget `fd`, before it is closed."""
        del self._callbacks[fd]
        self._epoll.unregister(fd)

    def poll(self, timeout: float | None) -> list[tuple[Callback, int]]:
        """Wait, at most `timeout` seconds, until a descriptor is ready: its callback, and READ, WRITE or both.

        The end of a stream, and an error, count as READ.
        """
        callbacks = self._callbacks
        return [
            (callbacks[fd], events if events <= READ | WRITE else events & WRITE | READ)
            for fd, events in self._epoll.poll(timeout)
            if fd in callbacks
        ]

    def fileno(self) -> int:
        """A descriptor that is readable when `poll` would not wait; -1 where there is none."""
        return self._epoll.fileno()

    def close(self) -> None:
        """Close the descriptor of the poller itself."""
        self._epoll.close()


class SelectorPoller:
    """The same with whatever the platform has."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def register(self, fd: int, callback: Callback, events: int = READ) -> None:
        """Have `poll` give `callback` when `fd` is ready."""
        self._selector.register(fd, _theirs(events), callback)

    def modify(self, fd: int, events: int) -> None:
        """Wait for other events."""
        self._selector.modify(fd, _theirs(events), self._selector.get_key(fd).data)

    def unregister(self, fd: int) -> None:
        """Forget `fd`, before it is closed."""
        self._selector.unregister(fd)

    def poll(self, timeout: float | None) -> list[tuple[Callback, int]]:
        """As `EpollPoller.poll`."""
        return [
            (key.data, READ * bool(events & selectors.EVENT_READ) | WRITE * bool(events & selectors.EVENT_WRITE))
            for key, events in self._selector.select(timeout)
        ]

    def fileno(self) -> int:
        """As `EpollPoller.fileno`."""
        return -1

    def close(self) -> None:
        """Close what the poller itself holds."""
        self._selector.close()


def _theirs(events: int) -> int:
    return selectors.EVENT_READ * bool(events & READ) | selectors.EVENT_WRITE * bool(events & WRITE)


Poller = EpollPoller if hasattr(select, "epoll") else SelectorPoller
