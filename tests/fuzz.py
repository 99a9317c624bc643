"""Fuzz what a stranger can reach, by hand: `python tests/fuzz.py -max_total_time=300`, with atheris installed.

The frame decoder in pieces, the host's side of the handshake, the daemon's, and the buffers of a body. Anything but a
`FrameError` is a find, and so is a stranger that gets in.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["mirai.protocol"]):
    from mirai.protocol.handshake import NONCE_SIZE, Examiner, Hello, answer
    from mirai.protocol.messages import Kind
    from mirai.protocol.tickets import ID_SIZE, SECRET_SIZE, Tickets
    from mirai.protocol.wire import Decoder, FrameError, encode, split_buffers

TICKETS = Tickets()
TICKET = TICKETS.issue(1, bytes(range(ID_SIZE + SECRET_SIZE)))
HELLO = Hello("data", "7c9e", 1, "node1", attempt="1", ticket=TICKET.id, nonce="0" * 32).encode()


def frames_in_pieces(data: atheris.FuzzedDataProvider) -> None:
    """However they are cut, they are the same."""
    stream = data.ConsumeBytes(3000)
    whole, pieces = [], []
    for frames, size in ((whole, len(stream) or 1), (pieces, data.ConsumeIntInRange(1, 50))):
        decoder = Decoder(1 << 20)
        try:
            for start in range(0, len(stream), size):
                piece = stream[start : start + size]
                while piece:
                    space = decoder.space()
                    n = min(len(space), len(piece))
                    space[:n] = piece[:n]
                    frames += decoder.received(n)
                    piece = piece[n:]
        except FrameError:
            frames.append(None)
    if whole[-1:] != [None]:
        assert whole == pieces


def handshake(data: atheris.FuzzedDataProvider) -> None:
    """No stranger gets in."""
    examiner = Examiner(TICKETS, bytes(2 * NONCE_SIZE), is_private=False)
    if data.ConsumeBool():
        examiner.heard(Kind.HELLO, HELLO)
    while data.remaining_bytes():
        examiner.heard(data.ConsumeIntInRange(0, 20), data.ConsumeBytes(data.ConsumeIntInRange(0, 500)))
        assert not examiner.is_through


def challenge(data: atheris.FuzzedDataProvider) -> None:
    """No impostor gets an answer."""
    answer(TICKET.secret, HELLO, data.ConsumeBytes(500))
    raise AssertionError("an impostor was believed")


def hello(data: atheris.FuzzedDataProvider) -> None:
    """What is understood is printable, and the same when it is said again."""
    heard = Hello.decode(data.ConsumeBytes(1000))
    assert encode(Kind.HELLO, heard.encode()).isascii() or heard.host.isprintable()
    if heard.protocol == Hello("data", "", 0, "").protocol:
        assert Hello.decode(heard.encode()) == heard


def buffers(data: atheris.FuzzedDataProvider) -> None:
    """They lie within the body."""
    count, body = data.ConsumeIntInRange(0, 65535), data.ConsumeBytes(1000)
    pickled, parts = split_buffers(count, body)
    assert len(pickled) + sum(map(len, parts)) <= len(body)


TARGETS = (frames_in_pieces, handshake, challenge, hello, buffers)


def fuzz(given: bytes) -> None:
    data = atheris.FuzzedDataProvider(given)
    try:
        TARGETS[data.ConsumeIntInRange(0, len(TARGETS) - 1)](data)
    except FrameError:
        pass


if __name__ == "__main__":
    atheris.Setup(sys.argv, fuzz)
    atheris.Fuzz()
