"""Values that many tasks share: what stands for one in a message, and which of them a message needs.

While a message is serialized, each handle in it, however deep, notes what it stands for. The message then carries that
list, and whoever sends it sends those values first, to a daemon that does not have them yet.
"""

from __future__ import annotations

from _thread import _local

TYPE_CHECKING = False  # not from typing, whose import is a good part of a daemon's start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from mirai.protocol.scheduler import Blob
    from mirai.protocol.wire import Body, Buffer


class Referring(list):  # type: ignore[type-arg]  # which would need typing here
    """A body in pieces that needs `blobs`."""

    __slots__ = ("blobs",)

    def __init__(self, parts: list[Buffer], blobs: list[Blob]) -> None:
        super().__init__(parts)
        self.blobs = blobs


class _Met(_local):
    blobs: list[Blob] | None = None  # while a message is serialized in this thread


met = _Met()
handles: set[int] = set()  # those that live: nobody looks out for them where there are none


def referring(body: Body, blobs: list[Blob]) -> Body:
    """The same body, which needs `blobs`."""
    if isinstance(body, bytes | list):
        return Referring([body] if isinstance(body, bytes) else body, blobs)
    body.blobs = blobs
    return body


def needed(body: Body | Buffer) -> list[Blob]:
    """What a body needs."""
    return getattr(body, "blobs", [])


def value_of(number: int) -> Any:
    """What a handle stands for, where the task is evaluated."""
    assert find is not None
    return find(number)


find: Callable[[int], Any] | None = None  # set where tasks are evaluated
