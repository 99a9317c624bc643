"""One compute profile: its daemons, and what tasks sent to it are given; found by name."""

from __future__ import annotations

import itertools
import os
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from mirai.errors import NoDaemonsError
from mirai.runtime.local_launcher import THREAD_VARIABLES
from mirai.runtime.sync import Sync

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    from mirai.runtime.dispatcher import Dispatcher

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
    ) -> None:
        """`options` are those of the daemons that are launched for it."""
        self.name = name
        self.service = service
        self.memory = memory
        self.retry = retry
        self.seed = seed
        self.options = dict(options or {})
        self._places = itertools.count()

    def start_local(self, n: int, options: Mapping[str, Any]) -> None:
        """Start `n` daemons on this machine; `options` go before the profile's own."""
        options = {**self.options, **options}
        threads = options.pop("threads", None)
        if threads is None and not any(name in os.environ for name in THREAD_VARIABLES):
            threads = max(1, cores() // max(1, n))
        assert not isinstance(self.service, Sync)
        self.service.start_local(n, options, threads=threads, output=options.get("output") is True)

    def next_seed(self) -> tuple[int, int]:
        """The seed, and the place of the next task in its streams."""
        assert self.seed is not None
        return self.seed, next(self._places)

    def close(self, *, tell_persistent: bool = False) -> None:
        """Let the daemons go; see `Dispatcher.close`."""
        self.service.close(tell_persistent=tell_persistent)


def find(name: str | None) -> Profile | None:
    """The profile of that name, or the current one; None where no daemons are set.

    Raises:
        NoDaemonsError: a profile was named that is not set.
    """
    wanted = current.get() if name is None else name
    profile = _profiles.get(wanted)
    if profile is None and wanted != "default":
        raise NoDaemonsError(wanted)
    return profile


def require(name: str | None) -> Profile:
    """As `find`, but where no daemons are set is an error."""
    wanted = current.get() if name is None else name
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
        other.close()


def remove(name: str, *, tell_persistent: bool = False) -> bool:
    """Reset the profile of that name; whether there was one."""
    profile = _profiles.pop(name, None)
    if profile is None:
        return False
    profile.close(tell_persistent=tell_persistent)
    return True


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


os.register_at_fork(after_in_child=_profiles.clear)
