"""What Dask and Ray share, and either where it is installed: `tox run -e engines` installs both."""

from __future__ import annotations

import re
import secrets
import subprocess
import sys
from contextlib import contextmanager
from importlib.util import find_spec

import pytest

from mirai.hookspecs import LaunchCommand
from mirai.testing import LauncherSuite
from mirai_launchers import Dask, Ray, engine
from tests.leftovers import leftovers, take_inventory
from tests.waiting import wait_until

COMMAND = LaunchCommand(("python3", "-c", "import os; print(os.environ['MIRAI_TICKET'])"), {"MIRAI_TICKET": "7c9e6679"})
DASK = """
import distributed, sys
if __name__ == "__main__":
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=8, processes=False, dashboard_address="127.0.0.1:0", host="127.0.0.1", protocol="tcp://"
    ) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""
RAY = """
import ray, sys
print(ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False).address_info["gcs_address"], flush=True)
sys.stdin.read()
ray.shutdown()
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


@contextmanager
def cluster(code):
    """The address that it prints; it ends when its standard input does."""
    words = [sys.executable, "-W", "ignore", "-c", code]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process.stdout.readline().strip()


@pytest.fixture(scope="module")
def dask_scheduler():
    """The address of a Dask cluster with one worker."""
    with cluster(DASK) as address:
        yield address


@pytest.mark.skipif(not find_spec("distributed"), reason="Dask is not installed: `tox run -e engines` installs it")
class TestDask(LauncherSuite):
    ends_running = False  # the daemons' own end does, when their host is gone

    @pytest.fixture
    def launcher(self, dask_scheduler):
        return Dask(dask_scheduler, python=sys.executable)


@pytest.fixture(scope="module")
def ray_cluster():
    """The address of a Ray cluster of this machine, to which this process is connected."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        import ray  # reads these when it is imported

        with cluster(RAY) as address:
            ray.init(address, log_to_driver=False, logging_level="error")
            yield address
            ray.shutdown()


def daemons_left(before):
    return [line for line in leftovers(before) if re.match("process|/", line) and not re.search("ray::|/ray/", line)]


@pytest.mark.skipif(not find_spec("ray"), reason="Ray is not installed: `tox run -e engines` installs it")
class TestRay(LauncherSuite):
    ends_running = False  # the daemons' own end does, when their host is gone

    @pytest.fixture(autouse=True)
    def nothing_left_behind(self, ray_cluster):
        """Ray's own workers and connections come and go as it likes; daemons are to go."""
        before = take_inventory()
        yield
        wait_until(lambda: not daemons_left(before), lambda: f"these to go: {daemons_left(before)}")

    @pytest.fixture
    def launcher(self, ray_cluster):
        return Ray(ray_cluster, python=sys.executable)
