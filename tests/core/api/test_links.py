"""A real link between two kernels, that is cut, mended, delayed and lossy."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.core.api.links import link
from tests.waiting import wait_until

__all__ = ["link"]

DEADLINE = 20  # seconds; what takes longer hangs
BEAT = 0.5
ROOT = Path(__file__).parents[3]

HOST = """
import sys, time
from tests.waiting import wait_until
from tests.core import tasks

def show(*words):
    print(*words, flush=True)
daemons(url="{scheme}://10.77.0.1:0", **{options})
for command in launch_remote(2, autoexit={autoexit}):
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

    def start(text, *, scheme="tcp", autoexit=True, **options):
        options = {"heartbeat": BEAT, **options}
        text = HOST.format(scheme=scheme, autoexit=autoexit, options=options) + text
        host = start_host(text, {**os.environ, "PYTHONPATH": str(ROOT)}, link.here)
        host.commands = host.line(), host.line()
        return host

    return start


def test_a_daemon_that_vanishes_is_missed(link, here, there):
    """No FIN, no reset: its task is told within three beats; and the daemon misses its host, and leaves."""
    host = here("""
m = mirai("import time; time.sleep(300)")
wait_until(lambda: m.stack(), "it to begin")
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
wait_until(lambda: m.stack(), "it to begin")
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


@pytest.mark.parametrize("link", [60000], indirect=True)  # in large packets, so that it does not take long
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
    link.spoil(delay=(0.015, 0.025), loss=0.03)
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


# What a link across half of the world, with a bad wireless network at its end, makes of packets: 50 to 200 ms each way,
# so that many are overtaken, 5 % lost, and some there twice.
BAD = {"delay": (0.05, 0.2), "loss": 0.05, "copies": 0.02}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("scheme", ["tcp", "tls+tcp"])
def test_a_bad_link_delivers_each_result_once_and_to_its_task(link, here, there, tmp_path, scheme):
    """Nor does it make a daemon seem gone that is there, busy or idle."""
    link.spoil(**BAD)
    host = here(
        f"""
wait_until(lambda: info().connections == 2, "them to come", 60)
resolved = []
values = [mirai(tasks.note, {str(tmp_path / "ran")!r}, i) for i in range(25)]
for i, m in enumerate(values):
    m.add_done_callback(lambda m, i=i: resolved.append(i))
show(collect_mirai(values) == [2 * i for i in range(25)])
wait_until(lambda: len(resolved) >= 25, "the callbacks")
show(sorted(resolved) == list(range(25)))
show(collect_mirai([mirai("import time; time.sleep(7); 7") for _ in range(2)]))
show(info().connections, info().cumulative, info().completed)
daemons(0)
""",
        scheme=scheme,
        autoexit=False,  # so that one whose handshake took too long dials again
        heartbeat=2.0,
    )
    for command in host.commands:
        there.start(command)

    assert host.line() == "True"
    assert host.line() == "True"
    assert host.line() == "[7, 7]"
    assert host.line() == "2 2 27"
    assert host.end() == (0, "", "")
    assert sorted(map(int, (tmp_path / "ran").read_text().split())) == list(range(25))
    counts = link.counts()
    assert counts["lost"] > 0.02 * counts["sent"]


@pytest.mark.timeout(120)
def test_over_a_bad_link_a_daemon_is_missed_and_comes_again(link, here, there, tmp_path):
    """Within the bound; what it had in hand is with another one meanwhile, and its own result is nobody's."""
    link.spoil(**BAD)
    host = here(
        f"""
from pathlib import Path
begun = Path({str(tmp_path / "begun")!r})
wait_until(lambda: info().connections == 1, "the first to come", 60)
m = mirai("import os, time; begun.touch(); time.sleep(1.5); os.getpid()", begun=begun)
wait_until(begun.exists, "it to begin", 60)
show("executing")
began = time.monotonic()
wait_until(lambda: info().connections == 0, "it to be missed", 60)
show("missed", time.monotonic() - began < 3 * 1.0 + 2)
wait_until(lambda: info().connections == 1, "it to come again", 60)
row, = status().daemons
show(row.i, m.result(30) == row.pid, info().completed)
show(collect_mirai([mirai(tasks.double, i) for i in range(20)]) == [2 * i for i in range(20)])
daemons(None)
""",
        retry=1,
        autoexit=False,
        heartbeat=1.0,
    )
    daemon = there.start(host.commands[0])
    assert host.line() == "executing"
    link.cut()
    assert host.line() == "missed True"

    link.mend()

    assert host.line() == "1 True 1"
    assert host.line() == "True"
    assert host.end() == (0, "", "")
    assert daemon.wait(60) == 0


# Across a network, all that can be asked about a daemon that says nothing is the kernel of its machine.

HOLD = """
wait_until(lambda: info().connections == 1, "it to come")
m = mirai(tasks.hold_the_interpreter, {seconds})
wait_until(lambda: status().daemons[0].silent, "it to be silent")
show("silent")
"""


@pytest.mark.parametrize("scheme", ["tcp", "tls+tcp", "wss"])
def test_a_task_that_lets_no_other_thread_run_is_no_silence(link, here, there, scheme):
    """As long calls of compiled code do: longer than the bound, and it is not lost."""
    host = here(HOLD.format(seconds=10 * BEAT) + "show(m.result(20), info().cumulative)\ndaemons(0)", scheme=scheme)
    there.start(host.commands[0])

    assert host.line() == "silent"
    assert host.line() == "held 1"
    assert host.end() == (0, "", "")


def test_a_link_that_is_cut_is_noticed_while_a_task_lets_no_other_thread_run(link, here, there):
    """By the same kernel, which says nothing more."""
    host = here(
        HOLD.format(seconds=300)
        + """
began = time.monotonic()
show(type(call_mirai(m).data).__name__, "was silent" in str(m.data), time.monotonic() - began < 10)
daemons(0)
"""
    )
    there.start(host.commands[0])
    assert host.line() == "silent"

    link.cut()

    assert host.line() == "ConnectionReset True True"
    assert host.end() == (0, "", "")


def test_a_daemon_that_is_stopped_is_given_up_in_the_end(link, here, there):
    """From another machine it looks as if its task let no other thread run: patience is what has an end."""
    host = here(
        """
wait_until(lambda: info().connections == 1, "it to come")
m = mirai("import time; time.sleep(300)")
wait_until(lambda: m.stack(), "it to begin")
show("executing")
wait_until(lambda: status().daemons[0].silent, "it to be silent")
show(type(call_mirai(m).data).__name__, "said nothing for 4 s" in str(m.data))
daemons(0)
""",
        patience=4,
    )
    daemon = there.start(host.commands[0])
    assert host.line() == "executing"

    daemon.send_signal(signal.SIGSTOP)

    assert host.line() == "ConnectionReset True"
    assert host.end() == (0, "", "")


def test_a_daemon_that_is_stopped_and_goes_on_has_lost_nothing(link, here, there):
    """As by a scheduler that gives its place to another job for a while."""
    host = here("""
wait_until(lambda: info().connections == 1, "it to come")
m = mirai("import time; time.sleep(1); 7")
wait_until(lambda: m.stack(), "it to begin")
show("executing")
wait_until(lambda: status().daemons[0].silent >= 4, "it to be silent for longer than the bound")
show("silent")
show(m.result(20), info().cumulative)
daemons(0)
""")
    daemon = there.start(host.commands[0])
    assert host.line() == "executing"
    daemon.send_signal(signal.SIGSTOP)
    assert host.line() == "silent"

    daemon.send_signal(signal.SIGCONT)

    assert host.line() == "7 1"
    assert host.end() == (0, "", "")


@pytest.mark.parametrize("scheme", ["tcp", "tls+tcp"])
def test_a_host_that_is_stopped_finds_its_daemons(link, here, there, scheme):
    """For longer than the bound, as by Ctrl-Z: its kernel answers for it meanwhile."""
    host = here(
        """
wait_until(lambda: info().connections == 2, "them to come")
values = [mirai("import time; time.sleep(1); 7") for _ in range(2)]
wait_until(lambda: all(m.stack() for m in values), "them to begin")
show("executing")
show(collect_mirai(values), info().connections, info().cumulative)
daemons(0)
""",
        scheme=scheme,
    )
    for command in host.commands:
        there.start(command)
    assert host.line() == "executing"

    host.process.send_signal(signal.SIGSTOP)
    assert not threading.Event().wait(8 * BEAT)  # the bound is three
    host.process.send_signal(signal.SIGCONT)

    assert host.line() == "[7, 7] 2 2"
    assert host.end() == (0, "", "")


def test_nothing_is_left_of_a_link_where_the_tests_are_killed():
    """Namespaces with a name would be there until the machine is restarted."""
    code = f"""
import json, sys
sys.path.insert(0, {str(ROOT)!r})
from tests.core.api.links import Link
print(json.dumps(Link().there), flush=True)
sys.stdin.read()
"""
    killed = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    command = json.loads(killed.stdout.readline())
    namespace = Path(command[1].removeprefix("--net="))
    assert namespace.exists()

    killed.kill()

    wait_until(lambda: not namespace.exists(), "the cable to end with the tests")
    killed.communicate()


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
