"""Each task has random numbers of its own, the same in every run."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mirai.protocol.seeds import stream


def test_a_stream_is_the_same_everywhere():
    """On any machine, with any Python, today and in ten years: a paper may depend on it."""
    assert stream(1, 0) == [
        *(1965598084, 4270620942, 1805188078, 2365153793),
        *(77167534, 883901132, 864303538, 419678098),
    ]


@given(st.tuples(st.integers(), st.integers(0)), st.tuples(st.integers(), st.integers(0)))
def test_streams_differ(one, other):
    """Neighbours in place or seed, and those whose numbers look alike when written one after the other."""
    assert (stream(*one) == stream(*other)) == (one == other)


def test_every_bit_is_used():
    """A stream whose words were alike would make generators that are."""
    words = [word for place in range(200) for word in stream(0, place)]
    ones = [sum(word >> bit & 1 for word in words) for bit in range(32)]

    assert all(0 <= word < 2**32 for word in words)
    assert all(abs(count - 800) < 120 for count in ones)  # six standard deviations
    assert len(set(words)) == len(words)
