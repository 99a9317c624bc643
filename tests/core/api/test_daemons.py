"""daemons() and what tells of them: set, inspect and reset a compute profile."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import pickle
import signal
import sys
import threading
import time
import xml.etree.ElementTree as ET
from datetime import datetime, timedelta
from textwrap import dedent

import psutil
import pytest

from mirai import (
    Canceled,
    ConnectionReset,
    Daemons,
    DaemonStartError,
    NoDaemonsError,
    call_mirai,
    daemons,
    daemons_set,
    everywhere,
    info,
    launch_local,
    local_daemons,
    local_url,
    mirai,
    mirai_map,
    on_daemon,
    require_daemons,
    status,
    with_daemons,
)
from tests.core import tasks
from tests.waiting import wait_until

DEADLINE = 20  # seconds; what takes longer hangs
PROMPT = 10  # seconds; a daemon that takes longer to be free is busy with something it should not do


@pytest.fixture
def at_start(tmp_path, monkeypatch):
    """Gives daemons a `sitecustomize` of the test's own, or any other module that they import first."""

    def provide(text, module="sitecustomize"):
        (tmp_path / "first").mkdir()
        (tmp_path / "first" / f"{module}.py").write_text(dedent(text))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "first"), prepend=os.pathsep)

    return provide


def pids(compute=None):
    return [row.pid for row in status(compute).daemons if row.online]


# Setting


def test_daemons_are_ready_on_return():
    """Every one of them takes tasks then."""
    with daemons(3) as d:
        assert isinstance(d, Daemons)
        assert d
        assert info().connections == 3
        assert len(set(pids())) == 3
        assert sorted(everywhere(tasks.pid).collect()) == sorted(pids())


def test_local_daemons_start_in_parallel(at_start, tmp_path):
    """One after the other would take as many times as long."""
    at_start(f"""
        import os, time
        from pathlib import Path

        directory = Path({str(tmp_path)!r}) / "started"
        directory.mkdir(exist_ok=True)
        (directory / str(os.getpid())).touch()
        deadline = time.monotonic() + 10
        while len(list(directory.iterdir())) < 3:
            assert time.monotonic() < deadline, "nobody else starts"
            time.sleep(0.01)
    """)

    with daemons(3):
        assert info().connections == 3


def test_setting_again_resets_first(two, tmp_path):
    """Unresolved tasks of the first ones resolve to 19."""
    m = mirai(tasks.begin, tmp_path / "begun")
    before = pids()

    daemons(1)

    assert isinstance(m.data, ConnectionReset)
    assert not set(pids()) & set(before)
    assert len(pids()) == 1
    assert not any(map(psutil.pid_exists, before))


def test_profiles_are_independent(one, tmp_path):
    """One is set, used and reset without the other noticing."""
    busy = mirai(tasks.begin_and_wait, tmp_path / "begun", tmp_path / "go")

    with daemons(1, compute="other") as d:
        assert d.compute == "other"
        assert mirai(tasks.double, 2).result(DEADLINE) == 4
    assert not daemons_set("other")

    (tmp_path / "go").touch()
    assert busy.result(DEADLINE) == "released"


def test_daemons_that_dial_in(tmp_path):
    """At any time, at the address that was set."""
    url = local_url()
    with daemons(url=url):
        assert status().url == url
        assert info() == (0, 0, 0, 0, 0)
        early = mirai(tasks.double, 2)

        launch_local(2)

        assert early.result(DEADLINE) == 4
        wait_until(lambda: info().connections == 2, "the daemons to connect")


def test_an_address_can_be_listened_at_again():
    """Daemons that persist dial it again: it must not be gone with its first host."""
    url = local_url()
    for i in range(3):
        with daemons(url=url):
            launch_local(1)
            assert mirai(tasks.double, i).result(DEADLINE) == 2 * i


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((), TypeError, r"daemons\(4\)"),
        ((-1,), ValueError, "n=-1.*0 or more"),
        (("x",), TypeError, "n='x'.*number of daemons"),
        (("tcp://127.0.0.1:0",), TypeError, "did you mean url="),
        ((2.5,), TypeError, "n=2.5"),
        ((True,), TypeError, "n=True"),
        (([1],), TypeError, r"n=\[1\]"),
    ],
)
def test_a_number_of_daemons_that_is_none_is_refused(one, arguments, error, message):
    """It says what was given and what may be; what is set stays as it is."""
    before = pids()

    with pytest.raises(error, match=message):
        daemons(*arguments)

    assert pids() == before


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ({"retry": -1}, "retry"),
        ({"retry": 1.5}, "retry"),
        ({"seed": "x"}, "seed"),
        ({"memory": "much"}, "memory"),
        ({"memory": 0}, "memory"),
        ({"memory": "-1MB"}, "memory"),
        ({"threads": 0}, "threads"),
        ({"kill_after": -1}, "kill_after"),
        ({"maxtasks": 0}, "maxtasks"),
        ({"idletime": "long"}, "idletime"),
        ({"walltime": -1}, "walltime"),
        ({"cleanup": 16}, "cleanup"),
        ({"autoexit": "later"}, "autoexit"),
        ({"output": 3}, "output"),
        ({"colour": "red"}, "colour"),
        ({"url": "nowhere"}, "nowhere"),
        ({"url": 7}, "url"),
        ({"compute": 7}, "compute"),
    ],
    ids=str,
)
def test_an_option_that_is_none_is_refused(one, option, named):
    """It is named; what is set stays as it is."""
    before = pids()

    with pytest.raises((TypeError, ValueError), match=named):
        daemons(1, **option)

    assert pids() == before


@pytest.mark.parametrize(
    ("memory", "limit"), [(1000, 1000), ("200MB", 200_000_000), ("1.5 kB", 1500), ("1GiB", 2**30), ("9", 9)]
)
def test_sizes_are_bytes_or_texts(memory, limit):
    """As people write them."""
    with daemons(1, memory=memory):
        assert status().memory.limit == limit


# Resetting


def test_a_reset_ends_daemons_and_tasks(tmp_path):
    """Daemons leave; running and queued tasks resolve to 19, resolved ones keep their value."""
    daemons(2)
    resolved = mirai("1")
    resolved.result(DEADLINE)
    running = [mirai(tasks.begin, tmp_path / f"{i}") for i in range(2)]
    queued = [mirai("1") for _ in range(5)]
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2, "both tasks to begin")
    before = pids()

    d = daemons(0)

    assert not d
    assert [type(m.data) for m in (*running, *queued)] == [ConnectionReset] * 7
    assert running[0].data.code == 19
    assert "reset" in str(queued[0].data)
    assert resolved.data == 1
    assert not any(map(psutil.pid_exists, before))
    assert info() is None
    assert not daemons_set()


@pytest.mark.parametrize("n", [0, None])
def test_resetting_what_is_not_set_is_no_error(n):
    """A program may do it at its end, whatever happened."""
    assert not daemons(n)
    assert not daemons(n, compute="never set")


def test_a_task_that_ignores_everything_does_not_hold_up_a_reset(one, tmp_path):
    """Its daemon is killed."""
    mirai(tasks.ignore_interrupts, tmp_path / "begun", tmp_path / "go")
    wait_until((tmp_path / "begun").exists, "the task to begin")
    began = time.monotonic()

    daemons(0)

    assert time.monotonic() - began < 2


def test_a_stopped_daemon_does_not_hold_up_a_reset(one):
    """It is killed."""
    os.kill(pids()[0], signal.SIGSTOP)

    daemons(0)

    assert not daemons_set()


def test_who_waits_learns_of_a_reset(one, tmp_path):
    """Waiting for ever is for nobody."""
    m = mirai(tasks.begin, tmp_path / "begun")
    errors = []
    threads = [threading.Thread(target=lambda: errors.append(m.exception(DEADLINE))) for _ in range(4)]
    for thread in threads:
        thread.start()

    daemons(0)
    for thread in threads:
        thread.join(DEADLINE)

    assert [type(error) for error in errors] == [ConnectionReset] * 4


def test_submitting_after_a_reset_starts_anew(one):
    """As if nothing had been set."""
    daemons(0)

    assert mirai(tasks.double, 2).result(DEADLINE) == 4


# As a context


def test_inside_of_with_the_profile_is_the_current_one():
    """And it is reset at the end, also by an error."""
    with pytest.raises(ZeroDivisionError), daemons(1, compute="inner"):
        assert mirai(tasks.pid).result(DEADLINE) == pids("inner")[0]
        raise ZeroDivisionError

    assert not daemons_set("inner")
    assert not daemons_set()


def test_contexts_nest():
    """The inner one is current, and then the outer one again."""
    with daemons(1, compute="outer"):
        with daemons(1, compute="inner"):
            assert mirai(tasks.pid).result(DEADLINE) == pids("inner")[0]
        assert mirai(tasks.pid).result(DEADLINE) == pids("outer")[0]


def test_daemons_as_an_asynchronous_context():
    """`async with`."""

    async def main():
        async with daemons(1, compute="inner"):
            return await mirai(tasks.pid) == pids("inner")[0]

    assert asyncio.run(main())
    assert not daemons_set("inner")


def test_a_context_may_be_left_elsewhere_than_entered():
    """Fixtures, exit stacks and generators do that, in another thread or asyncio task."""
    d = daemons(1, compute="moved")
    contextvars.Context().run(d.__enter__)

    d.__exit__(None, None, None)

    assert not daemons_set("moved")


def test_the_repr_says_whether_they_are_set(one):
    """Which profile, and how many."""
    d = daemons(1, compute="named")

    assert repr(d) == "< daemons 1 > profile 'named'"
    daemons(0, compute="named")
    assert "reset" in repr(d)


def test_the_current_profile_is_that_of_the_context(one):
    """Threads and asyncio tasks do not disturb each other."""

    async def ask():
        return await mirai(tasks.pid)

    async def main():
        with with_daemons("other"):
            inner = asyncio.create_task(ask())
        return await asyncio.gather(ask(), inner)

    with daemons(1, compute="other"):
        seen = []
        thread = threading.Thread(target=lambda: seen.append(mirai(tasks.pid).result(DEADLINE)))
        thread.start()
        thread.join(DEADLINE)
        with with_daemons("default"):
            assert asyncio.run(main()) == [pids("default")[0], pids("other")[0]]

        assert seen == pids("default")


def test_local_daemons_makes_a_profile_current(one):
    """For the rest of the context."""

    def elsewhere():
        local_daemons("other")
        return mirai(tasks.pid).result(DEADLINE)

    daemons(1, compute="other")
    try:
        assert contextvars.copy_context().run(elsewhere) == pids("other")[0]
        assert mirai(tasks.pid).result(DEADLINE) == pids()[0]
    finally:
        daemons(0, compute="other")


@pytest.mark.parametrize("ask", [require_daemons, local_daemons, lambda name: with_daemons(name).__enter__()])
def test_a_profile_that_is_not_set_is_an_error(ask):
    """Which says how to set it."""
    with pytest.raises(NoDaemonsError, match=r"'gpu'.*daemons\(n, compute='gpu'\)"):
        ask("gpu")


def test_whether_daemons_are_set(one):
    """Of the current profile, or a named one."""
    require_daemons()

    assert daemons_set()
    assert daemons_set("default")
    assert not daemons_set("other")


def test_a_task_knows_that_it_is_on_a_daemon(one):
    """The host is not."""
    assert mirai(on_daemon).result(DEADLINE) is True
    assert on_daemon() is False


# Daemons that cannot start


def test_a_daemon_that_cannot_start_is_an_error_with_its_stderr(at_start):
    """Not a wait; and the profile is not set."""
    at_start("raise RuntimeError('broken on purpose')", module="struct")
    began = time.monotonic()

    with pytest.raises(DaemonStartError, match="exited with status 1") as caught:
        daemons(2)

    assert "RuntimeError: broken on purpose" in str(caught.value)
    assert "struct.py" in caught.value.stderr
    assert time.monotonic() - began < PROMPT
    assert not daemons_set()


def test_one_of_several_that_cannot_start_is_an_error(at_start, tmp_path):
    """The others are let go: so many were asked for."""
    at_start(f"""
        import os
        try:
            os.mkdir({str(tmp_path / "one")!r})
        except FileExistsError:
            os._exit(3)
    """)

    with pytest.raises(DaemonStartError, match="exited with status 3"):
        daemons(2)

    assert not daemons_set()


def test_a_daemon_that_does_not_connect_in_time_is_an_error(at_start, monkeypatch):
    """Even if it says nothing."""
    at_start("import sys, time; print('waiting for the licence', file=sys.stderr, flush=True); time.sleep(300)")
    monkeypatch.setattr("mirai.api.daemons.START", 1.0)

    with pytest.raises(DaemonStartError, match="1 of 1 did not connect within 1 s") as caught:
        daemons(1)

    assert "waiting for the licence" in str(caught.value)


def test_an_interpreter_that_is_gone_is_an_error(monkeypatch):
    """It is named."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")

    with pytest.raises(DaemonStartError, match="/nowhere/python"):
        daemons(1)
    with pytest.raises(DaemonStartError, match="/nowhere/python"):
        mirai("1")

    assert not daemons_set()


def test_the_error_survives_pickling():
    """It may be a task that sets daemons."""
    error = pickle.loads(pickle.dumps(DaemonStartError("exited with status 1", "why")))

    assert (error.reason, error.stderr) == ("exited with status 1", "why")
    assert "why" in str(error)


def test_a_directory_full_of_modules_named_like_ours_is_no_harm(tmp_path, monkeypatch):
    """Daemons start in the host's directory, and it must not come first when they import."""
    for name in ("pickle", "socket", "signal", "mirai"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('not this one')")
    monkeypatch.chdir(tmp_path)

    with daemons(1):
        assert mirai(os.getcwd).result(DEADLINE) == str(tmp_path)


# What daemons inherit


def test_daemons_import_what_the_host_can_import(tmp_path, monkeypatch):
    """From the same places."""
    (tmp_path / "beside.py").write_text("answer = 42")
    monkeypatch.syspath_prepend(tmp_path)

    with daemons(1):
        assert mirai("import beside; beside.answer").result(DEADLINE) == 42


def test_daemons_divide_the_cores_among_them(monkeypatch):
    """BLAS and OpenMP would else use all of them, n times."""
    for name in list(os.environ):
        if name.endswith("_NUM_THREADS"):
            monkeypatch.delenv(name)
    text = "import os; os.environ.get('OMP_NUM_THREADS')"
    cores = len(os.sched_getaffinity(0))

    with daemons(1):
        assert mirai(text).result(DEADLINE) == str(cores)
    with daemons(cores + 1):
        assert mirai(text).result(DEADLINE) == "1"
    with daemons(1, threads=3):
        assert mirai(text).result(DEADLINE) == "3"
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with daemons(1):
        assert mirai(text).result(DEADLINE) == "7"


def test_the_launch_is_no_tasks_business(one):
    """What is said to the daemon by its environment is taken out again."""
    assert mirai("import os; [name for name in os.environ if name.startswith('MIRAI')]").result(DEADLINE) == []


# More daemons


def test_more_local_daemons_can_be_launched(one):
    """At any time, with the profile's options or others."""
    assert launch_local(2) == 2

    wait_until(lambda: info().connections == 3, "the daemons to connect")
    assert sorted(everywhere(tasks.pid).collect()) == sorted(pids())


@pytest.mark.parametrize("n", [0, -1, 1.5, True, "2"], ids=repr)
def test_a_number_to_launch_that_is_none_is_refused(one, n):
    """It says what was given."""
    with pytest.raises((TypeError, ValueError), match="n="):
        launch_local(n)


def test_launching_needs_a_profile():
    """Daemons must have somebody to dial."""
    with pytest.raises(NoDaemonsError):
        launch_local(1)


def test_a_daemon_can_be_launched_where_another_one_has_left(left):
    """One that reached its limit, or was told to go, takes nothing along that the others need."""
    with daemons(1, maxtasks=1):
        assert mirai("1").result(DEADLINE) == 1
        left()

        launch_local(1)

        assert mirai("2").result(DEADLINE) == 2


# status() and info()


def test_the_status_of_what_is_not_set():
    """Zeros, and no daemons."""
    assert (status().connections, status().url, status().daemons) == (0, None, ())
    assert info() is None
    assert str(status()).startswith("no daemons set")


def test_the_status_of_a_profile_without_daemons_says_where_tasks_are_evaluated():
    """It is set, and there is nothing to wait for."""
    with daemons(sync=True):
        mirai("1")
        seen = status()

    assert str(seen).splitlines() == [
        "no daemons: each task is evaluated in this process, at the call (sync=True)",
        "tasks: 0 awaiting, 0 executing, 1 completed",
    ]
    assert (seen.sync, status().sync) == (True, False)


def test_status_and_info_are_tables_in_a_notebook(two):
    """As in a terminal."""
    page = ET.fromstring(f"<body>{status()._repr_html_()}</body>")

    assert page.find("div").text.startswith("2 daemons connected at ipc://")
    assert [cell.text for cell in page.findall(".//th")][:3] == ["daemon", "online", "assigned"]
    assert [row.find("td").text for row in page.findall(".//tbody/tr")] == ["1", "2"]
    five = ET.fromstring(info()._repr_html_())
    assert [cell.text for cell in five.iter("th")] == list(info()._fields)
    assert [cell.text for cell in five.iter("td")] == ["2", "2", "0", "0", "0"]


def test_status_counts_tasks_and_daemons(two, tmp_path):
    """What waits, what runs and who runs it, what is done."""
    done = call_mirai(mirai("1"))
    running = [mirai(tasks.begin_and_wait, tmp_path / f"{i}", tmp_path / "go") for i in range(2)]
    queued = [mirai("2") for _ in range(3)]

    seen = status()

    assert seen.connections == 2
    assert seen.url.startswith("ipc://")
    assert (seen.mirai.awaiting, seen.mirai.executing, seen.mirai.completed) == (3, 2, 1)
    assert info() == (2, 2, 3, 2, 1)
    assert info()._fields == ("connections", "cumulative", "awaiting", "executing", "completed")
    assert sorted(row.task for row in seen.daemons) == sorted(m.id for m in running)
    assert sum(row.completed for row in seen.daemons) == 1
    assert sum(row.assigned for row in seen.daemons) == 3
    assert [row.i for row in seen.daemons] == [1, 2]
    assert len({row.instance for row in seen.daemons}) == 2
    assert all(row.online and row.host and psutil.pid_exists(row.pid) for row in seen.daemons)
    assert all(datetime.now().astimezone() - row.since < timedelta(minutes=1) for row in seen.daemons)
    (tmp_path / "go").touch()
    call_mirai([*running, *queued, done])
    wait_until(lambda: info() == (2, 2, 0, 0, 6), lambda: f"all to be counted: {info()}")


def test_every_task_is_counted_once(two):
    """Failed, cancelled, timed out, lost with its daemon: all that ever arrived is somewhere."""
    call_mirai([mirai("1"), mirai("1 / 0"), mirai("import time; time.sleep(60)", _timeout=0.05)])
    m = mirai("import time; time.sleep(60)")
    m.cancel()
    call_mirai(mirai("import os; os._exit(1)"))

    wait_until(lambda: info() == (1, 2, 0, 0, 5), lambda: f"all to be counted: {info()}")


def test_status_is_plain_values_and_a_table(one):
    """For programs and for people."""
    seen = status()

    assert seen.to_dict()["daemons"][0]["pid"] == pids()[0]
    assert seen.daemons[0].to_dict()["i"] == 1
    assert f"{pids()[0]}" in str(seen)
    assert "1 daemon" in str(seen)


def test_a_daemons_row_outlives_it(two):
    """What it did can be seen once it is gone."""
    victim = status().daemons[0].pid
    call_mirai(mirai_map(range(10), tasks.double))
    os.kill(victim, signal.SIGKILL)

    wait_until(lambda: info().connections == 1, "the daemon to be missed")

    row = next(row for row in status().daemons if row.pid == victim)
    assert (row.online, row.task) == (False, None)
    assert sum(row.completed for row in status().daemons) == 10
    assert "no " in str(status())


# kill_after


def test_a_daemon_that_does_not_obey_a_cancel_can_be_replaced(tmp_path):
    """`kill_after` says when; its profile has as many daemons again."""
    with daemons(1, kill_after=0.1):
        victim = pids()[0]
        m = mirai(tasks.ignore_interrupts, tmp_path / "begun", tmp_path / "go")
        wait_until((tmp_path / "begun").exists, "the task to begin")

        m.cancel()

        assert mirai(tasks.pid).result(DEADLINE) != victim
        assert isinstance(m.data, Canceled)
        wait_until(lambda: not psutil.pid_exists(victim), "the daemon to be gone")
        assert info()[:2] == (1, 2)


def test_a_daemon_that_obeys_a_cancel_is_not_replaced(tmp_path):
    """It only has to end the task."""
    with daemons(1, kill_after=0.1):
        before = pids()
        m = mirai(tasks.begin, tmp_path / "begun")
        wait_until((tmp_path / "begun").exists, "the task to begin")

        m.cancel()

        mirai("import time; time.sleep(0.2)").result(DEADLINE)
        assert pids() == before


# From several threads


def test_several_threads_may_set_the_same_profile():
    """The last one wins, and the daemons of the others are gone."""
    before = set(psutil.Process().children(recursive=True))
    threads = [threading.Thread(target=daemons, args=(1,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)

    try:
        started = set(psutil.Process().children(recursive=True)) - before
        assert [process.pid for process in started] == pids()
    finally:
        daemons(0)


def test_several_threads_may_set_profiles_of_their_own():
    """At the same time."""
    values = {}

    def work(name):
        with daemons(1, compute=name):
            values[name] = mirai_map(range(20), tasks.double).collect()

    threads = [threading.Thread(target=work, args=(f"profile {i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)

    assert values == {f"profile {i}": [2 * x for x in range(20)] for i in range(4)}


def test_who_comes_and_goes_is_logged(caplog):
    """Under the name of the package, for who wants to see it."""
    caplog.set_level(logging.INFO, "mirai")
    with daemons(1):
        pid = mirai(tasks.pid).result(DEADLINE)
        lost = mirai(tasks.kill_daemon, signal.SIGKILL)
        assert isinstance(lost.exception(DEADLINE), ConnectionReset)

    joined, left = (record for record in caplog.records if record.levelno == logging.INFO)
    assert (joined.name, left.name) == ("mirai", "mirai")
    assert joined.message.startswith("daemon 1 joined")
    assert str(pid) in joined.message
    assert left.message == "daemon 1 was killed by SIGKILL"


def test_by_default_nothing_is_said(run_host):
    """What a task comes to is in its mirai."""
    output = run_host("""
        import os, signal
        with daemons(2):
            lost = mirai("import os; os.kill(os.getpid(), 9)")
            failed = mirai("1 / 0")
            stopped = mirai("import time; time.sleep(100)")
            stopped.cancel()
            print([type(m.data).__name__ for m in call_mirai([lost, failed, stopped])])
    """)

    assert output == "['ConnectionReset', 'MiraiError', 'Canceled']"
