"""mirai() sends one task, everywhere() sends one to each daemon."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import FunctionType
from typing import TYPE_CHECKING, Any

from mirai.api.dependencies import dependencies, submit_after
from mirai.api.future import Mirai
from mirai.api.serial import chosen
from mirai.api.spans import trace
from mirai.protocol.functions import Functions
from mirai.protocol.journal import Journal
from mirai.protocol.scheduler import Task
from mirai.protocol.serialize import dumps_arguments, dumps_call, dumps_plain
from mirai.protocol.wire import body_size
from mirai.runtime import profile as profiles
from mirai.runtime.dispatcher import Dispatcher
from mirai.runtime.tracing import API
from mirai.transport import shared

if TYPE_CHECKING:
    from collections.abc import Callable

    from mirai.api.mapping import MiraiMap
    from mirai.api.spans import Traced
    from mirai.protocol.serialize import Place
    from mirai.runtime.profile import Profile

OURS = ("_timeout", "_compute", "_globals", "_retry", "_expect", "_promise")  # keywords beside the task's own

functions = Functions()


def mirai(
    task: Callable[..., Any] | str,
    /,
    *args: Any,
    _timeout: float | None = None,
    _compute: str | None = None,
    _globals: Mapping[str, Any] | None = None,
    _retry: int | None = None,
    _expect: float | None = None,
    **kwargs: Any,
) -> Mirai[Any]:
    """Evaluate `task` on a daemon; return at once.

    Args:
        task: a callable, or source text, whose value is that of its last expression.
        *args: the callable's arguments; serialized now, so that what is changed later has no effect.
        _timeout: seconds from now after which it resolves to `TimedOut`, and is interrupted.
        _compute: the compute profile; the current one unless given. Without daemons, one process is
            started for this task alone.
        _globals: set in the daemon's `__main__` before.
        _retry: how often it is given to another daemon where its own was lost; as the profile says unless given.
        _expect: seconds that it will take, at most: it is not begun on a daemon whose allocation ends before.
        **kwargs: the callable's keyword arguments, or the local names of source text.

    Raises:
        TypeError: `task` is neither callable nor text, or text with positional arguments.
        SyntaxError: the text is not Python.
        SerializationError: names the argument that cannot be serialized; nothing is sent.
        NoDaemonsError: the profile named is not set.

    Source: `mirai()` in R.
    """
    if not callable(task):
        check_text(task, args)
    if kwargs:
        check_keywords(kwargs)
    profile = profiles.find(_compute)
    if profile is not None and profile.memory is not None:
        profile.service.wait_for_room()
    plain = dumps_plain(args, kwargs)
    awaited = None
    if plain is None and (Mirai in map(type, args) or (kwargs and Mirai in map(type, kwargs.values()))):
        awaited = dependencies(args, kwargs)
    traced = trace(task, profile, awaited) if API in sys.modules else None
    try:
        if awaited is not None:
            return submit_after(awaited, task, args, kwargs, profile, _timeout, _globals, _retry, _expect, traced)
        extras = extras_of(profile, _globals, traced)
        blob = functions.blob(task) if type(task) is FunctionType else None
        if blob is not None and plain is not None and extras is None:
            job = Task(0, plain, len(plain), blob=blob)
        else:
            place: Place
            if profile is None:
                serializers, place = chosen(None), shared.place
            else:
                serializers, place = profile.service.serializers, profile.service.place
            if blob is None:
                count, body = dumps_call(task, args, kwargs, extras, serializers, place)
            else:
                count, body = dumps_arguments(args, kwargs, extras, serializers, place)
            job = Task(count, body, body_size(body), blob=blob)
        future = prepare(job, profile, _timeout, _retry, _expect, traced)
        future._service.submit(job)
    except BaseException as error:
        if traced is not None:
            traced.refused(error)
        raise
    return future


def try_mirai(task: Callable[..., Any] | str, /, *args: Any, **kwargs: Any) -> Mirai[Any] | None:
    """As `mirai()`, but None at once where the memory budget of the profile is full: nothing is sent then.

    Source: `try_mirai()` in R.
    """
    profile = profiles.find(kwargs.get("_compute"))
    if profile is not None and profile.memory is not None and not profile.service.has_room():
        return None
    return mirai(task, *args, **kwargs)


def everywhere(
    task: Callable[..., Any] | str,
    /,
    *args: Any,
    _min: int = 1,
    _compute: str | None = None,
    _globals: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> MiraiMap[Any]:
    """Evaluate `task` once on each connected daemon, to set them up; what it leaves behind stays there.

    Tasks submitted later start after it, and a daemon that connects later runs it before its first task.

    Args:
        task: as for `mirai()`; what source text assigns, and `global` names, persist.
        *args: as for `mirai()`.
        _min: daemons to wait for, at least. Where there are fewer for 20 s, an error is logged, and it waits on.
        _compute: the compute profile.
        _globals: set in each daemon's `__main__`, to stay.
        **kwargs: as for `mirai()`.

    Returns:
        A mirai for each daemon.

    Raises:
        NoDaemonsError: the profile is not set.

    Source: `everywhere()` in R.
    """
    from mirai.api.mapping import MiraiMap

    if not callable(task):
        check_text(task, args)
    if isinstance(_min, bool) or not isinstance(_min, int) or _min < 1:
        raise ValueError(f"_min={_min!r}: give the number of daemons to wait for, 1 or more")
    profile = profiles.require(_compute)
    service = profile.service
    extras = None if _globals is None else {"globals": checked_names(_globals)}
    count, body = dumps_call(task, args, kwargs, extras, service.serializers, service.place)
    futures: list[Mirai[Any]] = []
    jobs = []
    journal = Journal(time.monotonic(), service.works())
    for _ in range(max(_min, service.connections())):
        job = Task(count, body, body_size(body))
        job.journal = journal
        job.future = Mirai(profile.name, service, job)
        futures.append(job.future)
        jobs.append(job)
    journal.submitted(len(futures), time.monotonic())
    service.submit_everywhere(jobs, _min)
    return MiraiMap(futures, journal=journal)


def check_text(task: object, args: tuple[Any, ...]) -> None:
    """A task that is not callable must be Python text, and takes names only."""
    if not isinstance(task, str):
        raise TypeError(
            f"the task is of type {type(task).__qualname__} ({task!r:.80}): give a callable, or source text"
        )
    if args:
        raise TypeError("source text takes no positional arguments: give them names, as in mirai('x + 1', x=1)")
    compile(task, "<mirai>", "exec")


def check_keywords(kwargs: Mapping[str, Any]) -> None:
    """What begins with an underscore and is nearly one of our own is a slip, not the task's.

    Raises:
        TypeError: names the right one.
    """
    for name in kwargs:
        if name.startswith("_"):
            from difflib import get_close_matches

            if near := get_close_matches(name, OURS, n=1, cutoff=0.85):
                raise TypeError(f"there is no {name!r}: did you mean {near[0]!r}?")


def extras_of(
    profile: Profile | None, names: Mapping[str, Any] | None, traced: Traced | None = None
) -> dict[str, Any] | None:
    """What travels beside a call: names for `__main__`, its place in the stream of random numbers, its span."""
    if names is None and traced is None and (profile is None or profile.seed is None):
        return None
    extras: dict[str, Any] = {} if traced is None else dict(traced.extras)
    if names is not None:
        extras["globals"] = checked_names(names)
    if profile is not None and profile.seed is not None:
        extras["seed"] = profile.next_seed()
    return extras


def checked_names(names: object) -> Mapping[str, Any]:
    """What `_globals` may be.

    Raises:
        TypeError: it is no mapping of names.
    """
    if not isinstance(names, Mapping) or not all(isinstance(name, str) and name.isidentifier() for name in names):
        raise TypeError(f"_globals={names!r:.80}: give names and their values, as in {{'limit': 3}}")
    return names


def prepare(
    task: Task,
    profile: Profile | None,
    timeout: float | None,
    retry: int | None,
    expect: float | None,
    traced: Traced | None = None,
) -> Mirai[Any]:
    """The future of a task that is still to be submitted. Without a profile, a daemon is started for it."""
    if timeout is not None and not is_duration(timeout):
        raise ValueError(f"_timeout={timeout!r}: give seconds, 0 or more, or None for no limit")
    if expect is not None:
        if not is_duration(expect):
            raise ValueError(f"_expect={expect!r}: give the seconds that it will take, 0 or more, or None")
        task.expected = float(expect)
    if retry is not None and (isinstance(retry, bool) or not isinstance(retry, int) or retry < 0):
        raise ValueError(f"_retry={retry!r}: give a whole number, 0 or more, or None for what the profile says")
    if profile is None:
        future: Mirai[Any] = Mirai("default", ephemeral(), task)
    else:
        future = Mirai(profile.name, profile.service, task)
        task.retries = profile.retry if retry is None else retry
    task.future = future
    if traced is not None:
        future.trace(traced)
    if timeout is not None:
        future.limit(timeout)
    return future


def is_duration(value: object) -> bool:
    """Whether it is a number of seconds, 0 or more."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def ephemeral() -> Dispatcher:
    """A daemon for one task, which leaves when the result is in."""
    service = Dispatcher(ephemeral=True, serializers=chosen(None))
    try:
        service.start_local(1, {"maxtasks": 1, "cleanup": False}, threads=None, output=False)
    except BaseException:
        service.close()
        raise
    return service
