"""Across a network, a peer that vanishes says no goodbye: how each side notices.

The host asks, and counts the beats without an answer (`protocol/heartbeat.py`). It has its kernel ask the daemon's,
too (`transport/vouching.py`), which answers also for one whose task lets no other thread of Python run. The daemon
has its kernel ask the host's, which answers also for a host that is stopped, as by Ctrl-Z: that one finds its daemons
when it goes on.
"""

from __future__ import annotations

import socket
import struct

from mirai.protocol.heartbeat import BEATS, Heartbeat, Verdict
from mirai.protocol.messages import Kind
from mirai.protocol.wire import encode

TYPE_CHECKING = False  # not from typing, whose import is a good part of a daemon's start
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mirai.protocol.tickets import Ticket
    from mirai.runtime.lead import Timer
    from mirai.runtime.peer import Peer

PATIENCE = 20  # beats without a word from the host, where the kernel cannot be asked
SILENT = (
    "was silent for {:g} s: it was stopped, or its machine or the way there is gone; or, where nobody else can be "
    "asked, its task lets no other thread run (daemons(heartbeat=…) sets the bound)"
)
BUSY = "daemon {} says nothing, but its machine does: its task lets no other thread run, or it is stopped"
STUCK = (
    "said nothing for {:g} s, although its machine did: its task let no other thread run, or it is stopped "
    "(daemons(patience=…) sets the bound)"
)


def watch_host(control: socket.socket, data: socket.socket, beat: float) -> None:
    """Have both connections end when the host's machine, or the way to it, has been gone for three beats: tcp(7).

    Beats are of whole seconds here, 1 at least.
    """
    if control.family not in (socket.AF_INET, socket.AF_INET6):
        # The host says something at each beat. Not `settimeout`, with which a peek would wait, too.
        control.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(PATIENCE * beat) + 1, 0))
        return
    seconds = max(1, round(beat))
    for connection in (control, data):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", seconds), ("TCP_KEEPINTVL", seconds), ("TCP_KEEPCNT", BEATS - 1)):
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # Not on the data connection: a host that is stopped while it receives a large result has a full buffer, and
        # Linux counts that, too.
        control.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * BEATS * seconds)


class Pulse:
    """The host's: that of one dispatcher, under whose lock all is called."""

    def __init__(
        self,
        beat: float | None,
        patience: float,
        online: Callable[[], Sequence[Peer]],
        gone: Callable[[Peer, str], None],
        order_in: Callable[[float, Callable[[], object]], Timer],
        tell: Callable[[str], None],
        is_running: Callable[[Ticket], bool],
    ) -> None:
        """Nobody is asked yet.

        Args:
            beat: seconds from one question to the next; None: nobody is ever asked.
            patience: seconds that a daemon may say nothing for which its kernel vouches.
            online: the daemons that are here.
            gone: takes leave of one, and says how it went.
            order_in: calls something, so many seconds from now.
            tell: logs a line.
            is_running: whether a launcher knows that the daemon of a ticket runs.
        """
        self.beat, self._patience = beat, patience
        self._online, self._gone, self._order_in, self._tell = online, gone, order_in, tell
        self._is_running = is_running
        self._is_due = False  # they will be asked

    def begin(self, peer: Peer) -> None:
        """Of a daemon that has joined from across a network."""
        if self.beat is not None:
            peer.heartbeat = Heartbeat(self._patience / self.beat)
            peer.control.have_asked(self.beat)
            self._go_on()

    def _go_on(self) -> None:
        if not self._is_due and self.beat is not None:
            self._is_due = True
            self._order_in(self.beat, self._ask)

    def _ask(self) -> None:
        self._is_due = False
        for peer in self._online():
            if peer.heartbeat is None or self.beat is None:
                continue
            self._judge(peer, peer.heartbeat, self.beat)
            if peer.online:
                self._go_on()

    def _judge(self, peer: Peer, heartbeat: Heartbeat, beat: float) -> None:
        heard = peer.data.heard or peer.control.heard
        verdict = heartbeat.judge(heard, heard or self._is_vouched_for(peer, beat))
        was_busy, peer.silent = peer.silent > 0, heartbeat.silent * beat if verdict is Verdict.BUSY else 0.0
        if verdict is Verdict.GONE:
            self._gone(peer, SILENT.format(BEATS * beat))
        elif verdict is Verdict.STUCK:
            self._gone(peer, STUCK.format(heartbeat.silent * beat))
        elif verdict is Verdict.BUSY and not was_busy:
            self._tell(BUSY.format(peer.row))
        elif heard:
            # Else the last one is still to be answered: one that is busy for hours is not asked all the while.
            peer.data.heard = peer.control.heard = False
            peer.control.write([encode(Kind.PING)])

    def _is_vouched_for(self, peer: Peer, beat: float) -> bool:
        """By its kernel; or, where that cannot be asked, as through a tunnel, by its launcher."""
        said = peer.control.is_vouched_for(peer.hello.pid, beat)
        return (peer.ticket is not None and self._is_running(peer.ticket)) if said is None else said
