"""Frames arrive whole and in order, however the bytes come; what is no frame is refused before it costs anything."""

from __future__ import annotations

import itertools
import pickle
import struct
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirai.protocol.messages import Kind
from mirai.protocol.wire import (
    ALIGNMENT,
    CHUNK,
    FIRST_CHUNK,
    HEADER,
    HEADER_SIZE,
    Decoder,
    FrameError,
    body_size,
    encode,
    split_buffers,
    with_buffers,
)

PATTERN = bytes(range(256)) * (2 * CHUNK // 256)

sizes = st.one_of(
    st.integers(0, 200),
    st.sampled_from([FIRST_CHUNK, CHUNK - HEADER_SIZE, CHUNK]).flatmap(lambda size: st.integers(size - 2, size + 2)),
    st.integers(0, len(PATTERN)),
)
bodies = sizes.map(lambda size: PATTERN[size % 7 :][:size])
frames = st.tuples(
    st.integers(1, Kind.TRIM),
    st.integers(0, 2**8 - 1),
    st.integers(0, 2**16 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
    bodies,
)


def encoded(frame):
    kind, flags, count, aux, seq, body = frame
    return encode(kind, body, flags=flags, count=count, aux=aux, seq=seq)


def decoded(stream, pieces, decoder=None):
    """The frames in a stream that comes in such pieces, over and over."""
    decoder = decoder or Decoder()
    frames = []
    at = 0
    pieces = itertools.cycle(pieces)
    while at < len(stream):
        space = decoder.space()
        n = min(next(pieces), len(space), len(stream) - at)
        assert n, "there is always space"
        space[:n] = stream[at : at + n]
        frames += decoder.received(n)
        at += n
    return frames


@settings(max_examples=60, deadline=None)
@given(
    frames=st.lists(frames, max_size=6),
    pieces=st.lists(st.one_of(st.integers(1, 60), st.integers(1, 3 * CHUNK)), min_size=1, max_size=5),
)
def test_frames_arrive_in_whatever_pieces(frames, pieces):
    """A stream of bytes knows no frames."""
    pieces = [max(piece, sum(len(frame[5]) for frame in frames) // 5000) for piece in pieces]  # not byte for byte
    stream = b"".join(map(encoded, frames))

    assert decoded(stream, pieces) == frames


def test_small_frames_arrive_byte_for_byte():
    """The worst that a network does."""
    frames = [(Kind.TASK, 1, 0, 2, 3, b"abc"), (Kind.BYE, 0, 0, 0, 0, b""), (Kind.RESULT, 0, 0, 0, 2**64 - 1, b"x")]

    assert decoded(b"".join(map(encoded, frames)), [1]) == frames


def test_many_frames_arrive_in_one_read():
    """So they are meant to: a read costs more than a frame."""
    stream = b"".join(encode(Kind.TASK, b"abc", seq=seq) for seq in range(1000))

    assert [frame[4] for frame in decoded(stream, [CHUNK])] == list(range(1000))


def test_room_is_made_once_it_is_filled():
    """Most connections have nothing but short frames; a host may have a thousand of them."""
    decoder = Decoder()
    assert len(decoder.space()) == FIRST_CHUNK

    stream = b"".join(encode(Kind.TASK, b"abc", seq=seq) for seq in range(1000))
    frames = decoded(stream[:FIRST_CHUNK], [CHUNK], decoder)
    assert len(decoder.space()) > CHUNK - HEADER_SIZE - 3

    assert [frame[4] for frame in frames + decoded(stream[FIRST_CHUNK:], [CHUNK], decoder)] == list(range(1000))


def test_the_layout_is_fixed():
    """A daemon may be older than its host: what both must agree on is written down in `wire` and here."""
    frame = encode(Kind.TASK, b"body", flags=1, count=2, aux=3, seq=4)

    assert frame == b"\x05\x01\x02\x00\x03\x00\x00\x00\x04\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0body"


def test_bodies_are_their_own():
    """What a task keeps must not change with the next read."""
    decoder = Decoder()
    (first,) = decoded(encode(Kind.TASK, b"first"), [100], decoder)
    (second,) = decoded(encode(Kind.TASK, b"other"), [100], decoder)

    assert (first[5], second[5]) == (b"first", b"other")


def test_a_large_body_is_read_into_its_own_memory():
    """Copying it once more would take as long as to send it."""
    decoder = Decoder()
    decoder.space()[:HEADER_SIZE] = HEADER.pack(Kind.RESULT, 0, 0, 0, 1, 10 * CHUNK)
    assert decoder.received(HEADER_SIZE) == []
    assert len(decoder.space()) == 10 * CHUNK

    decoder.space()[:CHUNK] = bytes(CHUNK)
    assert decoder.received(CHUNK) == []
    assert len(decoder.space()) == 9 * CHUNK


# What is no frame


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=500), st.integers(1, 100))
def test_garbage_is_refused_or_waited_out(stream, piece):
    """A stranger can say anything; the host must neither crash nor set memory aside."""
    decoder = Decoder(limit=4096)
    try:
        found = decoded(stream, [piece], decoder)
    except FrameError:
        return
    assert b"".join(map(encoded, found)) == stream[: sum(HEADER_SIZE + len(frame[5]) for frame in found)]


@pytest.mark.parametrize("kind", [0, Kind.TRIM + 1, 0x47, 0xFF])
@pytest.mark.parametrize("size", [0, 100, 2**62])
def test_an_unknown_kind_is_refused(kind, size):
    """At the header, also where the body never comes. 0x47 is the G of `GET / HTTP/1.1`."""
    with pytest.raises(FrameError, match=f"no frame is of kind {kind}: the peer does not speak mirai's protocol"):
        decoded(HEADER.pack(kind, 0, 0, 0, 0, size), [100])


@pytest.mark.parametrize("size", [4097, 2**40, 2**63, 2**64 - 1])
def test_a_size_over_the_limit_is_refused(size):
    """Before any memory is set aside for it: the first 24 bytes of a stranger must not cost gigabytes."""
    header = HEADER.pack(Kind.HELLO, 0, 0, 0, 0, size)
    decoder = Decoder(limit=4096)
    tracemalloc.start()
    try:
        with pytest.raises(FrameError, match=f"a frame announces {size} bytes, more than the limit of 4096"):
            decoded(header, [100], decoder)
        assert tracemalloc.get_traced_memory()[1] < CHUNK
    finally:
        tracemalloc.stop()


def test_a_whole_frame_over_the_limit_is_refused():
    """It may come with its body, in one read."""
    with pytest.raises(FrameError, match="4097 bytes"):
        decoded(encode(Kind.HELLO, bytes(4097)), [CHUNK], Decoder(limit=4096))

    assert len(decoded(encode(Kind.HELLO, bytes(4096)), [CHUNK], Decoder(limit=4096))) == 1


def test_a_size_without_memory_for_it_is_refused():
    """A peer that went mad ends its own connection, not the host."""
    with pytest.raises(FrameError, match=f"a frame announces {2**61} bytes"):
        decoded(HEADER.pack(Kind.RESULT, 0, 0, 0, 0, 2**61), [100])


# Buffers


@given(
    pickled=st.binary(max_size=300),
    buffers=st.lists(st.one_of(st.binary(max_size=200), st.integers(0, 300).map(lambda n: PATTERN[:n])), max_size=6),
)
def test_buffers_arrive_beside_the_pickle(pickled, buffers):
    """Of any size, none at all too."""
    pickled = pickle.dumps(pickled)
    parts = with_buffers([pickled], [memoryview(buffer) for buffer in buffers])
    body = b"".join(parts)
    found, views = split_buffers(len(buffers), body)

    assert body_size(parts) == len(body)
    assert bytes(found)[: len(pickled)] == pickled
    assert pickle.loads(found) == pickle.loads(pickled)
    assert [bytes(view) for view in views] == buffers


def test_buffers_are_views_into_the_body():
    """To copy them is what they are sent beside the pickle to avoid; and an array may be written to."""
    body = bytearray(b"".join(with_buffers([b"pickle"], [memoryview(b"a" * 10), memoryview(b"b" * 10)])))
    _, (a, b) = split_buffers(2, body)
    b[0] = ord("!")

    assert a.obj is body
    assert body.endswith(b"!bbbbbbbbb")


@pytest.mark.parametrize("pickled", [0, 1, 47, 48, 49, 100])
def test_buffers_are_aligned(pickled):
    """Vector instructions want it, and some libraries insist."""
    parts = with_buffers([bytes(pickled)], [memoryview(b"a" * 5), memoryview(b"b" * 100), memoryview(b"c")])
    body = b"".join(parts)

    assert [body.index(letter) % ALIGNMENT for letter in (b"a", b"b", b"c")] == [0, 0, 0]


def test_large_buffers_are_not_joined():
    """A hundred megabytes are written from where they are."""
    buffer = memoryview(bytearray(1000))

    assert any(part is buffer for part in with_buffers([b"pickle"], [buffer]))


@given(count=st.integers(0, 2**16 - 1), body=st.binary(max_size=200))
def test_wrong_buffer_tables_are_refused(count, body):
    """Never an error that the loops do not know."""
    try:
        pickled, views = split_buffers(count, body)
    except FrameError:
        return
    assert len(views) == count
    assert 8 * count + len(pickled) + sum(map(len, views)) <= len(body)


@given(sizes=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=5), rest=st.binary(max_size=300))
def test_wrong_buffer_sizes_are_refused(sizes, rest):
    """The sum of two of them may well be that of the body."""
    body = struct.pack(f"<{len(sizes)}Q", *sizes) + rest
    try:
        _, views = split_buffers(len(sizes), body)
    except FrameError:
        return
    assert [len(view) for view in views] == sizes
