"""Random numbers: of good quality by default, and with a seed the same however the work is spread."""

from __future__ import annotations

import functools
import random

import pytest

from mirai import daemons, everywhere, mirai, mirai_map, nextstream, try_mirai
from mirai.protocol.seeds import stream
from tests.core import tasks
from tests.core.tasks import draw, draw_both, draw_numpy

DEADLINE = 20  # seconds; what takes longer hangs

WAYS = {
    "one": {"n": 1},
    "two": {"n": 2},
    "three": {"n": 3},
    "direct": {"n": 2, "dispatcher": False},
    "sync": {"sync": True},
}


def drawn(function):
    """What a program of several kinds of tasks draws."""
    everywhere(function).collect()
    first = [mirai(function).result(DEADLINE) for _ in range(3)]
    behind = mirai(function, mirai(function)).result(DEADLINE)
    return first, behind, mirai_map(range(6), function).collect()


@functools.cache
def expected(function):
    """What it draws on one daemon."""
    with daemons(1, seed=7):
        return drawn(function)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_seed_gives_the_same_numbers_however_tasks_are_spread(way):
    """One daemon or three, without a dispatcher, or in this very process."""
    numbers = expected(draw)

    with daemons(**way, seed=7):
        assert drawn(draw) == numbers


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_seed_gives_the_same_numbers_of_numpy(way):
    """Also in the task that imports it, which is another daemon's first one each time."""
    pytest.importorskip("numpy")
    numbers = expected(draw_numpy)

    with daemons(**way, seed=7):
        assert drawn(draw_numpy) == numbers


def test_each_task_has_numbers_of_its_own():
    """Not the same ones from the seed on."""
    first, behind, mapped = expected(draw)

    assert len({tuple(numbers) for numbers in (*first, behind, *mapped)}) == 10


def test_another_seed_gives_other_numbers():
    """That is what it is for."""
    numbers, _, _ = expected(draw)

    with daemons(1, seed=8):
        assert mirai(draw).result(DEADLINE) != numbers[0]


def test_without_a_seed_each_daemon_has_a_stream_of_its_own():
    """Started at once, by the same program: their numbers must not be the same."""
    with daemons(3):
        drawn = [tuple(numbers) for numbers in everywhere(draw).collect()]

    assert len(set(drawn)) == 3


def test_a_seed_in_a_task_is_not_for_the_next_one():
    """With a seed each task begins where its own stream does."""
    numbers, _, _ = expected(draw)

    with daemons(1, seed=7):
        mirai("import random; random.seed(1)").result(DEADLINE)

        assert mirai(draw).result(DEADLINE) == numbers[1]


def test_the_hosts_own_numbers_are_left_alone():
    """Also where tasks are evaluated in its own process."""
    random.seed(1)
    state = random.getstate()

    for way in (WAYS["one"], WAYS["sync"]):
        with daemons(**way, seed=7):
            drawn(draw)

    assert random.getstate() == state


def test_numpys_numbers_are_not_the_standard_librarys():
    """Their generators are of one kind: seeded alike, a task that uses both would have its numbers twice."""
    pytest.importorskip("numpy")
    with daemons(1, seed=1):
        assert len(set(mirai(draw_both).result(DEADLINE))) == 6


def test_the_hosts_own_numbers_of_numpy_are_left_alone():
    """As above."""
    numpy_random = pytest.importorskip("numpy.random")
    numpy_random.seed(1)
    numbers = numpy_random.random(3).tolist()

    numpy_random.seed(1)
    with daemons(sync=True, seed=7):
        drawn(draw_numpy)

    assert numpy_random.random(3).tolist() == numbers


def test_the_next_stream_is_what_the_next_task_would_have_had():
    """For generators of other libraries, made by hand; whoever takes it uses it up."""
    numbers, _, _ = expected(draw)

    with daemons(1, seed=7):
        mirai(draw).result(DEADLINE)
        taken = nextstream()

        assert taken == stream(7, 1)
        assert mirai(draw).result(DEADLINE) == numbers[2]


def test_every_stream_is_another_one():
    """With a seed and without."""
    for seed in (7, None):
        with daemons(1, seed=seed):
            taken = [tuple(nextstream()) for _ in range(100)]
            assert all(0 <= word < 2**32 for words in taken for word in words)
            assert len(set(taken)) == 100
    assert nextstream() is None


def test_a_rejected_task_takes_no_stream(tmp_path):
    """Else the numbers would depend on how full the queue was."""
    numbers, _, _ = expected(draw)

    with daemons(1, seed=7, memory=10):
        mirai(tasks.begin_and_wait, tmp_path / "begun", tmp_path / "go")
        mirai(draw)
        assert [try_mirai(draw) for _ in range(20)] == [None] * 20
        (tmp_path / "go").touch()

        assert mirai(draw).result(DEADLINE) == numbers[2]
