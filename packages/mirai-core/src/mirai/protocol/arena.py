"""Which bytes of shared memory belong to whom: decided here, by numbers, without touching any.

An *arena* is the shared memory that one process writes and others read. It consists of *segments*, each of which a
reader maps once. A *block* is a part of a segment that holds one body; it is taken for as long as anybody refers to it.
Segments are kept and used again, as it is fresh memory that costs: the first fit is taken, so that what was used last
is used next.
"""

from __future__ import annotations

from bisect import bisect_left
from math import inf

from mirai.protocol.wire import BLOCK, FrameError

TYPE_CHECKING = False  # not from typing, whose import is a good part of a daemon's start
if TYPE_CHECKING:
    from typing import Any

    from mirai.protocol.scheduler import Blob
    from mirai.protocol.wire import Buffer

PAGE = 4096  # bytes, to which blocks are aligned: no two share a page, which a reader may have mapped
SEGMENT = 64 << 20  # bytes of a segment, at least; only what was written to takes memory


class Space:
    """The segments of an arena, and what is free in them. Places are pairs of a segment's number and an offset."""

    def __init__(self, limit: float = inf, *, segment: int = SEGMENT) -> None:
        """`limit`: bytes of all segments together; `segment`: of one, at least, where the limit allows it."""
        self.limit = limit
        self.total = 0  # bytes of all segments
        self._segment = segment
        self._segments: dict[int, _Gaps] = {}
        self._numbers = 0

    def take(self, size: int, now: float) -> tuple[int, int] | None:
        """A place for `size` bytes, in a new segment if need be; None where the limit does not allow that."""
        size = -(-max(size, 1) // PAGE) * PAGE
        for number, gaps in self._segments.items():
            start = gaps.take(size, now)
            if start is not None:
                return number, start
        # Each as large as all before together, so that there are few of them.
        fitting = min(max(self._segment, size, self.total), self.limit - self.total)
        if fitting < size:
            return None
        self._numbers += 1
        gaps = self._segments[self._numbers] = _Gaps(int(fitting) // PAGE * PAGE, now)
        self.total += gaps.size
        start = gaps.take(size, now)
        assert start is not None
        return self._numbers, start

    def give_back(self, number: int, start: int, now: float) -> None:
        """Nobody refers to the block there any more."""
        self._segments[number].give_back(start, now)

    def size(self, number: int) -> int:
        """Bytes of a segment."""
        return self._segments[number].size

    def unused(self, since: float) -> list[int]:
        """The segments in which nothing is taken, nor was since then."""
        return [number for number, gaps in self._segments.items() if not gaps.taken and gaps.used <= since]

    def drop(self, number: int) -> None:
        """Forget a segment in which nothing is taken."""
        self.total -= self._segments.pop(number).size


class _Gaps:
    """One segment. An exception of a signal handler's, at any point, may lose a gap, never give it to two."""

    __slots__ = ("_gaps", "size", "taken", "used")

    def __init__(self, size: int, now: float) -> None:
        self.size = size
        self.taken: dict[int, int] = {}  # sizes of blocks, by where they start
        self.used = now  # when something was taken or given back last
        self._gaps = [(0, size)]  # where they start, and their sizes; in order

    def take(self, size: int, now: float) -> int | None:
        for i, (start, gap) in enumerate(self._gaps):
            if gap >= size:
                self._gaps[i : i + 1] = [(start + size, gap - size)] if gap > size else []
                self.taken[start] = size
                self.used = now
                return start
        return None

    def give_back(self, start: int, now: float) -> None:
        gaps = self._gaps
        end = start + self.taken.pop(start)
        self.used = now
        first = last = bisect_left(gaps, (start,))
        if last < len(gaps) and gaps[last][0] == end:
            end += gaps[last][1]
            last += 1
        if first and sum(gaps[first - 1]) == start:
            first -= 1
            start = gaps[first][0]
        gaps[first:last] = [(start, end - start)]


class Block:
    """A body in shared memory, there for as long as this, or anything made from `view`, lives."""

    __slots__ = ("blobs", "segment", "start", "view")

    def __init__(self, segment: Any, start: int, view: memoryview) -> None:
        """`segment` is whatever the arena knows it by."""
        self.segment = segment
        self.start = start
        self.view = view
        self.blobs: list[Blob] = []  # what the body needs, see `shares`

    def __len__(self) -> int:
        return len(self.view)


def lease_of(body: Buffer) -> tuple[int, int, int, int]:
    """Of the body of a frame with the flag `SHARED`: the number of the lease, the segment, where it begins, its size.

    Raises:
        FrameError: it is none.
    """
    if len(body) != BLOCK.size:
        raise FrameError(f"a frame names a block in {len(body)} bytes, not in {BLOCK.size}")
    lease, segment, start, size = BLOCK.unpack(body)
    return lease, segment, start, size
