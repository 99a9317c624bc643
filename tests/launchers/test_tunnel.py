"""The kind `tunnel`: `ssh` with a tunnel, and never without."""

from __future__ import annotations

import pytest

from mirai_launchers import TunnelConfig


def test_it_has_a_tunnel():
    """That is what it is for."""
    assert TunnelConfig("ssh://alpha").tunnel is True


def test_it_is_never_without():
    """The other kind is meant."""
    with pytest.raises(ValueError, match="use kind ssh"):
        TunnelConfig("ssh://alpha", tunnel=False)
