"""One compute profile: its daemons, and what tasks sent to it are given; found by name."""

from __future__ import annotations

import itertools
import os
import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from mirai.errors import NoDaemonsError
from mirai.protocol.command import THREAD_VARIABLES, TICKET, daemon_command
from mirai.runtime import tracing
from mirai.runtime.addresses import for_others
from mirai.runtime.launches import Tracked
from mirai.runtime.sync import Sync

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    from mirai.hookspecs import LaunchCommand, Launcher
    from mirai.protocol.elastic import Elastic
    from mirai.protocol.tickets import Ticket
    from mirai.runtime.dispatcher import Dispatcher
    from mirai.runtime.elastic import Growth

Service: TypeAlias = "Dispatcher | Sync"

START = 30.0  # seconds that local daemons have to connect

current: ContextVar[str] = ContextVar("mirai_profile", default="default")
_profiles: dict[str, Profile] = {}


class Profile:
    """The daemons set under one name."""

    def __init__(
        self,
        name: str,
        service: Service,
        *,
        memory: int | None = None,
        retry: int = 0,
        seed: int | None = None,
        options: Mapping[str, Any] | None = None,
        remote: Launcher | None = None,
    ) -> None:
        """`options` are those of the daemons that are launched for it, by `remote` if there is one."""
        self.name = name
        self.service = service
        self.memory = memory
        self.retry = retry
        self.seed = seed
        self.options = dict(options or {})
        self.remote = remote
        self.origin: Any = None  # the context of the span in which it was set, where a tracer is set up
        self._growth: Growth | None = None
        self._places = itertools.count()

    def start_local(self, n: int, options: Mapping[str, Any]) -> None:
        """Start `n` daemons on this machine; `options` go before the profile's own."""
        options = {name: value for name, value in {**self.options, **options}.items() if value is not None}
        threads = options.pop("threads", None)
        if threads is None and not any(name in os.environ for name in THREAD_VARIABLES):
            threads = max(1, cores() // max(1, n))
        assert not isinstance(self.service, Sync)
        self.service.start_local(n, options, threads=threads, output=options.get("output") is True)

    def commands(self, n: int, options: Mapping[str, Any]) -> list[tuple[Ticket, LaunchCommand]]:
        """The commands that start `n` daemons elsewhere, and their tickets; `options` go before the profile's own."""
        assert not isinstance(self.service, Sync)
        return [self.command(self.service.issue(), options) for _ in range(n)]

    def command(self, ticket: Ticket, options: Mapping[str, Any]) -> tuple[Ticket, LaunchCommand]:
        """The command that starts a daemon by this ticket."""
        from mirai.hookspecs import LaunchCommand

        assert not isinstance(self.service, Sync)
        url = for_others(self.service.urls)
        given = {**self.service.trust(url), **self.options, **options}
        argv = daemon_command(sys.executable or "python3", url, {k: v for k, v in given.items() if v is not None})
        return ticket, LaunchCommand(tuple(argv), {TICKET: ticket.line()})

    def launch(self, remote: Launcher, n: int, options: Mapping[str, Any]) -> list[LaunchCommand]:
        """Have `remote` start `n` daemons elsewhere, without waiting for them.

        Raises:
            OSError: it cannot.
        """
        assert not isinstance(self.service, Sync)
        planned = self.commands(n, options)
        commands = [command for _, command in planned]
        try:
            launches = remote.launch(commands)
            if launches and len(launches) != n:
                raise RuntimeError(f"the launcher {remote.name!r} started {len(launches)} daemons instead of {n}")
        except BaseException as error:
            for ticket, _ in planned:
                error.args = tuple(ticket.hidden(said) if isinstance(said, str) else said for said in error.args)
                self.service.revoke(ticket)
            raise
        persistent = str({**self.options, **options}.get("autoexit", True)).lower() in ("false", "task")
        if not launches:  # somebody will run them by hand
            for ticket, _ in planned:
                self.service.by_hand(ticket)
        self.service.launched(
            [
                Tracked(remote.name, launch, ticket, persistent=persistent)
                for (ticket, _), launch in zip(planned, launches or (), strict=bool(launches))
            ]
        )
        return commands

    def grow(self, elastic: Elastic) -> None:
        """Launch daemons as the queue grows, until it is reset."""
        from mirai.runtime.elastic import Growth

        service = self.service
        assert not isinstance(service, Sync)

        def launch(n: int, stay: bool) -> None:
            options = {"idletime": None} if stay else {}
            if self.remote is None:
                self.start_local(n, options)
            else:
                self.launch(self.remote, n, options)

        self._growth = Growth(elastic, service.load, launch, service.could_not_launch)

    def places(self) -> int:
        """How many tasks can be evaluated at once: daemons that are here, on their way, or may be launched."""
        if isinstance(self.service, Sync):
            return 1
        load = self.service.load()
        most = 0 if self._growth is None else self._growth.elastic.most
        return max(1, most, load.here + load.coming)

    def next_seed(self) -> tuple[int, int]:
        """The seed, and the place of the next task in its streams."""
        assert self.seed is not None
        return self.seed, next(self._places)

    def reset(self, *, tell_persistent: bool = False) -> None:
        """As `close`, for one that was set."""
        attributes = {"mirai.compute": self.name, **tracing.of_url(self.service.url)}
        with tracing.spanning("daemons reset", attributes, [self.origin]):
            self.close(tell_persistent=tell_persistent)

    def close(self, *, tell_persistent: bool = False) -> None:
        """Let the daemons go; see `Dispatcher.close`."""
        if self._growth is not None:
            self._growth.stop()
        self.service.close(tell_persistent=tell_persistent)


def chosen(name: str | None) -> str:
    """The name that is meant: the current profile's where none is given.

    Raises:
        TypeError: it is no name.
    """
    if name is None:
        return current.get()
    if not isinstance(name, str) or not name:
        raise TypeError(f"{name!r} is no profile's name: give text, as in compute='gpu'")
    return name


def get(name: str | None) -> Profile | None:
    """The profile of that name, or the current one; None where it is not set.

    Raises:
        TypeError: that is no name.
    """
    return _profiles.get(chosen(name))


def find(name: str | None) -> Profile | None:
    """The profile of that name, or the current one; None where no daemons are set.

    Raises:
        NoDaemonsError: a profile was named that is not set.
    """
    wanted = chosen(name)
    profile = _profiles.get(wanted)
    if profile is None and wanted != "default":
        raise NoDaemonsError(wanted)
    return profile


def require(name: str | None) -> Profile:
    """As `find`, but where no daemons are set is an error."""
    wanted = chosen(name)
    profile = _profiles.get(wanted)
    if profile is None:
        raise NoDaemonsError(wanted)
    return profile


def is_set(profile: Profile) -> bool:
    """Whether it was not reset, nor another one set under its name."""
    return _profiles.get(profile.name) is profile


def put(profile: Profile) -> None:
    """It can be found from now on; one that another thread has set meanwhile is reset."""
    other = _profiles.get(profile.name)
    _profiles[profile.name] = profile
    if other is not None:
        other.reset()


def remove(name: str, *, tell_persistent: bool = False) -> bool:
    """Reset the profile of that name; whether there was one."""
    profile = _profiles.pop(name, None)
    if profile is None:
        return False
    profile.reset(tell_persistent=tell_persistent)
    return True


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


os.register_at_fork(after_in_child=_profiles.clear)
