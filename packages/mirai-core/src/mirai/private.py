"""Memory of this process alone: fresh, or in place of what can only be read, for objects that must be writable."""

from __future__ import annotations

TYPE_CHECKING = False  # not from typing, whose import is a good part of a daemon's start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

HUGE = 4 << 20  # bytes from which on memory is asked for in huge pages

# What else there is than to copy all, set by who can do that: memory that is copied page by page as it is written to.
# None: not of what that view is of.
copy_on_write: Callable[[memoryview], memoryview | None] = lambda view: None  # noqa: E731


def writable(view: memoryview) -> memoryview:
    """The bytes that a serializer's `load` was given, where they may be written to.

    What came through shared memory is not copied for that: each page is when it is first written to. Two views of the
    same bytes may then be of the same memory.
    """
    if not view.readonly:
        return view
    made = copy_on_write(view)
    if made is None:
        made = memoryview(fresh(view.nbytes))
        made[:] = view.cast("B")
    return made


def fresh(size: int) -> Any:
    """Memory, all zero; where it is much in huge pages, which are ready four times as soon."""
    if size < HUGE:
        return bytearray(size)
    import mmap

    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return bytearray(size)
    try:
        memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        import errno

        if error.errno == errno.ENOMEM:
            raise MemoryError from None
        raise
    try:
        memory.madvise(mmap.MADV_HUGEPAGE)
    except OSError:
        pass  # a kernel without
    return memory
