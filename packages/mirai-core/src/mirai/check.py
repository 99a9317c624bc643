"""`mirai check`: for each profile one daemon for real and one task, step by step, until one fails."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, NamedTuple

from mirai import plugins
from mirai.api.daemons import daemons
from mirai.api.launching import launch_remote
from mirai.api.status import status
from mirai.api.submit import mirai

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mirai.config.schema import Profile

PAUSE = 0.05  # seconds between two looks at what became of a launch

VERSIONS = """
import os, platform, mirai
f"mirai {mirai.__version__}, Python {platform.python_version()}, process {os.getpid()} on {platform.node()}"
"""


class Step(NamedTuple):
    """What was tried.

    Attributes:
        profile: its name.
        step: what was to happen.
        ok: whether it did; the first that did not is the last.
        seconds: how long it took.
        detail: what is there now, or what is wrong and what to do.
    """

    profile: str
    step: str
    ok: bool
    seconds: float
    detail: str


def check(name: str, profile: Profile, timeout: float) -> Iterator[Step]:
    """Start one daemon as the profile says, have it run a task, let it go.

    Args:
        name: the profile's, for what is reported; its daemons are set under another one.
        profile: as it was read.
        timeout: seconds that a daemon has to connect, and the task to be done.
    """
    compute = f"check {name}"
    steps = _steps(profile, compute, timeout)
    begun = time.monotonic()
    step, work = next(steps)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is reported here
        try:
            while True:
                try:
                    detail, ok = work(), True
                except Exception as error:
                    detail, ok = " ".join([f"{type(error).__name__}:" * (not str(error)), str(error)]).strip(), False
                now = time.monotonic()
                yield Step(name, step, ok, now - begun, detail)
                if not ok:
                    return
                begun = now
                try:
                    step, work = next(steps)
                except StopIteration:
                    return
        finally:
            daemons(0, compute=compute)


def _steps(profile: Profile, compute: str, timeout: float) -> Iterator[tuple[str, Callable[[], str]]]:
    """Each step's name, and what to do for it; it returns what to say of it, or raises."""
    arguments = profile.arguments()
    remote = arguments.pop("remote", None)
    n = arguments.pop("n", 0)

    def reset() -> str:
        daemons(0, compute=compute)
        return "nothing of it is left"

    def found() -> str:
        rows = [row for row in plugins.found() if (row.kind, row.name, row.error) == ("launcher", remote.name, None)]
        return f"launcher {remote.name!r} of " + (f"{rows[0].distribution} {rows[0].version}" if rows else "no plugin")

    def listening() -> str:
        daemons(**arguments, compute=compute)
        return f"at {status(compute).url}"

    def launched() -> str:
        launch_remote(1, remote=remote, compute=compute)
        rows = status(compute).launches
        return f"as {rows[-1].id}" if rows else "by hand: launch_remote() prints the command"

    def connected() -> str:
        return _wait_until_connected(compute, timeout)

    def started() -> str:
        daemons(1, **arguments, compute=compute)
        row = status(compute).daemons[0]
        return f"process {row.pid} on {row.host}"

    def evaluated() -> str:
        said: str = mirai(VERSIONS, _compute=compute, _timeout=timeout).result()
        return said

    if remote is not None:
        arguments.setdefault("url", "tcp://:0")
        yield "plugin found", found
        yield "listening", listening
        yield "launched", launched
        yield "connected", connected
    elif profile.sync:
        yield "set", lambda: f"{daemons(**arguments, compute=compute)!r}"
    elif n:
        yield "daemon started", started
    else:
        yield "listening", listening
        return  # daemons dial in: there is none to check
    yield "task done", evaluated
    yield "reset", reset


def _wait_until_connected(compute: str, timeout: float) -> str:
    """What to say of the daemon, once it is there.

    Raises:
        RuntimeError: why it is not.
    """
    deadline = time.monotonic() + timeout
    while True:
        seen = status(compute)
        for row in seen.daemons:
            if row.online:
                return f"process {row.pid} on {row.host}"
        for launch in seen.launches:
            if launch.state in ("failed", "ended"):
                raise RuntimeError(f"{launch.id} {launch.state}: {launch.reason}")
        if time.monotonic() > deadline:
            said = "; ".join(filter(None, (launch.reason for launch in seen.launches))) or "nothing is known of it"
            raise RuntimeError(
                f"it did not connect within {timeout:g} s ({said}): see that it can reach {seen.url} from where it "
                "runs, or give --timeout more seconds"
            )
        time.sleep(PAUSE)
