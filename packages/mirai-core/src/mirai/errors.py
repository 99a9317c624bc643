"""Every exception: one tree, on one screen.

`ErrorValue` and what is under it are results: a task that fails resolves to one of them, and
`Mirai.result()` raises it. The rest refuse a call. All survive pickling, since errors cross processes.
"""

from __future__ import annotations

from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from traceback import FrameSummary


class ErrorValue(Exception):
    """A task's failure as a value: `code` is NNG's number for it, None where there is none."""

    code: ClassVar[int | None] = None
    summary: ClassVar[str] = "The task failed"

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        text = self.message or self.summary
        return text if self.code is None else f"{self.code} | {text}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Not what OSError's would be: that one drops our attributes.
        return _rebuild, (type(self), self.args, self.__dict__)


class MiraiError(ErrorValue):
    """The task raised.

    Attributes:
        message: what the exception said, after the name of its class; at its end, why `original` is None.
        stack_trace: frames of the task's own code, outermost first.
        condition_class: names of the exception's classes, most derived first.
        original: the exception itself, None where it cannot be pickled, or is no `Exception`.
        remote_traceback: the traceback as the daemon would have printed it, without our frames.
    """

    summary = "The task raised an exception"

    def __init__(
        self,
        message: str = "",
        *,
        stack_trace: Sequence[FrameSummary] = (),
        condition_class: Sequence[str] = (),
        original: BaseException | None = None,
        remote_traceback: str = "",
    ) -> None:
        super().__init__(message)
        self.stack_trace = list(stack_trace)
        self.condition_class = tuple(condition_class)
        self.original = original
        self.remote_traceback = remote_traceback

    def __str__(self) -> str:
        return self.message or self.summary


class MiraiInterrupt(ErrorValue):
    """The task was interrupted on its daemon (Ctrl-C, SIGINT), not by `stop_mirai`."""

    summary = "Interrupted on the daemon: submit it again if that was not meant"


class TimedOut(ErrorValue, TimeoutError):
    """`_timeout` passed, counted from submission; a running task was interrupted too."""

    code = 5
    summary = "Timed out: give _timeout more seconds, counted from submission, or set more daemons"


class Closed(ErrorValue):
    """The daemon's ticket was revoked with force while it evaluated the task."""

    code = 7
    summary = "Object closed: the daemon's ticket was revoked (saisei), submit the task again"


class ConnectionReset(ErrorValue, ConnectionResetError):
    """The daemon crashed or left during evaluation, or its profile was reset first."""

    code = 19
    summary = "Connection reset: the daemon left during evaluation; retry= gives such tasks to another one"


class Canceled(ErrorValue, CancelledError):
    """`stop_mirai` or `cancel`."""

    code = 20
    summary = "Operation canceled: by stop_mirai() or cancel(), submit the task again if that was not meant"


class RemoteTraceback(Exception):
    """The cause of a task's own exception: its traceback on the daemon, as text.

    Source: what `concurrent.futures.process` does with `_RemoteTraceback`.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n\n{self.text}"


class NoDaemonsError(RuntimeError):
    """A call needs daemons and its profile has none."""

    def __init__(self, profile: str) -> None:
        super().__init__(profile)  # not the message: unpickling calls cls(*args)
        self.profile = profile

    def __str__(self) -> str:
        named = "" if self.profile == "default" else f", compute={self.profile!r}"
        return f"no daemons are set for profile {self.profile!r}: call daemons(n{named}) first"


class DaemonStartError(RuntimeError):
    """A local daemon could not start."""

    def __init__(self, reason: str, stderr: str = "") -> None:
        super().__init__(reason, stderr)
        self.reason, self.stderr = reason, stderr

    def __str__(self) -> str:
        tail = f"; its stderr:\n{self.stderr}" if self.stderr else " (it wrote nothing to stderr)"
        return f"a local daemon did not start: {self.reason}{tail}"


class SerializationError(TypeError):
    """Something of a task cannot be serialized; `where` names it, the cause says why."""

    advice = "Create it inside the task, or register a serializer for it (serial_config)"

    def __init__(self, where: str, kind: str, why: str, advice: str = advice) -> None:
        super().__init__(where, kind, why, advice)
        self.where, self.kind, self.why, self.advice = where, kind, why, advice

    def __str__(self) -> str:
        return f"{self.where} (of type {self.kind}) cannot be serialized: {self.why}. {self.advice}"


def _rebuild(cls: type[ErrorValue], args: tuple[Any, ...], state: dict[str, Any]) -> ErrorValue:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error
