"""Who may come in: what both sides say, prove and check before anything is unpickled.

On each of a daemon's two connections, in this order:

    daemon   HELLO      who it is, its versions, the id of its ticket, a nonce
    host     CHALLENGE  a nonce, and the proof that it knows the ticket
    daemon   PROOF      that it does, too

or REFUSED from the host, with the reason. Where nobody else can listen or dial (`is_private`), a daemon needs no
ticket, and without one HELLO is all. `docs/protocol.md` has it whole.
"""

from __future__ import annotations

import sys
from math import inf

from mirai.protocol.messages import Kind
from mirai.protocol.wire import FrameError, encode

TYPE_CHECKING = False  # not from typing, whose import is a good part of a daemon's start
if TYPE_CHECKING:
    from typing import Any

    from mirai.protocol.tickets import Ticket, Tickets
    from mirai.protocol.wire import Buffer

PROTOCOL = 2
LARGEST_HELLO = 4096  # bytes
NONCE_SIZE = 16  # bytes
VISITOR = "visitor"  # the role of who comes to look, and is no daemon
PYTHON = ".".join(map(str, sys.version_info[:3]))
NEEDS_TICKET = (
    "a daemon needs a ticket here: start it by a command that launch_remote() gives in the host, "
    "or set MIRAI_TICKET, or MIRAI_TICKET_FILE, to what stands in one"
)


class Refusal(FrameError):
    """Why a peer is not let in, in words that it is told, too."""


class Hello:
    """What a daemon says first, on each of its two connections.

    Attributes:
        role: `"data"` or `"control"`; or `"visitor"`.
        instance: random, the process's own.
        attempt: random; pairs the two connections.
        pid, host: of the daemon.
        launch: the host's name for the local process that it is; empty for none.
        ticket: the id of its ticket; empty for none.
        nonce: random, in hexadecimal.
        left: seconds until its allocation ends; empty for never.
        python, mirai, cloudpickle: versions; empty where they are the host's.
        protocol: number of the wire protocol.
    """

    __slots__ = (
        "attempt",
        "cloudpickle",
        "host",
        "instance",
        "launch",
        "left",
        "mirai",
        "nonce",
        "pid",
        "protocol",
        "python",
        "role",
        "ticket",
    )

    def __init__(
        self,
        role: str,
        instance: str,
        pid: int,
        host: str,
        launch: str = "",
        python: str = PYTHON,
        protocol: int = PROTOCOL,
        *,
        attempt: str = "",
        ticket: str = "",
        nonce: str = "",
        left: str = "",
        mirai: str = "",
        cloudpickle: str = "",
    ) -> None:
        self.role, self.instance, self.pid, self.host = role, instance, pid, host
        self.launch, self.python, self.protocol = launch, python, protocol
        self.attempt, self.ticket, self.nonce, self.left = attempt, ticket, nonce, left
        self.mirai, self.cloudpickle = mirai, cloudpickle

    def seconds_left(self) -> float:
        """How long it may stay.

        Raises:
            FrameError: that is no number.
        """
        try:
            left = float(self.left or inf)
        except ValueError:
            left = -1.0
        if not left >= 0:
            raise FrameError(f"not a hello: left={self.left!r}")
        return left

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hello) and self.encode() == other.encode()

    def __hash__(self) -> int:
        return hash(self.encode())

    def encode(self) -> bytes:
        """As UTF-8 lines of `name=value`; what is not printable in a value becomes `?`."""
        return _encode({name: getattr(self, name) for name in self.__slots__})

    @classmethod
    def decode(cls, body: Buffer) -> Hello:
        """The reverse.

        Raises:
            FrameError: it is not one.
        """
        said = _decode(body)
        try:
            known: dict[str, Any] = {name: said.get(name, "") for name in cls.__slots__}
            known["pid"], known["protocol"] = int(known["pid"]), int(known["protocol"])
            # Another protocol has other names, and is refused for a better reason.
            if known["protocol"] == PROTOCOL:
                known |= {name: said[name] for name in cls.__slots__ if name not in ("pid", "protocol")}
        except (ValueError, KeyError) as error:
            raise FrameError(f"not a hello: {bytes(body[:80])!r}") from error
        hello = cls(**known)
        hello.seconds_left()
        if hello.role not in ("data", "control", VISITOR):
            raise FrameError(f"a hello of role {hello.role!r}")
        return hello


def refusal(hello: Hello, cloudpickle: str = "") -> str:
    """Why host and daemon cannot work together and what to change; empty where they can.

    `cloudpickle` is the host's version of it.
    """
    if hello.protocol != PROTOCOL:
        return (
            f"the daemon on {hello.host} speaks protocol {hello.protocol}, this host {PROTOCOL}: "
            "install the same version of mirai-core on both"
        )
    if hello.role == VISITOR:
        return ""  # what it says and hears is JSON, whatever it runs on
    if PYTHON.split(".")[:2] != hello.python.split(".")[:2]:
        return (
            f"the daemon on {hello.host} runs Python {hello.python}, this host {PYTHON}: "
            "functions sent by value work only within one minor version, start the daemon with the host's"
        )
    if hello.cloudpickle and cloudpickle and hello.cloudpickle.split(".")[0] != cloudpickle.split(".")[0]:
        return (
            f"the daemon on {hello.host} has cloudpickle {hello.cloudpickle}, this host {cloudpickle}: "
            "install the same major version on both"
        )
    return ""


class Examiner:
    """The host's mind on one connection, until it knows who is there: frames in, frames out.

    Attributes:
        hello: what the peer has said of itself.
        ticket: the one that it has proved to hold; None where none is needed.
        is_through: whether it may come in.
        is_private: whether nobody but this user can come here.
    """

    def __init__(self, tickets: Tickets, nonce: bytes, *, is_private: bool, cloudpickle: str = "") -> None:
        """`nonce`: random bytes, twice `NONCE_SIZE`: one half is said, the other half never."""
        self.hello: Hello | None = None
        self.ticket: Ticket | None = None
        self.is_through = False
        self._tickets = tickets
        self._nonce = nonce[:NONCE_SIZE].hex()
        self._dummy = nonce[NONCE_SIZE:]
        self.is_private = is_private
        self._cloudpickle = cloudpickle
        self._said = b""

    def heard(self, kind: int, body: Buffer) -> bytes:
        """Take what the peer says; return what to answer.

        Raises:
            Refusal: it may not come in.
            FrameError: it does not keep to the protocol.
        """
        if self.hello is None:
            if kind != Kind.HELLO:
                raise FrameError(f"its first frame is of kind {kind}")
            return self._greeted(bytes(body))
        if kind != Kind.PROOF or self.is_through:
            raise FrameError(f"a frame of kind {kind} where it has to prove its ticket")
        return self._proved(bytes(body))

    def _greeted(self, said: bytes) -> bytes:
        self.hello = hello = Hello.decode(said)
        if reason := refusal(hello, self._cloudpickle):
            raise Refusal(reason)
        if hello.role == VISITOR and not self.is_private:
            raise Refusal("visitors come by the host's private address")
        if not hello.ticket:
            if not self.is_private:
                raise Refusal(NEEDS_TICKET)
            self.is_through = True
            return b""
        if len(hello.nonce) != 2 * NONCE_SIZE:
            raise FrameError(f"a nonce of {len(hello.nonce)} characters")
        self._said = said
        proof = prove(self._secret(), "host", self._nonce, said)
        challenge = {"nonce": self._nonce, "proof": proof, "python": PYTHON, "cloudpickle": self._cloudpickle}
        return encode(Kind.CHALLENGE, _encode(challenge))

    def _proved(self, proof: bytes) -> bytes:
        assert self.hello is not None
        if not _equal(proof, prove(self._secret(), "daemon", self._nonce, self._said).encode()):
            raise Refusal("its ticket is not (any more) one of this host's: launch_remote() gives new ones")
        self.ticket = self._tickets.find(self.hello.ticket)
        self.is_through = True
        return b""

    def _secret(self) -> bytes:
        # An id that nobody has is answered like any other, so that strangers learn nothing from it.
        assert self.hello is not None
        ticket = self._tickets.find(self.hello.ticket)
        return self._dummy if ticket is None else ticket.secret


def answer(secret: bytes, hello: bytes, body: Buffer) -> bytes:
    """The daemon's answer to a CHALLENGE, as the body of a PROOF.

    Args:
        secret: of its ticket.
        hello: what it has said, to the byte.
        body: of the CHALLENGE.

    Raises:
        FrameError: the host has not proved that it knows the ticket.
    """
    said = _decode(body)
    nonce = said.get("nonce", "")
    if len(nonce) != 2 * NONCE_SIZE or not _equal(
        said.get("proof", "").encode(), prove(secret, "host", nonce, hello).encode()
    ):
        raise FrameError(
            "who listens there does not know this daemon's ticket: it was revoked, or belongs to another session "
            "(launch_remote() gives a new one), or that is not the host"
        )
    return prove(secret, "daemon", nonce, hello).encode()


def prove(secret: bytes, side: str, nonce: str, hello: bytes) -> str:
    """That `side` knows a ticket's secret: for these two nonces (the daemon's is in its hello), and nothing else."""
    import hmac  # 5 ms, which a local daemon need not spend
    from hashlib import sha256

    return hmac.digest(
        secret, b"mirai %s %s " % (side.encode(), nonce.encode()) + sha256(hello).digest(), "sha256"
    ).hex()


def _equal(one: bytes, other: bytes) -> bool:
    import hmac

    return hmac.compare_digest(one, other)


def _encode(values: dict[str, Any]) -> bytes:
    return "\n".join(f"{name}={_printable(str(value))}" for name, value in values.items()).encode()


def _decode(body: Buffer) -> dict[str, str]:
    try:
        pairs = [line.split("=", 1) for line in bytes(body).decode().split("\n")]
        said = dict(pairs)
    except ValueError as error:
        raise FrameError(f"not a hello: {bytes(body[:80])!r}") from error
    if len(said) < len(pairs) or not all(map(str.isprintable, said.values())):
        raise FrameError(f"not a hello that any daemon says: {bytes(body[:80])!r}")  # it ends up in logs
    return said


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)
