"""Which of a host's addresses a daemon dials: from here, or from elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mirai.transport.urls import host_url, parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mirai.transport.urls import Address

ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # every interface, and what reaches it from here


def for_this_machine(urls: Sequence[str]) -> str:
    """The address that a daemon on this machine dials: a private one, if there is one."""
    best = min(map(parse, urls), key=lambda address: address.port is not None)
    return str(best._replace(place=ANY.get(best.place, best.place)))


def for_others(urls: Sequence[str]) -> str:
    """The address that a daemon elsewhere dials.

    One that only this machine can reach is taken where there is no other: the daemon may be here after all, or a
    tunnel may lead here.
    """
    best = min(map(parse, urls), key=_distance)
    return str(best._replace(place=_this_host(best.place)) if best.place in ANY else best)


def _distance(address: Address) -> int:
    if address.port is None:
        return 2
    return int(address.place in ("localhost", "::1") or address.place.startswith("127."))


def _this_host(place: str) -> str:
    if place == "::":
        import socket

        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("2001:db8::1", 9))  # sends nothing, and belongs to nobody (RFC 3849)
                return str(probe.getsockname()[0])
            except OSError:
                return socket.gethostname()
    return str(parse(host_url()).place)
