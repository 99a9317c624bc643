"""MiraiMap.report(): where the time of a map went, and the one thing to do about it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mirai.api import table
from mirai.protocol.advice import Figures, advice, seconds
from mirai.runtime import profile as profiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mirai.api.future import Mirai
    from mirai.protocol.journal import Done, Journal, Work

TIMES = ("queue wait", "transfer", "compute", "idle")
TINY = 1e-6  # seconds: what is left of sums that are the same but for rounding


@dataclass(frozen=True)
class ReportRow:
    """What one daemon did for a map; times are seconds, which but for `queue_wait` add up to the time it was there."""

    i: int  # as `status()` has it; 0: this process
    tasks: int  # that it finished, or was lost with
    failures: int  # of these
    queue_wait: float  # of a task, on average, from its submission until it began
    transfer: float  # it had tasks or their results were on their way, and did not evaluate
    compute: float  # it evaluated
    idle: float  # it had nothing to do
    other: float  # it evaluated tasks that are not of the map

    def to_dict(self) -> dict[str, Any]:
        """As plain values, which JSON can say."""
        return asdict(self)


@dataclass(frozen=True, repr=False)
class Report:
    """Where the time of a map went."""

    tasks: int
    done: int  # of these: values, errors and those that were cancelled
    failures: int  # of these: all but the values
    wall: float  # seconds from the first submission to the last answer
    rows: tuple[ReportRow, ...]  # of the daemons that had any of its tasks
    unused: int  # daemons that had none
    advice: str

    def to_dict(self) -> dict[str, Any]:
        """As plain values, which JSON can say."""
        return asdict(self)

    def __str__(self) -> str:
        return "\n".join([self._title(), *table.text(*self._table()), *self._unused(), self.advice])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        below = map(table.line, [*self._unused(), self.advice])
        return "".join([table.line(self._title()), table.as_html(*self._table()), *below])

    def _title(self) -> str:
        failed = f", {self.failures} failed" if self.failures else ""
        return f"{self.done} of {self.tasks} tasks done{failed}, in {seconds(self.wall)}"

    def _unused(self) -> list[str]:
        if not self.unused:
            return []
        return [f"{self.unused} more {'daemon' if self.unused == 1 else 'daemons'} had none of its tasks"]

    def _table(self) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        had_others = any(row.other for row in self.rows)
        times = [_times(row, had_others) for row in self.rows]
        rows: list[tuple[object, ...]] = [
            (row.i or "here", row.tasks, *map(seconds, its), row.failures)
            for row, its in zip(self.rows, times, strict=True)
        ]
        if len(rows) > 1:
            tasks = sum(row.tasks for row in self.rows)
            wait = sum(row.queue_wait * row.tasks for row in self.rows) / max(1, tasks)
            _, *sums = (sum(column) for column in zip(*times, strict=True))
            rows.append(("all", tasks, *map(seconds, (wait, *sums)), sum(row.failures for row in self.rows)))
        return ("daemon", "tasks", *TIMES, *(["other"] if had_others else []), "failures"), rows


def _times(row: ReportRow, had_others: bool) -> tuple[float, ...]:
    times = row.queue_wait, row.transfer, row.compute, row.idle
    return (*times, row.other) if had_others else times


def report(mirais: Sequence[Mirai[Any]], journal: Journal, keys: Sequence[Any] | None) -> Report:
    """That of a map, as far as it is."""
    names = range(len(mirais)) if keys is None else keys
    history = journal.history([m.id for m in mirais])
    done = [m.done() for m in mirais]
    failed = [is_done and m.failed() for m, is_done in zip(mirais, done, strict=True)]
    of_row: dict[int, list[Done]] = defaultdict(list)
    for task in history:
        of_row[task.row].append(task)
    works: dict[int, list[Work]] = defaultdict(list)
    for work in list(journal.parts):  # others may be added meanwhile
        works[work.row].append(work)
    rows = tuple(_row(i, of_row[i], works[i], journal, failed) for i in sorted(works))
    wall = journal.ended - journal.begun
    unused = max(0, journal.daemons - len(rows))
    longest = max(history, key=lambda task: task.ended - task.began, default=None)
    figures = Figures(
        tasks=len(mirais),
        done=sum(done),
        noted=len(history),
        failed=sum(failed),
        first_failed=failed.index(True) if any(failed) else 0,
        daemons=max(1, len(rows) + unused),
        wall=wall,
        submitting=journal.submitting,
        wait=sum(row.queue_wait * row.tasks for row in rows) / max(1, len(history)),
        compute=sum(row.compute for row in rows),
        transfer=sum(row.transfer for row in rows),
        idle=sum(row.idle for row in rows) + unused * wall,
        other=sum(row.other for row in rows),
        longest=0.0 if longest is None else longest.ended - longest.began,
        longest_at=None if longest is None else names[longest.place],
        size=journal.size / max(1, len(mirais)),
        cores=profiles.cores() if journal.is_local else None,
    )
    return Report(len(mirais), sum(done), sum(failed), wall, rows, unused, advice(figures))


def _row(i: int, tasks: Sequence[Done], works: Sequence[Work], journal: Journal, failed: Sequence[bool]) -> ReportRow:
    parts = [journal.parts[work] for work in works]
    compute = sum(part.own for part in parts)
    busy, computed = sum(part.busy for part in parts), sum(part.computed for part in parts)
    there = sum(min(journal.ended, work.left) - max(journal.begun, work.joined) for work in works)
    return ReportRow(
        i=i,
        tasks=len(tasks),
        failures=sum(failed[task.place] for task in tasks),
        queue_wait=sum(max(0.0, task.began - task.submitted) for task in tasks) / max(1, len(tasks)),
        compute=compute,
        transfer=max(0.0, busy - computed),
        idle=max(0.0, there - busy),
        other=computed - compute if computed - compute > TINY else 0.0,
    )
