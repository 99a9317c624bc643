"""The dispatcher's mind: events in, actions out.

What must stay true, whatever the order of events:

- Tasks begin in the order in which they arrived, one at a time at a daemon.
- A task is with one daemon at most. One that was given away and not begun comes back to the head of the
  queue when its daemon leaves or is asked for it, and nobody can tell.
- A daemon that is lost takes down only the task it was evaluating.

Daemons are named by integers, tasks by themselves. Times are seconds of any one clock.
"""

from __future__ import annotations

import itertools
from collections import deque
from heapq import heappop, heappush
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from mirai.protocol.limits import has_time
from mirai.protocol.window import LARGEST, STALL, Window
from mirai.protocol.wire import FrameError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import TypeAlias

    from mirai.protocol.journal import Journal
    from mirai.protocol.wire import Body

NEW, WAITING, HELD, OVER = range(4)
EAGER = 0.0005  # seconds; a task that takes longer is worth a write of its own
FAR = 64  # how many tasks, for which a daemon has no time, may be passed by one for which it has


class Blob:
    """A call that many tasks share: a daemon gets it once, before the first of them."""

    __slots__ = ("__weakref__", "body", "count", "journal", "number")

    _numbers = itertools.count(1)

    def __init__(self, count: int, body: Body, journal: Journal | None = None) -> None:
        self.number = next(self._numbers)
        self.count = count
        self.body = body
        self.journal = journal  # of a map: what is noted of its tasks


class Task:
    """One call on its way. `future` is the caller's, and opaque here; None where nobody waits."""

    __slots__ = (
        "barrier",
        "blob",
        "body",
        "cancelled",
        "count",
        "daemon",
        "everywhere",
        "expected",
        "future",
        "journal",
        "number",
        "retries",
        "seq",
        "size",
        "state",
    )

    def __init__(
        self,
        count: int,
        body: Body,
        size: int,
        *,
        blob: Blob | None = None,
        retries: int = 0,
        expected: float = 0.0,
    ) -> None:
        self.body = body
        self.size = size  # bytes, as counted against the memory budget
        self.count = count
        self.blob = blob
        self.journal = None if blob is None else blob.journal  # which is needed when the blob is not any more
        self.retries = retries
        self.expected = expected  # seconds that it is said to take; 0: nothing is said
        self.everywhere = False
        self.barrier: _Barrier | None = None  # of which this is a copy
        self.cancelled = False
        self.future: Any = None
        self.state = NEW
        self.number = 0  # its place among all that arrived
        self.daemon = 0  # while held
        self.seq = 0  # while held: its place among the tasks this daemon was given


class Send(NamedTuple):
    """Give these tasks to the daemon, in this order."""

    daemon: int
    tasks: list[Task]


class Recall(NamedTuple):
    """Ask the daemon for what it has not begun, up to this task."""

    daemon: int
    seq: int


class Cancel(NamedTuple):
    """Tell the daemon to skip or interrupt this task."""

    daemon: int
    seq: int


class Lost(NamedTuple):
    """The task's daemon is gone."""

    task: Task


Action: TypeAlias = "Send | Recall | Cancel | Lost"


class Counts(NamedTuple):
    """How many tasks are where; `awaiting + executing + completed` is all that ever arrived."""

    awaiting: int
    executing: int
    completed: int


class Scheduler:
    """Decide which daemon runs which task: in arrival order, one each at a time."""

    def __init__(self, largest_window: int = LARGEST) -> None:
        """`largest_window` 1: a daemon is never given a task before it is done with the last."""
        self.queued_bytes = 0  # of tasks not begun
        self.peak_bytes = 0
        self._largest_window = largest_window
        self._daemons: dict[int, _Daemon] = {}
        self._idle: dict[int, _Daemon] = {}  # the last one in was the last at work: its caches are warm
        self._queue = _Queue()  # what stands before the first barrier
        self._barriers: deque[_Barrier] = deque()
        self._arriving = self._queue  # what stands behind the last barrier
        self._setups: list[_Barrier] = []  # those that were given, and are wanted: for daemons that join later
        self._arrived = 0
        self._completed = 0
        self._crowded: dict[int, _Daemon] = {}  # those that hold what they have not begun and could give back
        self._recalls = 0  # not answered yet
        self._mortal = 0  # daemons that have not all the time in the world
        self._relieved = -inf  # when the crowded were last looked through for those that are idle

    # Events

    def task_arrived(self, task: Task, now: float) -> Sequence[Action]:
        """Queue a task, or give it to an idle daemon. One that was cancelled already never arrives."""
        idle = self._idle
        if not idle or self._mortal or self._barriers or self._crowded or self._queue or task.cancelled:
            self.task_queued(task)
            return self._assign(now) if idle else ()
        # As it is where one task after the other is waited for.
        self._queued(task)
        actions: list[Action] = []
        self._give(next(reversed(idle.values())), [task], actions)
        return actions

    def task_queued(self, task: Task) -> None:
        """The same where no daemon is idle. Whole or not at all, whatever interrupts it: only its end is a call."""
        if task.cancelled:
            return
        task.state = WAITING
        task.number = self._arrived = self._arrived + 1
        self.queued_bytes = queued = self.queued_bytes + task.size
        if queued > self.peak_bytes:
            self.peak_bytes = queued
        self._arriving.append(task)

    def everywhere_arrived(self, tasks: list[Task], minimum: int, now: float) -> Sequence[Action]:
        """Have each daemon run one of `tasks`, copies of one call, once what arrived before has been given out.

        Waits for `minimum` daemons. What arrives later waits until every copy is finished.
        """
        barrier = _Barrier(tasks.copy(), minimum)
        for task in tasks:
            task.everywhere, task.barrier = True, barrier
            self._queued(task)
        self._barriers.append(barrier)
        self._arriving = barrier.behind
        return self._assign(now)

    def daemon_joined(self, daemon: int, now: float, until: float = inf) -> Sequence[Action]:
        """A daemon is ready. It first runs what `everywhere` had the others run.

        It is ended by others at `until`: a task that is said to take longer is for another one, and lets those pass
        behind it that this one has time for.
        """
        self._daemons[daemon] = joined = _Daemon(daemon, self._largest_window, until)
        self._mortal += until < inf
        self._idle[daemon] = joined
        actions: list[Action] = []
        if self._setups:
            self._give(joined, [self._hidden(barrier) for barrier in self._setups], actions)
        actions += self._assign(now)
        return actions

    def results_arrived(
        self, daemon: int, results: Iterable[tuple[int, float]], now: float
    ) -> tuple[list[Task], Sequence[Action]]:
        """A daemon finished one or more tasks, each given by its number there and its duration in seconds.

        Returns:
            The tasks, in the order of `results`, cancelled ones too.

        Raises:
            FrameError: the daemon was not given such a task, or answers out of order. Then none of `results` counts.
        """
        at = self._daemons[daemon]
        held, window = at.held, at.window
        finished: list[Task] = []
        durations: list[float] = []
        finished_bytes = 0
        for seq, elapsed in results:
            if not held or held[0].seq != seq:
                held.extendleft(reversed(finished))
                raise FrameError(f"daemon {daemon} answers task {seq}, which is not the one it was given first")
            task = held.popleft()
            finished.append(task)
            finished_bytes += task.size
            if not task.cancelled:
                durations.append(elapsed)
        for task in finished:
            task.state, task.body, task.blob = OVER, b"", None  # as `_over` does
        window.finished(durations)
        begun_bytes = finished_bytes + (held[0].size if held else 0)
        self.queued_bytes -= begun_bytes - finished[0].size  # which had begun before
        self._completed += len(finished)
        at.completed += len(finished)
        at.since = now
        if len(held) < 2:
            self._crowded.pop(daemon, None)
            if not held:
                self._idle[daemon] = at
        return finished, self._refill(at, now)

    def daemon_left(self, daemon: int, now: float, *, begun: bool = True) -> Sequence[Action]:
        """A daemon is gone. `begun`: it may have begun the task at its head (it did not say goodbye)."""
        at = self._daemons.pop(daemon, None)
        if at is None:
            return ()
        self._idle.pop(daemon, None)
        self._crowded.pop(daemon, None)
        self._mortal -= at.until < inf
        if at.recalling:
            self._recalls -= 1
        held = at.held
        actions: list[Action] = []
        if held:
            self.queued_bytes += held[0].size  # counted as begun until now
            if begun and not self._retried(held[0]):
                # Not given to another daemon: it may have had effects before this one died.
                actions.append(self._lost(held.popleft()))
        actions += [self._lost(task) for task in held if task.everywhere]
        self._take_back([task for task in held if not task.everywhere])
        actions += self._assign(now)
        return actions

    def task_cancelled(self, task: Task, now: float) -> Sequence[Action]:
        """The caller does not want it any more. What was not given away never will be."""
        if task.barrier is not None and not task.cancelled:
            self._copy_unwanted(task.barrier)
        task.cancelled = True
        if task.state == HELD:
            return (Cancel(task.daemon, task.seq),)
        if task.state == WAITING:
            self.queued_bytes -= task.size
            self._over(task)
            if self._barriers:
                return self._assign(now)
        return ()

    def recalled(self, daemon: int, begun: int, now: float) -> Sequence[Action]:
        """A daemon answered a `Recall`: it will not begin what it holds after task `begun`."""
        at = self._daemons[daemon]
        if not at.recalling:
            raise FrameError(f"daemon {daemon} gives back tasks that it was not asked for")
        held, last = at.held, at.recalling
        at.recalling = 0
        self._recalls -= 1
        back = [task for task in held if begun < task.seq <= last]
        for _ in back:
            held.pop()
        if back and not held:
            # It had finished all that it began: the first of these was counted as begun.
            self.queued_bytes += back[0].size
            self._idle[daemon] = at
        # What it has kept, it has begun, though not all of the results may be here: it is not crowded any more.
        self._take_back(back)
        return self._assign(now)

    def ticked(self, now: float) -> Sequence[Action]:
        """Time has passed: take back what waits behind a task that takes longer than expected."""
        if not self.tick_needed():
            return ()
        actions = [self._recall(self._daemons[daemon]) for daemon in self.overdue(now)]
        if self._idle and not self._queue:
            actions += self._relieve(now)
        return actions

    def forget(self) -> None:
        """There will be no more events: let go of what the tasks carry."""
        for task in self.unfinished():
            task.body, task.blob = b"", None
        self._setups.clear()

    # Questions. They may be asked in the middle of an event, by code that the garbage collector runs: what that
    # event moves is then still in one place, or in the other.

    def has_idle(self) -> bool:
        """Whether a task that arrives now could be given away at once."""
        return bool(self._idle)

    def is_idle(self, daemon: int) -> bool:
        """Whether a daemon holds no task."""
        at = self._daemons.get(daemon)
        return at is None or not at.held

    def overdue(self, now: float) -> list[int]:
        """The daemons that `ticked` would ask for what they have not begun; unless their results are only unread."""
        crowded = self._crowded.values() if self.tick_needed() else ()
        return [at.daemon for at in crowded if now - at.since > at.window.patience() and not at.recalling]

    def tick_needed(self) -> bool:
        """Whether `ticked` should be called again within `STALL` seconds."""
        return bool(self._crowded) and len(self._daemons) > 1

    def misfit(self, now: float) -> Task | None:
        """A task that waits, and is said to take longer than any daemon that is here has time for."""
        if not self._mortal:
            return None
        left = max(at.until for at in self._daemons.values()) - now
        waiting = (task for task in self.unfinished() if task.state == WAITING)
        return next((task for task in waiting if task.expected and not has_time(task.expected, left)), None)

    def wanted_daemons(self) -> int:
        """How many daemons there must be for every `everywhere` that waits to be given out; 0 where none waits."""
        waiting = (barrier for barrier in self._barriers if not (barrier.given or barrier.is_over()))
        return max((barrier.minimum for barrier in waiting), default=0)

    def is_executing(self, task: Task) -> bool:
        """Whether the task is, as far as the host can know, in evaluation."""
        if task.state != HELD:
            return False
        at = self._daemons.get(task.daemon)
        return at is not None and bool(at.held) and at.held[0] is task

    def unfinished(self) -> list[Task]:
        """Every task without a result, in no order."""
        tasks = [task for at in self._daemons.values() for task in at.held]
        tasks += self._queue.waiting()
        for barrier in self._barriers:
            tasks += (copy for copy in barrier.copies if copy.state == WAITING)
            tasks += barrier.behind.waiting()
        return tasks

    def counts(self) -> Counts:
        """How many tasks wait, are in evaluation, and are done with."""
        executing = sum(1 for at in self._daemons.values() if at.held)
        return Counts(self._arrived - self._completed - executing, executing, self._completed)

    def recalling(self, daemon: int) -> tuple[int, int]:
        """Where a daemon was asked for tasks, has some and did not answer: up to which, how many; else zeros."""
        at = self._daemons.get(daemon)
        return (0, 0) if at is None or not at.recalling or len(at.held) < 2 else (at.recalling, len(at.held) - 1)

    def daemon_counts(self, daemon: int) -> tuple[int, int, Task | None] | None:
        """Tasks assigned, tasks completed, and the one in evaluation; None for a daemon that is not here."""
        at = self._daemons.get(daemon)
        if at is None:
            return None
        return at.completed + len(at.held), at.completed, at.held[0] if at.held else None

    # Decisions

    def _assign(self, now: float) -> Sequence[Action]:
        """Give each idle daemon a task, in order; pass barriers that can be passed."""
        actions: list[Action] = []
        idle, queue = self._idle, self._queue
        while True:
            while idle and queue:
                if self._mortal:
                    if not self._give_fitting(now, actions):
                        break
                elif tasks := queue.take(1):
                    self._give(next(reversed(idle.values())), tasks, actions)
            if not self._barriers:
                break
            queue.drop_cancelled()
            if queue or not self._pass_barrier(actions):
                break
            queue = self._queue
        # Not at every event, as there may be a thousand crowded ones; `ticked` comes soon.
        if idle and self._crowded and not queue and now - self._relieved >= STALL:
            actions += self._relieve(now)
        return actions

    def _refill(self, at: _Daemon, now: float) -> Sequence[Action]:
        """Give a daemon that has just answered its next tasks."""
        waiting = len(self._queue)
        if not waiting:
            return self._assign(now) if self._barriers or (self._crowded and self._idle) else ()
        held, window = at.held, at.window
        if not held:
            window.starved()
        elif held[-1].everywhere or len(held) >= (window.size if window.expected >= EAGER else window.size // 2 + 1):
            return ()
        # Its share, so that none is left idle for what others hold.
        share = -(-waiting // len(self._daemons))
        room = min(window.size - len(held), share)
        tasks = self._take_fitting(at, room, now) if self._mortal else self._queue.take(room)
        actions: list[Action] = []
        if tasks:
            self._give(at, tasks, actions)
        if self._barriers or not tasks:
            actions += self._assign(now)
        return actions

    def _give_fitting(self, now: float, actions: list[Action]) -> bool:
        """Give the first task that an idle daemon has time for, if there is one."""
        passed: list[Task] = []
        tasks: list[Task] = []
        at = None
        while at is None and len(passed) < FAR and (tasks := self._queue.take(1)):
            at = next((idle for idle in reversed(self._idle.values()) if idle.has_time(tasks[0], now)), None)
            if at is None:
                passed += tasks
        for task in passed:
            self._queue.put_back(task)
        if at is None:
            return False
        self._give(at, tasks, actions)
        return True

    def _take_fitting(self, at: _Daemon, room: int, now: float) -> list[Task]:
        """The first tasks that a daemon has time for."""
        passed: list[Task] = []
        tasks: list[Task] = []
        while len(tasks) < room and len(passed) < FAR and (taken := self._queue.take(1)):
            if not at.has_time(taken[0], now):
                passed += taken
            elif taken[0].expected and at.until < inf and (at.held or tasks):
                passed += taken
                break  # when the others are done there may not be enough time any more
            else:
                tasks += taken
        for task in passed:
            self._queue.put_back(task)
        return tasks

    def _give(self, at: _Daemon, tasks: list[Task], actions: list[Action]) -> None:
        held = at.held
        if not held:
            del self._idle[at.daemon]
            self.queued_bytes -= tasks[0].size
        seq, daemon = at.seq, at.daemon
        for task in tasks:
            task.seq = seq = seq + 1
            task.daemon, task.state = daemon, HELD
        at.seq = seq
        held.extend(tasks)
        if len(held) > 1 and not tasks[0].everywhere:
            self._crowded[at.daemon] = at
        actions.append(Send(at.daemon, tasks))

    def _relieve(self, now: float) -> list[Recall]:
        """Daemons are idle and nothing waits: take back what as many others hold too much of."""
        self._relieved = now
        wanted = max(0, len(self._idle) - self._recalls)
        overfull = (
            at for at in self._crowded.values() if not at.recalling and (len(at.held) - 1) * at.window.expected > STALL
        )
        return [self._recall(at) for at in list(itertools.islice(overfull, wanted))]

    def _recall(self, at: _Daemon) -> Recall:
        at.recalling = at.held[-1].seq
        at.window.recalled()
        del self._crowded[at.daemon]
        self._recalls += 1
        return Recall(at.daemon, at.recalling)

    def _take_back(self, tasks: list[Task]) -> None:
        for task in tasks:
            if task.cancelled:
                self.queued_bytes -= task.size
                self._over(task)
            else:
                task.state = WAITING
                self._queue.put_back(task)

    def _pass_barrier(self, actions: list[Action]) -> bool:
        """The queue before the first barrier is empty: go on behind it, if that can be."""
        barrier = self._barriers[0]
        if not barrier.given and not barrier.is_over():
            # What could still come back to the queue belongs before the barrier.
            if len(self._daemons) < barrier.minimum or self._crowded or self._recalls:
                return False
            barrier.given = True
            self._give_copies(barrier, actions)
        if not barrier.is_over():
            return False
        self._barriers.popleft()
        self._queue = barrier.behind
        return True

    def _give_copies(self, barrier: _Barrier, actions: list[Action]) -> None:
        self._setups.append(barrier)
        copies = iter([task for task in barrier.copies if task.state == WAITING])
        for at in self._daemons.values():
            self._give(at, [next(copies, None) or self._hidden(barrier)], actions)
        # Of daemons that have left since.
        actions += [self._lost(task) for task in copies]

    def _hidden(self, barrier: _Barrier) -> Task:
        """A copy that nobody waits for."""
        task = Task(barrier.count, barrier.body, 0, blob=barrier.blob)
        task.everywhere = True  # but not one of those that the caller may want: `barrier` is left out
        self._queued(task)
        return task

    def _copy_unwanted(self, barrier: _Barrier) -> None:
        """The caller has cancelled a copy; the last one that has finished or may do so: the whole."""
        barrier.wanted -= 1
        if not barrier.wanted and barrier in self._setups:
            self._setups.remove(barrier)

    def _queued(self, task: Task) -> None:
        task.state = WAITING
        task.number = self._arrived = self._arrived + 1
        self.queued_bytes += task.size
        if self.queued_bytes > self.peak_bytes:
            self.peak_bytes = self.queued_bytes

    def _retried(self, task: Task) -> bool:
        if not task.retries:
            return False
        task.retries -= 1
        return True

    def _lost(self, task: Task) -> Lost:
        if task.barrier is not None and not task.cancelled:
            task.barrier.wanted -= 1
        self.queued_bytes -= task.size
        self._over(task)
        return Lost(task)

    def _over(self, task: Task) -> None:
        task.state = OVER
        task.body, task.blob = b"", None  # who keeps the future need not keep these
        self._completed += 1


class _Daemon:
    """What the scheduler knows of one daemon."""

    __slots__ = ("completed", "daemon", "held", "recalling", "seq", "since", "until", "window")

    def __init__(self, daemon: int, largest_window: int, until: float = inf) -> None:
        self.daemon = daemon
        self.held: deque[Task] = deque()  # the first one is in evaluation
        self.window = Window(largest_window)
        self.seq = 0  # of the task given last
        self.since = 0.0  # when it answered last: the first of several tasks began then
        self.recalling = 0  # the last task asked back, 0 when none is
        self.completed = 0
        self.until = until

    def has_time(self, task: Task, now: float) -> bool:
        return has_time(task.expected, self.until - now)


class _Queue:
    """Tasks in order of arrival; cancelled ones among them, as it would take long to find them."""

    __slots__ = ("_back", "_new", "append")

    def __init__(self) -> None:
        self._back: list[tuple[int, Task]] = []  # a heap of those put back, all of which arrived before the new ones
        self._new: deque[Task] = deque()
        self.append = self._new.append

    def __len__(self) -> int:
        return len(self._back) + len(self._new)

    def put_back(self, task: Task) -> None:
        """Queue a task that was taken before."""
        heappush(self._back, (task.number, task))

    def take(self, n: int) -> list[Task]:
        """The first `n` tasks, or as many as there are, leaving cancelled ones behind."""
        back, new = self._back, self._new
        tasks: list[Task] = []
        while n and (back or new):
            task = heappop(back)[1] if back else new.popleft()
            if task.state == WAITING:
                tasks.append(task)
                n -= 1
        return tasks

    def drop_cancelled(self) -> None:
        """So that it is empty if no task waits."""
        back, new = self._back, self._new
        while back and back[0][1].state != WAITING:
            heappop(back)
        while new and new[0].state != WAITING:
            new.popleft()

    def waiting(self) -> Iterator[Task]:
        """The tasks, in no order."""
        return (task for task in (*(task for _, task in self._back), *self._new) if task.state == WAITING)


class _Barrier:
    """An `everywhere`: its copies, and what waits behind it."""

    __slots__ = ("behind", "blob", "body", "copies", "count", "given", "minimum", "wanted")

    def __init__(self, copies: list[Task], minimum: int) -> None:
        self.count, self.body, self.blob = copies[0].count, copies[0].body, copies[0].blob
        self.copies = copies  # but for some that are over
        self.minimum = minimum
        self.behind = _Queue()
        self.given = False
        self.wanted = len(copies)  # those that are neither cancelled nor lost

    def is_over(self) -> bool:
        """Whether every copy is finished, lost or cancelled."""
        copies = self.copies
        while copies and copies[-1].state == OVER:
            copies.pop()
        return not copies
