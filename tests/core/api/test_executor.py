"""make_cluster(): what takes an executor takes daemons."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import signal
import sys
from concurrent.futures import BrokenExecutor, Executor

import pytest

from mirai import (
    ConnectionReset,
    daemons_set,
    info,
    launch_local,
    local_url,
    make_cluster,
    status,
    stop_cluster,
)
from tests.core import tasks
from tests.waiting import wait_until

DEADLINE = 20  # seconds; what takes longer hangs


@pytest.fixture
def cluster():
    """Two daemons behind an executor."""
    with make_cluster(2) as executor:
        yield executor


def power(base, exponent):
    return base**exponent


def reciprocal(x):
    return 1 / x


def given(**names):
    return names


def test_an_executor_over_a_profile_of_its_own(cluster):
    """Nobody else's tasks are in its way, and its end is nobody else's."""
    assert isinstance(cluster, Executor)
    assert cluster.submit(tasks.double, 21).result(DEADLINE) == 42
    assert status(cluster.compute).connections == 2
    assert not daemons_set()


def test_without_a_number_there_is_one_daemon_for_each_processor(monkeypatch):
    """As the standard library's executors have it."""
    monkeypatch.setattr("mirai.runtime.profile.cores", lambda: 1)
    with make_cluster() as executor:
        assert status(executor.compute).connections == 1


def test_what_takes_an_executor(cluster):
    """The standard library's functions, of futures and of asyncio."""
    futures = [cluster.submit(tasks.double, i) for i in range(20)]
    assert concurrent.futures.wait(futures, DEADLINE).not_done == set()
    done = list(concurrent.futures.as_completed([cluster.submit(tasks.double, i) for i in range(20)], DEADLINE))
    assert sorted(future.result() for future in done) == list(range(0, 40, 2))

    async def program():
        return await asyncio.get_running_loop().run_in_executor(cluster, tasks.double, 21)

    assert asyncio.run(program()) == 42


def test_names_that_begin_with_an_underscore_are_the_functions(cluster):
    """Here there are no arguments of ours."""
    assert cluster.submit(given, _timeout=1, x=2).result(DEADLINE) == {"_timeout": 1, "x": 2}


def test_map_gives_values_in_order(cluster):
    """Of several iterables too, as many as the shortest has."""
    assert list(cluster.map(power, range(5), [2] * 4)) == [0, 1, 4, 9]
    assert list(cluster.map(tasks.double, [])) == []


def test_a_chunk_of_a_map_is_one_task(cluster):
    """Where a call takes less than what it costs to send it."""
    assert list(cluster.map(tasks.double, range(100), chunksize=30)) == list(range(0, 200, 2))
    assert info(cluster.compute).completed == 4
    with pytest.raises(ValueError, match="chunksize=0: give 1 or more"):
        cluster.map(tasks.double, [1], chunksize=0)


def test_errors_are_raised_by_result_and_map(cluster):
    """The task's own, in its place; what is mapped later is cancelled."""
    with pytest.raises(ZeroDivisionError):
        cluster.submit(reciprocal, 0).result(DEADLINE)
    values = cluster.map(reciprocal, [1, 0, 2])
    assert next(values) == 1
    with pytest.raises(ZeroDivisionError):
        next(values)


def test_a_map_may_time_out(cluster, tmp_path):
    """From the call on, as the standard library has it; what is left is cancelled, and its daemons are free again."""
    values = cluster.map(tasks.begin, [tmp_path / "a", tmp_path / "b"], timeout=0.2)
    with pytest.raises(TimeoutError):
        next(values)
    assert cluster.submit(tasks.double, 21).result(DEADLINE) == 42


def test_who_is_free_gets_the_next_task(cluster, tmp_path):
    """A long task holds nobody else up."""
    long = cluster.submit(tasks.begin_and_wait, tmp_path / "begun", tmp_path / "go")
    wait_until((tmp_path / "begun").exists, "the long task to begin")

    assert list(cluster.map(tasks.double, range(50), timeout=DEADLINE)) == list(range(0, 100, 2))
    assert not long.done()
    (tmp_path / "go").touch()
    assert long.result(DEADLINE) == "released"


def test_a_shutdown_waits_for_what_was_submitted(tmp_path):
    """And takes no more; the daemons are gone afterwards, the values are not."""
    executor = make_cluster(2)
    futures = [executor.submit(tasks.spin, i, 0.01) for i in range(20)]
    executor.shutdown()

    assert [future.done() for future in futures] == [True] * 20
    assert [future.result() for future in futures] == list(range(20))
    assert not daemons_set(executor.compute)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(tasks.double, 1)
    executor.shutdown()


def test_a_shutdown_need_not_be_waited_for(tmp_path):
    """What was submitted is done all the same, then the daemons leave."""
    executor = make_cluster(1)
    future = executor.submit(tasks.begin_and_wait, tmp_path / "begun", tmp_path / "go")
    executor.shutdown(wait=False)
    assert not future.done()
    (tmp_path / "go").touch()

    assert future.result(DEADLINE) == "released"
    wait_until(lambda: not daemons_set(executor.compute), "its profile to be reset")


def test_a_shutdown_may_cancel_what_has_not_begun(tmp_path):
    """What has begun is waited for."""
    executor = make_cluster(1)
    running = executor.submit(tasks.begin_and_wait, tmp_path / "begun", tmp_path / "go")
    wait_until((tmp_path / "begun").exists, "the task to begin")
    queued = [executor.submit(tasks.double, i) for i in range(5)]
    executor.shutdown(wait=False, cancel_futures=True)
    assert [future.cancelled() for future in queued] == [True] * 5
    (tmp_path / "go").touch()

    assert running.result(DEADLINE) == "released"
    wait_until(lambda: not daemons_set(executor.compute), "its profile to be reset")


def test_a_cluster_that_is_stopped_ends_at_once(tmp_path):
    """Unresolved tasks are reset, and later use is refused."""
    executor = make_cluster(1)
    future = executor.submit(tasks.begin, tmp_path / "begun")
    stop_cluster(executor)

    assert isinstance(future.exception(DEADLINE), ConnectionReset)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(tasks.double, 1)


def test_a_lost_daemon_fails_its_task_and_without_any_the_executor_is_broken():
    """One that is lost takes down what it evaluated; without any, nothing more is taken."""
    with make_cluster(1) as executor:
        lost = executor.submit(tasks.kill_daemon, signal.SIGKILL)
        assert isinstance(lost.exception(DEADLINE), ConnectionReset)
        wait_until(lambda: not info(executor.compute).connections, "the daemon to be gone")
        with pytest.raises(BrokenExecutor, match="all of its daemons have left"):
            executor.submit(tasks.double, 1)


def test_a_seed_gives_the_same_numbers_for_any_number_of_daemons():
    """One stream a task."""
    drawn = []
    for n in (1, 2):
        with make_cluster(n, seed=5) as executor:
            drawn.append(list(executor.map(tasks.draw, range(6))))

    assert drawn[0] == drawn[1]
    assert len({tuple(numbers) for numbers in drawn[0]}) == 6


def test_daemons_may_dial_in():
    """The profile is one like any other."""
    with make_cluster(url=local_url()) as executor:
        launch_local(1, compute=executor.compute)
        assert executor.submit(tasks.pid).result(DEADLINE) != os.getpid()


def test_daemons_may_be_launched_elsewhere():
    """Tasks wait for daemons that are on their way; only without any it is broken."""
    launchers = pytest.importorskip("mirai_launchers")
    remote = launchers.remote_config("env", python=sys.executable)
    with make_cluster(2, url="tcp://127.0.0.1:0", remote=remote) as executor:
        assert executor.submit(tasks.pid).result(DEADLINE) != os.getpid()
        assert executor.n == 2
    with make_cluster(url="tcp://127.0.0.1:0", remote=remote) as executor:
        assert executor.submit(tasks.double, 21).result(DEADLINE) == 42
        assert executor.n == 1


def test_each_cluster_says_what_it_is():
    """Its profile is new, which `status` takes."""
    with make_cluster(1) as one, make_cluster(1) as other:
        assert one.compute != other.compute
        assert repr(one) == f"< mirai cluster > profile {one.compute!r}, 1 daemons, up"
    assert repr(one) == f"< mirai cluster > profile {one.compute!r}, 1 daemons, down"
