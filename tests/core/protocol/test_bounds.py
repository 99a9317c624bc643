"""What a host bears can be set, and a mistake there is said at once."""

from __future__ import annotations

import pytest

from mirai.protocol.bounds import Bounds, read_bounds


def test_by_default_a_frame_may_be_as_large_as_the_machine():
    """And a stranger has ten seconds."""
    assert read_bounds({}, 1000) == Bounds(10.0, 512, 1000)


def test_the_environment_sets_them():
    """For the whole program."""
    environment = {"MIRAI_HANDSHAKE": "0.5", "MIRAI_STRANGERS": "7", "MIRAI_LARGEST": "1e9"}

    assert read_bounds(environment, 1000) == Bounds(0.5, 7, 10**9)


@pytest.mark.parametrize("text", ["0", "-1", "many", "inf", "nan"])
@pytest.mark.parametrize("name", ["MIRAI_HANDSHAKE", "MIRAI_STRANGERS", "MIRAI_LARGEST"])
def test_a_mistake_is_named(name, text):
    """With the variable and its value."""
    with pytest.raises(ValueError, match=f"{name}='{text}'"):
        read_bounds({name: text}, 1000)
