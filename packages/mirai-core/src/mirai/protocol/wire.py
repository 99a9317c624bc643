"""Frames to bytes and back: the one place that knows the header.

A frame is a header of 24 bytes, little-endian, and a body:

    offset  size  field
    0       1     kind: `messages.Kind`
    1       1     flags: by kind
    2       2     count: how many out-of-band buffers the body holds
    4       4     aux: by kind
    8       8     seq: by kind
    16      8     size of the body in bytes

The body of a frame with buffers is the size of each (8 bytes a buffer), the pickle, then the buffers,
each starting at a multiple of 64.

With the flag `SHARED` (of TASK, BLOB and RESULT) the body is in shared memory, laid out in the same way, and what
stands in its place says where, in 32 bytes: the number of the lease, of the segment, the offset in it, the size. The
reader maps it, and says FREE, with the number of the lease, once none of its objects refers to it any more.
"""

from __future__ import annotations

import struct

from mirai.protocol.messages import Kind

TYPE_CHECKING = False  # not from typing, whose import is a good part of a daemon's start
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeAlias

    from mirai.protocol.arena import Block

Buffer: TypeAlias = "bytes | bytearray | memoryview"
Body: TypeAlias = "bytes | list[Buffer] | Block"  # a list is written one after the other, without joining
Frame: TypeAlias = "tuple[int, int, int, int, int, Buffer]"  # kind, flags, count, aux, seq, body

HEADER = struct.Struct("<BBHIQQ")
HEADER_SIZE = HEADER.size
SHARED = 0x80  # a flag: the body is in shared memory
BLOCK = struct.Struct("<QQQQ")  # a body that is there
LARGE = 1 << 19  # bytes of a body from which on it is read-only, so that it makes no difference how it came
CHUNK = 65536  # what is read at once; `recv` of more pays for fresh memory at every call
FIRST_CHUNK = 4096  # until once there is more: most connections have nothing but short frames, now and then
ALIGNMENT = 64
MOST_BUFFERS = 0xFFFF  # of one frame: the header has two bytes for their count

_LAST_KIND = Kind.TRIM
_TLS = (21, 22)  # what its records begin with that come first: alert, handshake (RFC 8446, 5.1)


class FrameError(ValueError):
    """Bytes from a peer that are no frame of ours: its connection is closed, and no user sees this."""


def encode(kind: int, body: Buffer = b"", *, flags: int = 0, count: int = 0, aux: int = 0, seq: int = 0) -> bytes:
    """One whole frame with a small body."""
    return HEADER.pack(kind, flags, count, aux, seq, len(body)) + body


def body_size(body: Body) -> int:
    """The bytes that a body takes on the wire."""
    return sum(map(len, body)) if isinstance(body, list) else len(body)


def pieces(body: Body | Buffer) -> list[Buffer]:
    """What to write for it, one after the other."""
    if isinstance(body, list):
        return body
    return [body] if isinstance(body, bytes | bytearray | memoryview) else [body.view]


def with_buffers(pickled: Sequence[Buffer], buffers: Sequence[memoryview]) -> list[Buffer]:
    """The body of a frame that carries `buffers` (flat, of bytes) beside a pickle, which may be in pieces."""
    parts: list[Buffer] = [struct.pack(f"<{len(buffers)}Q", *map(len, buffers)), *pickled]
    at = sum(map(len, parts))
    for buffer in buffers:
        padding = -at % ALIGNMENT
        parts += (bytes(padding), buffer)
        at += padding + len(buffer)
    return parts


def split_buffers(count: int, body: Buffer) -> tuple[memoryview, list[memoryview]]:
    """The pickle and the buffers of such a body, as views into it.

    Raises:
        FrameError: the sizes do not fit the body.
    """
    view = memoryview(body)
    if 8 * count > len(view):
        raise FrameError(f"a body of {len(view)} bytes cannot hold {count} buffers")
    sizes = struct.unpack_from(f"<{count}Q", view)
    buffers: list[memoryview] = []
    end = len(view)
    # From the end, as what stands before each buffer is padded to a multiple that depends on the pickle.
    for size in reversed(sizes):
        start = (end - size) // ALIGNMENT * ALIGNMENT
        if start < 8 * count or start + size > end:
            raise FrameError(f"a body of {len(view)} bytes cannot hold buffers of {sizes} bytes")
        buffers.append(view[start : start + size])
        end = start
    return view[8 * count : end], buffers[::-1]


class Decoder:
    """Frames from a stream of bytes, in whatever pieces these arrive.

    Read into `space()`, say how much came with `received(n)`, get the frames that are now whole. Bodies
    that fit in a chunk are copied out of it; larger ones are read straight into memory of their own.
    """

    def __init__(self, limit: int = 1 << 62, memory: Callable[[int], Any] = bytearray) -> None:
        """Frames with a body over `limit` bytes are refused before `memory`, for bodies over a chunk, is set aside."""
        self.limit = limit
        self._memory = memory
        self._chunk = bytearray(FIRST_CHUNK)
        self._view = memoryview(self._chunk)
        self._filled = 0
        self._large: tuple[int, int, int, int, int, memoryview] | None = None
        self._missing = 0

    def space(self) -> memoryview:
        """Where the next bytes go; never empty."""
        if self._large is not None:
            body = self._large[5]
            return body[len(body) - self._missing :]
        return self._view[self._filled :] if self._filled else self._view

    def received(self, n: int) -> list[Frame]:
        """Take the `n` bytes now in `space()`; return the frames that they complete, in order.

        Raises:
            FrameError: what came is not a frame.
        """
        if self._large is not None:
            self._missing -= n
            if self._missing:
                return []
            whole, self._large = self._large, None
            return [whole] if len(whole[5]) < LARGE else [(*whole[:5], whole[5].toreadonly())]
        chunk, end, at = self._chunk, self._filled + n, 0
        limit, unpack = self.limit, HEADER.unpack_from
        frames: list[Frame] = []
        while end - at >= HEADER_SIZE:
            kind, flags, count, aux, seq, size = unpack(chunk, at)
            start = at + HEADER_SIZE
            stop = start + size
            if stop > end:
                self._check(kind, size)
                if stop - at > CHUNK:
                    body = self._set_aside(size)
                    body[: end - start] = chunk[start:end]
                    self._large = (kind, flags, count, aux, seq, body)
                    self._missing, self._filled = stop - end, 0
                    return frames
                break
            if not 0 < kind <= _LAST_KIND or size > limit:
                self._check(kind, size)
            frames.append((kind, flags, count, aux, seq, chunk[start:stop]))
            at = stop
        self._filled = rest = end - at
        if end == len(chunk) < CHUNK:
            self._chunk = bytearray(CHUNK)
            self._view = memoryview(self._chunk)
            self._chunk[:rest] = chunk[at:end]
        elif rest and at:
            chunk[:rest] = chunk[at:end]
        return frames

    def _check(self, kind: int, size: int) -> None:
        if not 0 < kind <= _LAST_KIND:
            hint = ", but TLS: dial tls+tcp:// where the host listens at that, tcp:// where at that"
            raise FrameError(
                f"no frame is of kind {kind}: the peer does not speak mirai's protocol{hint if kind in _TLS else ''}"
            )
        if size > self.limit:
            raise FrameError(f"a frame announces {size} bytes, more than the limit of {self.limit}")

    def _set_aside(self, size: int) -> memoryview:
        try:
            return memoryview(self._memory(size))
        except (MemoryError, OverflowError, OSError):
            raise FrameError(f"a frame announces {size} bytes, for which there is no memory") from None
