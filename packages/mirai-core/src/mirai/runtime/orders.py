"""One thing after the other, also for code that runs in the middle of ours.

A finalizer runs whenever the garbage collector does, in any thread, also in one that is in the middle of the
dispatcher's work and cannot wait until that is done. What it orders is put off until its thread is through.
"""

from __future__ import annotations

import _thread
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Orders:
    """Performs orders one at a time, under a lock.

    Attributes:
        lock: reentrant. Who holds it can be sure that no other thread is in the middle of an order; its own may be.
        busy: whether the thread that holds the lock is in the middle of an order.
    """

    def __init__(self, torn: Callable[[BaseException], object]) -> None:
        """`torn` is called, under the lock, with what an order raised: it was left in its middle."""
        self.lock = _thread.RLock()
        self.busy = False
        self._torn = torn
        self._waiting: deque[Callable[[], object]] = deque()

    def perform(self, order: Callable[[], object]) -> None:
        """Call `order()`, or have it called by this thread when it is through with the one that it is in."""
        with self.lock:
            if self.busy:
                self._waiting.append(order)
                return
            # What comes when `busy` is no more, and the lock is still held, is performed there and then.
            self.busy = True
            try:
                order()
            except BaseException as error:
                self._torn(error)
                raise
            finally:
                self.busy = False
                if self._waiting:
                    self._catch_up()

    def is_mine(self) -> bool:
        """Whether this thread holds the lock."""
        return self.lock._is_owned()  # type: ignore[attr-defined, no-any-return]  # `threading.Condition` asks it too

    def _catch_up(self) -> None:
        failure: BaseException | None = None
        while self._waiting:
            self.busy = True
            try:
                self._waiting.popleft()()
            except BaseException as error:
                failure = error
                self._torn(error)
            finally:
                self.busy = False
        if failure is not None:
            raise failure
