"""The hook: launcher names to classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mirai.hookspecs import hookimpl
from mirai_launchers.remote_config import RemoteConfig
from mirai_launchers.slurm import Slurm

if TYPE_CHECKING:
    from mirai.hookspecs import Launcher


@hookimpl
def mirai_launchers() -> dict[str, type[Launcher]]:
    return {launcher.name: launcher for launcher in (RemoteConfig, Slurm)}
