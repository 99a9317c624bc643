"""In the host: what users want of the daemons of one compute profile, one order at a time."""

from __future__ import annotations

import atexit
import itertools
import logging
import os
import sys
import time
from functools import partial
from itertools import compress
from typing import TYPE_CHECKING, Any

from mirai.errors import Canceled, ConnectionReset, DaemonStartError, ErrorValue
from mirai.protocol.elastic import Load
from mirai.protocol.heartbeat import PATIENCE
from mirai.protocol.messages import Kind
from mirai.protocol.scheduler import Scheduler
from mirai.protocol.wire import encode
from mirai.runtime import complaints, lead, tracing
from mirai.runtime.addresses import for_this_machine
from mirai.runtime.afterwards import Afterwards
from mirai.runtime.complaints import Complaints, shortfall
from mirai.runtime.crew import Crew, Stack
from mirai.runtime.expected import Expected
from mirai.runtime.joining import is_private
from mirai.runtime.local_launcher import GRACE, LocalProcess
from mirai.runtime.meeting import Meeting
from mirai.runtime.once import Once
from mirai.runtime.orders import Orders
from mirai.runtime.peer import Peer
from mirai.runtime.seen import Seen
from mirai.runtime.vigil import Vigil
from mirai.runtime.visits import Visits
from mirai.transport import shared
from mirai.transport.urls import TLS_SCHEMES, local_url, make_local, parse, remove_local, visitors_url

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Mapping, Sequence

    from mirai.protocol.journal import Work
    from mirai.protocol.scheduler import Task
    from mirai.protocol.serialize import Place
    from mirai.protocol.serializers import Serializers
    from mirai.protocol.tickets import Ticket
    from mirai.runtime.afterwards import Awaiting
    from mirai.runtime.launches import Tracked
    from mirai.runtime.watch import Watch
    from mirai.transport.tls import Identity

RESET = "its profile was reset first"
IN_THE_MIDDLE = (
    "one cannot wait here: this code (a finalizer, most likely) runs in the middle of what is waited for; "
    "let it cancel or submit, and wait elsewhere"
)
FORKED = "Connection reset: it belongs to the parent of this forked process"


class Dispatcher:
    """The daemons of one compute profile, and the tasks on their way to and from them."""

    immediate = False  # tasks are not evaluated at the call

    def __init__(
        self,
        url: str | Sequence[str] | None = None,
        *,
        scheduler: Scheduler | None = None,
        setup: Mapping[str, Any] | None = None,
        serializers: Serializers | None = None,
        memory: int | None = None,
        kill_after: float | None = None,
        tls: Identity | None = None,
        heartbeat: float | None = None,
        patience: float = PATIENCE,
        ephemeral: bool = False,
        open: bool = True,
    ) -> None:
        """Listen.

        Args:
            url: an address of any scheme, or several; None: one for this machine and user only.
            scheduler: decides; a new one unless given.
            setup: what a daemon is told first, beside this process's `sys.path`.
            serializers: those that values go by, here and on the daemons.
            memory: bytes of queued payloads from which on `has_room` says no.
            kill_after: seconds that a daemon has to obey a cancel before it is killed and replaced.
            tls: the certificate and key for addresses with TLS.
            heartbeat: seconds between two beats, see `runtime/pulse.py`; None: none.
            patience: seconds that a daemon may say nothing although its machine does.
            ephemeral: close when the last local daemon has left.
            open: let daemons in; else they wait until `open` is called.

        Raises:
            OSError: the address cannot be listened on; the error says why.
        """
        self.scheduler = scheduler or Scheduler()
        self.serializers: Serializers | None = None
        self._orders = Orders(self._torn)
        self._launches = itertools.count(1)
        self.deferred: set[Task] = set()  # to be submitted once their arguments are there
        self._expected = Expected(self._launches_failed)
        self._waiting_for_daemons: tuple[int, Once] | None = None
        self._start_error: DaemonStartError | None = None
        self._ephemeral = ephemeral
        self.origin: Any = None  # as of `Profile`
        self._memory = memory
        self._closed = False
        self.is_local = url is None
        self._own_url = local_url() if url is None else ""
        # Where everybody may dial, visitors have an address of their own, which goes with this process.
        private = [visitors_url()] if url is not None and sys.platform == "linux" else []
        self.visits = Visits(self._do)
        urls = [self._own_url] if url is None else [url] if isinstance(url, str) else list(url)
        for each in urls:
            make_local(each)
        self._lead = lead.join()
        self.uninterrupted = self._lead.uninterrupted  # a context in which signal handlers wait
        self._afterwards = Afterwards(
            self._orders,
            self._lead,
            lambda: self._closed or self.has_room(),
            lambda: self._closed or self._is_quiet(),
        )
        self._resolved, self._follow_up = self._afterwards.resolved, self._afterwards.follow_up  # needed for each task
        self._tell, self._fail = self._afterwards.tell, self._afterwards.fail
        self._crew = Crew(
            self.scheduler,
            self._expected,
            self._afterwards,
            {"private": bool(self._own_url), **(setup or {})},
            self._do,
            self._order_in,
            lambda: self._closed,
            self._joined,
            self._left,
            self._replace,
            heartbeat=heartbeat,
            patience=patience,
            kill_after=kill_after,
        )
        self.peers, self._online, self._perform = self._crew.peers, self._crew.online, self._crew.perform
        try:
            self._meeting = Meeting(
                urls,
                private,
                tls,
                self._expected.tickets,
                self._lead,
                self._do,
                self._crew.join,
                self.visits.welcome,
                self._tell,
            )
        except BaseException:
            lead.leave()
            raise
        self.urls = self._meeting.urls
        self.url = ", ".join(self.urls)
        self._vigil = Vigil(
            self.url, self._waiting, self._order_in, self._tell, self._fail_all, is_hopeless=url is None
        )
        self._tlscert = None if tls is None else tls.tlscert
        # Where a large body is to be until it is sent; daemons that can map it may yet come.
        self.place: Place = shared.place if self._own_url else shared.keep
        self._shortfalls = Complaints(
            lambda: shortfall(self.scheduler, self._online()), self._are_any_wanted, self._order_in, self._tell
        )
        shared.join()
        _open.add(self)
        if open:
            self.open(serializers)

    def open(self, serializers: Serializers | None) -> None:
        """Let daemons in. What finds the serializers takes as long as they take to start."""
        self.serializers = serializers
        self._crew.setup["serial"] = serializers.encode() if serializers is not None else None
        self._meeting.open()

    # For who submits

    def submit(self, task: Task) -> None:
        """Queue a task; its future is settled when the answer is there."""
        orders, scheduler = self._orders, self.scheduler
        with orders.lock:
            if self._closed:
                self._check_open()
            if queued := not (orders.busy or scheduler.has_idle()):
                scheduler.task_queued(task)
        if not queued:
            self._do(lambda: self._submit(task))
            return
        if self._vigil.is_alone:
            self._do(self._vigil.keep)
        self._lead.poke()

    def submit_many(self, tasks: Sequence[Task]) -> None:
        """As `submit`, in this order: in one go where all of them have to wait anyway."""
        orders, scheduler = self._orders, self.scheduler
        with orders.lock:
            if queued := not (self._closed or orders.busy or scheduler.has_idle()):
                for task in tasks:
                    scheduler.task_queued(task)
        if not queued:
            for task in tasks:
                self.submit(task)
            return
        if self._vigil.is_alone:
            self._do(self._vigil.keep)
        self._lead.poke()

    def _submit(self, task: Task) -> None:
        if self._closed:
            self._fail(task, ConnectionReset(f"Connection reset: {RESET}"))
        else:
            self._perform(self.scheduler.task_arrived(task, time.monotonic()))

    def submit_everywhere(self, tasks: list[Task], minimum: int) -> None:
        """Have every daemon run one of `tasks`."""
        self._check_open()
        self._do(lambda: self._submit_everywhere(tasks, minimum))

    def _submit_everywhere(self, tasks: list[Task], minimum: int) -> None:
        if self._closed:
            for task in tasks:
                self._fail(task, ConnectionReset(f"Connection reset: {RESET}"))
            return
        self._perform(self.scheduler.everywhere_arrived(tasks, minimum, time.monotonic()))
        self._shortfalls.expect(complaints.UNTIL_SHORTFALL)
        if self._vigil.is_alone:
            self._vigil.keep()

    def cancel(self, tasks: Sequence[Task], error: ErrorValue) -> list[bool]:
        """Resolve their futures to `error` now, in this order; do not begin them, or interrupt them.

        Returns:
            For each whether it was unresolved.
        """
        with self.uninterrupted:
            with self._orders.lock:
                unresolved = [self._fail(task, error) for task in tasks]
                self._orders.perform(lambda: self._withdraw(list(compress(tasks, unresolved))))
            self._lead.nudge()
            self._follow_up()
        return unresolved

    def _withdraw(self, tasks: list[Task]) -> None:
        """They are of no use to anyone any more."""
        if not self._closed:
            now = time.monotonic()
            for task in tasks:
                if actions := self.scheduler.task_cancelled(task, now):
                    self._perform(actions)
        if self._ephemeral:
            self._dismiss()

    def resolve(self, future: Awaiting, settle: Callable[[], bool | None]) -> None:
        """Settle a future whose task will not be submitted; `settle` is one of its methods."""
        with self.uninterrupted:
            with self._orders.lock:
                if settle():
                    self._resolved.append(future)
                if self._ephemeral:
                    self._orders.perform(self._dismiss)
            self._lead.nudge()
            self._follow_up()

    def _do(self, order: Callable[[], object]) -> None:
        """Perform an order, then what follows from it."""
        with self.uninterrupted:
            try:
                self._orders.perform(order)
            finally:
                self._follow_up()

    def _torn(self, error: BaseException) -> None:
        """An order was left in its middle: its state is not to be trusted, and nobody must wait for it in vain."""
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        why = f"{text} was raised in the middle of its dispatcher's work, most likely by a signal handler"
        self._tell(logging.ERROR, f"the profile of {self.url} is reset: {why}")
        self._closed = True
        self._shut(tell_persistent=False, why=why)
        self._lead.call_at(time.monotonic(), self._see_off)

    def _dismiss(self) -> None:
        """Nobody wants the one task any more that a daemon was started for."""
        for peer in self._online():
            peer.control.write([encode(Kind.EXIT)])
        for process in self._expected.starting():
            process.kill()

    def has_room(self) -> bool:
        """Whether the queued payloads are within the memory budget."""
        return self._memory is None or self.scheduler.queued_bytes < self._memory

    def wait_for_room(self) -> None:
        """Wait until `has_room`."""
        while not self.has_room():
            once = Once()
            self._afterwards.waiting_for_room.append(once)
            self._check_open()
            if self.has_room():
                return
            self.wait(once)

    def wait_until_quiet(self) -> None:
        """Wait until no task is queued or in evaluation."""
        while not self._closed and not self._is_quiet():
            once = Once()
            self._afterwards.waiting_for_quiet.append(once)
            if not self._closed and not self._is_quiet():
                self.wait(once)

    def _is_quiet(self) -> bool:
        counts = self.scheduler.counts()
        return not counts.awaiting and not counts.executing

    def cancel_waiting(self) -> None:
        """Cancel every task that is not in evaluation."""
        with self._orders.lock:
            tasks = [task for task in self.scheduler.unfinished() if not self.scheduler.is_executing(task)]
        self.cancel([task for task in tasks if task.future is not None], Canceled())

    def stack(self, task: Task, timeout: float) -> str:
        """Where a task is now; empty where it is not in evaluation."""
        with self._orders.lock:
            if self._closed or not self.scheduler.is_executing(task):
                return ""
            daemon = task.daemon
            asked = self._crew.stacks.setdefault((daemon, task.seq), Stack())
        self._do(lambda: self.peers[daemon].control.write([encode(Kind.STACK, seq=task.seq)]))
        if not self.wait(asked, timeout):
            raise TimeoutError(f"daemon {daemon} did not say within {timeout:g} s where its task is")
        return asked.text

    def look(self) -> Seen:
        """What goes on."""
        with self._orders.lock:
            scheduler = self.scheduler
            return Seen(
                scheduler.counts(),
                (scheduler.queued_bytes, scheduler.peak_bytes),
                [(peer, self._crew.counts(peer)) for peer in self.peers.values()],
                self._crew.joined,
                self._meeting.refused + self._crew.cut_off,
                list(self._expected.launches.rows),
            )

    def load(self) -> Load:
        """What there is to do, and who is there to do it, or on the way."""
        with self._orders.lock:
            counts, expected = self.scheduler.counts(), self._expected
            return Load(counts.awaiting, counts.executing, len(self._online()), expected.coming(), expected.failed())

    def could_not_launch(self, reason: str) -> None:
        """Daemons that tasks wait for could not be launched: these must not wait in silence."""
        self._do(lambda: self._not_launched(reason))

    def _not_launched(self, reason: str) -> None:
        self._vigil.despair(f"none could be launched: {reason}")
        self._maybe_left_alone()

    def connections(self) -> int:
        """How many daemons are connected."""
        return len(self._online())

    def works(self) -> list[Work]:
        """What each of these has had to do."""
        with self._orders.lock:
            return [peer.work for peer in self._online()]

    def is_deserted(self) -> bool:
        """Whether no daemon is connected, and none is on its way."""
        with self._orders.lock:
            return not (self._online() or self._meeting.is_expecting() or self._expected.coming())

    def is_executing(self, task: Task) -> bool:
        """Whether the task is in evaluation."""
        with self._orders.lock:
            return self.scheduler.is_executing(task)

    def wait(self, awaited: lead.Awaited, timeout: float | None = None) -> bool:
        """As `Lead.wait`.

        Raises:
            RuntimeError: this is called in the middle of a dispatcher's work, which could never go on meanwhile.
        """
        if not awaited.done():
            for dispatcher in tuple(_open):
                if dispatcher._orders.is_mine():
                    raise RuntimeError(IN_THE_MIDDLE)
        return self._lead.wait(awaited, timeout)

    def watch(self, loop: AbstractEventLoop) -> Watch:
        """As `Lead.watch`."""
        return self._lead.watch(loop)

    def call_at(self, when: float, callback: Callable[[], object]) -> lead.Timer:
        """As `Lead.call_at`."""
        return self._lead.call_at(when, callback)

    # For who has daemons

    def start_local(self, n: int, options: Mapping[str, Any], *, threads: int | None, output: bool) -> None:
        """Start `n` daemons on this machine, in parallel, without waiting for them."""
        url = for_this_machine(self.urls)
        options = {**self.trust(url), **options}
        for _ in range(n):
            launch = str(next(self._launches))
            ticket = "" if is_private(url) else self.issue(launch).line()
            process = LocalProcess(url, launch, options, threads=threads, output=output, ticket=ticket)
            self._do(partial(self._watch, process))

    def _watch(self, process: LocalProcess) -> None:
        if self._closed:
            process.end(time.monotonic())
            return
        self._expected.processes[process.launch] = process
        self._vigil.is_alone = False
        process.watch(self._lead, self._process_ended)

    def trust(self, url: str) -> dict[str, str]:
        """The option by which a daemon checks the certificate that it is shown at `url`, if it is shown one."""
        shows = self._tlscert is not None and parse(url).scheme in TLS_SCHEMES
        return {"tlscert": self._tlscert} if shows and self._tlscert is not None else {}

    def issue(self, launch: str = "") -> Ticket:
        """A ticket for one more daemon."""
        with self._orders.lock:
            return self._expected.issue(launch)

    def launched(self, launches: Sequence[Tracked]) -> None:
        """Daemons are on their way; a launch that fails is told of."""
        self._check_open()
        self._do(lambda: self._expect(launches))

    def _expect(self, launches: Sequence[Tracked]) -> None:
        self._vigil.is_alone, self._vigil.is_hopeless = False, bool(self._own_url)
        self._expected.launches.add(launches)

    def by_hand(self, ticket: Ticket) -> None:
        """A user may start a daemon by this ticket, at any time or never."""
        with self._orders.lock:
            self._expected.by_hand.add(ticket)
            self._vigil.is_hopeless = bool(self._own_url)

    def revoke(self, ticket: Ticket) -> None:
        """Nobody will come by it."""
        with self._orders.lock:
            self._expected.tickets.revoke(ticket)

    def reissue(self, row: int, *, force: bool) -> Ticket:
        """A new ticket for the daemon of that row; the old one is dead. `force` cuts off who is in by it.

        Raises:
            ValueError: there is no such row.
        """
        with self.uninterrupted:
            with self._orders.lock:
                self._check_open()
                new = self._expected.reissue(row, {peer.row for peer in self.peers.values()})
                for peer in [peer for peer in self.peers.values() if peer.row == row and force]:
                    peer.is_revoked = True
                    self._orders.perform(partial(self._crew.gone, peer, "was cut off, as its ticket was revoked"))
            self._lead.nudge()
            self._follow_up()
        return new

    def wait_for_daemons(self, n: int, timeout: float) -> None:
        """Wait until `n` daemons have joined.

        Raises:
            DaemonStartError: one that was started here could not, or took longer than `timeout` seconds.
        """
        once = Once()
        self._waiting_for_daemons = (n, once)
        self._do(self._check_joined)
        joined = self.wait(once, timeout)
        self._waiting_for_daemons = None
        if self._start_error is not None:
            raise self._start_error
        if not joined:
            silent = self._expected.starting()
            stderr = "\n".join(filter(None, (p.stderr_tail() for p in silent)))
            raise DaemonStartError(f"{len(silent)} of {n} did not connect within {timeout:g} s", stderr)
        self._check_open()

    def close(self, *, tell_persistent: bool = False, why: str = RESET) -> None:
        """Let the daemons go; unfinished tasks resolve to `ConnectionReset`. Waits until local ones have left."""
        if self._closed:
            return
        self._closed = True
        with self.uninterrupted:
            self._do(lambda: self._shut(tell_persistent, why))
            if self._orders.is_mine():  # in the middle of something, which goes first
                self._lead.call_at(time.monotonic(), self._see_off)
            else:
                self._lead.nudge()
                self._see_off()

    def _shut(self, tell_persistent: bool, why: str) -> None:
        """Nobody comes in any more, all go. Those who wait first; and again, where this was interrupted."""
        for task in self._unfinished():
            self._fail(task, ConnectionReset(f"Connection reset: {why}"))
        self._check_joined()
        for asked in self._crew.stacks.values():
            asked.happen()
        if tell_persistent:
            for peer in self._online():
                peer.control.write([encode(Kind.EXIT)])
            for process in self._expected.processes.values():
                process.persistent = False
        self._meeting.close()
        self.visits.close()
        for url in self.urls:
            remove_local(url)
        for channel in self._crew.channels():
            channel.close()
        self._vigil.cancel()
        self.scheduler.forget()
        for peer in self._online():
            self._trace(peer, "daemon disconnect")
            if peer.exchange is not None:
                peer.exchange.close()

    def _see_off(self) -> None:
        """When it is shut: wait until its processes have left."""
        with self._orders.lock:
            processes, self._expected.processes = self._expected.processes, {}
        try:
            self._expected.launches.cancel()
            deadline = time.monotonic() + GRACE
            for process in processes.values():
                if process.persistent:
                    process.forget()
                else:
                    process.end(deadline)
        finally:
            if self in _open:
                _open.discard(self)
                shared.leave()
                lead.leave()

    def abandon(self) -> None:
        """In a forked child: close the copies of the parent's sockets, without a goodbye."""
        self._closed = True
        self._orders = self._afterwards.orders = Orders(self._torn)
        for task in self.scheduler.unfinished():
            if task.future is not None:
                task.future.orphan(ConnectionReset(FORKED))
        for channel in self._crew.channels():
            channel.abandon()
        self._meeting.abandon()
        self.visits.abandon()
        for process in self._expected.processes.values():
            process.abandon()

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the profile was reset: call daemons() again")

    # Daemons come and go

    def _joined(self, peer: Peer) -> None:
        if peer.exchange is not None:
            self.place = shared.place
        self._vigil.is_alone, self._vigil.is_hopeless = False, bool(self._own_url)
        self._trace(peer, "daemon connect")
        self._tell(logging.INFO, f"daemon {peer.row} joined {self.url} ({peer.hello.host}, pid {peer.hello.pid})")
        self._check_joined()

    def _left(self, peer: Peer, how: str, abruptly: bool) -> None:
        self._vigil.last_end = f"daemon {peer.row} {how}"
        self._trace(peer, "daemon disconnect", how if abruptly else "")
        self._maybe_left_alone()

    def _trace(self, peer: Peer, name: str, error: str = "") -> None:
        """A span of its coming or going, where a tracer is set up."""
        if tracing.API in sys.modules and not self._ephemeral:
            self._afterwards.call(partial(self._traced, peer, name, error))

    def _traced(self, peer: Peer, name: str, error: str) -> None:
        attributes = {
            "mirai.daemon": peer.row,
            "mirai.daemon.host": peer.hello.host,
            "mirai.daemon.pid": peer.hello.pid,
            **tracing.of_url(self.url),
        }
        links = [self.origin, peer.connected]
        peer.connected = tracing.event(name, attributes, links, error)

    def _replace(self, process: LocalProcess) -> None:
        """Start another one in the place of a daemon that is killed."""
        process.kill()
        again = partial(self.start_local, 1, process.options, threads=process.threads, output=process.output)
        self._lead.call_at(time.monotonic(), again)

    def _check_joined(self) -> None:
        if self._waiting_for_daemons is not None:
            n, once = self._waiting_for_daemons
            if self._crew.joined >= n or self._start_error is not None or self._closed:
                once.happen()

    def _process_ended(self, process: LocalProcess) -> None:
        """Called by whichever thread leads."""
        self._do(lambda: self._reap(process))
        if self._ephemeral and not self._expected.processes:
            how, stderr = process.describe_end(), process.stderr_tail()
            self.close(why=f"its daemon {how}" + (f"; its stderr:\n{stderr}" if stderr else ""))

    def _reap(self, process: LocalProcess) -> None:
        if self._closed:
            return
        self._crew.process_ended(process)
        if not process.connected:
            self._start_error = DaemonStartError(process.describe_end(), process.stderr_tail())
            self._check_joined()
            self._vigil.despair(str(self._start_error))
        self._expected.processes.pop(process.launch, None)
        process.forget()
        self._maybe_left_alone()

    def _launches_failed(self, launches: Sequence[Tracked], reason: str) -> None:
        """The watcher says so."""
        self._do(lambda: self._give_up_launches(launches, reason))

    def _give_up_launches(self, launches: Sequence[Tracked], reason: str) -> None:
        if self._closed:
            return
        for launch in self._expected.launches.explain(launches, reason):
            self._vigil.last_end = f"daemon {launch.row} {launch.reason}"
            self._tell(logging.WARNING, self._vigil.last_end)
        if text := self._expected.give_up(launches, reason):
            self._vigil.last_end = text
            self._tell(logging.ERROR, text)
            self._maybe_left_alone()

    def _maybe_left_alone(self) -> None:
        self._vigil.is_alone = not (
            self._online()
            or self._expected.processes
            or self._meeting.is_expecting()
            or self._expected.launches.is_pending()
            or self._ephemeral
        )
        if self._expected.is_hopeless():
            self._vigil.is_hopeless = True
        if self._vigil.is_alone:
            self._vigil.keep()

    def _are_any_wanted(self) -> bool:
        return not self._closed and self.scheduler.wanted_daemons() > 0

    def _waiting(self) -> int:
        return 0 if self._closed else len(self._unfinished())

    def _fail_all(self, reason: str) -> None:
        for task in self._unfinished() if not self._closed else ():
            self._fail(task, ConnectionReset(reason))
            self._perform(self.scheduler.task_cancelled(task, time.monotonic()))

    def _order_in(self, seconds: float, order: Callable[[], object]) -> lead.Timer:
        return self._lead.call_at(time.monotonic() + seconds, lambda: self._do(order))

    def _unfinished(self) -> list[Task]:
        """What somebody waits for, in the order in which it was submitted."""
        tasks = [task for task in self.scheduler.unfinished() if task.future is not None]
        tasks += self.deferred
        return sorted(tasks, key=lambda task: task.future.id)


_open: set[Dispatcher] = set()


def _close_all() -> None:
    """At the end of the program, when those of its threads have ended that it waits for."""
    for dispatcher in list(_open):
        dispatcher.close(why="the host program ended first")


_forking: list[Dispatcher] = []


def _hold_for_fork() -> None:
    """A child must not inherit what another thread is in the middle of."""
    _forking.extend(_open)
    for dispatcher in _forking:
        dispatcher._orders.lock.acquire()


def _go_on_in_parent() -> None:
    while _forking:
        _forking.pop()._orders.lock.release()


def _forget_in_child() -> None:
    _forking.clear()
    for dispatcher in _open:
        dispatcher.abandon()
    _open.clear()


atexit.register(_close_all)
os.register_at_fork(before=_hold_for_fork, after_in_parent=_go_on_in_parent, after_in_child=_forget_in_child)
