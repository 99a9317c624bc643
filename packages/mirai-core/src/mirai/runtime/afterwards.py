"""What follows from an order once the lock is free: who waits is told, lines are logged, callbacks are called."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import warnings
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Protocol

from mirai.runtime.callers import stack_level

if TYPE_CHECKING:
    from collections.abc import Callable

    from mirai.errors import ErrorValue
    from mirai.protocol.scheduler import Task
    from mirai.protocol.wire import Buffer
    from mirai.runtime.lead import Lead
    from mirai.runtime.once import Once
    from mirai.runtime.orders import Orders

AGAIN = 0.005  # seconds until a future is told again to conclude
DEEPEST = 16  # callbacks called from callbacks

log = logging.getLogger("mirai")
log.addHandler(logging.NullHandler())  # quiet, unless the program sets logging up


class Awaiting(Protocol):
    """What the dispatcher needs of a future.

    `settle` and `fail` are called under its lock, and decide in one go: the first wins, whatever runs in the middle.
    They return None where it was decided before, else whether `conclude` is to be called, without the lock.
    """

    id: int

    def done(self) -> bool:
        """Whether it is resolved."""
        ...

    def settle(self, status: int, count: int, body: Buffer) -> bool | None:
        """The daemon's answer, still serialized; `status` is one of `Status`."""
        ...

    def fail(self, error: ErrorValue) -> bool | None:
        """There will be no answer."""
        ...

    def conclude(self) -> bool | None:
        """Tell all who wait; whether `run_callbacks` is to be called.

        None: try again. Its lock is with another thread, which may have lost it; or this one is in the middle of
        what it guards. It is not waited for, as all else would have to wait, too.
        """
        ...

    def orphan(self, error: ErrorValue) -> None:
        """There will be no answer in this forked child: it is the parent's."""
        ...

    def run_callbacks(self) -> None:
        """Code of the user's."""
        ...


class Afterwards:
    """That of one dispatcher.

    Attributes:
        orders: from which it follows; those of a forked child are others.
        resolved: futures to be concluded.
        waiting_for_room: threads that wait until there is room for more tasks.
        waiting_for_quiet: threads that wait until no task is unfinished.
    """

    def __init__(self, orders: Orders, lead: Lead, has_room: Callable[[], bool], is_quiet: Callable[[], bool]) -> None:
        """Nothing is to be done yet.

        Args:
            orders: whose lock it is.
            lead: by which threads wait.
            has_room: whether who waits for room can go on.
            is_quiet: whether who waits for quiet can.
        """
        self.orders = orders
        self.resolved: deque[Awaiting] = deque()
        self.waiting_for_room: list[Once] = []
        self.waiting_for_quiet: list[Once] = []
        self._lead, self._has_room, self._is_quiet = lead, has_room, is_quiet
        self._news: deque[tuple[int, str]] = deque()  # to be logged
        self._calls: deque[Callable[[], object]] = deque()
        self._concluded: deque[Awaiting] = deque()  # whose callbacks are to be run
        self._calling = threading.local()

    def fail(self, task: Task, error: ErrorValue) -> bool:
        """There will be no answer, an order says; whether its future was unresolved."""
        told = task.future.fail(error)
        if told:
            self.resolved.append(task.future)
        return told is not None

    def tell(self, level: int, text: str) -> None:
        """Log it, once the lock is free; what is an error to users, they are warned of too."""
        self._news.append((level, text))

    def call(self, callback: Callable[[], object]) -> None:
        """Call it, once the lock is free."""
        self._calls.append(callback)

    def follow_up(self) -> None:
        """After an order, without the lock: tell who waits, call code of the user's."""
        resolved, concluded = self.resolved, self._concluded
        if not (resolved or concluded or self.waiting_for_room or self.waiting_for_quiet or self._news or self._calls):
            return
        if self.orders.is_mine():  # in the middle of something
            self._lead.call_at(time.monotonic(), self.follow_up)
            return
        if resolved:
            while resolved:
                try:
                    future = resolved[0]
                    told = future.conclude()
                    if told:
                        concluded.append(future)
                    elif told is None:
                        self._lead.call_at(time.monotonic() + AGAIN, partial(self._conclude_later, future))
                    resolved.remove(future)  # only now, lest a signal handler raises before
                except (IndexError, ValueError):
                    pass  # another thread has done it
            self._lead.nudge()
        while self._news:
            try:
                level, text = self._news.popleft()
            except IndexError:
                break  # another thread took the last one
            log.log(level, text)
            if level >= logging.ERROR:
                with contextlib.suppress(Warning):  # raised here it would end the thread that drives the sockets
                    warnings.warn(text, RuntimeWarning, stacklevel=stack_level())
        while self._calls:
            try:
                callback = self._calls.popleft()
            except IndexError:
                break  # as above
            callback()
        if self.waiting_for_room and self._has_room():
            while self.waiting_for_room:
                self.waiting_for_room.pop().happen()
            self._lead.nudge()
        if self.waiting_for_quiet and self._is_quiet():
            while self.waiting_for_quiet:
                self.waiting_for_quiet.pop().happen()
            self._lead.nudge()
        depth = getattr(self._calling, "depth", 0)
        if not concluded or depth >= DEEPEST:
            return  # callbacks that resolve futures that have callbacks: no deeper, but after the first of them
        self._calling.depth = depth + 1
        try:
            while concluded:
                try:
                    future = concluded.popleft()
                except IndexError:
                    return  # another thread took the last one
                future.run_callbacks()
        finally:
            self._calling.depth = depth

    def _conclude_later(self, future: Awaiting) -> None:
        self.resolved.append(future)
        self.follow_up()
