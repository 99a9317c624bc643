"""The supervisor, by its standard input and output alone: daemons begin, are ended, and end with their host."""

from __future__ import annotations

import inspect
import json
import os
import signal
import subprocess
import sys
import threading

import psutil
import pytest

from mirai_launchers import supervisor
from tests.waiting import wait_until

SLEEP = ["-c", "import time; time.sleep(600)"]
DEAF = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1]).touch()
time.sleep(600)
"""
WRAPPER = ["-c", "import subprocess; subprocess.run(['sleep', '600'])"]


class Running:
    """A supervisor, with shorter times, and the host's end of its pipes."""

    def __init__(self, **times):
        settings = "".join(f"supervisor.{name} = {value}; " for name, value in times.items())
        code = f"from mirai_launchers import supervisor; {settings}supervisor.Supervisor().run()"
        self.process = subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True, bufsize=1)
        self.greeting = self.event()

    def order(self, **order):
        self.process.stdin.write(json.dumps(order) + "\n")

    def start(self, number, argv, *, env=None, stays=False):
        self.order(start=number, argv=argv, env=env or {}, stays=stays)
        event = self.event()
        assert event["started"] == number
        return psutil.Process(event["pid"])

    def event(self):
        line = self.process.stdout.readline()
        assert line.startswith("mirai {"), line
        return json.loads(line.removeprefix("mirai "))

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


def start_deaf(one, number, path):
    """A daemon that ignores SIGTERM, once it does."""
    process = one.start(number, ["-c", DEAF, str(path)])
    wait_until(path.exists, "it to be deaf")
    return process


@pytest.fixture
def running():
    started = []

    def run(**times):
        started.append(Running(**times))
        return started[-1]

    yield run
    for one in started:
        one.close()


def test_it_says_who_it_is(running):
    """Which Python was found, and whether mirai is installed there, is known before a daemon is started."""
    greeting = running().greeting

    assert greeting["python"] == sys.executable
    assert greeting["version"] == sys.version.split()[0]
    assert greeting["mirai"] is True


def test_a_daemon_has_its_words_and_its_secrets(running):
    """And neither the supervisor's input nor its output: what it prints is kept, to tell why it ended."""
    code = "import os, sys; print(sys.argv[1], os.environ['MIRAI_TICKET'], sys.stdin.read()); sys.exit(7)"
    one = running()

    one.start(1, ["-c", code, "a b"], env={"MIRAI_TICKET": "7c9e6679"})

    assert one.event() == {"ended": 1, "status": 7, "said": "a b 7c9e6679"}


def test_only_the_end_of_what_it_printed_is_kept(running):
    """A daemon may print gigabytes, in years."""
    one = running()

    one.start(1, ["-c", "print('x' * 10**6); print('the end')"])
    event = one.event()

    assert event["said"].endswith("x\nthe end")
    assert len(event["said"]) < supervisor.TAIL


def test_what_cannot_be_started_has_ended(running):
    """Its host waits for an answer."""
    one = running()

    one.order(start=1, argv=["\N{SNOWMAN}" * 10**6], env={}, stays=False)
    event = one.event()

    assert (event["ended"], event["status"]) == (1, 127)
    assert "too long" in event["said"]


def test_one_of_many_is_ended(running):
    """`daemons(0)` on one profile, while others go on."""
    one = running()
    processes = [one.start(number, SLEEP) for number in (1, 2)]

    one.order(end=1)

    assert one.event() == {"ended": 1, "status": -signal.SIGTERM, "said": ""}
    assert not processes[0].is_running()
    assert processes[1].is_running()


def test_what_does_not_want_to_end_is_ended(running, tmp_path):
    """A task may ignore SIGTERM, or be in compiled code."""
    one = running(GRACE=0.1)
    start_deaf(one, 1, tmp_path / "deaf")

    one.order(end=1)

    assert one.event()["status"] == -signal.SIGKILL


def test_a_daemon_ends_with_what_it_started(running):
    """Nobody else would end it."""
    one = running()
    process = one.start(1, WRAPPER)
    (child,) = wait_until(process.children, "the daemon to start a process")

    one.order(end=1)
    one.event()

    wait_until(lambda: not child.is_running(), "that process to end")


def test_all_end_when_the_host_is_gone(running, tmp_path):
    """However it went: sshd closes what the supervisor reads, and ends nothing."""
    one = running(LEAVING=0.05, GRACE=0.1)
    processes = [one.start(1, SLEEP), one.start(2, WRAPPER), start_deaf(one, 3, tmp_path / "deaf")]

    one.process.stdin.close()
    one.process.wait(10)

    assert [process.is_running() for process in processes] == [False] * 3
    assert one.process.returncode == 0


def test_a_daemon_that_leaves_by_itself_when_its_host_is_gone_may(running):
    """It has 200 ms to clean up after its task."""
    one = running(LEAVING=30)
    one.start(1, ["-c", "import os, time; parent = os.getppid(); time.sleep(0.2); print('left')"])

    one.process.stdin.close()

    assert one.event() == {"ended": 1, "status": 0, "said": "left"}


def test_one_that_stays_is_let_be(running):
    """`autoexit="task"` finishes its task, `autoexit=False` waits for the next host."""
    one = running(LEAVING=0.01, GRACE=0.01)
    others = [one.start(1, SLEEP), one.start(2, SLEEP, stays=True)]

    one.process.stdin.close()
    assert one.event()["ended"] == 1
    stayed = others[1].is_running() and one.process.poll() is None
    others[1].kill()
    one.process.wait(10)

    assert stayed


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_supervisor_that_is_told_to_end_ends_its_daemons(running, number):
    """By an administrator, or the end of a login."""
    one = running(LEAVING=0.01)
    process = one.start(1, SLEEP)

    os.kill(one.process.pid, number)
    one.process.wait(10)

    assert not process.is_running()


def test_silence_is_the_end_too(running):
    """A dead network closes nothing."""
    one = running(SILENCE=0.3, LEAVING=0.01)
    process = one.start(1, SLEEP)

    one.process.wait(10)

    assert not process.is_running()


def test_signs_of_life_keep_it(running):
    """The host sends them however little there is to say."""
    one = running(SILENCE=0.5)
    one.start(1, ["-c", "import time; time.sleep(1); print('alive')"])

    beats = threading.Event()
    beating = threading.Thread(target=lambda: [one.order() for _ in iter(lambda: beats.wait(0.1), True)])
    beating.start()
    event = one.event()
    beats.set()
    beating.join()

    assert event == {"ended": 1, "status": 0, "said": "alive"}


def test_it_begins_with_nothing_but_the_standard_library():
    """What is sent must run where mirai is not installed, to say so."""
    code = "import sys; exec(sys.stdin.readline())"
    source = inspect.getsource(supervisor)

    ran = subprocess.run(
        [sys.executable, "-S", "-I", "-c", code],
        input=f"exec({source!a})\n",
        text=True,
        capture_output=True,
        timeout=30,
    )

    assert json.loads(ran.stdout.removeprefix("mirai "))["mirai"] is False, ran.stderr
