"""Tasks are evaluated in order, once each, and none is forgotten, whatever happens to daemons meanwhile."""

from __future__ import annotations

import gc
import weakref

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mirai.protocol.limits import LEAVE
from mirai.protocol.scheduler import (
    EAGER,
    HELD,
    OVER,
    WAITING,
    Blob,
    Cancel,
    Counts,
    Lost,
    Recall,
    Scheduler,
    Send,
    Task,
)
from mirai.protocol.window import HORIZON, STALL
from mirai.protocol.wire import FrameError
from tests.core.protocol.world import LONG, MIDDLE, SHORT, FakeDaemon, World


def new_task(size=0, retries=0):
    return Task(0, b"", size, retries=retries)


def scheduler_with(daemons, tasks=(), window=64):
    scheduler = Scheduler(window)
    for daemon in daemons:
        scheduler.daemon_joined(daemon, 0.0)
    for task in tasks:
        scheduler.task_arrived(task, 0.0)
    return scheduler


def world_with(held, others=0):
    """A world whose first daemon evaluates the first of so many tasks that it holds; the others are idle."""
    world = World(Scheduler())
    (first,) = world.join()
    for _ in range(32 + held):
        world.submit()
    for _ in range(5):
        world.evaluate(first)  # it is known for short tasks by now
    world.evaluate(first, 1)
    world.begin(first)
    assert world.scheduler.daemon_counts(1)[:2] == (32 + held, 32)
    return world, first, *world.join(others)


def crowd(daemons):
    """A world whose daemons hold five tasks each, which take two milliseconds, and where no task waits."""
    world = World(Scheduler())
    world.join(daemons)
    for _ in range(30 * daemons):
        world.submit()
    for _ in range(4):
        for daemon in world.daemons:
            world.evaluate(daemon, elapsed=2 * MIDDLE)
    cancel_waiting(world)
    assert [len(daemon.data_down) for daemon in world.daemons] == [5] * daemons
    return world


def cancel_waiting(world):
    for task in world.may_cancel():
        if task.state == WAITING:
            world.cancel(task)
    world.scheduler._queue.drop_cancelled()


def test_tasks_begin_in_order_of_arrival():
    """What was asked for first is most likely waited for first."""
    a, b, c = new_task(), new_task(), new_task()
    scheduler = scheduler_with(daemons=[1])

    assert scheduler.task_arrived(a, 0.0) == [Send(1, [a])]
    assert list(scheduler.task_arrived(b, 0.0)) == []
    assert list(scheduler.task_arrived(c, 0.0)) == []
    assert scheduler.daemon_joined(2, 0.0) == [Send(2, [b])]
    assert scheduler.results_arrived(2, [(1, SHORT)], 0.0) == ([b], [Send(2, [c])])


def test_the_daemon_that_worked_last_works_next():
    """Its caches are warm, and the others come to their idle time."""
    a, b = new_task(), new_task()
    scheduler = scheduler_with(daemons=[1, 2, 3])

    assert scheduler.task_arrived(a, 0.0) == [Send(3, [a])]
    scheduler.results_arrived(3, [(1, SHORT)], 0.0)
    assert scheduler.task_arrived(b, 0.0) == [Send(3, [b])]


def test_short_tasks_are_given_many_at_once():
    """A message costs more than they do."""
    world, daemon = world_with(held=16)

    assert len(daemon.data_down) == 15


def test_long_tasks_are_given_one_at_a_time():
    """What a daemon holds, no other one can begin."""
    world, daemon = world_with(held=1)
    for _ in range(20):
        world.submit()
    for _ in range(5):
        world.evaluate(daemon, elapsed=LONG)

    assert len(daemon.data_down) == 1


def test_a_daemon_is_given_more_when_half_is_done():
    """Not at each answer, which would be as many messages as tasks; nor at the last, when it waits already."""
    world, daemon = world_with(held=16)
    for _ in range(100):
        world.submit()
    world.evaluate(daemon, 1)
    assert len(daemon.data_down) == 32

    world.evaluate(daemon, 15)
    assert len(daemon.data_down) == 17
    world.evaluate(daemon, 1)
    assert len(daemon.data_down) == 32


def test_where_tasks_take_longer_a_daemon_is_given_more_with_each_that_is_done():
    """They are worth a message each; and a host that computes may not get to the next one for 5 ms, or 10."""
    world = World(Scheduler())
    (daemon,) = world.join()
    for _ in range(100):
        world.submit()
    for _ in range(6):
        world.evaluate(daemon, elapsed=2 * EAGER)
    full = len(daemon.data_down)
    assert full == HORIZON / (2 * EAGER)

    world.evaluate(daemon, 1, elapsed=2 * EAGER)
    assert len(daemon.data_down) == full


def test_with_a_window_of_one_a_daemon_holds_one():
    """Who asks for strict order gets it, however short the tasks."""
    world = World(Scheduler(1), window=1)
    (daemon,) = world.join()
    for _ in range(50):
        world.submit()

    held = []
    while daemon.data_down:
        held.append(len(daemon.data_down))
        world.evaluate(daemon)

    assert held == [1] * 50


def test_no_daemon_is_given_more_than_its_share():
    """At the end of a batch others would be idle for what it holds."""
    world, daemon, other = world_with(held=1, others=1)
    for _ in range(10):
        world.submit()
    world.evaluate(daemon)

    assert len(other.data_down) == 1
    assert len(daemon.data_down) == 5


# Daemons go


def test_a_lost_daemon_fails_only_the_task_in_evaluation():
    """A crash must not take down work that was still waiting."""
    world, daemon = world_with(held=4)
    in_hand, *waiting = world.may_cancel()
    daemon.crash()
    world.read_data(daemon)

    assert world.lost == [in_hand]
    assert [task.state for task in waiting] == [WAITING] * 3
    world.run_out()


def test_a_lost_task_is_retried_as_often_as_asked():
    """A task that kills its daemon must not kill them all."""
    a = new_task(retries=2)
    scheduler = scheduler_with(daemons=[1], tasks=[a])

    assert scheduler.daemon_left(1, 0.0) == []
    assert scheduler.daemon_joined(2, 0.0) == [Send(2, [a])]
    assert scheduler.daemon_left(2, 0.0) == []
    assert scheduler.daemon_joined(3, 0.0) == [Send(3, [a])]
    assert scheduler.daemon_left(3, 0.0) == [Lost(a)]
    assert scheduler.counts() == Counts(0, 0, 1)


def test_a_cancelled_task_is_not_retried():
    """Nobody wants it any more."""
    a, b = new_task(retries=1), new_task()
    scheduler = scheduler_with(daemons=[1], tasks=[a, b])
    scheduler.task_cancelled(a, 0.0)
    scheduler.daemon_left(1, 0.0)

    assert a.state == OVER
    assert scheduler.daemon_joined(2, 0.0) == [Send(2, [b])]


def test_a_daemon_that_says_goodbye_loses_nothing():
    """`maxtasks` and the time limits cost no task, also without `retry`."""
    world, daemon = world_with(held=4)
    daemon.finish(SHORT)
    daemon.say_goodbye()
    world.read_data(daemon)

    assert world.lost == []
    assert len(world.not_begun()) == 3
    world.run_out()


def test_what_comes_back_keeps_its_place():
    """Daemons that leave one after the other must not turn the order of their tasks round."""
    tasks = [new_task() for _ in range(4)]
    scheduler = scheduler_with(daemons=[1, 2, 3], tasks=tasks, window=1)
    for daemon in (3, 1, 2):
        scheduler.daemon_left(daemon, 0.0, begun=False)

    assert [scheduler.daemon_joined(daemon, 0.0) for daemon in range(4, 8)] == [
        [Send(daemon, [task])] for daemon, task in zip(range(4, 8), tasks, strict=True)
    ]


def test_who_left_already_leaves_again_unnoticed():
    """The end of a process and that of its connection are two events."""
    scheduler = scheduler_with(daemons=[1], tasks=[new_task()])
    scheduler.daemon_left(1, 0.0)

    assert list(scheduler.daemon_left(1, 0.0)) == []


# Cancel


def test_a_cancelled_task_that_waits_is_never_begun():
    """To empty a queue must cost less than to work it off."""
    a, b, c = new_task(), Task(0, b"large", 5), new_task()
    scheduler = scheduler_with(daemons=[1], tasks=[a, b, c])

    assert list(scheduler.task_cancelled(b, 0.0)) == []
    assert (scheduler.queued_bytes, b.body) == (0, b"")
    assert scheduler.results_arrived(1, [(1, SHORT)], 0.0) == ([a], [Send(1, [c])])


def test_the_daemon_that_holds_a_cancelled_task_is_told():
    """It may be evaluating it, or be about to."""
    a = new_task()
    scheduler = scheduler_with(daemons=[1], tasks=[a])

    assert list(scheduler.task_cancelled(a, 0.0)) == [Cancel(1, 1)]
    assert scheduler.results_arrived(1, [(1, SHORT)], 0.0)[0] == [a]
    assert list(scheduler.task_cancelled(a, 0.0)) == []


def test_a_cancelled_task_says_nothing_of_how_long_tasks_take():
    """Those that are skipped would pass for the shortest, and the rest be given away by the dozen."""
    a, b = new_task(), new_task()
    scheduler = scheduler_with(daemons=[1], tasks=[a, b])
    scheduler.results_arrived(1, [(1, LONG)], 0.0)
    scheduler.task_cancelled(b, 0.0)
    scheduler.results_arrived(1, [(2, 0.0)], 0.0)

    assert scheduler._daemons[1].window.expected == LONG


# Recalls


def test_what_waits_behind_a_long_task_is_taken_back():
    """Its daemon was expected to be done with all of it in a moment."""
    world, daemon, other = world_with(held=9, others=1)
    in_hand, *waiting = world.may_cancel()
    world.tick(STALL / 2)
    assert not daemon.asked

    world.tick(STALL)
    daemon.hear()
    world.read_control(daemon)

    assert world.scheduler.is_executing(in_hand)
    assert [task.state for task in waiting[1:]] == [WAITING] * 7
    assert waiting[0].daemon == other.number
    world.go_on(frozen=[daemon])
    assert world.may_cancel() == [in_hand]


def test_what_a_daemon_will_begin_soon_is_left_to_it():
    """It goes on answering."""
    world, daemon, other = world_with(held=9, others=1)
    for _ in range(4):
        world.tick(0.8 * STALL)
        world.evaluate(daemon, 1)
    assert not daemon.asked

    world.tick(1.1 * STALL)
    assert daemon.asked


def test_a_daemon_is_not_asked_for_what_it_has_begun():
    """Up to there, its answers are still on their way. It would take back its word on what was behind, too."""
    world, daemon, other = world_with(held=3, others=1)
    world.tick(1.0)
    world.work(daemon, 1)
    world.begin(daemon)
    daemon.hear()
    world.read_control(daemon)
    world.tick(1.0)

    assert not daemon.asked
    world.run_out()


def test_a_lone_daemon_keeps_what_it_holds():
    """Nobody else could begin it: there is no need to look every 2 ms."""
    world, daemon = world_with(held=9)

    assert not world.scheduler.tick_needed()
    world.tick(1.0)
    assert not daemon.asked
    world.join()
    assert world.scheduler.tick_needed()


def test_after_a_recall_a_daemon_is_given_few_again():
    """The estimate was wrong: the next burst would have to be taken back, too."""
    world, daemon, other = world_with(held=9, others=1)
    world.submit()
    world.begin(other)
    world.tick(1.0)
    world.go_on(frozen=[daemon, other])
    assert len(world.not_begun()) == 8
    world.evaluate(daemon)

    assert len(daemon.data_down) == 2


def test_a_recall_may_find_nothing_begun():
    """It overtakes tasks, which are on another connection."""
    world, daemon = world_with(held=1)
    held = [world.submit(size=1) for _ in range(5)]
    world.evaluate(daemon)
    (other,) = world.join()
    world.tick(1.0)
    daemon.hear()
    world.read_control(daemon)

    assert {held[0].daemon, held[1].daemon} == {daemon.number, other.number}
    assert [task.state for task in held[2:]] == [WAITING] * 3
    world.check()
    world.run_out()


def test_a_recall_that_comes_too_late_takes_nothing():
    """The daemon has done all that it was asked for; what it was given since is not meant."""
    world, daemon, other = world_with(held=3, others=1)
    world.tick(1.0)
    world.evaluate(daemon, 3)
    a = world.submit()
    world.evaluate(other)
    daemon.hear()
    world.read_control(daemon)
    world.begin(daemon)

    assert daemon.evaluating is not None
    assert daemon.evaluating[0] is a


def test_a_recall_keeps_no_daemon_idle():
    """Until it answers it is given no more, unless it has done all it had."""
    world, daemon, other = world_with(held=3, others=1)
    world.submit()
    world.tick(1.0)
    a, b = world.submit(), world.submit()
    world.evaluate(daemon, 1)
    assert a.state == WAITING
    world.evaluate(daemon)

    assert a.daemon == daemon.number
    world.run_out()


@pytest.mark.parametrize("elapsed", [SHORT, MIDDLE])
def test_a_daemon_is_asked_once_at_a_time(elapsed):
    """One number says up to where it gives back."""
    world, daemon, *others = world_with(held=3, others=2)
    world.tick(1.0)
    for _ in range(40):
        world.submit()
    for _ in range(3):
        world.evaluate(daemon, elapsed=elapsed)
    assert len(daemon.data_down) > 3
    cancel_waiting(world)
    for other in others:
        world.evaluate(other)
    assert world.scheduler.tick_needed()
    world.tick(1.0)

    assert list(daemon.control_down) == [Recall(1, 35)]
    world.run_out()


def test_an_idle_daemon_relieves_one_that_holds_too_much():
    """At once: at the end of a batch, a few milliseconds are what is left to be gained."""
    world = crowd(2)
    overfull, other = world.daemons
    world.evaluate(other)

    assert overfull.asked
    world.run_out()


def test_no_more_daemons_are_asked_than_are_idle():
    """Each of them gives up its window for it."""
    world = crowd(5)
    world.join(2)
    world.tick(STALL)

    assert [daemon.asked for daemon in world.daemons] == [True, True, False, False, False, False, False]
    world.tick()
    assert sum(daemon.asked for daemon in world.daemons) == 2


def test_the_crowd_is_not_looked_through_at_every_event():
    """At the end of a batch on a thousand daemons, that took more time than the tasks; the tick comes soon enough."""
    world = crowd(5)
    world.join()
    world.join()
    assert sum(daemon.asked for daemon in world.daemons) == 1

    world.tick(STALL / 2)
    assert sum(daemon.asked for daemon in world.daemons) == 2


def test_a_recall_that_was_not_asked_for_is_refused():
    """Nothing was promised to be left alone."""
    scheduler = scheduler_with(daemons=[1], tasks=[new_task()])

    with pytest.raises(FrameError, match="daemon 1"):
        scheduler.recalled(1, 0, 0.0)


# Everywhere


def test_everywhere_reaches_each_daemon_once():
    """It sets them up."""
    world = World(Scheduler())
    world.join(3)
    copies = world.everywhere(3)

    assert {copy.daemon for copy in copies} == {1, 2, 3}


def test_of_an_everywhere_only_the_callers_copies_count_as_wanted():
    """The copy of a daemon that came too late for the call was counted off too: a cancel of one withdrew the other."""
    world = World(Scheduler())
    world.join(3)
    copies = world.everywhere(copies=2)
    (uncounted,) = [daemon for daemon in world.daemons if daemon.data_down[0][0] not in copies]

    uncounted.crash()
    world.read_data(uncounted)
    world.cancel(copies[0])
    (late,) = world.join()

    assert [task.body for task, _ in late.data_down] == [copies[1].body]


def test_everywhere_waits_for_the_minimum():
    """A script may call it while daemons are still on their way."""
    world = World(Scheduler())
    world.join()
    copies = world.everywhere(2, minimum=2)
    later = world.submit()
    assert {copy.state for copy in copies} == {WAITING}
    assert world.scheduler.wanted_daemons() == 2

    world.join()
    assert {copy.daemon for copy in copies} == {1, 2}
    assert world.scheduler.wanted_daemons() == 0
    assert later.state == WAITING


def test_of_those_that_wait_the_one_that_wants_most_daemons_counts():
    """And none that nobody wants any more."""
    world = World(Scheduler())
    world.everywhere(2, minimum=2)
    most = world.everywhere(5, minimum=5)
    assert world.scheduler.wanted_daemons() == 5

    for copy in most:
        world.cancel(copy)
    assert world.scheduler.wanted_daemons() == 2


def test_what_arrives_later_waits_for_every_copy():
    """It may build on what the other daemons were told to do, in a file or a data base."""
    world = World(Scheduler())
    one, two = world.join(2)
    world.everywhere(2)
    later = world.submit()

    world.evaluate(one)
    assert later.state == WAITING
    world.evaluate(two)
    assert later.state != WAITING


def test_a_daemon_that_joins_later_is_set_up_first():
    """Else its first task would not find what all others find."""
    world = World(Scheduler())
    world.join()
    for _ in range(3):
        world.everywhere()
    world.go_on()
    (late,) = world.join()
    world.submit()
    world.go_on()

    assert late.setups == [b"setup 000", b"setup 001", b"setup 002"]


def test_a_daemon_that_joined_since_the_call_is_set_up_too():
    """There is no copy for it, whose result would be returned."""
    world = World(Scheduler())
    world.join(3)
    world.everywhere(1)
    world.go_on()

    assert [daemon.setups for daemon in world.daemons] == [[b"setup 000"]] * 3


def test_copies_without_a_daemon_are_lost():
    """Daemons have left since the call: nobody can say what they would have returned."""
    world = World(Scheduler())
    world.join()
    copies = world.everywhere(3)

    assert world.lost == copies[1:]


def test_a_copy_is_lost_with_its_daemon():
    """Any other daemon has one of its own. It is lost after a goodbye, too."""
    world = World(Scheduler())
    (daemon,) = world.join()
    a = world.submit()
    copies = world.everywhere()
    later = world.submit()
    daemon.say_goodbye()
    world.read_data(daemon)

    assert world.lost == copies
    world.run_out()
    assert [world.records[task].ends for task in (a, later)] == [["result"]] * 2


def test_cancelled_copies_let_others_pass():
    """What was submitted later must not wait for what nobody wants any more."""
    world = World(Scheduler())
    world.join()
    copies = world.everywhere(5, minimum=5)
    later = world.submit()
    for copy in copies:
        world.cancel(copy)

    assert later.daemon == 1


def test_a_daemon_that_joins_later_is_not_set_up_by_what_was_cancelled():
    """Nobody wants it any more, and it may well be what kept the other daemons busy for ever."""
    world = World(Scheduler())
    world.join(2)
    world.everywhere(2)
    copies = world.everywhere(2)
    for copy in copies:
        world.cancel(copy)
    (late,) = world.join()
    world.go_on()

    assert late.setups == [b"setup 000"]


def test_a_daemon_that_joins_later_is_set_up_where_one_copy_is_wanted():
    """Who cancels one of several has not taken back the whole."""
    world = World(Scheduler())
    first, second = world.join(2)
    copies = world.everywhere(2)
    world.evaluate(first)
    world.cancel(copies[1])
    (late,) = world.join()
    world.go_on()

    assert late.setups == [b"setup 000"]


def test_copies_do_not_wait_for_cancelled_tasks():
    """These are still in the queue, also where they came back to it."""
    world = World(Scheduler())
    one, two = world.join(2)
    world.submit()
    back = world.submit()
    one.say_goodbye()
    world.read_data(one)
    waiting = world.submit()
    (copy,) = world.everywhere()
    world.cancel(back)
    assert copy.state == WAITING
    world.cancel(waiting)

    assert copy.daemon == two.number


def test_copies_wait_for_what_may_come_back():
    """A task that was recalled was submitted before them."""
    world, daemon, other = world_with(held=2, others=1)
    world.tick(1.0)
    world.submit()
    world.evaluate(daemon, 1)
    copies = world.everywhere(2)
    assert {copy.state for copy in copies} == {WAITING}

    daemon.hear()
    world.read_control(daemon)
    assert {copy.daemon for copy in copies} == {1, 2}
    world.run_out()


def test_nothing_is_given_away_behind_a_copy():
    """Who takes it back would take the copy, too, which belongs to its daemon."""
    world, daemon, other = world_with(held=1, others=1)
    a = world.submit(retries=1)
    world.everywhere(2)
    other.crash()
    b = world.submit()
    world.read_data(other)
    world.evaluate(daemon, 1)

    assert [a.state, b.state] == [WAITING, WAITING]
    assert [task.everywhere for task, _ in daemon.data_down] == [True]
    world.run_out()


# What is kept


def test_counts():
    """`status()` shows them, and submitting waits by them."""
    scheduler = scheduler_with(daemons=[1, 2], tasks=[new_task(size=10 + i) for i in range(5)])
    assert scheduler.counts() == Counts(awaiting=3, executing=2, completed=0)
    assert scheduler.queued_bytes == 12 + 13 + 14

    scheduler.results_arrived(1, [(1, SHORT)], 0.0)
    assert scheduler.counts() == Counts(awaiting=2, executing=2, completed=1)
    assert scheduler.queued_bytes == 13 + 14
    assert scheduler.peak_bytes == 12 + 13 + 14
    assert [scheduler.daemon_counts(daemon)[:2] for daemon in (1, 2)] == [(3, 1), (1, 0)]


def test_a_finished_task_keeps_no_payload():
    """Who keeps a hundred thousand futures does not mean to keep all arguments, nor to have daemons keep the call."""
    blob = Blob(0, b"a call")
    task = Task(0, b"arguments", 9, blob=blob)
    scheduler = scheduler_with(daemons=[1], tasks=[task])
    scheduler.results_arrived(1, [(1, SHORT)], 0.0)
    gone = weakref.ref(blob)
    del blob
    gc.collect()

    assert task.body == b""
    assert gone() is None


def test_what_sets_up_later_daemons_keeps_no_future():
    """It lives as long as the profile; what it returned on the first ones need not."""
    scheduler = scheduler_with(daemons=[1])
    copy = new_task()
    copy.future = World(scheduler)
    scheduler.everywhere_arrived([copy], 1, 0.0)
    scheduler.results_arrived(1, [(1, SHORT)], 0.0)
    gone = weakref.ref(copy.future)
    del copy
    gc.collect()

    assert gone() is None


@pytest.mark.parametrize("answers", [[34], [33, 35], [33, 33], [33, 34, 35, 36], [0], [2**64 - 1]])
def test_wrong_answers_count_for_nothing(answers):
    """The daemon is cut off then: of what it said in one breath, nothing is believed, and no task is forgotten."""
    world, daemon = world_with(held=3)
    tasks = world.may_cancel()
    with pytest.raises(FrameError, match=f"daemon 1 answers task {answers[-1]}"):
        world.scheduler.results_arrived(1, [(seq, SHORT) for seq in answers], 0.0)

    world.check()
    daemon.crash()
    world.read_data(daemon)
    assert world.lost == tasks[:1]
    world.run_out()


# Daemons that have an end


@pytest.fixture
def world():
    """Daemons may be idle here, and tasks be passed by others."""
    return World(Scheduler(), round_robin=True)


def test_a_task_that_takes_too_long_is_for_another_daemon(world):
    """Its allocation would end first, and the work be lost."""
    (mortal,) = world.join(until=world.now + 60)
    long = world.submit(expected=3600)
    assert long.state == WAITING

    (other,) = world.join()

    assert long.daemon == other.number


def test_what_fits_passes_what_does_not(world):
    """The daemon drains; it need not be idle until it leaves."""
    (mortal,) = world.join(until=world.now + 60)

    long, short, silent = world.submit(expected=3600), world.submit(expected=30), world.submit()
    assert (long.state, short.daemon) == (WAITING, mortal.number)
    world.evaluate(mortal)
    world.evaluate(mortal)

    assert (long.state, short.state, silent.state) == (WAITING, OVER, OVER)


def test_an_everywhere_waits_for_what_no_daemon_has_time_for(world):
    """It is what was submitted before."""
    (mortal,) = world.join(until=world.now + 60)
    long = world.submit(expected=3600)
    (copy,) = world.everywhere()
    assert copy.state == WAITING

    (other,) = world.join()
    world.evaluate(other)

    assert long.state == OVER
    assert copy.state == HELD


def test_a_task_that_is_said_to_take_its_time_does_not_wait_at_a_daemon_that_has_an_end(world):
    """What it waits for may take longer than was thought."""
    (mortal,) = world.join(until=world.now + 60)
    first = [world.submit() for _ in range(40)]
    for _ in range(20):
        world.evaluate(mortal)
    assert [task.state for task in first] == [OVER] * 40

    tasks = [world.submit(expected=1) for _ in range(4)]

    assert [task.state for task in tasks] == [HELD, WAITING, WAITING, WAITING]
    for _ in range(4):
        world.evaluate(mortal)
    assert [task.state for task in tasks] == [OVER] * 4


def test_a_task_that_no_daemon_has_time_for_can_be_told_of(world):
    """It would wait in silence."""
    assert world.scheduler.misfit(world.now) is None
    (mortal,) = world.join(until=world.now + 60)
    short, other = world.submit(expected=30), world.submit(expected=40)
    assert world.scheduler.misfit(world.now) is None

    long = world.submit(expected=3600)
    assert world.scheduler.misfit(world.now) is long

    world.join()
    assert world.scheduler.misfit(world.now) is None


def test_a_daemon_that_is_about_to_leave_is_given_nothing(world):
    """It would only have to give it back."""
    world.join(until=world.now + 1)

    assert world.submit().state == WAITING


@settings(deadline=None)
@given(
    ends=st.lists(st.sampled_from([4.0, 20.0, 60.0, 1000.0]), max_size=4),
    expectations=st.lists(st.sampled_from([0.0, 1.0, 10.0, 30.0, 500.0]), max_size=200),
    pause=st.sampled_from([0.0, 0.5, 5.0]),
)
def test_no_task_is_begun_where_it_would_not_be_done(ends, expectations, pause):
    """And each is done once there is a daemon that has the time."""
    world = World(Scheduler(), round_robin=True)
    daemons = [daemon for end in ends for daemon in world.join(until=world.now + end)]
    until = dict(zip(daemons, (world.now + end for end in ends), strict=True))
    tasks = [world.submit(expected=expected) for expected in expectations]

    for _ in expectations:
        for daemon in daemons:
            while daemon.can_begin():
                task, _seq = daemon.data_down[0]
                # As the daemon does itself: it leaves in time.
                if world.now + LEAVE > until[daemon]:
                    break
                assert world.now + task.expected + LEAVE <= until[daemon]
                world.evaluate(daemon, 1)
        world.now += pause
    for daemon in daemons:
        daemon.say_goodbye()
        world.read_data(daemon)
    (immortal,) = world.join()
    for _ in expectations:
        world.evaluate(immortal)

    assert [task.state for task in tasks] == [OVER] * len(tasks)


# All of it, in any order

which = st.integers(0, 11)
elapsed = st.sampled_from([SHORT, 0.0, MIDDLE, LONG])


def pick(items, which):
    return items[which % len(items)]


def any_daemon(can):
    """Run the rule only where a daemon `can`."""
    return precondition(lambda machine: any(map(can, machine.world.daemons)))


class AnyOrder(RuleBasedStateMachine):
    """Events in any order, in a world that checks what must hold after each."""

    @initialize(window=st.sampled_from([64, 64, 1]), daemons=st.integers(1, 3), queued=st.integers(0, 30))
    def begin_world(self, window, daemons, queued):
        self.world = self.make_world(window)
        self.world.join(daemons)
        self.submit(30 * daemons, 0, 0)
        self.world.go_on()  # their windows are wide now
        self.submit(queued, 1, 0)
        for daemon in filter(FakeDaemon.can_begin, self.world.daemons):
            self.world.evaluate(daemon)  # and hold more than one

    def make_world(self, window):
        return World(Scheduler(window), window=window)

    def a_daemon(self, can, which):
        return pick([daemon for daemon in self.world.daemons if can(daemon)], which)

    @rule(tasks=st.integers(1, 20), size=st.integers(0, 3), retries=st.sampled_from([0, 0, 1, 2]))
    def submit(self, tasks, size, retries):
        for _ in range(tasks):
            self.world.submit(size, retries)

    @precondition(lambda self: len(self.world.barriers) < 4)
    @rule(more=st.integers(0, 2), minimum=st.integers(1, 4), size=st.integers(0, 3))
    def everywhere(self, more, minimum, size):
        self.world.everywhere(max(minimum, len(self.world.daemons)) + more, minimum, size)

    @precondition(lambda self: self.world.may_cancel())
    @rule(which=st.integers(0, 60), tasks=st.integers(1, 3))
    def cancel(self, which, tasks):
        for _ in range(tasks):
            if may_cancel := self.world.may_cancel():
                self.world.cancel(pick(may_cancel, which))

    @precondition(lambda self: len(self.world.daemons) < 5)
    @rule()
    def join(self):
        self.world.join()

    @any_daemon(FakeDaemon.can_begin)
    @rule(which=which, tasks=st.integers(0, 8), elapsed=elapsed, begin=st.booleans())
    def work(self, which, tasks, elapsed, begin):
        """Evaluate some tasks, and begin another one."""
        daemon = self.a_daemon(FakeDaemon.can_begin, which)
        self.world.work(daemon, tasks, elapsed)
        if begin and daemon.can_begin():
            self.world.begin(daemon)

    @any_daemon(lambda daemon: daemon.evaluating)
    @rule(which=which, elapsed=elapsed)
    def finish(self, which, elapsed):
        self.a_daemon(lambda daemon: daemon.evaluating, which).finish(elapsed)

    @any_daemon(lambda daemon: daemon.data_up)
    @rule(which=which, frames=st.sampled_from([1000, 1, 2, 4]))
    def read_data(self, which, frames):
        self.world.read_data(self.a_daemon(lambda daemon: daemon.data_up, which), frames)

    @any_daemon(lambda daemon: daemon.control_down)
    @rule(which=which)
    def hear(self, which):
        self.a_daemon(lambda daemon: daemon.control_down, which).hear()

    @any_daemon(lambda daemon: daemon.control_up)
    @rule(which=which)
    def read_control(self, which):
        self.world.read_control(self.a_daemon(lambda daemon: daemon.control_up, which))

    @any_daemon(lambda daemon: daemon.working)
    @rule(which=which, crash=st.booleans())
    def leave(self, which, crash):
        daemon = self.a_daemon(lambda daemon: daemon.working, which)
        if crash or daemon.evaluating:
            daemon.crash()
        else:
            daemon.say_goodbye()

    @precondition(lambda self: self.world.scheduler.tick_needed())
    @rule(seconds=st.sampled_from([0.1, 0.003, 0.001]), hear=st.booleans())
    def tick(self, seconds, hear):
        self.world.tick(seconds)
        for daemon in self.world.daemons:
            while hear and daemon.control_down:
                daemon.hear()

    @invariant()
    def holds(self):
        self.world.check()

    def teardown(self):
        world = self.world
        frozen = [daemon for daemon in world.daemons if daemon.evaluating]
        if not world.round_robin and any(daemon.working for daemon in world.daemons if daemon not in frozen):
            world.go_on(frozen)
            if all(barrier.is_over() for barrier in world.barriers):
                assert not world.not_begun(), "no task waits behind a long one while a daemon is idle"
        world.run_out()


AnyOrder.TestCase.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAnyOrder = AnyOrder.TestCase
