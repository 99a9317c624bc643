"""Daemons on ssh servers, which dial back to the host, or through a tunnel."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from itertools import cycle, pairwise
from typing import TYPE_CHECKING, ClassVar

from mirai.hookspecs import Launch, LaunchCommand, Launcher
from mirai_launchers import addresses, shell

if TYPE_CHECKING:
    from mirai_launchers.session import Order


@dataclass(frozen=True)
class SshConfig(Launcher):
    """Start daemons on ssh servers.

    `~/.ssh/config`, the agent, keys and known hosts are honoured as ssh(1) does; nobody is asked for a password, nor
    whether a host key is right. There is one connection to each server, whatever the number of daemons. It stays
    while they run: when it ends, they do. Secrets travel in it.

    Attributes:
        remotes: one `ssh://user@host:port`, or several, of which the daemons are launched in turn. The host may be a
            `Host` of `~/.ssh/config`, where user and port may stand too.
        tunnel: whether daemons reach the host through the connection: for hosts that cannot be dialled. The host
            then listens at 127.0.0.1; the port at the other end is one that is free there.
        timeout: seconds for connecting and logging in.
        python: the interpreter there, a name or a path; `~/` is the home directory there.
        config: a file to read instead of `~/.ssh/config`.

    Source: `ssh_config()` in R.
    """

    name: ClassVar[str] = "ssh"

    remotes: str | Sequence[str]
    tunnel: bool = False
    timeout: float = 10.0
    python: str = "python3"
    config: str | None = None

    def __post_init__(self) -> None:
        remotes = (self.remotes,) if isinstance(self.remotes, str) else self.remotes
        if not isinstance(remotes, Sequence) or not all(isinstance(remote, str) for remote in remotes):
            raise TypeError(f"remotes is {self.remotes!r}: give an address such as ssh://user@host, or a list of them")
        if not remotes:
            raise ValueError("remotes is empty: give an address such as ssh://user@host")
        for remote in remotes:
            addresses.parse(remote)
        if not isinstance(self.tunnel, bool):
            raise TypeError(f"tunnel is {self.tunnel!r}: give True or False")
        if isinstance(self.timeout, bool) or not isinstance(self.timeout, int | float) or not 0 < self.timeout < 86400:
            raise ValueError(f"timeout is {self.timeout!r}: give seconds, more than 0 and less than a day")
        for option, value in (("python", self.python), ("config", self.config)):
            if not (isinstance(value, str) and value) and (option, value) != ("config", None):
                raise TypeError(f"{option} is {value!r}: a path belongs there")
        # A tuple, so that a list from a YAML profile is equal, and can be hashed.
        object.__setattr__(self, "remotes", tuple(remotes))

    def __eq__(self, other: object) -> bool:
        # The kinds `ssh` with `tunnel: true` and `tunnel` are the same.
        return astuple(self) == astuple(other) if isinstance(other, SshConfig) else NotImplemented

    @property
    def places(self) -> int:
        return len(self.remotes)

    def show(self, commands: Sequence[LaunchCommand]) -> str:
        """As ssh(1) would do it."""
        return "\n".join(self._line(*pair) for pair in zip(cycle(self._servers), commands, strict=False))

    def launch(self, commands: Sequence[LaunchCommand]) -> Sequence[Launch]:
        """Start the daemons, without waiting for the connection either.

        Raises:
            ValueError: a tunnel cannot lead to where the host listens.
        """
        orders = [self._order(*pair) for pair in zip(cycle(self._servers), commands, strict=False)]
        from mirai_launchers import session

        return session.launch(orders)

    @property
    def _servers(self) -> list[addresses.Remote]:
        return [addresses.parse(remote) for remote in self.remotes]

    def _order(self, remote: addresses.Remote, command: LaunchCommand) -> Order:
        from mirai_launchers import login, session

        url = _word_after(command.argv, "daemon")
        return session.Order(
            login.Place(remote, self.config and os.path.expanduser(self.config), self.timeout),
            self.python,
            command.argv[1:],
            command.env,
            url,
            addresses.carried(url) if self.tunnel and url else None,
            self._stays(_word_after(command.argv, "--autoexit")),
        )

    def _stays(self, autoexit: str) -> bool:
        """Whether a daemon decides itself when to leave; but nobody listens any more at the end of a tunnel."""
        return autoexit not in ("", "True", *(["False"] if self.tunnel else []))

    def _line(self, remote: addresses.Remote, command: LaunchCommand) -> str:
        words = ["ssh", "-T", "-o", f"ConnectTimeout={self.timeout:g}"]
        if self.config is not None:
            words += ["-F", self.config]
        if remote.port is not None:
            words += ["-p", str(remote.port)]
        url = _word_after(command.argv, "daemon")
        if self.tunnel and url:
            host, port = addresses.carried(url)
            host = f"[{host}]" if ":" in host else host
            words += ["-R", f"{host}:{port}:{host}:{port}"]
        there = shell.line(LaunchCommand(command.run_by(self.python).argv))
        return shlex.join([*words, str(remote._replace(port=None)).strip("[]"), there])


def _word_after(argv: Sequence[str], word: str) -> str:
    return next((after for before, after in pairwise(argv) if before == word), "")


# What R calls it, and YAML.
ssh_config = SshConfig
