"""A world for a `Scheduler`: daemons that do as `runtime/daemon.py` does, and a host that does as it is told.

Nothing happens by itself: a test says which daemon goes on, and which frame arrives next. Frames keep their
order on each connection; a daemon's data and control connections know nothing of each other.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from mirai.protocol.scheduler import HELD, OVER, WAITING, Cancel, Lost, Recall, Scheduler, Send, Task

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mirai.protocol.scheduler import Action

BYE, END = "BYE", "END"
SHORT, MIDDLE, LONG = 1e-5, 0.001, 0.02  # seconds of evaluation


class FakeDaemon:
    """One daemon, and what is on its two connections."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.data_down: deque[tuple[Task, int]] = deque()  # host to daemon
        self.data_up: deque[tuple[int, float] | str] = deque()
        self.control_down: deque[Recall | Cancel] = deque()
        self.control_up: deque[int] = deque()
        self.evaluating: tuple[Task, int] | None = None
        self.begun = self.recalled = 0
        self.skipped: set[int] = set()
        self.setups: list[object] = []  # bodies of the `everywhere` copies that it is done with
        self.working = True  # until it crashes or says goodbye
        self.crashed = False
        self.asked = False  # for a recall, and the host has not read the answer
        self.answered = 0  # to the last recall that the host read the answer of

    def can_begin(self) -> bool:
        return self.working and self.evaluating is None and bool(self.data_down)

    def begin(self) -> Task | None:
        """Read one frame; the task that is now evaluated, if it is."""
        task, seq = self.data_down.popleft()
        if seq <= self.recalled:
            return None
        self.begun = seq
        self.evaluating = task, seq
        if seq not in self.skipped:
            return task
        self.finish(0.0)
        return None

    def finish(self, elapsed: float) -> None:
        assert self.evaluating is not None
        task, seq = self.evaluating
        self.evaluating = None
        if task.everywhere:
            self.setups.append(task.body)
        self.data_up.append((seq, elapsed))

    def hear(self) -> None:
        """Do what the next control frame says."""
        order = self.control_down.popleft()
        if isinstance(order, Recall):
            self.recalled = order.seq
            self.control_up.append(self.begun)
        elif order.seq > self.begun:
            self.skipped.add(order.seq)

    def say_goodbye(self) -> None:
        """Leave between two tasks."""
        assert self.evaluating is None
        self.working = False
        self.data_down.clear()
        self.data_up.append(BYE)

    def crash(self) -> None:
        """Die. What is on its way to the host still arrives."""
        self.working = False
        self.crashed = True
        self.evaluating = None
        self.data_down.clear()
        self.control_down.clear()
        self.data_up.append(END)


@dataclass
class Record:
    """What became of a task."""

    order: int  # in which it arrived
    retries: int
    evaluations: list[FakeDaemon] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)


@dataclass
class Barrier:
    """An `everywhere`, as its caller sees it."""

    order: int
    body: bytes
    copies: list[Task]
    minimum: int
    given: bool = False  # to whoever was there
    withdrawn: int | None = None  # by a cancel that left no copy: the number of the daemon that had joined last

    def is_over(self) -> bool:
        return all(task.state == OVER for task in self.copies)


class World:
    """A scheduler and its daemons; after each event, what must hold is checked."""

    def __init__(self, scheduler: Scheduler, *, window: int = 64, round_robin: bool = False) -> None:
        """`round_robin`: tasks are given away at once, so that there is no order and no idleness to be checked."""
        self.scheduler = scheduler
        self.window = window
        self.round_robin = round_robin
        self.now = 100.0
        self.daemons: list[FakeDaemon] = []  # that the host knows
        self.records: dict[Task, Record] = {}
        self.hidden: set[Task] = set()  # copies that the scheduler made itself
        self.barriers: list[Barrier] = []
        self.lost: list[Task] = []
        self._joined = 0

    # What users do

    def submit(self, size: int = 0, retries: int = 0, expected: float = 0.0) -> Task:
        task = Task(0, b"", size, retries=retries, expected=expected)
        self._arrives(task)
        self._perform(self.scheduler.task_arrived(task, self.now))
        return task

    def everywhere(self, copies: int = 1, minimum: int = 1, size: int = 0) -> list[Task]:
        body = b"setup %03d" % len(self.barriers)
        tasks = [Task(0, body, size) for _ in range(copies)]
        self.barriers.append(Barrier(len(self.records), body, tasks, minimum))
        for task in tasks:
            self._arrives(task)
        self._perform(self.scheduler.everywhere_arrived(tasks, minimum, self.now))
        return tasks

    def cancel(self, task: Task) -> None:
        state, told = task.state, [Cancel(task.daemon, task.seq)]
        actions = self.scheduler.task_cancelled(task, self.now)
        for barrier in self.barriers:
            if task in barrier.copies and all(t.cancelled or self.records[t].ends == ["lost"] for t in barrier.copies):
                barrier.withdrawn = self._joined
        if state == HELD:
            assert list(actions) == told, "its daemon is told, and nobody else"
        else:
            assert task.state == OVER, "what was not given away is over at once"
        self._perform(actions)

    # What daemons do

    def join(self, number: int = 1, until: float = inf) -> list[FakeDaemon]:
        joined: list[FakeDaemon] = []
        for _ in range(number):
            self._joined += 1
            daemon = FakeDaemon(self._joined)
            self.daemons.append(daemon)
            joined.append(daemon)
            self._perform(self.scheduler.daemon_joined(daemon.number, self.now, until))
        return joined

    def begin(self, daemon: FakeDaemon) -> None:
        if task := daemon.begin():
            self._check_begin(daemon, task)
            if task in self.records:
                self.records[task].evaluations.append(daemon)

    def work(self, daemon: FakeDaemon, tasks: int = 1000, elapsed: float = SHORT) -> None:
        """Evaluate some of what it holds, if it holds as many."""
        for _ in range(tasks):
            if daemon.can_begin():
                self.begin(daemon)
            if daemon.evaluating is not None:
                daemon.finish(elapsed)

    def evaluate(self, daemon: FakeDaemon, tasks: int = 1000, elapsed: float = SHORT) -> None:
        """The same, and the host reads the results, all at once."""
        self.work(daemon, tasks, elapsed)
        self.read_data(daemon)

    # What the host does

    def read_data(self, daemon: FakeDaemon, frames: int = 1000) -> None:
        """Take up to `frames` frames at once, as the dispatcher does."""
        results: list[tuple[int, float]] = []
        end = None
        while daemon.data_up and len(results) < frames and end is None:
            frame = daemon.data_up.popleft()
            if isinstance(frame, str):
                end = frame
            else:
                results.append(frame)
        if results:
            finished, actions = self.scheduler.results_arrived(daemon.number, results, self.now)
            assert len(finished) == len(results)
            for task in finished:
                if task in self.records:
                    self.records[task].ends.append("result")
            self._perform(actions)
        if end is not None:
            self.daemons.remove(daemon)
            head = self.scheduler.daemon_counts(daemon.number)[2]
            actions = self.scheduler.daemon_left(daemon.number, self.now, begun=end == END)
            for action in actions:
                if isinstance(action, Lost) and not action.task.everywhere:
                    assert action.task is head, "only what it was evaluating is lost with a daemon"
                    assert end == END, "who says goodbye has begun nothing more"
            self._perform(actions)

    def read_control(self, daemon: FakeDaemon) -> None:
        daemon.asked, daemon.answered = False, daemon.control_up.popleft()
        self._perform(self.scheduler.recalled(daemon.number, daemon.answered, self.now))

    def tick(self, seconds: float = 0.0) -> None:
        self.now += seconds
        self._perform(self.scheduler.ticked(self.now))

    def _arrives(self, task: Task) -> None:
        self.records[task] = Record(len(self.records), task.retries)

    def _perform(self, actions: Sequence[Action]) -> None:
        daemons = {daemon.number: daemon for daemon in self.daemons}
        self._check_order([action for action in actions if isinstance(action, Send)])
        for action in actions:
            if isinstance(action, Send):
                daemon = daemons[action.daemon]
                self._check_send(daemon, action.tasks)
                if daemon.working:
                    daemon.data_down.extend((task, task.seq) for task in action.tasks)
            elif isinstance(action, Lost):
                self.lost.append(action.task)
                if action.task in self.records:
                    self.records[action.task].ends.append("lost")
            else:
                daemon = daemons[action.daemon]
                if isinstance(action, Recall):
                    assert not daemon.asked, "once is enough"
                    daemon.asked = True
                if not daemon.crashed:
                    daemon.control_down.append(action)

    # What must hold

    def _check_order(self, sends: list[Send]) -> None:
        """Nothing that waits is passed over."""
        given = [task for send in sends for task in send.tasks if not task.everywhere]
        if given and not self.round_robin:
            last = max(self.records[task].order for task in given)
            passed_over = [task for task in self._waiting() if self.records[task].order < last]
            assert not passed_over, "tasks are given away in the order in which they arrived"

    def _check_send(self, daemon: FakeDaemon, tasks: list[Task]) -> None:
        for task in tasks:
            assert task.state == HELD
            assert task.daemon == daemon.number
            if not task.everywhere:
                assert not task.cancelled, "who cancels is not surprised by a late start"
            elif task in self.records:
                self._check_copy(task)
            else:
                self.hidden.add(task)
        if self.window == 1 and not tasks[0].everywhere:
            at = [task for task in self.records if task.state == HELD and task.daemon == daemon.number]
            assert [task for task in at if not task.everywhere] == tasks, "one at a time"

    def _check_copy(self, copy: Task) -> None:
        barrier = next(barrier for barrier in self.barriers if copy in barrier.copies)
        if not barrier.given:
            barrier.given = True
            assert len(self.daemons) >= barrier.minimum
            assert not self.not_begun(before=barrier.order), "what arrived before was given out first"

    def _check_begin(self, daemon: FakeDaemon, task: Task) -> None:
        if task.everywhere:
            assert task.body not in daemon.setups, "once on each daemon"
            must_have = [b for b in self.barriers if b.given and b.body < bytes(task.body)]
            barrier = next(barrier for barrier in self.barriers if barrier.body == task.body)
            assert barrier.withdrawn is None or daemon.number <= barrier.withdrawn, "nobody wants it any more"
        else:
            record = self.records[task]
            arrived_before = [b for b in self.barriers if b.order < record.order]
            assert all(b.is_over() for b in arrived_before), "what arrives later waits until every copy is finished"
            must_have = [b for b in arrived_before if b.given]
            assert all(earlier.crashed for earlier in record.evaluations), "never twice, unless its daemon was lost"
            assert len(record.evaluations) <= record.retries
        wanted = {b.body for b in must_have if b.withdrawn is None or daemon.number <= b.withdrawn}
        assert wanted <= set(daemon.setups), "it was set up before its first task"

    def check(self) -> None:
        """What must hold between two events."""
        scheduler = self.scheduler
        tasks = [*self.records, *self.hidden]
        over = [task for task in tasks if task.state == OVER]
        executing = [task for task in tasks if scheduler.is_executing(task)]
        counts = scheduler.counts()
        assert counts == (len(tasks) - len(over) - len(executing), len(executing), len(over))
        assert set(scheduler.unfinished()) == set(tasks) - set(over)
        assert len(scheduler.unfinished()) == len(tasks) - len(over)
        assert scheduler.queued_bytes == sum(t.size for t in tasks if t.state != OVER and t not in executing)
        for task, record in self.records.items():
            if task.cancelled:
                assert len(record.ends) <= (task.state == OVER)
            else:
                assert len(record.ends) == (task.state == OVER), "every task ends once"
        if not self.round_robin:
            self._check_idle()

    def _check_idle(self) -> None:
        idle = [d for d in self.daemons if self.scheduler.daemon_counts(d.number)[2] is None]
        assert self.scheduler.has_idle() == bool(idle)
        barrier = next((b for b in self.barriers if not b.is_over()), None)
        may_begin = [t for t in self._waiting() if barrier is None or self.records[t].order < barrier.order]
        assert not (idle and may_begin), "no task waits while a daemon is idle"
        if barrier is not None and not barrier.given and not self.not_begun(before=barrier.order):
            asked = any(daemon.asked for daemon in self.daemons)
            assert asked or len(self.daemons) < barrier.minimum, "copies wait for what arrived before, for nothing else"

    def _waiting(self) -> list[Task]:
        return [task for task in self.records if task.state == WAITING and not task.everywhere]

    def not_begun(self, before: float = float("inf")) -> list[Task]:
        """The tasks, but for copies of an `everywhere`, that arrived before and that no daemon is known to have begun."""
        begun = {daemon.number: daemon.answered for daemon in self.daemons}
        return [
            task
            for task, record in self.records.items()
            if record.order < before
            and not task.everywhere
            and task.state != OVER
            and not self.scheduler.is_executing(task)
            and not (task.state == HELD and task.seq <= begun[task.daemon])
        ]

    def may_cancel(self) -> list[Task]:
        """The tasks that are not over, in the order in which they arrived."""
        return [task for task in self.records if task.state != OVER and not task.cancelled]

    # To the end

    def go_on(self, frozen: Iterable[FakeDaemon] = ()) -> None:
        """Let everything happen that can, `frozen` daemons not finishing what they evaluate."""
        frozen = set(frozen)
        for _ in range(10_000):
            progress = False
            for daemon in list(self.daemons):
                while daemon.control_down:
                    daemon.hear()
                    progress = True
                while daemon.control_up:
                    self.read_control(daemon)
                    progress = True
                if daemon in frozen:
                    while daemon.can_begin():
                        self.begin(daemon)
                else:
                    self.work(daemon)
                if daemon.data_up:
                    self.read_data(daemon)
                    progress = True
                self.check()
            if not progress:
                before = [daemon.asked for daemon in self.daemons]
                if self.scheduler.tick_needed():
                    self.tick(1.0)
                if before == [daemon.asked for daemon in self.daemons]:
                    return
        raise AssertionError("it never ends")

    def run_out(self) -> None:
        """Let everything happen, with daemons that go on working: whatever arrived must end."""
        if not any(daemon.working for daemon in self.daemons):
            self.join()
        self.go_on()
        needed = max((b.minimum for b in self.barriers if not b.is_over()), default=0)
        self.join(max(0, needed - len(self.daemons)))
        self.go_on()
        assert not self.scheduler.unfinished()
        assert self.scheduler.queued_bytes == 0
        assert not self.scheduler.tick_needed(), "a host with nothing to do sleeps"
