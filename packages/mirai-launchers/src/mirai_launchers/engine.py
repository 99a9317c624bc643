"""What Dask and Ray share: a task of theirs that starts a daemon and waits for its end."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol

from mirai_launchers import shell

if TYPE_CHECKING:
    from collections.abc import Callable

    from mirai.hookspecs import LaunchCommand

TAIL = 2000  # characters of what a daemon printed that an error quotes


def call(command: LaunchCommand, python: str) -> tuple[list[str], dict[str, Any]]:
    """Arguments of `subprocess.run`, which there is on every worker: the daemon's secrets go by its stdin."""
    line = shell.line(command.run_by(python) if python else command)
    return ["sh", "-c", line], {"input": shell.exports(command.env), "capture_output": True, "text": True}


class Placed(Protocol):
    """A task on an engine."""

    def state(self) -> str:
        """In the engine's words."""
        ...

    def outcome(self) -> Any:
        """What `subprocess.run` returned, or the exception that the task ended with; None while it has not ended."""
        ...

    def cancel(self) -> None:
        """Do not begin it."""
        ...


class Connection:
    """A connection to an engine, closed when all that was launched through it is cancelled."""

    def __init__(self, close: Callable[[], object], launches: int) -> None:
        self._close, self._left = close, launches
        self._lock = threading.Lock()

    def released(self) -> None:
        with self._lock:
            self._left -= 1
            if self._left:
                return
        self._close()


class EngineLaunch:
    """One daemon's task: a `mirai.hookspecs.Launch`."""

    def __init__(self, engine: str, id: str, placed: Placed, connection: Connection) -> None:
        self._engine, self._id, self._placed, self._connection = engine, id, placed, connection
        self._cancelled = False
        self._failure: str | None = None

    @property
    def id(self) -> str:
        return self._id

    def state(self) -> str:
        return "" if self._cancelled else self._placed.state()

    def failure(self) -> str | None:
        if self._failure is None and not self._cancelled and (outcome := self._placed.outcome()) is not None:
            self._failure = f"{self._engine} task {self._id} {_told(outcome)}"
        return self._failure

    def cancel(self) -> None:
        if not self._cancelled:
            self._cancelled = True
            self._placed.cancel()
            self._connection.released()


def _told(outcome: Any) -> str:
    if isinstance(outcome, BaseException):
        return f"failed: {type(outcome).__name__}: {outcome}"
    said = (outcome.stdout + outcome.stderr).strip()[-TAIL:]
    return f"ended with status {outcome.returncode}" + (f": {said}" if said else "")


def check(launcher: Any, *texts: str) -> None:
    """Raise a TypeError unless these options are text, and `resources` names numbers."""
    for option in texts:
        value = getattr(launcher, option)
        if not isinstance(value, str):
            raise TypeError(f"{option} is {value!r}, of type {type(value).__name__}: text belongs there")
    for name, amount in dict(launcher.resources).items():
        if not isinstance(name, str) or isinstance(amount, bool) or not isinstance(amount, int | float):
            raise TypeError(f"resources has {name!r}: {amount!r}: names and numbers belong there")
    # A mapping from a YAML profile can be compared, and hashed, as this.
    object.__setattr__(launcher, "resources", tuple(sorted(dict(launcher.resources).items())))
