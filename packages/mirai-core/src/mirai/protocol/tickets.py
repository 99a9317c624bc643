"""Tickets: what a daemon shows to be let in, one for each that is launched."""

from __future__ import annotations

TYPE_CHECKING = False  # not from typing, whose import is a good part of a daemon's start
if TYPE_CHECKING:
    from collections.abc import Iterator

    from mirai.protocol.handshake import Hello

ID_SIZE, SECRET_SIZE = 8, 32  # bytes
LEAST = 12  # hexadecimal digits of a secret that are hidden; a text may have been cut in the middle of it


class Ticket:
    """The host's copy of one.

    Attributes:
        row: the daemon's number in `status()`, for as long as it is launched anew in its place.
        launch: the local process that it was made for; empty for none.
        holder: who is in by it now.
    """

    __slots__ = ("holder", "id", "is_valid", "launch", "row", "secret")

    def __init__(self, row: int, random: bytes, launch: str = "") -> None:
        """`random`: `ID_SIZE + SECRET_SIZE` bytes that nobody can guess."""
        self.row, self.launch = row, launch
        self.id, self.secret = random[:ID_SIZE].hex(), random[ID_SIZE:]
        self.is_valid = True
        self.holder: Hello | None = None

    def line(self) -> str:
        """What the daemon is given: one line without blanks, to be kept secret."""
        return f"{self.id}.{self.secret.hex()}"

    def hidden(self, text: str) -> str:
        """The text without this ticket, or part of its secret, and without what looks like another's.

        What starts a daemon may echo what it was given, and its words go to logs.
        """
        import re  # not at the top: daemons need none of it

        secret = self.secret.hex()

        def hide(found: re.Match[str]) -> str:
            digits = found[0].lower()
            return "…" if "." in digits or digits in secret or secret in digits else found[0]

        return re.sub(rf"(?:[0-9a-fA-F]{{{2 * ID_SIZE}}}\.)?[0-9a-fA-F]{{{LEAST},}}", hide, text)

    def objection(self, hello: Hello) -> str:
        """Why a daemon that has proved it holds this ticket may not come in now; empty where it may."""
        if not self.is_valid:
            return "its ticket was revoked (saisei): start it by the new command"
        holder = self.holder
        if holder is not None and holder.instance != hello.instance:
            return (
                f"its ticket is in use, by process {holder.pid} on {holder.host}: "
                "one daemon at a time, launch_remote() makes a ticket for each"
            )
        return ""


class Tickets:
    """Those of one profile, by their id."""

    def __init__(self) -> None:
        self._tickets: dict[str, Ticket] = {}

    def __iter__(self) -> Iterator[Ticket]:
        return iter(self._tickets.values())

    def issue(self, row: int, random: bytes, launch: str = "") -> Ticket:
        """Make a ticket."""
        ticket = Ticket(row, random, launch)
        self._tickets[ticket.id] = ticket
        return ticket

    def find(self, name: str) -> Ticket | None:
        """The ticket of that id, if it is valid."""
        return self._tickets.get(name)

    def revoke(self, ticket: Ticket) -> None:
        """Nobody is let in by it any more."""
        ticket.is_valid = False
        self._tickets.pop(ticket.id, None)


def read_line(text: str) -> tuple[str, bytes]:
    """A ticket's id and secret, from the line that a daemon was given.

    Raises:
        ValueError: it is none; the text is not quoted, as it may be a secret all the same.
    """
    name, dot, secret = text.strip().partition(".")
    try:
        key = bytes.fromhex(secret)
        whole = bool(dot) and len(bytes.fromhex(name)) == ID_SIZE and len(key) == SECRET_SIZE
    except ValueError:
        whole = False
    if not whole:
        raise ValueError("the ticket is not one that launch_remote() gives: copy all of it, up to the blank")
    return name, key
