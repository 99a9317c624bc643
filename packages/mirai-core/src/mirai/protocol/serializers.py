"""Which objects of a message go by a serializer: those of plugins, and those of `serial_config`.

A set of them belongs to a profile, not to the process. A class is looked for only where its library is loaded:
before that there can be no object of it. What a serializer makes of an object takes its place in the pickle, beside
what loads it again: a plugin's function by name, so that who loads needs to know of no plugin; that of a
configuration, which may be anything, by a token that the profile's daemons were told.
"""

from __future__ import annotations

import operator
import sys

from mirai.protocol.serialize import OUT_OF_BAND, HookError, dumps, joined, loads_main

try:
    from _pickle import PickleBuffer
except ImportError:
    from pickle import PickleBuffer

TYPE_CHECKING = False  # not from typing, whose import is a good part of a daemon's start
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, TypeAlias

    Encoded: TypeAlias = tuple[tuple[str, ...], bool, str, bool, int, bytes | bytearray | memoryview]
    Data: TypeAlias = tuple[int, Any]  # one of the kinds below, and what travels

AS_IT_IS, BYTES, VIEW = range(3)  # how what travels is given to `load`
KNOWN = 1000  # types whose serializer, or that they have none, is remembered

# For what pickle does without asking anybody, or for all there is.
NATIVE = (object, type, type(None), bool, int, float, str, bytes, bytearray, list, tuple, dict, set, frozenset)

_by_token: Any = {}  # the entries of configurations in this process; weak, see `_register`


class Entry:
    """One serializer: the classes that it is for, and its two functions."""

    def __init__(
        self,
        names: Sequence[str],
        functions: tuple[type | None, Callable[..., Any], Callable[..., Any]] | None = None,
        *,
        vec: bool = False,
        token: str = "",
        by_value: bool = False,
        is_twin: bool = False,
    ) -> None:
        """Of a plugin, or with a `token`, of a configuration.

        Args:
            names: dotted names of the classes.
            functions: the class itself where it was given, what dumps its objects, what loads them.
            vec: the functions take and return lists.
            by_value: the class is one that cannot be imported.
            is_twin: it is for tasks that are evaluated in the process that sends them.
        """
        self.names = tuple(names)
        self.vec = vec
        self.token = token
        self.by_value = by_value
        self._functions = functions
        self._is_decoded = functions is None
        self._pickled: tuple[int, bytes | bytearray | memoryview] | None = None
        self._main_names: dict[str, Any] = {}  # what the functions need in this process's `__main__`
        if token:
            _register(self, is_twin)

    def __repr__(self) -> str:
        return f"the serializer for {self.names[0]}"

    def encode(self) -> Encoded:
        """For `decode`, in another process. Nothing that the functions need is imported there before they are.

        Raises:
            Exception: they cannot be serialized.
        """
        # Anew each time, as what they refer to may have changed.
        cls, dump, load = self.functions()
        count, body = dumps((cls if self.by_value else None, dump, load), to_daemon=True)
        return self.names, self.vec, self.token, self.by_value, count, joined(body)

    @classmethod
    def decode(cls, encoded: Encoded, *, is_twin: bool = False) -> Entry:
        names, vec, token, by_value, count, body = encoded
        entry = cls(names, vec=vec, token=token, by_value=by_value, is_twin=is_twin)
        entry._pickled = count, body
        return entry

    def functions(self) -> tuple[type | None, Callable[..., Any], Callable[..., Any]]:
        """The class where it goes by value, `dump` and `load`; deserialized when first needed."""
        if self._functions is None:
            assert self._pickled is not None, "it was decoded"
            try:
                self._functions, self._main_names = loads_main(*self._pickled)
            except Exception as error:
                raise HookError(f"{self!r} cannot be loaded here: {_said(error)}") from error
        if self._main_names:
            main = vars(sys.modules["__main__"])
            for name, value in self._main_names.items():  # the clean-up after a task takes them away
                main.setdefault(name, value)
        return self._functions

    def forget(self) -> None:
        """Import the functions again when they are next needed."""
        if self._is_decoded:
            self._functions = None

    def is_for(self, cls: type) -> bool:
        """Whether a class that has one of its names is meant, and not another one of that name."""
        return not self.by_value or self.functions()[0] is cls

    def loader(self) -> Callable[[Any], Any]:
        """What pickle is given as the function to call: a plugin's own, or this, which goes by its token."""
        return self if self.token else self.functions()[2]

    def __call__(self, data: Any) -> Any:
        """Load; for who reads the traceback, an error says whose it is."""
        try:
            return self.functions()[2](data)
        except Exception as error:
            error.add_note(f"raised by the ufunc of {self!r}")
            raise

    def __reduce__(self) -> tuple[Any, ...]:
        return configured, (self.token,)

    def dump(self, value: Any) -> Any:
        """What its function makes of an object, or of a list of them."""
        dump = self.functions()[1]
        try:
            return dump(value)
        except Exception as error:
            raise HookError(f"{self!r} raised {_said(error)}") from error

    def checked(self, made: Any) -> Data | None:
        """What `dump` made of one object, for the pickle; None where it leaves it to pickle.

        Raises:
            HookError: it is nothing that can travel.
        """
        if isinstance(made, bytes):
            return (AS_IT_IS, made) if len(made) < OUT_OF_BAND else (BYTES, PickleBuffer(made))
        if isinstance(made, memoryview):
            if made.nbytes < OUT_OF_BAND:
                return VIEW, made.tobytes()
            return VIEW, PickleBuffer(made if made.c_contiguous else made.tobytes())
        if not self.token:
            if isinstance(made, tuple):
                return AS_IT_IS, made
            if made is NotImplemented:
                return None
        raise HookError(f"{self!r} returned an object of type {type(made).__qualname__}: return bytes, or a memoryview")


def configured(token: str) -> Entry:
    """The configuration of that token.

    Raises:
        LookupError: this process was told of none, as it belongs to another profile.
    """
    classes = sys.modules.get("mirai.protocol.classes")  # there is one apart only where it is loaded
    entry: Entry | None = _by_token.get((token, True)) if classes is not None and classes.apart else None
    entry = entry or _by_token.get((token, False))
    if entry is None:
        raise LookupError("it was sent by a serial_config that this process was not told of: it is another profile's")
    return entry


def _register(entry: Entry, is_twin: bool) -> None:
    global _by_token
    if not _by_token:
        from weakref import WeakValueDictionary  # a daemon without configurations need not import it

        if not isinstance(_by_token, WeakValueDictionary):
            _by_token = WeakValueDictionary()
    _by_token[entry.token, is_twin] = entry


class Serializers:
    """Those of one profile, in the order in which they are asked for a class."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries = list(entries)
        self.has_configurations = any(entry.token for entry in self.entries)
        # A class that goes by value is known by its name, wherever it is.
        self._any_time = any(
            entry.by_value or any(name.startswith("__main__.") for name in entry.names) for entry in self.entries
        )
        self._looked = -1, _Table(self.entries)  # at how many modules, and what was found

    def encode(self) -> list[Encoded]:
        """For `decode`, in another process.

        Raises:
            Exception: a function cannot be serialized.
        """
        return [entry.encode() for entry in self.entries]

    @classmethod
    def decode(cls, encoded: Iterable[Encoded], *, is_twin: bool = False) -> Serializers:
        """`is_twin`: for tasks that are evaluated in the process that sends them, and have classes of their own."""
        return cls(Entry.decode(one, is_twin=is_twin) for one in encoded)

    def forget(self) -> None:
        """Modules were taken away: what was loaded of them would not be what a later task loads."""
        for entry in self.entries:
            entry.forget()
        self._looked = -1, _Table(self.entries)

    def reduction(self) -> Reduction | None:
        """What a pickler is to ask about each object of one message; None where there can be none of ours."""
        modules, table = self._looked
        if len(sys.modules) != modules:
            modules = len(sys.modules)
            table = table.looked_for()
            self._looked = (-1 if table.is_early else modules), table
        return Reduction(table) if table.classes or self._any_time else None


class _Table:
    """Classes to serializers. Never changed but for what it remembers, as threads share it."""

    def __init__(self, entries: list[Entry], classes: dict[type, Entry] | None = None, is_early: bool = False) -> None:
        self.classes = classes or {}
        self.is_early = is_early  # a library was in the middle of its import
        self.known: dict[type, Entry | None] = {}
        self._entries = entries
        self._names = {name: entry for entry in reversed(entries) for name in entry.names}

    def looked_for(self) -> _Table:
        """The same; or another one, where libraries were loaded since."""
        classes: dict[type, Entry] = {}
        is_early = False
        for entry in reversed(self._entries):  # of two for one class the first one wins
            for name in entry.names:
                cls = find(name)
                if cls is not None:
                    classes[cls] = entry
                elif not is_early:
                    spec = getattr(sys.modules.get(name.split(".", 1)[0]), "__spec__", None)
                    is_early = getattr(spec, "_initializing", False)
        if classes == self.classes and is_early == self.is_early:
            return self
        return _Table(self._entries, classes, is_early)

    def entry(self, kind: type) -> Entry | None:
        """The serializer for objects of a type: that of the nearest class it derives from."""
        found = None
        for cls in kind.__mro__:
            found = self.classes.get(cls)
            if found is None:
                named = self._names.get(f"{cls.__module__}.{cls.__qualname__}")
                found = named if named is not None and named.is_for(cls) else None
            if found is not None:
                break
        if len(self.known) >= KNOWN:
            self.known.clear()
        self.known[kind] = found
        return found


class Reduction:
    """What becomes of the objects of one message: what picklers call a `reducer_override`.

    A message may be pickled several times until it is right: each object goes through its serializer once.
    """

    def __init__(self, table: _Table) -> None:
        self._table = table
        self._known = table.known
        self._made: dict[int, tuple[Any, Any]] = {}  # by identity: an object, kept for that, and what became of it
        self._batches: dict[Entry, _Batch] = {}
        self._is_late = False  # the batches are full

    def __call__(self, value: Any) -> Any:
        kind = type(value)
        try:
            entry = self._known[kind]
        except KeyError:
            entry = self._table.entry(kind)
        if entry is None:
            return NotImplemented
        made = self._made.get(id(value))
        if made is None:
            made = self._made[id(value)] = value, (self._added if entry.vec else self._dumped)(entry, value)
        reduced = made[1]
        return reduced() if type(reduced) is _Place else reduced

    @staticmethod
    def _dumped(entry: Entry, value: Any) -> Any:
        data = entry.checked(entry.dump(value))
        if data is None:
            return NotImplemented
        how, travels = data
        return (entry.loader(), (travels,)) if how == AS_IT_IS else (arrive, (entry.loader(), how, travels))

    def _added(self, entry: Entry, value: Any) -> _Place:
        if self._is_late:
            # What was made on the way, and would be made anew each time.
            batch = _Batch(entry)
            place = batch.add(value)
            batch.finish()
            return place
        return self._batches.setdefault(entry, _Batch(entry)).add(value)

    def is_complete(self) -> bool:
        """Whether what was pickled is right; else objects were met that go together: pickle it once more."""
        if self._is_late or not self._batches:
            return True
        for batch in self._batches.values():
            batch.finish()
        self._is_late = True
        return False


class _Batch:
    """The objects of one message that a serializer takes in one list."""

    def __init__(self, entry: Entry) -> None:
        self.is_done = False
        self._entry = entry
        self._values: list[Any] = []
        self._data: list[Data] = []
        self.places: list[int | None] = []  # in what is loaded; None: left to pickle

    def add(self, value: Any) -> _Place:
        self._values.append(value)
        return _Place(self, len(self._values) - 1)

    def finish(self) -> None:
        """Have them serialized."""
        made = self._entry.dump(self._values)
        n = len(self._values)
        if not isinstance(made, list) or len(made) != n:
            what = (
                f"a list of {len(made)}" if isinstance(made, list) else f"an object of type {type(made).__qualname__}"
            )
            raise HookError(f"{self._entry!r} returned {what} for a list of {n}: with vec, return a list of as many")
        for data in map(self._entry.checked, made):
            self.places.append(None if data is None else len(self._data))
            if data is not None:
                self._data.append(data)
        self.is_done = True

    def __reduce__(self) -> tuple[Any, ...]:
        # In between it is pickled only to see what else there is.
        return (arrive_together, (self._entry.loader(), self._data)) if self.is_done else (list, ())


class _Place:
    """An object's place in its batch."""

    __slots__ = ("_batch", "_i")

    def __init__(self, batch: _Batch, i: int) -> None:
        self._batch, self._i = batch, i

    def __call__(self) -> Any:
        if not self._batch.is_done:
            return operator.getitem, (self._batch, self._i)
        place = self._batch.places[self._i]
        return NotImplemented if place is None else (operator.getitem, (self._batch, place))


def arrive(load: Callable[[Any], Any], how: int, travels: Any) -> Any:
    """An object of what has travelled; given to `load` as `dump` returned it."""
    return load(bytes(travels) if how == BYTES else memoryview(travels))


def arrive_together(load: Callable[[Any], Any], data: list[Data]) -> list[Any]:
    """The objects of a batch."""
    given = [
        travels if how == AS_IT_IS else bytes(travels) if how == BYTES else memoryview(travels) for how, travels in data
    ]
    values = load(given)
    if not isinstance(values, list) or len(values) != len(given):
        what = (
            f"a list of {len(values)}" if isinstance(values, list) else f"an object of type {type(values).__qualname__}"
        )
        raise TypeError(f"{load!r} made {what} of a list of {len(given)}: with vec, return a list of as many")
    return values


def find(name: str) -> type | None:
    """The class of that name, where its module is loaded."""
    words = name.split(".")
    for i in range(len(words) - 1, 0, -1):
        found: Any = sys.modules.get(".".join(words[:i]))
        if found is not None:
            # Not getattr on the module: some import what is asked for.
            found = vars(found).get(words[i])
            for word in words[i + 1 :]:
                found = getattr(found, word, None)
            return found if isinstance(found, type) else None
    return None


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
