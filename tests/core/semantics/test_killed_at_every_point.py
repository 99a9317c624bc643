"""Host or daemon is killed at one point of the exchange of large data after the other: nothing is left, the other goes on.

A point is a line of the code that takes part, on its first visit, of fresh memory, and on its second, of memory that is
used again: see `tests/core/points/sitecustomize.py`. Of these a sample is tried; all, where MIRAI_TEST_ALL_POINTS is set.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import signal
import sys

import psutil
import pytest

import mirai
from mirai import ConnectionReset, daemons
from mirai.errors import DaemonStartError
from mirai.transport import shared as memory
from tests.waiting import wait_until

POINTS = os.path.join(os.path.dirname(os.path.dirname(__file__)), "points")
sys.path.append(POINTS)
import exchange  # noqa: E402  # by the name that host and daemon know it by, where they are killed

ALL = "MIRAI_TEST_ALL_POINTS" in os.environ
SAMPLE = 20  # points of each side, unless all are tried
SHARES = 20 if ALL else 1  # of the points, a test each

pytestmark = [
    pytest.mark.skipif(not memory.AVAILABLE, reason="this system has no memfd_create"),
    pytest.mark.timeout(300),
]
of_points = pytest.mark.parametrize("share", range(SHARES))

VARIABLE, REACHED = "MIRAI_TEST_POINT", "MIRAI_TEST_REACHED"


@pytest.fixture(autouse=True)
def little_room(monkeypatch):
    """For shared memory, so that a message may find none; here and in the processes that are started."""
    monkeypatch.setattr(memory.arena()._space, "limit", exchange.ROOM)
    monkeypatch.setattr(memory, "KEPT", memory.KEPT)  # which the exchange changes
    monkeypatch.setattr(exchange.lending, "TIDY", exchange.lending.TIDY)
    monkeypatch.setenv(memory.VARIABLE, str(exchange.ROOM))
    monkeypatch.setenv("PYTHONPATH", POINTS, prepend=os.pathsep)


def chosen(points, share):
    """That share of the points that were noted."""
    points = sorted(set(points))
    return points[share::SHARES] if ALL else points[:: len(points) // SAMPLE]


def has_memory():
    """Whether this process has any shared memory of ours, mapped or open, as the system says."""
    with open("/proc/self/maps") as lines:
        mapped = any("/memfd:mirai" in line for line in lines)
    return mapped or any("/memfd:mirai" in target for target in descriptors().values())


def descriptors():
    found = {}
    for name in os.listdir("/dev/fd"):
        try:
            found[name] = os.readlink(f"/dev/fd/{name}")
        except OSError:
            pass  # that of the listing itself
    return found


def test_the_points_are_where_they_are_looked_for():
    """What is renamed or moved would not be tried any more, without a word."""
    spec = importlib.util.spec_from_file_location("points", os.path.join(POINTS, "sitecustomize.py"))
    points = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(points)

    for file, functions in points.WATCHED.items():
        package = os.path.dirname(mirai.__file__)
        with open(os.path.join(package, file.removeprefix("mirai/"))) as source:
            text = source.read()
        assert {name for name in functions or () if f"def {name}(" not in text} == set(), file


@of_points
def test_a_daemon_killed_at_any_point(share, monkeypatch, tmp_path):
    """Each task ends in its value, or with that daemon; the host goes on, and keeps no memory and no descriptor."""
    with monkeypatch.context() as patch:
        patch.setenv(VARIABLE, f"daemon note {tmp_path / 'points'}")
        run_with_a_daemon(retry=0)
    points = chosen((tmp_path / "points").read_text().splitlines(), share)
    before, others = descriptors(), psutil.Process().children()
    missed = []
    for i, point in enumerate(points):
        with monkeypatch.context() as patch:
            patch.setenv(VARIABLE, f"daemon {point}")
            patch.setenv(REACHED, str(tmp_path / str(i)))
            run_with_a_daemon(retry=i % 2, where=point, disarm=lambda: patch.delenv(VARIABLE))
        if not (tmp_path / str(i)).exists():
            missed.append(point)
        gc.collect()
        wait_until(lambda: not has_memory(), lambda: f"the host to let go of what a daemon left at {point}")
        wait_until(lambda: len(descriptors()) <= len(before), lambda: f"descriptors to be closed: {descriptors()}")
        assert psutil.Process().children() == others, point

    assert_tried("daemon", points, missed)


def run_with_a_daemon(*, retry, where="", disarm=lambda: None):
    try:
        daemons(1, retry=retry)
    except DaemonStartError as error:
        if not where or "was killed by SIGKILL" not in str(error):
            raise
        return  # it was not let in yet
    try:
        disarm()
        lost = 0
        for value, expected in exchange.exchange():
            lost += value is ConnectionReset
            assert value is ConnectionReset or value == expected, where
        assert lost <= (not retry), where
    finally:
        daemons(0)


def is_gone(pid):
    """What is left of an orphan may be there until init looks."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


HOST = """
import time
from exchange import exchange
daemons(1)
print(status().daemons[0].pid, flush=True)
for value, expected in exchange():
    assert value == expected
daemons(0)
"""


@of_points
def test_a_host_killed_at_any_point(share, start_host, tmp_path):
    """Its daemon leaves, and with it the memory of both: it has no name that could stay."""
    environment = {**os.environ, VARIABLE: f"host note {tmp_path / 'points'}"}
    assert start_host(HOST, environment).end()[::2] == (0, "")
    points = chosen((tmp_path / "points").read_text().splitlines(), share)
    before = names()
    missed = []
    for i, point in enumerate(points):
        environment = {**os.environ, VARIABLE: f"host {point}", REACHED: str(tmp_path / str(i))}
        code, output, errors = start_host(HOST, environment).end()
        reached = (tmp_path / str(i)).exists()
        assert (code, errors) == (-signal.SIGKILL if reached else 0, ""), point
        if not reached:
            missed.append(point)
        for pid in map(int, output.split()):
            wait_until(lambda pid=pid: is_gone(pid), f"daemon {pid} to leave, its host killed at {point}")
        wait_until(lambda: names() == before, lambda: f"{names() - before} to go, the host killed at {point}")

    assert_tried("host", points, missed)


def assert_tried(side, points, missed):
    """Some are reached only when two threads meet in a certain way: for `pytest -s`, which these were."""
    print(f"{side}: killed at {len(points) - len(missed)} of {len(points)} points; not reached: {missed}")
    assert len(missed) < 0.2 * len(points)


def names():
    """Of what could be left in the file system."""
    return {name for d in ("/dev/shm", os.environ["TMPDIR"]) for name in os.listdir(d) if "mirai" in name}
