"""What the processes live through: crashes, storms, forks, large payloads, and the end of the host."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from mirai import (
    Canceled,
    ConnectionReset,
    TimedOut,
    call_mirai,
    collect_mirai,
    daemons,
    everywhere,
    info,
    launch_local,
    mirai,
    mirai_map,
    status,
)
from tests.core import tasks
from tests.leftovers import leftovers, take_inventory
from tests.waiting import wait_until

DEADLINE = 20  # seconds; what takes longer hangs
PROMPT = 10  # seconds; a daemon that takes longer to be free is busy with something it should not do


def pids():
    return [row.pid for row in status().daemons if row.online]


# Order


def test_tasks_begin_in_the_order_of_submission(one):
    """First in, first out, by one daemon one at a time."""
    spans = collect_mirai([mirai("import time; a = time.monotonic(); (a, time.monotonic())") for _ in range(500)])

    assert all(begin <= end for begin, end in spans)
    assert all(before[1] <= after[0] for before, after in zip(spans, spans[1:], strict=False))


def test_a_daemon_evaluates_one_task_at_a_time(two, tmp_path):
    """However many it may be given to hold."""

    def alone(directory):
        mine = directory / str(os.getpid())
        mine.touch(exist_ok=False)
        time.sleep(0.0005)
        mine.unlink()

    assert mirai_map([tmp_path] * 300, alone).collect(stop=True) == [None] * 300


def test_no_task_waits_behind_a_long_one_while_a_daemon_is_idle(two, tmp_path):
    """Short ones teach a daemon to hold several; then one of them turns out to be long."""
    call_mirai([mirai(tasks.double, i) for i in range(2000)])

    long = mirai(tasks.begin_and_wait, tmp_path / "begun", tmp_path / "go")
    short = [mirai(tasks.double, i) for i in range(500)]

    assert [m.result(PROMPT) for m in short] == [2 * i for i in range(500)]
    assert not long.done()
    (tmp_path / "go").touch()
    assert long.result(DEADLINE) == "released"


def test_long_tasks_at_any_place_do_not_hold_up_the_short_ones(two, tmp_path):
    """Only one daemon is left for those, and it does them all."""
    call_mirai([mirai(tasks.double, i) for i in range(1000)])

    values = [mirai(tasks.double, i) for i in range(100)]
    long = mirai(tasks.begin_and_wait, tmp_path / "begun", tmp_path / "go")
    values += [mirai(tasks.double, i) for i in range(100, 400)]

    assert [m.result(PROMPT) for m in values] == [2 * i for i in range(400)]
    assert not long.done()
    (tmp_path / "go").touch()


# Many


def test_of_twenty_thousand_tasks_none_is_lost(shared):
    """Each has its own value."""
    ms = [mirai(tasks.double, i) for i in range(20_000)]

    assert [m.result(DEADLINE) for m in ms] == [2 * i for i in range(20_000)]


def test_a_map_of_twenty_thousand_elements(shared):
    """As well, with the bar."""
    assert mirai_map(range(20_000), tasks.double).collect() == [2 * i for i in range(20_000)]


def test_many_threads_submit_and_wait_at_once(shared):
    """One of them drives the sockets for all, and hands that on."""
    wrong = []

    def work(start):
        try:
            for i in range(start, start + 100):
                if (value := mirai(tasks.double, i, _compute="shared").result(DEADLINE)) != 2 * i:
                    wrong.append((i, value))
            ms = [mirai(tasks.double, i, _compute="shared") for i in range(start, start + 100)]
            if [m.result(DEADLINE) for m in ms] != [2 * i for i in range(start, start + 100)]:
                wrong.append(start)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(1000 * k,)) for k in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)

    assert wrong == []
    assert not any(thread.is_alive() for thread in threads)


def test_large_arguments_and_results_at_once(shared):
    """Neither side may wait with a full socket for the other to read."""
    ms = [mirai(lambda data: data, bytes([i]) * 3_000_000) for i in range(30)]

    assert all(m.result(DEADLINE) == bytes([i]) * 3_000_000 for i, m in enumerate(ms))


def test_large_arrays_at_once(shared):
    """Their buffers travel beside the pickle; they come back the same, whatever their layout."""
    numpy = pytest.importorskip("numpy")
    arrays = [
        numpy.arange(400_000.0),
        numpy.asfortranarray(numpy.arange(90_000.0).reshape(300, 300)),
        numpy.arange(800_000.0)[::2],
        numpy.zeros((0, 3)),
        numpy.array(1.5),
        numpy.array(["a", None], dtype=object),
        numpy.zeros(50_000, dtype=[("x", "i4"), ("y", "f8")]),
    ]

    for _ in range(5):
        ms = [mirai(lambda pair: pair, (array, array)) for array in arrays]
        for array, m in zip(arrays, ms, strict=True):
            first, second = m.result(DEADLINE)
            assert first.dtype == array.dtype
            assert numpy.array_equal(first, array)
            assert numpy.array_equal(second, array)


def test_small_tasks_behind_a_large_one(shared):
    """A large argument is sent in pieces; what follows must not get between them."""
    data = os.urandom(20_000_000)
    ms = [m for _ in range(3) for m in (mirai(len, data), *(mirai(tasks.double, i) for i in range(50)))]

    assert [m.result(DEADLINE) for m in ms] == [20_000_000, *(2 * i for i in range(50))] * 3


# Crashes

ENDS = {
    "exit": ("import os; os._exit(3)", "exited with status 3"),
    "kill": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL); import time; time.sleep(60)", "SIGKILL"),
    "segfault": ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
    "abort": ("import os; os.write(2, b'out of luck\\n'); os.abort()", "SIGABRT.*out of luck"),
    "terminate": ("import os, signal; os.kill(os.getpid(), signal.SIGTERM); import time; time.sleep(60)", "SIGTERM"),
    "close": ("import os; os.closerange(3, 100)", "Bad file descriptor"),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_crash_hurts_only_its_own_task(one, end):
    """It says which daemon it was, and how that ended; the queue is for the others."""
    text, how = ENDS[end]
    victim = status().daemons[0]
    m = mirai(text)
    queued = [mirai(tasks.double, i) for i in range(50)]
    launch_local(1)

    error = m.exception(DEADLINE)

    assert isinstance(error, ConnectionReset)
    with pytest.raises(ConnectionReset, match=rf"(?s)19 \| .*daemon 1 \(pid {victim.pid} on {victim.host}\).*{how}"):
        raise error
    assert [queue.result(DEADLINE) for queue in queued] == [2 * i for i in range(50)]


def test_a_daemon_that_is_killed_among_many_short_tasks_loses_one():
    """Exactly the one that it was evaluating, whatever else it had been given."""
    with daemons(3):
        for round_ in range(2):
            ms = [mirai("import time; time.sleep(0.0002); x", x=i) for i in range(1500)]
            ms[200].result(DEADLINE)

            os.kill(pids()[0], signal.SIGKILL)

            values = collect_mirai(ms)
            lost = [i for i, value in enumerate(values) if isinstance(value, ConnectionReset)]
            assert len(lost) <= 1  # none, where it was killed between two
            assert [value for i, value in enumerate(values) if i not in lost] == [
                i for i in range(1500) if i not in lost
            ]
            assert info().connections == 2 - round_


def test_a_daemon_that_is_killed_in_a_task_loses_that_one(two, tmp_path):
    """And it does lose it."""
    call_mirai([mirai(tasks.double, i) for i in range(500)])
    m = mirai(tasks.begin, tmp_path / "begun")
    rest = [mirai(tasks.double, i) for i in range(500)]
    wait_until((tmp_path / "begun").exists, "the task to begin")
    victim = next(row.pid for row in status().daemons if row.task == m.id)

    os.kill(victim, signal.SIGKILL)

    assert isinstance(m.exception(DEADLINE), ConnectionReset)
    assert [r.result(DEADLINE) for r in rest] == [2 * i for i in range(500)]


def test_an_idle_daemon_that_is_killed_hurts_nobody(two):
    """There is one less."""
    mirai("1").result(DEADLINE)

    os.kill(pids()[0], signal.SIGKILL)
    wait_until(lambda: info().connections == 1, "the daemon to be missed")

    assert [m.result(DEADLINE) for m in mirai_map(range(100), tasks.double)] == [2 * i for i in range(100)]


def test_the_queue_survives_the_last_daemon(one):
    """It is there for one that comes."""
    call_mirai(mirai("import os; os._exit(1)"))
    queued = [mirai(tasks.double, i) for i in range(10)]

    launch_local(1)

    assert [m.result(DEADLINE) for m in queued] == [2 * i for i in range(10)]


def test_a_retried_task_comes_before_those_behind_it():
    """It keeps its place in the queue."""
    with daemons(2, retry=1):
        text = "import os, time; os.mkdir(path) if not os.path.exists(path) and not os._exit else 0; time.monotonic()"
        assert mirai(text, path="").result(DEADLINE)
        call_mirai(mirai("import os; os._exit(1)"))
        assert info().connections == 0
        queued = mirai("import time; time.monotonic()")
        launch_local(1)
        assert queued.result(DEADLINE)


def test_many_crashes_in_a_row():
    """Each loses its task, and nothing else."""
    with daemons(6):
        ms = [mirai("import os; os._exit(1)" if i % 20 == 10 else "x", x=i) for i in range(100)]

        values = collect_mirai(ms)

        assert [i for i, value in enumerate(values) if isinstance(value, ConnectionReset)] == [10, 30, 50, 70, 90]
        assert [value for value in values if not isinstance(value, ConnectionReset)] == [
            i for i in range(100) if i % 20 != 10
        ]
        assert info().connections == 1


# Storms of cancellations


def test_a_storm_of_cancellations_hits_nobody_else(two):
    """Queued tasks, running ones and those about to end, cancelled by thousands: the others have their values."""
    chance = random.Random(1)
    kept, cancelled = [], []
    deadline = time.monotonic() + 6
    while time.monotonic() < deadline and len(cancelled) < 10_000:
        batch = []
        for _ in range(200):
            kind = chance.random()
            if kind < 0.4:
                m = mirai(tasks.double, len(kept))
                kept.append((m, 2 * len(kept)))
            else:
                batch.append(mirai(time.sleep, chance.choice([0, 0, 0.0002, 0.002, 60])))
        chance.shuffle(batch)
        for m in batch:
            m.cancel()
            cancelled.append(m)

    assert [m.result(DEADLINE) for m, _ in kept] == [value for _, value in kept]
    assert all(m.done() for m in cancelled)
    assert info().connections == 2
    assert len(cancelled) > 500


def test_a_storm_of_cancellations_of_running_tasks(one):
    """At every moment of a task's life; the next one has the daemon to itself at once."""
    chance = random.Random(2)
    deadline = time.monotonic() + 4
    rounds = 0
    while time.monotonic() < deadline and rounds < 2000:
        m = mirai(time.sleep, 60)
        pause = time.perf_counter() + chance.random() * 0.0004
        while time.perf_counter() < pause:
            pass
        assert m.cancel()
        assert mirai(tasks.double, rounds).result(PROMPT) == 2 * rounds
        rounds += 1

    assert info()[:2] == (1, 1)


def test_a_storm_of_timeouts(two):
    """They end tasks as cancelling does."""
    ms = [mirai(time.sleep, 0.0005 if i % 2 else 60, _timeout=0.0005 * i) for i in range(200)]
    others = [mirai(tasks.double, i) for i in range(200)]

    assert [m.result(DEADLINE) for m in others] == [2 * i for i in range(200)]
    call_mirai(ms)
    assert mirai_map(range(10), tasks.double).collect() == [2 * i for i in range(10)]


def test_cancellations_from_many_threads(two):
    """While others submit, and wait."""
    ms, kept = [], []
    complete = threading.Event()

    def cancel():
        while not all(m.cancelled() for m in ms) or not complete.is_set():
            for m in ms[-50:] if not complete.is_set() else ms:
                m.cancel()

    threads = [threading.Thread(target=cancel, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for i in range(300):
        ms.append(mirai(time.sleep, 60))
        kept.append(mirai(tasks.double, i))
        ms.append(mirai(time.sleep, 60))
    complete.set()
    for thread in threads:
        thread.join(DEADLINE)

    assert [m.result(DEADLINE) for m in kept] == [2 * i for i in range(300)]
    assert all(isinstance(m.data, Canceled) for m in ms)


# What tasks do to their daemon


def test_a_task_may_fork(one):
    """The child has its own end; the parent, and the connection, are unharmed."""

    def fork():
        child = os.fork()
        if not child:
            os._exit(7)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert mirai(fork).result(DEADLINE) == 7
    assert mirai(tasks.pid).result(DEADLINE) == pids()[0]


def test_a_child_that_returns_from_the_task_is_no_second_daemon(two):
    """It answers nobody, and takes nothing along when it leaves."""
    values = everywhere("import os\nchild = os.fork()\nif child: os.waitpid(child, 0)\nos.getpid()").collect()

    assert sorted(values) == sorted(pids())
    launch_local(1)
    wait_until(lambda: info().connections == 3, "a new daemon to connect: the address must still be there")


def test_a_child_that_outlives_its_daemon_does_not_hide_its_end(one, tmp_path):
    """It may hold copies of what was open."""
    child = mirai(
        "import os, time\nchild = os.fork()\nif not child:\n    time.sleep(60)\n    os._exit(0)\nchild"
    ).result(DEADLINE)
    m = mirai(tasks.begin, tmp_path / "begun")
    wait_until((tmp_path / "begun").exists, "the task to begin")

    os.kill(pids()[0], signal.SIGKILL)

    assert isinstance(m.exception(DEADLINE), ConnectionReset)
    os.kill(child, signal.SIGKILL)


def test_a_task_may_use_multiprocessing(one):
    """With each way to start a process."""

    def work(method):
        import multiprocessing

        with multiprocessing.get_context(method).Pool(1) as pool:
            return pool.map(abs, [-1, -2])

    for method in ("fork", "spawn"):
        assert mirai(work, method).result(DEADLINE) == [1, 2]


def test_a_task_may_start_threads_that_go_on(one):
    """They are not interrupted with it, and do not answer for it."""

    def start():
        done = threading.Event()
        thread = threading.Thread(target=lambda: done.wait(60), daemon=True)
        thread.start()
        return thread.is_alive()

    assert mirai(start).result(DEADLINE) is True
    m = mirai(time.sleep, 60)
    m.cancel()
    assert mirai(tasks.double, 1).result(PROMPT) == 2


def test_a_task_may_leave_a_thread_that_never_ends():
    """A daemon leaves in time, whoever still runs in it."""
    with daemons(1):
        text = "import threading, time; threading.Thread(target=time.sleep, args=(300,)).start()"
        assert mirai(text).result(DEADLINE) is None
        began = time.monotonic()

    assert time.monotonic() - began < 1.5


@pytest.mark.parametrize("output", [False, True])
def test_tasks_may_print_megabytes(output, capfd):
    """To stdout and stderr; a full pipe would stop them."""
    text = "import sys\nfor _ in range(30_000): print('x' * 99); print('y' * 99, file=sys.stderr)"
    with daemons(2, output=output):
        assert collect_mirai([mirai(text) for _ in range(2)]) == [None, None]

    out, err = capfd.readouterr()
    assert (out.count("x" * 99 + "\n"), err.count("y" * 99 + "\n")) == ((60_000, 60_000) if output else (0, 0))


def test_output_comes_line_by_line(capfd):
    """Lines of several daemons are not mixed up; the last one need not end."""
    with daemons(2, output=True):
        mirai_map(range(200), lambda i: print(f"line {i}", "z" * 200)).collect()
        mirai("print('the end', end='')").result(DEADLINE)

    lines = capfd.readouterr().out.splitlines()
    assert sorted(lines) == sorted([f"line {i} " + "z" * 200 for i in range(200)] + ["the end"])


@pytest.mark.parametrize(
    "text", ["input()", "import sys; sys.stdin.read()", "import subprocess; subprocess.run(['cat'])"]
)
def test_a_task_that_reads_its_standard_input_finds_the_end(one, text):
    """Nobody is there to type anything."""
    call_mirai(m := mirai(text, _timeout=PROMPT))

    assert not isinstance(m.data, TimedOut)


def test_a_task_may_close_its_standard_streams(one):
    """What it then prints is its own affair."""
    assert mirai("import os; os.close(1); os.close(2); 1").result(DEADLINE) == 1
    assert mirai("import sys; sys.stdout = sys.stderr = None; print(2); 3").result(DEADLINE) == 3
    assert mirai(tasks.double, 1).result(DEADLINE) == 2


@pytest.mark.parametrize(
    "text",
    [
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); None",
        "import gc; gc.disable()",
        "import sys; sys.setrecursionlimit(100)",
        "import sys; sys.settrace(lambda *a: None)",
        "import threading; threading.Thread(target=lambda: 1 / 0).start()",
        "import sys; del sys.modules['__main__']",
        "import os; os.chdir('/'); os.environ.clear()",
        "import atexit; atexit.register(lambda: 1 / 0); None",
        "import sys; sys.exit = None",
        "import faulthandler; faulthandler.disable()",
        "import locale, socket; socket.setdefaulttimeout(0.001)",
    ],
)
def test_a_daemon_survives_what_a_task_changes(one, text):
    """Others' tasks come after it."""
    assert mirai(text).exception(DEADLINE) is None

    assert mirai("x + 1", x=1).result(PROMPT) == 2
    assert mirai(lambda: 3).result(PROMPT) == 3
    m = mirai(time.sleep, 60)
    m.cancel()
    assert mirai(tasks.double, 2).result(PROMPT) == 4


# The host forks


def test_a_forked_host_has_no_profiles_and_harms_none(run_host):
    """The child starts anew, with daemons of its own where it wants some; the parent's go on."""
    output = run_host("""
        import os, sys, warnings
        warnings.simplefilter("ignore", DeprecationWarning)

        daemons(2)
        m = mirai("import time; time.sleep(0.2); 5")
        before = mirai("1")
        before.result()
        child = os.fork()
        if not child:
            assert not daemons_set(), "a profile"
            assert info() is None
            assert before.data == 1
            assert m.data.code == 19, m.data
            with daemons(1):
                assert mirai("2").result(10) == 2
            assert mirai("3").result(10) == 3
            sys.stdout.flush()
            sys.exit(9)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(code, m.result(10), mirai("4").result(10), info().connections)
        daemons(0)
    """)

    assert output == "9 5 4 2"


def test_a_host_forked_in_a_thread_or_while_others_wait(run_host):
    """Whoever drives the sockets then, it is not in the child."""
    output = run_host("""
        import os, threading, warnings
        warnings.simplefilter("ignore", DeprecationWarning)

        daemons(2)
        stop = threading.Event()

        def work():
            while not stop.is_set():
                assert mirai("1").result(10) == 1

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        codes = []

        def fork():
            child = os.fork()
            if not child:
                try:
                    with daemons(1):
                        os._exit(mirai("7").result(10))
                finally:
                    os._exit(1)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

        for _ in range(4):
            fork()
            thread = threading.Thread(target=fork)
            thread.start()
            thread.join()
        stop.set()
        for thread in threads:
            thread.join()
        print(codes, info().connections)
        daemons(0)
    """)

    assert output == "[7, 7, 7, 7, 7, 7, 7, 7] 2"


def test_a_host_may_use_multiprocessing(run_host):
    """Its workers are forked, or start anew, and end while the host's daemons go on."""
    output = run_host("""
        import multiprocessing, warnings
        warnings.simplefilter("ignore", DeprecationWarning)

        def work(x):
            with daemons(1):
                return mirai("x + 1", x=x).result(10)

        if __name__ == "__main__":
            daemons(1)
            for method in ("fork", "spawn"):
                with multiprocessing.get_context(method).Pool(2) as pool:
                    print(pool.map(work, [1, 2]))
            print(mirai("4").result(10))
            daemons(0)
    """)

    assert output.splitlines() == ["[2, 3]", "[2, 3]", "4"]


# The end of the host

RUNNING = """
import os, sys, time

daemons(3)
sleeping = mirai("import time; time.sleep(300)")
busy = mirai("while True: pass")
stubborn = mirai('''
import time
while True:
    try:
        time.sleep(300)
    except BaseException:
        pass
''')
queued = [mirai("1") for _ in range(10)]
while status().mirai.executing < 3:
    time.sleep(0.001)
"""


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("", 0),
        ("sys.exit(4)", 4),
        ("raise SystemExit", 0),
        ("raise RuntimeError('end')", 1),
        ("os._exit(5)", 5),
        ("os.kill(os.getpid(), 9)", -9),
        ("os.kill(os.getpid(), 15)", -15),
        ("os.abort()", -6),
        ("os.execv('/bin/true', ['true'])", 0),
    ],
)
def test_when_the_host_ends_nothing_of_it_stays(start_host, end, code):
    """However it ends and whatever still runs: no process, no directory. The check after each test looks for them."""
    began = time.monotonic()
    host = start_host(RUNNING + end)

    status, output, errors = host.end()

    assert (status, output) == (code, "")
    assert errors == "" or ("RuntimeError: end" in errors and errors.count("Traceback") == 1)
    assert time.monotonic() - began < 10


def test_when_a_host_is_killed_while_it_starts_daemons_nothing_stays(start_host, tmp_path):
    """They find nobody to dial, and leave."""
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "sitecustomize.py").write_text(f"""
import os, time
if "HOST" in os.environ:
    open({str(tmp_path / "started")!r}, "w").close()
    while os.getppid() == int(os.environ["HOST"]):
        time.sleep(0.01)
""")
    path = os.pathsep.join(filter(None, [str(tmp_path / "first"), os.environ.get("PYTHONPATH")]))
    text = "import os; os.environ['HOST'] = str(os.getpid()); daemons(2)"
    host = start_host(text, {**os.environ, "PYTHONPATH": path})
    wait_until((tmp_path / "started").exists, "a daemon's process to begin")

    host.process.kill()

    host.end()


def assert_leaves(daemon, host):
    """Kill the host, and see that its daemon leaves."""
    host.process.kill()
    try:
        wait_until(lambda: not daemon.is_running(), "the daemon to leave", timeout=PROMPT)
    finally:
        if daemon.is_running():
            daemon.kill()
        host.end()


def test_when_a_host_is_killed_a_daemon_with_threads_leaves(start_host):
    """Those that a task left running keep a process alive, in Python."""
    host = start_host("""
        import time
        daemons(1)
        mirai("import threading, time; threading.Thread(target=time.sleep, args=(300,)).start()").result()
        print(status().daemons[0].pid, flush=True)
        time.sleep(60)
    """)

    assert_leaves(psutil.Process(int(host.line())), host)


def test_when_a_host_without_daemons_is_killed_its_tasks_processes_leave(start_host):
    """Ephemeral ones too."""
    host = start_host("""
        import time
        ms = [mirai("import time; time.sleep(300)") for _ in range(2)]
        while not all(m.running() for m in ms):
            time.sleep(0.001)
        print("run", flush=True)
        time.sleep(60)
    """)
    host.line()

    host.process.kill()

    host.end()


def test_when_a_host_is_killed_a_daemon_that_hears_nothing_leaves(start_host):
    """Some calls never let another thread run: the end must then come from outside of Python."""
    host = start_host("""
        import time
        daemons(1)
        m = mirai("import re; open(path, 'w').close(); re.match('(a+)+$', 'a' * 60 + 'b')", path=__file__ + ".begun")
        while not __import__("os").path.exists(__file__ + ".begun"):
            time.sleep(0.001)
        print(status().daemons[0].pid, flush=True)
        time.sleep(60)
    """)

    assert_leaves(psutil.Process(int(host.line())), host)


def test_the_host_ends_when_its_threads_have_what_they_wait_for(start_host):
    """As any program does: threads that are not daemon threads keep it, and their daemons with it."""
    host = start_host("""
        import sys, threading
        daemons(1)
        m = mirai("import time; time.sleep(0.5); 'done'")

        def wait():
            sys.stdout.write(f"{m.result()}\\n")

        threads = [threading.Thread(target=wait) for _ in range(3)]
        for thread in threads:
            thread.start()
    """)

    assert host.end() == (0, "done\n" * 3, "")


def test_the_host_may_end_while_daemon_threads_submit(start_host):
    """In the middle of anything."""
    host = start_host("""
        import threading, time
        daemons(2)

        def work():
            while True:
                try:
                    mirai("1").result()
                except Exception:
                    return

        for _ in range(4):
            threading.Thread(target=work, daemon=True).start()
        time.sleep(0.2)
    """)

    assert host.end() == (0, "", "")


def test_objects_of_the_host_may_live_to_its_very_end(run_host):
    """Mirais and maps in module globals, resolved or not, with callbacks."""
    output = run_host("""
        daemons(1)
        m = mirai("1")
        mp = mirai_map(range(3), lambda x: x)
        late = mirai("import time; time.sleep(300)")
        late.add_done_callback(lambda m: print(type(m.data).__name__))
        print(m.result(), mp.collect())
        import atexit
        atexit.register(lambda: print(late, m.data))
    """)

    first, second, third = output.splitlines()
    assert (first, third) == ("1 [0, 1, 2]", "ConnectionReset")
    assert second.startswith("< mirai [] >")


# Again and again


def test_setting_and_resetting_leaks_nothing():
    """No descriptor, thread, process or file, over many cycles, and no cycle fails."""
    daemons(2)
    daemons(0)
    before = take_inventory()

    for i in range(50):
        daemons(2)
        if i % 5 == 0:
            assert mirai_map(range(4), tasks.double).collect() == [0, 2, 4, 6]
        daemons(0)
        if i % 10 == 9:
            assert leftovers(before) == []


def test_ephemeral_daemons_leak_nothing():
    """They are started one after the other."""
    assert [mirai("x", x=i).result(DEADLINE) for i in range(5)] == list(range(5))
    assert collect_mirai([mirai("x", x=i) for i in range(5)]) == list(range(5))


def test_a_daemons_memory_does_not_grow_with_its_tasks(one):
    """What a task was given and returned is gone with it; what a map shared, after some more maps."""
    memory = "import psutil; psutil.Process().memory_info().rss"
    data = bytes(4_000_000)
    for _ in range(10):
        mirai(len, data).result(DEADLINE)
        mirai_map([1], lambda i, data: i, data).collect()
    before = mirai(memory).result(DEADLINE)

    for _ in range(20):
        mirai(len, data).result(DEADLINE)
        mirai_map([1], lambda i, data: i, data).collect()

    assert mirai(memory).result(DEADLINE) - before < 40_000_000


def test_the_hosts_memory_does_not_grow_with_its_tasks(run_host):
    """Nor with timeouts that did not pass, callbacks, or cancelled tasks."""
    output = run_host("""
        import gc, psutil, time

        def use():
            ms = [mirai("x", x=bytes(2000), _timeout=1000) for _ in range(1000)]
            ms += mirai_map(range(1000), lambda i: bytes(2000))
            cancelled = [mirai(time.sleep, 60) for _ in range(500)]
            for m in cancelled:
                m.cancel()
            for m in ms:
                m.add_done_callback(lambda m: None)
            collect_mirai(ms)

        with daemons(2):
            for _ in range(3):
                use()
            gc.collect()
            before = psutil.Process().memory_info().rss
            for _ in range(7):
                use()
            gc.collect()
            print(psutil.Process().memory_info().rss - before < 10_000_000)
    """)

    assert output == "True"


def test_importing_starts_nothing():
    """No thread, process or file before daemons are set or a task is sent."""
    text = "import threading, mirai; from mirai import *; print(threading.active_count(), daemons_set(), info())"

    assert subprocess.check_output([sys.executable, "-c", text], text=True, cwd=Path(os.sep)) == "1 False None\n"
    assert psutil.Process().num_threads() >= 1
