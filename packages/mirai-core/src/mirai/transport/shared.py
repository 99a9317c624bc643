"""Large bodies through shared memory: written once by one process, mapped by the others.

Shared memory is anonymous (memfd_create(2)), and its descriptors go over the control connection (unix(7), SCM_RIGHTS):
it has no name that could be left behind or opened by others, and is gone with the last process that maps it, however
that ends. Where there is none to be had, or it is short, bodies go through the socket instead.

Fresh memory is what costs, five times the copy into it: see `protocol.arena`. What was not written to before is asked
for by madvise(2), or written by pwritev(2), which say so where there is no more; to write would be a SIGBUS.
"""

from __future__ import annotations

import _thread
import errno
import itertools
import os
import sys
import time
from _weakref import ref
from collections import deque
from functools import partial
from math import inf

from mirai import private
from mirai.private import HUGE, fresh
from mirai.protocol.arena import PAGE, Block, Space, lease_of
from mirai.protocol.messages import Kind
from mirai.protocol.wire import BLOCK, LARGE, FrameError, encode

try:
    import _pickle as pickle
except ImportError:
    import pickle  # type: ignore[no-redef]

TYPE_CHECKING = False  # not from typing, whose import is a good part of a daemon's start
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from mirai.protocol.wire import Body, Buffer

AVAILABLE = hasattr(os, "memfd_create") and hasattr(os, "pwritev")
LEAST = LARGE  # bytes from which on a body goes through shared memory: at half of that the socket is as fast
AT_ONCE = 512  # buffers a call: half of what Linux takes (IOV_MAX)
MADV_POPULATE_WRITE = 23  # Linux 5.14; `mmap` does not have it
SEVERAL = 4 << 20  # bytes from which on several threads copy
KEPT = 30.0  # seconds that a segment is kept without being used

_ONCE: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}  # no descriptor more for a mapping

VARIABLE = "MIRAI_SHARED_MEMORY"  # bytes that this process may write to, at most; 0 for none
LEAST_VARIABLE = "MIRAI_SHARED_FROM"  # bytes from which on a body goes through it


class _Segment:
    """What the writer knows of one."""

    __slots__ = ("_mapping", "backed", "fd", "number", "size", "target")

    def __init__(self, number: int, size: int) -> None:
        import fcntl
        import mmap

        self.number, self.size = number, size
        self.backed = 0  # so many bytes from the start have memory: these can be written to by the mapping
        self.fd = os.memfd_create("mirai", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self.fd, size)
            # A reader must not die of a SIGBUS because the writer cut it short: memfd_create(2).
            fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
            self._mapping = mmap.mmap(self.fd, size, **_ONCE)
            self.target = memoryview(self._mapping)
        except BaseException:
            os.close(self.fd)
            raise

    def close(self) -> None:
        """It will not be written to any more, nor given to anyone."""
        os.close(self.fd)
        self.fd = -1

    def write(self, start: int, parts: Sequence[Buffer], size: int) -> None:
        """Copy `parts` to `start`, one after the other.

        Raises:
            OSError: there is no more memory.
        """
        if start + size <= self.backed or self._populate(start, size):
            target = self.target
            if size >= SEVERAL:
                from mirai.transport.raw import address_of, copy

                return copy(address_of(target) + start, parts)
            for part in parts:
                end = start + len(part)
                target[start:end] = part
                start = end
        else:
            self._write_fresh(start, parts)

    def _populate(self, start: int, size: int) -> bool:
        """Have memory for what was not written to before; False where the system does not do that."""
        end = -(-(start + size) // PAGE) * PAGE
        begin = max(start, self.backed) if start <= self.backed else start
        try:
            self._mapping.madvise(MADV_POPULATE_WRITE, begin, end - begin)
        except OSError as error:
            if error.errno == errno.EINVAL:
                return False
            raise
        if begin == self.backed:
            self.backed = end
        return True

    def _write_fresh(self, start: int, parts: Sequence[Buffer]) -> None:
        at, rest = start, deque(memoryview(part) for part in parts if len(part))
        while rest:
            n = os.pwritev(self.fd, [rest[i] for i in range(min(len(rest), AT_ONCE))], at)
            at += n
            while rest and n >= len(rest[0]):
                n -= len(rest.popleft())
            if n:
                rest[0] = rest[0][n:]
        if start <= self.backed:
            self.backed = min(self.size, -(-at // PAGE) * PAGE)


class Arena:
    """The shared memory that this process writes."""

    def __init__(self, limit: float) -> None:
        """`limit`: bytes of it, at most."""
        self.segments: dict[int, _Segment] = {}
        self.keeps = True  # segments that are not in use
        self._space = Space(limit)
        self._lock = _thread.RLock()
        self._returned: deque[tuple[int, int]] = deque()
        self._pid = os.getpid()

    def place(self, parts: Sequence[Buffer], size: int) -> Block | None:
        """A block with a copy of `parts`, `size` bytes together; None where there is no room for it."""
        if _pins:
            _unpin()
        if self._is_busy():
            return None  # a finalizer of the user's in the middle of this: it has to do without
        with self._lock:
            self._settle()
            now = time.monotonic()
            where = self._space.take(size, now)
            if where is None:
                self._drop_unused(inf)  # those that are too small for it
                where = self._space.take(size, now)
            if where is None:
                return None
            number, start = where
            segment = self.segments.get(number)
            if segment is None:
                try:
                    segment = self.segments[number] = _Segment(number, self._space.size(number))
                except BaseException as error:
                    self._space.give_back(number, start, 0.0)
                    self._space.drop(number)
                    if isinstance(error, OSError | ValueError | MemoryError):
                        return None  # out of descriptors, address space or memory
                    raise
        try:
            segment.write(start, parts, size)
        except BaseException as error:
            self._freed(number, start)
            if isinstance(error, OSError):
                return None
            raise
        return Block(segment, start, _leased(segment.target, start, size, partial(self._freed, number, start)))

    def trim(self, since: float) -> None:
        """Let segments go that have not been used since then."""
        if self._is_busy():
            return
        with self._lock:
            self._settle()
            self._drop_unused(since)

    def abandon(self) -> None:
        """In a forked child: these are the parent's; what refers to them here can still be read."""
        for segment in self.segments.values():
            segment.close()
        self.segments.clear()

    # From a finalizer, in whatever thread, which may hold the lock already: nothing here may wait

    def _freed(self, number: int, start: int) -> None:
        self._returned.append((number, start))
        self._try_settle()

    def _try_settle(self) -> None:
        if self._pid != os.getpid() or self._is_busy():
            return
        # Who has the lock may have looked already: hence again, until there is nothing.
        while self._returned and self._lock.acquire(False):
            try:
                self._settle()
                if not self.keeps:
                    self._drop_unused(inf)
            finally:
                self._lock.release()

    def _is_busy(self) -> bool:
        return self._lock._is_owned()  # type: ignore[attr-defined, no-any-return]  # `threading.Condition` asks it too

    def _settle(self) -> None:
        while self._returned:
            number, start = self._returned.popleft()
            self._space.give_back(number, start, time.monotonic())

    def _drop_unused(self, since: float) -> None:
        for number in self._space.unused(since):
            self._space.drop(number)
            # The mapping goes with the last of what was a view into it, which may be in the middle of going.
            self.segments.pop(number).close()


class Exchange:
    """What this process and one peer have lent each other. Not for two threads at once, but for `freed`."""

    def __init__(self, hand_over: Callable[[bytes, int], bool]) -> None:
        """`hand_over` sends a frame with a descriptor on the control connection; whether it could."""
        self.busy = 0.0  # when something was lent last, either way
        self._hand_over = hand_over
        self._lent: dict[int, Block] = {}
        self._leases = 0
        self._given: dict[int, Any] = {}  # segments that the peer was told of
        self._mapped: dict[int, _Mapping] = {}  # its segments
        self._borrowed: set[int] = set()  # leases of the peer's
        self._faults: dict[int, OSError] = {}  # why segments could not be mapped
        self._trimmed = 0.0  # when the peer was told to trim last
        self.unused: deque[int] = deque()  # leases of the peer's that it may have back

    def lend(self, block: Block) -> bytes | None:
        """What stands for a body that is in `block`, which is held until the peer frees it; None: send it as it is."""
        segment = block.segment
        if segment.number not in self._given:
            if not self._hand_over(
                encode(Kind.SEGMENT, segment.size.to_bytes(8, "little"), seq=segment.number), segment.fd
            ):
                return None
            self._given[segment.number] = segment
        self._leases += 1
        self._lent[self._leases] = block
        self.busy = time.monotonic()
        return BLOCK.pack(self._leases, segment.number, block.start, len(block))

    def freed(self, lease: int) -> None:
        """The peer does not use it any more.

        Raises:
            FrameError: it was not lent.
        """
        if self._lent.pop(lease, None) is None:
            raise FrameError(f"lease {lease} is given back, which was not lent")

    def map(self, number: int, fd: int, body: Buffer) -> None:
        """Take a segment of the peer's, from a SEGMENT frame, and `fd`, which is -1 where it did not arrive.

        Raises:
            FrameError: it is not what it should be.
        """
        import fcntl

        if fd < 0:
            self._faults[number] = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return
        size = int.from_bytes(body, "little")
        try:
            if os.fstat(fd).st_size != size or not fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK:
                raise FrameError(f"segment {number} is not {size} bytes that stay")
            self._mapped[number] = _Mapping(fd, size)
        except BaseException as error:
            os.close(fd)
            if not isinstance(error, OSError):
                raise
            self._faults[number] = error

    def knows(self, body: Buffer) -> bool:
        """Whether the peer has said what segment a body is in."""
        segment = lease_of(body)[1]
        return segment in self._mapped or segment in self._faults

    def view(self, body: Buffer) -> memoryview:
        """The body that `body` stands for, read-only; the peer gets it back when nothing here refers to it any more.

        Raises:
            FrameError: there is no such block.
            OSError: its segment could not be mapped; the peer gets it back.
        """
        lease, number, start, size = lease_of(body)
        mapped = self._mapped.get(number)
        if number in self._faults:
            self.unused.append(lease)
            raise self._faults[number]
        if mapped is None or start + size > len(mapped.view) or lease in self._borrowed:
            raise FrameError(f"there is no block of {size} bytes at {start} of segment {number}")
        self._borrowed.add(lease)
        self.busy = time.monotonic()
        return _leased(mapped.view, start, size, partial(self.unused.append, lease), mapped)

    def decline(self, body: Buffer) -> None:
        """It will not be looked at."""
        self.unused.append(lease_of(body)[0])

    def frees(self) -> bytes:
        """Frames that give back what is not used here any more; most often none."""
        frames = b""
        if _pins:
            _unpin()
        while self.unused:
            lease = self.unused.popleft()
            self._borrowed.discard(lease)
            frames += encode(Kind.FREE, seq=lease)
        return frames

    def drops(self) -> bytes:
        """Frames that tell the peer which of the segments that it was given will not be used again."""
        gone = [number for number, segment in self._given.items() if segment.fd < 0]
        for number in gone:
            del self._given[number]
        return b"".join(encode(Kind.DROP, seq=number) for number in gone)

    def unmap(self, number: int) -> None:
        """The peer will not use it again."""
        self._mapped.pop(number, None)
        self._faults.pop(number, None)

    def tidied(self, since: float) -> tuple[bytes, bytes]:
        """Frames for the peer's data and control connection, where there is something to be let go of.

        It is told to trim its memory if nothing was lent since then. And again, where nothing of it is kept here: it
        may have heard that before it heard what was given back, which a daemon does between tasks.
        """
        data = self.frees()
        if data:
            self.busy = time.monotonic()
        control = self.drops()
        is_told = self._trimmed > (self.busy if self._borrowed else since)
        if self._mapped and self.busy <= since and not is_told:
            self._trimmed = time.monotonic()
            control += encode(Kind.TRIM)
        return data, control

    @property
    def in_use(self) -> bool:
        """Whether either has a segment of the other."""
        return bool(self._given or self._mapped)

    def close(self) -> None:
        """The peer is gone; what refers to its memory can still be read."""
        self._lent.clear()
        self._given.clear()
        self._mapped.clear()


class _Mapping:
    """A segment of a peer's, as this process has it: mapped to be read, and open, to map parts of it once more."""

    __slots__ = ("_fd", "view")

    def __init__(self, fd: int, size: int) -> None:
        """Takes `fd`, unless it raises."""
        import mmap

        self.view = memoryview(mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ, **_ONCE))
        self._fd = fd

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            os.close(self._fd)

    def privately(self, start: int, size: int) -> Any:
        """A mapping of that part that may be written to: nobody else sees what is.

        Raises:
            OSError: there is no room for it.
        """
        import mmap

        return mmap.mmap(self._fd, size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE, offset=start, **_ONCE)


class _Watched:
    """What lives as long as somebody refers to a block of this process or of a peer's."""

    __slots__ = ("mapping", "private", "ref", "start")

    def __init__(self, ref: ref[Any], mapping: _Mapping | None, start: int) -> None:
        self.ref = ref
        self.mapping, self.start = mapping, start  # where it is, if it is a peer's
        self.private: Callable[[], Any] = lambda: None  # its private mapping, while there is one


_watched: dict[int, _Watched] = {}  # by the identity of what is watched
_numbers = itertools.count(1)  # the order in which these were made


def _leased(
    memory: memoryview, start: int, size: int, freed: Callable[[], object], mapping: _Mapping | None = None
) -> memoryview:
    """A read-only view of `memory`, which is `mapping`'s; `freed` is called when no view of it is left."""
    # A view of a view holds what the first one was of, not the first one. Through a PickleBuffer it does.
    watched = memory[start : start + size].toreadonly()
    number, key = next(_numbers), id(watched)

    def died(_: ref[Any]) -> None:
        _watched.pop(key, None)
        _let_go(number, freed)

    _watched[key] = _Watched(ref(watched, died), mapping, start)
    return memoryview(pickle.PickleBuffer(watched))


_private: dict[int, tuple[ref[Any], memoryview]] = {}  # mappings by identity, and what holds the lease meanwhile


def _copy_on_write(view: memoryview) -> memoryview | None:
    """The same bytes in a private mapping of the block that `view` is of; None where it is of none of a peer's."""
    watched = _watched.get(id(view.obj))
    if watched is None or watched.mapping is None:
        return None
    from mirai.transport.raw import address_of

    block: Any = view.obj
    mapped = watched.private()
    if mapped is None:
        try:
            mapped = watched.mapping.privately(watched.start, len(block))
        except OSError:
            return None  # out of address space or descriptors
        key = id(mapped)
        watched.private = ref(mapped)
        _private[key] = ref(mapped, lambda _: _private.pop(key)), block
    start = address_of(view) - address_of(block)
    return memoryview(mapped)[start : start + view.nbytes]


private.copy_on_write = _copy_on_write


class _Pin:
    """What there was when this process forked. The child may read it: none is given back before that has ended."""

    def __init__(self) -> None:
        self.number = next(_numbers)
        self.over = False
        self.put_off: deque[tuple[int, Callable[[], object]]] = deque()
        try:
            self.here, self.child = os.pipe()  # which ends with the child, or what that becomes
        except OSError:
            self.here = self.child = -1  # out of descriptors: then for ever
        else:
            os.set_blocking(self.here, False)

    def lift(self) -> None:
        """Give back what was put off."""
        global _pins
        _pins = tuple(pin for pin in _pins if pin is not self)
        self.over = True
        if self.here >= 0:
            os.close(self.here)
            self.here = -1
        while self.put_off:
            _let_go(*self.put_off.popleft())


_pins: tuple[_Pin, ...] = ()
_pinning: dict[int, _Pin] = {}  # by the thread that forks


def _let_go(number: int, freed: Callable[[], object]) -> None:
    """Nobody here refers to it any more; called by finalizers, in whatever thread."""
    for pin in _pins:
        if number < pin.number:
            pin.put_off.append((number, freed))
            if pin.over:
                pin.lift()
            return
    freed()


def _unpin() -> None:
    """Look which forked children have ended."""
    for pin in _pins:
        try:
            if pin.here >= 0 and not os.read(pin.here, 1):
                pin.lift()
        except BlockingIOError:
            pass


_arena: Arena | None = None
_users = 0
_making = _thread.RLock()


def arena() -> Arena:
    """The one of this process."""
    global _arena
    with _making:
        if _arena is None:
            made = Arena(limit())
            made.keeps = _users > 0
            if _arena is None:  # a finalizer may have been here
                _arena = made
        return _arena


def place(parts: Sequence[Buffer], size: int) -> Body | None:
    """A copy of `parts` in shared memory; in private memory where it is small, or there is no room.

    None: as the caller likes.
    """
    if size < least():
        return None
    return (arena().place(parts, size) if AVAILABLE else None) or keep(parts, size)


def trim(since: float) -> None:
    """Let segments go that have not been used since then."""
    if _pins:
        _unpin()
    if _arena is not None:
        _arena.trim(since)


def join() -> None:
    """Keep what is free to use it again; each `join` asks for a `leave`."""
    global _users
    with _making:
        _users += 1
        if _arena is not None:
            _arena.keeps = True


def leave() -> None:
    """After the last, each segment goes as soon as it is not used."""
    global _users
    with _making:
        _users -= 1
        last = _arena if not _users else None
    if last is not None:
        last.keeps = False
        last.trim(inf)
    if not _users and (last is None or not last.segments):
        for pin in _pins:
            pin.lift()  # what is given back is not written to any more


def keep(parts: Sequence[Buffer], size: int) -> Body | None:
    """A copy of `parts` in one piece of private memory; None where it is so small that the caller may do that."""
    if size < HUGE:
        return None
    target = memoryview(fresh(size))
    at = 0
    for part in parts:
        target[at : at + len(part)] = part
        at += len(part)
    return [target]


def limit() -> int:
    """Bytes that this process may write to at most: as the environment says, else half of the machine's memory."""
    said = _said(VARIABLE)
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2 if said is None else said


def least() -> int:
    """Bytes from which on a body goes through shared memory, as the environment says."""
    global _least
    if _least is None:
        said = _said(LEAST_VARIABLE)
        _least = LEAST if said is None else said
    return _least


_least: int | None = None


def _said(variable: str) -> int | None:
    text = os.environ.get(variable, "")
    if not text:
        return None
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"{variable}={text!r}: give a number of bytes, 0 or more")
    return int(text)


def _pin_for_fork() -> None:
    if _watched:
        _pinning[_thread.get_ident()] = _Pin()


def _pin_in_parent() -> None:
    global _pins
    if pin := _pinning.pop(_thread.get_ident(), None):
        _pins = (*_pins, pin)
        if pin.child >= 0:
            os.close(pin.child)


def _forget_in_child() -> None:
    global _arena, _making, _pins, _users
    _users = 0
    _making = _thread.RLock()
    if _arena is not None:
        _arena.abandon()
        _arena = None
    for pin in (*_pins, *_pinning.values()):
        if pin.here >= 0:
            os.close(pin.here)  # the other end stays open, for as long as this process lives
    _pins = ()
    _pinning.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_pin_for_fork, after_in_parent=_pin_in_parent, after_in_child=_forget_in_child)
