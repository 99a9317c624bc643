"""`memory`: how much may wait in the queue, and who waits until it is less."""

from __future__ import annotations

import concurrent.futures
import time

import pytest

from mirai import collect_mirai, daemons, mirai, status, stop_mirai, try_mirai
from tests.core import tasks
from tests.waiting import wait_until

DEADLINE = 20  # seconds; what takes longer hangs
BLOCK = bytes(400_000)


@pytest.fixture
def busy(tmp_path):
    """A budget of a megabyte and one daemon, which is busy until it is released; what releases it."""
    with daemons(1, memory="1MB"):
        mirai(tasks.begin_and_wait, tmp_path / "begun", tmp_path / "go")
        wait_until((tmp_path / "begun").exists, "the daemon to be busy")
        yield (tmp_path / "go").touch


def test_what_is_queued_is_counted_in_bytes(busy):
    """As serialized; what is in evaluation is not queued any more."""
    assert status().memory.current == 0

    waiting = [mirai(len, BLOCK) for _ in range(2)]

    memory = status().memory
    assert 800_000 < memory.current < 801_000
    assert memory.limit == 1_000_000
    busy()
    assert collect_mirai(waiting) == [400_000] * 2
    assert status().memory.current == 0


def test_the_peak_only_grows(busy):
    """It says how large a budget would have done."""
    stop_mirai([mirai(len, BLOCK) for _ in range(2)])
    mirai(len, b"")

    assert status().memory.current < 1000
    assert 800_000 < status().memory.peak < 801_000
    busy()


def test_the_peak_ends_with_the_profile():
    """A reset begins anew."""
    with daemons(1, memory="1MB"):
        mirai(len, BLOCK).result(DEADLINE)
    with daemons(1, memory="1MB"):
        assert status().memory.peak == 0


def test_one_task_may_overshoot(busy):
    """What counts is whether there was room before: else a task larger than the budget could never run."""
    m = try_mirai(len, bytes(5_000_000))

    assert m is not None
    assert try_mirai(len, b"") is None
    busy()
    assert m.result(DEADLINE) == 5_000_000


def test_a_rejection_takes_no_time_and_leaves_nothing(busy):
    """An event loop asks thousands of times."""
    full = [mirai(len, BLOCK) for _ in range(3)]
    before = status()

    start = time.monotonic()
    assert [try_mirai(len, BLOCK) for _ in range(1000)] == [None] * 1000
    assert time.monotonic() - start < 2

    assert status() == before
    busy()
    assert collect_mirai(full) == [400_000] * 3


def test_who_waits_for_room_goes_on_when_a_task_is_cancelled(busy):
    """Room is room, whatever made it."""
    full = [mirai(len, BLOCK) for _ in range(3)]

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(mirai, len, BLOCK)
        with pytest.raises(TimeoutError):
            waiting.result(0.2)
        stop_mirai(full)
        m = waiting.result(DEADLINE)

    busy()
    assert m.result(DEADLINE) == 400_000


def test_many_threads_stay_within_the_budget_but_for_one_task_each(busy):
    """Each looks whether there is room before it submits."""

    def submit(n):
        return [mirai(len, BLOCK) for _ in range(n)]

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(submit, 5) for _ in range(4)]
        with pytest.raises(TimeoutError):
            waiting[0].result(0.2)
        assert status().memory.peak < 1_000_000 + 4 * 401_000
        busy()
        values = [collect_mirai(future.result(DEADLINE)) for future in waiting]

    assert values == [[400_000] * 5] * 4


@pytest.mark.parametrize("n", [{"n": 1, "dispatcher": False}, {"sync": True}], ids=["direct", "sync"])
def test_where_nothing_is_queued_nothing_is_refused(n):
    """Tasks go to the daemons at once, or are evaluated at once."""
    with daemons(**n, memory=1):
        assert try_mirai(len, BLOCK).result(DEADLINE) == 400_000
        assert try_mirai(len, BLOCK).result(DEADLINE) == 400_000
