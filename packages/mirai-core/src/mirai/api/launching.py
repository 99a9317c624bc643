"""launch_local(), launch_remote(): more daemons for a profile; daemon(): be one."""

from __future__ import annotations

from typing import Any

from mirai.runtime import daemon as runtime
from mirai.runtime import profile as profiles


def launch_local(n: int = 1, *, compute: str | None = None, **daemon_options: Any) -> int:
    """Start `n` more daemons on this machine, without waiting for them.

    Args:
        n: how many, 1 or more.
        compute: the compute profile.
        **daemon_options: as for `daemon()`; those not given are the profile's.

    Returns:
        `n`.

    Raises:
        NoDaemonsError: the profile is not set.
        RuntimeError: it is a synchronous one.
        TypeError, ValueError: names the argument and what it may be.

    Source: `launch_local()` in R.
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"n={n!r}: give the number of daemons to start, 1 or more")
    runtime.Options(**{name: value for name, value in daemon_options.items() if name != "threads"})
    profile = profiles.require(compute)
    if profile.service.immediate:
        raise RuntimeError(f"profile {profile.name!r} is synchronous: daemons cannot be launched for it")
    profile.start_local(n, daemon_options)
    return n


def daemon(url: str, **options: Any) -> int:
    """Be a daemon: dial the host at `url` and evaluate its tasks, in the main thread, until it is time to leave.

    Args:
        url: where the host listens.
        **options: `dispatcher=True`: accepted, the host decides. `asyncdial=False`: True goes on dialling
            until the host is there. `autoexit=True`: when the connection ends, leave at once (200 ms of
            grace); `"task"` after the task in hand; a signal's number raises that signal; False persists
            and dials again. `cleanup=True`: what is put back after each task, a sum of 1 (names in
            `__main__`), 2 (pure Python modules imported since), 4 (environment, working directory,
            `sys.path`, warning filters, decimal context), 8 (`gc.collect()`); True is 5. `output=False`:
            True brings a local daemon's stdout and stderr to the host's. `idletime`, `walltime`: seconds.
            `maxtasks`. `timerstart=0`: tasks before the timers start. `tlscert`.

    Returns:
        0: the connection ended; 1: `idletime`; 2: `walltime`; 3: `maxtasks`.

    Raises:
        OSError: nobody listens there.
        TypeError, ValueError: names the option and what it may be.

    Source: `daemon()` in R.
    """
    return int(runtime.serve(url, runtime.Options(**options)))
