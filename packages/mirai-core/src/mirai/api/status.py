"""status(), info(): what goes on in a compute profile."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from mirai.runtime import profile as profiles


class Info(NamedTuple):
    """Five numbers about a profile."""

    connections: int
    cumulative: int
    awaiting: int
    executing: int
    completed: int


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

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


@dataclass(frozen=True, repr=False)
class Status:
    """What goes on in a profile."""

    connections: int = 0
    url: str | None = None
    mirai: Tasks = field(default_factory=Tasks)
    memory: Memory = field(default_factory=Memory)
    daemons: tuple[DaemonRow, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [
            f"{self.connections} daemons connected at {self.url}" if self.url else "no daemons set",
            "tasks: {awaiting} awaiting, {executing} executing, {completed} completed".format(**asdict(self.mirai)),
        ]
        if self.daemons:
            head = f"{'daemon':>6}  {'online':6}  {'assigned':>8}  {'completed':>9}  {'mirai':15}  {'pid':>7}  host"
            lines.append(head)
        for row in self.daemons:
            online = "yes" if row.online else "no"
            mirai = "" if row.task is None else f"{row.task}{' (stopping)' if row.stopping else ''}"
            counts = f"{row.i:>6}  {online:6}  {row.assigned:>8}  {row.completed:>9}"
            lines.append(f"{counts}  {mirai:15}  {row.pid:>7}  {row.host}")
        return "\n".join(lines)

    __repr__ = __str__  # what a notebook shows


def status(compute: str | None = None) -> Status:
    """What goes on in a profile: zeros where no daemons are set.

    Source: `status()` in R.
    """
    profile = profiles._profiles.get(profiles.current.get() if compute is None else compute)
    if profile is None:
        return Status()
    seen = profile.service.look()
    rows = tuple(
        DaemonRow(
            i=peer.number,
            online=peer.online,
            instance=peer.hello.instance,
            assigned=assigned,
            completed=completed,
            host=peer.hello.host,
            pid=peer.hello.pid,
            since=datetime.fromtimestamp(peer.since).astimezone(),
            task=task.future.id if task is not None and task.future is not None else None,
            stopping=task is not None and task.cancelled,
        )
        for peer, (assigned, completed, task) in seen.daemons
    )
    return Status(
        connections=sum(row.online for row in rows),
        url=profile.service.url,
        mirai=Tasks(*seen.counts),
        memory=Memory(*seen.memory, profile.memory),
        daemons=rows,
    )


def info(compute: str | None = None) -> Info | None:
    """Connections now and ever, and tasks awaiting, executing and completed; None where no daemons are set.

    Source: `info()` in R.
    """
    profile = profiles._profiles.get(profiles.current.get() if compute is None else compute)
    if profile is None:
        return None
    seen = profile.service.look()
    return Info(sum(peer.online for peer, _ in seen.daemons), len(seen.daemons), *seen.counts)
