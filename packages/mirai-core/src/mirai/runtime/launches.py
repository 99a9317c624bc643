"""Launches: daemons on their way from elsewhere, watched until they are here, or until it is known why not.

Launchers are asked by one thread, since a scheduler takes its time to answer. It ends when all are here or lost.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from mirai.hookspecs import Launch
    from mirai.protocol.tickets import Ticket

log = logging.getLogger("mirai")

SOON, SELDOM = 0.1, 5.0  # seconds between two questions, at first and after a while
MORE = 1.5  # how much longer each pause is than the last
GRACE = 0.3  # seconds that a daemon has to leave by itself, before its launch is cancelled
LONGEST = 15.0  # seconds that a reset waits for a launcher's answer
WAKE = 30.0  # seconds that a launcher is still asked why a daemon left without a goodbye: schedulers know it late
AT_ONCE = 8  # launches that are cancelled side by side

SUBMITTED, CONNECTED, FAILED, ENDED = "submitted", "connected", "failed", "ended"


class Tracked:
    """One launch, and what has become of it."""

    def __init__(self, launcher: str, launch: Launch, ticket: Ticket, *, persistent: bool) -> None:
        self.launcher, self.launch, self.ticket, self.persistent = launcher, launch, ticket, persistent
        self.row = ticket.row
        self.id = str(launch.id)
        self.state = SUBMITTED
        self.reason = ""  # in the words of its keeper, or why it failed
        self.since = time.time()
        self.asked_until = inf

    def is_asked(self) -> bool:
        """Whether its launcher may have news."""
        return self.state == SUBMITTED or (self.state == ENDED and time.monotonic() < self.asked_until)

    def turn(self, state: str, reason: str = "") -> None:
        """It is in another state from now on."""
        self.state, self.reason, self.since = state, reason, time.time()
        self.id = str(self.launch.id)  # of a process on another machine it is known only now


class Launches:
    """Those of one dispatcher, under whose lock all is called that does not say otherwise."""

    def __init__(self, failed: Callable[[Sequence[Tracked], str], None]) -> None:
        """`failed(launches, reason)` is told of those that will not connect, or have left, without the lock."""
        self.rows: list[Tracked] = []
        self.failed = failed

    def add(self, rows: Sequence[Tracked]) -> None:
        """Watch them."""
        self.rows += rows
        _watcher.watch(rows, self)

    def joined(self, ticket: Ticket) -> None:
        """Its daemon is here."""
        for row in self._of(ticket):
            row.turn(CONNECTED)

    def revoked(self, ticket: Ticket) -> None:
        """Nobody will come by it any more; who is here stays."""
        for row in self._of(ticket):
            if row.state == SUBMITTED:
                row.turn(ENDED, "its ticket was revoked")
                row.asked_until = 0.0

    def left(self, ticket: Ticket, how: str, *, abruptly: bool) -> None:
        """Its daemon is not here any more. `abruptly`: its launcher may know why, in a while."""
        for row in self._of(ticket):
            row.turn(ENDED, how)
            row.asked_until = time.monotonic() + WAKE if abruptly else 0.0
            if abruptly:
                _watcher.watch([row], self)

    def explain(self, rows: Sequence[Tracked], reason: str) -> list[Tracked]:
        """Their launcher says why they have left; those of them of which it was not known."""
        told = [row for row in rows if row.state == ENDED and row.is_asked()]
        for row in told:
            row.reason, row.asked_until = f"{row.reason}: {reason}", 0.0
        return told

    def is_running(self, ticket: Ticket) -> bool:
        """Whether its launcher knows, without asking, that its daemon's process runs."""
        # Not part of what all launches have: most launchers would have to ask.
        return any(getattr(row.launch, "is_running", bool)() for row in self._of(ticket))

    def is_pending(self) -> bool:
        """Whether a daemon may still come."""
        return any(row.state == SUBMITTED for row in self.rows)

    def is_hopeless(self) -> bool:
        """Whether there were launches, and none of their daemons will come, or come back."""
        return bool(self.rows) and all(
            row.state == FAILED or (row.state == ENDED and not row.persistent) for row in self.rows
        )

    def cancel(self) -> None:
        """End what is queued or runs, without the lock; persistent daemons that have come are let be."""
        rows, self.rows = self.rows, []
        _watcher.forget(rows)
        here = [row for row in rows if row.state == CONNECTED]
        _cancel([row for row in rows if row.state != CONNECTED])
        leaving = [row for row in here if not row.persistent]
        if leaving:
            time.sleep(GRACE)
            _cancel(leaving)
        _left_behind.extend(row.launch for row in here if row.persistent)

    def _of(self, ticket: Ticket) -> Iterable[Tracked]:
        return (row for row in self.rows if row.ticket is ticket)


def _cancel(rows: Sequence[Tracked]) -> None:
    if len(rows) > 1:
        from concurrent.futures import ThreadPoolExecutor

        try:
            with ThreadPoolExecutor(min(AT_ONCE, len(rows)), "mirai-cancel") as pool:
                list(pool.map(_cancel_one, rows))
            return
        except RuntimeError:
            pass  # the interpreter ends, and starts no threads any more
    for row in rows:
        _cancel_one(row)


def _cancel_one(row: Tracked) -> None:
    try:
        row.launch.cancel()
    except Exception as error:
        why = row.ticket.hidden(str(error))
        log.warning("launch %s by %s could not be cancelled: %s", row.id, row.launcher, why)


class _Watcher:
    """The thread that asks, and what it asks about."""

    def __init__(self) -> None:
        self._watched: list[tuple[Tracked, Launches]] = []
        self._lock = threading.RLock()  # a finalizer may reset a profile in the middle of this
        self._asking = threading.Lock()  # held while a launcher is asked
        self._news = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, rows: Sequence[Tracked], launches: Launches) -> None:
        with self._lock:
            self._watched += [(row, launches) for row in rows]
            self._news.set()
            if self._watched and self._thread is None:
                self._thread = threading.Thread(target=self._run, name="mirai-launches", daemon=True)
                self._thread.start()

    def forget(self, rows: Sequence[Tracked]) -> None:
        """Ask about them no more; on return nobody does."""
        if not rows:
            return
        with self._lock:
            self._watched = [(row, launches) for row, launches in self._watched if row not in rows]
            self._news.set()
            thread = self._thread if not self._watched else None
        if self._asking.acquire(timeout=LONGEST):
            self._asking.release()
        if thread is not None and thread is not threading.current_thread():
            thread.join(LONGEST)

    def _run(self) -> None:
        pause = SOON
        while True:
            with self._lock:
                self._watched = [(row, launches) for row, launches in self._watched if row.is_asked()]
                if not self._watched:
                    self._thread = None
                    return
                watched = self._watched.copy()
            failed: dict[tuple[int, str], tuple[Launches, list[Tracked]]] = {}
            for row, launches in watched:
                if reason := self._ask(row):
                    failed.setdefault((id(launches), reason), (launches, []))[1].append(row)
            for (_, reason), (launches, rows) in failed.items():
                launches.failed(rows, reason)
            if self._news.wait(pause):
                self._news.clear()
                pause = SOON
            else:
                pause = min(MORE * pause, SELDOM)

    def _ask(self, row: Tracked) -> str:
        """Why its daemon will not connect; empty where it may."""
        with self._asking:
            if not row.is_asked() or not any(other is row for other, _ in self._watched):
                return ""
            try:
                reason = row.launch.failure()
                if not reason and row.state == SUBMITTED:
                    # Plugins of others may be older than `state`.
                    row.reason = row.ticket.hidden(getattr(row.launch, "state", str)())
            except Exception as error:  # of a plugin: it must not take the others' answers with it
                log.debug("the %s launcher could not say how %s is", row.launcher, row.id, exc_info=True)
                if row.state == SUBMITTED:
                    why = row.ticket.hidden(f"{type(error).__name__}: {error}")
                    row.reason = f"unknown, as asking failed: {why}"
                return ""
            return row.ticket.hidden(reason) if reason else ""


_watcher = _Watcher()
_left_behind: list[Launch] = []  # of persistent daemons, which outlive their profile


def _forget_in_child() -> None:
    global _watcher
    _watcher = _Watcher()


os.register_at_fork(after_in_child=_forget_in_child)
