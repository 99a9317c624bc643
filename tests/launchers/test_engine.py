"""What Dask and Ray share, and Dask where it is installed."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

from mirai.hookspecs import LaunchCommand
from mirai.testing import LauncherSuite
from mirai_launchers import Dask, Ray, engine

COMMAND = LaunchCommand(("python3", "-c", "import os; print(os.environ['MIRAI_TICKET'])"), {"MIRAI_TICKET": "7c9e6679"})
CLUSTER = """
import distributed, sys
if __name__ == "__main__":
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=8, processes=False, dashboard_address="127.0.0.1:0", host="127.0.0.1", protocol="tcp://"
    ) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


def test_a_worker_needs_nothing_but_python():
    """Functions of ours would have to be there."""
    words, options = engine.call(COMMAND, sys.executable)

    ran = subprocess.run(words, **options)

    assert (ran.stdout, ran.returncode) == ("7c9e6679\n", 0)
    assert "7c9e6679" not in str(words)


class Placed:
    def __init__(self, outcome=None):
        self.given, self.cancelled = outcome, 0

    def state(self):
        return "pending"

    def outcome(self):
        return self.given

    def cancel(self):
        self.cancelled += 1


@pytest.mark.parametrize(
    ("outcome", "failure"),
    [
        (None, None),
        (
            subprocess.CompletedProcess([], 127, "", "sh: nopython: not found\n"),
            "ended with status 127: sh: nopython: not found",
        ),
        (subprocess.CompletedProcess([], 0, "", ""), "ended with status 0"),
        (RuntimeError("the worker died"), "failed: RuntimeError: the worker died"),
    ],
)
def test_a_task_that_ended_is_told(outcome, failure):
    """Its daemon will not connect any more."""
    launch = engine.EngineLaunch("dask", "run-1", Placed(outcome), engine.Connection(lambda: None, 1))

    assert launch.failure() == (failure and f"dask task run-1 {failure}")


def test_a_connection_is_closed_when_all_is_cancelled():
    """Not before: the others are asked for through it."""
    closed = []
    connection = engine.Connection(lambda: closed.append(1), 2)
    first, second = (engine.EngineLaunch("dask", "run", Placed(), connection) for _ in range(2))

    first.cancel()
    first.cancel()
    assert closed == []
    second.cancel()
    assert closed == [1]


@pytest.mark.parametrize("make", [Dask, Ray])
def test_options_are_checked_when_given(make):
    """Not in the middle of a launch."""
    with pytest.raises(TypeError, match="address is 8786, of type int"):
        make(address=8786)
    with pytest.raises(TypeError, match="resources has 'GPU': 'two'"):
        make(address="auto", resources={"GPU": "two"})
    assert make(address="a", resources={"GPU": 1}) == make(address="a", resources=(("GPU", 1),))
    assert len({make(address="a", resources={"GPU": 1})}) == 1


def test_neither_is_imported_before_it_is_used():
    """Both take seconds."""
    code = "import mirai_launchers.plugin, sys; print({'distributed', 'ray', 'dask'} & set(sys.modules))"

    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


@pytest.fixture(scope="module")
def dask_scheduler():
    """The address of a Dask cluster with one worker."""
    words = [sys.executable, "-W", "ignore", "-c", CLUSTER]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as cluster:
        yield cluster.stdout.readline().strip()
        cluster.kill()


@pytest.mark.skipif(not find_spec("distributed"), reason="Dask is not installed: pip install distributed")
class TestDask(LauncherSuite):
    ends_running = False  # the daemons' own end does, when their host is gone

    @pytest.fixture
    def launcher(self, dask_scheduler):
        return Dask(dask_scheduler, python=sys.executable)
