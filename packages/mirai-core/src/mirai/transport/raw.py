"""What Python has no words for: where buffers are in memory, and to copy many bytes with several processors."""

from __future__ import annotations

import _thread
import ctypes
import os
from collections import deque

TYPE_CHECKING = False  # not from typing, whose import is a good part of a daemon's start
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Piece = tuple[int, int, int]  # to, from, how many bytes

MOST = 4  # threads that copy: more of them wait for the memory
PIECE = 1 << 20  # bytes that one takes at once: so long may the others wait for one that is not let run


class _Buffer(ctypes.Structure):
    """`Py_buffer`, as it is since Python 3.11 (PEP 688, the stable ABI)."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.py_object),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


_get, _release = ctypes.pythonapi.PyObject_GetBuffer, ctypes.pythonapi.PyBuffer_Release
_get.argtypes = [ctypes.py_object, ctypes.POINTER(_Buffer), ctypes.c_int]
_release.argtypes = [ctypes.POINTER(_Buffer)]
_release.restype = None


def address_of(buffer: Any) -> int:
    """Of the first byte of what is contiguous; for as long as the caller keeps it alive, and does not resize it."""
    found = _Buffer()
    _get(buffer, found, 0)  # PyBUF_SIMPLE; raises what the object does
    address: int = found.buf or 0
    _release(found)
    return address


def copy(target: int, parts: Iterable[Any]) -> None:
    """Copy `parts`, one after the other, to the address `target`. Python runs other threads meanwhile."""
    pieces: deque[Piece] = deque()
    for part in parts:
        source, rest = address_of(part), len(part)
        while rest:
            size = min(rest, PIECE)
            pieces.append((target, source, size))
            target, source, rest = target + size, source + size, rest - size
    copying: list[_thread.LockType] = []
    interruption: BaseException | None = None
    try:
        for _ in range(min(MOST, len(os.sched_getaffinity(0))) - 1):
            _begin(pieces, copying)
        _copy(pieces)
    finally:
        pieces.clear()
        # Who is copying has said so before it took a piece; whoever comes later finds none. Of a signal's handler that
        # raises: until they are done, the memory is not to be given to anybody else.
        while copying:
            try:
                with copying[-1]:
                    copying.pop()
            except BaseException as error:
                interruption = error
    if interruption is not None:
        raise interruption


def _copy(pieces: deque[Piece]) -> None:
    while pieces:
        try:
            to, source, size = pieces.popleft()
        except IndexError:
            return  # another thread took the last one
        ctypes.memmove(to, source, size)


def _begin(pieces: deque[Piece], copying: list[_thread.LockType]) -> None:
    """Have a thread copy, too; it has a lock in `copying` until it is done."""

    def run() -> None:
        working = _thread.allocate_lock()
        with working:
            copying.append(working)
            _copy(pieces)

    try:
        _thread.start_new_thread(run, ())
    except RuntimeError:
        pass  # no more threads: others do it
