"""What is noted of a map adds up, in whatever pieces its answers come."""

from __future__ import annotations

import itertools

import pytest

from mirai.protocol.journal import UNKNOWN, Done, Journal, Work
from mirai.protocol.scheduler import Blob, Task

FIRST = 100  # the id of the first mirai


class Future:
    def __init__(self, number):
        self.id = number


def tasks_of(journal, *places):
    made = []
    blob = None if journal is None else Blob(0, b"", journal)
    for place in places:
        task = Task(0, b"", 0, blob=blob)
        task.future = Future(FIRST + place)
        made.append(task)
    return made


def journal_of(n, begun=10.0):
    journal = Journal(begun)
    journal.submitted(n, begun)
    return journal


def answer(work, tasks, durations, now, *, is_idle=True):
    work.answered(tasks, [(seq, elapsed) for seq, elapsed in enumerate(durations, 1)], now, is_idle=is_idle)


def ids(n):
    return list(range(FIRST, FIRST + n))


def test_time_is_evaluation_or_on_the_way_or_idle():
    """A report whose parts do not add up is believed by nobody."""
    journal, work = journal_of(2), Work(1, 0.0)
    a, b = tasks_of(journal, 0, 1)

    work.given(11.0)
    answer(work, [a], [1.5], 13.0)
    work.given(15.0)
    answer(work, [b], [1.0], 18.0)

    part = journal.parts[work]
    assert (part.own, part.computed, part.busy) == (2.5, 2.5, 5.0)
    assert journal.ended - journal.begun == 8.0  # three seconds of which it was idle


def test_an_answer_holds_several_tasks_one_after_the_other():
    """Short ones share a message: when it came is all that is known of when they ended."""
    journal, work = journal_of(3), Work(1, 0.0)

    work.given(10.0)
    answer(work, tasks_of(journal, 0, 1, 2), [1.0, 2.0, 3.0], 17.0)

    assert journal.history(ids(3)) == [Done(0, 1, 0.0, 1.0, 2.0), Done(1, 1, 0.0, 2.0, 4.0), Done(2, 1, 0.0, 4.0, 7.0)]


def test_no_task_begins_before_the_one_before_it_ended():
    """A host that is busy reads an answer late, and the next one right after it."""
    journal, work = journal_of(2), Work(1, 0.0)
    a, b = tasks_of(journal, 0, 1)

    work.given(10.0)
    answer(work, [a], [2.0], 15.0, is_idle=False)
    answer(work, [b], [2.0], 15.5)

    assert [(task.began, task.ended) for task in journal.history(ids(2))] == [(1.5, 3.5), (3.5, 5.5)]


def test_tasks_of_others_in_one_answer_are_not_the_maps():
    """Two maps at once, and single tasks between, share messages too."""
    one, two, work = journal_of(2), journal_of(2), Work(1, 0.0)
    (a, c), (b,), (single,) = tasks_of(one, 0, 1), tasks_of(two, 0), tasks_of(None, 2)

    work.given(10.0)
    answer(work, [a, b, single, c], [1.0, 2.0, 3.0, 1.0], 18.0)

    assert [(journal.parts[work].own, journal.parts[work].computed) for journal in (one, two)] == [
        (2.0, 7.0),
        (2.0, 7.0),
    ]
    assert [task.place for task in one.history(ids(2))] == [0, 1]
    assert [task.place for task in two.history(ids(2))] == [0]


def test_what_a_daemon_did_before_the_map_is_not_counted():
    """It may come late to its first task of the map, as it was at a long one of another."""
    work = Work(1, 0.0)
    work.given(2.0)
    journal = Journal(10.0, [work])
    journal.submitted(1, 10.0)

    answer(work, tasks_of(None, 5), [9.0], 11.0, is_idle=False)
    answer(work, tasks_of(journal, 0), [1.0], 13.0)

    part = journal.parts[work]
    assert (part.own, part.computed, part.busy) == (1.0, 2.0, 3.0)


def test_what_a_daemon_gave_back_keeps_it_busy_no_longer():
    """Else it would count as on the way what is idle."""
    work = Work(1, 0.0)
    journal = Journal(10.0, [work])
    journal.submitted(1, 10.0)

    work.given(10.0)
    work.given_back(11.0)
    work.given(14.0)
    answer(work, tasks_of(journal, 0), [1.0], 15.0)

    assert work.busy == 2.0
    assert journal.parts[work].busy == 2.0


def test_a_daemon_that_is_lost_was_at_work_until_then():
    """It cannot say how long it evaluated."""
    journal, work = journal_of(1), Work(1, 0.0)
    (task,) = tasks_of(journal, 0)

    work.given(10.0)
    work.lost(task, 14.0)

    assert journal.parts[work].own == 4.0
    assert journal.history(ids(1)) == [Done(0, 1, 0.0, 0.0, 4.0)]


def test_a_task_of_hours_took_as_long_as_it_kept_its_daemon():
    """A frame has no room for more than 71 minutes."""
    journal, work = journal_of(1), Work(1, 0.0)

    work.given(10.0)
    answer(work, tasks_of(journal, 0), [UNKNOWN], 10.0 + 3 * 3600)

    assert journal.parts[work].own == 3 * 3600


def test_each_task_was_submitted_when_it_was_drawn():
    """Of a generator each element waits from then on, not from the beginning."""
    journal, work = Journal(10.0), Work(1, 0.0)
    journal.submitted(1, 10.0)
    journal.submitted(3, 12.0)

    work.given(12.0)
    answer(work, tasks_of(journal, 0, 1, 2), [0.5, 0.5, 0.5], 14.0)

    assert [task.submitted for task in journal.history(ids(3))] == [0.0, 2.0, 2.0]


def test_mirais_of_others_between_do_not_shift_places():
    """Ids are of the session: other threads take some of them."""
    journal, work = journal_of(2), Work(1, 0.0)

    work.given(10.0)
    answer(work, tasks_of(journal, 0, 7), [1.0, 1.0], 12.0)

    assert [task.place for task in journal.history([FIRST, FIRST + 7])] == [0, 1]


def test_what_is_being_noted_is_not_read():
    """A report may be asked for while another thread is in the middle of an answer."""
    journal, work = journal_of(2), Work(1, 0.0)
    a, b = tasks_of(journal, 0, 1)
    work.given(10.0)
    answer(work, [a], [1.0], 11.0)
    journal._ids.append(b.future.id)
    journal._durations.append(1.0)

    assert [task.place for task in journal.history(ids(2))] == [0]


@pytest.mark.parametrize("together", [1, 50])
def test_a_task_takes_few_bytes(together):
    """Of a million tasks nobody may ask for a report."""
    journal, work = journal_of(5000), Work(1, 0.0)

    for i in range(0, 5000, together):
        work.given(10.0)
        answer(work, tasks_of(journal, *range(i, i + together)), itertools.repeat(0.1, together), 11.0)

    size = sum(each.buffer_info()[1] * each.itemsize for each in (journal._ids, journal._durations, journal._answers))
    assert size / 5000 == (24 if together == 1 else pytest.approx(12.24))
