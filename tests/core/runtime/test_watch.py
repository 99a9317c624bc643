"""An asyncio loop watches the sockets itself while coroutines there await, and nothing of that is left."""

from __future__ import annotations

import asyncio
import os
import threading
import time

import pytest

from mirai import ConnectionReset, daemons, mirai, mirai_map
from mirai.runtime import lead
from mirai.runtime.watch import Watch
from tests.core import tasks
from tests.waiting import wait_until

DEADLINE = 20  # seconds; what takes longer hangs


@pytest.fixture
def stuck(one):
    """The I/O thread is held up until the test is over: all that happens, others see to."""
    begun, free = threading.Event(), threading.Event()
    lead._current.call_at(time.monotonic(), lambda: (begun.set(), free.wait(DEADLINE)))
    assert begun.wait(DEADLINE), "a timer is called by who leads"
    yield
    free.set()


def run(main):
    """Run it, and see that nothing is watched after it."""
    value = asyncio.run(asyncio.wait_for(main, DEADLINE))
    assert not lead._current._watches
    return value


def test_a_loop_that_waits_needs_no_other_thread(stuck):
    """Two switches between threads take longer than a short task."""

    async def main():
        values = [await mirai(tasks.double, i) for i in range(3)]
        values += await asyncio.gather(*(mirai(tasks.double, i) for i in range(3)))
        return values + await mirai_map(range(3), tasks.double)

    assert run(main()) == [0, 2, 4] * 3


def test_a_loop_that_is_busy_holds_nothing_up(one):
    """Daemons are to have something to do, and callbacks are to be called, while it does not look."""

    async def main():
        first, second = mirai(tasks.double, 1), mirai(tasks.double, 2)
        waiting = asyncio.ensure_future(asyncio.gather(first, second))
        await asyncio.sleep(0)  # it awaits from now on
        wait_until(second.done, "the results to be seen to by another thread")
        return await waiting

    assert run(main()) == [2, 4]


def test_a_loop_that_cannot_watch_is_told(one):
    """Not every loop can, as that of Windows."""

    class Loop(asyncio.SelectorEventLoop):
        def add_reader(self, fd, callback, *args):
            raise NotImplementedError

    with asyncio.Runner(loop_factory=Loop) as runner:
        assert runner.run(_double(3)) == 6


async def _double(x):
    return await mirai(tasks.double, x)


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_what_is_awaited_may_be_reset(where):
    """In the coroutine's own thread, and in another one, while the loop waits for its sockets."""

    async def main():
        loop = asyncio.get_running_loop()
        daemons(1)
        m = mirai(time.sleep, 300)
        waiting = asyncio.ensure_future(_result(m))
        await asyncio.sleep(0)
        assert lead._current._watches
        descriptors = os.listdir("/proc/self/fd")
        if where == "here":
            daemons(0)
        else:
            await loop.run_in_executor(None, daemons, 0)
        with pytest.raises(ConnectionReset):
            await waiting
        assert len(os.listdir("/proc/self/fd")) < len(descriptors)
        daemons(1)  # what it uses has the numbers of what was closed
        return await mirai(tasks.double, 4)

    try:
        assert run(main()) == 8
    finally:
        daemons(0)


async def _result(m):
    return await m


def test_a_loop_that_was_closed_in_the_middle_leaves_nothing(one):
    """The coroutine is finished later, by whoever lets go of it."""
    loop = asyncio.new_event_loop()
    before = len(os.listdir("/proc/self/fd"))
    m = mirai(time.sleep, 300)
    waiting = loop.create_task(_result(m))
    loop.run_until_complete(asyncio.sleep(0))
    assert lead._current._watches

    loop.close()
    waiting.get_coro().close()

    assert not lead._current._watches
    assert len(os.listdir("/proc/self/fd")) < before
    assert m.cancel()
    waiting._log_destroy_pending = False


def test_what_is_told_elsewhere_goes_by_the_loop():
    """A future of asyncio's is not for other threads."""

    async def main():
        told = []
        watch = Watch(asyncio.get_running_loop())
        await asyncio.to_thread(watch.tell, lambda: told.append(threading.current_thread()))
        await asyncio.sleep(0)
        return told

    assert asyncio.run(main()) == [threading.current_thread()]
