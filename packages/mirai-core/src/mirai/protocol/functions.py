"""Functions, serialized once for as long as nothing of them can have changed, and sent to each daemon once.

What can be imported is sent as its name, which takes pickle longer to find again than all else about a short task.

What goes by value takes cloudpickle 20 µs and more, four times the rest of a task. So what it made is kept, with a
snapshot of all that it depends on: code, defaults, closure, and the globals that it names, other functions of this
kind among them in turn. The snapshot is compared, by identity, at each use. Only where all of that is immutable, or
goes by reference anyway, is there a snapshot at all: what can change unseen is never kept.
"""

from __future__ import annotations

import sys
from types import CodeType, FunctionType, ModuleType
from typing import Any

from mirai.protocol.scheduler import Blob
from mirai.protocol.serialize import dumps_call, modules_by_value

KEPT = 256  # functions

_CONSTANTS = (type(None), bool, int, float, complex, str, bytes, type(...), range, CodeType)
_MISSING = object()


class Functions:
    """The functions that were serialized last, each as a call without arguments of its own."""

    def __init__(self) -> None:
        # By the identity of the code, as a lambda in a loop is another function each time round.
        self._kept: dict[int, tuple[_Snapshot, Blob]] = {}
        self._named: dict[FunctionType, Blob] = {}

    def blob(self, task: FunctionType) -> Blob | None:
        """What to send for `task`; None where it has to be serialized with its arguments."""
        if modules_by_value():
            return None
        if not _goes_by_value(task):
            # As pickle finds out, each time.
            if getattr(sys.modules.get(task.__module__), task.__qualname__, None) is not task:
                return None
            named = self._named.get(task)
            if named is None:
                named = Blob(*dumps_call(task, (), {}))
                _keep(self._named, task, named)
            return named
        kept = self._kept.get(id(task.__code__))
        if kept is not None:
            snapshot, blob = kept
            if snapshot.holds(task):
                return blob
            self._kept.pop(id(task.__code__), None)  # another thread may have been here
        taken = _Snapshot.take(task)
        if taken is None:
            return None
        blob = Blob(*dumps_call(task, (), {}))
        _keep(self._kept, id(task.__code__), (taken, blob))
        return blob


def _keep(kept: dict[Any, Any], key: Any, value: Any) -> None:
    if len(kept) >= KEPT:
        kept.pop(next(iter(kept), None), None)
    kept[key] = value


class _Snapshot:
    """All that a function depends on, as it was."""

    def __init__(self) -> None:
        self._cells: list[tuple[Any, Any]] = []
        self._names: list[tuple[dict[str, Any], str, Any]] = []
        self._functions: list[tuple[FunctionType, CodeType, Any, dict[str, Any]]] = []

    @classmethod
    def take(cls, function: FunctionType) -> _Snapshot | None:
        """None where any of it could change unseen."""
        snapshot = cls()
        return snapshot if snapshot._add(function) else None

    def holds(self, function: FunctionType) -> bool:
        """Whether `function`, which has the same code, is as it was."""
        first = self._functions[0][0]
        if function is not first:
            # Made anew from the same code: the same function where it has no state of its own.
            if function.__closure__ or function.__defaults__ or function.__globals__ is not first.__globals__:
                return False
            if not _plain(function) or function.__annotations__:
                return False
        for other, code, defaults, notes in self._functions:
            if other.__code__ is not code or other.__defaults__ is not defaults:
                return False
            if other.__dict__ or other.__kwdefaults__ or other.__annotations__ != notes:
                return False
        # Most have none of these: a generator for each kind would take longer than all else here.
        for cell, value in self._cells:
            try:
                if cell.cell_contents is not value:
                    return False
            except ValueError:
                return False  # emptied
        return not self._names or all(names.get(name, _MISSING) is value for names, name, value in self._names)

    def _add(self, function: FunctionType) -> bool:
        if any(function is known for known, *_ in self._functions):
            return True
        if not _plain(function) or not all(_is_constant(value) for value in function.__defaults__ or ()):
            return False
        notes = dict(function.__annotations__)
        if not all(_is_constant(value) or _is_importable(value) for value in notes.values()):
            return False
        self._functions.append((function, function.__code__, function.__defaults__, notes))
        for cell in function.__closure__ or ():
            try:
                value = cell.cell_contents
            except ValueError:
                return False  # empty as yet
            self._cells.append((cell, value))
            if not self._add_value(value):
                return False
        for name in _names(function.__code__):
            value = function.__globals__.get(name, _MISSING)
            self._names.append((function.__globals__, name, value))
            if value is not _MISSING and not self._add_value(value):
                return False
        return True

    def _add_value(self, value: Any) -> bool:
        if _is_constant(value):
            return True
        if isinstance(value, ModuleType):
            return sys.modules.get(value.__name__) is value
        if type(value) is FunctionType and _goes_by_value(value):
            return self._add(value)
        return _is_importable(value)


def _goes_by_value(function: FunctionType) -> bool:
    return function.__module__ == "__main__" or "<" in function.__qualname__


def _plain(function: FunctionType) -> bool:
    """Whether it carries nothing beside its code, defaults and annotations."""
    return not function.__dict__ and not function.__kwdefaults__


def _is_constant(value: Any) -> bool:
    kind = type(value)
    if kind in (tuple, frozenset):
        return all(map(_is_constant, value))
    return kind in _CONSTANTS


def _is_importable(value: Any) -> bool:
    """Whether it goes by reference: a function, class or built-in that a module has under its name."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if module is None or module == "__main__" or name is None or not callable(value):
        return False
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is value


def _names(code: CodeType) -> set[str]:
    """The global names in it (and attributes, which do no harm), nested functions and comprehensions too."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names(constant)
    return names
