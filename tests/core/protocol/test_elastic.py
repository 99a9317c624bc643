"""Daemons are launched as the queue grows, no more than are of use, and not again and again."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from mirai.protocol.elastic import FIRST, HOLD, LONGEST, Elastic, Load

IDLE = Load(0, 0, 0, 0)


def after_hold(elastic, load, now=0.0):
    """What it wants of a load that lasts."""
    assert elastic.wanted(load, now) == max(0, elastic.least - load.here - load.coming)
    return elastic.wanted(load, now + HOLD)


def test_nobody_is_launched_for_nothing():
    """A node that nobody uses is paid for."""
    assert after_hold(Elastic(0, 20), IDLE) == 0


def test_the_least_are_launched_at_once():
    """They stay without work."""
    assert Elastic(3, 20).wanted(IDLE, 0.0) == 3
    assert Elastic(3, 20).stays(IDLE) == 3
    assert Elastic(3, 20).wanted(Load(0, 0, 1, 1), 0.0) == 1


def test_one_is_launched_for_each_task_that_waits():
    """All at once: they are one array job."""
    assert after_hold(Elastic(0, 20), Load(awaiting=5, executing=0, here=0, coming=0)) == 5
    assert after_hold(Elastic(0, 20), Load(awaiting=5, executing=2, here=2, coming=0)) == 5


def test_there_are_no_more_than_the_most():
    """What a site or a budget allows."""
    assert after_hold(Elastic(0, 20), Load(awaiting=1000, executing=3, here=3, coming=4)) == 13
    assert after_hold(Elastic(0, 20), Load(awaiting=1000, executing=20, here=20, coming=0)) == 0


def test_who_is_on_the_way_is_not_sent_for_again():
    """A job may wait in its queue for a day."""
    assert after_hold(Elastic(0, 20), Load(awaiting=5, executing=0, here=0, coming=5)) == 0


def test_a_burst_that_is_soon_over_launches_nobody():
    """By the time that a daemon were there, nothing would be left to do."""
    elastic = Elastic(0, 20)
    waiting, done = Load(100, 2, 2, 0), Load(0, 0, 2, 0)

    assert elastic.wanted(waiting, 0.0) == 0
    assert elastic.wanted(done, 0.9 * HOLD) == 0
    assert elastic.wanted(waiting, 1.5 * HOLD) == 0
    assert elastic.wanted(waiting, 2.4 * HOLD) == 0


def test_those_that_were_launched_have_time_to_take_what_waits():
    """They have connected, and their first results are on the way."""
    elastic = Elastic(0, 20)
    load = Load(awaiting=8, executing=0, here=0, coming=0)
    assert after_hold(elastic, load) == 8
    elastic.launched(HOLD)

    assert elastic.wanted(Load(awaiting=8, executing=0, here=2, coming=0), HOLD + 0.1) == 0


def test_a_launch_that_fails_is_tried_again_more_and_more_seldom():
    """A scheduler that refuses everything is not to be asked all day."""
    elastic = Elastic(1, 20)
    tried, now = [], 0.0
    while now < 1000:
        if elastic.wanted(IDLE, now):
            tried.append(now)
            elastic.could_not(now)
        now += 1.0

    pauses = [b - a for a, b in itertools.pairwise(tried)]
    assert pauses[0] == FIRST
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST


def test_launches_that_failed_later_count_as_well():
    """A job that is ended in the queue."""
    elastic = Elastic(0, 20)
    assert after_hold(elastic, Load(5, 0, 0, 0)) == 5

    assert elastic.wanted(Load(5, 0, 0, 0, failed=5), HOLD + 0.5) == 0
    assert elastic.wanted(Load(5, 0, 0, 0, failed=5), HOLD + 0.5 + FIRST) == 5


@given(
    least=st.integers(0, 3),
    more=st.integers(0, 5),
    steps=st.lists(
        st.tuples(st.integers(0, 30), st.sampled_from([0.1, 0.5, 2.0]), st.integers(0, 3), st.integers(0, 2)),
        max_size=60,
    ),
)
def test_it_stays_in_its_bounds_and_launches_only_for_work(least, more, steps):
    """Whatever comes, and whoever leaves."""
    elastic = Elastic(least, least + more)
    here = coming = 0
    now = 0.0
    for awaiting, pause, arrive, leave in steps:
        now += pause
        arrived = min(arrive, coming)
        here, coming = here + arrived - min(leave, here), coming - arrived
        executing = min(here, awaiting)
        load = Load(awaiting - executing, executing, here, coming)
        n = elastic.wanted(load, now)

        assert n >= 0
        assert here + coming + n <= max(here + coming, elastic.most)
        assert n <= max(least - here - coming, load.awaiting)
        if n:
            elastic.launched(now)
        coming += n
