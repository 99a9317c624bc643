"""Object to bytes and back: the C pickler where it serves, cloudpickle where it must be.

What belongs to `__main__` (a script, a notebook, the REPL) goes by value. On its way to a daemon a
function of `__main__` is bound to the daemon's `__main__`: so it finds there what `everywhere` left, and
`global` means what it says. On its way back it is not, as that would overwrite the host's variables.
"""

from __future__ import annotations

import functools
import io
import sys

from mirai.protocol import shares
from mirai.protocol.wire import MOST_BUFFERS, pieces, split_buffers, with_buffers

try:
    import _pickle as pickle  # half of the import of `pickle` is for the pickler in Python, which nobody uses
except ImportError:
    import pickle  # type: ignore[no-redef]

TYPE_CHECKING = False  # not from typing, whose import is a good part of a daemon's start
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import CodeType
    from typing import Any, TypeAlias

    from mirai.errors import SerializationError
    from mirai.protocol.serializers import Reduction, Serializers
    from mirai.protocol.wire import Body, Buffer

    Serialized: TypeAlias = tuple[int, Body]  # the number of out-of-band buffers, and the body
    Place: TypeAlias = Callable[
        [Sequence[Buffer], int], Body | None
    ]  # copies parts of so many bytes; None: do it yourself

PROTOCOL = 5
FRAMELESS = 3  # pickle's last protocol without frames, which cost a third of the time for what is short
CODE_FILENAME = 10  # where `types.CodeType()` takes `co_filename`, from Python 3.8 on
OUT_OF_BAND = 32 * 1024  # bytes; below that, copying once more is cheaper than a buffer of its own

# What a function of `__main__` refers to, as last loaded: see `loads_main`.
_main_names: dict[str, Any] = {}


# The C pickler knows all about objects of these: no part of them goes by value, or is one that a serializer is for.
_PLAIN = frozenset([type(None), bool, int, float, str, bytes])
_SHORT = frozenset([type(None), bool, int, float])  # those of them that take no room, most often
_FLAT = frozenset([str, bytes, bytearray])  # may be large, and are no buffers to pickle


class HookError(Exception):
    """A serializer did not do its part; its message says which, and what is wrong."""


def dumps(
    value: Any, *, to_daemon: bool = False, serializers: Serializers | None = None, place: Place | None = None
) -> Serialized:
    """Serialize `value`, its large buffers (NumPy, Arrow, …) beside the pickle, each copied once.

    Args:
        value: of any kind.
        to_daemon: it goes to a daemon, not back from one.
        serializers: those that objects in it may go by.
        place: where a large body is to be; private memory unless given.

    Raises:
        HookError: one of `serializers` failed.
        Exception: whatever a reduction in `value`, or cloudpickle, raises.
    """
    kind = type(value)
    if kind in _SHORT or (kind in _PLAIN and not _is_flat(value)):
        return 0, pickle.dumps(value, FRAMELESS)
    if not shares.handles:
        return _dumps(value, to_daemon, serializers, place)
    outer, shares.met.blobs = shares.met.blobs, []
    try:
        count, body = _dumps(value, to_daemon, serializers, place)
        blobs = shares.met.blobs
    finally:
        shares.met.blobs = outer
    return count, (shares.referring(body, blobs) if blobs else body)


def _dumps(value: Any, to_daemon: bool, serializers: Serializers | None, place: Place | None) -> Serialized:
    buffers: list[pickle.PickleBuffer] = []
    reduce = None if serializers is None else serializers.reduction()
    if _has_flat(value):
        pieces = _in_pieces(value, buffers.append, reduce)
        if pieces is not None and len(buffers) <= MOST_BUFFERS:
            return _complete(pieces, [buffer.raw() for buffer in buffers], place)
        buffers.clear()
        reduce = None if serializers is None else serializers.reduction()
    try:
        if reduce is None:
            pickled = pickle.dumps(value, PROTOCOL, buffer_callback=buffers.append)
        else:
            pickled = _quickly_pickled(value, buffers.append, reduce)
    except HookError:
        raise
    except Exception:
        # A lambda, a closure, a local class: not importable. Or nothing that can be serialized at all,
        # and then cloudpickle says so.
        by_value = True
    else:
        # A name that the stream takes from __main__ is another one on the other side.
        by_value = b"__main__" in pickled or modules_by_value()
    if by_value:
        buffers.clear()
        pickled = _cloudpickled(value, to_daemon, buffers.append, reduce)
    if reduce is not None and not reduce.is_complete():
        buffers.clear()
        pickled = _pickled(value, by_value, to_daemon, buffers.append, reduce)
    if not buffers:
        return 0, _placed([pickled], len(pickled), place) or pickled
    raw = [buffer.raw() for buffer in buffers]
    if len(raw) > MOST_BUFFERS or any(view.nbytes < OUT_OF_BAND for view in raw):
        raw.clear()

        def keep_in_band(buffer: pickle.PickleBuffer) -> bool:
            view = buffer.raw()
            kept = view.nbytes < OUT_OF_BAND or len(raw) == MOST_BUFFERS
            if not kept:
                raw.append(view)
            return kept

        pickled = _pickled(value, by_value, to_daemon, keep_in_band, reduce)
        if not raw:
            return 0, _placed([pickled], len(pickled), place) or pickled
    return _complete([pickled], raw, place)


def _complete(pickled: Sequence[Buffer], raw: Sequence[memoryview], place: Place | None) -> Serialized:
    parts = with_buffers(pickled, raw) if raw else list(pickled)
    # Copied: what the caller changes after the call has no effect.
    body = _placed(parts, sum(map(len, parts)), place)
    return len(raw), body or [part if isinstance(part, bytes) else memoryview(bytearray(part)) for part in parts]


def _is_flat(value: Any) -> bool:
    return type(value) in _FLAT and len(value) >= OUT_OF_BAND


def _has_flat(value: Any, depth: int = 2) -> bool:
    """Whether it is, or an argument of a call is, such as would be copied into the pickle at great length."""
    kind = type(value)
    if kind in _FLAT:
        return len(value) >= OUT_OF_BAND
    if kind is tuple and depth:
        return any(_has_flat(part, depth - 1) for part in value)
    return kind is dict and depth == 1 and any(map(_is_flat, value.values()))


def _in_pieces(
    value: Any, buffer_callback: Callable[[pickle.PickleBuffer], Any], reduce: Reduction | None
) -> list[Buffer] | None:
    """Its pickle, in which large text and bytes are pieces of their own, not copied; None where that does not do."""
    pieces: list[Buffer] = []

    class File:
        write = pieces.append

    pickler = _Pickler(File, PROTOCOL, buffer_callback=buffer_callback)
    if reduce is not None:
        pickler.reducer_override = reduce  # type: ignore[method-assign]
    try:
        pickler.dump(value)
    except HookError:
        raise
    except Exception:
        return None  # cloudpickle does it, or says why not
    by_value = any(b"__main__" in piece for piece in pieces if len(piece) < OUT_OF_BAND) or modules_by_value()
    return None if by_value or (reduce is not None and not reduce.is_complete()) else pieces


def _placed(parts: Sequence[Buffer], size: int, place: Place | None) -> Body | None:
    return place(parts, size) if place is not None and size >= OUT_OF_BAND else None


def loads(count: int, body: Buffer) -> Any:
    """The value that `dumps` was given. Its buffers are views into `body`, which lives as long as they."""
    if not count:
        return pickle.loads(body)
    pickled, buffers = split_buffers(count, body)
    return pickle.loads(pickled, buffers=buffers)


def joined(body: Body | Buffer) -> Buffer:
    """A body in one piece."""
    parts = pieces(body)
    return parts[0] if len(parts) == 1 else bytearray().join(parts)


class Nested:
    """What is serialized, as part of what is to be serialized: a large one without copying it there."""

    def __init__(self, count: int, body: Body | Buffer) -> None:
        self._count, self._body = count, body

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        if shares.met.blobs is not None:
            shares.met.blobs += shares.needed(self._body)
        return tuple, ((self._count, pickle.PickleBuffer(joined(self._body))),)


def dumps_call(
    task: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    extras: Mapping[str, Any] | None = None,
    serializers: Serializers | None = None,
    place: Place | None = None,
) -> Serialized:
    """Serialize a call for a daemon; `extras` travel beside it, see `Daemon._prepare`; `place` as for `dumps`.

    Raises:
        SerializationError: names the part that cannot be serialized.
    """
    try:
        call = (task, args, kwargs, extras) if extras else (task, args, kwargs)
        return dumps(call, to_daemon=True, serializers=serializers, place=place)
    except Exception as error:
        raise blame([("the task", task), *_parts(args, kwargs, extras)], error, serializers) from error


def dumps_arguments(
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    extras: Mapping[str, Any] | None = None,
    serializers: Serializers | None = None,
    place: Place | None = None,
) -> Serialized:
    """As `dumps_call`, without the task: for one that a blob holds. Those of `dumps_plain` are told from them."""
    try:
        arguments = (args, kwargs, extras) if extras else (args, kwargs)
        return dumps(arguments, to_daemon=True, serializers=serializers, place=place)
    except Exception as error:
        raise blame(_parts(args, kwargs, extras), error, serializers) from error


def dumps_plain(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes | None:
    """Arguments that are serialized in no time, and take no room; None for all others.

    They go by themselves, others as a tuple of a tuple and a dict: no plain value is a tuple.
    """
    if kwargs:
        return None
    for value in args:
        kind = type(value)
        if kind not in _SHORT and (kind not in _PLAIN or _is_flat(value)):
            return None
    pickled = pickle.dumps(args, FRAMELESS)
    return pickled if len(pickled) < OUT_OF_BAND else None


def _parts(args: Sequence[Any], kwargs: Mapping[str, Any], extras: Mapping[str, Any] | None) -> list[tuple[str, Any]]:
    """The values of a call, named as a user would."""
    parts = [(f"argument {i}", value) for i, value in enumerate(args)]
    parts += [(f"argument {name!r}", value) for name, value in kwargs.items()]
    return parts + [(f"_{name}", value) for name, value in (extras or {}).items()]


def blame(
    parts: Sequence[tuple[str, Any]], error: Exception, serializers: Serializers | None = None
) -> SerializationError:
    """The error that names which of `parts` (a name and a value each) cannot be serialized."""
    from mirai.errors import SerializationError  # daemons do without

    for where, value in parts:
        try:
            dumps(value, to_daemon=True, serializers=serializers)
        except HookError as own:
            advice = "Correct it, create the object inside the task, or name other serializers: daemons(serial=…)"
            return SerializationError(where, type(value).__qualname__, str(own), advice)
        except Exception as own:
            return SerializationError(where, type(value).__qualname__, _reason(own))
    return SerializationError("the call", "tuple", _reason(error))


def loads_main(count: int, body: Buffer) -> tuple[Any, dict[str, Any]]:
    """As `loads`; also what functions of the host's `__main__` in it need in this process's `__main__`.

    `loads` sets these names too, once; who calls such a function again later sets them again first.
    """
    outer = dict(_main_names)  # where this comes in the middle of another one
    _main_names.clear()
    try:
        value = loads(count, body)
        return value, dict(_main_names)
    finally:
        _main_names.clear()
        _main_names.update(outer)


def modules_by_value() -> bool:
    """Whether `cloudpickle.register_pickle_by_value` was used: then pickle cannot know what to do."""
    cloudpickle = sys.modules.get("cloudpickle")
    return cloudpickle is not None and bool(cloudpickle.list_registry_pickle_by_value())


def _pickled(
    value: Any,
    by_value: bool,
    to_daemon: bool,
    buffer_callback: Callable[[pickle.PickleBuffer], Any],
    reduce: Reduction | None,
) -> bytes:
    if by_value:
        return _cloudpickled(value, to_daemon, buffer_callback, reduce)
    return _quickly_pickled(value, buffer_callback, reduce)


class _Pickler(pickle.Pickler):
    """Has attributes of its own, such as `reducer_override`."""


def _quickly_pickled(
    value: Any, buffer_callback: Callable[[pickle.PickleBuffer], Any], reduce: Reduction | None
) -> bytes:
    if reduce is None:
        return pickle.dumps(value, PROTOCOL, buffer_callback=buffer_callback)
    file = io.BytesIO()
    pickler = _Pickler(file, PROTOCOL, buffer_callback=buffer_callback)
    pickler.reducer_override = reduce  # type: ignore[method-assign]
    pickler.dump(value)
    return file.getvalue()


def _cloudpickled(
    value: Any, to_daemon: bool, buffer_callback: Callable[[pickle.PickleBuffer], Any], reduce: Reduction | None
) -> bytes:
    file = io.BytesIO()
    pickler = _picklers()[to_daemon](file, PROTOCOL, buffer_callback=buffer_callback)
    if reduce is not None:
        cloudpickles = pickler.reducer_override  # for functions and classes

        def first_ours(value: Any) -> Any:
            reduced = reduce(value)
            return cloudpickles(value) if reduced is NotImplemented else reduced

        pickler.reducer_override = first_ours
    try:
        pickler.dump(value)
    finally:
        vars(pickler).pop("reducer_override", None)  # a cycle, which would keep what was pickled
    return file.getvalue()


@functools.cache
def _picklers() -> tuple[type[Any], type[Any]]:
    """The pickler for results, and the one for tasks. Made when needed: cloudpickle takes 18 ms to import."""
    from types import CodeType

    import cloudpickle

    from mirai.protocol.classes import reduction

    class ResultPickler(cloudpickle.Pickler):  # type: ignore[misc]
        """Leaves the classes of whoever loads them alone; code says in tracebacks where it is from."""

        to_daemon = False

        def reducer_override(self, value: Any) -> Any:
            if type(value) is CodeType:
                return _with_filename(value, self.dispatch_table[CodeType](value))
            reduced = super().reducer_override(value)
            if isinstance(value, type) and isinstance(reduced, tuple):
                return reduction(value, reduced, to_daemon=self.to_daemon)
            return reduced

    class TaskPickler(ResultPickler):
        """Binds functions of `__main__` to the `__main__` of whoever loads them."""

        to_daemon = True

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self._main = sys.modules["__main__"].__dict__
            self.globals_ref[id(self._main)] = _Main(__name__="__main__")

        def _dynamic_function_reduce(self, function: Any) -> tuple[Any, ...]:
            reduced: tuple[Any, ...] = super()._dynamic_function_reduce(function)
            if function.__globals__ is self._main:
                reduced = (*reduced[:-1], _set_main_function)
            return reduced

    return ResultPickler, TaskPickler


def _with_filename(code: CodeType, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    """What to pickle for `code`, given what cloudpickle would: from 3.1.3 on that names no file."""
    make, args, *rest = reduced
    if make is type(code):
        args = (*args[:CODE_FILENAME], code.co_filename, *args[CODE_FILENAME + 1 :])
    return make, args, *rest


class _Main(dict):  # type: ignore[type-arg]  # which would need typing here
    """Stands for the `__main__` of whoever loads it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _main_of_this_process, ()


def _main_of_this_process() -> dict[str, Any]:
    return sys.modules["__main__"].__dict__


def _set_main_function(function: Any, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    from cloudpickle import cloudpickle

    _main_names.update(state[1]["__globals__"])
    cloudpickle._function_setstate(function, state)


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
