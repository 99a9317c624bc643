"""A peer that vanishes is missed in time, and one that lives never is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mirai.protocol.heartbeat import BEAT, BEATS, Heartbeat


def test_a_peer_that_answers_stays():
    """For ever."""
    heartbeat = Heartbeat()

    assert not any(heartbeat.is_gone(True) for _ in range(1000))


def test_a_peer_that_is_silent_once_stays():
    """As when this process was stopped, and has just gone on: what came meanwhile was not read yet."""
    heartbeat = Heartbeat()

    assert [heartbeat.is_gone(heard) for heard in (False, True) * 10] == [False] * 20


@given(st.floats(0.001, BEAT))
def test_a_peer_that_vanishes_is_missed_in_time(after):
    """Whenever it does between two beats: it answered the last one, and says nothing more."""
    heartbeat = Heartbeat()
    assert not heartbeat.is_gone(True)
    waited = BEAT - after  # until the next beat, before which it was heard
    heard = True
    while not heartbeat.is_gone(heard):
        waited += BEAT
        heard = False

    assert waited < BEATS * BEAT


@given(st.lists(st.booleans()))
def test_only_silence_counts(heard):
    """Two beats of it, one after the other."""
    heartbeat = Heartbeat()
    gone = [heartbeat.is_gone(each) for each in heard]

    assert gone == [not heard[i] and i > 0 and not heard[i - 1] for i in range(len(heard))]
