"""share(): a value that many tasks use, sent to each daemon once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from mirai.api.serial import chosen
from mirai.protocol import serialize, shares
from mirai.protocol.scheduler import Blob
from mirai.protocol.wire import body_size
from mirai.runtime import profile as profiles
from mirai.transport import shared as memory

if TYPE_CHECKING:
    from mirai.protocol.serialize import Place

T = TypeVar("T")


class Shared(Generic[T]):
    """Stands for a value in the arguments of tasks; made by `share()`."""

    __slots__ = ("__weakref__", "_blob", "_kind")

    def __init__(self, value: T, serializers: Any, place: Place) -> None:
        shares.handles.add(id(self))
        self._kind = type(value).__qualname__
        self._blob = Blob(*serialize.dumps(value, to_daemon=True, serializers=serializers, place=place))

    def __del__(self) -> None:
        shares.handles.discard(id(self))

    def __repr__(self) -> str:
        return f"< shared {self._kind} [{body_size(self._blob.body):,} bytes] >"

    def __reduce__(self) -> tuple[Any, ...]:
        met = shares.met.blobs
        if met is None:  # pickled by somebody else, who gets the value
            return serialize.loads, (self._blob.count, bytes(serialize.joined(self._blob.body)))
        met.append(self._blob)
        return shares.value_of, (self._blob.number,)


def share(value: T) -> Shared[T]:
    """A handle to give to tasks in the place of `value`, which each daemon then gets once, however many tasks use it.

    As an argument of a task, also deep within one, or in what a function closes over, the handle becomes the value
    itself: the same object for all tasks of a daemon, which therefore should not change it (arrays cannot be
    written to). Daemons that come later, or anew, get it with the first task that needs it; when the handle is
    gone, and no task needs it any more, they let it go. It serves any profile, and `sync=True` too.

    Args:
        value: serialized now, so that what is changed later has no effect.

    Raises:
        SerializationError: it cannot be serialized.
    """
    profile = profiles.get(None)
    serializers = chosen(None) if profile is None else profile.service.serializers
    try:
        return Shared(value, serializers, memory.place)
    except Exception as error:
        raise serialize.blame([("the value to share", value)], error, serializers) from error
