"""Launchers for mirai: where daemons come from, other than this machine."""

from mirai_launchers.remote_config import RemoteConfig, remote_config

__all__ = ["RemoteConfig", "remote_config"]
