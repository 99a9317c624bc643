"""launch_local(), launch_remote(): more daemons for a profile; daemon(): be one."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from mirai.runtime import daemon as runtime
from mirai.runtime import profile as profiles
from mirai.runtime.joining import take_ticket
from mirai.runtime.options import Options
from mirai.runtime.sync import Sync

if TYPE_CHECKING:
    import os

    from mirai.hookspecs import LaunchCommand, Launcher


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
    Options(**daemon_options)
    profile = profiles.require(compute)
    if profile.service.immediate:
        raise RuntimeError(f"profile {profile.name!r} is synchronous: daemons cannot be launched for it")
    profile.start_local(n, daemon_options)
    return n


def launch_remote(
    n: int = 1, *, remote: Launcher | None = None, compute: str | None = None, **daemon_options: Any
) -> list[LaunchCommand]:
    """Have more daemons started elsewhere, without waiting for them; or get the commands to start them by hand.

    Args:
        n: how many, 1 or more.
        remote: starts them (`launcher()` makes one); see `status().launches` for what becomes of them. Without,
            nothing is started: print each command, which has the daemon's ticket in it, and paste it into a shell.
        compute: the compute profile.
        **daemon_options: as for `daemon()`; those not given are the profile's.

    Returns:
        The commands, one for each daemon.

    Raises:
        NoDaemonsError: the profile is not set.
        RuntimeError: it is a synchronous one.
        OSError: the launcher could not start anything.
        TypeError, ValueError: names the argument and what it may be.

    Source: `launch_remote()` in R.
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"n={n!r}: give the number of daemons to start, 1 or more")
    check_launcher(remote)
    Options(**daemon_options)
    profile = profiles.require(compute)
    service = profile.service
    if isinstance(service, Sync):
        raise RuntimeError(f"profile {profile.name!r} is synchronous: daemons cannot be launched for it")
    if remote is not None:
        return profile.launch(remote, n, daemon_options)
    planned = profile.commands(n, daemon_options)
    for ticket, _ in planned:
        service.by_hand(ticket)
    return [command for _, command in planned]


def saisei(i: int, *, force: bool = False, compute: str | None = None) -> LaunchCommand:
    """Make a new ticket for a daemon; the old one is dead.

    Args:
        i: its number in `status().daemons` or `status().launches`.
        force: also cut it off where it is connected: the task in hand resolves to `Closed`. Otherwise it works on.
        compute: the compute profile.

    Returns:
        The command that starts a daemon by the new ticket.

    Raises:
        NoDaemonsError: the profile is not set.
        ValueError: there is no such daemon.

    Source: `saisei()` in R.
    """
    profile = profiles.require(compute)
    service = profile.service
    if isinstance(i, bool) or not isinstance(i, int):
        raise TypeError(f"i={i!r}: give the number of a daemon, as status().daemons has it")
    if isinstance(service, Sync):
        raise RuntimeError(f"profile {profile.name!r} is synchronous: it has no daemons")
    ticket = service.reissue(i, force=force)
    service.by_hand(ticket)
    return profile.command(ticket, {})[1]


def check_launcher(remote: object) -> None:
    """Raise a TypeError if it is none."""
    if remote is not None and not callable(getattr(remote, "launch", None)):
        raise TypeError(f"remote={remote!r}: give a launcher, as in remote=launcher('ssh', remotes=[…])")


def daemon(
    url: str,
    *,
    dispatcher: bool = True,
    asyncdial: bool = False,
    autoexit: bool | int | str = True,
    cleanup: bool | int = True,
    output: bool = False,
    idletime: float = inf,
    walltime: float = inf,
    maxtasks: float = inf,
    timerstart: int = 0,
    tlscert: str | os.PathLike[str] | None = None,
    threads: int | None = None,
) -> int:
    """Be a daemon: dial the host at `url` and evaluate its tasks, in the main thread, until it is time to leave.

    Args:
        url: where the host listens.
        dispatcher: accepted; the host decides.
        asyncdial: True goes on dialling until the host is there.
        autoexit: when the connection ends, True leaves at once (200 ms of grace), `"task"` after the task in hand; a
            signal's number raises that signal; False persists and dials again.
        cleanup: what is put back after each task, a sum of 1 (names in `__main__`), 2 (pure Python modules imported
            since), 4 (environment, working directory, `sys.path`, warning filters, decimal context), 8
            (`gc.collect()`); True is 5.
        output: True brings a local daemon's stdout and stderr to the host's.
        idletime: seconds without a task after which it leaves.
        walltime: seconds after which it leaves.
        maxtasks: tasks after which it leaves.
        timerstart: tasks before the timers start.
        tlscert: what to check the host's certificate by: itself on one line, or a path or PEM text with those that it
            was issued by.
        threads: what BLAS and OpenMP may use; they read it when they load.

    Returns:
        0: the connection ended; 1: `idletime`; 2: `walltime`; 3: `maxtasks`.

    Raises:
        OSError: nobody listens there.
        TypeError, ValueError: names the option and what it may be.

    Source: `daemon()` in R.
    """
    options = Options(
        dispatcher=dispatcher,
        asyncdial=asyncdial,
        autoexit=autoexit,
        cleanup=cleanup,
        output=output,
        idletime=idletime,
        walltime=walltime,
        maxtasks=maxtasks,
        timerstart=timerstart,
        tlscert=tlscert,
        threads=threads,
    )
    return int(runtime.serve(url, options, ticket=take_ticket()))
