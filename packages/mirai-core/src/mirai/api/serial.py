"""serial_config() and register_serial(): how objects travel that cannot be pickled; what a profile uses of it."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from mirai.errors import SerializationError
from mirai.protocol.serialize import modules_by_value
from mirai.protocol.serializers import NATIVE, Entry, Serializers, find
from mirai.runtime.callers import stack_level

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mirai.hookspecs import Serializer

    Serial: TypeAlias = "SerialConfig | str | Sequence[SerialConfig | str]"

WANTED = "give names of plugins' serializers, what serial_config() returns, or a list of these"

_registered: list[SerialConfig] = []
_default: Serializers | None = None  # those of profiles that name none; None until they are wanted


@dataclass(frozen=True)
class SerialConfig:
    """How objects of one class travel; see `serial_config()`."""

    cls: type | str
    sfunc: Callable[[Any], Any]
    ufunc: Callable[[Any], Any]
    vec: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.cls, str):
            words = self.cls.split(".")
            if len(words) < 2 or not all(map(str.isidentifier, words)):
                raise ValueError(f"cls={self.cls!r}: give a class, or its dotted name, such as 'polars.DataFrame'")
            module = sys.modules.get(".".join(words[:-1]))
            # Some modules import what they are asked for: of those it cannot be told yet.
            if module is not None and not hasattr(module, "__getattr__") and find(self.cls) is None:
                raise ValueError(f"cls={self.cls!r}: {module.__name__} has no class of that name")
        elif not isinstance(self.cls, type):
            raise TypeError(f"cls={self.cls!r}: give a class, or its dotted name, such as 'polars.DataFrame'")
        elif self.cls in NATIVE:
            raise ValueError(f"cls={self.cls!r}: it is pickled without asking anybody, give a class of its own")
        for name in ("sfunc", "ufunc"):
            if not callable(getattr(self, name)):
                raise TypeError(f"{name}={getattr(self, name)!r}: give a callable")
        if not isinstance(self.vec, bool):
            raise TypeError(f"vec={self.vec!r}: give True or False")

    @property
    def name(self) -> str:
        """The dotted name of the class."""
        return self.cls if isinstance(self.cls, str) else f"{self.cls.__module__}.{self.cls.__qualname__}"


def serial_config(
    cls: type | str, sfunc: Callable[[Any], Any], ufunc: Callable[[Any], Any], vec: bool = False
) -> SerialConfig:
    """How objects of a class, and of those derived from it, travel: for `daemons(serial=…)`, `register_serial()`.

    It holds for arguments, results, what functions close over and what exceptions hold, nested however deep. An
    object that occurs twice in one argument or result goes through once, and is one object on the other side.

    Args:
        cls: a class, or its dotted name, such as `"polars.DataFrame"`: then nothing is imported for it, here or on
            a daemon, before the program does. Not one of the built-in types, which pickle asks nobody about.
        sfunc: takes an object, returns `bytes`, or a `memoryview`, which saves a copy.
        ufunc: takes what `sfunc` returned, a `memoryview` where that was one, returns the object. Both functions
            go to the daemons, by name where they can be imported there.
        vec: `sfunc` takes a list of all such objects of one message, and returns a list of `bytes`, as many; `ufunc`
            takes that, and returns the list of objects.

    Raises:
        TypeError, ValueError: names the argument and what to give.

    Where `sfunc` raises, or returns something else, `mirai()` raises `SerializationError`, which names the argument;
    on a daemon the task fails with `MiraiError`. What `ufunc` raises is the task's own error.

    Source: `serial_config()` in R; `vec` as in versions before 2.3.
    """
    return SerialConfig(cls, sfunc, ufunc, vec)


def register_serial(
    cls: type | str | SerialConfig | Iterable[SerialConfig],
    sfunc: Callable[[Any], Any] | None = None,
    ufunc: Callable[[Any], Any] | None = None,
    vec: bool = False,
) -> None:
    """Have profiles that are set later use a configuration, unless they say `serial=`.

    Args:
        cls: as for `serial_config()`; or what that returned, one or several.
        sfunc: as for `serial_config()`.
        ufunc: as for `serial_config()`.
        vec: as for `serial_config()`.

    A later one for the same class takes the place of the first.

    Source: `register_serial()` in R.
    """
    global _default
    if isinstance(cls, type | str):
        configurations = [SerialConfig(cls, sfunc, ufunc, vec)]  # type: ignore[arg-type]  # which it checks
    else:
        if sfunc is not None or ufunc is not None:
            raise TypeError("give either a configuration, or a class and its functions")
        configurations = [cls] if isinstance(cls, SerialConfig) else list(cls)
        for one in configurations:
            if not isinstance(one, SerialConfig):
                raise TypeError(f"{one!r} is no configuration: serial_config() makes one")
    for one in configurations:
        _registered[:] = [one, *(other for other in _registered if other.cls != one.cls)]
    _default = None


def chosen(serial: Serial | None) -> Serializers | None:
    """What `daemons(serial=…)` names; None: what was registered, and that of every plugin.

    Raises:
        TypeError, ValueError: names what is none.
        SerializationError: a function of a configuration cannot be sent to daemons.
    """
    global _default
    if serial is not None:
        if not isinstance(serial, str | SerialConfig | Iterable):
            raise TypeError(f"serial={serial!r}: {WANTED}")
        named = [serial] if isinstance(serial, str | SerialConfig) else serial
        entries = [_sendable(_entry(one)) for one in named]
        return Serializers(entries) if entries else None
    if _default is None:
        _default = Serializers([*(_sendable(_entry(one)) for one in _registered), *_plugins_entries()])
    return _default if _default.entries else None


def _sendable(entry: Entry) -> Entry:
    try:
        entry.encode()
    except Exception as error:
        why, advice = f"{type(error).__name__}: {error}", "Give functions that need nothing of this process"
        raise SerializationError(f"serial={entry.names[0]!r}", "serial_config", why, advice) from error
    return entry


def _entry(named: SerialConfig | str) -> Entry:
    if isinstance(named, SerialConfig):
        cls = None if isinstance(named.cls, str) else named.cls
        by_value = cls is not None and (
            cls.__module__ == "__main__" or find(named.name) is not cls or modules_by_value()
        )
        return Entry(
            [named.name],
            (cls, named.sfunc, named.ufunc),
            vec=named.vec,
            token=os.urandom(8).hex(),
            by_value=by_value,
        )
    from mirai import plugins

    if not isinstance(named, str):
        raise TypeError(f"serial={named!r}: {WANTED}")
    known = plugins.serializers()
    if named not in known:
        from difflib import get_close_matches

        names = ", ".join(sorted(known)) or "none"
        near = "".join(f"did you mean {name!r}? Else " for name in get_close_matches(named, known, n=1))
        raise ValueError(
            f"serial={named!r}: no plugin provides it (there are: {names}): {near}correct its name, or install the "
            "plugin; pip install 'mirai-core[serial]' brings ours"
        )
    return _plugins_entry(known[named])


def _plugins_entries() -> list[Entry]:
    """Those of all plugins; what is none is left out, as a plugin that fails must take nothing with it."""
    from mirai import plugins

    entries = []
    for name, serializer in plugins.serializers().items():
        try:
            entries.append(_sendable(_plugins_entry(serializer)))
        except Exception as error:
            text = f"serializer {name!r} is left out: {type(error).__name__}: {error}"
            warnings.warn(text, RuntimeWarning, stacklevel=stack_level())
    return entries


def _plugins_entry(serializer: Serializer) -> Entry:
    names = [serializer.cls] if isinstance(serializer.cls, str) else serializer.cls
    return Entry(names, (None, serializer.dump, serializer.load), vec=getattr(serializer, "vec", False))
