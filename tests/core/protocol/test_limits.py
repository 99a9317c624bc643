"""A daemon leaves when it was told to: not before, not while it evaluates, and saying why."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirai.protocol.limits import LEAVE, Exit, Limits, has_time


def test_without_limits_it_stays():
    """The default."""
    limits = Limits(now=0.0)

    assert limits.next_deadline() == inf
    assert limits.reached(1e9) is None
    assert limits.task_done(1e9) is None


def test_exit_codes():
    """Scripts and job systems look at them."""
    assert {name: reason for name, reason in vars(Exit).items() if name.isupper()} == {
        "DISCONNECTED": 0,
        "IDLETIME": 1,
        "WALLTIME": 2,
        "MAXTASKS": 3,
    }


def test_it_leaves_after_so_many_tasks():
    """For tasks that leak memory."""
    limits = Limits(maxtasks=2, now=0.0)

    assert [limits.task_done(1.0), limits.task_done(2.0)] == [None, Exit.MAXTASKS]
    assert limits.next_deadline() == inf


def test_it_leaves_when_idle_for_so_long():
    """A node that nobody uses is paid for."""
    limits = Limits(idletime=10, now=100.0)

    assert limits.next_deadline() == 110.0
    assert [limits.reached(109.9), limits.reached(110.0)] == [None, Exit.IDLETIME]


def test_work_puts_idleness_off():
    """Idle is who has no task, however long the last one took."""
    limits = Limits(idletime=10, now=100.0)

    assert limits.task_done(150.0) is None
    assert limits.next_deadline() == 160.0


def test_a_set_up_is_work_and_no_task():
    """`everywhere` may take longer than the idle time, and is not what a daemon was started for."""
    limits = Limits(idletime=10, maxtasks=1, timerstart=1, now=100.0)
    limits.set_up(150.0)
    assert limits.reached(150.0) is None
    assert limits.next_deadline() == inf

    limits = Limits(idletime=10, now=100.0)
    limits.set_up(150.0)
    assert limits.next_deadline() == 160.0


def test_it_leaves_after_so_much_time():
    """Before the job system takes its node away; the task in evaluation is ended first, as here at 130."""
    limits = Limits(walltime=20, now=100.0)
    assert limits.task_done(110.0) is None
    assert limits.next_deadline() == 120.0

    assert limits.task_done(130.0) is Exit.WALLTIME
    assert limits.reached(130.0) is Exit.WALLTIME


def test_the_sooner_time_counts():
    """Both may be given."""
    assert Limits(idletime=10, walltime=20, now=0.0).next_deadline() == 10.0
    assert Limits(idletime=30, walltime=20, now=0.0).next_deadline() == 20.0


def test_the_timers_start_with_a_task():
    """`timerstart`: the first ones may have to wait for what they need."""
    limits = Limits(idletime=10, walltime=20, timerstart=2, now=0.0)
    assert limits.next_deadline() == inf
    assert limits.reached(1000.0) is None

    assert limits.task_done(1000.0) is None
    assert limits.next_deadline() == inf
    assert limits.task_done(2000.0) is None
    assert limits.next_deadline() == 2010.0
    assert limits.task_done(2005.0) is None
    assert limits.next_deadline() == 2015.0
    assert limits.task_done(2014.0) is None
    assert limits.next_deadline() == 2020.0


def test_the_number_of_tasks_counts_from_the_first():
    """Also where the timers start later."""
    assert Limits(maxtasks=1, timerstart=5, now=0.0).task_done(0.0) is Exit.MAXTASKS


@pytest.mark.parametrize("now", [0.0, 1e9])
def test_the_number_of_tasks_is_said_first(now):
    """It is the one that the next daemon in its place will come to again."""
    assert Limits(maxtasks=1, walltime=1, idletime=1, now=0.0).task_done(now) is Exit.MAXTASKS


limit = st.one_of(st.just(inf), st.integers(1, 20))


@given(
    idletime=limit,
    walltime=limit,
    maxtasks=limit,
    timerstart=st.integers(0, 3),
    events=st.lists(
        st.tuples(st.sampled_from(["task", "set-up"]), st.integers(0, 30), st.integers(0, 10)), max_size=10
    ),
)
def test_a_daemon_that_sleeps_until_its_deadline_keeps_its_limits(idletime, walltime, maxtasks, timerstart, events):
    """It looks at the clock only then, and after each task."""
    limits = Limits(idletime=idletime, walltime=walltime, maxtasks=maxtasks, timerstart=timerstart, now=0.0)
    now = worked = started = 0.0
    done = 0
    for event, wait, duration in events:
        deadline = limits.next_deadline()
        expected = min(worked + idletime, started + walltime) if done >= timerstart else inf
        assert deadline == expected
        if now + wait >= deadline:
            assert limits.reached(max(now, deadline)) in (Exit.IDLETIME, Exit.WALLTIME)
            return
        assert limits.reached(now + wait) is None
        now = worked = now + wait + duration
        if event == "set-up":
            limits.set_up(now)
            continue
        done += 1
        if done <= timerstart:
            started = now
        reason = limits.task_done(now)
        assert (reason is Exit.MAXTASKS) == (done >= maxtasks)
        if reason is not None:
            assert reason is Exit.MAXTASKS or (now >= started + walltime and done >= timerstart)
            return


def test_it_leaves_before_it_is_ended():
    """The last result is to arrive, and what a task has left behind to be cleaned up."""
    limits = Limits(until=160.0, now=100.0)

    assert limits.any
    assert limits.next_deadline() == 160.0 - LEAVE
    assert [limits.reached(154.9), limits.reached(155.0)] == [None, Exit.WALLTIME]


def test_it_leaves_before_it_is_ended_whatever_the_timers_wait_for():
    """A scheduler does not ask for `timerstart`."""
    limits = Limits(until=160.0, idletime=1000, timerstart=5, now=100.0)

    assert limits.next_deadline() == 155.0
    assert limits.task_done(156.0) is Exit.WALLTIME


@given(expected=st.floats(0, 1e6), left=st.floats(0, 1e6))
def test_what_is_begun_is_done_before_the_daemon_must_leave(expected, left):
    """If it takes no longer than was said."""
    limits = Limits(until=left, now=0.0)

    if has_time(expected, left):
        assert expected <= limits.next_deadline()
    assert has_time(expected, inf)


def test_a_task_of_which_nothing_is_said_is_begun_until_the_daemon_leaves():
    """Most tasks are short."""
    assert has_time(0.0, LEAVE)
    assert not has_time(0.0, LEAVE - 0.1)
