"""Whoever waits, works: one thread drives the sockets for all, and hands that on."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from mirai import daemons, info, mirai
from mirai.runtime import lead
from mirai.runtime.once import Once
from tests.core import tasks
from tests.waiting import wait_until

DEADLINE = 20  # seconds; what takes longer hangs
SOON = 10  # seconds; what takes longer was not woken


@pytest.fixture
def leading():
    """The lead of this process, with its I/O thread."""
    yield lead.join()
    lead.leave()


@pytest.fixture
def pipe(leading):
    """A pipe whose reading end is driven by the lead, and the bytes that were read, with who read them."""
    reading, writing = os.pipe()
    heard = []
    leading.register(reading, lambda events: heard.append((os.read(reading, 1), threading.current_thread())))
    yield writing, heard
    leading.unregister(reading)
    os.close(reading)
    os.close(writing)


class Thread(threading.Thread):
    """Waits for `once` as a thread that wants a result does."""

    def __init__(self, leading, once, timeout=DEADLINE):
        super().__init__()
        self.outcome = None
        self._wait = lambda: leading.wait(once, timeout)
        self.start()

    def run(self):
        self.outcome = self._wait()


# Who drives


def test_when_nobody_waits_the_io_thread_drives(pipe):
    """Callbacks, and asyncio, rely on it."""
    writing, heard = pipe

    os.write(writing, b"a")

    wait_until(lambda: heard, "the byte to be read")
    assert heard[0][0] == b"a"
    assert heard[0][1].name == "mirai-io"


def test_a_thread_that_waits_drives(leading, pipe):
    """That saves it the switch to another thread and back."""
    writing, heard = pipe
    once = Once()
    thread = Thread(leading, once)
    wait_until(lambda: leading._leader == thread.ident, "the thread to take the lead")

    os.write(writing, b"a")

    wait_until(lambda: heard == [(b"a", thread)], lambda: f"the thread to read the byte: {heard}")
    once.happen()
    leading.wake()
    thread.join(SOON)
    assert thread.outcome is True


def test_the_lead_is_handed_to_a_thread_that_still_waits(leading, pipe):
    """One after the other, until nobody waits and the I/O thread has it again."""
    writing, heard = pipe
    onces = [Once() for _ in range(5)]
    threads = [Thread(leading, once) for once in onces]
    waiting = list(zip(onces, threads, strict=True))

    while waiting:
        idents = [thread.ident for _, thread in waiting]
        wait_until(lambda idents=idents: leading._leader in idents, "one of those that wait to take the lead")
        once, thread = waiting.pop(idents.index(leading._leader))
        once.happen()
        leading.wake()
        thread.join(SOON)
        assert thread.outcome is True
    os.write(writing, b"a")

    wait_until(lambda: heard, "the byte to be read")
    assert heard[0][1].name == "mirai-io"


def test_one_that_follows_is_woken_by_its_own_event(leading):
    """It does not have to wait for the one that leads."""
    first, second = Once(), Once()
    leader = Thread(leading, first)
    wait_until(lambda: leading._leader == leader.ident, "the first thread to take the lead")
    follower = Thread(leading, second)
    wait_until(lambda: second._wakers, "the second thread to wait")

    second.happen()

    follower.join(SOON)
    assert follower.outcome is True
    assert leader.is_alive()
    first.happen()
    leading.wake()
    leader.join(SOON)
    assert leader.outcome is True


def test_who_submits_looks_at_the_sockets_also_where_another_thread_leads(leading, pipe):
    """That one may not get the interpreter for long, and the daemons would have nothing to do meanwhile."""
    writing, heard = pipe
    stuck, free = threading.Event(), threading.Event()
    leading.call_at(0.0, lambda: (stuck.set(), free.wait(DEADLINE)))
    assert stuck.wait(DEADLINE), "a timer is called by who leads"

    os.write(writing, b"a")
    wait_until(lambda: leading.poke() or heard, "the byte to be read")
    free.set()

    assert heard == [(b"a", threading.current_thread())]


def test_what_has_happened_is_not_waited_for(leading):
    """Not even to look at the clock."""
    once = Once()
    once.happen()
    once.happen()

    assert leading.wait(once)
    assert leading.wait(once, 0)


def test_who_waits_looks_again_and_again_before_it_sleeps(leading, monkeypatch):
    """To be woken takes longer than a short task does."""
    monkeypatch.setattr(lead, "SPIN", DEADLINE)
    here, once, looks = threading.get_ident(), Once(), []
    poll = leading._poller.poll

    def watched(timeout):
        if threading.get_ident() == here:
            looks.append(timeout)
            if len(looks) == 5:
                once.happen()
                leading.wake()
        return poll(timeout)

    monkeypatch.setattr(leading._poller, "poll", watched)
    assert leading.wait(once)

    assert looks
    assert set(looks) == {0}


def test_who_has_looked_again_in_vain_sleeps_at_once_the_next_time(leading, monkeypatch):
    """A processor that looks is one less for the daemons."""
    monkeypatch.setattr(lead, "SPIN", 0.0)
    here, timeouts = threading.get_ident(), []
    poll = leading._poller.poll

    def watched(timeout):
        if threading.get_ident() == here:
            timeouts.append(timeout)
        return poll(timeout)

    monkeypatch.setattr(leading._poller, "poll", watched)
    waits = []
    for _ in range(3):
        timeouts.clear()
        assert not leading.wait(Once(), 0.05)
        waits.append(0 in timeouts)

    assert waits == [True, False, True]


@pytest.mark.parametrize("others", [0, 1, 3])
def test_a_wait_ends_at_its_time(leading, others):
    """Whether it leads or follows; others wait on."""
    never = Once()
    threads = [Thread(leading, never) for _ in range(others)]
    began = time.monotonic()

    assert not leading.wait(Once(), 0.05)

    assert 0.04 < time.monotonic() - began < SOON
    assert all(thread.is_alive() for thread in threads)
    never.happen()
    leading.wake()
    for thread in threads:
        thread.join(SOON)


@pytest.mark.parametrize("timeout", [1e6, 3e6, 1e10, float("inf")])
def test_a_wait_may_be_as_long_as_you_like(leading, timeout):
    """epoll_wait(2) takes milliseconds in an int, a lock nanoseconds in 64 bits."""
    once = Once()
    threads = [Thread(leading, once, timeout) for _ in range(2)]
    wait_until(lambda: leading._leader, "somebody to take the lead")

    once.happen()
    leading.wake()

    for thread in threads:
        thread.join(SOON)
    assert [thread.outcome for thread in threads] == [True, True]


def test_threads_that_come_and_go_lose_nothing(leading, pipe):
    """The lead changes hands thousands of times; every event is noticed by the one that waits for it."""
    writing, _ = pipe
    deadline = time.monotonic() + 1.5
    late = []

    def work(number):
        while time.monotonic() < deadline:
            once = Once()
            timer = threading.Timer(0.0005 * (number % 3), lambda: (once.happen(), leading.wake()))
            timer.start()
            if not leading.wait(once, SOON):
                late.append(number)
            timer.join()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    while time.monotonic() < deadline:
        os.write(writing, b"a")
        time.sleep(0.001)
    for thread in threads:
        thread.join(DEADLINE)

    assert late == []


# Timers


def test_timers_are_called_in_their_order(leading):
    """At their time, not before."""
    called = []
    done = Once()
    now = time.monotonic()

    for delay in (0.03, 0.01, 0.02):
        leading.call_at(now + delay, lambda delay=delay: called.append((delay, time.monotonic() >= now + delay)))
    leading.call_at(now + 0.04, done.happen)

    assert leading.wait(done, SOON)
    assert called == [(0.01, True), (0.02, True), (0.03, True)]


def test_a_timer_can_be_cancelled(leading):
    """Then it is not called."""
    called = []
    done = Once()
    leading.call_at(time.monotonic() + 0.01, lambda: called.append(1)).cancel()
    leading.call_at(time.monotonic() + 0.03, done.happen)

    assert leading.wait(done, SOON)
    assert called == []


def test_timers_are_called_when_nobody_waits(leading):
    """By the I/O thread, which sleeps otherwise."""
    called = threading.Event()

    leading.call_at(time.monotonic() + 0.02, called.set)

    assert called.wait(SOON)


@pytest.mark.parametrize("delay", [1e6, 3e6, 1e10, float("inf")])
def test_a_timer_may_be_as_far_as_you_like(leading, pipe, delay):
    """A task may have a month; the I/O thread must not end for that."""
    writing, heard = pipe
    timer = leading.call_at(time.monotonic() + delay, lambda: None)
    wait_until(lambda: leading._leader, "the I/O thread to sleep until then")

    os.write(writing, b"a")

    wait_until(lambda: heard, "the byte to be read", timeout=SOON)
    timer.cancel()


def test_who_looks_at_the_sockets_in_passing_wakes_the_leader_all_the_same(leading):
    """A timer that was just set must not be slept over, as that look was what the leader was woken for."""
    for _ in range(200):
        rung = threading.Event()
        leading._polled = 0.0
        leading.call_at(time.monotonic() + 0.0001, rung.set)
        leading.poke()
        assert rung.wait(SOON)


def test_cancelled_timers_take_no_memory(leading):
    """Tasks with a timeout come by the million, and most are done in time."""
    for _ in range(10_000):
        leading.call_at(time.monotonic() + 3600, lambda: None).cancel()
    done = Once()
    leading.call_at(time.monotonic() + 0.01, done.happen)

    assert leading.wait(done, SOON)
    wait_until(
        lambda: len(leading._timers) < 5000, lambda: f"{len(leading._timers)} timers to be dropped", timeout=SOON
    )
    leading._timers.clear()


def test_a_callback_may_register_and_cancel(leading):
    """Timers and sockets, while they are being looked at."""
    done = Once()
    second = leading.call_at(time.monotonic() + 0.02, lambda: pytest.fail("was cancelled"))

    def first():
        second.cancel()
        leading.call_at(time.monotonic() + 0.02, done.happen)

    leading.call_at(time.monotonic() + 0.01, first)

    assert leading.wait(done, SOON)


def test_a_callback_that_raises_does_not_end_the_io_thread(leading, pipe, caplog):
    """Nobody would ever hear of anything again."""
    writing, heard = pipe

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "excepthook", lambda args: None)
        leading.call_at(time.monotonic(), lambda: 1 / 0)
        os.write(writing, b"a")
        wait_until(lambda: heard, "the byte to be read", timeout=SOON)
        os.write(writing, b"b")
        wait_until(lambda: len(heard) == 2, "the next byte to be read", timeout=SOON)

    assert leading._thread.is_alive()


# A callback that waits


def test_a_callback_may_wait(leading, pipe):
    """It drives the sockets itself meanwhile, as it has the lead."""
    writing, heard = pipe
    outer = Once()

    def wait():
        inner = Once()
        leading.call_at(time.monotonic() + 0.01, inner.happen)
        if leading.wait(inner, SOON):
            outer.happen()
            leading.wake()

    leading.call_at(time.monotonic(), wait)

    assert leading.wait(outer, 2 * SOON)


# Closing


def test_the_last_to_leave_ends_the_io_thread():
    """Nothing is left: no thread, no descriptor. The check after each test looks for them."""
    first = lead.join()
    second = lead.join()
    thread = first._thread

    assert first is second
    lead.leave()
    assert thread.is_alive()
    lead.leave()
    assert not thread.is_alive()
    third = lead.join()
    lead.leave()
    assert third is not first


def test_coming_and_going_a_thousand_times():
    """Closing is a race with a thread that is just looking."""
    for i in range(1000):
        leading = lead.join()
        if i % 2:
            leading.call_at(time.monotonic(), lambda: None)
        if i % 3 == 0:
            leading.wait(Once(), 0)
        lead.leave()


def test_closing_in_a_callback():
    """The lead is given up in a moment, and that closes."""
    leading = lead.join()
    left = threading.Event()

    leading.call_at(time.monotonic(), lambda: (lead.leave(), left.set()))

    assert left.wait(SOON)


def test_who_waits_when_it_closes_goes_on():
    """What it waits for has happened, or never will."""
    leading = lead.join()
    once = Once()
    thread = Thread(leading, once)
    wait_until(lambda: leading._leader == thread.ident, "the thread to take the lead")

    once.happen()
    lead.leave()

    thread.join(SOON)
    assert thread.outcome is True


# With daemons


def test_threads_that_wait_for_tasks_of_their_own(two):
    """Each has its result when it is there, not when the leader has its own."""
    results = {}

    def work(i):
        results[i] = [mirai(tasks.double, x).result(DEADLINE) for x in range(200)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)

    assert results == {i: [2 * x for x in range(200)] for i in range(8)}


def test_threads_that_wait_for_the_same_task(two, tmp_path):
    """All of them have its result."""
    m = mirai(tasks.begin_and_wait, tmp_path / "begun", tmp_path / "go")
    results = []
    threads = [threading.Thread(target=lambda: results.append(m.result(DEADLINE))) for _ in range(8)]
    for thread in threads:
        thread.start()

    (tmp_path / "go").touch()
    for thread in threads:
        thread.join(DEADLINE)

    assert results == ["released"] * 8


def test_a_thread_that_gives_up_leaves_the_others_waiting(two, tmp_path):
    """The one that leads may be the one whose time is over."""
    m = mirai(tasks.begin_and_wait, tmp_path / "begun", tmp_path / "go")
    outcomes = []

    def work(timeout):
        try:
            outcomes.append(m.result(timeout))
        except TimeoutError:
            outcomes.append("gave up")
            if outcomes.count("gave up") == 4:
                (tmp_path / "go").touch()

    threads = [threading.Thread(target=work, args=(t,)) for t in (0.02, DEADLINE, 0.04, DEADLINE, 0.06, 0.08)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)

    assert sorted(outcomes) == ["gave up"] * 4 + ["released"] * 2


def test_results_arrive_while_nobody_waits(two):
    """The I/O thread takes them in: `done()` turns true, callbacks are called."""
    threads = []
    m = mirai("import time; time.sleep(0.02)")
    m.add_done_callback(lambda _: threads.append(threading.current_thread().name))

    wait_until(m.done, "the task to be done")

    wait_until(lambda: threads == ["mirai-io"], lambda: f"the callback to be called: {threads}")


def test_a_task_that_is_submitted_by_a_busy_thread_is_sent(two, tmp_path):
    """Who submits many does not have to wait in between."""
    ms = [mirai(tasks.double, i) for i in range(2000)]
    deadline = time.monotonic() + DEADLINE

    while not all(m.done() for m in ms):
        assert time.monotonic() < deadline

    assert [m.data for m in ms] == [2 * i for i in range(2000)]


def test_profiles_share_one_lead(one):
    """A process has one I/O thread, however many profiles."""
    with daemons(1, compute="other"):
        names = [thread.name for thread in threading.enumerate()]
        assert names.count("mirai-io") == 1
        assert mirai("1").result(DEADLINE) + mirai("2", _compute="default").result(DEADLINE) == 3


# Ctrl-C


WAITS = {
    "result": "m.result()",
    "result with a timeout": "m.result(60)",
    "exception": "m.exception()",
    "collect": "collect_mirai([m])",
    "collect with progress": "collect_mirai([m], progress=True)",
    "collect with stop": "collect_mirai([m], stop=True)",
    "race": "race_mirai([m])",
    "as_completed": "list(mirai_map([1], lambda x: __import__('time').sleep(300)).as_completed())",
    "concurrent.futures.wait": "concurrent.futures.wait([m])",
    "concurrent.futures.as_completed": "list(concurrent.futures.as_completed([m]))",
    "wrap_future": "asyncio.run(wait_wrapped(m))",
}


@pytest.mark.parametrize("wait", WAITS)
def test_ctrl_c_abandons_the_wait_only(start_host, wait):
    """The task goes on, and so do the others, and their daemons, which do not hear of it."""
    host = start_host(f"""
        import asyncio, concurrent.futures, os, sys, time

        async def wait_wrapped(m):
            await asyncio.shield(asyncio.wrap_future(m))

        daemons(2)
        m = mirai("import os, time\\nwhile not os.path.exists(path): time.sleep(0.002)\\n'went on'", path=__file__ + ".go")
        while not m.running():
            time.sleep(0.001)
        print("waits", flush=True)
        try:
            {WAITS[wait]}
        except KeyboardInterrupt:
            print("abandoned", m.done(), mirai("1").result(10) if {wait != "as_completed"} else 1, flush=True)
        open(__file__ + ".go", "w").close()
        print(m.result(10), flush=True)
        daemons(0)
    """)
    assert host.line() == "waits"
    # Until it does: that it waits is all that can be seen from here.
    wait_until(lambda: is_asleep(host.process.pid), "the host to wait")

    host.process.send_signal(signal.SIGINT)

    assert host.line() == "abandoned False 1"
    assert host.line() == "went on"
    code, _, errors = host.end()
    assert code == 0
    assert "Traceback" not in errors


def is_asleep(pid: int) -> bool:
    import psutil

    thread = psutil.Process(pid)
    before = thread.cpu_times()
    time.sleep(0.03)
    return thread.status() == psutil.STATUS_SLEEPING and thread.cpu_times() == before


def test_ctrl_c_in_asyncio_cancels_what_is_awaited(start_host):
    """It cancels the main task there, and with it the mirai that is awaited; the daemon is free."""
    host = start_host("""
        import asyncio, sys

        async def main(m):
            print("waits", flush=True)
            await m

        daemons(1)
        m = mirai("import time; time.sleep(300)")
        try:
            asyncio.run(main(m))
        except KeyboardInterrupt:
            print(m.cancelled(), mirai("1").result(10))
        daemons(0)
    """)
    host.line()
    wait_until(lambda: is_asleep(host.process.pid), "the host to wait")

    host.process.send_signal(signal.SIGINT)

    assert host.end() == (0, "True 1\n", "")


def test_ctrl_c_that_nobody_catches_ends_the_host(start_host):
    """With its traceback, and everything it started."""
    host = start_host("""
        daemons(2)
        ms = [mirai("import time; time.sleep(300)") for _ in range(3)]
        print("waits", flush=True)
        collect_mirai(ms)
    """)
    host.line()
    wait_until(lambda: is_asleep(host.process.pid), "the host to wait")

    host.process.send_signal(signal.SIGINT)

    code, _, errors = host.end()
    assert code == -signal.SIGINT
    assert errors.count("Traceback") == 1
    assert errors.rstrip().endswith("KeyboardInterrupt")


def test_ctrl_c_while_another_thread_waits(start_host):
    """It is for the main thread, whoever drives the sockets."""
    host = start_host("""
        import threading, time
        daemons(1)
        m = mirai("import os, time\\nwhile not os.path.exists(path): time.sleep(0.002)", path=__file__ + ".go")
        thread = threading.Thread(target=m.result)
        thread.start()
        print("waits", flush=True)
        try:
            m.result()
        except KeyboardInterrupt:
            print("abandoned", thread.is_alive(), flush=True)
        open(__file__ + ".go", "w").close()
        thread.join()
        daemons(0)
    """)
    host.line()
    wait_until(lambda: is_asleep(host.process.pid), "the host to wait")

    host.process.send_signal(signal.SIGINT)

    assert host.end() == (0, "abandoned True\n", "")


def test_ctrl_c_while_daemons_start(start_host, tmp_path):
    """Those that were started leave, and the profile is not set."""
    (tmp_path / "sitecustomize.py").write_text("import os, time; 'SLOW' in os.environ and time.sleep(60)")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    host = start_host(
        """
        import os
        os.environ["SLOW"] = "1"
        print("waits", flush=True)
        try:
            daemons(2)
        except KeyboardInterrupt:
            print(daemons_set())
        """,
        {**os.environ, "PYTHONPATH": path},
    )
    host.line()
    wait_until(lambda: is_asleep(host.process.pid), "the host to wait")

    host.process.send_signal(signal.SIGINT)

    assert host.end() == (0, "False\n", "")


def test_a_storm_of_ctrl_c_tears_nothing(run_host):
    """At any moment of submitting, waiting, cancelling: every task is resolved, and counted, and daemons serve on."""
    output = run_host("""
        import os, signal, threading, time

        armed, caught = False, 0

        def interrupt(number, frame):
            global armed
            if armed:
                armed = False
                raise KeyboardInterrupt

        def storm():
            while not stop.wait(0.001):
                os.kill(os.getpid(), signal.SIGINT)

        def step():
            for i in range(20):
                ms.append(mirai("x", x=i))
            ms.append(mirai("import time; time.sleep(60)", _timeout=0.3))
            ms[-1].cancel()
            ms.extend(mirai_map([1], abs))
            for m in ms[-10:]:
                m.add_done_callback(lambda m: None)
            collect_mirai(ms[-22:])
            info()

        signal.signal(signal.SIGINT, interrupt)
        stop = threading.Event()
        ms = []
        daemons(2)
        thread = threading.Thread(target=storm)
        thread.start()
        end = time.monotonic() + 4
        while time.monotonic() < end and len(ms) < 10_000:  # they are submitted faster than they are done
            try:
                armed = True
                step()
                armed = False
            except KeyboardInterrupt:
                caught += 1
        stop.set()
        thread.join()

        end = time.monotonic() + 10
        while info()[2:4] != (0, 0) and time.monotonic() < end:
            time.sleep(0.01)
        print(tuple(info()[:4]), sum(not m.done() for m in ms), flush=True)
        print(mirai_map(range(100), abs).collect() == list(range(100)), caught > 10)
        daemons(0)
    """)

    assert output.splitlines() == ["(2, 2, 0, 0) 0", "True True"]


def test_counts_are_right_after_all_that(one):
    """Nothing that was abandoned is forgotten."""
    m = mirai("import time; time.sleep(0.05); 3")
    with pytest.raises(TimeoutError):
        m.result(0.001)

    assert m.result(DEADLINE) == 3
    assert info() == (1, 1, 0, 0, 1)
