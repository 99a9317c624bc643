"""Slurm: what its commands say, and a real one where it is there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import mirai
from mirai.hookspecs import LaunchCommand
from mirai_launchers.jobs import Phase
from mirai_launchers.slurm import SECRETS, Slurm, _said
from tests.waiting import wait_until

REPORT = """
import json, os, pathlib, signal, sys
ticket = os.environ["MIRAI_TICKET"]
path = pathlib.Path(sys.argv[1], ticket)
path.with_suffix(".new").write_text(json.dumps([sys.argv[2:], sorted(k for k, v in os.environ.items() if "ticket-" in v), os.getpid()]))
path.with_suffix(".new").rename(path)
signal.pause()
"""


@pytest.mark.parametrize(
    ("said", "phase", "words", "status"),
    [
        (("PENDING", "Resources"), Phase.WAITING, "PENDING (Resources)", None),
        (("PENDING", "Priority"), Phase.WAITING, "PENDING (Priority)", None),
        (("PENDING", "None"), Phase.WAITING, "PENDING", None),
        (("PENDING", "JobHeldUser"), Phase.STUCK, "PENDING (JobHeldUser)", None),
        (("PENDING", "PartitionTimeLimit"), Phase.STUCK, "PENDING (PartitionTimeLimit)", None),
        (("PENDING", "launch failed requeued held"), Phase.STUCK, "PENDING (launch failed requeued held)", None),
        (("RUNNING", "None"), Phase.RUNNING, "RUNNING", None),
        (("COMPLETING", "None"), Phase.RUNNING, "COMPLETING", None),
        (("COMPLETED", "None", "0:0"), Phase.ENDED, "COMPLETED, exit status 0", None),
        (("FAILED", "NonZeroExitCode", "127:0"), Phase.ENDED, "FAILED (NonZeroExitCode), exit status 127", 127),
        (("CANCELLED", "None", "0:15"), Phase.ENDED, "CANCELLED, exit status 0, signal 15", 15),
        (("TIMEOUT", "TimeLimit", "0:1"), Phase.ENDED, "TIMEOUT (TimeLimit), exit status 0, signal 1", 1),
        (("NODE_FAIL", "None", "0:0"), Phase.ENDED, "NODE_FAIL, exit status 0", 1),
    ],
)
def test_what_is_said_of_a_job(said, phase, words, status):
    """squeue(1) and scontrol(1) have many words for few things."""
    assert _said(*said)[:3] == (phase, words, status)


def test_other_directives_than_ours_win(slurm, tmp_path):
    """Options are carried as the user wrote them."""
    options = f"#SBATCH --job-name=mine\n#SBATCH --output={tmp_path}/mine.%a"
    launcher = Slurm(options=options, python=sys.executable)
    (job,) = launcher.launch([LaunchCommand(("python3", "-c", "import sys; sys.exit('sorry')"))])

    failure = wait_until(job.failure, "the job to fail")
    job.cancel()

    assert f"its log {tmp_path}/mine." in failure
    assert failure.endswith("sorry")


def launch(tmp_path, n, options=""):
    """As many jobs as `n`, each with a ticket, and what they report once they run."""
    argv = ("python3", "-c", REPORT, str(tmp_path), "a b", "$HOME", "it's")
    tickets = [f"ticket-{number}" for number in range(n)]
    launcher = Slurm(options=options, python=sys.executable)
    return launcher.launch([LaunchCommand(argv, {"MIRAI_TICKET": ticket}) for ticket in tickets]), tickets


def reports(tmp_path, tickets):
    paths = [tmp_path / ticket for ticket in tickets]
    wait_until(lambda: all(path.exists() for path in paths), "the jobs to report", timeout=20)
    return [json.loads(path.read_text()) for path in paths]


@pytest.mark.parametrize(
    ("n", "export"),
    [(1, ""), (3, "#SBATCH --export=NONE"), (2, "#SBATCH --export=NIL"), (2, "#SBATCH --export=HOME")],
)
def test_words_and_secrets_arrive_whatever_is_exported(slurm, tmp_path, n, export):
    """Many sites have `--export=NONE` in their handbook, and a daemon without its ticket is turned away."""
    jobs, tickets = launch(tmp_path, n, export)
    arrived = reports(tmp_path, tickets)
    for job in jobs:
        job.cancel()

    assert [(words, names) for words, names, _ in arrived] == [(["a b", "$HOME", "it's"], ["MIRAI_TICKET"])] * n
    assert len({job.id for job in jobs}) == n


def test_secrets_are_shown_to_nobody(slurm, home, tmp_path):
    """Everybody can run scontrol and ps, and many a home directory is open to all."""
    jobs, tickets = launch(tmp_path, 2)
    pids = [pid for _, _, pid in reports(tmp_path, tickets)]
    shown = [
        subprocess.check_output(["scontrol", "-dd", "show", "job", jobs[0].id], text=True),
        *(Path(f"/proc/{pid}/cmdline").read_text() for pid in pids),
        *(path.read_text() for path in home.rglob("*") if path.is_file()),
    ]
    for job in jobs:
        job.cancel()

    assert not [text for text in shown if any(ticket in text for ticket in tickets) or SECRETS + "=" in text]


def test_a_job_is_followed_from_the_queue_to_its_end(slurm, tmp_path):
    """`status().launches` shows what Slurm says."""
    (job,), tickets = launch(tmp_path, 1)
    reports(tmp_path, tickets)
    wait_until(lambda: job.state() == "RUNNING", lambda: f"the job to run: {job.state()}")

    before = job.failure()
    subprocess.run(["scancel", job.id], check=True)
    failure = wait_until(job.failure, "the job to be cancelled")
    job.cancel()

    assert before is None
    assert failure.startswith(f"slurm job {job.id}: CANCELLED")


def test_jobs_are_gone_when_they_are_cancelled(slurm, home, tmp_path):
    """Those that run, and those that wait."""
    running, tickets = launch(tmp_path, 2)
    reports(tmp_path, tickets)
    waiting, _ = launch(tmp_path, 2, "#SBATCH --begin=now+1hour")

    for job in (*running, *waiting):
        job.cancel()

    ids = ",".join(sorted({job.id.partition("_")[0] for job in (*running, *waiting)}))
    said = subprocess.run(["squeue", "-h", f"--jobs={ids}", "--format=%T"], capture_output=True, text=True)
    assert set(said.stdout.split()) <= {"COMPLETING"}
    assert not [path for path in home.rglob("*") if "secrets" in path.name or path.name == "script"]


def test_a_python_that_is_not_there_is_told(slurm):
    """The most common mistake of all."""
    (job,) = Slurm(python="/no/such/python").launch([LaunchCommand(("python3",))])

    failure = wait_until(job.failure, "the job to fail")
    job.cancel()

    assert "FAILED (NonZeroExitCode), exit status 127" in failure
    assert "/no/such/python: not found" in failure
    assert failure.endswith("set python= to one that is there")


def test_a_job_that_is_held_is_told(slurm):
    """Its daemon will not connect."""
    (job,) = Slurm(options="#SBATCH --hold").launch([LaunchCommand(("python3",))])

    failure = wait_until(job.failure, "Slurm to say that it is held")
    job.cancel()

    assert f"slurm job {job.id}: PENDING (JobHeldUser): it will not begin by itself" in failure


def test_an_unknown_partition_is_an_error_at_once(slurm, home):
    """Sbatch says it best."""
    with pytest.raises(OSError, match="sbatch refused the job .* invalid partition specified: nosuch"):
        Slurm(options="#SBATCH --partition=nosuch").launch([LaunchCommand(("python3",))])

    assert not list((home / ".mirai/jobs").iterdir())


def test_daemons_come_with_work_and_leave_without(slurm):
    """Nobody pays for nodes that wait."""
    launcher = Slurm(python=sys.executable)
    with mirai.daemons({"min": 0, "max": 2}, url="tcp://127.0.0.1:0", remote=launcher, idletime=1.0):
        before = len(mirai.status().launches)
        assert mirai.collect_mirai([mirai.mirai(pow, 2, n) for n in range(4)]) == [1, 2, 4, 8]
        wait_until(lambda: not mirai.info().connections, "the daemons to leave")
        after = mirai.status().launches

    assert before == 0
    assert [row.state for row in after] == ["ended"] * 2


def test_daemons_know_when_their_job_will_be_ended(slurm, tmp_path):
    """A task that would not be done is not begun; one that would be is, and the other is done elsewhere."""
    launcher = Slurm(options="#SBATCH --time=2", python=sys.executable)
    with mirai.daemons(2, url="tcp://127.0.0.1:0", remote=launcher):
        wait_until(lambda: mirai.info().connections == 2, "both daemons", timeout=20)
        long = mirai.mirai("__import__('os').environ.get('SLURM_JOB_ID')", _expect=3600)
        assert mirai.mirai("1", _expect=30).result(20) == 1
        waited = long.done()

        mirai.launch_local(1)
        where = long.result(20)

    assert (waited, where) == (False, None)


def test_a_node_that_cannot_reach_the_host_is_told(slurm):
    """A firewall, or a name that means another machine there."""
    with mirai.daemons(url="tcp://127.0.0.1:0"):
        (command,) = mirai.launch_remote()

    (job,) = Slurm(python=sys.executable).launch([command])
    failure = wait_until(job.failure, lambda: f"the job to fail: {job.state()}", timeout=20)
    job.cancel()

    assert "FAILED (NonZeroExitCode), exit status 10" in failure
    assert "Connection refused, nobody listens there" in failure
