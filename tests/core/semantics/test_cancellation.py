"""Cancel and time-out are one mechanism: it ends the task that is meant, at once for who waits, and no other one."""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import contextlib
import os
import random
import time
import types
from pathlib import Path

import pytest

from mirai import (
    Canceled,
    MiraiError,
    MiraiMap,
    TimedOut,
    call_mirai,
    collect_mirai,
    daemons,
    info,
    mirai,
    mirai_map,
    race_mirai,
    status,
    stop_mirai,
)
from tests.core import tasks
from tests.waiting import wait_until

DEADLINE = 30  # seconds; what takes longer hangs


def begun(path: Path):
    wait_until(path.exists, "the task to begin")


@pytest.fixture(params=[True, False], ids=["dispatcher", "direct"])
def daemons_of_each_kind(request):
    with daemons(2, dispatcher=request.param):
        yield {row.pid for row in status().daemons}


def test_a_storm_of_cancellations_and_of_tasks_that_end_by_themselves(daemons_of_each_kind):
    """A late interrupt that hit the next task, or the daemon itself, would be seen among these twenty thousand."""
    chance = random.Random(1)
    outcomes: collections.Counter[str] = collections.Counter()

    for start in range(0, 20_000, 50):
        batch = [(i, mirai(tasks.spin, i, chance.random() * 1e-4)) for i in range(start, start + 50)]
        for _, m in chance.sample(batch, 25):
            m.cancel()
        for i, m in batch:
            value = call_mirai(m).data
            outcomes["value" if value == i else type(value).__name__] += 1

    assert outcomes.keys() == {"value", "Canceled"}
    assert outcomes["value"] >= 10_000
    assert {row.pid for row in status().daemons if row.online} == daemons_of_each_kind
    wait_until(lambda: info().completed == 20_000, lambda: f"every task to be counted once: {info()}")


def test_a_storm_of_cancellations_at_the_end_of_tasks(daemons_of_each_kind):
    """Each at about the time at which the task ends; the task behind it must not notice."""
    chance = random.Random(2)

    for i in range(2000):
        m = mirai(tasks.spin, i, 1e-4)
        tasks.spin(None, chance.random() * 6e-4)
        behind = mirai(tasks.spin, i, 0)
        m.cancel()
        assert behind.result(DEADLINE) == i
        assert isinstance(m.data, (Canceled, int))

    assert {row.pid for row in status().daemons if row.online} == daemons_of_each_kind


def test_a_storm_of_failing_maps_that_are_stopped(one):
    """Each is stopped while its other tasks fail of themselves: the daemon must survive every one."""

    def fails(x):
        raise ValueError(x)

    pid = mirai(tasks.pid).result(DEADLINE)

    for _ in range(100):
        with pytest.raises(MiraiError, match=r"In index \d"):
            mirai_map(range(5), fails).collect(stop=True)

    assert mirai(tasks.pid).result(DEADLINE) == pid


def test_a_storm_of_timeouts(one):
    """They fire whenever it happens: in the queue, in evaluation, at its end."""
    chance = random.Random(3)
    pid = mirai(tasks.pid).result(DEADLINE)

    mirais = [mirai(tasks.spin, i, 3e-4, _timeout=chance.random() * 0.3) for i in range(2000)]

    for i, m in enumerate(mirais):
        value = call_mirai(m).data
        assert value == i or isinstance(value, TimedOut)
    assert mirai(tasks.pid).result(DEADLINE) == pid


@pytest.mark.parametrize("how", ["cancel", "timeout"])
def test_a_daemon_is_shown_as_busy_with_a_task_that_goes_on(two, tmp_path, how):
    """A task may catch the interrupt: its mirai is resolved, its daemon is not free, and `status()` says so."""
    gates = tmp_path / "begun", tmp_path / "go"
    m = mirai(tasks.ignore_interrupts, *gates, _timeout=0.5 if how == "timeout" else None)
    begun(gates[0])
    if how == "cancel":
        m.cancel()

    assert isinstance(call_mirai(m).data, Canceled if how == "cancel" else TimedOut)
    wait_until((tmp_path / "interrupted").exists, "the task to be interrupted")
    busy = [row for row in status().daemons if row.task is not None]
    assert [(row.task, row.stopping) for row in busy] == [(m.id, True)]
    assert f"{m.id} (stopping)" in str(status())
    assert mirai(tasks.double, 1).result(DEADLINE) == 2

    gates[1].touch()
    wait_until(lambda: not any(row.stopping for row in status().daemons), "its daemon to be free")


def test_a_task_in_evaluation_is_not_shown_as_stopping(one, tmp_path):
    """Only what somebody wanted to end is."""
    m = mirai(tasks.begin_and_wait, tmp_path / "begun", tmp_path / "go")
    begun(tmp_path / "begun")

    assert [(row.task, row.stopping) for row in status().daemons] == [(m.id, False)]
    (tmp_path / "go").touch()
    call_mirai(m)


COMPILED = "import hashlib; started.touch(); hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)"


def test_compiled_code_that_cannot_be_interrupted_is_ended_where_that_is_asked_for(tmp_path):
    """`kill_after` is the only way: its daemon is replaced, and nobody else's task is lost."""
    with daemons(1, kill_after=0.1):
        before = status().daemons[0].pid
        m = mirai(COMPILED, started=tmp_path / "begun", _timeout=0.5)
        behind = mirai(tasks.pid)

        assert isinstance(m.exception(DEADLINE), TimedOut)
        assert behind.result(DEADLINE) != before


def test_compiled_code_that_cannot_be_interrupted_holds_up_no_reset(tmp_path):
    """Without `kill_after` its daemon stays busy, for hours if need be; but not beyond a reset."""
    with daemons(1):
        m = mirai(COMPILED, started=tmp_path / "begun")
        begun(tmp_path / "begun")
        m.cancel()

        assert m.cancelled()
        assert status().daemons[0].stopping
        start = time.monotonic()
    assert time.monotonic() - start < 5


def test_a_compiled_module_can_be_imported_after_its_import_was_cancelled():
    """NumPy cannot be loaded twice in one process: cancelled halfway, it must not be lost to the daemon for good."""
    pytest.importorskip("numpy")
    imports = "started.touch(); import numpy, numpy.random; int(numpy.ones(3).sum())"

    for delay in (0.0, 0.01, 0.02, 0.03, 0.05, 0.08):
        with daemons(1):
            path = Path(status().url.removeprefix("ipc://")).with_name(f"{delay}")
            m = mirai(imports, started=path)
            begun(path)
            tasks.spin(None, delay)
            m.cancel()
            path.unlink()

            assert mirai(imports, started=path).result(DEADLINE) == 3
            path.unlink()


def test_an_event_loop_is_not_torn(one, tmp_path):
    """What it has taken from its queue would be lost, and whoever waits for that would wait for ever."""

    def in_asyncio(begun, done):  # and only there: what it calls is compiled
        os.mkdir(begun)
        for _ in range(10_000_000):
            pass
        os.mkdir(done)

    def task(begun, done):
        types.FunctionType(in_asyncio.__code__, vars(asyncio.events))(begun, done)
        time.sleep(300)

    m = mirai(task, tmp_path / "begun", tmp_path / "done")
    begun(tmp_path / "begun")
    m.cancel()

    assert mirai(tasks.double, 1).result(DEADLINE) == 2
    assert (tmp_path / "done").exists()


def test_coroutines_and_threads_of_a_task_are_interrupted_with_it(one, tmp_path):
    """The task waits for them in calls that the interrupt must get it out of."""
    texts = [
        "import asyncio; started.touch(); asyncio.run(asyncio.sleep(300))",
        "import threading; started.touch(); threading.Event().wait()",
        "import queue; started.touch(); queue.Queue().get()",
    ]
    for i, text in enumerate(texts):
        m = mirai(text, started=tmp_path / f"begun{i}")
        begun(tmp_path / f"begun{i}")
        m.cancel()

        assert mirai(tasks.double, i).result(DEADLINE) == 2 * i


@pytest.mark.parametrize(
    "wait",
    [
        lambda waiting: waiting[0].exception(DEADLINE),
        lambda waiting: race_mirai(waiting),
        lambda waiting: next(iter(MiraiMap(waiting).as_completed())),
        lambda waiting: mirai(str, waiting[0], _compute="default").exception(DEADLINE),
        lambda waiting: mirai(len, b"", _compute="small"),
    ],
    ids=["result", "race", "completed", "argument", "room"],
)
def test_who_waits_learns_at_once_of_what_another_thread_cancels(one, tmp_path, wait):
    """No socket says so: a task in the queue is cancelled without a word to any daemon."""
    with daemons(1, memory=1, compute="small"):
        running = [mirai(tasks.begin, tmp_path / f"begun{i}", _compute=i) for i in ("default", "small")]
        waiting = [mirai(len, b"", _compute=i) for i in ("default", "small")]
        begun(tmp_path / "begunsmall")

        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            waits = pool.submit(lambda: with_canceled(wait, waiting))
            with pytest.raises(TimeoutError):
                waits.result(0.2)
            start = time.monotonic()
            stop_mirai(waiting)
            waits.result(DEADLINE)

        assert time.monotonic() - start < 2
        stop_mirai(running)


def with_canceled(wait, waiting):
    with contextlib.suppress(Canceled):
        wait(waiting)


def test_a_list_is_cancelled_from_its_end(one, tmp_path):
    """Were the running one interrupted first, its daemon would begin the next, in vain."""
    running = mirai(tasks.begin, tmp_path / "begun")
    waiting = [mirai(Path.touch, tmp_path / f"{i}") for i in range(100)]
    begun(tmp_path / "begun")

    assert stop_mirai([running, *waiting]) == [True] * 101
    assert stop_mirai([running, *waiting]) == [False] * 101
    assert [type(value) for value in collect_mirai(waiting)] == [Canceled] * 100
    assert mirai(tasks.double, 1).result(DEADLINE) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["begun"]


def test_a_cancelled_task_that_never_began_leaves_its_budget(tmp_path):
    """Bytes of what is not sent are free at once."""
    with daemons(1, memory="1MB"):
        mirai(tasks.begin_and_wait, tmp_path / "begun", tmp_path / "go")
        waiting = [mirai(len, bytes(600_000)) for _ in range(2)]
        assert status().memory.current > 1_000_000

        stop_mirai(waiting)

        assert status().memory.current == 0
        (tmp_path / "go").touch()
