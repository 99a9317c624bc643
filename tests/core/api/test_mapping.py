"""mirai_map(): one task an element, results in their order."""

from __future__ import annotations

import asyncio
import io
import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence

import pytest

from mirai import (
    Canceled,
    ConnectionReset,
    Mirai,
    MiraiError,
    MiraiMap,
    SerializationError,
    TimedOut,
    daemons,
    info,
    is_mirai_map,
    local_url,
    mirai,
    mirai_map,
    unresolved,
)
from tests.core import tasks
from tests.core.tasks import Unpicklable
from tests.waiting import wait_until

DEADLINE = 20  # seconds; what takes longer hangs
PROMPT = 10  # seconds; a daemon that takes longer to be free is busy with something it should not do


class Terminal(io.StringIO):
    def isatty(self):
        return True


def ratio(x, y=1):
    return x / y


# What is mapped over


@pytest.mark.parametrize(
    ("xs", "expected"),
    [
        ([1, 2, 3], [2, 4, 6]),
        ((1, 2), [2, 4]),
        (range(3), [0, 2, 4]),
        ("ab", ["aa", "bb"]),
        ((i for i in range(3)), [0, 2, 4]),
        ({"a": 1, 7: 2}, {"a": 2, 7: 4}),
        (OrderedDict(b=1, a=2), {"b": 2, "a": 4}),
        ([], []),
        ({}, {}),
        (iter(()), []),
    ],
)
def test_values_come_in_the_order_of_the_elements(shared, xs, expected):
    """A dict keeps its keys; nothing gives nothing."""
    values = mirai_map(xs, tasks.double).collect()

    assert values == expected
    assert list(values) == list(expected)


def test_the_order_does_not_depend_on_who_is_first(two, tmp_path):
    """The first element may be the last one that is done."""

    def wait_for_the_last(i, released):
        if i == 0:
            tasks.begin_and_wait(released.parent / "begun", released)
        if i == 9:
            released.touch()
        return i

    assert mirai_map(range(10), wait_for_the_last, tmp_path / "go").collect() == list(range(10))


def test_rows_of_a_two_dimensional_array_are_calls(shared):
    """Its columns are the positional arguments; elements of any other array are one each."""
    numpy = pytest.importorskip("numpy")

    assert mirai_map(numpy.array([[6, 2], [9, 3]]), ratio).collect() == [3, 3]
    assert mirai_map(numpy.array([1, 2]), ratio, 2).collect() == [0.5, 1]


def test_a_list_of_lists_is_no_table(shared):
    """Each of its elements is a list; a table says that it is one."""
    assert mirai_map([[1, 2], [3, 4]], sum).collect() == [3, 7]


def test_constants_follow_the_element(shared):
    """Positional ones and by name, the same for every call."""
    assert mirai_map([1, 2], lambda *args, **kwargs: (args, kwargs), "b", c="d").collect() == [
        ((1, "b"), {"c": "d"}),
        ((2, "b"), {"c": "d"}),
    ]
    assert mirai_map([1], lambda x, xs, fn: (x, xs, fn), xs=2, fn=3).collect() == [(1, 2, 3)]


def test_a_generator_is_drawn_as_it_is_submitted(two, tmp_path):
    """The first tasks run while the last elements are still being made."""

    def elements():
        yield tmp_path / "first"
        wait_until((tmp_path / "first").exists, "the first task, before the second element is asked for")
        yield tmp_path / "second"

    mp = mirai_map(elements(), lambda path: path.touch())

    assert mp.collect() == [None, None]


def test_no_element_waits_for_another_to_be_serialized(one, tmp_path):
    """Those that follow each other in no time are submitted together; what comes before one that takes long is not held."""

    class Slow:
        def __reduce__(self):
            wait_until((tmp_path / "0").exists, "the first element was evaluated")
            return int, (2,)

    def note(i):
        (tmp_path / str(i)).touch()
        return i

    assert mirai_map([0, 1, Slow(), 3], note).collect() == [0, 1, 2, 3]


def test_many_elements_are_each_evaluated_once(two, tmp_path):
    """However they are submitted; those of a generator one by one."""
    assert mirai_map(range(1000), ratio).collect() == list(range(1000))
    assert mirai_map((i for i in range(200)), ratio).collect() == list(range(200))


def test_a_generator_that_raises_cancels_what_it_gave(one, tmp_path):
    """Nobody can get at those mirais; the error says how far it came."""

    def elements():
        yield 1
        yield 2
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full") as caught:
        mirai_map(elements(), lambda _: tasks.begin(tmp_path / "begun"))

    assert "element 2" in str(caught.value.__notes__)
    assert mirai("1").result(PROMPT) == 1


def test_the_function_and_its_constants_are_serialized_once(one):
    """They may be large; each element carries itself only."""

    class Costly:
        times = 0

        def __reduce__(self):
            type(self).times += 1
            return str, ("loaded",)

    assert mirai_map(range(100), lambda i, constant: constant, Costly()).collect() == ["loaded"] * 100
    assert Costly.times <= 2  # pickle tried, then cloudpickle


def test_the_constants_are_those_of_the_time_of_the_call(one, tmp_path):
    """Although they are sent to a daemon later."""
    constants = [1]
    mirai(tasks.begin_and_wait, tmp_path / "begun", tmp_path / "go")

    mp = mirai_map([1], lambda _, constants: constants, constants)
    constants.append(2)
    (tmp_path / "go").touch()

    assert mp.collect() == [[1]]


def test_a_task_that_changes_its_constants_is_not_alone_with_it(one):
    """Documented by this test: they are loaded once a daemon, so what a task does to them, the next one sees."""
    assert mirai_map(range(3), lambda i, seen: (seen.append(i), len(seen))[1], []).collect() in ([1, 1, 1], [1, 2, 3])


def test_a_daemon_that_comes_late_gets_the_function_too(one, tmp_path):
    """Whoever runs an element needs it."""
    mp = mirai_map(range(40), lambda i, path: (tasks.begin_and_wait(path / f"{i}", path / "go"), i)[1], tmp_path)
    wait_until((tmp_path / "0").exists, "the first element to begin")

    from mirai import launch_local

    launch_local(1)
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2, "the new daemon to begin another one")
    (tmp_path / "go").touch()

    assert mp.collect() == list(range(40))


@pytest.mark.parametrize("xs", [3, None, 2.5], ids=repr)
def test_what_cannot_be_iterated_over_is_refused(shared, xs):
    """The error says what was given."""
    with pytest.raises(TypeError, match="iterable"):
        mirai_map(xs, tasks.double)


def test_a_function_is_needed(shared):
    """Source text is for `mirai()`."""
    with pytest.raises(TypeError, match="callable"):
        mirai_map([1], "x + 1")


def test_an_element_that_cannot_be_serialized_is_named(shared):
    """Those before it are cancelled: nobody can get at them."""
    with pytest.raises(Exception, match="not this one|serialized") as caught:
        mirai_map([1, 2, Unpicklable()], tasks.double)

    assert isinstance(caught.value, SerializationError)
    assert "element 2" in str(caught.value) + str(getattr(caught.value, "__notes__", ""))


# The map


def test_a_map_is_a_sequence_of_mirais(shared):
    """To be indexed, sliced, counted, and asked how far it is."""
    mp = mirai_map([1, 2, 3], tasks.double)

    assert isinstance(mp, Sequence)
    assert isinstance(mp, MiraiMap)
    assert is_mirai_map(mp)
    assert not is_mirai_map(mp.collect())
    assert len(mp) == 3
    assert isinstance(mp[0], Mirai)
    assert mp[-1].result(DEADLINE) == 6
    assert [m.result(DEADLINE) for m in mp[1:]] == [4, 6]
    assert repr(mp) == "< mirai map [3/3] >"


def test_a_map_says_how_far_it_is(one, tmp_path):
    """In its `repr`."""
    mp = mirai_map(["first", "second"], lambda name: tasks.begin_and_wait(tmp_path / name, tmp_path / f"go {name}"))
    (tmp_path / "go first").touch()

    wait_until((tmp_path / "second").exists, "the second element to begin")

    wait_until(lambda: repr(mp) == "< mirai map [1/2] >", lambda: f"half of it to be done: {mp!r}")
    assert unresolved(mp)
    (tmp_path / "go second").touch()
    assert mp.collect() == ["released"] * 2


def test_a_failure_is_the_value_of_its_element(shared):
    """The others have theirs."""
    values = mirai_map([1, 0, 2], lambda x: 1 / x).collect()

    assert [values[0], values[2]] == [1, 0.5]
    assert isinstance(values[1], MiraiError)
    assert isinstance(values[1].original, ZeroDivisionError)


def test_a_daemon_that_is_lost_takes_one_element_with_it(two):
    """The others are done by those that are left."""

    def exit_at_five(i):
        if i == 5:
            import os

            os._exit(1)
        return i

    values = mirai_map(range(50), exit_at_five).collect()

    assert isinstance(values.pop(5), ConnectionReset)
    assert values == [*range(5), *range(6, 50)]


def test_a_map_can_be_cancelled(one, tmp_path):
    """Every element that is not resolved, the running one too; none of the others is begun."""
    mp = mirai_map(range(100), lambda i, path: tasks.begin(path / f"{i}"), tmp_path)
    wait_until((tmp_path / "0").exists, "the first element to begin")

    assert mp.cancel() == [True] * 100

    assert all(isinstance(m.data, Canceled) for m in mp)
    assert mirai("1").result(PROMPT) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["0"]


def test_each_element_has_its_timeout(one, tmp_path):
    """From the call on, so queued ones count as well."""
    values = mirai_map(["a", "b"], lambda name, path: tasks.begin(path / name), tmp_path, _timeout=0.2).collect()

    assert [type(value) for value in values] == [TimedOut, TimedOut]
    assert mirai("1").result(PROMPT) == 1


def test_globals_are_set_for_each_element(shared):
    """As for `mirai()`."""
    assert mirai_map([1, 2], lambda x: __import__("__main__").y + x, _globals={"y": 10}).collect() == [11, 12]


# collect()


def test_flat_concatenates(shared):
    """Lists and tuples become one list; other values stay as they are."""
    assert mirai_map([1, 2], lambda x: [x, x]).collect(flat=True) == [1, 1, 2, 2]
    assert mirai_map({"a": 1}, lambda x: (x, x)).collect(flat=True) == [1, 1]
    assert mirai_map([1, 2], tasks.double).collect(flat=True) == [2, 4]
    assert mirai_map([], tasks.double).collect(flat=True) == []


def test_flat_concatenates_arrays(shared):
    """Into one array."""
    numpy = pytest.importorskip("numpy")

    flat = mirai_map([1, 2], lambda x: __import__("numpy").full(2, x)).collect(flat=True)

    assert isinstance(flat, numpy.ndarray)
    assert flat.tolist() == [1, 1, 2, 2]


def test_flat_refuses_mixed_types_and_errors(shared):
    """It says at which index or key."""
    with pytest.raises(TypeError, match="index 1.*str"):
        mirai_map([1, "a"], lambda x: x).collect(flat=True)
    with pytest.raises(MiraiError, match="'b'.*ZeroDivisionError"):
        mirai_map({"a": 1, "b": 0}, lambda x: 1 / x).collect(flat=True)


@pytest.mark.parametrize(("keyed", "name"), [(False, "index 1"), (True, "'b'")])
def test_stop_raises_at_the_first_failure_and_cancels_the_rest(two, tmp_path, keyed, name):
    """Running ones too; the error says which element it was."""

    def fail_or_wait(x, path):
        if x == 1:
            while not (path / "0").exists():
                pass
            raise ValueError("wrong")
        tasks.begin(path / f"{x}")

    mp = mirai_map(dict(zip("abcd", range(4), strict=True)) if keyed else range(4), fail_or_wait, tmp_path)

    with pytest.raises(MiraiError, match=f"{name}.*ValueError: wrong") as caught:
        mp.collect(stop=True)

    assert isinstance(caught.value.__cause__, ValueError)
    assert [m.cancelled() for m in mp] == [True, False, True, True]
    assert mirai_map("xy", str).collect() == ["x", "y"]


def test_stop_without_a_failure_is_an_ordinary_collect(shared):
    """Values in order."""
    assert mirai_map(range(5), tasks.double).collect(stop=True) == [0, 2, 4, 6, 8]


def test_a_map_can_be_collected_again(shared):
    """With the same values."""
    mp = mirai_map([1, 2], tasks.double)

    assert mp.collect() == mp.collect() == [2, 4]


def test_progress_is_shown_on_stderr(shared, monkeypatch):
    """A bar that ends at all of them, in a terminal; with its name."""
    monkeypatch.setattr(sys, "stderr", Terminal())

    values = mirai_map(range(20), lambda i: 1 / (i % 10)).collect(progress="fitting")

    shown = sys.stderr.getvalue()
    assert len(values) == 20
    assert shown.split("\r")[1].startswith("fitting: [....")
    assert "20/20" in shown.split("\r")[-1]
    assert "(2 failed)" in shown.split("\r")[-1]
    assert shown.endswith("\n")


def test_progress_in_a_log_is_lines(shared, capsys):
    """No control characters where nobody sees them."""
    mirai_map(range(3), tasks.double).collect(progress=True)

    error = capsys.readouterr().err
    assert "3/3" in error
    assert "\r" not in error
    assert "\x1b" not in error


def test_progress_of_nothing(shared, capsys):
    """It ends at once."""
    assert mirai_map([], tasks.double).collect(progress=True) == []
    assert "0/0" in capsys.readouterr().err


@pytest.mark.parametrize("options", [{"stop": True}, {"flat": True}])
def test_progress_goes_with_the_other_options(shared, capsys, options):
    """They are asked for together."""
    assert mirai_map([1, 2], tasks.double).collect(progress=True, **options) == [2, 4]
    assert "2/2" in capsys.readouterr().err


# As they complete


def test_elements_as_they_complete(two, tmp_path):
    """The first one done is the first one given."""
    mp = mirai_map([0, 1], lambda i: i or tasks.begin_and_wait(tmp_path / "begun", tmp_path / "go"))
    order = []

    for m in mp.as_completed():
        order.append(m.data)
        (tmp_path / "go").touch()

    assert order == [1, "released"]


def test_elements_as_they_complete_in_asyncio(two, tmp_path):
    """Without blocking the loop."""

    async def main():
        mp = mirai_map([0, 1], lambda i: i or tasks.begin_and_wait(tmp_path / "begun", tmp_path / "go"))
        order = []
        async for m in mp.as_completed():
            order.append(await m)
            (tmp_path / "go").touch()
        return order

    assert asyncio.run(main()) == [1, "released"]


def test_a_map_can_be_awaited(shared):
    """Its values, a dict of them where it has keys."""

    async def main():
        return await mirai_map([1, 0], lambda x: 1 / x), await mirai_map({"a": 1}, tasks.double)

    (one, failed), keyed = asyncio.run(main())

    assert one == 1
    assert isinstance(failed, MiraiError)
    assert keyed == {"a": 2}


def test_a_map_whose_awaiting_task_is_cancelled_is_cancelled_too(one, tmp_path):
    """On the daemons as well."""

    async def main():
        mp = mirai_map(range(10), lambda i, path: tasks.begin(path / f"{i}"), tmp_path)

        async def wait():
            return await mp

        task = asyncio.create_task(wait())
        while not (tmp_path / "0").exists():
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return mp

    assert all(m.cancelled() for m in asyncio.run(main()))
    assert mirai("1").result(PROMPT) == 1


# _promise


def test_a_promise_is_called_with_each_value(shared):
    """As it resolves; of two, the second one with errors."""
    values, errors = [], []

    mp = mirai_map([1, 0, 2], lambda x: 2 / x, _promise=(values.append, errors.append))
    mp.collect()

    wait_until(lambda: len(values) + len(errors) == 3, "all to be told")
    assert sorted(values) == [1, 2]
    assert [type(error) for error in errors] == [MiraiError]


def test_a_promise_alone_hears_of_values_only(shared):
    """An error has nobody to go to."""
    values = []

    mirai_map([1, 0], lambda x: 1 / x, _promise=values.append).collect()

    wait_until(lambda: values == [1], "the value to be told")


def test_a_promise_is_called_on_the_running_loop(shared):
    """Where there is one: what it touches belongs to the loop's thread."""
    threads = []

    async def main():
        await mirai_map(range(3), tasks.double, _promise=lambda _: threads.append(threading.current_thread()))
        while len(threads) < 3:
            await asyncio.sleep(0.001)

    asyncio.run(main())

    assert threads == [threading.current_thread()] * 3


@pytest.mark.parametrize("promise", [3, (3, 4), (print, 3), "print"], ids=repr)
def test_a_promise_must_be_callable(shared, promise):
    """Or nothing of it would ever be heard; nothing is sent."""
    before = info()

    with pytest.raises((TypeError, ValueError), match="_promise"):
        mirai_map([1], tasks.double, _promise=promise)

    assert info() == before


# Without daemons, and inside of a map


def test_without_daemons_one_is_set():
    """With a warning that says how to have more."""
    with pytest.warns(UserWarning, match=r"daemons\(n\)"):
        mp = mirai_map([1, 2], tasks.double)

    assert mp.collect() == [2, 4]
    assert info().connections == 1
    daemons(0)


def test_local_daemons_inside_of_a_map_are_refused(shared):
    """Each element would start as many; the error says what to do where that is meant."""
    values = mirai_map([1, 2], lambda _: daemons(2)).collect()

    assert all("launch_local" in value.message for value in values)
    again = mirai_map([1], lambda _: mirai_map([1], lambda x: x).collect()).collect()
    assert "launch_local" in again[0].message


def test_local_daemons_inside_of_a_task_are_allowed(one):
    """It is one process that starts them, and takes them along."""

    def nested():
        with daemons(1):
            return mirai_map([1, 2], lambda x: x * 2).collect()

    assert mirai(nested).result(DEADLINE) == [2, 4]


def test_daemons_inside_of_a_map_where_that_is_meant(one):
    """The way that the error shows."""

    def nested(x):
        from mirai import launch_local

        with daemons(url=local_url()):
            launch_local(1)
            return mirai(lambda: x * 2).result()

    assert mirai_map([1, 2], nested).collect() == [2, 4]
