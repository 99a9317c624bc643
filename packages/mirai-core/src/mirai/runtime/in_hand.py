"""The task that a daemon has in hand, from outside: interrupt it, and say where it is."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # without enumerations, which take 0.2 MB of a daemon
import _thread
import sys
import time

from mirai.runtime.evaluate import Evaluator, Interrupted, Leave

TYPE_CHECKING = False  # not from typing, whose import is a good part of a daemon's start
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

INTERRUPT = signal.SIGURG  # ignored by default, so harmless where a task resets its handlers
AGAIN = 0.001  # seconds until a task is interrupted again that has not noticed, at first
LEAST = 0.1  # and after many times
STEP = 10.0  # seconds that an import, or a step of an event loop, may go on when its task is cancelled


class InHand:
    """That of the thread that made this, by which tasks are evaluated."""

    def __init__(self, evaluator: Evaluator, must_leave: Callable[[], bool]) -> None:
        """`must_leave()` says whether the daemon is to end, with whatever task."""
        self._evaluator, self._must_leave = evaluator, must_leave
        self._thread = _thread.get_ident()
        self._interrupts = 0  # the task that was interrupted last
        self._asked = 0.0  # when the host wanted a task to be interrupted
        self._previous: dict[int, Any] = {}  # handlers
        self._unraisable = sys.unraisablehook

    def take_signals(self) -> None:
        """Have them interrupt tasks, from now on."""
        handlers = {INTERRUPT: self._interrupted, signal.SIGINT: self._keyboard}
        self._previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        self._unraisable, sys.unraisablehook = sys.unraisablehook, self._swallowed

    def give_signals_back(self) -> None:
        """As it was before."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        sys.unraisablehook = self._unraisable

    def alert(self) -> None:
        """Have the thread look whether it is to be interrupted, or to leave."""
        signal.pthread_kill(self._thread, INTERRUPT)

    def aim(self, seq: int) -> None:
        """The task with this number is to be interrupted, if it is the one in hand: `insist` on it then."""
        self._evaluator.target, self._asked = seq, time.monotonic()

    def insist(self, seq: int) -> None:
        """Interrupt a task until it has noticed: a signal just before a system call does not end that call.

        And again where that came to nothing, as in a finalizer.
        """
        pause = AGAIN
        while self._evaluator.armed == seq:
            if seq != self._interrupts:
                self.alert()
            time.sleep(pause)
            pause = min(2 * pause, LEAST)

    def stack(self, seq: int) -> str:
        """Where a task is, if it is the one in hand; else empty."""
        import traceback

        frames = list(traceback.walk_stack(sys._current_frames()[self._thread]))  # the innermost first
        while frames and frames.pop()[0].f_code is not Evaluator.run.__code__:
            pass  # what called the task
        while frames and _is_of(frames[-1][0], "mirai.runtime."):
            frames.pop()  # likewise
        while frames and _is_of(frames[0][0], "mirai."):
            del frames[0]  # where it waits for a task of its own
        if self._evaluator.armed != seq:
            return ""
        return "".join(traceback.StackSummary.extract(frames[::-1]).format()) or "  in compiled code\n"

    def _interrupted(self, signum: int, frame: FrameType | None) -> None:
        if self._evaluator.armed:
            if self._must_leave():
                raise Leave
            target = self._evaluator.target
            # Only once, so that a task may catch it and go on. And not in what must not be torn, while that may end.
            if self._evaluator.armed == target != self._interrupts and not (
                _is_indivisible(frame) and time.monotonic() - self._asked < STEP
            ):
                self._interrupts = target
                raise Interrupted

    def _swallowed(self, unraisable: sys.UnraisableHookArgs) -> None:
        """Where an exception cannot go on: in a finalizer, or a callback of compiled code."""
        if issubclass(unraisable.exc_type, Interrupted):
            self._interrupts = 0
        else:
            self._unraisable(unraisable)

    def _keyboard(self, signum: int, frame: FrameType | None) -> None:
        if self._evaluator.armed:
            raise KeyboardInterrupt
        # Between two tasks there is nothing to interrupt. One that a person started ends there.
        if sys.stdin is not None and sys.stdin.isatty():
            raise Leave


def _is_indivisible(frame: FrameType | None) -> bool:
    """Whether the task is in an import, or its event loop is busy with itself.

    A compiled module that was interrupted while it loaded cannot be loaded again. An event loop that has taken a step
    from its queue, and not yet made it, waits for ever for what that would do.
    """
    if frame is not None and _is_of(frame, "asyncio."):
        return True
    while frame is not None and not frame.f_globals.get("__name__", "").startswith("mirai.runtime."):
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _is_of(frame: FrameType, package: str) -> bool:
    module: str = frame.f_globals.get("__name__", "")
    return module.startswith(package)
