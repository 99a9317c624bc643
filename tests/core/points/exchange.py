"""Every step of the exchange of large data, as a host's program takes it; it is killed on the way, or its daemon is."""

from __future__ import annotations

import gc
import pickle
import time
from typing import TYPE_CHECKING

from mirai import ConnectionReset, launch_local, mirai, share, status, stop_mirai, unresolved
from mirai.private import writable
from mirai.runtime import lending
from mirai.runtime import profile as profiles
from mirai.transport import shared

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from mirai import Mirai

SIZE = 1 << 20
ROOM = 3 * SIZE  # for all of a process's shared memory: a message that is larger goes through the socket
DEADLINE = 30  # seconds; what takes longer hangs


class Large:
    """As an array of NumPy's: its bytes travel beside the pickle."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Large, (pickle.PickleBuffer(self.data),)


def echo(large: Large) -> Large:
    return large


def first(large: Large) -> int:
    return int(large.data[0])


def change(large: Large) -> bytes:
    own = writable(large.data)
    own[:2] = b"ab"
    return bytes(own[:3])


def hold(large: Large | None) -> None:
    global held
    held = large


def finished(m: Mirai[Any]) -> Any:
    """Its value, or `ConnectionReset`; where the only daemon is gone, another one is launched, which lives."""
    deadline = time.monotonic() + DEADLINE
    while unresolved(m):
        assert time.monotonic() < deadline, f"a task that was {m!r} for {DEADLINE} s"
        if not status().connections and not status().launches:
            launch_local(1)
        time.sleep(0.002)
    error = m.exception()
    if error is None:
        return m.result()
    assert isinstance(error, ConnectionReset), error
    return ConnectionReset


def exchange() -> Iterator[Any]:
    """What each step gave, beside what it should give."""
    shared.KEPT, lending.TIDY = 0.01, 0.005  # so that what is not used goes while somebody looks
    # Fresh memory, then memory that was used.
    for i in range(3):
        large = finished(mirai(echo, Large(bytes([i]) * SIZE)))
        yield large if large is ConnectionReset else bytes(large.data), bytes([i]) * SIZE
        if i == 1 and large is not ConnectionReset:
            own = writable(large.data)
            own[:1] = b"x"
            yield bytes(large.data[:1]), b"\1"
            del own
        del large
    # Written to where it arrives; twice, so that the second one sees nothing of the first.
    for _ in range(2):
        yield finished(mirai(change, Large(b"y" * SIZE))), b"aby"
    # Shared by several tasks, and forgotten.
    handle = share(Large(b"z" * SIZE))
    for _ in range(2):
        yield finished(mirai(first, handle)), ord("z")
    del handle
    # Kept by a daemon beyond its task, and let go.
    for value in (Large(b"h" * SIZE), None):
        yield finished(mirai(hold, value)), None
    # Too large for what there is, both ways.
    large = finished(mirai(echo, Large(b"l" * (ROOM + 1))))
    yield large if large is ConnectionReset else bytes(large.data), b"l" * (ROOM + 1)
    del large
    # Cancelled before it began, or while it was evaluated.
    ms = [mirai(first, Large(b"c" * (SIZE // 2 + i))) for i in range(4)]
    stop_mirai(ms[1:])
    yield finished(ms[0]), ord("c")
    del ms
    # Not used for a while: both sides let it go; and it is needed again.
    gc.collect()
    service = profiles.require(None).service
    deadline = time.monotonic() + DEADLINE
    while any(peer.exchange is not None and peer.exchange.in_use for peer in service._online()):
        assert time.monotonic() < deadline, "memory that nobody uses is not let go"
        time.sleep(0.002)
    yield finished(mirai(first, Large(b"q" * SIZE))), ord("q")
