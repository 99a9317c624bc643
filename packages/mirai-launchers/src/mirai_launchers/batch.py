"""What the four schedulers share: write the script, submit it, hand over the secrets."""

from __future__ import annotations

import functools
import os
import re
import shlex
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from mirai.hookspecs import LaunchCommand, Launcher
from mirai_launchers import shell
from mirai_launchers.jobs import Array, Job, Keeper
from mirai_launchers.spool import Spool, log_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mirai_launchers.jobs import Said

SCRIPT = "SCRIPT"  # what stands for the script's file in the words that submit it
SHOWN = "~/.mirai/jobs/…"  # what stands for the directory of a submission that is only shown
MOST = 1000  # tasks of one array, unless the site wants fewer: the default of Slurm and of LSF


NEVER = re.compile(r"(?!)")  # matches nothing


class _Options(NamedTuple):
    """The lines of `options`, sorted as a scheduler wants them: directives end with the first command."""

    interpreter: str
    directives: tuple[str, ...]
    commands: tuple[str, ...]


class TooManyTasks(OSError):
    """The site wants smaller arrays."""


@dataclass(frozen=True)
class Batch(Launcher):
    """Start daemons as the jobs of a scheduler; several are one array."""

    command: str
    options: str = ""
    python: str = "python3"

    # What a scheduler is.
    directive: ClassVar[str]  # what its lines in a script begin with
    task: ClassVar[str]  # the variable that holds a task's number
    array_option: ClassVar[re.Pattern[str]]  # what would make an array of a job: ours to say
    output_option: ClassVar[re.Pattern[str]]  # where the user wants the output
    hold_option: ClassVar[re.Pattern[str]]  # what holds a job for a while: until another one has ended
    too_many: ClassVar[re.Pattern[str]]  # how it refuses an array that is too large

    def __post_init__(self) -> None:
        for option in ("command", "options", "python"):
            value = getattr(self, option)
            if not isinstance(value, str):
                raise TypeError(f"{option} is {value!r}, of type {type(value).__name__}: text belongs there")
        for option in ("command", "python"):
            if not getattr(self, option):
                raise ValueError(f"{option} is empty: give a name or a path")
        for line in self._lines.directives:
            if self.array_option.search(line):
                raise ValueError(f"options has {line!r}: leave it out, n says how many daemons there will be")

    def launch(self, commands: Sequence[LaunchCommand]) -> list[Job]:
        left, size, arrays = list(commands), self.most, list[Array]()
        try:
            while left:
                part = left[:size]
                try:
                    arrays.append(self._submit(part))
                except TooManyTasks:
                    if len(part) == 1:
                        raise
                    size = (len(part) + 1) // 2
                else:
                    del left[: len(part)]
        except BaseException:
            for array in arrays:
                for task in array.tasks:
                    array.cancel(task)
            raise
        return [Job(array, number) for array in arrays for number, _ in enumerate(array.tasks, 1)]

    def show(self, commands: Sequence[LaunchCommand]) -> str:
        shown = []
        for first in range(0, len(commands), self.most):
            part = commands[first : first + self.most]
            submit = self.submission(len(part), SHOWN)
            shown.append(f"# {shlex.join(submit)}\n{self._script(part, SHOWN)}")
        return "\n".join(shown)

    # What a scheduler does: one method each.

    @abstractmethod
    def submission(self, n: int, spool: str) -> list[str]:
        """The words that submit a script for `n` tasks, which is in the file `SCRIPT` or else read from stdin."""

    @abstractmethod
    def directives(self, n: int, spool: str) -> list[str]:
        """What the script tells the scheduler, before the user's own."""

    @abstractmethod
    def tasks(self, said: str, n: int) -> tuple[str, list[str]]:
        """The id of the job and those of its tasks, from what the command printed.

        Raises:
            ValueError: there is none.
        """

    @abstractmethod
    def ask(self, arrays: Sequence[Array]) -> Mapping[str, Said]: ...

    @abstractmethod
    def look_up(self, array: Array) -> Mapping[str, Said]: ...

    @abstractmethod
    def end(self, tasks: Sequence[str]) -> None: ...

    # What they share.

    @property
    def most(self) -> int:
        """How many tasks one array may have, before the site has said that it is too many."""
        return MOST

    @property
    def site(self) -> str:
        """Which of several clusters it is, where one command is for many."""
        return ""

    def beside(self, name: str) -> str:
        """Another command of the same scheduler: it is where the first one is."""
        directory = os.path.dirname(self.command)
        return os.path.join(directory, name) if directory else name

    def said(self, option: re.Pattern[str]) -> str | None:
        """What the user's own directives say last: the first group of the pattern."""
        found = [match[1] for line in self._lines.directives if (match := option.search(line))]
        return found[-1] if found else None

    def says(self, option: re.Pattern[str]) -> bool:
        """Whether the user's own directives say that."""
        return any(map(option.search, self._lines.directives))

    @property
    def interpreter(self) -> str:
        """The shell that runs the script."""
        return self._lines.interpreter

    @functools.cached_property
    def _lines(self) -> _Options:
        interpreter, directives, commands = "/bin/sh", [], []
        for number, line in enumerate(self.options.strip("\n").splitlines()):
            stripped = line.strip()
            if number == 0 and stripped.startswith("#!"):
                interpreter = stripped[2:].strip()
            elif stripped.startswith(self.directive):
                directives.append(stripped)
            else:
                commands.append(line)
        return _Options(interpreter, tuple(directives), tuple(commands))

    def number(self, n: int) -> str:
        """What a task's number is in the script."""
        return f"${{{self.task}}}" if n > 1 else "1"

    def redirection(self, n: int, spool: str) -> list[str]:
        """What sends a job's output to its log, where the scheduler cannot be told to."""
        if self.says(self.output_option):
            return []
        return [f"exec >{_quoted(spool)}/{log_name(self.number(n))} 2>&1"]

    def before(self, n: int, spool: str) -> list[str]:
        """What comes before the user's own commands."""
        return []

    def allotted(self) -> int | None:
        """The seconds that a job may run, where the user's own directives say so."""
        return None

    def end_of_allocation(self) -> list[str]:
        """What tells a daemon when its job will be ended, in seconds of the epoch."""
        seconds = self.allotted()
        return [] if seconds is None else [f"export MIRAI_UNTIL=$(($(date +%s) + {seconds}))"]

    def hand_over(self, commands: Sequence[LaunchCommand], spool: str) -> list[str]:
        """What gives a task its secrets: those in the file of its number, which is then removed."""
        return [
            f"secrets={_quoted(spool)}/secrets.{self.number(len(commands))}",
            'if [ ! -r "$secrets" ]; then',
            '    echo "$secrets is not there: is the home directory shared, or was this job run before?" >&2',
            "    exit 10",
            "fi",
            '. "$secrets"',
            'rm -f "$secrets"',
        ]

    def store(self, commands: Sequence[LaunchCommand], spool: Spool) -> dict[str, str]:
        """Put the secrets where `hand_over` finds them; the variables with which to submit."""
        for number, command in enumerate(commands, 1):
            spool.write(f"secrets.{number}", shell.exports(command.env))
        return {}

    def _script(self, commands: Sequence[LaunchCommand], spool: str) -> str:
        (argv,) = {command.argv for command in commands}
        n = len(commands)
        lines = [
            f"#!{self.interpreter}",
            *self.directives(n, spool),
            *self._lines.directives,
            *self.before(n, spool),
            *self._lines.commands,
            *self.end_of_allocation(),
            *(self.hand_over(commands, spool) if any(command.env for command in commands) else []),
            f"exec {shell.bare_line(LaunchCommand(argv).run_by(self.python))}",
        ]
        return "\n".join(lines) + "\n"

    def _submit(self, commands: Sequence[LaunchCommand]) -> Array:
        spool = Spool()
        try:
            n = len(commands)
            script = self._script(commands, str(spool.path))
            path = str(spool.write("script", script))
            submit = self.submission(n, str(spool.path))
            argv = [path if word == SCRIPT else word for word in submit]
            ran = shell.run(argv, env=self.store(commands, spool), stdin="" if SCRIPT in submit else script)
            if ran.status:
                said = (ran.stderr.strip() or ran.stdout.strip()).replace("\n", "; ")
                kind = TooManyTasks if self.too_many.search(said) else OSError
                raise kind(f"{self.command} refused the job (status {ran.status}): {said}")
            try:
                job, tasks = self.tasks(ran.stdout, n)
            except ValueError:
                raise OSError(f"{self.command} said {ran.stdout!r}, which is no job's id") from None
        except BaseException:
            spool.clear(keep_logs=False)
            raise
        return Array(_keeper(self), self, job, tasks, spool, hold=self.says(self.hold_option))


def seconds(duration: str) -> int:
    """`90`, `1:30` and `0:01:30` are the same."""
    total = 0
    for part in duration.split(":"):
        total = 60 * total + int(part)
    return total


def _quoted(path: str) -> str:
    return path if path == SHOWN else shlex.quote(path)


_keepers: dict[tuple[type, str, str], Keeper] = {}


def _keeper(scheduler: Batch) -> Keeper:
    """The one that asks this scheduler, for all jobs of all launches."""
    key = type(scheduler), scheduler.beside(""), scheduler.site
    return _keepers.setdefault(key, Keeper(scheduler))
