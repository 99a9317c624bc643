"""A mirai is a future: to be waited for, awaited, cancelled, and asked what became of it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import os
import pickle
import signal
import subprocess
import threading
import time
import traceback
import weakref
from pathlib import Path

import pytest

from mirai import (
    UNRESOLVED,
    Canceled,
    Closed,
    ConnectionReset,
    ErrorValue,
    Mirai,
    MiraiError,
    MiraiInterrupt,
    TimedOut,
    call_mirai,
    info,
    is_mirai_error,
    is_mirai_interrupt,
    mirai,
    mirai_map,
    status,
)
from tests.core import tasks
from tests.core.tasks import Picky, Unpicklable, Unprintable
from tests.waiting import wait_until

DEADLINE = 20  # seconds; what takes longer hangs
PROMPT = 10  # seconds; a daemon that takes longer to be free is busy with something it should not do


@pytest.fixture
def running(tmp_path):
    """Submits a task that goes on for ever, and waits until it runs."""

    def start(task=tasks.begin, *args, **options) -> Mirai:
        begun = tmp_path / f"begun{len(list(tmp_path.iterdir()))}"
        m = mirai(task, begun, *args, **options)
        wait_until(begun.exists, "the task to begin")
        return m

    return start


# Reading


def test_a_mirai_that_is_not_here_yet(one, running):
    """Nothing that can be asked of it waits or raises."""
    m = running()

    assert isinstance(m, concurrent.futures.Future)
    assert m.data is UNRESOLVED
    assert not UNRESOLVED
    assert (m.done(), m.running(), m.cancelled()) == (False, True, False)
    assert repr(m) == f"< mirai [] > id {m.id}, profile 'default', running"


def test_a_mirai_that_waits_for_a_daemon(one, running):
    """It is pending, not running."""
    running()

    m = mirai("1")

    assert (m.done(), m.running()) == (False, False)
    assert repr(m).endswith("pending")


def test_a_mirai_that_is_resolved(shared):
    """Its value, as often as it is asked for: the same object."""
    m = mirai(list, "abc")

    value = m.result(DEADLINE)

    assert value == ["a", "b", "c"]
    assert m.data is value
    assert m.result() is value
    assert m.exception() is None
    assert (m.done(), m.running(), m.cancelled()) == (True, False, False)
    assert repr(m) == f"< mirai [$data] > id {m.id}, profile 'shared', resolved"


def test_ids_increase(shared):
    """So that mirais can be told apart, and put in order."""
    ids = [m.id for m in (mirai("1"), *mirai_map("ab", str), mirai("2"))]

    assert ids == sorted(set(ids))


def test_a_value_of_none_is_a_value(shared):
    """Whether it is here must be asked with `done()`."""
    m = call_mirai(mirai("None"))

    assert m.data is None
    assert m.done()


def test_what_is_unresolved_is_one_object_everywhere():
    """It can be compared with `is`, also where it was pickled."""
    assert pickle.loads(pickle.dumps(UNRESOLVED)) is UNRESOLVED
    assert repr(UNRESOLVED) == "< unresolved >"


@pytest.mark.parametrize("method", ["result", "exception"])
def test_a_wait_may_be_given_up(one, running, tmp_path, method):
    """The task goes on, and can be waited for again."""
    m = running(tasks.begin_and_wait, tmp_path / "go")

    with pytest.raises(TimeoutError, match="its task goes on"):
        getattr(m, method)(timeout=0.02)
    with pytest.raises(TimeoutError):
        getattr(m, method)(0)

    assert m.running()
    (tmp_path / "go").touch()
    assert m.result(DEADLINE) == "released"


def test_a_wait_may_be_as_long_as_you_like(one):
    """Whatever number of seconds a lock, or a poll, can be given."""
    for timeout in (1e6, 1e7, 1e10, float("inf")):
        assert mirai("import time; time.sleep(0.02); 1").result(timeout) == 1


def test_who_drops_a_mirai_does_not_cancel_it(one, tmp_path):
    """As with any future: it was sent for its effects."""
    m = mirai(Path.touch, tmp_path / "effect")
    del m
    gc.collect()

    wait_until((tmp_path / "effect").exists, "the task to be run")


def test_a_resolved_mirai_that_is_dropped_is_freed(shared):
    """With its value: a host runs for months."""
    m = mirai(tasks.double, 1)
    m.result(DEADLINE)
    gone = weakref.ref(m)

    del m
    gc.collect()

    assert gone() is None


def test_a_resolved_mirai_is_one_object_and_its_value():
    """The garbage collector looks at all that live, again and again: that took an eighth of a short task's time."""

    class Fresh(Mirai):
        """Shares the names of its attributes with none that was made before."""

    many = [Fresh("default", None, "a task") for _ in range(100)]
    bodies = [pickle.dumps(i) for i in range(100)]

    for m, body in zip(many, bodies, strict=True):
        m.settle(0, 0, body)

    for kept in ("as it came", "deserialized"):
        tracked = {id(x): x for m in many for x in gc.get_referents(m) if gc.is_tracked(x)}
        assert len(tracked) < 3, kept  # their class, and what stands for all that were deserialized
        assert [m.result() for m in many] == list(range(100))


def test_nobody_but_its_daemon_resolves_it(shared):
    """What an executor calls on its futures is not for a mirai."""
    m = mirai("1")

    for call in (lambda: m.set_result(2), lambda: m.set_exception(OSError()), m.set_running_or_notify_cancel):
        with pytest.raises(RuntimeError, match="resolved by its daemon"):
            call()
    assert m.result(DEADLINE) == 1


# Errors


def fail():
    value = 0
    return 1 / value


def call_what_fails():
    return fail()


def test_the_tasks_own_exception_is_raised(shared):
    """With the traceback of the daemon in its chain, and nothing of ours in that."""
    m = mirai(call_what_fails)

    with pytest.raises(ZeroDivisionError) as caught:
        m.result(DEADLINE)

    printed = "".join(traceback.format_exception(caught.value))
    remote = str(caught.value.__cause__)
    assert remote in printed
    assert "in call_what_fails\n    return fail()" in remote
    assert "in fail\n    return 1 / value" in remote
    assert "mirai/runtime" not in remote
    assert m.exception() is caught.value


def test_the_value_of_a_task_that_raised_describes_it(shared):
    """`data` holds what a program, or a person, needs to know."""
    m = call_mirai(mirai(call_what_fails))

    error = m.data

    assert isinstance(error, MiraiError)
    assert is_mirai_error(error)
    assert error.message == str(error) == "ZeroDivisionError: division by zero"
    assert error.condition_class == ("ZeroDivisionError", "ArithmeticError", "Exception", "BaseException")
    assert [frame.name for frame in error.stack_trace] == ["call_what_fails", "fail"]
    assert error.original is m.exception()
    assert error.code is None


def test_what_an_exception_carries_comes_along(shared):
    """Arguments, attributes, notes, and the members of a group."""

    def raise_it():
        error = KeyError("here", 3)
        error.detail = {"a": 1}
        error.add_note("while testing")
        raise ExceptionGroup("several", [error, ValueError(2)])

    error = mirai(raise_it).exception(DEADLINE)

    assert isinstance(error, ExceptionGroup)
    key, value = error.exceptions
    assert (key.args, key.detail, key.__notes__, value.args) == (("here", 3), {"a": 1}, ["while testing"], (2,))
    assert "while testing" in str(error.__cause__)


def exit_with_what_cannot_be_printed():
    class Odd:
        def __repr__(self):
            raise ValueError

    raise SystemExit(Odd())


def raise_what_exits_when_printed():
    class Odd(Exception):
        def __str__(self):
            raise SystemExit(3)

    raise Odd


def raise_what_exits_when_loaded():
    class Odd(Exception):
        def __reduce__(self):
            return exit, (3,)

    raise Odd("odd")


def recurse():
    return recurse()


def raise_(error):
    raise error


@pytest.mark.parametrize(
    ("task", "kind", "message"),
    [
        ("raise Picky(1, 2)", MiraiError, r"Picky: 1 and 2 \(raised as a MiraiError, since "),
        ("raise Unprintable", Unprintable, "Unprintable: .*__str__ raised ValueError"),
        (recurse, RecursionError, "recursion"),
        ("import sys; sys.exit()", MiraiError, r"sys\.exit\(None\)"),
        ("import sys; sys.exit('enough')", MiraiError, r"sys\.exit\('enough'\)"),
        ("raise SystemExit(2)", MiraiError, r"sys\.exit\(2\)"),
        ("raise BaseException('base')", MiraiError, r"BaseException: base \(.*since it is no Exception\)"),
        ("raise GeneratorExit", MiraiError, "GeneratorExit"),
        ("import asyncio; raise asyncio.CancelledError", MiraiError, "CancelledError"),
        ("raise BaseExceptionGroup('both', [KeyboardInterrupt(), ValueError()])", MiraiError, "both"),
        ("class Local(Exception): pass\nraise Local('mine')", Exception, "mine"),
        ("import threading; threading.Lock()", MiraiError, "result .of type lock. cannot be serialized"),
        ("(i for i in 'ab')", MiraiError, "result .of type generator. cannot be serialized"),
        ("Unpicklable()", MiraiError, "result .of type Unpicklable. cannot be serialized.*not this one"),
        ("x = []\nfor _ in range(100_000): x = [x]\nx", MiraiError, "result .of type list. cannot be serialized"),
        (
            "error = ValueError('locked')\nimport threading\nerror.lock = threading.Lock()\nraise error",
            MiraiError,
            "locked .*since it cannot be pickled: TypeError: cannot pickle",
        ),
        (exit_with_what_cannot_be_printed, MiraiError, "sys.exit"),
        (raise_what_exits_when_printed, MiraiError, "Odd"),
        (raise_what_exits_when_loaded, MiraiError, "odd"),
    ],
)
def test_however_a_task_fails_its_error_is_clear_and_its_daemon_serves_on(one, task, kind, message):
    """None of it may cost a daemon: others' tasks wait for that."""
    names = {"Picky": Picky, "Unprintable": Unprintable, "Unpicklable": Unpicklable} if isinstance(task, str) else {}

    m = mirai(task, **names)

    error = m.exception(DEADLINE)
    assert isinstance(error, kind)
    assert isinstance(m.data, MiraiError)
    with pytest.raises(Exception, match=message):
        raise m.data
    assert mirai(tasks.double, 1).result(DEADLINE) == 2
    assert info()[:2] == (1, 1)


def test_a_sigint_to_the_daemon_is_an_interrupt(one, running):
    """Somebody else interrupted the task; its daemon serves on."""
    m = running()

    os.kill(status().daemons[0].pid, signal.SIGINT)

    error = m.exception(DEADLINE)
    assert isinstance(error, MiraiInterrupt)
    assert is_mirai_interrupt(m.data)
    assert not m.cancelled()
    assert mirai("1").result(DEADLINE) == 1


def test_a_sigint_to_an_idle_daemon_is_none(one):
    """There is nothing to interrupt."""
    mirai("1").result(DEADLINE)

    os.kill(status().daemons[0].pid, signal.SIGINT)

    assert [m.result(DEADLINE) for m in mirai_map(range(100), tasks.double)] == [2 * i for i in range(100)]


@pytest.mark.parametrize("what", ["result", "exception"])
def test_what_only_a_daemon_can_import_is_an_error_value(one, tmp_path, what):
    """`data` never raises, and says what is missing; so with an exception of such a class."""
    (tmp_path / "onlythere.py").write_text("class Thing(Exception): pass")
    text = "import sys; sys.path.insert(0, path); import onlythere\n"
    m = mirai(
        text + ("onlythere.Thing()" if what == "result" else "raise onlythere.Thing('there')"), path=str(tmp_path)
    )

    assert isinstance(m.exception(DEADLINE), MiraiError)
    assert isinstance(m.data, MiraiError)
    assert m.data is m.data
    if what == "exception":
        assert m.data.message.startswith("Thing: there (raised as a MiraiError, since it cannot be loaded here: ")
    assert "No module named 'onlythere'" in m.data.message


def test_a_value_that_exits_when_it_is_loaded_does_not_end_the_host(one):
    """Whatever a task returns, it is an error value at worst."""

    class Odd:
        def __reduce__(self):
            return exit, (3,)

    m = call_mirai(mirai(lambda: Odd()))

    assert isinstance(m.data, MiraiError)


ERRORS = [TimedOut(), Closed(), ConnectionReset(), Canceled(), MiraiInterrupt(), MiraiError("boom")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_error_survives_pickling(error):
    """It may be a task's argument, or its result."""
    again = pickle.loads(pickle.dumps(error))

    assert type(again) is type(error)
    assert (str(again), again.code, again.message, again.args) == (str(error), error.code, error.message, error.args)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_error_says_in_a_list_what_it_is(error):
    """Collected values are printed so: its class, its code and its text."""
    assert f"{[error]}" == f"[{type(error).__name__}({error})]"
    assert repr(pickle.loads(pickle.dumps(error))) == repr(error)


def test_an_error_value_can_be_sent_and_returned(shared):
    """With all that it says."""
    error = call_mirai(mirai(call_what_fails)).data

    again = mirai(lambda error: error, error).result(DEADLINE)

    assert str(again) == str(error)
    assert again.condition_class == error.condition_class
    assert [frame.name for frame in again.stack_trace] == [frame.name for frame in error.stack_trace]
    assert isinstance(again.original, ZeroDivisionError)


@pytest.mark.parametrize(
    ("error", "code", "also"),
    [
        (TimedOut, 5, TimeoutError),
        (Closed, 7, ErrorValue),
        (ConnectionReset, 19, ConnectionResetError),
        (Canceled, 20, concurrent.futures.CancelledError),
    ],
)
def test_errors_print_their_code_and_what_to_do(error, code, also):
    """And are caught as what the standard library calls them."""
    assert error.code == code
    assert str(error()).startswith(f"{code} | ")
    assert len(str(error())) > 30
    assert issubclass(error, also)
    assert issubclass(error, ErrorValue)


# Callbacks


def test_callbacks_are_called_with_the_mirai(shared):
    """Those added before it is resolved, and after; one that raises is logged, and stops nobody."""
    called = []
    m = mirai("import time; time.sleep(0.05)")
    m.add_done_callback(called.append)
    m.result(DEADLINE)
    m.add_done_callback(called.append)

    wait_until(lambda: called == [m, m], "both callbacks")


def test_a_callback_that_raises_stops_nobody(shared, caplog):
    """It is logged, as `concurrent.futures` does."""
    called = []
    m = mirai("import time; time.sleep(0.05)")
    m.add_done_callback(lambda _: 1 / 0)
    m.add_done_callback(called.append)

    wait_until(lambda: called == [m], "the second callback")
    assert "ZeroDivisionError" in caplog.text


def test_a_callback_that_exits_stops_nobody(run_host):
    """It may run in the I/O thread, without which nobody hears of anything."""
    output = run_host("""
        import concurrent.futures, logging, sys, time

        logging.disable()
        with daemons(1):
            m = mirai("import time; time.sleep(0.05)")
            m.add_done_callback(lambda _: sys.exit(3))
            while not m.done():
                time.sleep(0.001)
            later = mirai("import time; time.sleep(0.05); 1")
            print(len(concurrent.futures.wait([later], timeout=5).done))
    """)

    assert output == "1"


def test_a_callback_may_submit(shared):
    """A chain of tasks, each begun by the end of the one before."""
    values = []
    done = threading.Event()

    def next_one(m):
        values.append(m.data)
        if len(values) < 50:
            mirai(tasks.double, 1, _compute="shared").add_done_callback(next_one)
        else:
            done.set()

    mirai(tasks.double, 1).add_done_callback(next_one)

    assert done.wait(DEADLINE)
    assert values == [2] * 50


@pytest.mark.parametrize("waiting", ["in a wait", "elsewhere"])
def test_a_callback_may_wait(two, waiting):
    """Also where the thread that calls it is the one that drives the sockets."""
    values = []
    m = mirai("import time; time.sleep(0.1)")
    m.add_done_callback(lambda _: values.append(mirai("import time; time.sleep(0.05); 2").result(PROMPT)))

    if waiting == "in a wait":
        m.result(DEADLINE)

    wait_until(lambda: values == [2], "the callback to have its value", timeout=PROMPT + 2)


@pytest.mark.parametrize("what", ["daemons(0)", "daemons(2)", "daemons(1, compute='other')"])
def test_a_callback_may_set_and_reset_daemons(start_host, what):
    """They connect, though the thread that calls it may be the one that drives the sockets."""
    host = start_host(f"""
        import threading

        daemons(1)
        done = threading.Event()
        m = mirai("import time; time.sleep(0.05)")
        m.add_done_callback(lambda _: ({what}, done.set()))
        m.result()
        print(done.wait(5), flush=True)
    """)

    assert host.line() == "True"
    assert host.end() == (0, "", "")


# Cancelling


def test_a_queued_task_that_is_cancelled_is_never_begun(one, running, tmp_path):
    """It resolves at once."""
    first = running(tasks.begin_and_wait, tmp_path / "go")
    queued = [mirai(Path.touch, tmp_path / f"effect{i}") for i in range(20)]

    assert [m.cancel() for m in queued[::2]] == [True] * 10

    assert all(m.cancelled() and isinstance(m.data, Canceled) for m in queued[::2])
    (tmp_path / "go").touch()
    assert first.result(DEADLINE) == "released"
    assert mirai("1").result(DEADLINE) == 1
    assert [(tmp_path / f"effect{i}").exists() for i in range(20)] == [False, True] * 10


def test_a_running_task_that_is_cancelled_is_interrupted(one, running):
    """It resolves at once, and its daemon serves on."""
    m = running()

    assert m.cancel()

    assert m.done()
    assert m.cancelled()
    assert m.data.code == 20
    with pytest.raises(Canceled):
        m.result()
    with pytest.raises(concurrent.futures.CancelledError):
        m.exception()
    assert mirai(tasks.double, 1).result(PROMPT) == 2
    assert info()[:2] == (1, 1)


def test_only_the_first_cancel_counts(shared):
    """What is resolved, cancelled or not, stays as it is."""
    resolved, cancelled = call_mirai(mirai("1")), mirai("import time; time.sleep(60)")

    assert cancelled.cancel()

    assert not cancelled.cancel()
    assert not resolved.cancel()
    assert resolved.result() == 1


def in_subprocess(begun):
    process = subprocess.Popen(["sleep", "300"])
    try:
        begun.touch()
        process.wait()
    finally:
        process.kill()
        process.wait()


def in_asyncio(begun):
    async def main():
        begun.touch()
        await asyncio.sleep(300)

    asyncio.run(main())


def in_a_busy_asyncio(begun):
    async def main():
        begun.touch()
        while True:
            await asyncio.sleep(0)

    asyncio.run(main())


def in_a_callback_of_asyncio(begun):
    def block():
        begun.touch()
        time.sleep(300)

    loop = asyncio.new_event_loop()
    loop.call_soon(block)
    try:
        loop.run_forever()
    finally:
        loop.close()


def in_a_task_of_asyncio(begun):
    async def block():
        begun.touch()
        time.sleep(300)

    async def main():
        task = asyncio.create_task(block())
        await asyncio.sleep(300)
        await task

    asyncio.run(main())


def in_a_finalizer(begun):
    class Blocks:
        def __del__(self):
            begun.touch()
            time.sleep(300)

    Blocks()
    time.sleep(300)


def in_a_lock(begun):
    lock = threading.Lock()
    lock.acquire()
    begun.touch()
    lock.acquire()


def in_a_loop(begun):
    begun.touch()
    while True:
        pass


def in_a_thread(begun):
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    begun.touch()
    try:
        thread.join()
    finally:
        stop.set()


def in_a_callback_of_c(begun):
    begun.touch()
    sorted(range(10**5), key=lambda x: time.sleep(0.01))


def in_except_exception(begun):
    begun.touch()
    while True:
        try:
            time.sleep(0.01)
        except Exception:
            pass


def in_a_mirai(begun):
    m = mirai("import time; time.sleep(300)")
    begun.touch()
    m.result()


@pytest.mark.parametrize(
    "task",
    [
        in_subprocess,
        in_asyncio,
        in_a_busy_asyncio,
        in_a_callback_of_asyncio,
        in_a_task_of_asyncio,
        in_a_finalizer,
        in_a_lock,
        in_a_loop,
        in_a_thread,
        in_a_callback_of_c,
        in_except_exception,
        in_a_mirai,
    ],
)
def test_a_task_is_interrupted_wherever_it_is(one, running, task):
    """Blocked in the system, in a library, or busy."""
    m = running(task)

    m.cancel()

    assert mirai(tasks.double, 1).result(PROMPT) == 2
    assert info()[:2] == (1, 1)


def test_a_task_that_ignores_the_interrupt_keeps_its_daemon_busy(two, running, tmp_path):
    """`status()` says so; what becomes of it interests nobody any more."""
    m = running(tasks.ignore_interrupts, tmp_path / "go")

    m.cancel()
    wait_until((tmp_path / "interrupted").exists, "the interrupt")

    assert [row.task for row in status().daemons if row.task] == [m.id]
    assert status().mirai.executing == 1
    assert mirai_map(range(20), tasks.double).collect() == [2 * i for i in range(20)]
    (tmp_path / "go").touch()
    wait_until(lambda: status().mirai.executing == 0, "the daemon to be free again")
    assert isinstance(m.data, Canceled)


def test_clean_up_of_a_cancelled_task_is_done(one, running, tmp_path):
    """`finally` and `with` work as for any exception."""

    def careful(begun, cleaned):
        try:
            tasks.begin(begun)
        finally:
            cleaned.touch()

    running(careful, tmp_path / "cleaned").cancel()

    wait_until((tmp_path / "cleaned").exists, "the task's own clean-up")


# stack()


def test_the_stack_of_a_running_task_can_be_seen(one, running):
    """Where it is now, without stopping it."""

    def outer(begun):
        tasks.begin(begun)

    m = running(outer)

    stack = wait_until(
        lambda: stack if "in begin\n    time.sleep(300)" in (stack := m.stack()) else "",
        lambda: f"the task to be where it stays:\n{m.stack()}",
    )
    assert "in outer" in stack
    assert "mirai/runtime" not in stack
    assert m.running()


def test_the_stack_of_a_task_that_waits_for_its_own_task(one, running):
    """It ends where the task does so: how that is done is not of interest."""
    m = running(in_a_mirai)

    stack = wait_until(
        lambda: stack if "m.result()" in (stack := m.stack()) else "",
        lambda: f"the task to wait:\n{m.stack()}",
    )
    assert "in in_a_mirai" in stack
    assert "mirai/runtime" not in stack


def test_there_is_no_stack_of_what_does_not_run(one, running):
    """Neither before nor after."""
    running()
    queued = mirai("1")

    assert queued.stack() == ""
    assert (queued.cancel(), queued.stack()) == (True, "")


# As a future of the standard library


def test_the_standard_librarys_wait(two, running, tmp_path):
    """`concurrent.futures.wait`, with each of its conditions, and other futures among the mirais."""
    slow = running(tasks.begin_and_wait, tmp_path / "go")
    quick, failing = mirai("1"), mirai("1 / 0")
    other: concurrent.futures.Future = concurrent.futures.Future()

    done, missing = concurrent.futures.wait([slow, quick], DEADLINE, concurrent.futures.FIRST_COMPLETED)
    assert (done, missing) == ({quick}, {slow})
    concurrent.futures.wait([failing], DEADLINE)
    done, missing = concurrent.futures.wait([slow, failing, other], DEADLINE, concurrent.futures.FIRST_EXCEPTION)
    assert (done, missing) == ({failing}, {slow, other})
    assert concurrent.futures.wait([slow], timeout=0.01).not_done == {slow}
    (tmp_path / "go").touch()
    other.set_result(1)
    assert concurrent.futures.wait([slow, quick, failing, other], DEADLINE).not_done == set()


@pytest.mark.parametrize(
    "text", ["import time; time.sleep(0.1); 1 / 0", "import os, time; time.sleep(0.1); os._exit(1)"]
)
def test_the_standard_librarys_wait_ends_with_the_first_exception(two, running, text):
    """It hears of an error as such when that arrives, not only that something did."""
    slow = running()
    begun = time.monotonic()
    failing = mirai(text)

    done, missing = concurrent.futures.wait([slow, failing], PROMPT, concurrent.futures.FIRST_EXCEPTION)

    assert (done, missing) == ({failing}, {slow})
    assert time.monotonic() - begun < PROMPT


def test_the_standard_librarys_wait_sees_a_cancelled_one(one, running):
    """It is done."""
    m = running()
    threading.Timer(0.05, m.cancel).start()

    assert concurrent.futures.wait([m], DEADLINE).done == {m}


def test_the_standard_librarys_as_completed(two, running, tmp_path):
    """In the order in which they are resolved."""
    slow = running(tasks.begin_and_wait, tmp_path / "go")
    quick = mirai("1")
    order = []

    for m in concurrent.futures.as_completed([slow, quick], DEADLINE):
        order.append(m)
        (tmp_path / "go").touch()

    assert order == [quick, slow]


# asyncio


def test_a_mirai_can_be_awaited(shared):
    """Its value, or its exception."""

    async def main():
        assert await mirai(tasks.double, 2) == 4
        done = call_mirai(mirai(tasks.double, 3))
        assert await done == 6
        with pytest.raises(ZeroDivisionError):
            await mirai("1 / 0")
        return await asyncio.gather(*(mirai(tasks.double, i) for i in range(200)))

    assert asyncio.run(main()) == [2 * i for i in range(200)]


def test_the_loop_goes_on_while_a_mirai_is_awaited(shared, tmp_path):
    """Nothing blocks."""

    async def main():
        m = mirai(tasks.begin_and_wait, tmp_path / "begun", tmp_path / "go")

        async def release():
            while not (tmp_path / "begun").exists():
                await asyncio.sleep(0.005)
            (tmp_path / "go").touch()

        return (await asyncio.gather(m, release()))[0]

    assert asyncio.run(main()) == "released"


def test_a_mirai_can_be_awaited_by_several(shared):
    """And at any time."""

    async def wait(m):
        return await m

    async def main():
        m = mirai("import time; time.sleep(0.05); 3")
        return await asyncio.gather(wait(m), wait(m), m)

    assert asyncio.run(main()) == [3, 3, 3]


async def started(path):
    while not path.exists():
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("how", ["cancel", "wait_for", "timeout", "wrap_future"])
def test_a_mirai_whose_awaiting_task_is_cancelled_is_cancelled_too(one, tmp_path, how):
    """On its daemon as well: nobody wants the value."""
    begun = tmp_path / "begun"

    async def main():
        m = mirai(tasks.begin, begun)

        async def wait():
            return await (asyncio.wrap_future(m) if how == "wrap_future" else m)

        if how == "wait_for":
            await started(begun)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(wait(), 0.02)
        elif how == "timeout":
            await started(begun)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await m
        else:
            task = asyncio.create_task(wait())
            await started(begun)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        return m

    m = asyncio.run(main())

    assert m.cancelled()
    assert mirai("1").result(PROMPT) == 1


def test_a_task_group_cancels_the_others_mirais(two, tmp_path):
    """Structured concurrency reaches to the daemons."""

    async def wait(m):
        return await m

    async def main():
        slow = mirai(tasks.begin, tmp_path / "begun")
        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(wait(slow))
                group.create_task(wait(mirai("1 / 0")))
        return slow

    assert asyncio.run(main()).cancelled()
    assert mirai_map("ab", str).collect() == ["a", "b"]


def test_shield_keeps_a_mirai_from_being_cancelled(one, tmp_path):
    """As it does with any awaitable."""

    async def wait(m):
        return await m

    async def main():
        m = mirai(tasks.begin_and_wait, tmp_path / "begun", tmp_path / "go")
        inner = asyncio.ensure_future(wait(m))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(inner), 0.02)
        assert not m.done()
        (tmp_path / "go").touch()
        return await inner

    assert asyncio.run(main()) == "released"


def test_a_mirai_that_is_cancelled_is_not_the_awaiting_task_that_is(one, tmp_path):
    """`await` raises `Canceled` then, and the awaiting task may go on."""

    async def main():
        m = mirai(tasks.begin, tmp_path / "begun")
        asyncio.get_running_loop().call_later(0.02, m.cancel)
        with pytest.raises(Canceled) as caught:
            await m
        assert not isinstance(caught.value, asyncio.CancelledError)
        return "went on"

    assert asyncio.run(main()) == "went on"


def test_a_mirai_can_be_wrapped(shared):
    """For what takes only futures of asyncio."""

    async def main():
        with pytest.raises(ZeroDivisionError):
            await asyncio.wrap_future(mirai("1 / 0"))
        return await asyncio.wrap_future(mirai(tasks.double, 2))

    assert asyncio.run(main()) == 4


def test_a_loop_that_ends_first_is_no_harm(shared, tmp_path, caplog):
    """A mirai that was awaited there resolves all the same."""

    async def main():
        m = mirai(tasks.begin_and_wait, tmp_path / "begun", tmp_path / "go")
        asyncio.shield(asyncio.wrap_future(m))
        return m

    m = asyncio.run(main())
    (tmp_path / "go").touch()

    assert isinstance(m, Mirai)
    call_mirai(m)
    assert m.done()
