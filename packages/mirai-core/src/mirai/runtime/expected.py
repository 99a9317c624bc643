"""Who may come to a dispatcher: processes started here, launches from elsewhere, and by which tickets."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

from mirai.protocol.tickets import ID_SIZE, SECRET_SIZE, Tickets
from mirai.runtime.launches import FAILED, SUBMITTED, Launches

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mirai.protocol.handshake import Hello
    from mirai.protocol.tickets import Ticket
    from mirai.runtime.launches import Tracked
    from mirai.runtime.local_launcher import LocalProcess


class Expected:
    """Those of one dispatcher, under whose lock all is called.

    Attributes:
        tickets: by which one is let in.
        by_hand: those given to users, who have not started a daemon by them yet.
        processes: started here, by launch, until they have ended.
        launches: daemons on their way from elsewhere, and what has become of them.
    """

    def __init__(self, failed: Callable[[Sequence[Tracked], str], None]) -> None:
        """Nobody yet. `failed(launches, reason)` is told of launches that fail, without the lock."""
        self.tickets = Tickets()
        self.by_hand: set[Ticket] = set()
        self.processes: dict[str, LocalProcess] = {}
        self.launches = Launches(failed)
        self._rows = itertools.count(1)

    def issue(self, launch: str) -> Ticket:
        """A ticket for one more daemon."""
        return self.tickets.issue(next(self._rows), os.urandom(ID_SIZE + SECRET_SIZE), launch)

    def reissue(self, row: int, here: set[int]) -> Ticket:
        """A new ticket for the daemon of that row; the old one is dead. `here`: the rows of those that have come.

        Raises:
            ValueError: there is no such row.
        """
        old = [ticket for ticket in self.tickets if ticket.row == row]
        if not old and row not in here:
            rows = here | {ticket.row for ticket in self.tickets}
            raise ValueError(f"i={row!r}: there is no such daemon, only {sorted(rows) or 'none at all'}")
        for ticket in old:
            self.tickets.revoke(ticket)
            self.by_hand.discard(ticket)
            self.launches.revoked(ticket)
        return self.tickets.issue(row, os.urandom(ID_SIZE + SECRET_SIZE))

    def joined(self, hello: Hello, ticket: Ticket | None) -> tuple[int, LocalProcess | None]:
        """One has come: its row, and its process if that was started here."""
        process = self.processes.get(hello.launch if ticket is None else ticket.launch)
        if process is not None:
            process.connected = True
        if ticket is None:
            return next(self._rows), process
        ticket.holder = hello
        self.launches.joined(ticket)
        self.by_hand.discard(ticket)
        return ticket.row, process

    def left(self, ticket: Ticket, how: str, *, abruptly: bool) -> None:
        """One is not here any more. `abruptly`: its launcher may know why, in a while."""
        ticket.holder = None
        self.launches.left(ticket, how, abruptly=abruptly)

    def give_up(self, launches: Sequence[Tracked], reason: str) -> str:
        """Those of them that have not come will not; what is to be said of that, if there are any."""
        lost = [launch for launch in launches if launch.state == SUBMITTED]
        for launch in lost:
            launch.turn(FAILED, reason)
            self.tickets.revoke(launch.ticket)
        if not lost:
            return ""
        what = f"launch {lost[0].id}" if len(lost) == 1 else f"{len(lost)} launches ({lost[0].id}, …)"
        return f"{what} by {lost[0].launcher} failed: {reason}"

    def starting(self) -> list[LocalProcess]:
        """Those started here that have not come yet."""
        return [process for process in list(self.processes.values()) if not process.connected]

    def coming(self) -> int:
        """How many are on their way."""
        return len(self.starting()) + sum(1 for row in self.launches.rows if row.state == SUBMITTED)

    def failed(self) -> int:
        """How many launches have failed."""
        return sum(1 for row in self.launches.rows if row.state == FAILED)

    def is_hopeless(self) -> bool:
        """Whether there were launches, none of their daemons will come, and no user may start one."""
        return self.launches.is_hopeless() and not self.by_hand
