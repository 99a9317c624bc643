"""Daemons on ssh servers that reach the host through a tunnel: `ssh` with `tunnel: true`, as a kind of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mirai_launchers.ssh import SshConfig


@dataclass(frozen=True, eq=False)
class TunnelConfig(SshConfig):
    """Start daemons on ssh servers from where the host cannot be dialled.

    Attributes:
        remotes: one `ssh://user@host:port`, or several, of which the daemons are launched in turn.
        tunnel: True.
        timeout: seconds for connecting and logging in.
        python: the interpreter there, a name or a path; `~/` is the home directory there.
        config: a file to read instead of `~/.ssh/config`.

    Source: `ssh_config(tunnel = TRUE)` in R.
    """

    name: ClassVar[str] = "tunnel"

    tunnel: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.tunnel:
            raise ValueError("kind tunnel without a tunnel: use kind ssh")
