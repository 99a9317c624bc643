"""Launchers for mirai: where daemons come from, other than this machine."""

from mirai_launchers.cluster import cluster_config
from mirai_launchers.remote_config import RemoteConfig, remote_config
from mirai_launchers.slurm import Slurm

__all__ = ["RemoteConfig", "Slurm", "cluster_config", "remote_config"]
