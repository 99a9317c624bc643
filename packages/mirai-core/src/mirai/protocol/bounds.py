"""What a host bears of its peers: bounds, which the environment can set."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class Bounds(NamedTuple):
    """How long, how many, how large.

    Attributes:
        handshake: seconds that a peer has to show who it is.
        strangers: connections of peers that have not shown it yet.
        largest: bytes of one frame's body, from a daemon.
    """

    handshake: float = 10.0
    strangers: int = 512
    largest: int = 1 << 62


def read_bounds(environment: Mapping[str, str], memory: int) -> Bounds:
    """The bounds, as `MIRAI_HANDSHAKE`, `MIRAI_STRANGERS` and `MIRAI_LARGEST` have them.

    `memory`: bytes that this machine has. A frame that is larger cannot be meant.

    Raises:
        ValueError: names the variable and what it may be.
    """
    default = Bounds(largest=memory)
    return Bounds(
        _number(environment, "MIRAI_HANDSHAKE", default.handshake),
        int(_number(environment, "MIRAI_STRANGERS", default.strangers)),
        int(_number(environment, "MIRAI_LARGEST", default.largest)),
    )


def _number(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name, "")
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1 << 62:
        raise ValueError(f"the environment variable {name}={text!r} must be a number greater than 0")
    return number
