"""Grid Engine: a real one where it is there."""

from __future__ import annotations

import sys

import pytest

from mirai.hookspecs import LaunchCommand
from mirai_launchers.sge import SGE, _numbers
from tests.waiting import wait_until

COMMAND = LaunchCommand(("python3", "-c", "pass"))


@pytest.mark.parametrize(
    ("tasks", "numbers"),
    [("", [""]), ("3", ["3"]), ("1-3:1", ["1", "2", "3"]), ("1-5:2,8", ["1", "3", "5", "8"]), ("1,2", ["1", "2"])],
)
def test_tasks_are_told_in_ranges(tasks, numbers):
    """Those that wait have one line in qstat(1)."""
    assert list(_numbers(tasks)) == numbers


def test_an_unknown_queue_is_an_error_at_once(sge):
    """Qsub says it best."""
    with pytest.raises(OSError, match='qsub refused the job .* unknown queue "nosuch"'):
        SGE(options="#$ -q nosuch").launch([COMMAND])


@pytest.mark.parametrize(
    ("options", "said"),
    [("#$ -h", "hqw: it will not begin by itself"), ("#$ -S /no/such", 'unable to find shell "/no/such"')],
)
def test_a_job_that_will_not_begin_is_told(sge, options, said):
    """It would wait for ever, and so would its tasks."""
    jobs = SGE(options=options, python=sys.executable).launch([COMMAND] * 2)

    failures = [wait_until(job.failure, lambda: f"a failure: {job.state()}", timeout=20) for job in jobs]
    for job in jobs:
        job.cancel()

    assert [said in failure for failure in failures] == [True, True]
