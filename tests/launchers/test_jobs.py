"""Jobs on a scheduler: asked seldom and together, never forgotten, ended with few commands."""

from __future__ import annotations

import logging

import pytest

from mirai_launchers import jobs
from mirai_launchers.jobs import FIRST, LONGEST, Array, Job, Keeper, Phase, Said, next_pause
from mirai_launchers.spool import Spool
from tests.waiting import wait_until

WAITING, RUNNING = Said(Phase.WAITING, "Q"), Said(Phase.RUNNING, "R")
FAILED = Said(Phase.ENDED, "F, exit status 3", 3)


class Recorded:
    """A scheduler that answers as it is told, and notes what it was asked."""

    name = "fake"

    def __init__(self):
        self.now = 0.0
        self.known, self.history = {}, {}
        self.asked, self.ended = [], []
        self.broken = None

    def ask(self, arrays):
        self.asked.append([array.job for array in arrays])
        if self.broken:
            raise OSError(self.broken)
        return self.known

    def look_up(self, array):
        return self.history

    def end(self, tasks):
        self.ended.append(list(tasks))
        if self.broken:
            raise OSError(self.broken)
        for task in tasks:
            self.known.pop(task)
            self.history[task] = Said(Phase.ENDED, "CANCELLED")


@pytest.fixture
def scheduler():
    return Recorded()


@pytest.fixture
def keeper(scheduler):
    return Keeper(scheduler, lambda: scheduler.now)


@pytest.fixture
def submit(scheduler, keeper, home):
    def submit(job, n=1, said=WAITING):
        tasks = [f"{job}.{number}" for number in range(1, n + 1)]
        scheduler.known |= dict.fromkeys(tasks, said)
        array = Array(keeper, scheduler, job, tasks, Spool())
        return [Job(array, number) for number in range(1, n + 1)]

    return submit


def test_one_question_is_for_all_jobs_of_all_launches(scheduler, submit):
    """Schedulers are shared, and slow; sites ask their users not to poll."""
    launched = [*submit("1", 3), *submit("2", 3)]
    scheduler.now = FIRST

    assert [job.state() for job in launched] == ["Q"] * 6
    assert scheduler.asked == [["1", "2"]]


def test_nobody_is_asked_before_it_is_time(scheduler, submit):
    """A job is not there the moment it is submitted."""
    (job,) = submit("1")

    assert (job.state(), job.failure(), scheduler.asked) == ("", None, [])


def test_it_is_asked_less_and_less_while_nothing_happens(scheduler, submit):
    """A job may wait for days."""
    (job,) = submit("1")

    times = []
    for scheduler.now in range(1, 601):
        before = len(scheduler.asked)
        job.failure()
        if len(scheduler.asked) > before:
            times.append(scheduler.now)

    assert len(times) < 50
    assert times[-1] - times[-2] == LONGEST


def test_it_is_asked_often_again_when_something_happened():
    """Where one job begins or fails, others will."""
    pause = FIRST
    for _ in range(20):
        pause = next_pause(pause, changed=False)

    assert pause == LONGEST
    assert next_pause(pause, changed=True) == FIRST


def test_a_new_launch_does_not_wait_for_the_next_question_to_the_old(scheduler, submit):
    """A launch that fails at once is to be known soon."""
    (old,) = submit("1")
    for scheduler.now in range(1, 101):
        old.state()

    submit("2")
    scheduler.now += FIRST
    old.state()

    assert scheduler.asked[-1] == ["1", "2"]


def test_a_job_that_waits_or_runs_has_not_failed(scheduler, submit):
    """Its daemon may still connect."""
    waiting, running = *submit("1"), *submit("2", said=RUNNING)
    scheduler.now = FIRST

    assert (waiting.failure(), running.failure()) == (None, None)
    assert (waiting.state(), running.state()) == ("Q", "R")


def test_a_job_that_ended_is_told_with_its_log(scheduler, submit):
    """That is where Python says why."""
    job, _ = submit("1", 2)
    scheduler.history["1.1"] = FAILED
    del scheduler.known["1.1"]
    job._array.spool.write("log.1", "Traceback …\nModuleNotFoundError: No module named 'mirai'\n")
    scheduler.now = FIRST

    failure = job.failure()

    assert failure.startswith("fake job 1.1: F, exit status 3; its log ")
    assert failure.endswith("ends:\nTraceback …\nModuleNotFoundError: No module named 'mirai'")


def test_a_log_that_is_elsewhere_is_read_there(scheduler, submit, tmp_path):
    """The user's own `--output` goes before ours."""
    (job,) = submit("1")
    (tmp_path / "mine").write_text("no such file")
    scheduler.history["1.1"] = FAILED._replace(log=str(tmp_path / "mine"))
    scheduler.known.clear()
    scheduler.now = FIRST

    assert job.failure().endswith(f"{tmp_path}/mine ends:\nno such file")


@pytest.mark.parametrize(("written", "said"), [(None, "cannot be read here: No such file"), ("", "is empty")])
def test_a_log_that_says_nothing_is_said_so(scheduler, submit, written, said):
    """Else somebody would look for it."""
    (job,) = submit("1")
    if written is not None:
        job._array.spool.write("log.1", written)
    scheduler.known["1.1"] = FAILED
    scheduler.now = FIRST

    assert said in job.failure()


def test_a_python_that_is_not_there_is_named_as_the_cause(scheduler, submit):
    """127 is what sh(1) says of it."""
    (job,) = submit("1")
    scheduler.known["1.1"] = Said(Phase.ENDED, "F, exit status 127", 127)
    scheduler.now = FIRST

    assert job.failure().endswith("set python= to one that is there")


def test_a_job_that_is_held_is_a_failure(scheduler, submit):
    """It would wait for ever, and so would its tasks."""
    (job,) = submit("1", said=Said(Phase.STUCK, "PENDING (JobHeldAdmin)"))
    scheduler.now = FIRST

    assert "PENDING (JobHeldAdmin): it will not begin by itself" in job.failure()


def test_a_job_that_is_released_may_connect_again(scheduler, submit):
    """Held is not the end."""
    (job,) = submit("1", said=Said(Phase.STUCK, "held"))
    scheduler.now = FIRST
    job.failure()
    scheduler.known["1.1"] = RUNNING
    scheduler.now += FIRST

    assert job.failure() is None


def test_a_job_that_nobody_knows_is_given_up_when_missed_twice(scheduler, submit):
    """One answer may be older than the job; two are not. Else its tasks would wait for ever."""
    (job,) = submit("1")
    scheduler.known.clear()

    scheduler.now = FIRST
    assert job.failure() is None
    scheduler.now += FIRST
    assert "1.1: is not known to the scheduler any more" in job.failure()


def test_a_scheduler_that_cannot_be_asked_is_no_failure_of_its_jobs(scheduler, submit):
    """It is restarted, now and then, and its jobs run on."""
    (job,) = submit("1")
    scheduler.now = FIRST
    job.failure()
    scheduler.broken = "squeue: Unable to contact slurm controller"
    scheduler.now += LONGEST

    assert job.failure() is None
    assert job.state() == "Q; squeue: Unable to contact slurm controller"

    scheduler.broken = None
    scheduler.now += LONGEST
    assert job.state() == "Q"


def test_an_answer_that_is_not_understood_is_no_failure_of_its_jobs(scheduler, submit):
    """A newer version may say things differently; that is told, and not asked for all the time."""
    (job,) = submit("1")
    scheduler.known = None
    scheduler.now = FIRST

    assert job.failure() is None
    assert "TypeError" in job.state()
    assert len(scheduler.asked) == 1


def test_jobs_that_ended_are_not_asked_for_again(scheduler, submit):
    """There is nothing more to hear of them."""
    job, other = *submit("1"), *submit("2")
    scheduler.known["1.1"] = FAILED
    for scheduler.now in range(1, 30):
        job.failure()

    assert scheduler.asked[0] == ["1", "2"]
    assert scheduler.asked[-1] == ["2"]


def test_all_jobs_of_an_array_are_ended_with_one_command(scheduler, submit, home):
    """`daemons(0)` with a thousand of them."""
    launched = submit("1", 5)

    for job in launched:
        job.cancel()
        job.cancel()

    assert scheduler.ended == [[f"1.{number}" for number in range(1, 6)]]
    assert not list((home / ".mirai/jobs").iterdir())


def test_one_job_of_many_can_be_ended(scheduler, submit):
    """The others still run."""
    launched = submit("1", 3)

    launched[1].cancel()
    launched[2].cancel()

    wait_until(lambda: scheduler.ended, "both to be ended together")
    assert scheduler.ended == [["1.2", "1.3"]]
    assert launched[0]._array.spool.path.exists()


def test_daemons_are_left_a_moment_to_leave_by_themselves(scheduler, submit, monkeypatch):
    """Some schedulers end a job by SIGKILL, and a task may be cleaning up."""
    (job,) = submit("1", said=RUNNING)

    def leave(pause):
        scheduler.known.pop("1.1", None)
        scheduler.history["1.1"] = Said(Phase.ENDED, "COMPLETED", 0)

    monkeypatch.setattr(jobs.time, "sleep", leave)

    job.cancel()

    assert scheduler.ended == []


def test_daemons_that_do_not_leave_are_ended(scheduler, submit, monkeypatch):
    """`daemons(0)` leaves nothing behind."""
    (job,) = submit("1", said=RUNNING)

    def sleep(pause):
        scheduler.now += pause

    monkeypatch.setattr(jobs.time, "sleep", sleep)

    job.cancel()

    assert scheduler.ended == [["1.1"]]
    assert jobs.GRACE <= scheduler.now < 2 * jobs.GRACE


def test_what_cannot_be_ended_is_logged(scheduler, submit, caplog):
    """The others are to be ended all the same."""
    (job,) = submit("1")
    scheduler.broken = "scancel: error: Access denied"

    with caplog.at_level(logging.WARNING, "mirai"):
        job.cancel()

    assert "fake could not end the jobs 1.1: scancel: error: Access denied" in caplog.text


def test_the_log_of_what_failed_is_kept_and_the_rest_is_not(scheduler, submit, home):
    """An error names it."""
    job, other = submit("1", 2)
    spool = job._array.spool
    for name in ("log.1", "log.2", "secrets.1", "script"):
        spool.write(name, "" if name == "log.2" else "text")
    scheduler.known["1.1"] = FAILED
    scheduler.now = FIRST
    job.failure()

    job.cancel()
    other.cancel()

    assert [path.name for path in spool.path.iterdir()] == ["log.1"]
