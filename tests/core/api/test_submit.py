"""What mirai() and everywhere() take, what they refuse, and what of it a daemon sees."""

from __future__ import annotations

import functools
import operator
import threading
import time
from pathlib import Path

import pytest

from mirai import (
    Canceled,
    ConnectionReset,
    MiraiError,
    NoDaemonsError,
    SerializationError,
    TimedOut,
    call_mirai,
    daemons,
    everywhere,
    info,
    launch_local,
    mirai,
    mirai_map,
    status,
    try_mirai,
)
from tests.core import tasks
from tests.core.tasks import Unpicklable
from tests.waiting import wait_until

DEADLINE = 20  # seconds; what takes longer hangs


class Counter:
    def __init__(self, value):
        self.value = value

    def plus(self, other):
        return self.value + other


def fails_if_called(*args, **kwargs):
    raise AssertionError("was called")


# Callables


@pytest.mark.parametrize(
    ("task", "args", "kwargs", "expected"),
    [
        (tasks.double, (4,), {}, 8),
        (pow, (2, 10), {}, 1024),
        (operator.add, ("a", "b"), {}, "ab"),
        (functools.partial(pow, exp=3), (2,), {}, 8),
        (Counter(3).plus, (4,), {}, 7),
        (Counter, (3,), {}, 3),
        (lambda x, *rest, y=0: (x, rest, y), (1, 2, 3), {"y": 4}, (1, (2, 3), 4)),
        (dict, (), {"task": 1, "args": 2, "kwargs": 3, "self": 4}, {"task": 1, "args": 2, "kwargs": 3, "self": 4}),
    ],
    ids=["function", "builtin", "c", "partial", "method", "class", "lambda", "names"],
)
def test_any_callable_is_a_task(shared, task, args, kwargs, expected):
    """Whatever can be called here can be called there."""
    value = mirai(task, *args, **kwargs).result(DEADLINE)

    assert getattr(value, "value", value) == expected


def test_a_closure_takes_along_what_it_closes_over(shared):
    """Functions defined in functions are what tests and notebooks are full of."""
    factor = 3

    def times(x):
        return again(x) * factor

    def again(x):
        return x if x < 1 else again(x - 1) + 1

    assert mirai(times, 4).result(DEADLINE) == 12


def test_arguments_are_those_of_the_time_of_the_call(shared):
    """What the caller changes afterwards must have no effect, however long the task waits."""
    numbers = [1, 2]

    m = mirai(sum, numbers)
    numbers.append(100)

    assert m.result(DEADLINE) == 3


def test_large_buffers_are_those_of_the_time_of_the_call(shared):
    """They travel beside the pickle, and could be sent late."""
    numpy = pytest.importorskip("numpy")
    numbers = numpy.zeros(100_000)

    m = mirai(lambda x: float(x.sum()), numbers)
    numbers += 1

    assert m.result(DEADLINE) == 0.0


def test_a_call_does_not_wait_for_its_evaluation(one, tmp_path):
    """`mirai()` never blocks, though every daemon be busy."""
    running = mirai(tasks.begin_and_wait, tmp_path / "begun", tmp_path / "go")

    later = [mirai(tasks.double, i) for i in range(100)]

    assert not any(m.done() for m in (running, *later))
    (tmp_path / "go").touch()
    assert [m.result(DEADLINE) for m in later] == [2 * i for i in range(100)]


def test_what_a_task_takes_from_the_environment_is_the_daemons(shared):
    """It runs in another process."""
    assert mirai(tasks.pid).result(DEADLINE) in {row.pid for row in status().daemons}


# Source text


@pytest.mark.parametrize(
    ("text", "names", "expected"),
    [
        ("1 + 1", {}, 2),
        ("x = 2\ny = 3\nx * y", {}, 6),
        ("'a'; 'b'", {}, "b"),
        ("", {}, None),
        ("# nothing but a comment", {}, None),
        ("x = 1", {}, None),
        ("for i in range(3): pass", {}, None),
        ("import math\nmath.floor(2.5)", {}, 2),
        ("x + y", {"x": 1, "y": 2}, 3),
        ("x += 1\nx", {"x": 1}, 2),
        ("del x", {"x": 1}, None),
        ("def f(): return x\nf()", {"x": 1}, 1),
        ("[x + i for i in range(2)]", {"x": 1}, [1, 2]),
        ("(lambda: x)()", {"x": 1}, 1),
        ("class A:\n    y = x\nA.y", {"x": 1}, 1),
        ("def f():\n    global g\n    g = 7\nf()\ng", {}, 7),
        ("def fact(n): return 1 if n < 2 else n * fact(n - 1)\nfact(5)", {}, 120),
        ("if x:\n    y = 1\nelse:\n    y = 2\ny", {"x": 0}, 2),
        ("import asyncio\nasync def f(): return x\nasyncio.run(f())", {"x": 1}, 1),
        ("from math import *\nfloor(x)", {"x": 2.5}, 2),
        ("from math import *\ndef f(): return floor(x)\nf()", {"x": 2.5}, 2),
        ("if True:\n    from math import *\nfloor(x)", {"x": 2.5}, 2),
        ("from __future__ import annotations\ndef f(x: nothing): return x\nf(y)", {"y": 1}, 1),
        ("__name__", {}, "__main__"),
        (
            "(text, names, everywhere, self, task, main)",
            dict.fromkeys(["text", "names", "everywhere", "self", "task", "main"], 0),
            (0,) * 6,
        ),
    ],
)
def test_source_text_gives_its_last_expression(shared, text, names, expected):
    """It is read as in a notebook's cell, with the keyword arguments as its variables."""
    assert mirai(text, **names).result(DEADLINE) == expected


def test_names_of_source_text_are_gone_afterwards(one):
    """A task must not see what another one was given, or it depends on which came before."""
    call_mirai(mirai("y = 1\nfrom math import *\nx", x=1))

    assert mirai("[name for name in ('x', 'y', 'floor') if name in globals()]").result(DEADLINE) == []


@pytest.mark.parametrize("text", ["1 +", "def f(:", "return 1", "x = = 2", "  x = 1", "await f()", "yield 1"])
def test_text_that_is_no_python_is_refused_at_the_call(shared, text):
    """Nothing is gained by finding it out on a daemon."""
    before = info()

    with pytest.raises(SyntaxError):
        mirai(text)

    assert info() == before


@pytest.mark.parametrize("task", [None, 42, b"1 + 1", ["1 + 1"]], ids=repr)
def test_what_is_neither_callable_nor_text_is_refused(shared, task):
    """The error says what was given, and what may be."""
    with pytest.raises(TypeError, match=f"{type(task).__name__}.*callable, or source text"):
        mirai(task)


def test_text_takes_no_positional_arguments(shared):
    """They would have no name there; the error shows how to give them one."""
    with pytest.raises(TypeError, match="names, as in"):
        mirai("x + 1", 1)


# What cannot be serialized


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: mirai(fails_if_called, 0, threading.Lock()), "argument 1"),
        (lambda: mirai(fails_if_called, 0, x=[Unpicklable()]), "argument 'x'"),
        (lambda: mirai("x", x=Unpicklable()), "argument 'x'"),
        (lambda: mirai(fails_if_called, mirai("1"), Unpicklable()), "argument 1"),
        (lambda: mirai(Unpicklable().__reduce__), "the task"),
        (lambda: mirai(fails_if_called, _globals={"x": Unpicklable()}), "_globals"),
        (lambda: mirai(fails_if_called, (i for i in "ab")), "argument 0"),
        (lambda: mirai(fails_if_called, [mirai("1")]), "argument 0"),
        (lambda: everywhere(fails_if_called, Unpicklable()), "argument 0"),
        (lambda: mirai_map([1], fails_if_called, 0, Unpicklable()), "argument 1"),
        (lambda: mirai_map([1], fails_if_called, x=Unpicklable()), "argument 'x'"),
    ],
)
def test_what_cannot_be_serialized_is_refused_at_the_call_by_name(shared, call, named):
    """One of many arguments is at fault: the error says which, and nothing is sent."""
    with pytest.raises(SerializationError, match=named) as caught:
        call()

    assert "cannot be serialized" in str(caught.value)


def test_a_refused_call_leaves_nothing_in_the_queue(one):
    """Half a task would stop the daemon."""
    with pytest.raises(SerializationError):
        mirai(fails_if_called, threading.Lock())

    assert info()[1:] == (1, 0, 0, 0)
    assert mirai(tasks.double, 1).result(DEADLINE) == 2


def test_a_structure_too_deep_to_be_serialized_is_refused(shared):
    """It runs into the recursion limit, not out of the stack."""
    deep: list = []
    for _ in range(100_000):
        deep = [deep]

    with pytest.raises(SerializationError, match="argument 0"):
        mirai(len, deep)


def test_an_argument_that_cannot_be_loaded_is_the_tasks_error(shared, tmp_path, monkeypatch):
    """A module that only the host can import: its daemons serve on."""
    (tmp_path / "onlyhere.py").write_text("class Thing: pass")
    monkeypatch.syspath_prepend(tmp_path)
    import onlyhere

    m = mirai(fails_if_called, onlyhere.Thing())

    assert isinstance(m.exception(DEADLINE), ModuleNotFoundError)
    assert isinstance(m.data, MiraiError)
    assert "onlyhere" in m.data.message
    assert mirai_map(range(4), tasks.double).collect() == [0, 2, 4, 6]


# _timeout


def test_a_running_task_times_out(one, tmp_path):
    """It resolves to 5, is interrupted, and its daemon serves on."""
    m = mirai(tasks.begin, tmp_path / "begun", _timeout=0.3)

    error = m.exception(DEADLINE)

    assert isinstance(error, TimedOut)
    assert isinstance(error, TimeoutError)
    assert (m.data, error.code, str(error)[:4]) == (error, 5, "5 | ")
    assert mirai(tasks.double, 1).result(DEADLINE) == 2


def test_a_queued_task_times_out_and_is_never_begun(one, tmp_path):
    """The time counts from the submission: nobody waits for it any more."""
    mirai(tasks.begin_and_wait, tmp_path / "begun", tmp_path / "go")

    m = mirai(Path.touch, tmp_path / "late", _timeout=0.05)

    assert isinstance(m.exception(DEADLINE), TimedOut)
    (tmp_path / "go").touch()
    assert mirai(tasks.double, 1).result(DEADLINE) == 2
    assert not (tmp_path / "late").exists()


def test_a_task_in_time_is_not_touched_by_its_timeout(one):
    """A timer that outlives its task must not hit the next one."""
    assert mirai(tasks.double, 1, _timeout=1).result(DEADLINE) == 2

    assert mirai("import time; time.sleep(1.2)").exception(DEADLINE) is None


@pytest.mark.parametrize("timeout", [0, 1e-9])
def test_no_time_at_all_is_a_timeout(one, timeout):
    """Zero is a number of seconds, not the lack of a limit; the task keeps no daemon busy."""
    assert isinstance(mirai("import time; time.sleep(300)", _timeout=timeout).exception(DEADLINE), TimedOut)
    assert mirai("1").result(5) == 1


@pytest.mark.parametrize("timeout", [-1, "soon", True, float("nan")], ids=repr)
def test_a_timeout_must_be_seconds(shared, timeout):
    """The error names the argument, and nothing is sent."""
    with pytest.raises((TypeError, ValueError), match="_timeout"):
        mirai(fails_if_called, _timeout=timeout)


# _globals, _compute, _retry


def test_globals_are_set_for_the_functions_of_main(one):
    """Helpers that the task's functions refer to; they are gone after it."""
    text = "def f(): return helper(2)\nf()"

    assert mirai(text, _globals={"helper": tasks.double}).result(DEADLINE) == 4
    assert "helper" in str(mirai(text).exception(DEADLINE))


def test_a_profile_that_was_never_set_is_refused():
    """A typing error in its name must not start a process for each task."""
    for call in (mirai, everywhere, try_mirai):
        with pytest.raises(NoDaemonsError, match="nowhere"):
            call("1", _compute="nowhere")
    with pytest.raises(NoDaemonsError, match="nowhere"):
        mirai_map([1], tasks.double, _compute="nowhere")


def test_the_profile_can_be_named(shared):
    """Beside the current one."""
    with daemons(1, compute="other"):
        pids = {row.pid for row in status("other").daemons}

        assert mirai(tasks.pid).result(DEADLINE) in pids
        assert mirai(tasks.pid, _compute=shared).result(DEADLINE) not in pids


def test_a_task_may_be_given_to_another_daemon(two, tmp_path):
    """`_retry` says how often, where its own was lost."""
    once = tmp_path / "tried"

    def fail_once():
        import os

        try:
            once.touch(exist_ok=False)
        except FileExistsError:
            return os.getpid()
        os._exit(1)

    assert mirai(fail_once, _retry=1).result(DEADLINE) == next(row.pid for row in status().daemons if row.online)


def test_a_task_is_not_given_to_another_daemon_unless_asked(two):
    """It may have had effects before its daemon was lost."""
    assert isinstance(mirai("import os; os._exit(1)").exception(DEADLINE), ConnectionReset)
    assert info().connections == 1


def test_retries_come_to_an_end():
    """A task that kills its daemon must not kill them all."""
    with daemons(3, retry=1):
        m = mirai("import os; os._exit(1)")

        assert isinstance(m.exception(DEADLINE), ConnectionReset)
        assert info().connections == 1
        assert mirai("import os; os._exit(1)", _retry=0).exception(DEADLINE) is not None
        assert info().connections == 0


# A memory budget


def test_a_full_budget_makes_calls_wait(tmp_path):
    """`mirai()` waits until there is room, `try_mirai()` does not."""
    with daemons(1, memory="1MB"):
        mirai(tasks.begin_and_wait, tmp_path / "begun", tmp_path / "go")
        queued = [mirai(len, bytes(600_000)) for _ in range(2)]
        submitted = []
        thread = threading.Thread(target=lambda: submitted.append(mirai(len, bytes(10))))

        assert try_mirai(len, b"") is None
        thread.start()
        thread.join(0.1)
        assert thread.is_alive()
        (tmp_path / "go").touch()
        thread.join(DEADLINE)

        assert [m.result(DEADLINE) for m in (*queued, *submitted)] == [600_000, 600_000, 10]
        assert try_mirai(len, b"").result(DEADLINE) == 0
        assert status().memory.peak > 1_000_000
        assert status().memory.current == 0


def test_a_reset_releases_who_waits_for_room(tmp_path):
    """Nobody else would."""
    daemons(1, memory=1000)
    mirai(tasks.begin, tmp_path / "begun")
    mirai(len, bytes(2000))
    outcome = []

    def submit():
        try:
            mirai(len, b"")
        except RuntimeError as error:
            outcome.append(str(error))

    thread = threading.Thread(target=submit)
    thread.start()
    thread.join(0.05)
    daemons(0)
    thread.join(DEADLINE)

    assert len(outcome) == 1
    assert "reset" in outcome[0]


# Without daemons


def test_without_daemons_a_task_has_a_process_to_itself(left):
    """It leaves when the result is in."""
    first, second = mirai(tasks.pid), mirai(tasks.pid)

    pids = {first.result(DEADLINE), second.result(DEADLINE)}

    assert len(pids) == 2
    left()


def test_without_daemons_tasks_fail_as_ever():
    """With their own exception, or their daemon's end."""
    raised, lost = mirai("1 / 0"), mirai("import os; os._exit(7)")

    assert isinstance(raised.exception(DEADLINE), ZeroDivisionError)
    assert "exited with status 7" in str(lost.exception(DEADLINE))


def test_without_daemons_a_process_that_cannot_start_is_an_error(tmp_path, monkeypatch):
    """It says why, with the process's own words."""
    (tmp_path / "sitecustomize.py").write_text("import os\nos.write(2, b'no licence found')\nos._exit(5)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    error = mirai("1").exception(DEADLINE)

    assert isinstance(error, ConnectionReset)
    assert "exited with status 5" in str(error)
    assert "no licence found" in str(error)


@pytest.mark.parametrize("moment", ["at once", "once it runs"])
def test_without_daemons_a_task_can_be_cancelled(moment, tmp_path, left):
    """Its process leaves then."""
    m = mirai(tasks.begin, tmp_path / "begun")
    if moment == "once it runs":
        wait_until((tmp_path / "begun").exists, "the task to begin")

    assert m.cancel()

    assert isinstance(m.data, Canceled)
    left()


def test_without_daemons_a_task_can_time_out_before_it_begins(tmp_path, left):
    """The time counts from the submission; its process leaves all the same."""
    assert isinstance(mirai(tasks.begin, tmp_path / "begun", _timeout=0).exception(DEADLINE), TimedOut)

    left()


def test_without_daemons_there_is_no_everywhere():
    """There is no daemon to set up; the error says how to get one."""
    with pytest.raises(NoDaemonsError, match=r"daemons\(n\)"):
        everywhere("1")


# A mirai as an argument


def test_a_mirai_as_an_argument_is_its_value(shared, tmp_path):
    """It is waited for without blocking the caller."""
    first = mirai(tasks.begin_and_wait, tmp_path / "begun", tmp_path / "go")

    both = mirai(lambda a, b, c: (a, b, c), first, mirai("2"), c=mirai("x", x=first))
    assert not both.done()
    (tmp_path / "go").touch()

    assert both.result(DEADLINE) == ("released", 2, "released")


def test_a_failed_mirai_as_an_argument_is_the_tasks_failure(shared):
    """The task is not run, and fails with the same error."""
    first = mirai("1 / 0")

    m = mirai(fails_if_called, first, mirai("1"))

    assert isinstance(m.exception(DEADLINE), ZeroDivisionError)
    assert m.data is first.data


def test_a_task_that_waits_for_its_arguments_can_be_cancelled(shared, tmp_path):
    """What it waits for goes on."""
    first = mirai(tasks.begin_and_wait, tmp_path / "begun", tmp_path / "go")
    m = mirai(fails_if_called, first)

    assert m.cancel()

    assert isinstance(m.data, Canceled)
    (tmp_path / "go").touch()
    assert first.result(DEADLINE) == "released"


def test_a_reset_resolves_what_still_waits_for_its_arguments(shared, tmp_path):
    """Its profile is gone now, not only when the arguments, of another profile, are there."""
    first = mirai(tasks.begin_and_wait, tmp_path / "begun", tmp_path / "go")
    with daemons(1, compute="other"):
        m = mirai(fails_if_called, first)

    try:
        assert isinstance(m.data, ConnectionReset)
    finally:
        (tmp_path / "go").touch()


# everywhere


def test_everywhere_runs_once_on_each_daemon(two):
    """Also on those that are busy or never had a task."""
    pids = everywhere(tasks.pid).collect()

    assert sorted(pids) == sorted(row.pid for row in status().daemons)


def test_what_everywhere_leaves_behind_stays(two):
    """It is there to set daemons up, whatever is cleaned up after a task."""
    everywhere("import os\nx = y + 1\ndef f(): return x", y=1).collect()
    everywhere("import os; os.environ['SETTING'] = 'on'").collect()

    for _ in range(2):
        assert mirai_map(range(4), lambda _: __import__("os").environ["SETTING"]).collect() == ["on"] * 4
        assert [mirai("f()").result(DEADLINE) for _ in range(4)] == [2] * 4


def test_later_tasks_start_after_everywhere(two, tmp_path):
    """They may rely on what it sets up: not one begins while it still runs anywhere."""
    busy = mirai(tasks.begin_and_wait, tmp_path / "begun", tmp_path / "go")
    copies = everywhere("import time; time.sleep(0.05); time.monotonic()")
    later = [mirai(time.monotonic) for _ in range(50)]

    wait_until((tmp_path / "begun").exists, "the first task to begin")
    assert not any(m.done() for m in later)
    (tmp_path / "go").touch()

    assert min(m.result(DEADLINE) for m in later) > max(copies.collect())
    assert busy.result() == "released"


def test_earlier_tasks_start_before_everywhere(two):
    """They must not find what was set up after them."""
    earlier = [mirai("import time; time.sleep(0.001); 'x' in globals()") for _ in range(40)]
    everywhere("x = 1")
    later = [mirai("'x' in globals()") for _ in range(10)]

    assert [m.result(DEADLINE) for m in earlier] == [False] * 40
    assert [m.result(DEADLINE) for m in later] == [True] * 10


def test_a_daemon_that_comes_late_runs_everything_first(one):
    """All of it, in order, before its first task."""
    everywhere("steps = ['first']").collect()
    everywhere("steps.append('second')").collect()

    launch_local(2)
    wait_until(lambda: info().connections == 3, "the daemons to connect")

    found = mirai_map(range(30), lambda _: __import__("time").sleep(0.005) or __import__("__main__").steps).collect()
    assert found == [["first", "second"]] * 30
    assert [row.completed >= 2 for row in status().daemons] == [True] * 3


def test_everywhere_waits_for_daemons(one):
    """At least `_min`, and later tasks wait with it."""
    copies = everywhere(tasks.pid, _min=2)
    later = mirai("1")

    assert not later.done()
    launch_local(1)

    assert len(set(copies.collect())) == 2
    assert later.result(DEADLINE) == 1


def test_everywhere_fails_where_it_fails(two):
    """Its mirais say which; the daemons serve on."""
    errors = everywhere("1 / 0").collect()

    assert [type(error.original) for error in errors] == [ZeroDivisionError] * 2
    assert mirai("1").result(DEADLINE) == 1


@pytest.mark.parametrize("minimum", [0, -1, 1.5, True, "2"], ids=repr)
def test_the_minimum_for_everywhere_is_a_number_of_daemons(shared, minimum):
    """The error names the argument."""
    with pytest.raises((TypeError, ValueError), match="_min"):
        everywhere("1", _min=minimum)


def test_a_daemon_lost_in_everywhere_holds_up_nobody(two):
    """Its copy is lost with it; what waits behind goes on."""
    copies = everywhere("import os; os._exit(1) if os.getpid() == victim else 1", victim=status().daemons[0].pid)
    later = mirai("2")

    assert later.result(DEADLINE) == 2
    values = copies.collect()
    assert isinstance(values[0], ConnectionReset)
    assert values[1] == 1


def test_cancelling_everywhere_holds_up_nobody(two):
    """What waits behind it goes on."""
    copies = everywhere("import time; time.sleep(300)")
    later = mirai("2")

    copies.cancel()

    assert later.result(DEADLINE) == 2


# Functions of __main__


def test_functions_of_a_script_work_as_in_the_script(run_host):
    """Most programs are scripts, and all that is in them belongs to `__main__`."""
    output = run_host("""
        from dataclasses import dataclass
        from enum import Enum

        SCALE = 10

        @dataclass
        class Point:
            x: int
            y: int = 0

            def moved(self):
                return Point(self.x + SCALE, self.y)

            @classmethod
            def origin(cls):
                return cls(0)

        class Child(Point):
            def moved(self):
                return super().moved()

        class Colour(Enum):
            RED = 1

        def fact(n):
            return 1 if n < 2 else n * fact(n - 1)

        def even(n):
            return n == 0 or odd(n - 1)

        def odd(n):
            return n != 0 and even(n - 1)

        def scaled(x):
            return x * SCALE

        def make(n):
            return [Point(i) for i in range(n)]

        def adder(n):
            return lambda x: x + n + SCALE

        class Trouble(Exception):
            def __init__(self, code):
                super().__init__(code)
                self.code = code

        def fail():
            raise Trouble(3)

        with daemons(2):
            print(mirai(fact, 10).result(), mirai(even, 11).result(), mirai(odd, 7).result())
            print(mirai(scaled, 2).result())
            SCALE = 100
            print(mirai(scaled, 2).result(), mirai_map([1, 2], scaled).collect())
            moved = mirai(Point(1).moved).result()
            print(moved, type(moved) is Point, isinstance(mirai(Child(1).moved).result(), Point))
            print(mirai(make, 2).result() == make(2), mirai(Point.origin).result() == Point(0))
            print(mirai(lambda: Colour.RED).result() is Colour.RED)
            print(mirai(adder(1), 2).result(), mirai(adder, 5).result()(1))
            print(mirai(lambda p: isinstance(p, Point), Point(1)).result())
            print(mirai("isinstance(p, cls)", p=Point(1), cls=Point).result())
            try:
                mirai(fail).result()
            except Trouble as error:
                print(type(error) is Trouble, error.code)
    """)

    assert output.splitlines() == [
        "3628800 False True",
        "20",
        "200 [100, 200]",
        "Point(x=101, y=0) True True",
        "True True",
        "True",
        "103 106",
        "True",
        "True",
        "True 3",
    ]


def test_a_result_does_not_change_the_hosts_main(run_host):
    """A function that comes back refers to the host's names, and must not overwrite them."""
    output = run_host("""
        N = 1

        def f():
            return N

        with daemons(1):
            everywhere("N = 5").collect()
            back = mirai("f", f=f).result()
            g = mirai(lambda: f).result()
            N = 2
            mirai(lambda: f).result()
            print(N, f())
    """)

    assert output == "2 2"


def test_functions_of_main_find_what_everywhere_left(run_host):
    """And `global` means the daemon's `__main__`, where what an `everywhere` assigns persists."""
    output = run_host("""
        def set_up(n):
            global table
            table = {"n": n}

        def look():
            return table["n"]

        def count():
            global counter
            counter += 1
            return counter

        with daemons(1):
            everywhere(set_up, 3).collect()
            print(mirai(look).result(), "table" in globals())
            everywhere("counter = 0").collect()
            print(mirai(count).result(), mirai(count).result(), everywhere(count).collect(), mirai(count).result())
    """)

    assert output.splitlines() == ["3 False", "1 1 [1] 2"]


def test_a_global_that_is_changed_is_the_new_one(run_host):
    """In tasks and in maps, whether it is a number, a list or a function."""
    output = run_host("""
        factor, seen = 1, []

        def inner(x):
            return x * factor

        def outer(x):
            return inner(x), list(seen)

        with daemons(1):
            print(mirai(outer, 1).result())
            factor = 2
            seen.append("a")
            print(mirai(outer, 1).result(), mirai_map([1], outer).collect())
            def inner(x):
                return "new"
            print(mirai(outer, 1).result(), mirai_map([1], outer).collect())
    """)

    assert output.splitlines() == ["(1, [])", "(2, ['a']) [(2, ['a'])]", "('new', ['a']) [('new', ['a'])]"]


def test_a_mirai_within_a_list_is_refused_with_the_way_to_do_it(shared):
    """Only arguments themselves are waited for: looking into everything would take longer than most tasks."""
    with pytest.raises(SerializationError, match="argument 0 .*as an argument of mirai.. by itself"):
        mirai(sum, [mirai("1"), mirai("2")])
