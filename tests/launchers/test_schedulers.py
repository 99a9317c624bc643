"""Every scheduler passes the suite of launchers: on fakes of all of them, and on real ones where they are."""

from __future__ import annotations

import sys

import pytest

from mirai.hookspecs import LaunchCommand
from mirai.testing import FakeScheduler, LauncherSuite
from mirai_launchers import LSF, PBS, SGE, Slurm
from tests.waiting import wait_until

KINDS = {"slurm": Slurm, "sge": SGE, "pbs": PBS, "torque": PBS, "lsf": LSF}


class TestFake(LauncherSuite):
    @pytest.fixture(params=KINDS)
    def launcher(self, request, at_once):
        with FakeScheduler(request.param):
            yield KINDS[request.param](python=sys.executable)


class TestSlurm(LauncherSuite):
    @pytest.fixture
    def launcher(self, slurm):
        return Slurm(python=sys.executable)


class TestGridEngine(LauncherSuite):
    @pytest.fixture
    def launcher(self, sge):
        return SGE(python=sys.executable)


class TestTorqueFace(LauncherSuite):
    @pytest.fixture
    def launcher(self, torque):
        return PBS(python=sys.executable)


@pytest.fixture(params=KINDS)
def site(request, home, at_once):
    with FakeScheduler(request.param) as site:
        yield site


@pytest.fixture
def launch(site):
    """Launch as many, which run until they are cancelled, at the end of the test at the latest."""
    launched = []

    def launch(n=1, options="", argv=("python3", "-c", "import signal; signal.pause()")):
        commands = [LaunchCommand(argv, {"MIRAI_TICKET": f"ticket-{number}"}) for number in range(n)]
        launches = KINDS[site.kind](options=options, python=sys.executable).launch(commands)
        launched.extend(launches)
        return launches

    yield launch
    for one in launched:
        one.cancel()


def told(launch):
    """Its failure, once it is known."""
    return wait_until(launch.failure, lambda: f"a failure to be told: {launch.state()}")


def test_several_are_one_array(site, launch):
    """A scheduler may be asked to think about a thousand jobs, or about one."""
    launched = launch(3)

    submitted = [command for command in site.commands if command[0] in ("sbatch", "qsub", "bsub")]
    assert len([words for words in submitted if "--version" not in words]) == 1
    assert sorted((job.id, job.task) for job in site.jobs) == [(1, 1), (1, 2), (1, 3)]
    expected = {"slurm": "1_1", "sge": "1.1", "pbs": "1[1].server", "torque": "1[1].server", "lsf": "1[1]"}
    assert launched[0].id == expected[site.kind]


def test_arrays_are_no_larger_than_the_site_allows(site, launch):
    """Each scheduler has its own words for that."""
    site.limit(2)
    site.slow()

    launched = launch(5)

    assert sorted((job.id, job.task) for job in site.jobs) == [(1, 1), (1, 2), (2, 1), (2, 2), (3, 0)]
    assert len({one.id for one in launched}) == 5


def test_one_command_asks_for_all(site, launch):
    """However often we are asked."""
    launched = [*launch(3), *launch(2)]
    wait_until(lambda: all(one.state() for one in launched), "the scheduler to be asked")

    before = len(site.commands)
    for one in launched * 5:
        one.state(), one.failure()

    assert len(site.commands) == before


def test_a_slow_queue_is_no_failure(site, launch):
    """Daemons may come tomorrow; `status().launches` shows why they have not come."""
    site.slow()
    (waiting,) = launch()
    state = wait_until(waiting.state, "the scheduler to be asked")

    words = {
        "slurm": "PENDING (Resources)",
        "sge": "qw",
        "torque": "Q",
        "lsf": "PEND (Job slot limit reached: 4 hosts;)",
    }
    assert state == words.get(site.kind, "Q (Not Running: Insufficient amount of resource: ncpus (R: 4 A: 0 T: 4))")
    assert waiting.failure() is None

    site.begin()
    wait_until(lambda: waiting.state() != state, "the job to run")
    assert waiting.failure() is None


def test_queued_jobs_are_cancelled(site, launch):
    """`daemons(0)` while they wait."""
    site.slow()
    launched = launch(2)

    for one in launched:
        one.cancel()

    assert [job.state for job in site.jobs] == ["ended"] * 2
    enders = [words for words in site.commands if words[0] in ("scancel", "qdel", "bkill")]
    assert len(enders) == 1


HOLDS = {"slurm": "#SBATCH --hold", "sge": "#$ -h", "pbs": "#PBS -h", "torque": "#PBS -h", "lsf": "#BSUB -H"}


def test_a_job_that_is_held_is_told(site, launch):
    """Its daemon would never connect."""
    (held,) = launch(options=HOLDS[site.kind])

    words = {"slurm": r"PENDING (JobHeldUser)", "sge": "hqw", "pbs": "H (Job held by me", "torque": "H", "lsf": "PSUSP"}
    assert f"job {held.id}: {words[site.kind]}" in told(held)


@pytest.mark.parametrize("site", ["sge"], indirect=True)
def test_an_error_state_is_told_with_its_cause(site, launch):
    """Grid Engine keeps what could not begin in the queue, with a reason that `qstat -j` tells."""
    site.hold('unable to find shell "/no/such"')

    first, second = launch(2)

    assert 'job 1.2: Eqw (11/25/2026 22:24:33 [0:1]: unable to find shell "/no/such")' in told(second)


@pytest.mark.parametrize(
    ("site", "options"),
    [("sge", "#$ -hold_jid 12"), ("pbs", "#PBS -W depend=afterok:12.server")],
    indirect=["site"],
)
def test_a_job_that_waits_for_another_one_is_fine(site, launch, options):
    """That it is held is what its user wanted."""
    site.hold("h")
    (held,) = launch(options=options)
    wait_until(held.state, "the scheduler to be asked")

    assert held.failure() is None


def test_a_rejection_is_an_error_at_once(site, launch):
    """The scheduler says it best."""
    site.reject("no queue of that name: gpu")

    with pytest.raises(OSError, match="refused the job .*: no queue of that name: gpu"):
        launch(2)


def test_a_job_that_is_lost_is_told(site, launch):
    """Else its tasks would wait for ever."""
    site.lose()
    (lost,) = launch()

    assert "is not known to the scheduler any more" in told(lost)


def test_a_node_that_dies_is_told(site, launch):
    """In the scheduler's own words where it has any."""
    (killed,) = launch()
    wait_until(lambda: [job.state for job in site.jobs] == ["runs"], "the job to run")

    site.kill("NODE_FAIL" if site.kind == "slurm" else "")

    words = {
        "slurm": "NODE_FAIL",
        "sge": "exit status 143, failed 100 : assumedly after job",
        "lsf": "EXIT, exit status 143",
    }
    assert words.get(site.kind, "exit status 271") in told(killed)


def test_a_scheduler_that_is_down_is_no_failure_of_its_jobs(site, launch):
    """It is restarted, and they run on."""
    site.slow()
    (waiting,) = launch()
    site.down("cannot contact the server")

    state = wait_until(waiting.state, "the scheduler to be asked")

    assert "failed (status 1): cannot contact the server" in state
    assert waiting.failure() is None
    site.well()


@pytest.mark.parametrize("site", ["pbs"], indirect=True)
def test_an_array_that_has_ended_is_found_in_the_history(site, launch):
    """`qstat -x`, since OpenPBS forgets what is over."""
    launched = launch(2, argv=("python3", "-c", "import sys; sys.exit('sorry')"))

    assert ["exit status 1; its log" in told(one) for one in launched] == [True, True]
    assert ["qstat", "-x", "-t", "-f", "1[].server"] in site.commands
