"""The hook: launcher names to classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mirai.hookspecs import hookimpl
from mirai_launchers.dask import Dask
from mirai_launchers.http import HttpConfig
from mirai_launchers.lsf import LSF
from mirai_launchers.pbs import PBS
from mirai_launchers.ray import Ray
from mirai_launchers.remote_config import RemoteConfig
from mirai_launchers.sge import SGE
from mirai_launchers.slurm import Slurm
from mirai_launchers.ssh import SshConfig
from mirai_launchers.tunnel import TunnelConfig

if TYPE_CHECKING:
    from mirai.hookspecs import Launcher


@hookimpl
def mirai_launchers() -> dict[str, type[Launcher]]:
    launchers = (RemoteConfig, Slurm, SGE, PBS, LSF, SshConfig, TunnelConfig, HttpConfig, Dask, Ray)
    return {launcher.name: launcher for launcher in launchers}
