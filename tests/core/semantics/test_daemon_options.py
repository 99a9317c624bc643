"""How long daemons stay, what they keep between tasks, and what happens when the last one has left."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import time

import psutil
import pytest

from mirai import (
    ConnectionReset,
    call_mirai,
    collect_mirai,
    daemons,
    everywhere,
    info,
    launch_local,
    local_url,
    mirai,
    mirai_map,
    status,
    unresolved,
)
from mirai.protocol.limits import LEAVE
from mirai.protocol.wire import Decoder
from mirai.runtime import complaints, recalls, vigil
from mirai.runtime.channel import Channel
from tests.core import tasks
from tests.waiting import wait_until

DEADLINE = 20  # seconds; what takes longer hangs


@pytest.fixture
def url():
    """Where one host listens after the other."""
    with tempfile.TemporaryDirectory() as directory:
        yield f"ipc://{directory}/host"


@pytest.fixture
def start():
    """Starts a daemon by hand, with options as words."""
    processes = []

    def start(url, *words):
        processes.append(subprocess.Popen([sys.executable, "-m", "mirai.launch", "daemon", url, *words]))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


def begun(path):
    wait_until(path.exists, "the task to begin")


def connected(n):
    wait_until(lambda: info().connections == n, lambda: f"{n} daemons: {status()}")


def has_ended(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


# How long they stay


def test_a_task_that_no_daemon_has_time_for_is_told_of(url, start, monkeypatch, caplog):
    """It must not wait in silence."""
    monkeypatch.setattr(complaints, "UNTIL_MISFIT", 0.1)
    monkeypatch.setenv("MIRAI_UNTIL", str(time.time() + 60))
    with daemons(url=url), caplog.at_level(logging.ERROR, "mirai"):
        start(url)
        connected(1)
        mirai("1", _expect=3600)
        wait_until(lambda: "is said to take 3600 s waits, and no daemon has that much" in caplog.text, "to be told")


@pytest.mark.parametrize("dispatcher", [True, False])
def test_an_everywhere_for_more_daemons_than_there_are_is_told_of(monkeypatch, caplog, dispatcher):
    """Once, with the way out; what it waits for may yet come."""
    monkeypatch.setattr(complaints, "UNTIL_SHORTFALL", 0.05)
    with daemons(1, dispatcher=dispatcher), caplog.at_level(logging.ERROR, "mirai"):
        setup = everywhere("1", _min=2)
        later = mirai("2")
        wait_until(lambda: "everywhere() waits for 2 daemons, and 1 daemon is connected" in caplog.text, "to be told")
        assert "launch_local" in caplog.text
        assert not later.done()
        launch_local(1)

        assert [m.result(DEADLINE) for m in setup] == [1, 1]
        assert later.result(DEADLINE) == 2
        assert caplog.text.count("everywhere() waits") == 1


def test_a_daemon_leaves_before_its_allocation_ends(url, start, monkeypatch):
    """A scheduler would end it in the middle of a task: that is not begun."""
    daemons(url=url)
    monkeypatch.setenv("MIRAI_UNTIL", str(time.time() + LEAVE + 0.5))
    daemon = start(url)
    connected(1)
    long = mirai("1", _expect=30)

    assert daemon.wait(DEADLINE) == 2
    assert not long.done()

    monkeypatch.setenv("MIRAI_UNTIL", str(time.time() + 3600))
    start(url)
    assert long.result(DEADLINE) == 1
    daemons(0)


@pytest.mark.parametrize("until", ["UNLIMITED", "nan", "1000000000"])
def test_an_end_that_is_no_time_to_come_is_told_and_left_out(url, start, monkeypatch, until):
    """It may be what `date` made of a scheduler's UNLIMITED. A daemon that left at once would be of no use."""
    monkeypatch.setenv("MIRAI_UNTIL", until)
    with daemons(url=url):
        start(url)
        assert mirai("1", _expect=1e9).result(DEADLINE) == 1


@pytest.mark.parametrize("expect", [-1, "1", True, float("nan")])
def test_what_a_task_is_said_to_take_is_seconds(expect):
    """A wrong one would have it wait for ever."""
    with pytest.raises(ValueError, match="_expect=.*: give the seconds that it will take"):
        mirai("1", _expect=expect)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--idletime", "0.3"], 1),
        (["--walltime", "0.3"], 2),
        (["--idletime", "30", "--walltime", "0.3"], 2),
        (["--idletime", "0.3", "--walltime", "30"], 1),
        (["--idletime", "0.3", "--autoexit", "False"], 1),
        (["--idletime", "0.3", "--timerstart", "0"], 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_daemon_that_nobody_needs_leaves_and_says_why(url, start, words, code):
    """Idle, it tells the two limits apart: a launcher starts another one for the one, and not for the other."""
    with daemons(url=url):
        assert start(url, *words).wait(DEADLINE) == code


def test_a_daemon_whose_timers_start_later_waits_for_its_first_tasks(url, start):
    """One that waits in vain for its first task for a while is not idle yet."""
    with daemons(url=url):
        process = start(url, "--idletime", "0.1", "--timerstart", "2")
        for i in range(2):
            mirai("import time; time.sleep(0.15)").result(DEADLINE)
            if i == 0:
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(0.3)

        assert process.wait(DEADLINE) == 1


def test_everywhere_is_no_task_but_keeps_a_daemon_from_being_idle(url, start):
    """A long set-up must not be the last thing that it does."""
    with daemons(url=url):
        start(url, "--idletime", "0.5", "--maxtasks", "1")
        connected(1)
        everywhere("import time; time.sleep(0.7)").collect()

        assert mirai("1").result(DEADLINE) == 1


def test_a_daemon_that_persists_is_told_to_leave(url, start, tmp_path):
    """`daemons(0)` leaves it where it is, the next host takes it over, `daemons(None)` ends it."""
    daemons(url=url)
    process = start(url, "--autoexit", "False")
    m = mirai(tasks.begin_and_wait, tmp_path / "begun", tmp_path / "go")
    begun(tmp_path / "begun")

    daemons(0)
    assert isinstance(m.data, ConnectionReset)
    (tmp_path / "go").touch()
    daemons(url=url)
    assert mirai(tasks.pid).result(DEADLINE) == process.pid

    daemons(None)
    assert process.wait(DEADLINE) == 0


def test_a_launched_daemon_that_persists_serves_the_next_host(url):
    """It is nobody's child but ours: it must not be waited for at a reset, nor become a zombie that warns."""
    daemons(url=url)
    launch_local(1, autoexit=False)
    pid = mirai(tasks.pid).result(DEADLINE)
    start = time.monotonic()
    daemons(0)
    assert time.monotonic() - start < 1

    daemons(url=url)
    assert mirai(tasks.pid).result(DEADLINE) == pid

    daemons(None)
    wait_until(lambda: has_ended(pid), "it to leave")


def test_a_daemon_that_persists_is_told_to_leave_in_a_task_too(url, tmp_path):
    """Else it would be there for ever, as nobody may come again."""
    daemons(url=url)
    launch_local(1, autoexit=False)
    mirai(tasks.ignore_interrupts, tmp_path / "begun", tmp_path / "go")
    begun(tmp_path / "begun")
    pid = status().daemons[0].pid

    daemons(None)

    wait_until(lambda: has_ended(pid), "it to leave")


def test_a_daemon_does_not_persist_where_nobody_can_come():
    """The address of `daemons(n)` is its host's alone: what stays there is reachable for nobody."""
    daemons(1, autoexit=False)
    pid = mirai(tasks.pid).result(DEADLINE)

    daemons(0)

    wait_until(lambda: has_ended(pid), "it to leave")


def test_a_daemon_that_persists_does_not_redial_for_longer_than_it_may_be_idle(url, start):
    """A forgotten one would go on for years."""
    with daemons(url=url):
        process = start(url, "--autoexit", "False", "--idletime", "1")
        mirai("1").result(DEADLINE)

    assert process.wait(DEADLINE) == 1


@pytest.mark.parametrize(("autoexit", "code"), [("task", 0), (int(signal.SIGTERM), -signal.SIGTERM), (True, 0)])
def test_a_daemon_leaves_with_its_host_as_it_was_told_to(url, start, tmp_path, autoexit, code):
    """After the task in hand; by a signal, whose handler may save what matters; or at once."""
    daemons(url=url)
    process = start(url, "--autoexit", str(autoexit))
    finishes = "import pathlib, time; begun.touch(); time.sleep(0.5); begun.with_name('finished').touch()"
    mirai(finishes, begun=tmp_path / "begun")
    begun(tmp_path / "begun")

    daemons(0)

    assert process.wait(DEADLINE) == code
    assert (tmp_path / "finished").exists() == (autoexit == "task")


def test_a_direct_daemon_leaves_with_its_host_whatever_it_has_still_to_do(tmp_path):
    """Tasks wait at the daemon itself there: it must notice nevertheless that nobody wants them any more."""
    daemons(1, dispatcher=False)
    pid = status().daemons[0].pid
    mirai(tasks.begin, tmp_path / "begun")
    waiting = [mirai(tasks.begin, tmp_path / f"begun{i}") for i in range(3)]
    begun(tmp_path / "begun")

    daemons(0)

    wait_until(lambda: has_ended(pid), "it to leave", timeout=2)
    assert [type(value) for value in collect_mirai(waiting)] == [ConnectionReset] * 3
    assert [path.name for path in tmp_path.iterdir()] == ["begun"]


def test_a_daemon_leaves_after_its_last_task_though_nobody_waits_for_it(url, start):
    """A task that timed out counts: a daemon that stayed would swallow the next one."""
    with daemons(url=url, dispatcher=False):
        process = start(url, "--maxtasks", "1")
        call_mirai(mirai("import time; time.sleep(300)", _timeout=0.5))
        m = mirai("2")

        assert process.wait(DEADLINE) == 3
        start(url)
        assert m.result(DEADLINE) == 2


# When the last one has left


def test_where_the_last_daemon_has_left_another_one_can_be_launched():
    """What waits is for the next one; the address must still be there."""
    with daemons(1, maxtasks=1):
        mirais = [mirai(tasks.pid) for _ in range(3)]
        for m in mirais:
            m.result(DEADLINE)
            if m is not mirais[-1]:
                launch_local(1)

    assert len(set(collect_mirai(mirais))) == 3


@pytest.fixture
def soon(monkeypatch):
    """What a user waits twenty seconds for."""
    monkeypatch.setattr(vigil, "UNEASY", 0.05)
    monkeypatch.setattr(vigil, "LOST", 0.2)
    monkeypatch.setattr(vigil, "ALONE", 0.2)


def test_tasks_that_no_daemon_will_ever_take_fail(one, soon, tmp_path, caplog):
    """They must not wait for ever, nor in silence."""
    running = mirai(tasks.kill_daemon, signal.SIGKILL)
    waiting = mirai("1")
    setup = everywhere("1")

    assert "SIGKILL" in str(call_mirai(running).data)
    assert isinstance(waiting.exception(DEADLINE), ConnectionReset)
    assert isinstance(setup[0].exception(DEADLINE), ConnectionReset)
    assert "no daemon was left (daemon 1 was killed by SIGKILL)" in str(waiting.data)
    assert [record.message for record in caplog.records if "no daemon is left" in record.message]
    assert isinstance(mirai("2").exception(DEADLINE), ConnectionReset)
    launch_local(1)
    assert mirai("3").result(DEADLINE) == 3


def test_a_launch_that_fails_is_the_reason(url, soon, tmp_path, monkeypatch):
    """Also where others could dial in."""
    with daemons(url=url):
        m = mirai("1")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
        (tmp_path / "sitecustomize.py").write_text("import sys; sys.exit('no licence')")
        launch_local(1)

        assert "no licence" in str(m.exception(DEADLINE))


def test_tasks_wait_for_daemons_that_may_dial_in(url, soon, start, caplog):
    """A scheduler may take hours; but somebody should know."""
    with daemons(url=url):
        m = mirai("1")
        wait_until(lambda: "no daemon has connected" in caplog.text, "a warning")

        assert not m.done()
        start(url)
        assert m.result(DEADLINE) == 1


def test_a_killed_daemon_is_no_news_unless_logging_is_set_up(run_host):
    """A library is quiet: what happened is in the error value. (The script must write nothing to stderr.)"""
    text = """
        import os
        with daemons(2):
            print(type(call_mirai(mirai(os._exit, 3)).data).__name__, mirai("1").result())
    """

    assert run_host(text) == "ConnectionReset 1"


def test_with_logging_set_up_daemons_are_heard_coming_and_going(caplog):
    """Under the name `mirai`."""
    caplog.set_level(logging.INFO, logger="mirai")

    with daemons(1):
        call_mirai(mirai(os._exit, 3))
        wait_until(lambda: "exited with status 3" in caplog.text, "its end to be logged")

    assert "daemon 1 joined" in caplog.text
    assert {record.name for record in caplog.records} == {"mirai"}


# What they keep between tasks


def test_modules_that_are_forgotten_come_back_whole():
    """A compiled module cannot be loaded twice, and what refers to one that is forgotten would have another one."""
    pytest.importorskip("numpy")
    text = "import decimal, dataclasses, enum, numpy, unittest.mock, xml.dom.minidom; int(numpy.ones(n).sum())"

    with daemons(1, cleanup=15):
        assert [mirai(text, n=n).result(DEADLINE) for n in range(3)] == [0, 1, 2]


def test_modules_that_are_forgotten_take_those_along_that_they_imported(tmp_path, monkeypatch):
    """A package as a whole, and one without an `__init__.py`."""
    (tmp_path / "spaced").mkdir()
    (tmp_path / "spaced" / "inner.py").write_text("import single\nclass Inner: pass\n")
    (tmp_path / "single.py").write_text("import spaced.inner, colorsys\n")
    monkeypatch.syspath_prepend(tmp_path)
    names = ["spaced", "spaced.inner", "single", "colorsys"]

    with daemons(1, cleanup=2):
        mirai("import single, sys; sys.stay = 1").result(DEADLINE)
        left = mirai("import sys; [name for name in names if name in sys.modules], sys.stay", names=names)

        assert left.result(DEADLINE) == ([], 1)


def test_a_module_of_everywhere_is_not_forgotten():
    """It is part of what each task should find."""
    with daemons(1, cleanup=2):
        everywhere("import colorsys").collect()

        assert mirai("import sys; 'colorsys' in sys.modules").result(DEADLINE)
        assert mirai("import sys; 'colorsys' in sys.modules").result(DEADLINE)


# What else


def test_c_code_of_a_task_finds_the_builtins(one):
    """It looks for them in the globals of who calls it, and source text runs in a `__main__` made by hand."""
    pytest.importorskip("numpy")

    assert mirai("import numpy; int(numpy.arange(3).sum())").result(DEADLINE) == 3
    with daemons(sync=True, compute="here"):
        assert mirai("import numpy; int(numpy.arange(3).sum())", _compute="here").result(DEADLINE) == 3


def test_a_stopped_daemon_holds_up_only_its_own_task(two, tmp_path):
    """It may be continued; until then others do the work."""
    m = mirai(tasks.begin_and_wait, tmp_path / "begun", tmp_path / "go")
    begun(tmp_path / "begun")
    (stopped,) = (row.pid for row in status().daemons if row.task == m.id)
    os.kill(stopped, signal.SIGSTOP)
    (tmp_path / "go").touch()

    assert mirai_map(range(10), tasks.double).collect() == [2 * i for i in range(10)]
    assert not m.done()

    os.kill(stopped, signal.SIGCONT)
    assert m.result(DEADLINE) == "released"


def test_a_local_url_may_be_listened_at_again():
    """A program may reset and set its daemons at the address that it has told others."""
    url = local_url()
    for _ in range(2):
        with daemons(url=url):
            launch_local(1)
            assert mirai("1").result(DEADLINE) == 1


def test_a_daemon_that_does_not_give_tasks_back_is_told_of(monkeypatch, caplog):
    """One that is stopped holds on to what it was given ahead: who waits for that must learn why."""

    def held():
        first = status().daemons[0]
        return first.assigned - first.completed

    monkeypatch.setattr(recalls, "MUTE", 0.2)
    with daemons(2):
        row = status().daemons[0]
        for _ in range(50):
            mp = mirai_map(range(200), tasks.spin, 0.0005)
            wait_until(lambda mp=mp: held() > 2 or not unresolved(mp), "it to hold some, or the map to end before that")
            os.kill(row.pid, signal.SIGSTOP)
            try:
                wait_until(lambda mp=mp: sum(m.done() for m in mp) > 150, "the others to be done")
                if held() > 2:
                    wait_until(lambda: "has not answered" in caplog.text, "it to be said")
                    break
            finally:
                os.kill(row.pid, signal.SIGCONT)
            mp.collect()
        assert f"daemon 1 (pid {row.pid} on {row.host}) has not answered for 0.2 s: it is stopped" in caplog.text
        assert mp.collect() == list(range(200))


def test_what_a_daemon_said_last_is_heard_after_its_process_has_ended(monkeypatch):
    """However many reads it takes: its end is seen before they are done."""
    with daemons(1, url="tcp://127.0.0.1:0", maxtasks=2):
        pid = mirai(os.getpid).result(DEADLINE)
        space, read = Decoder.space, Channel.read
        monkeypatch.setattr(Decoder, "space", lambda decoder: space(decoder)[:4096])
        monkeypatch.setattr(
            Channel, "read", lambda channel: read(channel) if wait_until(lambda: has_ended(pid), "its end") else None
        )

        assert len(mirai(bytes, 100_000).result(DEADLINE)) == 100_000
