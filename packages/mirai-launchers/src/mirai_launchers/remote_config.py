"""Any command with a slot for the daemon's command line: `srun -n 1 .`, `docker exec -i box sh -c .`, `nice .`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import ClassVar, cast

from mirai.hookspecs import LaunchCommand, Launcher
from mirai_launchers import shell

SLOT = "."


@dataclass(frozen=True)
class RemoteConfig(Launcher):
    """Start daemons by a command of your own.

    Secrets reach the daemon in the command's environment. Not all commands hand that on: ssh(1), `docker exec -i`
    and sudo(8) do not, but their stdin, through which secrets go too where `quote` has a shell read them.

    Attributes:
        command: the program to run. None: nothing is run, the daemons' commands are there to paste.
        args: its arguments, a word each; `"."` stands for the daemon's command. A list of such lists starts
            as many daemons, each in its own way.
        python: the interpreter's name or path where the daemon will run.
        quote: whether the daemon's command is one argument, for a shell to split (`sh -c`, `ssh`), instead of
            several.

    Source: `remote_config()` in R.
    """

    name: ClassVar[str] = "remote_config"

    command: str | None = None
    args: Sequence[str] | Sequence[Sequence[str]] = (SLOT,)
    python: str = "python3"
    quote: bool = False

    def __post_init__(self) -> None:
        for option, value in (("command", self.command or ""), ("python", self.python)):
            if not isinstance(value, str):
                raise TypeError(
                    f"{option} is {value!r}, of type {type(value).__name__}: a name or a path belongs there"
                )
        # Tuples, so that a list from a YAML profile is equal, and can be hashed.
        several = _is_list(self.args) and self.args and all(map(_is_list, self.args))
        args = tuple(map(_checked, self.args)) if several else _checked(self.args)
        object.__setattr__(self, "args", args)

    @property
    def places(self) -> int:
        return len(self._lists)

    def show(self, commands: Sequence[LaunchCommand]) -> str:
        return super().show(self._plan(commands))

    def launch(self, commands: Sequence[LaunchCommand]) -> list[shell.Process]:
        if self.command is None:
            return []
        with ExitStack() as undo:
            launches = []
            for planned in self._plan(commands):
                stdin = shell.exports(planned.env)
                launches.append(shell.start(planned.argv, planned.env, stdin=stdin, advice=self._advice))
                undo.callback(launches[-1].cancel)
            undo.pop_all()
        return launches

    @property
    def _lists(self) -> tuple[tuple[str, ...], ...]:
        return cast("tuple[tuple[str, ...], ...]", self.args if _is_list(self.args[0]) else (self.args,))

    @property
    def _advice(self) -> str:
        """What is wrong, most likely, where a shell is given the daemon's command word by word: `sh -c .`, `-lc`."""
        before = [args[i - 1] for args in self._lists for i in range(1, len(args)) if args[i] == SLOT]
        has_shell = any(word.startswith("-") and not word.startswith("--") and word.endswith("c") for word in before)
        return "a shell takes a command as one word: set quote=True" if has_shell and not self.quote else ""

    def _plan(self, commands: Sequence[LaunchCommand]) -> list[LaunchCommand]:
        """What to run for each daemon: its command, inside ours."""
        lists = self._lists * len(commands) if len(self._lists) == 1 else self._lists
        if len(lists) != len(commands):
            raise ValueError(
                f"args has {len(lists)} lists, and {len(commands)} daemons are to be launched: "
                f"launch {len(lists)}, or give one list for all"
            )
        commands = [command.run_by(self.python) for command in commands]
        if self.command is None:
            return commands
        return [
            replace(command, argv=(self.command, *self._splice(args, command)))
            for args, command in zip(lists, commands, strict=True)
        ]

    def _splice(self, args: tuple[str, ...], command: LaunchCommand) -> Iterator[str]:
        for word in args:
            if word != SLOT:
                yield word
            elif self.quote:
                yield shell.line(command)
            else:
                yield from command.argv


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _checked(args: object) -> tuple[str, ...]:
    if not isinstance(args, Sequence) or isinstance(args, str):
        raise TypeError(f"args is {args!r}: a list of words belongs there")
    for word in args:
        if not isinstance(word, str):
            raise TypeError(f"args holds {word!r}, of type {type(word).__name__}: put it into quotation marks")
    if SLOT not in args:
        raise ValueError(f"args {list(args)!r} has no {SLOT!r}: put it where the daemon's command goes")
    return tuple(args)


# What R calls it, and YAML.
remote_config = RemoteConfig
