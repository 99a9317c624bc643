"""Jobs on a scheduler: what became of each, asked once for all of them, seldom; and how they are ended."""

from __future__ import annotations

import logging
import threading
import time
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

FIRST, LONGEST = 1.0, 15.0  # seconds between two questions: while jobs change, and when nothing happens
GRACE = 2.0  # seconds that a daemon has to leave by itself, before its job is ended
MORE = 0.2  # seconds to wait whether other tasks of an array are to be ended with one
MISSED = 2  # how often a scheduler must not know a job before it is believed

_log = logging.getLogger("mirai")


class Phase(Enum):
    """How far a job is."""

    WAITING = "waiting"
    RUNNING = "running"
    HELD = "held"  # until somebody or something releases it
    STUCK = "stuck"  # it will not begin, unless somebody does something about it
    ENDED = "ended"


class Said(NamedTuple):
    """What a scheduler says of one job.

    Attributes:
        words: its own words, such as "PENDING (Resources)".
        status: the exit status.
        log: the file that its output goes to, where that is not ours.
    """

    phase: Phase
    words: str
    status: int | None = None
    log: str | None = None


class Scheduler(Protocol):
    """What is asked, and ordered."""

    name: ClassVar[str]

    def ask(self, arrays: Sequence[Array]) -> Mapping[str, Said]:
        """What it knows of the tasks of these arrays that have not ended, by their ids.

        Raises:
            OSError: it cannot be asked.
        """
        ...

    def look_up(self, array: Array) -> Mapping[str, Said]:
        """What became of the tasks of an array that `ask` does not know any more; nothing where nobody knows."""
        ...

    def end(self, tasks: Sequence[str]) -> None:
        """Take what waits from the queue, and end what runs.

        Raises:
            OSError: it cannot be asked to, or some of them cannot be ended.
        """
        ...


class Logs(Protocol):
    """Where jobs write what they print."""

    def end_of_log(self, number: int, path: str | None) -> str:
        """What a task said last, as an error quotes it."""
        ...

    def clear(self, *, keep_logs: bool) -> None:
        """Remove what is not needed any more."""
        ...


def next_pause(pause: float, *, changed: bool) -> float:
    """How long to wait until the scheduler is asked again, having waited for `pause`."""
    return FIRST if changed else min(pause * 1.5, LONGEST)


class Keeper:
    """Asks one scheduler about all jobs that were launched on it."""

    def __init__(self, scheduler: Scheduler, clock: Callable[[], float] = time.monotonic) -> None:
        self._scheduler, self._clock = scheduler, clock
        self._lock = threading.Lock()
        self._asking = threading.Lock()
        self._arrays: list[Array] = []
        self._trouble = ""
        self._pause, self._due = FIRST, inf

    def add(self, array: Array) -> None:
        with self._lock:
            self._arrays.append(array)
            self._pause = FIRST
            self._due = min(self._due, self._clock() + FIRST)

    def drop(self, array: Array) -> None:
        with self._lock:
            self._arrays.remove(array)

    @property
    def trouble(self) -> str:
        """Why it could not be asked the last time."""
        return self._trouble

    def ask(self, *, now: bool = False) -> None:
        """Ask, if it is time to, or `now`. Whoever comes while another thread asks takes what is known."""
        if not self._asking.acquire(blocking=now):
            return
        try:
            if now or self._clock() >= self._due:
                self._ask()
        finally:
            self._asking.release()

    def end(self, array: Array, tasks: Sequence[str]) -> None:
        """End jobs: at once those that wait; those that run are left a moment to leave by themselves."""
        self.ask(now=True)
        self._end([task for task in tasks if array.phase(task) not in (Phase.RUNNING, Phase.ENDED)])
        deadline, pause = self._clock() + GRACE, 0.1
        while (left := [task for task in tasks if array.phase(task) is Phase.RUNNING]) and self._clock() < deadline:
            time.sleep(pause)
            pause *= 2
            self.ask(now=True)
        self._end(left)

    def _end(self, tasks: Sequence[str]) -> None:
        if not tasks:
            return
        try:
            self._scheduler.end(tasks)
        except OSError as error:
            # Not raised: there are others to end.
            _log.warning("%s could not end the jobs %s: %s", self._scheduler.name, ", ".join(tasks), error)

    def _ask(self) -> None:
        with self._lock:
            arrays = [array for array in self._arrays if array.open()]
        if not arrays:
            return
        try:
            answers = dict(self._scheduler.ask(arrays))
            for array in arrays:
                if any(task not in answers for task in array.open()):
                    answers = {**self._scheduler.look_up(array), **answers}
        except Exception as error:
            # The command failed, or what it printed is not what its manual says. The jobs may be well.
            self._trouble = str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
            self._due = self._clock() + LONGEST
            return
        self._trouble = ""
        news = [array.heard(task, answers.get(task)) for array in arrays for task in array.open()]
        with self._lock:
            self._pause = next_pause(self._pause, changed=any(news))
            self._due = self._clock() + self._pause


class Array:
    """The jobs of one submission, a task for each daemon."""

    def __init__(
        self, keeper: Keeper, scheduler: Scheduler, job: str, tasks: Sequence[str], spool: Logs, *, hold: bool = False
    ) -> None:
        """They were submitted as `job`; `tasks` are the ids of each. `hold`: so that they are held for a while."""
        self.job, self.tasks, self.spool, self.hold = job, tuple(tasks), spool, hold
        self.keeper, self.scheduler = keeper, scheduler
        self._lock = threading.Lock()
        self._ending = threading.Lock()
        self._doomed: list[str] = []
        self._ended: set[str] = set()
        self._timer: threading.Timer | None = None
        self._said: dict[str, Said] = {}
        self._missed: dict[str, int] = {}
        keeper.add(self)

    def open(self) -> list[str]:
        """The tasks that may still change."""
        return [task for task in self.tasks if self.phase(task) is not Phase.ENDED]

    def phase(self, task: str) -> Phase | None:
        return self._said[task].phase if task in self._said else None

    def said(self, task: str) -> Said | None:
        """What the scheduler said last, having been asked if it is time to."""
        self.keeper.ask()
        return self._said.get(task)

    def heard(self, task: str, said: Said | None) -> bool:
        """Note what was said of a task; whether that is news."""
        if said is None:
            missed = self._missed[task] = self._missed.get(task, 0) + 1
            if missed < MISSED:
                return True
            said = Said(Phase.ENDED, "is not known to the scheduler any more")
        else:
            self._missed.pop(task, None)
        news = self.phase(task) is not said.phase
        self._said[task] = said
        return news

    def cancel(self, task: str) -> None:
        with self._lock:
            if task in self._doomed:
                return
            self._doomed.append(task)
            if len(self._doomed) < len(self.tasks):
                # A scheduler's commands are slow: one for all that are cancelled together.
                if self._timer is None:
                    self._timer = threading.Timer(MORE, self._end)
                    try:
                        self._timer.start()
                    except RuntimeError:
                        self._timer = None  # the interpreter ends, and starts no more threads
                if self._timer:
                    return
            elif self._timer:
                self._timer.cancel()
        self._end()

    def _end(self) -> None:
        with self._ending:
            with self._lock:
                self._timer = None
                tasks = [task for task in self._doomed if task not in self._ended]
            if not tasks:
                return
            self.keeper.end(self, tasks)
            self._ended.update(tasks)
            if len(self._ended) == len(self.tasks):
                self.spool.clear(keep_logs=any(said.status for said in self._said.values()))
                self.keeper.drop(self)


class Job:
    """One daemon's job: a `mirai.hookspecs.Launch`."""

    def __init__(self, array: Array, number: int) -> None:
        """The task of that number, from 1."""
        self._array, self._number = array, number

    @property
    def id(self) -> str:
        return self._array.tasks[self._number - 1]

    def state(self) -> str:
        said = self._array.said(self.id)
        trouble = self._array.keeper.trouble
        return "; ".join(filter(None, (said.words if said else "", trouble)))

    def failure(self) -> str | None:
        said = self._array.said(self.id)
        if said is None or said.phase in (Phase.WAITING, Phase.RUNNING):
            return None
        if said.phase is Phase.HELD and self._array.hold:
            return None
        what = f"{self._array.scheduler.name} job {self.id}: {said.words}"
        if said.phase is not Phase.ENDED:
            return f"{what}: it will not begin by itself; see to that, or cancel it and launch anew"
        return what + self._array.spool.end_of_log(self._number, said.log) + _advice(said.status)

    def cancel(self) -> None:
        self._array.cancel(self.id)


def _advice(status: int | None) -> str:
    if status in (126, 127):
        return "\nno such Python where the job ran: set python= to one that is there"
    return ""
