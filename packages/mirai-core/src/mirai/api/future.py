"""Mirai: a value that may not be here yet; wait, await, cancel."""

from __future__ import annotations

import itertools
import threading
import time
from concurrent.futures import Future
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, PENDING
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, TypeVar

from mirai.errors import Canceled, ErrorValue, MiraiError, MiraiInterrupt, RemoteTraceback, TimedOut
from mirai.protocol import serialize
from mirai.protocol.messages import Status

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Generator

    from mirai.api.spans import Traced
    from mirai.protocol.scheduler import Task
    from mirai.protocol.serializers import Serializers
    from mirai.protocol.wire import Buffer
    from mirai.runtime.lead import Waker
    from mirai.runtime.profile import Service
    from mirai.runtime.watch import Watch

T = TypeVar("T")

KINDS = {Status.ERROR: "MiraiError", Status.INTERRUPTED: "MiraiInterrupt", Status.CANCELLED: "Canceled"}
VALUE, ERROR = Status.VALUE, Status.ERROR
NESTED = 2  # times that `conclude` is called where its thread is in the middle of what its lock guards, until it does
LOST = 200  # times where another thread has that lock: most likely it was left by an exception, and keeps it for ever

_ids = itertools.count(1)


class Unresolved:
    """The type of `UNRESOLVED`."""

    _only: Unresolved | None = None

    def __new__(cls) -> Unresolved:
        if cls._only is None:
            cls._only = super().__new__(cls)
        return cls._only

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return "< unresolved >"

    def __reduce__(self) -> str:
        return "UNRESOLVED"


UNRESOLVED = Unresolved()

_UNREAD, _READ = object(), ErrorValue("was deserialized")


class Mirai(Future[T], Generic[T]):
    """A value that may not be here yet.

    Made by `mirai()`, `mirai_map()` and `everywhere()`. All that takes a `concurrent.futures.Future` takes it.

    Attributes:
        id: an integer that increases with every mirai of the session.
    """

    # Most live without ever being waited for through a condition variable, which takes longer to make
    # than all the rest: it is made when somebody asks for it. Hence no `super().__init__()`.
    #
    # There is no lock, as code that runs in the middle of what is below (a finalizer, a signal handler) could not
    # wait for it. Where something is looked at and then set, there is no call between, so nothing else can happen.
    #
    # What every one gets is set at once: an attribute that most have not yet when dozens are made costs a dict each,
    # as they then no longer share the names of theirs. The others are seldom set.
    _final: str = PENDING  # what it is to be when those who wait through the condition variable are told
    _task: Task | None  # until it is decided what becomes of it
    _put_off = 0  # how often `conclude` was
    _watched = False  # somebody, or a timer, is to be told
    _cond: threading.Condition | None = None
    _wakers: list[Waker] | None = None
    _error: BaseException | None = None  # what `result` raises, set before `_value`
    _timer: Any = None
    _traced: Traced | None = None  # where a tracer is set up

    def __init__(self, profile: str, service: Service, task: Task) -> None:
        self.id = next(_ids)
        self._profile = profile
        self._service = service
        self._task = task
        self._state: str = PENDING
        # A body alone is a value without buffers.
        self._reply: Buffer | tuple[int, int, Buffer] | ErrorValue = _READ
        self._value: Any = _UNREAD  # for `data`, once somebody has asked

    def __repr__(self) -> str:
        here = "$data" if self.done() else ""
        return f"< mirai [{here}] > id {self.id}, profile {self._profile!r}, {self._state_name()}"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a mirai stays where it is: as an argument of mirai() by itself, it is waited for and its value is sent; "
            "elsewhere, wait for it first"
        )

    # Reading

    @property
    def data(self) -> T | ErrorValue | Unresolved:
        """The value, an `ErrorValue`, or `UNRESOLVED`, which is falsy. Never waits, never raises."""
        return self._resolve() if self._state is not PENDING else UNRESOLVED

    def result(self, timeout: float | None = None) -> T:
        """Wait, at most `timeout` seconds, and return the value.

        Raises:
            TimeoutError: it is not here yet; the task goes on.
            ErrorValue: what became of it, unless the task itself raised: then that exception, its
                traceback on the daemon in the message chain.
        """
        if self._state is PENDING:
            self._wait(timeout)
        value = self._value
        if value is _UNREAD:
            value = self._resolve()
        if self._error is not None:
            try:
                raise self._error
            finally:
                del self, value  # no cycle through this frame
        return value  # type: ignore[no-any-return]

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait, at most `timeout` seconds, for what `result` would raise; None for a value.

        Raises:
            Canceled: it was cancelled.
        """
        self._wait(timeout)
        self._resolve()
        if isinstance(self._error, Canceled):
            raise self._error
        return self._error

    def done(self) -> bool:
        """Whether it is resolved, to a value or an error."""
        return self._state is not PENDING

    def running(self) -> bool:
        """Whether the task is in evaluation."""
        task = self._task
        return task is not None and self._service.is_executing(task)

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._state is CANCELLED_AND_NOTIFIED

    def cancel(self) -> bool:
        """Resolve to `Canceled` now; a queued task is never begun, a running one is interrupted.

        Returns:
            False where it is resolved already.
        """
        task = self._task
        return task is not None and self._service.cancel([task], Canceled())[0]

    def add_done_callback(self, fn: Callable[[Future[T]], object]) -> None:
        """Call `fn(self)` once it is resolved, from whichever thread notices; at once if it is."""
        with self._service.uninterrupted:  # a Ctrl-C is neither for the lock, nor for `fn`, which would swallow it
            with self._condition:
                if not self.done():
                    self._done_callbacks.append(fn)
                    return
            self._call(fn)

    def _call(self, fn: Callable[[Future[T]], object]) -> None:
        try:
            fn(self)
        except BaseException:  # SystemExit too: it would end a thread that is not the callback's
            from concurrent.futures._base import LOGGER

            LOGGER.exception("exception calling callback for %r", self)

    def __await__(self) -> Generator[Any, None, T]:
        """In asyncio. Where the awaiting task is cancelled, so is this mirai, on its daemon too."""
        if not self.done():
            import asyncio

            loop = asyncio.get_running_loop()
            there = loop.create_future()
            with self._service.watch(loop) as watch:
                self.wake_when_done(Resolving(watch, there))
                try:
                    yield from there
                except asyncio.CancelledError:
                    self.cancel()
                    raise
        return self.result()

    def set_running_or_notify_cancel(self) -> NoReturn:
        """Not for a mirai: its daemon resolves it."""
        raise RuntimeError("a mirai is resolved by its daemon")

    def set_result(self, result: T) -> NoReturn:
        """Not for a mirai: its daemon resolves it."""
        raise RuntimeError("a mirai is resolved by its daemon")

    def set_exception(self, exception: BaseException | None) -> NoReturn:
        """Not for a mirai: its daemon resolves it."""
        raise RuntimeError("a mirai is resolved by its daemon")

    def stack(self, timeout: float = 5.0) -> str:
        """Where the running task is now: its frames on the daemon, as text; empty where it does not run.

        Raises:
            TimeoutError: the daemon did not answer within `timeout` seconds, most likely as the task is in
                compiled code that never lets another thread run.
        """
        task = self._task
        return "" if task is None else self._service.stack(task, timeout)

    def limit(self, timeout: float) -> None:
        """Resolve to `TimedOut` in `timeout` seconds from now, and interrupt the task."""
        error = TimedOut(
            f"Timed out: not done within {timeout:g} s of its submission; give _timeout more, or set more daemons"
        )
        task = self._task
        assert task is not None
        self._timer = self._service.call_at(time.monotonic() + timeout, lambda: self._service.cancel([task], error))
        self._watched = True

    # Waiting

    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]
        """What `concurrent.futures.wait` and `as_completed` wait on."""
        if self._cond is None:
            waiters: list[Any] = []
            callbacks: list[Callable[[Future[T]], object]] = []
            cond = threading.Condition()
            if self._cond is None:
                self._waiters, self._done_callbacks = waiters, callbacks
                self._cond, self._watched = cond, True
        return self._cond

    def wake_when_done(self, waker: Waker) -> None:
        """Release `waker` when resolved, or at once if it is: for `Lead.wait`."""
        wakers: list[Waker] = []
        if self._wakers is None:
            self._wakers, self._watched = wakers, True
        self._wakers.append(waker)
        if self.done():
            self._wake()

    def _wait(self, timeout: float | None) -> None:
        if self._state is PENDING and not self._service.wait(self, timeout):
            raise TimeoutError(f"{self!r} is not resolved after {timeout:g} s; its task goes on")

    # Resolving: the dispatcher calls these, under its lock

    def settle(self, status: int, count: int, body: Buffer) -> bool | None:
        """The daemon's answer; see `Awaiting`."""
        # The garbage collector need not look at bytes: not one object more for it, where that can be.
        reply = (status, count, body) if status or count else body
        if self._task is None:
            return None
        self._task, self._reply = None, reply
        if not self._watched:
            self._state = FINISHED
            return False
        return self._decided(FINISHED)

    def fail(self, error: ErrorValue) -> bool | None:
        """There will be no answer; see `Awaiting`."""
        state = CANCELLED_AND_NOTIFIED if isinstance(error, Canceled) else FINISHED
        if self._task is None:
            return None
        self._task, self._reply = None, error
        return self._decided(state)

    def settle_as(self, other: Mirai[Any]) -> bool | None:
        """Take the error that `other` failed with; see `Awaiting`."""
        value, error, state = other._resolve(), other._error, other._state
        if self._task is None:
            return None
        self._task, self._error, self._value = None, error, value
        return self._decided(state)

    def orphan(self, error: ErrorValue) -> None:
        """As `fail`, in a forked child: threads that held these locks are gone, as is who waited."""
        self._cond = self._wakers = None
        if self.fail(error) is None and not self.done():
            self._decided(self._final)

    def _decided(self, state: str) -> bool:
        if self._timer is not None:
            self._timer.cancel()
        if self._cond is None:
            # The state is set, and only now is looked for who waits; who waits does it the other way round.
            self._state = state
            self._wake()
            return False
        # Not before those who wait through the condition variable are told, both under it: they count on that.
        self._final = state
        return True

    def conclude(self) -> bool | None:
        """Tell all who wait; see `Awaiting`. Without the dispatcher's lock."""
        cond = self._cond
        assert cond is not None
        if self._traced is not None:
            self._traced.resolved(*self._end())
        nested = cond._is_owned()  # type: ignore[attr-defined]
        locked = cond.acquire(False)
        try:
            if self.done():
                return False  # another thread has
            if nested or not locked:
                self._put_off += 1
                if self._put_off < (NESTED if locked else LOST):
                    return None
            self._state = self._final
            for waiter in self._waiters:
                if self._state is CANCELLED_AND_NOTIFIED:
                    waiter.add_cancelled(self)
                elif self.failed():
                    waiter.add_exception(self)
                else:
                    waiter.add_result(self)
            if locked:
                cond.notify_all()
        finally:
            if locked:
                cond.release()
        self._wake()
        return bool(self._done_callbacks)

    def trace(self, traced: Traced) -> None:
        """It has a span, which ends before anybody who waits is told."""
        traced.span.set({"mirai.id": self.id})
        self._traced = traced
        _ = self._condition  # now it is resolved by `conclude`

    def _end(self) -> tuple[str | None, str]:
        """What it failed with, as text and the name of its class; nothing is deserialized for that."""
        reply, error = self._reply, self._error
        if error is None and not isinstance(reply, ErrorValue):
            kind = KINDS.get(reply[0]) if isinstance(reply, tuple) else None
            return (None, "") if kind is None else ("", kind)
        failed = error or reply
        return str(failed), type(failed).__name__ if isinstance(failed, ErrorValue) else "MiraiError"

    def failed(self) -> bool:
        """Whether what is here is an error; a value is not deserialized for that."""
        reply = self._reply
        if isinstance(reply, tuple):
            return reply[0] != VALUE
        return isinstance(reply, ErrorValue) and isinstance(self._resolve(), ErrorValue)

    def serialized(self, serializers: Serializers | None) -> tuple[int, Buffer]:
        """The value that is here, as it came, or as it would go to daemons with these serializers."""
        reply = self._reply
        own = self._service.serializers
        # The configurations of another profile mean nothing to them.
        as_it_came = own is None or own is serializers or not own.has_configurations
        if as_it_came and not isinstance(reply, ErrorValue):
            return reply[1:] if isinstance(reply, tuple) else (0, reply)
        value = self._resolve()
        if self._error is not None:
            raise self._error  # it cannot be loaded here
        count, body = serialize.dumps(value, to_daemon=True, serializers=serializers)
        return count, serialize.joined(body)

    def run_callbacks(self) -> None:
        """Those of `add_done_callback`."""
        for callback in self._done_callbacks:
            self._call(callback)

    def _wake(self) -> None:
        while self._wakers:
            try:
                self._wakers.pop().release()
            except (IndexError, RuntimeError):
                pass  # another thread was there first

    # The value

    def _resolve(self) -> Any:
        """The value for `data`; deserialized once, by the first who asks. Then `_error` is what `result` raises."""
        reply = self._reply
        if self._value is _UNREAD:
            if isinstance(reply, tuple):
                value, error = _outcome(*reply)
            else:
                value, error = (reply, reply) if isinstance(reply, ErrorValue) else _outcome(VALUE, 0, reply)
            if self._value is _UNREAD:
                if error is not None:
                    self._error = error
                self._value = value
                self._reply = _READ  # it may be large
        return self._value

    def _state_name(self) -> str:
        if not self.done():
            return "running" if self.running() else "pending"
        return "cancelled" if self.cancelled() else "resolved"


class Resolving:
    """Resolves a future of asyncio's, as a lock is released, when a mirai is resolved."""

    __slots__ = ("_there", "_watch")

    def __init__(self, watch: Watch, there: asyncio.Future[None]) -> None:
        self._watch, self._there = watch, there

    def release(self) -> None:
        """From any thread."""
        self._watch.tell(self._resolve)

    def _resolve(self) -> None:
        if not self._there.done():
            self._there.set_result(None)


def _outcome(status: int, count: int, body: Buffer) -> tuple[Any, BaseException | None]:
    error: ErrorValue
    if status != VALUE and status != ERROR:
        error = MiraiInterrupt() if status == Status.INTERRUPTED else Canceled()
        return error, error
    try:
        value = serialize.loads(count, body)
    except BaseException as broken:
        if not _fails_again(broken, count, body):
            raise
        error = MiraiError(
            f"the result cannot be loaded here: {type(broken).__name__}: {broken}; "
            "what it is made of must be importable on the host too",
            condition_class=[cls.__name__ for cls in type(broken).__mro__ if cls is not object],
            original=broken,
        )
        return error, error
    if status == VALUE:
        return value, None
    value["original"], why_not = _original(value["original"])
    if why_not:
        value["message"] += f" (raised as a MiraiError, since it cannot be loaded here: {why_not})"
    error = MiraiError(**value)
    raised = error if error.original is None else error.original
    raised.__cause__ = RemoteTraceback(error.remote_traceback)
    return error, raised


def _original(pickled: serialize.Serialized | None) -> tuple[BaseException | None, str]:
    """The exception itself; None, and why, where it cannot be made here, as its class is only on the daemon."""
    if pickled is None:
        return None, ""  # the daemon has said why
    count, body = pickled[0], serialize.joined(pickled[1])
    try:
        return serialize.loads(count, body), ""
    except BaseException as broken:
        if not _fails_again(broken, count, body) or not isinstance(broken, Exception):
            raise
        return None, f"{type(broken).__name__}: {broken}"


def _fails_again(error: BaseException, count: int, body: Buffer) -> bool:
    """Whether it is what is deserialized that fails; else a signal handler raised, for who waits here."""
    if isinstance(error, KeyboardInterrupt):
        return False
    try:
        serialize.loads(count, body)
    except BaseException:
        return True
    return False
