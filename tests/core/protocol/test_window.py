"""A daemon holds more than one task only where that pays, and never more than a few milliseconds of work."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirai.protocol.window import HORIZON, LARGEST, OVERRUN, STALL, Window


def window_after(*durations, starved=0, largest=LARGEST):
    window = Window(largest)
    for duration in durations:
        window.finished([duration])
    for _ in range(starved):
        window.starved()
    return window


def test_a_new_daemon_holds_one_task():
    """Nobody knows yet how long tasks take."""
    assert Window().size == 1


def test_a_window_grows_only_for_who_starves():
    """Where a daemon is kept busy, more would only be taken from the others."""
    assert window_after(*[0.0] * 100).size == 1


def test_a_starving_daemon_holds_twice_as_many():
    """The largest window is reached within a few messages."""
    assert [window_after(0.0, starved=times).size for times in range(9)] == [1, 2, 4, 8, 16, 32, 64, 128, 128]


def test_the_first_task_counts_in_full():
    """With an estimate that begins at nothing, the second long task would wait behind the first one."""
    window = window_after(0.01)

    assert window.expected == 0.01
    assert window_after(0.01, starved=1).size == 1


def test_the_estimate_follows():
    """Tasks change in the course of a program."""
    assert window_after(*[0.001] * 5, *[0.01] * 30).expected == pytest.approx(0.01, rel=0.01)


@pytest.mark.parametrize(("duration", "size"), [(0.01, 1), (0.006, 1), (0.003, 3), (0.001, 10), (0.0001, 100)])
def test_a_window_holds_no_more_than_the_horizon(duration, size):
    """So much may have to be waited for by a task that arrived later."""
    assert window_after(duration, starved=20).size == size


def test_a_window_shrinks_with_longer_tasks():
    """At once, not when the next one starves."""
    window = window_after(0.0, starved=20)
    for _ in range(20):
        window.finished([0.001])

    assert window.size == 10


def test_the_largest_window_can_be_one():
    """Strictly one at a time, if that is asked for."""
    assert window_after(0.0, starved=20, largest=1).size == 1


def test_a_recall_starts_it_again():
    """The estimate was wrong once; and may be right again soon."""
    window = window_after(0.0, starved=20)
    window.recalled()
    assert window.size == 1

    window.starved()
    assert window.size == 2


def test_patience_has_a_floor():
    """A recall costs two messages: it does not pay for tasks of microseconds."""
    assert window_after(1e-6).patience() == STALL
    assert window_after(0.01).patience() == pytest.approx(OVERRUN * 0.01)


@given(st.lists(st.one_of(st.floats(0, 1e6), st.sampled_from(["starved", "recalled"]))), st.integers(1, LARGEST))
def test_it_always_holds_one_and_never_too_many(events, largest):
    """Whatever daemons report: their clocks are theirs."""
    window = Window(largest)
    for event in events:
        if event == "starved":
            window.starved()
        elif event == "recalled":
            window.recalled()
        else:
            window.finished([event])

        assert 1 <= window.size <= largest
        assert window.size == 1 or window.size * window.expected <= HORIZON
        assert window.patience() >= STALL
