"""What goes on in a dispatcher, as `status()` and `mirai top` are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from mirai.protocol.scheduler import Counts, Task
    from mirai.runtime.launches import Tracked
    from mirai.runtime.peer import Peer


class Seen(NamedTuple):
    """What goes on in a dispatcher, at one moment."""

    counts: Counts
    memory: tuple[int, int]  # bytes queued, and at most ever
    daemons: list[tuple[Peer, tuple[int, int, Task | None]]]  # tasks assigned, completed, and the one in hand
    joined: int  # daemons, ever
    refused: int  # connections that were refused or cut off
    launches: list[Tracked]
