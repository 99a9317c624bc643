"""A mirai as another one's argument: waited for without a thread, its value passed as it came."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mirai.api.future import Mirai
from mirai.api.serial import chosen
from mirai.errors import ConnectionReset, ErrorValue, MiraiError
from mirai.protocol.scheduler import Task
from mirai.protocol.serialize import Nested, dumps_call
from mirai.protocol.wire import body_size
from mirai.runtime.dispatcher import FORKED
from mirai.runtime.evaluate import call_with

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mirai.api.spans import Traced
    from mirai.runtime.profile import Profile


def dependencies(args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[int | str, Mirai[Any]]:
    """The arguments that are mirais, by position or name."""
    found: dict[int | str, Mirai[Any]] = {}
    for i, value in enumerate(args):
        if isinstance(value, Mirai):
            found[i] = value
    for name, value in kwargs.items():
        if isinstance(value, Mirai):
            found[name] = value
    return found


def submit_after(
    awaited: Mapping[int | str, Mirai[Any]],
    task: Callable[..., Any] | str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    profile: Profile | None,
    timeout: float | None,
    names: Mapping[str, Any] | None,
    retry: int | None,
    expect: float | None,
    traced: Traced | None,
) -> Mirai[Any]:
    """Submit a task once every mirai of `awaited` has its value; where one fails, the task fails with it.

    All else is serialized now. The values are not deserialized on their way through the host.
    """
    from mirai.api.submit import extras_of, prepare
    from mirai.api.waiting import call_mirai

    given = [None if i in awaited else value for i, value in enumerate(args)]
    named = {name: value for name, value in kwargs.items() if name not in awaited}
    extras = extras_of(profile, names, traced)
    serializers = profile.service.serializers if profile is not None else chosen(None)
    call = Nested(*dumps_call(task, given, named, None, serializers))
    job = Task(0, b"", 0)
    future = prepare(job, profile, timeout, retry, expect, traced)
    service = future._service
    if service.immediate:
        call_mirai(list(awaited.values()))
    values = dict(awaited)  # to be let go of, large as they may be, without waiting for the garbage collector
    missing = iter(range(len(values) - 1, -1, -1))

    def one_is_here(done: Any) -> None:
        if done.failed():
            values.clear()
            _waiting.discard(future)
            service.deferred.discard(job)
            done._resolve()  # code of the user's, not to be run under a lock
            service.resolve(future, lambda: future.settle_as(done))
            return
        if next(missing):
            return
        _waiting.discard(future)
        service.deferred.discard(job)
        error: ErrorValue
        try:
            parts = {where: Nested(*m.serialized(serializers)) for where, m in values.items()}
            values.clear()
            job.count, job.body = dumps_call(call_with, (call, parts), {}, extras, serializers, service.place)
        except Exception as broken:
            error = MiraiError(f"a value that it waited for cannot be passed on: {broken}", original=broken)
        else:
            job.size = body_size(job.body)
            try:
                if not future.done():
                    service.submit(job)
                return
            except RuntimeError:
                error = ConnectionReset("Connection reset: its profile was reset before its arguments were there")
        service.resolve(future, lambda: future.fail(error))

    with service.uninterrupted:
        _waiting.add(future)
        service.deferred.add(job)
        for m in awaited.values():
            m.add_done_callback(one_is_here)
    return future


_waiting: set[Mirai[Any]] = set()


def _forget_in_child() -> None:
    """After a fork those they wait for are the parent's."""
    for future in _waiting:
        future.orphan(ConnectionReset(FORKED))
    _waiting.clear()


os.register_at_fork(after_in_child=_forget_in_child)
