"""A real link between two kernels, that is cut, mended, delayed and lossy."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.core.api.links import link

__all__ = ["link"]

DEADLINE = 20  # seconds; what takes longer hangs
BEAT = 0.5
ROOT = Path(__file__).parents[3]

HOST = f"""
import sys, time
from tests.waiting import wait_until
from tests.core import tasks

def show(*words):
    print(*words, flush=True)
daemons(url="tcp://10.77.0.1:0", heartbeat={BEAT}, retry={{retry}})
for command in launch_remote(2, autoexit={{autoexit}}):
    show(command)
"""


class There:
    """Starts daemons at the other end, and ends them with the test."""

    def __init__(self, link):
        self.link, self.processes = link, []

    def start(self, command, *more):
        words = [*self.link.there, *shlex.split(command), *more]
        self.processes.append(subprocess.Popen(words, stderr=subprocess.PIPE, text=True))
        return self.processes[-1]


@pytest.fixture
def there(link):
    there = There(link)
    yield there
    for process in there.processes:
        process.kill()
        process.communicate()


@pytest.fixture
def here(link, start_host):
    """Starts a host at this end, which does what `text` says."""

    def start(text, *, retry=0, autoexit=True):
        host = start_host(
            HOST.format(retry=retry, autoexit=autoexit) + text, {**os.environ, "PYTHONPATH": str(ROOT)}, link.here
        )
        host.commands = host.line(), host.line()
        return host

    return start


def test_a_daemon_that_vanishes_is_missed(link, here, there):
    """No FIN, no reset: its task is told within three beats; and the daemon misses its host, and leaves."""
    host = here("""
m = mirai("import time; time.sleep(300)")
wait_until(lambda: info().executing, "it to begin")
show("executing")
began = time.monotonic()
show(type(call_mirai(m).data).__name__, "silent" in str(m.data), time.monotonic() - began < 10)
daemons(0)
""")
    daemon = there.start(host.commands[0])
    assert host.line() == "executing"

    link.cut()

    assert host.line() == "ConnectionReset True True"
    assert daemon.wait(DEADLINE) == 0
    assert host.end() == (0, "", "")


def test_a_link_that_comes_back_is_dialled_again(link, here, there):
    """By a daemon that persists. What it had in hand is with another one meanwhile, and its result comes once."""
    host = here(
        """
wait_until(lambda: info().connections == 1, "the first to come")
m = mirai("import os, socket; import time; time.sleep(1.5); os.getpid()")
wait_until(lambda: info().executing, "it to begin")
show("executing")
wait_until(lambda: info().connections == 0, "it to be missed")
show("missed")
wait_until(lambda: info().connections == 1, "it to come again")
row, = status().daemons
show(row.i, m.result(20) == row.pid, info().cumulative, info().completed)
show(mirai(tasks.double, 2).result(20))
daemons(None)
""",
        retry=1,
        autoexit=False,
    )
    daemon = there.start(host.commands[0])
    assert host.line() == "executing"
    link.cut()
    assert host.line() == "missed"

    link.mend()

    assert host.line() == "1 True 2 1"
    assert host.line() == "4"
    assert host.end() == (0, "", "")
    assert daemon.wait(DEADLINE) == 0


def test_a_large_result_is_not_lost_with_a_short_cut(link, here, there):
    """Shorter than the bound: TCP takes care of it."""
    host = here("""
m = mirai("import time; print; bytes(200_000_000)")
wait_until(lambda: info().executing, "it to begin")
show("executing")
show(len(m.result(30)), info().cumulative)
daemons(0)
""")
    there.start(host.commands[0])
    assert host.line() == "executing"
    link.cut()
    link.mend()

    assert host.line() == "200000000 1"
    assert host.end() == (0, "", "")


def test_a_slow_and_lossy_link_loses_nothing(link, here, there):
    """It only takes longer."""
    link.spoil("delay", "20ms", "5ms", "loss", "3%")
    host = here("""
wait_until(lambda: info().connections == 2, "them to come")
show(sum(collect_mirai([mirai(tasks.double, i) for i in range(500)])), info().cumulative)
show(len(mirai("bytes(3_000_000)").result(20)))
daemons(0)
""")
    for command in host.commands:
        there.start(command)

    assert host.line() == f"{sum(2 * i for i in range(500))} 2"
    assert host.line() == "3000000"
    assert host.end() == (0, "", "")


def test_a_clock_that_jumps_changes_nothing(link, here, there, tmp_path):
    """No decision looks at the time of day: neither of the daemon's limits, nor of its heartbeat."""
    (tmp_path / "sitecustomize.py").write_text(
        "import itertools, time\nturns = itertools.count()\ntime.time = lambda: next(turns) % 2 * 1e10 - 1e5"
    )
    host = here("""
wait_until(lambda: info().connections == 1, "it to come")
times = collect_mirai([mirai("import time; time.sleep(0.2); time.time()") for _ in range(10)])
show(len(set(times)), info().cumulative)
daemons(0)
""")
    there.start(f"env PYTHONPATH={tmp_path} {host.commands[0]}", "--idletime", "60", "--walltime", "60")

    assert host.line() == "2 1"
    assert host.end() == (0, "", "")
    assert sys.executable in host.commands[0]
