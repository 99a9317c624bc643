"""collect_mirai(), race_mirai(), unresolved(), over any number of mirais."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from mirai.api.completion import Completed
from mirai.api.future import UNRESOLVED, Mirai
from mirai.errors import Canceled, ErrorValue, MiraiError, MiraiInterrupt
from mirai.runtime.once import Once

if TYPE_CHECKING:
    from mirai.protocol.scheduler import Task
    from mirai.runtime.profile import Service

REFRESH = 0.1  # seconds between two looks of a progress bar


def collect_mirai(
    x: Mirai[Any] | Iterable[Mirai[Any]], *, flat: bool = False, progress: bool | str = False, stop: bool = False
) -> Any:
    """Wait, and return the value, or the values in the order given.

    Args:
        x: one mirai, a list of them, a map, or a dict of them, from any mix of compute profiles.
        flat: concatenate the values; refuses mixed types and errors.
        progress: show a bar; a text is its name.
        stop: raise at the first failure, naming its index, and cancel the rest, running ones too.

    Returns:
        A failed task's place holds its `ErrorValue`; nothing is raised unless `stop` or `flat`.

    Source: `collect_mirai()` in R.
    """
    if isinstance(x, Mirai):
        return collect_mirai([x], progress=progress, stop=stop)[0]
    mirais, keys = _mirais(x), _keys(x)
    names = keys or range(len(mirais))
    if stop:
        _stop_at_failure(mirais, names)
    if progress:
        _watch(mirais, progress if isinstance(progress, str) else "")
    call_mirai(mirais)
    values = [m.data for m in mirais]
    if flat:
        return _flat(values, names)
    return values if keys is None else dict(zip(keys, values, strict=True))


def race_mirai(ms: Iterable[Mirai[Any]]) -> int | None:
    """Wait for the first of `ms` to be resolved; its index. Of several that are, the first; None for none given.

    Source: `race_mirai()` in R, where indices count from 1.
    """
    mirais = _mirais(ms)
    if not mirais:
        return None
    once = Once()
    if not any(m.done() for m in mirais):
        for m in mirais:
            m.wake_when_done(once)
        mirais[0]._service.wait(once)
    return next(i for i, m in enumerate(mirais) if m.done())


def call_mirai(x: Any) -> Any:
    """Wait until `x`, a mirai or any number of them, is resolved; return it.

    Source: `call_mirai()` in R.
    """
    for m in _mirais(x):
        m._wait(None)
    return x


def unresolved(x: Any) -> bool:
    """Whether `x` is a mirai that is not resolved, or any of several is. Anything else is resolved.

    Source: `unresolved()` in R.
    """
    if isinstance(x, Mirai):
        return not x.done()
    if isinstance(x, dict):
        return any(map(unresolved, x.values()))
    if isinstance(x, (list, tuple)) or (isinstance(x, Sequence) and is_mirai_map(x)):
        return any(map(unresolved, x))
    return x is UNRESOLVED


def stop_mirai(x: Any) -> Any:
    """Cancel a mirai, or any number of them, the last one first.

    Returns:
        For each whether it was unresolved: a bool, or a list of them in the order given.

    Source: `stop_mirai()` in R.
    """
    if isinstance(x, Mirai):
        return x.cancel()
    mirais = _mirais(x)
    stopped = dict.fromkeys(mirais, False)
    tasks: dict[Service, list[Task]] = {}
    for m in reversed(mirais):
        if (task := m._task) is not None:
            tasks.setdefault(m._service, []).append(task)
    for service, theirs in tasks.items():
        futures = [task.future for task in theirs]
        stopped.update(zip(futures, service.cancel(theirs, Canceled()), strict=True))
    return [stopped[m] for m in mirais]


def is_mirai(x: Any) -> bool:
    """Whether `x` is a mirai."""
    return isinstance(x, Mirai)


def is_mirai_map(x: Any) -> bool:
    """Whether `x` is a map of mirais; what it is collected to is not."""
    from mirai.api.mapping import MiraiMap

    return isinstance(x, MiraiMap)


def is_mirai_error(x: Any) -> bool:
    """Whether `x` is the value of a task that raised."""
    return isinstance(x, MiraiError)


def is_mirai_interrupt(x: Any) -> bool:
    """Whether `x` is the value of a task that was interrupted on its daemon."""
    return isinstance(x, MiraiInterrupt)


def is_error_value(x: Any) -> bool:
    """Whether `x` is the value of a task that failed, for whatever reason."""
    return isinstance(x, ErrorValue)


def _mirais(x: Any) -> list[Mirai[Any]]:
    if isinstance(x, Mirai):
        return [x]
    if not isinstance(x, Iterable) or isinstance(x, str):
        raise TypeError(f"{x!r:.80} is of type {type(x).__qualname__}: give a mirai, a map, or a list of mirais")
    mirais = list(x.values() if isinstance(x, dict) else x)
    for i, m in enumerate(mirais):
        if not isinstance(m, Mirai):
            raise TypeError(f"element {i} is of type {type(m).__qualname__} ({m!r:.80}), not a mirai")
    return mirais


def _keys(x: Any) -> list[Any] | None:
    return list(x) if isinstance(x, dict) else getattr(x, "_keys", None)


def _stop_at_failure(mirais: Sequence[Mirai[Any]], names: Sequence[Any]) -> None:
    """Wait until all are resolved, or one fails: then cancel the rest and raise, naming it."""
    for done in Completed(mirais):
        if done.failed():
            stop_mirai(mirais)
            where = next(i for i, m in enumerate(mirais) if m is done)
            error = done.data
            assert isinstance(error, ErrorValue)
            raise _named(error, names[where])


def _named(error: ErrorValue, name: Any) -> ErrorValue:
    """The same error, which says of which element it is."""
    named = copy.copy(error)
    named.message = f"In {'index' if isinstance(name, int) else 'key'} {name!r}: {error.message or error.summary}"
    named.args = (named.message,)
    named.__cause__ = getattr(error, "original", None) or error.__cause__
    return named


def _flat(values: list[Any], names: Sequence[Any]) -> Any:
    for value, name in zip(values, names, strict=True):
        if isinstance(value, ErrorValue):
            raise _named(value, name)
        if type(value) is not type(values[0]):
            raise TypeError(
                f"flat=True needs values of one type: index {names[0]!r} is of type {type(values[0]).__qualname__}, "
                f"index {name!r} of type {type(value).__qualname__}"
            )
    if values and isinstance(values[0], (list, tuple)):
        return [item for value in values for item in value]
    if values and type(values[0]).__module__.partition(".")[0] == "numpy" and hasattr(values[0], "ndim"):
        import numpy

        return numpy.concatenate([numpy.atleast_1d(value) for value in values])
    return values


def _watch(mirais: list[Mirai[Any]], name: str) -> None:
    """Show a progress bar until all are resolved."""
    from mirai.api.progress import Progress

    with Progress(len(mirais), name=name) as bar:
        remaining = mirais
        done = failed = 0
        while remaining:
            deadline = time.monotonic() + REFRESH
            for m in remaining:
                if not m._service.wait(m, deadline - time.monotonic()):
                    break
            finished = [m for m in remaining if m.done()]
            remaining = [m for m in remaining if not m.done()]
            done += len(finished)
            failed += sum(isinstance(m.data, ErrorValue) for m in finished)
            bar.update(done, failed)
