"""What the schedulers share: the script, its options, how many arrays."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from mirai.hookspecs import LaunchCommand
from mirai_launchers import LSF, PBS, SGE, Slurm, cluster_config

GOLDEN = Path(__file__).parent / "golden"
ARGV = ("python3", "-m", "mirai.launch", "daemon", "tls+tcp://node1:5555", "--idletime", "60")
KINDS = {"slurm": Slurm, "sge": SGE, "pbs": PBS, "lsf": LSF}
OPTIONS = {
    "slurm": "#SBATCH --mem=8G\nmodule load python/3.11\n  #SBATCH --time=1:00:00",
    "sge": "#$ -l h_vmem=8G\nmodule load python/3.11\n  #$ -l h_rt=1:00:00",
    "pbs": "#PBS -l mem=8gb\nmodule load python/3.11\n  #PBS -l walltime=1:00:00",
    "lsf": '#BSUB -R "rusage[mem=8000]"\nmodule load python/3.11\n  #BSUB -W 1:00',
}


def commands(n):
    return [LaunchCommand(ARGV, {"MIRAI_TICKET": f"7c9e6679-{number}"}) for number in range(n)]


@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_the_script_can_be_read_before_it_is_submitted(kind, n, monkeypatch):
    """What a site's support asks for first. `golden/` has them all."""
    monkeypatch.setenv("PATH", "")  # so that no qsub of this machine says whose it is
    launcher = KINDS[kind](options=OPTIONS[kind], python="~/env/bin/python")

    script = launcher.show(commands(n))

    assert script == (GOLDEN / f"{kind}-{n}.sh").read_text()
    assert "7c9e6679" not in script


def test_without_secrets_none_are_handed_over():
    """A socket in a private directory needs no ticket."""
    assert "SECRETS" not in Slurm().show([LaunchCommand(ARGV)])


def test_the_first_line_may_name_the_shell():
    """`module` is often there in a login shell only."""
    launcher = Slurm(options="#!/bin/bash -l\n#SBATCH --mem=8G")

    assert launcher.show([LaunchCommand(ARGV)]).splitlines()[1] == "#!/bin/bash -l"


def test_directives_come_before_commands():
    """A scheduler reads no further than to the first command."""
    lines = Slurm(options="module load python\n\t#SBATCH --mem=8G").show([LaunchCommand(ARGV)]).splitlines()

    assert lines.index("#SBATCH --mem=8G") < lines.index("module load python")


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"options": ["#SBATCH"]}, TypeError, r"options is \['#SBATCH'\], of type list"),
        ({"python": 3.11}, TypeError, "python is 3.11, of type float"),
        ({"python": ""}, ValueError, "python is empty"),
        ({"command": ""}, ValueError, "command is empty"),
        ({"options": "#SBATCH --array=1-4"}, ValueError, "'#SBATCH --array=1-4': leave it out"),
        ({"options": "#SBATCH -a 1-4"}, ValueError, "leave it out"),
    ],
)
def test_options_are_checked_when_given(options, error, said):
    """Not in the middle of a launch."""
    with pytest.raises(error, match=said):
        Slurm(**options)


@pytest.mark.parametrize(
    ("kind", "options"),
    [(SGE, "#$ -t 1-4"), (PBS, "#PBS -J 1-4"), (PBS, "#PBS -t 1-4"), (LSF, '#BSUB -J "mine[1-4]"')],
)
def test_how_many_there_are_is_not_an_option(kind, options):
    """Else there would be two answers."""
    with pytest.raises(ValueError, match="leave it out, n says how many daemons there will be"):
        kind(options=options)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Slurm, "#SBATCH --account=me\n#SBATCH --mail-type=ALL"),
        (SGE, "#$ -terse"),
        (PBS, "#PBS -l walltime=1:00:00 -M me@here"),
        (LSF, "#BSUB -J mine"),
    ],
)
def test_an_option_that_only_looks_like_an_array_is_fine(kind, options):
    """`--account` begins like `-a`."""
    assert options.splitlines()[0] in kind(options=options).show([LaunchCommand(ARGV)])


def test_a_name_of_the_users_own_is_that_of_the_array():
    """LSF has one option for both."""
    assert LSF(options='#BSUB -J "mine"').show(commands(4)).splitlines()[0] == "# bsub -J 'mine[1-4]'"
    assert LSF(options="#BSUB -J mine").show(commands(1)).splitlines()[0] == "# bsub -J mine"


@pytest.mark.parametrize(
    ("kind", "options"), [(PBS, "#PBS -o /scratch/log"), (PBS, "#PBS -k oed"), (LSF, "#BSUB -oo /scratch/%J")]
)
def test_output_goes_where_the_user_says(kind, options):
    """Options are carried as they were written."""
    assert "exec >" not in kind(options=options).show(commands(1))


def test_qsub_may_be_that_of_two_schedulers(monkeypatch):
    """Their directives tell them apart, else what Grid Engine sets."""
    monkeypatch.delenv("SGE_ROOT", raising=False)
    assert isinstance(cluster_config("qsub"), PBS)
    assert isinstance(cluster_config("qsub", "#$ -l h_vmem=8G"), SGE)
    monkeypatch.setenv("SGE_ROOT", "/opt/sge")
    assert isinstance(cluster_config("qsub"), SGE)
    assert isinstance(cluster_config("qsub", "module load x\n  #PBS -l mem=8gb"), PBS)


@pytest.mark.parametrize("kind", KINDS.values())
def test_equal_options_make_equal_launchers(kind):
    """A YAML profile says the same as Python does."""
    assert kind(options="x") == kind(options="x") != kind(options="y")
    assert hash(kind()) == hash(kind())
    with pytest.raises(dataclasses.FrozenInstanceError):
        kind().python = "python2"


@pytest.mark.parametrize(
    ("command", "options", "kind"),
    [
        ("sbatch", "", "slurm"),
        ("/opt/slurm/bin/sbatch", "#SBATCH --mem=1G", "slurm"),
        ("qsub", "#$ -l h_vmem=8G", "sge"),
        ("/opt/pbs/bin/qsub", "#PBS -l mem=8gb", "pbs"),
        ("bsub", "", "lsf"),
    ],
)
def test_a_command_says_which_scheduler_it_is(command, options, kind):
    """As R's function does."""
    assert cluster_config(command, options, "python3.12") == KINDS[kind](command, options, "python3.12")


def test_the_default_is_slurm():
    """As in R."""
    assert cluster_config() == Slurm()


@pytest.mark.parametrize(("command", "error"), [("srun", ValueError), (None, TypeError), ("", ValueError)])
def test_an_unknown_command_is_refused(command, error):
    """Its options could not be checked, nor its jobs be asked for."""
    with pytest.raises(error, match=f"command.*{command!r}"):
        cluster_config(command)


def test_other_commands_are_beside_the_first():
    """Sites that have two Slurms give one by its path."""
    assert Slurm("/opt/slurm/bin/sbatch").beside("squeue") == "/opt/slurm/bin/squeue"
    assert Slurm().beside("squeue") == "squeue"


def test_a_command_that_is_not_there_is_an_error_at_once(home):
    """Somebody runs this on a laptop."""
    with pytest.raises(FileNotFoundError, match="no program 'no-sbatch' here: run this where it is installed"):
        Slurm("no-sbatch").launch(commands(1))

    assert not list((home / ".mirai/jobs").iterdir())


@pytest.fixture
def site(tmp_path, home, at_once):
    """A scheduler's commands, each a line of shell; what was submitted is in `submitted`."""

    def site(**lines):
        for name, line in lines.items():
            program = tmp_path / name
            program.write_text(f"#!/bin/sh\n{line}\n")
            program.chmod(0o755)
        return str(tmp_path / "sbatch")

    return site


def test_arrays_are_as_large_as_the_site_allows(site, tmp_path):
    """MaxArraySize is 1001 by default, and less on many sites."""
    command = site(
        squeue=":",
        scontrol="echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1",
        scancel=":",
        sbatch=f"""n=$(sed -n 's/^#SBATCH --array=1-//p')
if [ "$n" -gt 40 ]; then
    echo "sbatch: error: Batch job submission failed: Invalid job array specification" >&2
    exit 1
fi
echo "$n" >>{tmp_path}/submitted; wc -l <{tmp_path}/submitted""",
    )

    launched = Slurm(command).launch(commands(100))
    ids = [job.id for job in launched]
    for job in launched:
        job.cancel()

    assert (tmp_path / "submitted").read_text().split() == ["25"] * 4
    assert ids == [f"{job}_{number}" for job in range(1, 5) for number in range(1, 26)]


def test_what_was_submitted_before_an_error_is_ended(site, tmp_path, home):
    """A launch that raises leaves nobody to cancel it."""
    command = site(
        squeue="echo '1_1|PENDING|None'; echo '1_2|PENDING|None'",
        scontrol=":",
        scancel=f'echo "$@" >{tmp_path}/ended',
        sbatch=f"""n=$(sed -n 's/^#SBATCH --array=1-//p')
if [ "$n" = 3 ]; then echo "Invalid job array specification" >&2; exit 1; fi
if [ -e {tmp_path}/first ]; then echo "Job violates accounting/QOS policy" >&2; exit 1; fi
echo 1 | tee {tmp_path}/first""",
    )

    with pytest.raises(OSError, match="refused the job .* Job violates accounting/QOS policy"):
        Slurm(command).launch(commands(3))

    assert (tmp_path / "ended").read_text().split() == ["1_1", "1_2"]
    assert not list((home / ".mirai/jobs").iterdir())


def test_what_is_no_id_is_an_error(site):
    """A job that nobody can cancel must not seem launched."""
    with pytest.raises(OSError, match="said 'welcome to the cluster.n', which is no job's id"):
        Slurm(site(sbatch="echo welcome to the cluster")).launch(commands(1))


def test_commands_beside_a_script_are_not_run_by_show(site, tmp_path):
    """`mirai show` is for looking."""
    command = site(sbatch=f"touch {tmp_path}/run")

    Slurm(command).show(commands(2))

    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("kind", "options", "seconds"),
    [
        (SGE, "#$ -l h_rt=1:00:00,h_vmem=8G", 3600),
        (SGE, "#$ -l h_rt=90", 90),
        (PBS, "#PBS -l select=1,walltime=00:01:30", 90),
        (LSF, "#BSUB -W 90", 5400),
        (LSF, "#BSUB -n 4 -W 1:30", 5400),
        (SGE, "", None),
    ],
)
def test_daemons_know_when_their_job_will_be_ended(kind, options, seconds):
    """So that no task is begun that would not be done."""
    script = kind(options=options).show(commands(1))

    assert (f"MIRAI_UNTIL=$(($(date +%s) + {seconds}))" in script) == (seconds is not None)


def test_a_job_on_another_cluster_is_asked_for_there(site, tmp_path):
    """One sbatch may be for several clusters, each of which has its own job 1."""
    command = site(
        sbatch="echo '1;far'",
        squeue=f"echo squeue $* >>{tmp_path}/asked; echo 'CLUSTER: far'; echo '1|RUNNING|None'",
        scontrol=":",
        scancel=f"echo scancel $* >>{tmp_path}/asked",
    )
    (job,) = Slurm(command, options="#SBATCH -M far").launch(commands(1))
    job._array.keeper.ask(now=True)

    assert (job.id, job.state()) == ("1", "RUNNING")
    job.cancel()
    assert all("--clusters=far" in line for line in (tmp_path / "asked").read_text().splitlines())
