"""Put back what a task changed in its daemon, so that the next one finds what the first one found."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # not from typing, whose import is a good part of a daemon's start
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType
    from typing import Any


class Cleanup:
    """What is put back after each task."""

    NAMES = 1  # in `__main__`
    MODULES = 2  # imported since, pure Python ones
    ENVIRONMENT = 4  # variables, working directory, sys.path, warning filters, decimal context
    COLLECT = 8  # gc.collect()

    DEFAULT = NAMES | ENVIRONMENT


def parse(value: bool | int | str) -> int:
    """`True` is the default, `False` nothing; a number is a sum of bits.

    Raises:
        ValueError: it is none of these.
    """
    text = str(value).lower()
    if text in ("true", "false"):
        return Cleanup.DEFAULT if text == "true" else 0
    if text.isdecimal() and int(text) < 16:
        return int(text)
    raise ValueError(f"cleanup={value!r}: give True, False or a sum of 1, 2, 4 and 8")


class Baseline:
    """What to go back to: taken at the start, and again after each `everywhere`."""

    def __init__(self, what: int, main: ModuleType) -> None:
        self._module = main
        self._main = main.__dict__
        self._restores_names = bool(what & Cleanup.NAMES)
        self._restores_modules = bool(what & Cleanup.MODULES)
        self._restores_environment = bool(what & Cleanup.ENVIRONMENT)
        self._collects = bool(what & Cleanup.COLLECT)
        self.take()

    def take(self) -> None:
        """From now on, this is what a task should find."""
        self._names = dict(self._main)
        self._modules = set(sys.modules) if self._restores_modules else set()
        self._environment = _Environment()

    def restore(self) -> bool:
        """Put back what has changed since; whether modules were among it."""
        sys.modules["__main__"] = self._module
        forgotten = False
        if self._restores_names:
            main, names = self._main, self._names
            main.update(names)
            if len(main) != len(names):
                for name in main.keys() - names.keys():
                    del main[name]
        if self._restores_environment:
            self._environment.restore()
        if self._restores_modules:
            forgotten = self._forget_modules()
        if self._collects:
            import gc

            gc.collect()
        return forgotten

    def _forget_modules(self) -> bool:
        new = set(sys.modules) - self._modules
        if not new:
            return False
        # A compiled module cannot be loaded twice, nor what belongs to its package.
        compiled = {_top(name) for name in new if _is_compiled(sys.modules[name])}
        new -= {name for name in new if _top(name) in compiled}
        for name in new - _referred(new):
            del sys.modules[name]
        self._modules = set(sys.modules)  # what stays now will always stay
        return True


def _top(name: str) -> str:
    return name.partition(".")[0]


def _is_compiled(module: Any) -> bool:
    origin = getattr(getattr(module, "__spec__", None), "origin", None)
    return origin is not None and not str(origin).endswith(".py")


def _referred(new: set[str]) -> set[str]:
    """Of these modules, what any other one refers to: forgotten, there would be two of each of its classes."""
    referred: set[str] = set()
    waiting = [name for name in sys.modules if name not in new and name != "__main__"]
    while waiting:
        name = waiting.pop()
        found = set(_names_in(name)) & new - referred
        referred |= found
        waiting += found
    return referred


def _names_in(name: str) -> Iterator[str]:
    """The modules that a module refers to by itself or by what they define, its own parts aside."""
    for key, value in list(getattr(sys.modules[name], "__dict__", {}).items()):
        kind = type(value)
        if kind is not type(sys):
            owner = getattr(value if kind is type or kind is type(_top) else kind, "__module__", None)
            if isinstance(owner, str):
                yield owner
        elif value.__name__ != f"{name}.{key}":  # an attribute that importing a submodule sets
            yield value.__name__


class _Environment:
    """Environment variables, working directory, `sys.path`, warning filters, decimal context."""

    def __init__(self) -> None:
        self._variables = dict(os.environ)
        self._directory = _directory()
        self._path = list(sys.path)
        warnings = sys.modules.get("warnings")
        self._filters = list(warnings.filters) if warnings else None
        decimal = sys.modules.get("decimal")
        self._decimal = decimal.getcontext().copy() if decimal else None
        _process.changed = False

    def restore(self) -> None:
        if _process.changed or not _process.watched:
            self._restore_process()
        if sys.path != self._path:
            sys.path[:] = self._path
        warnings = sys.modules.get("warnings")
        if warnings and self._filters is not None and warnings.filters != self._filters:
            warnings.filters[:] = self._filters
            warnings._filters_mutated()
        decimal = sys.modules.get("decimal")
        if decimal:
            if self._decimal is None:
                self._decimal = decimal.DefaultContext.copy()
            decimal.setcontext(self._decimal.copy())

    def _restore_process(self) -> None:
        if os.environ != self._variables:
            for name in os.environ.keys() - self._variables.keys():
                del os.environ[name]
            os.environ.update(self._variables)
        if self._directory is not None and _directory() != self._directory:
            try:
                os.chdir(self._directory)
            except OSError:
                self._directory = None  # it was removed: there is nothing to go back to
        _process.changed = False


class _Process:
    """Whether variables or the directory were changed, where that is watched: comparing takes 30 µs a task."""

    watched = False
    changed = False


_process = _Process()


def watch() -> None:
    """From now on, hear of changes to the process: for a process that is a daemon and nothing else."""
    if not _process.watched:
        _process.watched = True
        sys.addaudithook(_heard)  # it cannot be taken away again


def _heard(event: str, args: tuple[object, ...]) -> None:
    if event in ("os.chdir", "os.putenv", "os.unsetenv"):
        _process.changed = True


def _directory() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None
