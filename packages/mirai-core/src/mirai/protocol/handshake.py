"""Who may come in: what both sides say of themselves before anything is unpickled."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass, fields

from mirai.protocol.wire import FrameError

PROTOCOL = 1
LARGEST_HELLO = 4096  # bytes


@dataclass(frozen=True)
class Hello:
    """What a daemon says first, on each of its two connections."""

    role: str  # "data" or "control"
    instance: str  # random; pairs the two
    pid: int
    host: str
    launch: str = ""  # the host's name for the launch that it came from
    python: str = ".".join(map(str, sys.version_info[:3]))
    protocol: int = PROTOCOL

    def encode(self) -> bytes:
        """As UTF-8 lines of `name=value`."""
        lines = (f"{field.name}={getattr(self, field.name)}" for field in fields(self))
        return "\n".join(lines).encode()

    @classmethod
    def decode(cls, body: bytes | bytearray | memoryview) -> Hello:
        """The reverse.

        Raises:
            FrameError: it is not one.
        """
        try:
            pairs = dict(line.split("=", 1) for line in bytes(body).decode().split("\n"))
            known = {field.name: pairs[field.name] for field in fields(cls)}
            hello = cls(**{**known, "pid": int(known["pid"]), "protocol": int(known["protocol"])})  # type: ignore[arg-type]
        except (ValueError, KeyError) as error:
            raise FrameError(f"not a hello: {bytes(body[:80])!r}") from error
        if hello.role not in ("data", "control"):
            raise FrameError(f"a hello of role {hello.role!r}")
        return hello


def refusal(hello: Hello) -> str:
    """Why host and daemon cannot work together and what to change; empty where they can."""
    if hello.protocol != PROTOCOL:
        return (
            f"the daemon on {hello.host} speaks protocol {hello.protocol}, this host {PROTOCOL}: "
            "install the same version of mirai-core on both"
        )
    ours, theirs = platform.python_version_tuple()[:2], tuple(hello.python.split(".")[:2])
    if ours != theirs:
        return (
            f"the daemon on {hello.host} runs Python {hello.python}, this host {platform.python_version()}: "
            "functions sent by value work only within one minor version, start the daemon with the host's"
        )
    return ""
