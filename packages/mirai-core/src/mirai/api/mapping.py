"""mirai_map() and how its results are gathered."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from mirai.api.completion import Completed
from mirai.api.elements import calls
from mirai.api.future import Mirai
from mirai.api.spans import trace_map
from mirai.api.submit import check_keywords, extras_of, prepare
from mirai.api.waiting import collect_mirai, stop_mirai
from mirai.errors import ErrorValue
from mirai.protocol.journal import Journal
from mirai.protocol.scheduler import Blob, Task
from mirai.protocol.serialize import blame, dumps, dumps_call, dumps_plain
from mirai.protocol.wire import body_size
from mirai.runtime import evaluate
from mirai.runtime import profile as profiles
from mirai.runtime.tracing import API

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Generator, Iterable, Mapping

    from mirai.api.report import Report

T = TypeVar("T")

TOGETHER = 64  # elements
IN_MEMORY = (list, tuple, range, dict, str)  # to draw an element from these takes no time


class MiraiMap(Sequence[Mirai[T]], Generic[T]):
    """The mirais of a map, in the order of its elements."""

    def __init__(self, mirais: list[Mirai[T]], keys: list[Any] | None = None, journal: Journal | None = None) -> None:
        """Made by `mirai_map()`. `keys`: those of a mapping, in the same order; `journal`: what is noted of them."""
        self._mirais = mirais
        self._keys = keys
        self._journal = journal or Journal(time.monotonic())

    def __repr__(self) -> str:
        return f"< mirai map [{sum(m.done() for m in self._mirais)}/{len(self._mirais)}] >"

    def __len__(self) -> int:
        return len(self._mirais)

    @overload
    def __getitem__(self, index: int) -> Mirai[T]: ...
    @overload
    def __getitem__(self, index: slice) -> list[Mirai[T]]: ...
    def __getitem__(self, index: int | slice) -> Mirai[T] | list[Mirai[T]]:
        return self._mirais[index]

    def collect(self, *, flat: bool = False, progress: bool | str = False, stop: bool = False) -> Any:
        """Wait, and return the values in order, an `ErrorValue` in the place of a task that failed.

        Args:
            flat: concatenate them; mixed types and errors are refused, and the rest is cancelled.
            progress: show a bar; a text is its name.
            stop: raise at the first failure, naming its index or key, and cancel the rest, running ones too.

        Returns:
            A list; a dict with the same keys where a mapping was given and not `flat`.
        """
        return collect_mirai(self, flat=flat, progress=progress, stop=stop)

    def cancel(self) -> list[bool]:
        """Cancel each, the last one first, so that no queued one is begun; whether it was unresolved."""
        stopped: list[bool] = stop_mirai(self)
        return stopped

    def as_completed(self) -> Completed[T]:
        """The mirais as they are resolved: `for m in …`, or in asyncio `async for m in …`."""
        return Completed(self._mirais)

    def keys(self) -> list[Any]:
        """The keys of what was mapped over; the indices where it had none."""
        return list(range(len(self))) if self._keys is None else list(self._keys)

    def report(self) -> Report:
        """Where the time went, so far: a table by daemon, and the one thing to do about it. Does not wait."""
        from mirai.api.report import report

        return report(self._mirais, self._journal, self._keys)

    def timeline(self, path: str | os.PathLike[str]) -> None:
        """Write when each task that is over was evaluated, and where, into a file that a browser shows.

        Args:
            path: ends in `.svg` for the picture alone, in `.html` for a page that has the report, too. Nothing in
                either refers to another file.

        Raises:
            ValueError: it ends in something else.
            OSError: it cannot be written.
        """
        from mirai.api.timeline import timeline

        timeline(path, self._mirais, self._journal, self._keys)

    def __await__(self) -> Generator[Any, None, Any]:
        """In asyncio: the same as `collect()`. Where the awaiting task is cancelled, so is the map."""
        return self._gather().__await__()

    async def _gather(self) -> Any:
        import asyncio

        try:
            async for _ in self.as_completed():
                pass
        except asyncio.CancelledError:
            self.cancel()
            raise
        return self.collect()


def mirai_map(
    xs: Iterable[Any],
    fn: Callable[..., T],
    /,
    *args: Any,
    _compute: str | None = None,
    _timeout: float | None = None,
    _globals: Mapping[str, Any] | None = None,
    _promise: Callable[[T], object] | tuple[Callable[[T], object], Callable[[ErrorValue], object]] | None = None,
    _retry: int | None = None,
    _expect: float | None = None,
    **kwargs: Any,
) -> MiraiMap[T]:
    """Evaluate `fn(x, *args, **kwargs)` for each `x`, one task an element; return at once.

    Args:
        xs: a dict or pandas Series keeps its keys. Of a data frame or an Arrow table, each row is a call,
            columns as keyword arguments; of a 2-D array, each row is a call, positional. Of any other
            iterable, each element is one `x`; a generator is drawn as it is submitted.
        fn: serialized once, as are `args` and `kwargs`, and sent to each daemon once.
        *args: constants, after the element.
        _compute: the compute profile. Without daemons one local daemon is set, with a warning.
        _timeout: seconds for each task, from now.
        _globals: set in the daemon's `__main__` before each.
        _promise: called with each value as it is there; of two, the second one with each `ErrorValue`. On
            the running event loop where there is one.
        _retry: as for `mirai()`.
        _expect: as for `mirai()`, for each task.
        **kwargs: constants.

    Raises:
        TypeError: `fn` is not callable, `xs` not iterable.
        SerializationError: names what cannot be serialized; nothing is sent.

    Source: `mirai_map()` in R.
    """
    if not callable(fn):
        raise TypeError(f"fn is of type {type(fn).__qualname__} ({fn!r:.80}): give a callable")
    check_keywords(kwargs)
    keys, elements = calls(xs)
    profile = profiles.find(_compute) or _one_daemon()
    service = profile.service
    told = _teller(_promise)
    serializers, place = service.serializers, service.place
    journal = Journal(time.monotonic(), service.works())
    blob = Blob(*dumps_call(fn, args, kwargs, {"mapping": True}, serializers, place), journal)
    mirais: list[Mirai[T]] = []
    together = TOGETHER if type(xs) in IN_MEMORY and profile.memory is None else 1
    whole = trace_map(fn, profile) if API in sys.modules else None
    traced = None
    jobs: list[Task] = []  # to be submitted together, as they come one right after the other

    def submit() -> None:
        journal.submitted(len(mirais), time.monotonic())
        service.submit_many(jobs)
        jobs.clear()

    try:
        for positional, named in elements:
            traced = None if whole is None else whole.element()
            extras = extras_of(profile, _globals, traced)
            plain = dumps_plain(positional, named) if extras is None else None
            if plain is not None:
                job = Task(0, plain, len(plain), blob=blob)
            else:
                if jobs:
                    submit()
                call = (positional, named, extras) if extras else (positional, named)
                try:
                    count, body = dumps(call, to_daemon=True, serializers=serializers, place=place)
                except Exception as error:
                    parts = _parts_of_element(len(mirais), keys, positional, named)
                    raise blame(parts, error, serializers) from error
                job = Task(count, body, body_size(body), blob=blob)
                journal.size += job.size
            future = prepare(job, profile, _timeout, _retry, _expect, traced)
            if told is not None:
                future.add_done_callback(told)
            if profile.memory is not None:
                service.wait_for_room()
            mirais.append(future)
            jobs.append(job)
            if plain is None or len(jobs) >= together:
                submit()
        if jobs:
            submit()
    except BaseException as error:
        # The generator raised, or an element cannot be serialized: what was submitted is of no use to anyone.
        stop_mirai(mirais)
        if isinstance(error, Exception):
            error.add_note(f"mirai_map: at element {len(mirais)}; those before it were cancelled")
        if traced is not None:
            traced.refused(error)
        if whole is not None:
            whole.refused(error)
        raise
    if whole is not None:
        whole.submitted(len(mirais))
    journal.daemons, journal.is_local = service.connections(), service.is_local
    return MiraiMap(mirais, keys, journal)


def _parts_of_element(
    i: int, keys: list[Any] | None, positional: Sequence[Any], named: Mapping[str, Any]
) -> list[tuple[str, Any]]:
    """What a call is made for, named as the user would."""
    where = f"element {i if keys is None else keys[i]!r}"
    if len(positional) == 1 and not named:
        return [(where, positional[0])]
    return [(f"{where}, column {name!r}", value) for name, value in (*enumerate(positional), *named.items())]


def _one_daemon() -> profiles.Profile:
    from mirai.api.daemons import daemons

    if evaluate.mapping:
        raise RuntimeError(NESTED)
    warnings.warn("no daemons are set: one is set now, call daemons(n) first for more", stacklevel=3)
    daemons(1)
    return profiles.require(None)


def _teller(promise: Any) -> Callable[[Any], None] | None:
    """What to call with a mirai once it is resolved."""
    if promise is None:
        return None
    fulfilled, rejected = promise if isinstance(promise, tuple) else (promise, None)
    for f in (fulfilled, rejected):
        if f is not None and not callable(f):
            raise TypeError(f"_promise={promise!r}: give a callable, or a tuple of two")
    asyncio = sys.modules.get("asyncio")
    loop = asyncio._get_running_loop() if asyncio else None

    def tell(m: Mirai[Any]) -> None:
        value = m.data
        f = rejected if isinstance(value, ErrorValue) else fulfilled
        if f is not None:
            f(value)

    def tell_in_loop(m: Mirai[Any]) -> None:
        assert loop is not None
        try:
            loop.call_soon_threadsafe(tell, m)
        except RuntimeError:
            pass  # the loop was closed meanwhile

    return tell if loop is None else tell_in_loop


NESTED = (
    "local daemons cannot be set from inside a map, as each of its elements would start its own: where that is "
    "meant, use daemons(url=local_url()) and launch_local(n)"
)
