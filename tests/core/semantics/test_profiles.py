"""Compute profiles: each with daemons of its own, and one of them the current one, for each thread and asyncio task."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import sys
import threading
import time

import pytest

from mirai import (
    MiraiError,
    SerializationError,
    TimedOut,
    call_mirai,
    collect_mirai,
    daemons,
    daemons_set,
    everywhere,
    info,
    launch_local,
    local_daemons,
    mirai,
    mirai_map,
    nextstream,
    on_daemon,
    race_mirai,
    require_daemons,
    status,
    try_mirai,
    unresolved,
    with_daemons,
)
from tests.core import tasks

DEADLINE = 20  # seconds; what takes longer hangs


@pytest.fixture
def cpu_and_gpu():
    """The process ids of their daemons, by profile."""
    with daemons(1, compute="cpu"), daemons(1, compute="gpu"):
        pids = {name: status(name).daemons[0].pid for name in ("cpu", "gpu")}
        yield pids


# The current one


def test_threads_have_current_profiles_of_their_own(cpu_and_gpu):
    """A web server's threads must not send each other's tasks anywhere."""
    together = threading.Barrier(2)

    def work(name):
        local_daemons(name)
        together.wait(DEADLINE)
        return [mirai(tasks.pid).result(DEADLINE) for _ in range(5)]

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        seen = dict(zip(cpu_and_gpu, pool.map(work, cpu_and_gpu), strict=True))

    assert seen == {name: [pid] * 5 for name, pid in cpu_and_gpu.items()}


def test_asyncio_tasks_have_current_profiles_of_their_own(cpu_and_gpu):
    """They take turns in one thread."""

    async def work(name):
        with with_daemons(name):
            return [await mirai(tasks.pid) for _ in range(5)]

    async def main():
        return await asyncio.gather(*map(work, cpu_and_gpu))

    assert asyncio.run(main()) == [[pid] * 5 for pid in cpu_and_gpu.values()]


def test_what_is_named_goes_before_what_is_current(cpu_and_gpu):
    """For the one task that needs something else."""
    with with_daemons("cpu"):
        assert mirai(tasks.pid, _compute="gpu").result(DEADLINE) == cpu_and_gpu["gpu"]
        assert mirai_map([1], lambda x: os.getpid(), _compute="gpu").collect() == [cpu_and_gpu["gpu"]]
        assert everywhere(tasks.pid, _compute="gpu").collect() == [cpu_and_gpu["gpu"]]


def test_the_current_profile_is_the_one_before_after_an_error(cpu_and_gpu):
    """As for every context."""
    with with_daemons("cpu"):
        with pytest.raises(ZeroDivisionError), with_daemons("gpu"):
            mirai(lambda: 1 / 0).result(DEADLINE)

        assert mirai(tasks.pid).result(DEADLINE) == cpu_and_gpu["cpu"]


def test_a_profile_for_each_session_of_a_server():
    """Each holds what belongs to one user; it is reset when that one leaves, which disturbs nobody."""

    async def session(i):
        async with daemons(1, compute=f"session {i}"):
            everywhere("user = i", i=i)
            await asyncio.sleep(0)
            return await mirai("user")

    async def main():
        return await asyncio.gather(*map(session, range(3)))

    assert asyncio.run(main()) == [0, 1, 2]
    assert not any(daemons_set(f"session {i}") for i in range(3))


def test_a_library_may_have_its_tasks_evaluated_either_way():
    """It leaves it to its user to set daemons, and does without where there are none."""

    def squares():
        if daemons_set():
            return mirai_map(range(3), tasks.double).collect()
        with daemons(sync=True, compute="library"):
            return mirai_map(range(3), tasks.double).collect()

    assert squares() == [0, 2, 4]
    with daemons(1):
        require_daemons()
        assert squares() == [0, 2, 4]
        assert info().completed == 3


# Without a dispatcher


def test_direct_daemons_take_turns():
    """Each task goes to the next one at once, whatever that one has to do."""
    with daemons(2, dispatcher=False):
        pids = collect_mirai([mirai(tasks.pid) for _ in range(6)])

    assert pids == pids[:2] * 3
    assert len(set(pids)) == 2


def test_a_direct_daemon_that_crashes_takes_the_task_in_hand_only():
    """What it had not begun is given to others."""
    with daemons(2, dispatcher=False):
        lost = mirai(os._exit, 3)
        others = [mirai(tasks.double, i) for i in range(20)]

        assert collect_mirai(others) == [2 * i for i in range(20)]
        assert isinstance(lost.exception(DEADLINE), ConnectionResetError)


def test_direct_daemons_can_do_what_others_can(tmp_path):
    """Cancel, everywhere, maps, tasks before daemons: nobody should have to know the difference."""
    with daemons(2, dispatcher=False):
        everywhere("there = 3")
        m = mirai(tasks.begin, tmp_path / "begun")
        m.cancel()

        assert mirai_map(range(4), tasks.double).collect() == [0, 2, 4, 6]
        assert collect_mirai([mirai("there") for _ in range(4)]) == [3] * 4
    with daemons(url=f"ipc://{tmp_path}/host", dispatcher=False):
        m = mirai(tasks.double, 1)
        launch_local(1)

        assert m.result(DEADLINE) == 2


# In this process


@pytest.fixture
def here():
    """Tasks are evaluated at the call."""
    with daemons(sync=True):
        yield


def test_a_synchronous_task_is_done_at_the_call(here):
    """In this process, so that a debugger can step into it."""
    m = mirai(os.getpid)

    assert not unresolved(m)
    assert m.data == os.getpid()
    assert (on_daemon(), mirai(on_daemon).data) == (False, True)


def test_a_debugger_works_in_a_synchronous_task(start_host, monkeypatch):
    """That is what it is for: `breakpoint()` has the terminal."""
    host = start_host(
        """
        import sys, io
        sys.stdin = io.StringIO("p x + 1\\nc\\n")
        def task(x):
            breakpoint()
            return x
        with daemons(sync=True):
            print("value", mirai(task, 41).data)
        """
    )

    code, output, errors = host.end()

    assert (code, errors) == (0, "")
    assert "(Pdb) 42" in output
    assert "value 41" in output


def test_a_synchronous_task_is_serialized_as_any_other(here):
    """What works there must work with daemons: copies, and refusals."""
    numbers = [1]

    assert mirai(lambda: numbers.append(2) or numbers).data == [1, 2]
    assert numbers == [1]
    with pytest.raises(SerializationError, match="argument 0"):
        mirai(str, threading.Lock())
    assert "cannot be serialized" in str(mirai(lambda: (i for i in "ab")).data)


def test_a_synchronous_task_sees_no_names_of_the_hosts_main(run_host):
    """It finds what `everywhere` left, as on a daemon, and leaves nothing in the host's."""
    text = """
        here = 1
        with daemons(sync=True):
            everywhere("there = 2").collect()
            mirai("global leftover; leftover = 3").result()
            names = ["here", "there", "leftover"]
            print(mirai("[name for name in names if name in globals()]", names=names).data)
        print([name for name in names if name in globals()])
    """

    assert run_host(text) == "['there']\n['here']"


def test_a_synchronous_task_leaves_the_hosts_classes_alone(run_host):
    """It has its own, as on a daemon: what it does to them, and what they do, does not reach the host's."""
    text = """
        counter = 0

        class Counted:
            limit = 1

            def count(self):
                global counter
                counter += 1
                return counter

        def change(counted):
            Counted.limit = 2
            return counted.count(), counted

        with daemons(sync=True):
            method = Counted.count
            count, back = mirai(change, Counted()).result()
            back.count()
            print(count, counter, type(back) is Counted, Counted.limit, Counted.count is method)
    """

    assert run_host(text) == "1 1 True 1 True"


def test_what_a_synchronous_task_changes_is_put_back(here, monkeypatch):
    """As on a daemon."""
    monkeypatch.delenv("LEFT_BY_A_TASK", raising=False)
    before = os.getcwd(), list(sys.path)

    mirai("import os, sys; os.environ['LEFT_BY_A_TASK'] = '1'; os.chdir('/'); sys.path.append('x')").result()

    assert (os.getcwd(), sys.path, os.environ.get("LEFT_BY_A_TASK")) == (*before, None)


def test_a_synchronous_task_times_out_when_it_is_done(here):
    """Nothing can interrupt it; but the call must come back, with what it would be on a daemon."""
    start = time.monotonic()

    m = mirai(time.sleep, 0.2, _timeout=0.1)

    assert isinstance(m.data, TimedOut)
    assert time.monotonic() - start < 5
    assert mirai(tasks.double, 1, _timeout=5).data == 2


def test_everything_else_works_synchronously(here):
    """A program is debugged as it is."""
    assert mirai_map({"a": 1}, tasks.double).collect(progress=True) == {"a": 2}
    assert [m.data for m in mirai_map([1, 2], tasks.double).as_completed()] == [2, 4]
    assert mirai(tasks.double, mirai(tasks.double, 1)).data == 4
    assert race_mirai([mirai("1")]) == 0
    assert try_mirai(tasks.double, 1).data == 2
    assert asyncio.run(gathered()) == [2, [4]]
    assert isinstance(call_mirai(mirai(lambda: 1 / 0)).data, MiraiError)
    assert isinstance(call_mirai(mirai("import sys; sys.exit(3)")).data, MiraiError)
    assert nextstream() is not None
    assert (info().connections, status().daemons) == (0, ())
    with pytest.raises(RuntimeError, match="synchronous"):
        launch_local(1)


async def gathered():
    return await asyncio.gather(mirai(tasks.double, 1), mirai_map([2], tasks.double))


def test_values_of_synchronous_tasks_outlive_a_reset():
    """They were never anywhere else."""
    with daemons(sync=True):
        m = mirai(tasks.double, 1)

    assert m.data == 2


def test_local_daemons_are_refused_in_a_synchronous_map_too(here):
    """It should find out what goes wrong on daemons; and a task nested in one is still in the map."""

    def nested(x):
        from mirai import daemons, mirai

        with daemons(sync=True, compute="nested"):
            mirai("1").result()
        daemons(1, compute="more")

    assert "inside a map" in str(mirai_map([1], nested).collect()[0])
