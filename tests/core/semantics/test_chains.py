"""Mirais as arguments of mirais: chains, diamonds, and failures that pass through."""

from __future__ import annotations

import operator
import threading

import pytest

from mirai import Canceled, MiraiError, call_mirai, collect_mirai, daemons, mirai, stop_mirai, unresolved, with_daemons
from tests.core import tasks

DEADLINE = 30  # seconds; what takes longer hangs


def fails():
    raise ValueError("here")


def test_a_chain_of_a_thousand_holds_no_thread(two, tmp_path):
    """One thread a link would be a thousand threads; one call a link would be too deep."""
    before = threading.active_count()
    m = first = mirai(lambda started, released: tasks.begin_and_wait(started, released) and 0, *gates(tmp_path))
    for _ in range(1000):
        m = mirai(operator.add, m, 1)

    assert unresolved(first)
    assert threading.active_count() == before
    (tmp_path / "go").touch()
    assert m.result(DEADLINE) == 1000


def test_a_diamond_is_put_together(two):
    """The same mirai may be waited for by several, and several by one."""
    top = mirai(tasks.double, 1)
    left, right = mirai(operator.add, top, 10), mirai(operator.mul, top, 10)

    assert mirai(dict, left=left, right=right, top=top).result(DEADLINE) == {"left": 12, "right": 20, "top": 2}


def test_a_failure_passes_through_a_chain(two, tmp_path):
    """What cannot be computed is not begun, and says why."""
    failed = mirai(fails)
    second = mirai(lambda x: (tmp_path / "begun").touch(), failed)
    third = mirai(lambda x: (tmp_path / "begun").touch(), second)

    assert isinstance(third.exception(DEADLINE), ValueError)
    assert isinstance(third.data, MiraiError)
    assert third.data is call_mirai(failed).data
    assert not (tmp_path / "begun").exists()


def test_cancelling_the_first_cancels_what_waits_for_it(one, tmp_path):
    """Nothing hangs in silence."""
    first = mirai(tasks.begin_and_wait, *gates(tmp_path))
    later = [mirai(str, first) for _ in range(3)]

    stop_mirai(first)

    assert [type(value) for value in collect_mirai(later)] == [Canceled] * 3
    assert all(m.cancelled() for m in later)


def test_a_chain_goes_through_profiles(two):
    """What needs a database waits for what needs many cores."""
    with daemons(1, compute="other"):
        m = mirai(tasks.double, mirai(tasks.double, mirai(tasks.double, 1), _compute="other"))

        assert m.result(DEADLINE) == 8


def test_a_profile_that_is_reset_fails_what_still_waits(two, tmp_path):
    """Its arguments may come later than its daemons leave."""
    first = mirai(tasks.begin_and_wait, *gates(tmp_path))
    daemons(1, compute="other")
    with with_daemons("other"):
        second = mirai(str, first)
    daemons(0, compute="other")
    (tmp_path / "go").touch()

    with pytest.raises(ConnectionResetError, match="reset"):
        second.result(DEADLINE)


def test_large_values_are_passed_on_as_they_came(two):
    """They need not be taken apart on their way through the host."""
    made = mirai(bytes, 5_000_000)

    assert mirai(len, mirai(operator.add, made, b"!")).result(DEADLINE) == 5_000_001


def test_a_value_can_be_passed_on_after_it_was_read(two):
    """Then it is serialized again."""
    made = mirai(lambda: {"a": [1]})
    made.result(DEADLINE)["a"].append(2)

    assert mirai(len, mirai(operator.getitem, made, "a")).result(DEADLINE) == 2


def test_a_value_that_cannot_be_passed_on_fails_what_waits_for_it(two):
    """Where it cannot be serialized a second time, the reason must not be lost in a log."""
    made = mirai(lambda: [1])
    made.result(DEADLINE).append(threading.Lock())

    waits = mirai(len, made)

    assert "passed on" in str(call_mirai(waits).data)


def gates(tmp_path):
    return tmp_path / "begun", tmp_path / "go"
