"""The daemons of a dispatcher: feed their events to the scheduler, perform the actions it returns."""

from __future__ import annotations

import logging
import pickle
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from mirai.errors import ConnectionReset, MiraiError
from mirai.protocol.messages import Kind, Status
from mirai.protocol.scheduler import Cancel, Lost, Recall, Send
from mirai.protocol.window import STALL
from mirai.protocol.wire import SHARED, FrameError, encode
from mirai.runtime import complaints
from mirai.runtime.complaints import Complaints, misfit
from mirai.runtime.lending import Lending
from mirai.runtime.once import Once
from mirai.runtime.peer import Peer
from mirai.runtime.pulse import Pulse
from mirai.runtime.recalls import Recalls

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mirai.protocol.scheduler import Action, Scheduler, Task
    from mirai.protocol.wire import Frame
    from mirai.runtime.afterwards import Afterwards
    from mirai.runtime.channel import Channel
    from mirai.runtime.expected import Expected
    from mirai.runtime.lead import Timer
    from mirai.runtime.local_launcher import LocalProcess
    from mirai.runtime.meeting import Arrival

RESULT = Kind.RESULT
SILENCE = 0.1  # seconds without a word after which one whose process has ended has said all
NEVER_REACHED = "Connection reset: its daemon left before everywhere() reached it"


class Stack(Once):
    """A daemon's answer to `Kind.STACK`."""

    text = ""


class Crew:
    """Those of one dispatcher, under whose lock all is called.

    Attributes:
        peers: the daemons by number, those that have left too.
        joined: how many have, ever.
        cut_off: how many were, as they broke the protocol.
        setup: what a daemon is told first, beside this process's `sys.path`.
        stacks: asked for, by daemon and task.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        expected: Expected,
        afterwards: Afterwards,
        setup: dict[str, Any],
        perform: Callable[[Callable[[], object]], None],
        order_in: Callable[[float, Callable[[], object]], Timer],
        is_closed: Callable[[], bool],
        joined: Callable[[Peer], None],
        left: Callable[[Peer, str, bool], None],
        replace: Callable[[LocalProcess], None],
        *,
        heartbeat: float | None,
        patience: float,
        kill_after: float | None,
    ) -> None:
        """Nobody is here yet.

        Args:
            scheduler: decides.
            expected: knows who comes.
            afterwards: where it is said what follows.
            setup: what a daemon is told first.
            perform: calls what changes this object, one at a time with all that changes its dispatcher.
            order_in: calls something in such an order, so many seconds from now.
            is_closed: whether all are sent away.
            joined: is told of each that has.
            left: is told how one went, and whether without a goodbye.
            replace: kills a process, and starts another one in its place.
            heartbeat: seconds between two beats, see `runtime/pulse.py`; None: none.
            patience: seconds that a daemon may say nothing although its machine does.
            kill_after: seconds that a daemon has to obey a cancel before it is killed and replaced.
        """
        self.peers: dict[int, Peer] = {}
        self.joined = 0
        self.cut_off = 0
        self.setup = setup
        self.stacks: dict[tuple[int, int], Stack] = {}
        self._scheduler, self._expected = scheduler, expected
        self._resolved, self._tell, self._fail = afterwards.resolved, afterwards.tell, afterwards.fail
        self._do, self._order_in, self._is_closed = perform, order_in, is_closed
        self._has_joined, self._has_left, self._replace = joined, left, replace
        self._kill_after = kill_after
        self._ticking = False
        self._pulse = Pulse(
            heartbeat,
            patience,
            lambda: () if is_closed() else self.online(),
            self.gone,
            order_in,
            lambda text: self._tell(logging.INFO, text),
            expected.launches.is_running,
        )
        self._misfits = Complaints(lambda: misfit(scheduler), self._will_any_leave, order_in, self._tell)
        self._recalls = Recalls(scheduler, order_in, self._tell)
        self._lending = Lending(self.online, is_closed, self._hear, order_in)

    def channels(self) -> list[Channel]:
        """Of those that are here."""
        return [channel for peer in self.online() for channel in (peer.data, peer.control)]

    def online(self) -> list[Peer]:
        """Those that are here."""
        return [peer for peer in self.peers.values() if peer.online]

    def counts(self, peer: Peer) -> tuple[int, int, Task | None]:
        """The tasks that one was assigned, that it has completed, and the one that it has in hand."""
        if not peer.online:
            return peer.assigned, peer.completed, None
        assigned, completed, task = self._scheduler.daemon_counts(peer.number) or (0, 0, None)
        return peer.assigned + assigned, peer.completed + completed, task

    def join(self, arrival: Arrival) -> None:
        """One more is let in."""
        hello, ticket = arrival.hello, arrival.ticket
        for peer in self.online() if ticket is not None else ():
            if peer.ticket is ticket:
                self.gone(peer, "has dialled again")
        self.joined += 1
        row, process = self._expected.joined(hello, ticket)
        peer = Peer(self.joined, row, arrival, process)
        for before in [other for other in self.peers.values() if other.row == peer.row and not other.online]:
            peer.assigned += before.assigned
            peer.completed += before.completed
            del self.peers[before.number]
        self.peers[peer.number] = peer
        peer.data._readable = partial(self._do, partial(self._data_came, peer))
        peer.control._readable = partial(self._do, partial(self._control_came, peer))
        if not arrival.is_private:
            self._pulse.begin(peer)
        self._lending.offer(peer)
        setup = {
            "path": sys.path,
            "number": peer.number,
            "heartbeat": None if peer.heartbeat is None else self._pulse.beat,
            "shared": peer.exchange is not None,
            **self.setup,
        }
        peer.data.write([encode(Kind.SETUP, pickle.dumps(setup, 5))])
        now = time.monotonic()
        self.perform(self._scheduler.daemon_joined(peer.number, now, now + hello.seconds_left()))
        if hello.left:
            self._misfits.expect(complaints.UNTIL_MISFIT)
        self._has_joined(peer)

    def _will_any_leave(self) -> bool:
        return not self._is_closed() and any(peer.hello.left for peer in self.online())

    # Daemons answer

    def _data_came(self, peer: Peer) -> None:
        try:
            frames = peer.data.read()
            if frames is None:
                self.gone(peer)
            elif frames:
                self._answered(peer, frames)
        except FrameError as error:
            self._cut(peer, error)

    def _answered(self, peer: Peer, frames: list[Frame]) -> None:
        leaving = frames[-1][0] == Kind.BYE
        if leaving:
            code = frames.pop()[3]
        results = [(seq, aux * 1e-6) for kind, _, _, aux, seq, _ in frames if kind == RESULT]
        if len(results) < len(frames):
            frames = self._lending.take_back(peer, frames)
        if results:
            now = time.monotonic()
            finished, actions = self._scheduler.results_arrived(peer.number, results, now)
            peer.work.answered(finished, results, now, is_idle=self._scheduler.is_idle(peer.number))
            # Also where it leaves: some may be for other daemons, and what it was sent comes back.
            self.perform(actions)
            broken: FrameError | None = None
            for task, (_, status, count, _, _, body) in zip(finished, frames, strict=True):
                future = task.future
                if status & SHARED:
                    status ^= SHARED
                    try:
                        body = self._lending.view(peer, body)
                    except (FrameError, OSError) as error:
                        if future is not None:
                            text = f"the result is in shared memory that cannot be mapped here: {error}"
                            self._fail(task, MiraiError(text))
                        broken = error if isinstance(error, FrameError) else broken
                        continue
                if future is not None:
                    if future.settle(status, count, body):
                        self._resolved.append(future)
                elif status != Status.VALUE:
                    text = f"daemon {peer.row}: what `everywhere` set up before it joined failed there"
                    self._tell(logging.WARNING, text)
            if broken is not None:
                raise broken  # now that the others have what is theirs
        if leaving:
            self.gone(peer, f"left with code {code}", begun=False)

    def _control_came(self, peer: Peer) -> None:
        try:
            self._hear(peer)
        except FrameError as error:
            self._cut(peer, error)

    def _hear(self, peer: Peer) -> bool:
        """Read from the control connection; whether there was anything."""
        frames = peer.control.read()
        if frames is None:
            # What it answered before is still to be read from the data connection, whose end counts.
            peer.control.close()
            return False
        for kind, _, _, _, seq, body in frames:
            if kind == Kind.RECALLED:
                now = time.monotonic()
                actions = self._scheduler.recalled(peer.number, seq, now)
                if self._scheduler.is_idle(peer.number):
                    peer.work.given_back(now)
                self.perform(actions)
            elif kind == Kind.STACK and (asked := self.stacks.pop((peer.number, seq), None)):
                asked.text = bytes(body).decode(errors="replace")
                asked.happen()
            elif kind == Kind.SEGMENT and peer.exchange is not None and peer.control.descriptors:
                peer.exchange.map(seq, peer.control.descriptors.popleft(), body)
            elif kind == Kind.DROP and peer.exchange is not None:
                peer.exchange.unmap(seq)
        return bool(frames)

    # They go

    def _cut(self, peer: Peer, error: FrameError) -> None:
        self.cut_off += 1
        self._tell(logging.WARNING, f"daemon {peer.row} is cut off: {error}")
        self.gone(peer, f"was cut off, as it broke the protocol: {error}")

    def gone(self, peer: Peer, how: str = "", *, begun: bool = True) -> None:
        """One has left, and `how`. `begun`: the first task that it has not answered may have begun."""
        if not peer.online:
            return
        counts = self.counts(peer)
        if not how:
            how = (peer.process.describe_end() if peer.process else "") or "closed its connection"
        peer.online = False
        peer.work.left = time.monotonic()
        if peer.exchange is not None:
            peer.exchange.close()
        peer.data.close()
        peer.control.close()
        for key in [key for key in self.stacks if key[0] == peer.number]:
            self.stacks.pop(key).happen()
        peer.assigned, peer.completed, _ = counts
        if peer.ticket is not None:
            self._expected.left(peer.ticket, how, abruptly=begun and not (peer.is_revoked or self._is_closed()))
        self._tell(logging.INFO, f"daemon {peer.row} {how}")
        self.perform(self._scheduler.daemon_left(peer.number, time.monotonic(), begun=begun), peer, how)
        self._has_left(peer, how, begun and not peer.is_revoked)

    def process_ended(self, process: LocalProcess) -> None:
        """Of a daemon that was started here. What it said last may be on its way still."""
        for peer in self.online():
            if peer.process is process:
                self._hear_out(peer)

    def _hear_out(self, peer: Peer) -> None:
        """Its end may not be seen on the connection, which a child of its own can keep open: then silence is."""

        def look() -> None:
            if peer.data.heard:
                self._hear_out(peer)
            else:
                self.gone(peer)

        peer.data.heard = False
        self._order_in(SILENCE, look)

    # Actions

    def perform(self, actions: Sequence[Action], gone: Peer | None = None, how: str = "") -> None:
        """What the scheduler decides; where it does as a daemon has left, with that one and how it did."""
        for action in actions:
            if type(action) is Send:
                peer = self.peers[action.daemon]
                if not peer.work.since:
                    peer.work.given(time.monotonic())
                peer.give(action.tasks)
                if peer.has_lent:
                    peer.has_lent = False
                    self._lending.tidy_later()
            elif isinstance(action, Cancel):
                self.peers[action.daemon].control.write([encode(Kind.CANCEL, seq=action.seq)])
                if self._kill_after is not None:
                    self._order_in(self._kill_after, partial(self._kill, self.peers[action.daemon], action.seq))
            elif isinstance(action, Recall):
                peer = self.peers[action.daemon]
                peer.control.write([encode(Kind.RECALL, seq=action.seq)])
                if not peer.recalled_from:
                    self._recalls.expect(peer, action.seq)
            elif isinstance(action, Lost) and action.task.future is not None:
                if gone is not None:
                    gone.work.lost(action.task, time.monotonic())
                self._fail(action.task, ConnectionReset(NEVER_REACHED) if gone is None else gone.lost(how))
        if not self._ticking and self._scheduler.tick_needed():
            self._ticking = True
            self._order_in(STALL, self._tick)

    def _kill(self, peer: Peer, seq: int) -> None:
        """A task did not end on being cancelled: end its daemon, and start another one in its place."""
        counts = self._scheduler.daemon_counts(peer.number)
        task = counts[2] if counts else None
        if task is None or task.seq != seq:
            return
        text = f"daemon {peer.row} is killed: {self._kill_after:g} s after a cancel its task goes on"
        self._tell(logging.WARNING, text)
        process = peer.process
        self.gone(peer, "was killed, as its task did not end on being cancelled")
        if process is not None:
            self._replace(process)

    def _tick(self) -> None:
        self._ticking = False
        if self._is_closed():
            return
        # A host that computes gets to its sockets late: what seems to take long may have been answered.
        for daemon in self._scheduler.overdue(time.monotonic()):
            if self.peers[daemon].online:
                self._data_came(self.peers[daemon])
        self.perform(self._scheduler.ticked(time.monotonic()))
