"""Launchers for mirai: where daemons come from, other than this machine."""

from mirai_launchers.cluster import cluster_config
from mirai_launchers.dask import Dask
from mirai_launchers.http import HttpConfig, http_config
from mirai_launchers.lsf import LSF
from mirai_launchers.pbs import PBS
from mirai_launchers.ray import Ray
from mirai_launchers.remote_config import RemoteConfig, remote_config
from mirai_launchers.sge import SGE
from mirai_launchers.slurm import Slurm
from mirai_launchers.ssh import SshConfig, ssh_config
from mirai_launchers.tunnel import TunnelConfig

__all__ = [
    "LSF",
    "PBS",
    "SGE",
    "Dask",
    "HttpConfig",
    "Ray",
    "RemoteConfig",
    "Slurm",
    "SshConfig",
    "TunnelConfig",
    "cluster_config",
    "http_config",
    "remote_config",
    "ssh_config",
]
