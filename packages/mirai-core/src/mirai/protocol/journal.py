"""What is noted of a map while its tasks are evaluated: 12 bytes for each, and as many for each answer of a daemon.

An answer may be that of many short tasks. When each of them began is worked out only where somebody asks.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from math import inf
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mirai.protocol.scheduler import Task

UNKNOWN = 0xFFFFFFFF / 1e6  # seconds: a frame says no longer durations


class Work:
    """What one daemon has had to do since it joined.

    Attributes:
        row: its number for users.
        joined: when.
        left: when it did; inf while it is here.
        since: from when on it has had something to do that is not accounted for yet; 0 where it has nothing.
        busy: seconds that it had something to do.
        computed: seconds of these that it evaluated.
    """

    __slots__ = ("busy", "computed", "joined", "left", "row", "since")

    def __init__(self, row: int, now: float) -> None:
        self.row = row
        self.joined = now
        self.left = inf
        self.since = self.busy = self.computed = 0.0

    def given(self, now: float) -> None:
        """It had nothing, and has something now."""
        self.since = now

    def answered(
        self, tasks: Sequence[Task], results: Sequence[tuple[int, float]], now: float, *, is_idle: bool
    ) -> None:
        """It has finished tasks, with durations as `Scheduler.results_arrived` takes them."""
        busy = now - self.since if self.since else 0.0
        if len(tasks) == 1 and tasks[0].journal is None and results[0][1] < UNKNOWN:
            computed = results[0][1]
        else:
            computed = self._noted(tasks, [elapsed for _, elapsed in results], now, busy)
        self.busy += busy
        self.computed += computed
        self.since = 0.0 if is_idle else now

    def _noted(self, tasks: Sequence[Task], durations: list[float], now: float, busy: float) -> float:
        """Tell each map of its tasks; the seconds that all of them took."""
        computed = sum(durations)
        if computed >= UNKNOWN:
            durations = [busy if elapsed >= UNKNOWN else elapsed for elapsed in durations]
            computed = sum(durations)
        journals = [task.journal for task in tasks]
        journal = journals[0]
        if journals.count(journal) == len(journals):
            if journal is not None:
                journal.answered(self, tasks, durations, now, busy, computed)
            return computed
        first = 0
        while first < len(journals):  # of several maps, or of one and none
            journal = journals[first]
            end = next((i for i in range(first, len(journals)) if journals[i] is not journal), len(journals))
            if journal is not None:
                journal.answered(self, tasks[first:end], durations[first:end], now, busy, computed)
            first = end
        return computed

    def until(self, now: float) -> tuple[float, float]:
        """For how many seconds it was busy until now, and evaluated, which it may still do."""
        going_on = now - self.since if self.since else 0.0
        return self.busy + going_on, self.computed + going_on

    def given_back(self, now: float) -> None:
        """What it held goes to others: it has nothing any more."""
        if self.since:
            self.busy += now - self.since
            self.since = 0.0

    def lost(self, task: Task, now: float) -> None:
        """It has left with a task in evaluation."""
        self.answered([task], [(0, now - self.since if self.since else 0.0)], now, is_idle=True)


class Part:
    """What a daemon did from the beginning of a map until its last answer to it.

    Attributes:
        own: seconds that it evaluated tasks of the map.
        busy: seconds that it had something to do.
        computed: seconds of these that it evaluated, whatever it was.
    """

    __slots__ = ("_before", "busy", "computed", "own")

    def __init__(self, busy_before: float, computed_before: float) -> None:
        self._before = busy_before, computed_before
        self.own = self.busy = self.computed = 0.0

    def answered(self, own: float, busy: float, computed: float) -> None:
        """So long it has evaluated the map's tasks; so long it has, all in all, been busy and evaluated."""
        self.own += own
        self.busy, self.computed = busy - self._before[0], computed - self._before[1]


class Done(NamedTuple):
    """One task that is over; times are seconds since the map began to be submitted."""

    place: int  # in the map
    row: int  # of its daemon
    submitted: float
    began: float
    ended: float


class Journal:
    """That of one map.

    Attributes:
        begun: when it began to be submitted.
        ended: when the last answer came.
        submitting: seconds that it took to submit it.
        size: bytes of its elements; those of numbers and short texts are not counted.
        daemons: how many were connected when all was submitted.
        is_local: whether these were started on this machine.
        parts: what each daemon did.
    """

    def __init__(self, now: float, works: Iterable[Work] = ()) -> None:
        """`works`: those of the daemons that are here."""
        self.begun = self.ended = now
        self._before = {work: work.until(now) for work in works}
        self.submitting = 0.0
        self.size = self.daemons = 0
        self.is_local = False
        self.parts: dict[Work, Part] = {}
        self._ids = array("Q")  # of mirais, in the order of answers
        self._durations = array("f")  # in that order, too
        self._answers = array("f")  # three for each: seconds since `begun`, row, number of tasks
        self._submissions = array("d")  # two for each: the number of tasks by then, seconds since `begun`

    def submitted(self, tasks: int, now: float) -> None:
        """So many are, or will be at once."""
        self.submitting = now - self.begun
        self._submissions.extend((tasks, self.submitting))

    def answered(
        self, work: Work, tasks: Sequence[Task], durations: list[float], now: float, busy: float, computed: float
    ) -> None:
        """A daemon has finished tasks. Since its last answer it was busy, and evaluated, for so many seconds."""
        part = self.parts.get(work)
        if part is None:
            # One that has joined meanwhile has had nothing else to do.
            part = self.parts[work] = Part(*self._before.get(work, (0.0, 0.0)))
        part.answered(sum(durations), work.busy + busy, work.computed + computed)
        self._ids.fromlist([task.future.id for task in tasks])  # twice as fast as extend()
        self._durations.fromlist(durations)
        self._answers.extend((now - self.begun, work.row, len(tasks)))
        self.ended = now

    def history(self, ids: Sequence[int]) -> list[Done]:
        """Each task that is over, by daemon and time. `ids`: those of the map's mirais, in their order.

        It may be called while answers come. Of one it is known when it came, and how long each of its tasks took. A
        daemon evaluates one after the other: each ends, at the latest, when the next one begins.
        """
        answers = self._answers[:]  # first, since it is what is noted last
        end = int(sum(answers[2::3]))
        places = [bisect_left(ids, number) for number in self._ids[:end]]
        submissions = self._submissions
        counts, times = submissions[::2], submissions[1::2]
        done: list[Done] = []
        following: dict[int, float] = {}  # when the next task of a row began
        for i in range(len(answers) - 3, -1, -3):
            at, row, n = answers[i], int(answers[i + 1]), int(answers[i + 2])
            ended = min(at, following.get(row, inf))
            for k in range(end - 1, end - n - 1, -1):
                began = ended - self._durations[k]
                submitted = times[bisect_left(counts, places[k] + 1)] if len(times) else 0.0
                done.append(Done(places[k], row, submitted, began, ended))
                ended = began
            following[row] = ended
            end -= n
        return sorted(done, key=lambda task: (task.row, task.began))
