"""A daemon evaluates tasks until a limit, or its host, says stop."""

from __future__ import annotations

import os
import pickle
import select
import signal
import sys
import tempfile
import time
from contextlib import closing

import psutil
import pytest

from mirai import ConnectionReset, call_mirai, collect_mirai, daemons, info, launch_local, mirai, mirai_map, status
from mirai.protocol.handshake import Hello
from mirai.protocol.messages import Kind
from mirai.protocol.wire import Decoder, encode
from mirai.transport.schemes import listen
from tests.core import tasks
from tests.waiting import wait_until

DEADLINE = 20  # seconds; what takes longer hangs
PROMPT = 10  # seconds; a daemon that takes longer to be free is busy with something it should not do


@pytest.fixture
def url():
    """Where a host listens, and daemons dial, one host after the other."""
    with tempfile.TemporaryDirectory() as directory:
        yield f"ipc://{directory}/host"


@pytest.fixture
def start_daemon(start_host):
    """Starts a process that calls `daemon()` and exits with what that returns."""

    def start(url, **options):
        return start_host(f"import sys\nsys.exit(daemon({url!r}, **{options!r}))")

    return start


def connected(n=1):
    wait_until(lambda: info().connections == n, lambda: f"{n} daemons to be connected: {info()}")


def test_a_daemon_whose_host_went_before_the_first_task_begins_none(url, start_daemon, tmp_path):
    """Tasks that a killed host had sent would keep it, since its control thread had nothing to say as yet."""
    with closing(listen(url)) as listener:
        daemon = start_daemon(url)
        connections = {}
        for _ in range(2):
            wait_until(lambda: select.select([listener], [], [], 0)[0], "the daemon to dial")
            sock = listener.accept()
            decoder = Decoder()
            (frame,) = decoder.received(sock.recv_into(decoder.space()))
            connections[Hello.decode(frame[5]).role] = sock
        process = psutil.Process(daemon.process.pid)
        wait_until(lambda: process.num_threads() > 1, "its control thread to begin")
        threads = process.num_threads()
        connections["control"].close()
        wait_until(lambda: process.num_threads() < threads, "its control thread to end")

        setup = {"path": sys.path, "private": True, "heartbeat": None, "serial": None, "number": 1}
        body = pickle.dumps((tasks.begin, (tmp_path / "begun",), {}))
        with connections["data"] as data:
            data.sendall(encode(Kind.SETUP, pickle.dumps(setup)) + encode(Kind.TASK, body, seq=1))

            assert daemon.end()[0] == 0
    assert not (tmp_path / "begun").exists()


# Its limits


def test_a_local_daemon_imports_next_to_nothing(one):
    """There may be one for each core: what it imports takes more room, and time at its start, than all that it does."""
    unwanted = ("asyncio", "enum", "logging", "pickle", "pynng", "re", "signal", "socket", "ssl", "threading", "typing")
    # A function that is there: to evaluate source text takes some of these.
    imported = mirai(eval, f"[name for name in {unwanted} if name in __import__('sys').modules]").result(DEADLINE)

    assert imported == []


def test_a_daemon_whose_host_resets_leaves(url, start_daemon):
    """With 0."""
    with daemons(url=url):
        process = start_daemon(url)
        assert mirai(tasks.double, 2).result(DEADLINE) == 4

    assert process.end() == (0, "", "")


def test_a_daemon_leaves_when_it_was_idle_for_long(url, start_daemon):
    """With 1; a task in between counts anew."""
    with daemons(url=url):
        process = start_daemon(url, idletime=0.3)
        for _ in range(3):
            assert mirai("import time; time.sleep(0.15); time.monotonic()").result(DEADLINE)
        ended = time.monotonic()

        assert process.end() == (1, "", "")
        assert 0.25 < time.monotonic() - ended < PROMPT
        wait_until(lambda: info().connections == 0, "it to be missed")


def test_a_daemon_leaves_when_its_time_is_over(url, start_daemon):
    """With 2, after the task in hand."""
    with daemons(url=url):
        process = start_daemon(url, walltime=0.3)
        m = mirai("import time; time.sleep(0.6); 1")

        assert m.result(DEADLINE) == 1
        assert process.end() == (2, "", "")


def test_a_daemon_leaves_after_so_many_tasks(url, start_daemon):
    """With 3; what it was given beyond that is for the next one."""
    with daemons(url=url):
        ms = [mirai(tasks.double, i) for i in range(5)]
        assert start_daemon(url, maxtasks=2).end() == (3, "", "")
        assert [m.done() for m in ms] == [True, True, False, False, False]

        assert start_daemon(url, maxtasks=3).end() == (3, "", "")
        assert [m.result(DEADLINE) for m in ms] == [2 * i for i in range(5)]


def test_failed_and_cancelled_tasks_count(url, start_daemon, tmp_path):
    """Each was one."""
    with daemons(url=url):
        process = start_daemon(url, maxtasks=3)
        call_mirai(mirai("1 / 0"))
        m = mirai(tasks.begin, tmp_path / "begun")
        wait_until((tmp_path / "begun").exists, "the task to begin")
        m.cancel()
        call_mirai(mirai("1"))

        assert process.end() == (3, "", "")


def test_timers_can_start_after_some_tasks(url, start_daemon):
    """Those that load what the others need."""
    with daemons(url=url):
        process = start_daemon(url, idletime=0.05, walltime=0.3, timerstart=1)
        connected()
        assert mirai("import time; time.sleep(0.4); 1").result(DEADLINE) == 1

        assert process.end()[0] == 1


def test_limits_of_any_size(url, start_daemon):
    """More than a socket's timeout can hold."""
    with daemons(url=url):
        process = start_daemon(url, idletime=1e10, walltime=1e300, maxtasks=10**20)
        assert mirai("1").result(DEADLINE) == 1

    assert process.end() == (0, "", "")


def test_no_result_is_lost_when_daemons_leave():
    """Each says goodbye after its last result."""
    with daemons(4, maxtasks=5):
        ms = [mirai(tasks.double, i) for i in range(20)]

        assert [m.result(DEADLINE) for m in ms] == [2 * i for i in range(20)]
        wait_until(lambda: info().connections == 0, "all to have left")
        assert sum(row.completed for row in status().daemons) == 20
        assert all(row.completed == 5 for row in status().daemons)


def test_large_results_are_not_lost_either():
    """They take a while to be sent."""
    with daemons(2, maxtasks=2):
        values = mirai_map(range(4), lambda i: bytes([i]) * 10_000_000).collect()

        assert [value == bytes([i]) * 10_000_000 for i, value in enumerate(values)] == [True] * 4


# Its host


def test_a_daemon_that_finds_no_host_says_so(url, start_daemon):
    """And which address it was."""
    code, _, errors = start_daemon(url).end()

    assert code == 1
    assert url.removeprefix("ipc://") in errors


def test_a_daemon_may_wait_for_its_host(url, start_daemon):
    """It goes on dialling."""
    process = start_daemon(url, asyncdial=True)
    time.sleep(0)

    with daemons(url=url):
        assert mirai(tasks.double, 2).result(DEADLINE) == 4

    assert process.end() == (0, "", "")


def test_a_daemon_that_dials_in_vain_says_what_it_waits_for(url, start_daemon):
    """Once, and soon: its address may be mistyped, and it would dial for ever."""
    process = start_daemon(url, asyncdial=True, walltime=2.5)

    code, _, errors = process.end()

    assert code == 2
    assert errors.count("\n") == 1
    assert url.removeprefix("ipc://") in errors
    assert "dialling on" in errors


def test_a_task_whose_daemon_must_leave_may_clean_up(one, tmp_path):
    """It has 200 ms for that."""

    def careful(begun, cleaned):
        try:
            tasks.begin(begun)
        finally:
            cleaned.touch()

    mirai(careful, tmp_path / "begun", tmp_path / "cleaned")
    wait_until((tmp_path / "begun").exists, "the task to begin")

    daemons(0)

    assert (tmp_path / "cleaned").exists()


def test_a_daemon_may_finish_the_task_in_hand(url, start_daemon, tmp_path):
    """`autoexit="task"`: what it does is worth it, though nobody hears of it."""
    with daemons(url=url):
        process = start_daemon(url, autoexit="task")
        mirai(tasks.begin_and_wait, tmp_path / "begun", tmp_path / "go")
        wait_until((tmp_path / "begun").exists, "the task to begin")

    assert process.process.poll() is None
    (tmp_path / "go").touch()
    assert process.end() == (0, "", "")


def test_a_daemon_may_raise_a_signal(url, start_daemon):
    """`autoexit=15`: something else takes care of the rest."""
    with daemons(url=url):
        process = start_daemon(url, autoexit=int(signal.SIGTERM))
        connected()

    assert process.end() == (-signal.SIGTERM, "", "")


def test_a_daemon_may_persist(url, start_daemon):
    """`autoexit=False`: it serves one host after the other, until one dismisses it."""
    process = start_daemon(url, autoexit=False, asyncdial=True)
    pids = []
    for _ in range(3):
        with daemons(url=url):
            pids.append(mirai(tasks.pid).result(DEADLINE))
    with daemons(url=url):
        connected()
        daemons(None)

    assert pids == [process.process.pid] * 3
    assert process.end() == (0, "", "")


def test_a_host_that_is_killed_leaves_a_persistent_daemon(url, start_host, start_daemon):
    """It finds the next one."""
    process = start_daemon(url, autoexit=False, asyncdial=True)
    host = start_host(f"""
        import time
        daemons(url={url!r})
        print(mirai("1").result(), flush=True)
        m = mirai("import time; time.sleep(0.1)")
        time.sleep(60)
    """)
    assert host.line() == "1"

    host.process.kill()
    host.end()

    with daemons(url=url):
        assert mirai(tasks.pid).result(DEADLINE) == process.process.pid
        daemons(None)
    assert process.end() == (0, "", "")


def test_local_daemons_may_persist_too():
    """They are told to leave by `daemons(None)`."""
    daemons(1, autoexit=False)
    pid = status().daemons[0].pid

    daemons(None)

    wait_until(lambda: not psutil.pid_exists(pid), "the daemon to leave")


# Interrupts


def test_an_interrupt_does_not_reach_the_next_task(one):
    """Sent to the process at any moment, it hits the task in hand, or none."""
    pid = mirai(tasks.pid).result(DEADLINE)
    deadline = time.monotonic() + 1.5
    outcomes = []
    while time.monotonic() < deadline:
        ms = [mirai("import time; time.sleep(0.0005); x", x=i) for i in range(20)]
        os.kill(pid, signal.SIGINT)
        outcomes.append(sum(m.exception(DEADLINE) is not None for m in ms))

    assert max(outcomes) <= 1
    assert info()[:2] == (1, 1)


def test_an_interrupt_does_not_end_a_daemon_that_has_just_started():
    """It is ready when `daemons()` returns, for that too."""
    for _ in range(5):
        with daemons(1):
            os.kill(status().daemons[0].pid, signal.SIGINT)
            assert mirai(tasks.double, 1).result(PROMPT) == 2


def test_the_daemons_own_signal_from_elsewhere_hits_nobody(one):
    """Only the host can say which task is meant."""
    pid = status().daemons[0].pid
    ms = []
    for i in range(300):
        ms.append(mirai("import time; time.sleep(0.0005); x", x=i))
        os.kill(pid, signal.SIGURG)

    assert collect_mirai(ms) == list(range(300))


def test_ctrl_c_in_the_hosts_terminal_is_not_for_local_daemons(one):
    """They are in a session of their own."""
    pid = status().daemons[0].pid

    assert os.getsid(pid) == pid
    assert os.getpgid(pid) != os.getpgid(0)


def test_an_import_that_is_interrupted_can_be_done_again(one, tmp_path, monkeypatch):
    """Half a module must not be what the next task finds."""
    (tmp_path / "slow_to_load.py").write_text(
        f"import pathlib, time\npathlib.Path({str(tmp_path / 'begun')!r}).touch()\ntime.sleep(0.3)\nvalue = 1"
    )
    m = mirai("import sys; sys.path.insert(0, path); import slow_to_load; time.sleep(300)", path=str(tmp_path))
    wait_until((tmp_path / "begun").exists, "the import to begin")

    m.cancel()

    text = "import sys; sys.path.insert(0, path); import slow_to_load; slow_to_load.value"
    assert mirai(text, path=str(tmp_path)).result(PROMPT) == 1


def test_a_daemon_that_is_terminated_takes_its_task_with_it(two, tmp_path):
    """SIGTERM is how a scheduler ends a job; the message names it."""
    m = mirai(tasks.begin, tmp_path / "begun")
    wait_until((tmp_path / "begun").exists, "the task to begin")

    os.kill(next(row.pid for row in status().daemons if row.task), signal.SIGTERM)

    assert isinstance(m.exception(DEADLINE), ConnectionReset)
    assert "SIGTERM" in str(m.data)
    assert mirai("1").result(DEADLINE) == 1


def test_launched_daemons_take_the_profiles_options_unless_told_otherwise():
    """`launch_local` adds daemons like those that are there."""
    with daemons(1, maxtasks=1):
        launch_local(1, maxtasks=2)
        connected(2)
        assert len(mirai_map(range(3), tasks.double).collect()) == 3

        wait_until(lambda: info().connections == 0, "all to have reached their limit")
        assert sorted(row.completed for row in status().daemons) == [1, 2]
