"""A peer that vanishes is missed in time, and one that lives never is."""

from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from mirai.protocol.heartbeat import BEAT, BEATS, Heartbeat, Verdict


def verdicts(beats, patience=inf):
    """What is made of (heard, vouched), beat by beat."""
    heartbeat = Heartbeat(patience)
    return [heartbeat.judge(heard, vouched) for heard, vouched in beats]


def test_a_peer_that_answers_stays():
    """For ever."""
    assert set(verdicts([(True, False)] * 1000)) == {Verdict.HERE}


def test_a_peer_that_is_silent_once_stays():
    """As when this process was stopped, and has just gone on: what came meanwhile was not read yet."""
    assert set(verdicts([(False, False), (True, False)] * 10)) == {Verdict.HERE}


def test_a_peer_for_which_its_kernel_vouches_is_busy():
    """A task in compiled code lets no other thread run, and be it for hours."""
    said = verdicts([(False, True)] * 1000 + [(True, True)])

    assert said == [Verdict.HERE] * (BEATS - 2) + [Verdict.BUSY] * (1000 - BEATS + 2) + [Verdict.HERE]


def test_a_peer_that_is_busy_and_vanishes_is_missed_like_any_other():
    """What was said for it before counts no more."""
    said = verdicts([(False, True)] * 100 + [(False, False)] * (BEATS - 1))

    assert said[99:] == [Verdict.BUSY] * (BEATS - 1) + [Verdict.GONE]


def test_patience_has_an_end():
    """Its process may be stopped, or in a deadlock: whoever waits for it is told in the end."""
    assert verdicts([(False, True)] * 7, patience=7)[-2:] == [Verdict.BUSY, Verdict.STUCK]


def test_patience_begins_with_a_word():
    """Each task may take that long."""
    said = verdicts(([(False, True)] * 6 + [(True, True)]) * 5, patience=7)

    assert Verdict.STUCK not in said


def test_patience_is_never_less_than_for_one_for_which_nobody_vouches():
    """Else to be vouched for would be a disadvantage."""
    assert verdicts([(False, True)] * BEATS, patience=0) == [Verdict.HERE, Verdict.BUSY, Verdict.STUCK]


@given(st.floats(0.001, BEAT))
def test_a_peer_that_vanishes_is_missed_in_time(after):
    """Whenever it does between two beats: it answered the last one, and says nothing more."""
    heartbeat = Heartbeat(inf)
    assert heartbeat.judge(True, True) is Verdict.HERE
    waited = BEAT - after  # until the next beat, before which it was heard
    heard = True
    while heartbeat.judge(heard, heard) is Verdict.HERE:
        waited += BEAT
        heard = False

    assert waited < BEATS * BEAT


@given(st.floats(0.001, BEAT), st.floats(0, BEAT / 2))
def test_a_busy_peer_that_vanishes_is_missed_in_time(after, answered):
    """Its kernel answered twice a beat, the last time `answered` seconds before it vanished, and for a beat that counts."""
    heartbeat = Heartbeat(inf)
    now = BEAT - after  # of the next beat, where it vanished at 0
    while heartbeat.judge(False, now + answered < BEAT) is not Verdict.GONE:
        now += BEAT

    assert now < BEATS * BEAT


@given(st.lists(st.booleans()))
def test_only_silence_counts(heard):
    """Two beats of it, one after the other."""
    gone = [verdict is Verdict.GONE for verdict in verdicts([(each, each) for each in heard])]

    assert gone == [not heard[i] and i > 0 and not heard[i - 1] for i in range(len(heard))]
