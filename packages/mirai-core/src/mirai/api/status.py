"""status(), info(): what goes on in a compute profile."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from mirai.api import table
from mirai.runtime import profile as profiles

DAEMONS = ("daemon", "online", "assigned", "completed", "mirai", "pid", "host")
LAUNCHES = ("daemon", "launch", "launcher", "id", "reason")


class Info(NamedTuple):
    """Five numbers about a profile."""

    connections: int
    cumulative: int
    awaiting: int
    executing: int
    completed: int

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return table.as_html(self._fields, [self])


@dataclass(frozen=True)
class Tasks:
    """How many tasks wait, are in evaluation, are done with."""

    awaiting: int = 0
    executing: int = 0
    completed: int = 0


@dataclass(frozen=True)
class Memory:
    """Bytes of queued payloads; `limit` is the budget, None where there is none."""

    current: int = 0
    peak: int = 0
    limit: int | None = None


@dataclass(frozen=True)
class DaemonRow:
    """One daemon; the row outlives it."""

    i: int
    online: bool
    instance: str
    assigned: int
    completed: int
    host: str
    pid: int
    since: datetime
    task: int | None  # the id of the mirai in hand
    stopping: bool  # that mirai is resolved (cancelled, timed out), but its task goes on and keeps the daemon busy
    silent: float = (
        0.0  # seconds without a word from it, though its machine is there: its task lets no other thread run
    )

    def to_dict(self) -> dict[str, Any]:
        """As plain values, which JSON can say."""
        return asdict(self, dict_factory=_plain)


@dataclass(frozen=True)
class LaunchRow:
    """One daemon that a launcher started, or is about to."""

    i: int  # as the daemon's row has it
    launcher: str
    id: str  # where it was started: a process id, a job id
    state: str  # "submitted", "connected", "failed", "ended"
    reason: str  # what its keeper says of it, why it failed, how it ended
    since: datetime  # when it came to be in this state

    def to_dict(self) -> dict[str, Any]:
        """As plain values, which JSON can say."""
        return asdict(self, dict_factory=_plain)


@dataclass(frozen=True, repr=False)
class Status:
    """What goes on in a profile."""

    connections: int = 0
    url: str | tuple[str, ...] | None = None  # several where it listens at several
    mirai: Tasks = field(default_factory=Tasks)
    memory: Memory = field(default_factory=Memory)
    daemons: tuple[DaemonRow, ...] = ()
    launches: tuple[LaunchRow, ...] = ()
    refused: int = 0  # connections that were turned away, and daemons that were cut off as they broke the protocol
    sync: bool = False  # tasks are evaluated in this process, at the call

    def to_dict(self) -> dict[str, Any]:
        """As plain values, which JSON can say."""
        return asdict(self, dict_factory=_plain)

    def __str__(self) -> str:
        lines = self._summary()
        for head, rows, left in self._tables():
            lines += table.text(head, rows, left)
        return "\n".join(lines + self._warnings())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        tables = [table.as_html(*each) for each in self._tables()]
        return "".join([*map(table.line, self._summary()), *tables, *map(table.line, self._warnings())])

    def _summary(self) -> list[str]:
        at = self.url if isinstance(self.url, str) else ", ".join(self.url or ())
        if self.sync:
            who = "no daemons: each task is evaluated in this process, at the call (sync=True)"
        elif at:
            who = f"{self.connections} {'daemon' if self.connections == 1 else 'daemons'} connected at {at}"
        else:
            who = "no daemons set"
        return [
            who,
            "tasks: {awaiting} awaiting, {executing} executing, {completed} completed".format(**asdict(self.mirai)),
        ]

    def _tables(self) -> list[tuple[tuple[str, ...], list[tuple[object, ...]], str]]:
        """Those of daemons and launches, as far as there are any; and which of their columns are flush left."""
        daemons: list[tuple[object, ...]] = [
            (
                row.i,
                "yes" if row.online else "no",
                row.assigned,
                row.completed,
                _in_hand(row),
                row.pid,
                row.host,
            )
            for row in self.daemons
        ]
        launches: list[tuple[object, ...]] = [
            (launch.i, launch.state, launch.launcher, launch.id, launch.reason) for launch in self.launches
        ]
        tables = [(DAEMONS, daemons, "online mirai host"), (LAUNCHES, launches, "launch launcher reason")]
        return [each for each in tables if each[1]]

    def _warnings(self) -> list[str]:
        were = "connection was" if self.refused == 1 else "connections were"
        return [f"{self.refused} {were} refused: the log (mirai) says why"] if self.refused else []


def _in_hand(row: DaemonRow) -> str:
    how = " (stopping)" if row.stopping else " (silent)" if row.silent else ""
    return "" if row.task is None else f"{row.task}{how}"


def status(compute: str | None = None) -> Status:
    """What goes on in a profile: zeros where no daemons are set.

    Source: `status()` in R.
    """
    profile = profiles.get(compute)
    if profile is None:
        return Status()
    seen = profile.service.look()
    rows = tuple(
        DaemonRow(
            i=peer.row,
            online=peer.online,
            instance=peer.hello.instance,
            assigned=assigned,
            completed=completed,
            host=peer.hello.host,
            pid=peer.hello.pid,
            since=datetime.fromtimestamp(peer.since).astimezone(),
            task=task.future.id if task is not None and task.future is not None else None,
            stopping=task is not None and task.cancelled,
            silent=peer.silent,
        )
        for peer, (assigned, completed, task) in sorted(seen.daemons, key=lambda seen: seen[0].row)
    )
    return Status(
        connections=sum(row.online for row in rows),
        url=profile.service.urls if len(profile.service.urls) > 1 else profile.service.url,
        mirai=Tasks(*seen.counts),
        memory=Memory(*seen.memory, profile.memory),
        daemons=rows,
        launches=tuple(
            LaunchRow(
                i=launch.row,
                launcher=launch.launcher,
                id=launch.id,
                state=launch.state,
                reason=launch.reason,
                since=datetime.fromtimestamp(launch.since).astimezone(),
            )
            for launch in seen.launches
        ),
        refused=seen.refused,
        sync=profile.service.immediate,
    )


def info(compute: str | None = None) -> Info | None:
    """Connections now and ever, and tasks awaiting, executing and completed; None where no daemons are set.

    Source: `info()` in R.
    """
    profile = profiles.get(compute)
    if profile is None:
        return None
    seen = profile.service.look()
    return Info(sum(peer.online for peer, _ in seen.daemons), seen.joined, *seen.counts)


def _plain(values: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values}
