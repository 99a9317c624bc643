"""Who drives the sockets now: the thread that waits, or the I/O thread.

Whoever waits, works: a thread that waits for a result takes the *lead* and polls the sockets itself, which
saves the switch to another thread and back. Threads that come while another leads *follow*: they sleep
until their result is there or the lead is free. One I/O thread leads when nobody waits.
"""

from __future__ import annotations

import _thread
import heapq
import itertools
import logging
import os
import threading
import time
from collections import deque
from itertools import compress
from math import inf
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Protocol

from mirai.protocol.spinning import Spinning
from mirai.runtime.interrupts import Uninterrupted
from mirai.runtime.poller import READ, Poller
from mirai.runtime.watch import Watch

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable

log = logging.getLogger("mirai")

SWEEP = 1000  # timers, beside those in use, until the cancelled ones are dropped
LONGEST = 86400.0  # seconds of one poll: epoll_wait(2) takes milliseconds in an int
NAP = 0.001  # seconds that the I/O thread leaves the lead free for the next waiter
SPIN = 0.00005  # seconds that who waits looks again and again before it sleeps, where that has paid
IMPATIENCE = 0.0005  # seconds of submitting after which the submitting thread polls once


class Waker(Protocol):
    """A lock, or what can be woken like one."""

    def release(self) -> None:
        """Wake who waits."""
        ...


class Awaited(Protocol):
    """What a thread can wait for."""

    def done(self) -> bool:
        """Whether it is there."""
        ...

    def wake_when_done(self, waker: Waker) -> None:
        """Release `waker` when it is there, or at once if it is."""
        ...


class Timer:
    """A call at a time to come; `cancel()` is enough to forget it."""

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callable[[], object]) -> None:
        self.when = when
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        """Do not call it any more."""
        self.callback = None


class Lead:
    """The sockets of this process, their timers, and the turn to drive them."""

    def __init__(self) -> None:
        self._poller = Poller()
        self._turn = _thread.RLock()  # reentrant, as a signal handler may wait too
        self._followers: deque[_thread.LockType] = deque()
        self._timers: list[tuple[float, int, Timer]] = []  # a heap, the leader's
        self._set: deque[tuple[float, int, Timer]] = deque()  # timers that are not yet in it
        self._until = inf  # a timer that is set for an earlier time is news to who polls
        self._numbers = itertools.count()
        self._sweep = SWEEP
        self._woken, self._waker = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._waker, False)
        self.uninterrupted = Uninterrupted(self.wake)
        self._poller.register(self._woken, self._drain)
        self._polled = 0.0
        self._spinning = Spinning()
        self._asked = False  # somebody wants the lead that the I/O thread has
        self.in_background = False  # whether the I/O thread leads
        self._io_rests = False
        self._led = False  # somebody else led since the I/O thread last looked
        self._rest = _thread.allocate_lock()
        self._rest.acquire()
        self._leader = 0  # the thread that has the turn
        self._awaited: Awaited | None = None  # what it waits for
        self._watches: dict[AbstractEventLoop, Watch] = {}
        self._closing = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="mirai-io", daemon=True)
        self._thread.start()

    # For who has sockets

    def register(self, fd: int, callback: Callable[[int], None], events: int = READ) -> None:
        """Call `callback(events)` from whichever thread leads whenever `fd` is ready."""
        self._poller.register(fd, callback, events)

    def modify(self, fd: int, events: int) -> None:
        """Wait for other events on `fd`."""
        self._poller.modify(fd, events)

    def unregister(self, fd: int) -> None:
        """Forget `fd`, before it is closed."""
        self._poller.unregister(fd)

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        """Call `callback()` at `when` (of `time.monotonic`) from whichever thread leads."""
        # Without a lock, which code that runs in the middle of this could not wait for.
        timer = Timer(when, callback)
        self._set.append((when, next(self._numbers), timer))
        if when < self._until and self._leader != _thread.get_ident():
            self.wake()
        return timer

    def wake(self) -> None:
        """Have the thread that polls look again."""
        if self._closed:
            return
        try:
            os.write(self._waker, b"\0")
        except OSError:
            pass  # it has enough to wake from; or it was closed just now, and nobody sleeps there

    def close(self) -> None:
        """End the I/O thread and close what it polls. No socket may be registered any more."""
        self._closing = self._asked = True
        self.wake()
        for watch in list(self._watches.values()):
            watch.close()
        if self._leader == _thread.get_ident():
            return  # called from a callback: the turn is given up in a moment, and that closes
        with self._turn:
            self._close_descriptors()
        self._release(self._rest)
        if self._thread is not threading.current_thread():
            self._thread.join()

    def abandon(self) -> None:
        """In a forked child: close the descriptors, as all else is the parent's."""
        self._closing = True
        self.uninterrupted.abandon()
        for watch in self._watches.values():
            watch.abandon()
        self._close_descriptors()

    def _close_descriptors(self) -> None:
        if not self._closed:
            self._closed = True
            self._poller.close()
            os.close(self._woken)
            os.close(self._waker)

    # For who waits

    def wait(self, awaited: Awaited, timeout: float | None = None) -> bool:
        """Wait until `awaited` is done, driving the sockets meanwhile. False: the time is over."""
        deadline = None if timeout is None else time.monotonic() + timeout
        if self._leader == _thread.get_ident():
            return self._lead_deeper(awaited, deadline)
        waker: _thread.LockType | None = None
        try:
            while not awaited.done():
                if self.uninterrupted.pending and self.uninterrupted.pending_here():
                    self.uninterrupted.deliver()  # in a callback, say: who is left behind it has to be waited for, too
                if deadline is not None and time.monotonic() >= deadline:
                    return False
                if self._lead_until(awaited, deadline):
                    continue
                if waker is None:
                    waker = _thread.allocate_lock()
                    waker.acquire()
                    awaited.wake_when_done(waker)
                else:
                    self._follow(waker, deadline)
            return True
        finally:
            if waker is not None:
                # The lead may have been handed to this thread, which has no use for it any more.
                self._hand_on()

    def nudge(self) -> None:
        """For a thread that made something come true: whoever leads may be waiting for that, and polls sockets."""
        awaited = self._awaited
        if awaited is not None and awaited.done():
            self.wake()

    def poke(self) -> None:
        """For a thread that submits without waiting: look at the sockets, if that was not done just now."""
        if time.monotonic() - self._polled >= IMPATIENCE:
            self.look_in_passing()

    def watch(self, loop: AbstractEventLoop) -> Watch:
        """For a coroutine in `loop`, which runs in this thread: to be entered while it awaits what it is told of."""
        watch = self._watches.get(loop)
        if watch is None:
            fd = -1 if self._closing else self._poller.fileno()
            watch = Watch(loop, fd, self.look_in_passing, lambda: self._watches.pop(loop, None))
            self._watches[loop] = watch
        return watch

    def look_in_passing(self) -> None:
        """Look at the sockets, without waiting; also where another thread leads."""
        if self._leader == _thread.get_ident():
            return
        with self.uninterrupted:
            if self._turn.acquire(False):
                try:
                    self._leader = _thread.get_ident()
                    if not self._closing:
                        self._round(0)
                finally:
                    self._give_up()
                return
            # It may be long until who has the turn may run too: the interpreter is switched every 5 ms only.
            self._polled = time.monotonic()
            if self.in_background and not self._asked:
                self._asked = True
                self.wake()
            try:
                self._look(0)
            except ValueError:
                pass  # it was closed just now

    def _lead_until(self, awaited: Awaited, deadline: float | None) -> bool:
        """Drive the sockets until `awaited` is done, a signal came or the time is over; False: another thread does."""
        uninterrupted = self.uninterrupted
        with uninterrupted:
            if not self._turn.acquire(False):
                return False
            try:
                self._leader = _thread.get_ident()
                self._awaited = awaited
                while not (awaited.done() or (uninterrupted.pending and uninterrupted.pending_here()) or self._closing):
                    remaining = None if deadline is None else deadline - time.monotonic()
                    if remaining is not None and remaining <= 0:
                        break
                    self._round(remaining, spins=True)
            finally:
                self._awaited = None
                self._give_up()
        return True

    def _lead_deeper(self, awaited: Awaited, deadline: float | None) -> bool:
        """As `wait`, in a callback of the thread that leads."""
        outer, self._awaited = self._awaited, awaited
        try:
            while not awaited.done():
                if self.uninterrupted.pending_here():
                    self.uninterrupted.deliver()  # here too Ctrl-C ends the wait only
                remaining = None if deadline is None else deadline - time.monotonic()
                if remaining is not None and remaining <= 0:
                    break
                self._round(remaining)
        finally:
            self._awaited = outer
        return awaited.done()

    def _give_up(self) -> None:
        """The end of a turn, by whoever had it."""
        self._leader = 0
        self._led = True
        if self._closing:
            self._close_descriptors()
        self._turn.release()
        if self._followers or self._io_rests:
            self._hand_on()

    def _follow(self, waker: _thread.LockType, deadline: float | None) -> None:
        self._followers.append(waker)
        if self.in_background and not self._asked:
            self._asked = True
            self.wake()
        remaining = -1.0 if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            if not self._leader:
                return  # it was freed before this thread stood in line
            waker.acquire(True, min(remaining, threading.TIMEOUT_MAX))
        finally:
            try:
                self._followers.remove(waker)
            except ValueError:
                pass  # who handed the lead on took it out

    def _hand_on(self) -> None:
        """The turn was given up: to a thread that waits for it, or else to the I/O thread."""
        if self._followers and not self._leader:
            try:
                self._release(self._followers.popleft())
            except IndexError:
                pass
        elif self._io_rests:
            self._release(self._rest)

    @staticmethod
    def _release(lock: _thread.LockType) -> None:
        try:
            lock.release()
        except RuntimeError:
            pass  # two have the same news for it

    # The work

    def _round(self, timeout: float | None, *, spins: bool = False) -> None:
        """Wait for sockets and timers, at most `timeout` seconds, and call who is concerned."""
        self._until = inf  # whatever is set from now on wakes the poll below
        timers = self._take_timers() if self._set else self._timers
        if timers:
            self._until = timers[0][0]
            until = max(0.0, self._until - time.monotonic())
            timeout = until if timeout is None else min(timeout, until)
        if spins and (timeout is None or timeout > SPIN) and self._spinning.is_worth_it():
            self._spin(timeout)
        else:
            self._look(timeout)
        now = self._polled = time.monotonic()
        timers = self._take_timers() if self._set else self._timers
        while timers and timers[0][0] <= now:
            self._ring(heapq.heappop(timers)[2])

    def _take_timers(self) -> list[tuple[float, int, Timer]]:
        """The heap, with what was set since."""
        timers, new = self._timers, self._set
        while new:
            heapq.heappush(timers, new.popleft())
        if len(timers) >= self._sweep:
            # Most tasks are done in time: what their timers leave behind goes now and then.
            timers[:] = compress(timers, map(_callback_of, map(_timer_of, timers)))
            heapq.heapify(timers)
            self._sweep = 2 * len(timers) + SWEEP
        return timers

    def _look(self, timeout: float | None) -> bool:
        """Wait for sockets, and call who is concerned; whether there was anyone."""
        ready = self._poller.poll(timeout if timeout is None else min(timeout, LONGEST))
        for callback, events in ready:
            try:
                callback(events)
            except Exception:
                log.exception("an event could not be handled")  # the others still are
        return bool(ready)

    def _spin(self, timeout: float | None) -> None:
        """As `_look`, for a thread whose result may be here before it could sleep, and be woken.

        To wake a processor that has nothing else to do takes 50 µs and more where it is a virtual one.
        """
        until = time.monotonic() + SPIN
        while not self._look(0):
            if time.monotonic() > until:
                self._spinning.was_in_vain()
                self._look(timeout)
                return
            _yield()  # to the daemon, where it is to run on this very processor
        self._spinning.has_paid()

    @staticmethod
    def _ring(timer: Timer) -> None:
        if timer.callback is not None:
            try:
                timer.callback()
            except Exception:
                log.exception("a timer's call failed")

    def _drain(self, events: int) -> None:
        if self._leader != _thread.get_ident():
            return  # it is for who has the lead, who may be about to poll
        try:
            os.read(self._woken, 4096)
        except BlockingIOError:
            pass

    def _run(self) -> None:
        """The I/O thread: lead when nobody else does."""
        while not self._closing:
            self._io_rests = True
            if self._turn.acquire(False):
                self._io_rests = False
                self.in_background = True
                try:
                    self._leader = _thread.get_ident()
                    while not (self._asked or self._followers or self._closing):
                        self._round(None)
                finally:
                    self.in_background = False
                    self._asked = False
                    self._give_up()
            else:
                self._rest.acquire()
                self._io_rests = False
            # Who just led will most likely lead again in a moment.
            while not self._closing:
                self._led = False
                self._rest.acquire(True, NAP)
                if not self._led:
                    break


_yield: Callable[[], None] = getattr(os, "sched_yield", lambda: None)
_timer_of, _callback_of = itemgetter(2), attrgetter("callback")
_lock = threading.RLock()  # reentrant, as code that runs in the middle of this may join or leave too
_current: Lead | None = None
_users = 0


def join() -> Lead:
    """The lead of this process, made for the first who needs it; each `join` asks for a `leave`."""
    global _current, _users
    superfluous: Lead | None = None
    with _lock:
        if _current is None:
            made = Lead()
            if _current is None:
                _current = made
            else:
                superfluous = made  # code in the middle of this has made one
        _users += 1
        joined = _current
    if superfluous is not None:
        superfluous.close()
    return joined


def leave() -> None:
    """The last to leave ends the I/O thread."""
    global _current, _users
    with _lock:
        _users -= 1
        last, _current = (_current, None) if not _users else (None, _current)
    if last is not None:
        last.close()


def _forget_in_child() -> None:
    global _current, _users, _lock
    _lock = threading.RLock()
    if _current is not None:
        _current.abandon()
    _current, _users = None, 0


os.register_at_fork(after_in_child=_forget_in_child)
