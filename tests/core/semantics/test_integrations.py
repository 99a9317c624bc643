"""What takes an executor takes ours; asyncio and Dask are asked whether that holds."""

from __future__ import annotations

import asyncio
import functools
import os
import time

import pytest

from mirai import daemons, daemons_set, info, make_cluster, mirai, mirai_map
from tests.core import tasks
from tests.waiting import wait_until

# asyncio


def test_a_loop_runs_calls_on_daemons():
    """The way of asyncio to have something done elsewhere, keyword arguments and all."""

    async def main():
        loop = asyncio.get_running_loop()
        with make_cluster(2) as cluster:
            pid = await loop.run_in_executor(cluster, tasks.pid)
            value = await loop.run_in_executor(cluster, functools.partial(int, "ff", base=16))
            values = await asyncio.gather(*(loop.run_in_executor(cluster, tasks.double, i) for i in range(20)))
        return pid, value, values

    pid, value, values = asyncio.run(main())

    assert pid != os.getpid()
    assert (value, values) == (255, [2 * i for i in range(20)])


def test_a_loop_goes_on_while_daemons_work(tmp_path):
    """A server answers others meanwhile; here, what the call waits for."""

    async def main():
        loop = asyncio.get_running_loop()
        with make_cluster(1) as cluster:
            slow = loop.run_in_executor(cluster, tasks.begin_and_wait, tmp_path / "begun", tmp_path / "go")
            await asyncio.to_thread(wait_until, (tmp_path / "begun").exists, "the call to begin")
            (tmp_path / "go").touch()
            return await slow

    assert asyncio.run(main()) == "released"


def test_a_call_of_a_loop_that_is_cancelled_is_interrupted():
    """Who gives up does not leave a daemon busy."""

    async def main():
        loop = asyncio.get_running_loop()
        with make_cluster(1) as cluster:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(loop.run_in_executor(cluster, time.sleep, 300), 0.2)
            await asyncio.to_thread(wait_until, lambda: not info(cluster.compute).executing, "the daemon to be free")

    asyncio.run(main())


def test_a_failure_reaches_who_awaits():
    """As it was raised."""

    async def main():
        with make_cluster(1) as cluster:
            await asyncio.get_running_loop().run_in_executor(cluster, divmod, 1, 0)

    with pytest.raises(ZeroDivisionError):
        asyncio.run(main())


def test_daemons_for_the_time_of_an_async_block():
    """They are ready inside, current, and gone afterwards."""

    async def main():
        async with daemons(2) as two:
            assert two.n == 2
            values = await mirai(tasks.double, 1), await mirai_map([1, 2], tasks.double)
            assert info().connections == 2
        return values, daemons_set()

    assert asyncio.run(main()) == ((2, [2, 4]), False)


def test_the_default_executor_of_a_loop_may_be_a_cluster():
    """`to_thread` is no thread then."""

    class Loop(asyncio.SelectorEventLoop):
        def set_default_executor(self, executor):
            self._default_executor = executor  # asyncio wants a ThreadPoolExecutor

    async def main():
        return await asyncio.get_running_loop().run_in_executor(None, tasks.pid)

    with make_cluster(1) as cluster, asyncio.Runner(loop_factory=Loop) as runner:
        runner.get_loop().set_default_executor(cluster)
        assert runner.run(main()) != os.getpid()


# Dask


@pytest.fixture
def dask():
    return pytest.importorskip("dask", reason="Dask is not installed; `tox run -e libraries` has it")


def test_dask_computes_a_graph_on_daemons(dask):
    """Tasks that need others' values, and each once."""
    doubled = [dask.delayed(tasks.double)(i) for i in range(10)]
    total = dask.delayed(sum)(doubled)

    with make_cluster(2) as cluster:
        values, pid = dask.compute(total, dask.delayed(tasks.pid)(), scheduler=cluster)

        assert (values, pid == os.getpid()) == (90, False)
        assert info(cluster.compute).completed > 0


def test_dask_uses_every_daemon(dask, tmp_path):
    """It asks the executor how many workers it has."""
    with make_cluster(3) as cluster:
        pids = dask.compute(*(dask.delayed(tasks.meet)(tmp_path, i, 3) for i in range(3)), scheduler=cluster)

    assert len(set(pids)) == 3


def test_a_failure_in_dask_is_raised(dask):
    """And the cluster goes on."""
    with make_cluster(1) as cluster:
        with pytest.raises(ZeroDivisionError):
            dask.compute(dask.delayed(divmod)(1, 0), scheduler=cluster)

        assert dask.compute(dask.delayed(tasks.double)(1), scheduler=cluster) == (2,)


def test_the_scheduler_of_a_whole_block_of_dask(dask):
    """Code that calls compute() need not know."""
    with make_cluster(2) as cluster, dask.config.set(scheduler=cluster):
        assert dask.delayed(tasks.pid)().compute() != os.getpid()


def test_dask_arrays(dask):
    """Blocks of NumPy arrays, through shared memory where they are large."""
    pytest.importorskip("numpy")
    array = pytest.importorskip("dask.array")

    with make_cluster(2) as cluster:
        x = array.ones((2000, 2000), chunks=(500, 2000))
        assert float((x + x.T).sum().compute(scheduler=cluster)) == 8_000_000.0
