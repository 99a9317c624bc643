"""collect_mirai(), race_mirai() and the like, over one mirai or any number of them."""

from __future__ import annotations

import threading

import pytest

from mirai import (
    UNRESOLVED,
    Canceled,
    ConnectionReset,
    MiraiError,
    MiraiInterrupt,
    TimedOut,
    call_mirai,
    collect_mirai,
    daemons,
    is_error_value,
    is_mirai,
    is_mirai_error,
    is_mirai_interrupt,
    is_mirai_map,
    mirai,
    mirai_map,
    race_mirai,
    stop_mirai,
    unresolved,
)
from tests.core import tasks
from tests.waiting import wait_until

DEADLINE = 20  # seconds; what takes longer hangs
PROMPT = 10  # seconds; a daemon that takes longer to be free is busy with something it should not do


def test_unresolved_is_true_while_any_is(two, tmp_path):
    """Of one, of several, of a map, or of data."""
    slow = mirai(tasks.begin_and_wait, tmp_path / "begun", tmp_path / "go")
    quick = call_mirai(mirai("1"))

    assert [unresolved(x) for x in (slow, [quick, slow], (slow,), {"a": slow}, slow.data, UNRESOLVED)] == [True] * 6
    assert [unresolved(x) for x in (quick, [quick], [], quick.data, None, 0, "text")] == [False] * 7
    (tmp_path / "go").touch()
    call_mirai(slow)
    assert not unresolved([quick, slow])


def test_call_waits_and_returns_the_same(shared):
    """One mirai, a list, a map; whatever became of them."""
    m, failing = mirai("1"), mirai("1 / 0")
    several, mp = [m, failing], mirai_map("ab", str)

    assert call_mirai(m) is m
    assert call_mirai(several) is several
    assert call_mirai(mp) is mp
    assert not unresolved([*several, *mp])
    assert call_mirai([]) == []


def test_collect_gives_values_and_errors_as_values(shared):
    """In the order given."""
    values = collect_mirai([mirai("1"), mirai("1 / 0"), mirai("'a'")])

    assert [values[0], values[2]] == [1, "a"]
    assert isinstance(values[1], MiraiError)
    assert collect_mirai(mirai("2")) == 2
    assert collect_mirai([]) == []
    assert collect_mirai({"a": mirai("1"), "b": mirai("2")}) == {"a": 1, "b": 2}
    assert collect_mirai(mirai("1") for _ in range(2)) == [1, 1]
    assert isinstance(collect_mirai(mirai("1 / 0")), MiraiError)


def test_collect_takes_mirais_of_any_profile(shared):
    """Also some that are given twice."""
    with daemons(1, compute="other"):
        first, second = mirai("1"), mirai("2", _compute="shared")

        assert collect_mirai([first, second, first]) == [1, 2, 1]


def test_collect_with_stop_raises_at_the_first_failure(two, tmp_path):
    """And cancels the rest."""
    slow = mirai(tasks.begin, tmp_path / "begun")

    with pytest.raises(MiraiError, match="index 1.*ZeroDivisionError"):
        collect_mirai([slow, mirai("1 / 0")], stop=True)

    assert slow.cancelled()
    with pytest.raises(MiraiError, match="'b'"):
        collect_mirai({"a": mirai("1"), "b": mirai("1 / 0")}, stop=True)


def test_collect_with_flat_concatenates(shared):
    """As for a map."""
    assert collect_mirai([mirai("[1]"), mirai("[2, 3]")], flat=True) == [1, 2, 3]


@pytest.mark.parametrize("wait", [call_mirai, collect_mirai, race_mirai, stop_mirai])
@pytest.mark.parametrize("x", [3, None, "ab", [1]], ids=repr)
def test_what_is_no_mirai_is_refused(wait, x):
    """The error says what was given."""
    with pytest.raises(TypeError, match="mirai"):
        wait(x)


def test_race_gives_the_index_of_the_first_resolved(two, tmp_path):
    """Waiting for it where need be."""
    slow = mirai(tasks.begin_and_wait, tmp_path / "begun", tmp_path / "go")
    middle = mirai("import time; time.sleep(0.05)")

    assert race_mirai([slow, middle]) == 1
    assert race_mirai([slow, slow, middle, middle]) == 2
    assert race_mirai([]) is None
    (tmp_path / "go").touch()
    assert race_mirai([slow]) == 0


def test_race_counts_failures_and_cancelled_ones(two, tmp_path):
    """They are resolved."""
    slow = mirai(tasks.begin, tmp_path / "begun")
    threading.Timer(0.05, slow.cancel).start()

    assert race_mirai([slow]) == 0
    assert race_mirai([mirai("import time; time.sleep(60)"), mirai("1 / 0")]) == 1


def test_race_takes_mirais_of_any_profile(shared, tmp_path):
    """The first one may be of another than the others."""
    with daemons(1, compute="other"):
        slow = mirai(tasks.begin, tmp_path / "begun")
        quick = mirai("import time; time.sleep(0.05)", _compute="shared")

        assert race_mirai([slow, quick]) == 1


def test_handling_as_completed_by_racing(shared):
    """Race, handle, remove, again: each comes once."""
    waiting = [mirai("import time; time.sleep(x); x", x=x / 100) for x in (3, 1, 2)]
    seen = []

    while (i := race_mirai(waiting)) is not None:
        seen.append(waiting.pop(i).data)

    assert sorted(seen) == [0.01, 0.02, 0.03]


def test_stop_cancels_and_says_what_was_unresolved(one, tmp_path):
    """The last one first, so that none of the queued is begun."""
    running = mirai(tasks.begin, tmp_path / "begun")
    done = mirai("1", _compute="default")
    queued = [mirai(tasks.begin, tmp_path / f"queued{i}") for i in range(5)]
    wait_until((tmp_path / "begun").exists, "the first task to begin")

    assert stop_mirai([running, *queued]) == [True] * 6

    assert done.result(PROMPT) == 1
    assert stop_mirai(done) is False
    assert stop_mirai([done, *queued]) == [False] * 6
    assert not list(tmp_path.glob("queued*"))


def test_values_are_told_apart(shared):
    """By what became of the task."""
    error, value = call_mirai(mirai("1 / 0")).data, call_mirai(mirai("1")).data
    others = [MiraiInterrupt(), TimedOut(), ConnectionReset(), Canceled()]

    assert [is_mirai_error(x) for x in (error, value, *others)] == [True] + [False] * 5
    assert [is_mirai_interrupt(x) for x in (error, value, *others)] == [False, False, True, False, False, False]
    assert [is_error_value(x) for x in (error, value, ValueError(), *others)] == [True, False, False] + [True] * 4
    assert [is_mirai(x) for x in (mirai("1"), mirai_map([], str), 1)] == [True, False, False]
    assert [is_mirai_map(x) for x in (mirai("1"), mirai_map([], str), [mirai("1")])] == [False, True, False]
