"""Code that runs in the middle of ours: finalizers, and signal handlers, at any moment, in a thread that holds a lock."""

from __future__ import annotations

import pytest


def test_the_garbage_collector_may_cancel(run_host):
    """It may run at any moment, in any thread: what cancels its mirai as it goes must not find a lock taken."""
    output = run_host("""
        import gc, time

        class Handle:
            def __init__(self, m):
                self.m, self.cycle = m, self

            def __del__(self):
                self.m.cancel()
                self.m.done(), self.m.data, self.m.running(), info()

        with daemons(2):
            gc.set_threshold(20)
            end = time.monotonic() + 2
            while time.monotonic() < end:
                handles = [Handle(mirai(time.sleep, 0.0001)) for _ in range(20)]
                assert mirai("1").result(10) == 1
            print("done")
    """)

    assert output == "done"


@pytest.mark.parametrize("delay", [0.5, 0.503, 0.507, 0.511])
def test_a_signal_handler_may_reset_and_exit(start_host, delay):
    """SIGTERM is how a service is told to end; it may come at any moment."""
    host = start_host(f"""
        import os, signal, sys, threading

        def stop(number, frame):
            daemons(0)
            sys.exit(3)

        signal.signal(signal.SIGTERM, stop)
        daemons(2)
        threading.Timer({delay}, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
        while True:
            collect_mirai([mirai("x", x=i) for i in range(50)])
    """)

    assert host.end() == (3, "", "")


def test_a_signal_handler_may_cancel_and_ask(run_host):
    """At any moment, without an exception."""
    output = run_host("""
        import signal, time

        busy, calls, ms = False, 0, []

        def handle(number, frame):
            global busy, calls
            if not busy:
                busy = True
                calls += 1
                for m in ms[-3:]:
                    m.cancel()
                info(), status()
                busy = False

        signal.signal(signal.SIGALRM, handle)
        with daemons(2):
            signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0011)
            end = time.monotonic() + 2
            while time.monotonic() < end:
                ms = [mirai("x", x=i) for i in range(50)]
                call_mirai(ms)
            signal.setitimer(signal.ITIMER_REAL, 0)
            print(mirai("1").result(10), calls > 10)
    """)

    assert output == "1 True"


def test_at_every_moment_one_may_cancel_ask_and_submit(run_host):
    """A finalizer may run wherever a function is called or left, in each of our threads: here one does."""
    output = run_host("""
        import itertools, sys, threading, time

        turns, more = itertools.cycle(range(7)), iter(())
        ms, others, begun = [], [], False

        def intrude(frame, event, arg):
            if not (begun and frame.f_globals.get("__name__", "").startswith("mirai.")):
                return
            turn = next(turns)
            if turn == 0 and ms:
                ms[-1].cancel()
            elif turn == 1 and others:
                others.pop().cancel()
            elif turn == 2 and next(more, None) is not None:
                others.append(mirai("None"))
            elif turn == 3:
                numbers = info()
                assert numbers is None or min(numbers) >= 0, numbers
            elif turn == 4:
                str(status())
            elif turn == 5 and ms and next(more, None) is not None:
                ms[-1].add_done_callback(lambda m: m.running())
            elif ms:
                ms[-1].done(), ms[-1].data, ms[-1].running()

        threading.setprofile(intrude)
        daemons(2)
        begun = True
        everywhere("None").collect()
        for i in range(100):
            more = iter(range(10))
            sys.setprofile(intrude)
            ms = [mirai("x", x=i)]
            ms.append(mirai("x", x=ms[0]))
            call_mirai(ms)
            values = [ms[0].data, ms[1].data]
            sys.setprofile(None)
            assert all(value == i or isinstance(value, Canceled) for value in values), values
        call_mirai(others)
        end = time.monotonic() + 10
        while info()[2:4] != (0, 0) and time.monotonic() < end:
            time.sleep(0.01)
        print(mirai("1").result(10), info()[2:4], len(mirai_map(range(50), abs).collect()))
        more = iter(())
        sys.setprofile(intrude)
        daemons(0)
        sys.setprofile(None)
    """)

    assert output == "1 (0, 0) 50"


def test_a_signal_handler_may_raise(run_host):
    """An alarm that ends a wait is common. Whenever it comes, nothing is torn: no task is lost, no profile reset."""
    output = run_host("""
        import random, signal, time

        class Alarm(BaseException):
            pass

        def ring(number, frame):
            raise Alarm

        signal.signal(signal.SIGALRM, ring)
        with daemons(2):
            alarms, end = 0, time.monotonic() + 2
            while time.monotonic() < end:
                ms = []
                signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0002, 0.004))
                try:
                    while True:
                        ms = [mirai("x", x=i) for i in range(20)]
                        ms.append(mirai("x", x=ms[0]))
                        call_mirai(ms)
                        ms[-1].result(), stop_mirai([mirai("1") for _ in range(5)])
                        mirai_map(range(5), abs).collect()
                except Alarm:
                    alarms += 1
                signal.setitimer(signal.ITIMER_REAL, 0)
                assert [m.result(10) for m in ms] == [*range(20), 0][:len(ms)]
            print(mirai("1").result(10), alarms > 10)
    """)

    assert output == "1 True"


def test_one_cannot_wait_in_the_middle(run_host):
    """What is waited for could not come, as the thread that brings it is the one that waits: said, not waited out."""
    output = run_host("""
        import sys

        with daemons(1):
            ms, errors = [mirai("import time; time.sleep(0.5)")], []

            def intrude(frame, event, arg):
                if frame.f_code.co_name == "task_cancelled" and event == "call":
                    sys.setprofile(None)
                    try:
                        ms[0].result()
                    except RuntimeError as error:
                        errors.append(str(error))

            other = mirai("1")
            sys.setprofile(intrude)
            other.cancel()
            print(ms[0].result(10), errors)
    """)

    assert output.startswith("None ['one cannot wait here: this code (a finalizer, most likely) runs in the middle")


def test_a_lock_that_was_lost_holds_up_nobody_else(run_host):
    """Ctrl-C may end `concurrent.futures.wait` with the locks of what it was to wait for in its hands."""
    output = run_host("""
        import threading

        with daemons(1):
            lost = mirai("1")
            thread = threading.Thread(target=lost._condition.acquire)
            thread.start()
            thread.join()
            print(mirai("2").result(10), len(mirai_map(range(100), abs).collect()), lost.done(), lost.result(10))
    """)

    assert output == "2 100 False 1"


def test_what_is_resolved_as_a_wait_begins_is_told_of_once(run_host):
    """`concurrent.futures` looks which are done, and counts on being told of the others, and of no more."""
    output = run_host("""
        import concurrent.futures, threading

        with daemons(2):
            for _ in range(300):
                ms = [mirai("1") for _ in range(10)]
                assert len(list(concurrent.futures.as_completed(ms, 20))) == 10
                assert not concurrent.futures.wait(ms, 20).not_done
            m = mirai("import time; time.sleep(100)")
            with m._condition:
                m.cancel()
                seen = m.done()
            print(seen, concurrent.futures.wait([m], 20).not_done, m.cancelled())
    """)

    assert output == "False set() True"
