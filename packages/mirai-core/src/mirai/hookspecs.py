"""What a plugin may provide: launchers and serializers, and the two hooks that hand them over.

A plugin is a module, named in its distribution's entry-point group `mirai`, with one or both of the hooks:

    from mirai.hookspecs import hookimpl

    @hookimpl
    def mirai_launchers():
        return {"bsub": Bsub}
"""

from __future__ import annotations

import dataclasses
import shlex
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import pluggy

from mirai.private import writable as writable

hookspec = pluggy.HookspecMarker("mirai")
hookimpl = pluggy.HookimplMarker("mirai")


@hookspec
def mirai_launchers() -> Mapping[str, type[Launcher]]:  # type: ignore[empty-body]
    """The plugin's launchers, by the name that `kind` has in a YAML profile."""


@hookspec
def mirai_serializers() -> Mapping[str, Serializer]:  # type: ignore[empty-body]
    """The plugin's serializers, by the name that `daemons(serial=…)` knows them by."""


@dataclass(frozen=True)
class LaunchCommand:
    """The command that starts one daemon, wherever a launcher runs it.

    Attributes:
        argv: its words, the Python interpreter first.
        env: secrets, such as the daemon's ticket. They go by environment, by a pipe or in a file that only
            its owner can read, never in a command line: `ps` shows those to everybody.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)

    def __str__(self) -> str:
        """One line to paste into a shell, secrets and all."""
        # env(1), since not every shell takes assignments before a command.
        settings = ("env", *(f"{name}={value}" for name, value in self.env.items())) if self.env else ()
        return shlex.join((*settings, *self.argv))

    def run_by(self, python: str) -> LaunchCommand:
        """The same, for the interpreter that is called `python` where the daemon will run."""
        return dataclasses.replace(self, argv=(python, *self.argv[1:]))


class Launch(Protocol):
    """One daemon on its way: what was started for it, and what became of that.

    It may have a method `is_running`, too: whether it is known, without asking anybody, that the daemon's process runs,
    and its machine can be reached. Where no kernel can be asked, as through a tunnel, that keeps a daemon from being
    given up whose task lets no other thread run.
    """

    @property
    def id(self) -> str:
        """What to look for where it was started: a process id, a job id."""
        ...

    def failure(self) -> str | None:
        """Why this daemon will not connect: exit status, the end of a log, the scheduler's reason.

        None while it still may, also where its command has ended well: that may have been `sbatch`.
        """
        ...

    def state(self) -> str:
        """What its keeper says of it now, in the keeper's words: `PENDING (Resources)`. Empty where nothing is known.

        This and `failure` may take a while. They are called from one thread of the host, so that a launcher can ask
        its scheduler about all jobs at once, and seldom.
        """
        ...

    def cancel(self) -> None:
        """End what is queued or runs, and let go of what this object holds. Doing it twice is fine."""
        ...


class Launcher(Protocol):
    """A way to start daemons elsewhere: a frozen dataclass of options, equal to what a YAML profile says.

    Derive from it. Options are checked when they are given (`__post_init__`), not when they are used.
    """

    name: ClassVar[str]

    @abstractmethod
    def launch(self, commands: Sequence[LaunchCommand]) -> Sequence[Launch]:
        """Start a daemon for each command, without waiting for it to connect.

        Returns:
            One for each command, in their order; or none at all, where somebody will run them by hand.

        Raises:
            OSError: nothing could be started, and nothing was.
        """

    def show(self, commands: Sequence[LaunchCommand]) -> str:
        """What `launch` would run or submit, as text without its secrets. Nothing is run."""
        return "\n".join(shlex.join(command.argv) for command in commands)

    @property
    def places(self) -> int:
        """How many daemons to launch where no number is said."""
        return 1


class Serializer(Protocol):
    """How objects of one class, or of several, travel that pickle cannot take, or not cheaply. A module will do.

    Objects of classes that derive from them go the same way. Where it has an attribute `vec` that is True, `dump` is
    given a list of all objects of a message and returns a list, and so does `load`.
    """

    @property
    def cls(self) -> str | Sequence[str]:
        """The class, as its users import it (`polars.DataFrame`). Its library is imported once it is met."""
        ...

    def dump(self, value: Any, /) -> Any:
        """The object as `bytes`, or as a `memoryview`, which saves a copy.

        Or as a tuple: what is in it travels as everything does. So its objects may have serializers, those that occur
        twice are sent once, and a `pickle.PickleBuffer` saves a copy. Or `NotImplemented`: then pickle goes on.
        """
        ...

    def load(self, data: Any, /) -> Any:
        """The object again, of what `dump` returned. It may keep views into buffers, which may be read-only.

        Where it needs to write, `mirai.hookspecs.writable(view)` gives the same bytes in memory of its own.
        """
        ...
