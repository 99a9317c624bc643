"""Daemons that come when there is work, and leave when there is none."""

from __future__ import annotations

import pytest

from mirai import ConnectionReset, collect_mirai, daemons, info, mirai, status
from mirai.runtime import vigil
from tests.waiting import wait_until

DEADLINE = 20  # seconds


def connected(n):
    wait_until(lambda: info().connections == n, lambda: f"{n} daemons: {status()}", DEADLINE)


def test_daemons_come_with_work_and_leave_without():
    """And come again."""
    with daemons({"min": 0, "max": 2}, idletime=0.5):
        assert info().connections == 0
        assert collect_mirai([mirai(pow, 2, n) for n in range(4)]) == [1, 2, 4, 8]
        connected(0)
        assert mirai(pow, 2, 4).result(DEADLINE) == 16


def test_there_are_never_more_than_the_most():
    """However much waits."""
    with daemons({"max": 2}, idletime=0.5):
        pids = collect_mirai([mirai("import os, time; time.sleep(0.1); os.getpid()") for _ in range(20)])

    assert 1 <= len(set(pids)) <= 2


def test_the_least_stay_without_work():
    """They are there at once, and for the next task."""
    with daemons({"min": 1, "max": 2}, idletime=0.2):
        first = mirai("__import__('os').getpid()").result(DEADLINE)
        collect_mirai([mirai("__import__('time').sleep(1.5)") for _ in range(2)])
        connected(1)
        assert mirai("__import__('os').getpid()").result(DEADLINE) == first


class Broken:
    name = "broken"
    places = 1

    def launch(self, commands):
        raise OSError("sbatch: error: Invalid partition")


def test_tasks_learn_that_none_can_be_launched(monkeypatch):
    """They must not wait in silence."""
    monkeypatch.setattr(vigil, "UNEASY", 0.1)
    monkeypatch.setattr(vigil, "LOST", 0.3)
    said = "none could be launched: sbatch: error: Invalid partition"
    with (
        daemons({"max": 2}, idletime=60, url="tcp://127.0.0.1:0", remote=Broken()),
        pytest.raises(ConnectionReset, match=said),
    ):
        mirai("1").result(DEADLINE)


def test_nothing_is_launched_after_a_reset():
    """The thread that launches has ended by then."""
    daemons({"max": 2}, idletime=60)
    waiting = mirai("1")
    daemons(0)

    assert isinstance(waiting.data, ConnectionReset)


@pytest.mark.parametrize(
    ("n", "options", "error", "said"),
    [
        ({"min": 0}, {"idletime": 1}, ValueError, "give max"),
        ({"min": 3, "max": 2}, {"idletime": 1}, ValueError, "give a min between 0 and max"),
        ({"max": 0}, {"idletime": 1}, ValueError, "give max, .* 1 or more"),
        ({"max": 2, "most": 1}, {"idletime": 1}, TypeError, "no key 'most'"),
        ({"max": 2}, {}, ValueError, "needs idletime="),
    ],
)
def test_a_range_is_checked(n, options, error, said):
    """Before anything is changed."""
    with pytest.raises(error, match=said):
        daemons(n, **options)
