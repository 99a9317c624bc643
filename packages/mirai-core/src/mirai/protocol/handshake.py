"""Who may come in: what both sides say of themselves before anything is unpickled."""

from __future__ import annotations

import sys

from mirai.protocol.wire import FrameError

TYPE_CHECKING = False  # not from typing, whose import is a good part of a daemon's start
if TYPE_CHECKING:
    from typing import Any

PROTOCOL = 1
LARGEST_HELLO = 4096  # bytes
PYTHON = ".".join(map(str, sys.version_info[:3]))


class Hello:
    """What a daemon says first, on each of its two connections.

    Attributes:
        role: `"data"` or `"control"`.
        instance: random; pairs the two.
        pid, host: of the daemon.
        launch: the host's name for the launch that it came from; empty for none.
        python: version of the interpreter.
        protocol: number of the wire protocol.
    """

    __slots__ = ("host", "instance", "launch", "pid", "protocol", "python", "role")

    def __init__(
        self,
        role: str,
        instance: str,
        pid: int,
        host: str,
        launch: str = "",
        python: str = PYTHON,
        protocol: int = PROTOCOL,
    ) -> None:
        self.role, self.instance, self.pid, self.host = role, instance, pid, host
        self.launch, self.python, self.protocol = launch, python, protocol

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hello) and self.encode() == other.encode()

    def __hash__(self) -> int:
        return hash(self.encode())

    def encode(self) -> bytes:
        """As UTF-8 lines of `name=value`; what is not printable in a value becomes `?`."""
        return "\n".join(f"{name}={_printable(str(getattr(self, name)))}" for name in self.__slots__).encode()

    @classmethod
    def decode(cls, body: bytes | bytearray | memoryview) -> Hello:
        """The reverse.

        Raises:
            FrameError: it is not one.
        """
        try:
            pairs = [line.split("=", 1) for line in bytes(body).decode().split("\n")]
            said = dict(pairs)
            # Other names may come with a later protocol, which is refused for a better reason.
            known: dict[str, Any] = {name: said[name] for name in cls.__slots__}
            known["pid"], known["protocol"] = int(known["pid"]), int(known["protocol"])
        except (ValueError, KeyError) as error:
            raise FrameError(f"not a hello: {bytes(body[:80])!r}") from error
        if len(said) < len(pairs) or not all(map(str.isprintable, said.values())):
            raise FrameError(f"not a hello that any daemon says: {bytes(body[:80])!r}")  # it ends up in logs
        hello = cls(**known)
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
    if PYTHON.split(".")[:2] != hello.python.split(".")[:2]:
        return (
            f"the daemon on {hello.host} runs Python {hello.python}, this host {PYTHON}: "
            "functions sent by value work only within one minor version, start the daemon with the host's"
        )
    return ""


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)
