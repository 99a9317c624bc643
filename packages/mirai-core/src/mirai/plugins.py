"""The plugins that are installed: what they provide, and which of them could not be loaded.

They are found by their entry point and imported when somebody first asks. For their authors this module
also holds the hook specifications (`hookimpl`, `Launcher`, …), which are those of `mirai.hookspecs`.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import warnings
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, NamedTuple

import pluggy

from mirai import hookspecs
from mirai.hookspecs import (
    Launch,
    LaunchCommand,
    Launcher,
    Serializer,
    hookimpl,
    mirai_launchers,
    mirai_serializers,
)
from mirai.runtime.callers import stack_level

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from importlib.metadata import EntryPoint

__all__ = [
    "Found",
    "Launch",
    "LaunchCommand",
    "Launcher",
    "Serializer",
    "found",
    "hookimpl",
    "launcher",
    "launchers",
    "mirai_launchers",
    "mirai_serializers",
    "serializers",
]


class Found(NamedTuple):
    """One launcher or serializer that a plugin provides; or a plugin that could not be loaded.

    Attributes:
        kind: `launcher`, `serializer`, or `plugin` where no more is known of it.
        error: why it is left out.
    """

    kind: str
    name: str
    distribution: str
    version: str
    error: str | None = None


def found() -> list[Found]:
    """Everything that plugins provide, and every plugin that failed."""
    return [row for row, _ in _provided()]


def launchers() -> dict[str, type[Launcher]]:
    """The launchers' classes by their name."""
    return _usable("launcher")


def serializers() -> dict[str, Serializer]:
    """The serializers by their name."""
    return _usable("serializer")


def launcher(kind: str, /, **options: Any) -> Launcher:
    """Make the launcher that a plugin provides as `kind`, as a YAML profile would.

    Raises:
        ValueError: no plugin provides it.
        TypeError: it has no such option, needs one that is not given, or wants another type.
    """
    known = launchers()
    if kind not in known:
        names = ", ".join(sorted(known)) or "none"
        raise ValueError(
            f"no launcher {kind!r} (there are: {names}): correct its name, or install the plugin that "
            "provides it; pip install 'mirai-core[launchers]' brings ours"
        )
    make: Callable[..., Launcher] = known[kind]
    _check_options(kind, make, options)
    return make(**options)


def _check_options(kind: str, make: Callable[..., Launcher], options: Mapping[str, Any]) -> None:
    try:
        parameters = inspect.signature(make).parameters
    except ValueError:  # it is not written in Python, and checks them itself
        return
    names = [name for name, one in parameters.items() if one.kind in (one.KEYWORD_ONLY, one.POSITIONAL_OR_KEYWORD)]
    takes_any = any(one.kind == one.VAR_KEYWORD for one in parameters.values())
    for option in () if takes_any else options:
        if option not in names:
            near = "".join(f"did you mean {name!r}?" for name in difflib.get_close_matches(option, names, n=1))
            there_are = f"there are: {', '.join(names) or 'none'}"
            raise TypeError(
                f"the launcher {kind!r} has no option {option!r} ({there_are}): {near or 'choose of these'}"
            )
    missing = [name for name in names if parameters[name].default is inspect.Parameter.empty and name not in options]
    if missing:
        raise TypeError(f"the launcher {kind!r} needs {' and '.join(missing)}: add {missing[0]}=")


def _usable(kind: str) -> dict[str, Any]:
    return {row.name: thing for row, thing in _provided() if row.kind == kind and row.error is None}


@functools.cache
def _provided() -> list[tuple[Found, Any]]:
    """Each row, and what it describes."""
    provided: list[tuple[Found, Any]] = []
    owners: dict[tuple[str, str], str] = {}
    for plugin, entry_point in sorted((_row(entry), entry) for entry in entry_points(group="mirai")):
        try:
            things = _load(entry_point)
        except Exception as error:
            # Whatever it is: a plugin must not take mirai with it.
            provided.append((_left_out(plugin, f"{type(error).__name__}: {error}"), None))
            continue
        for kind, name, thing in things:
            row = plugin._replace(kind=kind, name=name)
            owner = owners.setdefault((kind, name), plugin.distribution)
            if owner != plugin.distribution:
                row = _left_out(row, f"{owner} provides one of that name")
            provided.append((row, thing))
    return provided


def _row(entry_point: EntryPoint) -> Found:
    distribution = entry_point.dist
    assert distribution is not None, "entry_points() sets it"
    return Found("plugin", entry_point.name, distribution.name, distribution.version)


def _load(entry_point: EntryPoint) -> list[tuple[str, str, Any]]:
    """Import one plugin: the kind, the name and the thing itself, for all that it provides."""
    # A manager for each plugin, so that one that raises takes no other with it.
    manager = pluggy.PluginManager("mirai")
    manager.add_hookspecs(hookspecs)
    manager.register(entry_point.load(), entry_point.name)
    manager.check_pending()  # a hook of ours that is misspelt
    hooks = {"launcher": manager.hook.mirai_launchers, "serializer": manager.hook.mirai_serializers}
    return [(kind, *item) for kind, hook in hooks.items() for things in hook() for item in things.items()]


def _left_out(row: Found, error: str) -> Found:
    warnings.warn(
        f"{row.kind} {row.name!r} of {row.distribution} {row.version} is left out: {error}",
        RuntimeWarning,
        stacklevel=stack_level(),
    )
    return row._replace(error=error)
