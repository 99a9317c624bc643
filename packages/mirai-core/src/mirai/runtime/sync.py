"""The service of a profile without daemons: tasks are evaluated in this process, at the call."""

from __future__ import annotations

import signal
import sys
import threading
import time
import weakref
from contextlib import nullcontext
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

from mirai.protocol import classes, shares
from mirai.protocol.journal import Work
from mirai.protocol.scheduler import NEW, OVER, Counts
from mirai.protocol.serialize import joined
from mirai.protocol.serializers import Serializers
from mirai.protocol.shares import needed
from mirai.runtime.evaluate import Evaluator
from mirai.runtime.lead import Timer
from mirai.runtime.seeding import Kept
from mirai.runtime.seen import Seen
from mirai.runtime.watch import Watch
from mirai.transport import shared

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Sequence
    from types import FrameType
    from typing import Self

    from mirai.errors import ErrorValue
    from mirai.protocol.scheduler import Blob, Task
    from mirai.runtime.afterwards import Awaiting
    from mirai.runtime.lead import Awaited


class Sync:
    """As a `Dispatcher`, with one daemon that is this process; what the host has in `__main__` is hidden from it."""

    url = None
    urls = ()
    immediate = is_local = True
    uninterrupted = nullcontext()  # nothing here can be torn
    place = staticmethod(shared.keep)  # what is private stays so
    deferred: ClassVar[set[Task]] = set()  # always empty, as arguments are there when asked for

    def __init__(self, what: int, *, seeded: bool = False, serializers: Serializers | None = None) -> None:
        """Make one.

        Args:
            what: is put back after each task.
            seeded: tasks have random numbers of their own.
            serializers: those that values go by.
        """
        self.serializers = serializers
        self._seeded = seeded
        self._main = ModuleType("__main__")
        self._completed = 0
        self._kept: dict[int, weakref.ref[Blob]] = {}
        self._timer: Timer | None = None  # of the task in hand
        self._work = Work(0, time.monotonic())
        host = sys.modules["__main__"]
        sys.modules["__main__"] = self._main
        try:
            self._evaluator = Evaluator(what)
        finally:
            sys.modules["__main__"] = host
        if serializers is not None:
            self._evaluator.serializers = Serializers.decode(serializers.encode(), is_twin=True)

    def submit(self, task: Task) -> None:
        """Evaluate it, and settle its future."""
        if task.blob is not None:
            self._evaluator.keep(task.blob.number, task.blob.count, joined(task.blob.body))
            self._keep_all(needed(task.blob.body))
        self._keep_all(needed(task.body))
        blob = task.blob.number if task.blob is not None else 0
        find, shares.find = shares.find, self._evaluator.shared
        random_numbers = Kept() if self._seeded else None
        host = sys.modules["__main__"]
        sys.modules["__main__"] = self._main
        start = time.monotonic()
        try:
            classes.apart += 1
            with _CtrlC() as ctrl_c:
                status, (count, body) = self._evaluator.run(1, task.count, blob, joined(task.body), task.everywhere)
            if task.everywhere:
                self._evaluator.baseline.take()
            else:
                if self._evaluator.baseline.restore() and self._evaluator.serializers is not None:
                    self._evaluator.serializers.forget()
        finally:
            shares.find = find
            classes.apart -= 1
            sys.modules["__main__"] = host
            if random_numbers is not None:
                random_numbers.restore()
        task.state = OVER
        self._completed += 1
        now = time.monotonic()
        self._work.given(start)
        self._work.answered([task], [(1, now - start)], now, is_idle=True)
        timer, self._timer = self._timer, None
        if timer is not None and timer.callback is not None and timer.when <= time.monotonic():
            timer.callback()
        self._told(task.future, task.future.settle(status, count, joined(body)))
        if ctrl_c.pressed:
            raise KeyboardInterrupt  # meant for the program, of which this task may be one of thousands

    def submit_many(self, tasks: Sequence[Task]) -> None:
        """Evaluate them, in this order."""
        for task in tasks:
            self.submit(task)

    def _keep_all(self, blobs: Sequence[Blob]) -> None:
        """Values that tasks share, until nobody needs them any more."""
        for blob in blobs:
            number = blob.number
            if number not in self._kept:
                self._keep_all(needed(blob.body))
                self._evaluator.keep(number, blob.count, joined(blob.body))
                self._kept[number] = weakref.ref(blob, partial(self._forget, number))

    def _forget(self, number: int, _: object) -> None:
        self._kept.pop(number, None)
        self._evaluator.forget(number)

    def submit_everywhere(self, tasks: list[Task], minimum: int) -> None:
        """Evaluate it once: there is one daemon."""
        for task in tasks:
            task.everywhere = True
            self.submit(task)

    def cancel(self, tasks: Sequence[Task], error: ErrorValue) -> list[bool]:
        """As `Dispatcher.cancel`."""
        return [self._told(task.future, task.future.fail(error)) for task in tasks]

    def resolve(self, future: Awaiting, settle: Callable[[], bool | None]) -> None:
        """As `Dispatcher.resolve`."""
        self._told(future, settle())

    @staticmethod
    def _told(future: Awaiting, told: bool | None) -> bool:
        """Whether it was unresolved."""
        if told:
            while (told := future.conclude()) is None:
                time.sleep(0)  # another thread is about to wait for it
            if told:
                future.run_callbacks()
            return True
        return told is not None

    def wait(self, awaited: Awaited, timeout: float | None = None) -> bool:
        """All there is to wait for is done, or in hand in this very thread."""
        return awaited.done()

    def watch(self, loop: AbstractEventLoop) -> Watch:
        """As `Lead.watch`: there is nothing to be seen."""
        return Watch(loop)

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        """Called only if its time has come when a task has been evaluated: nothing can interrupt that here."""
        self._timer = Timer(when, callback)
        return self._timer

    def is_executing(self, task: Task) -> bool:
        """Whether the task is in evaluation."""
        return task.state == NEW

    def connections(self) -> int:
        """None: this process is none."""
        return 0

    def works(self) -> list[Work]:
        """What this process has had to do."""
        return [self._work]

    def is_deserted(self) -> bool:
        """Never: this process is here."""
        return False

    def has_room(self) -> bool:
        """Nothing is ever queued."""
        return True

    def wait_for_room(self) -> None:
        """Nothing is ever queued."""

    def wait_until_quiet(self) -> None:
        """Nothing is ever in hand when somebody asks."""

    def cancel_waiting(self) -> None:
        """Nothing ever waits."""

    def stack(self, task: Task, timeout: float) -> str:
        """Who asks is not in the task."""
        return ""

    def look(self) -> Seen:
        """What goes on."""
        return Seen(Counts(0, 0, self._completed), (0, 0), [], 0, 0, [])

    def close(self, **how: Any) -> None:
        """There is nothing to close; values that are here stay."""


class _CtrlC:
    """Tells a Ctrl-C from a `KeyboardInterrupt` that the task itself raised."""

    pressed = False
    _handler: Any = None

    def __enter__(self) -> Self:
        handler = signal.getsignal(signal.SIGINT)
        if callable(handler) and threading.current_thread() is threading.main_thread():
            self._handler = handler
            signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._handler is not None and signal.getsignal(signal.SIGINT) == self._press:
            signal.signal(signal.SIGINT, self._handler)

    def _press(self, signum: int, frame: FrameType | None) -> None:
        self.pressed = True
        self._handler(signum, frame)
