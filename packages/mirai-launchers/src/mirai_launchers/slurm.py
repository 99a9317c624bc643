"""Slurm: sbatch, squeue, scancel."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mirai_launchers import shell
from mirai_launchers.batch import NEVER, Batch
from mirai_launchers.jobs import Phase, Said
from mirai_launchers.spool import log_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mirai.hookspecs import LaunchCommand
    from mirai_launchers.jobs import Array
    from mirai_launchers.spool import Spool

# What begins so reaches a job whatever `--export` says; sbatch(1).
SECRETS = "SLURM_MIRAI_SECRETS"

# Reasons for which a job waits that do not pass by themselves; squeue(1), "JOB REASON CODES".
STUCK = re.compile(
    r"JobHeld\w+|BadConstraints|DependencyNeverSatisfied|Invalid\w+|Partition(Node|Time)Limit|"
    r"AccountNotAllowed|QOSNotAllowed|launch failed requeued held|.*\bheld\b.*"
)
CLUSTERS = re.compile(r"\s(?:--clusters[=\s]|-M\s*)(\S+)")
OVER = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "TIMEOUT",
}


@dataclass(frozen=True)
class Slurm(Batch):
    """Start daemons as jobs of Slurm.

    Several are one job array. Their tickets are in the environment of sbatch, which Slurm shows to nobody else.

    Attributes:
        command: sbatch, or its path; squeue, scontrol and scancel are beside it.
        options: lines of the job's script: `#SBATCH …`, as sbatch(1) has them, and shell commands, such as
            `module load …`, that come before the daemon starts. `#!…` in the first line is the shell.
        python: the interpreter's name or path where the daemon will run.

    Source: `cluster_config()` in R.
    """

    name: ClassVar[str] = "slurm"

    command: str = "sbatch"

    directive: ClassVar[str] = "#SBATCH"
    task: ClassVar[str] = "SLURM_ARRAY_TASK_ID"
    array_option: ClassVar[re.Pattern[str]] = re.compile(r"\s(--array\b|-a)")
    output_option: ClassVar[re.Pattern[str]] = re.compile(r"\s(--output\b|-o)")
    hold_option: ClassVar[re.Pattern[str]] = NEVER  # dependencies are a reason of their own
    too_many: ClassVar[re.Pattern[str]] = re.compile(r"Invalid job array specification")

    @property
    def site(self) -> str:
        return self.said(CLUSTERS) or ""

    def submission(self, n: int, spool: str) -> list[str]:
        return [self.command, "--parsable"]

    def directives(self, n: int, spool: str) -> list[str]:
        ours = ["#SBATCH --job-name=mirai", f"#SBATCH --output={spool}/{log_name('%a' if n > 1 else 1)}"]
        return [*ours, f"#SBATCH --array=1-{n}"] if n > 1 else ours

    def end_of_allocation(self) -> list[str]:
        # Before Slurm 23.02 the variable is not there, and squeue(1) is asked. It may say "N/A", or nothing.
        # A task's own id may be that of the whole array, too.
        job = "${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"
        asked = f'$({self.beside("squeue")} -h -j "{job}" -o %e 2>/dev/null)'
        return [
            f"end=${{SLURM_JOB_END_TIME:-{asked}}}",
            "case $end in",
            '    ????-??-??T*) export MIRAI_UNTIL=$(date -d "$end" +%s) ;;',
            "    [0-9]*) export MIRAI_UNTIL=$end ;;",
            "esac",
        ]

    def hand_over(self, commands: Sequence[LaunchCommand], spool: str) -> list[str]:
        return [
            f"""eval "$(printf '%s\\n' "${SECRETS}" | sed -n {self.number(len(commands))}p)\"""",
            f"unset {SECRETS}",
        ]

    def store(self, commands: Sequence[LaunchCommand], spool: Spool) -> dict[str, str]:
        lines = ["; ".join(shell.exports({key: value}).strip() for key, value in c.env.items()) for c in commands]
        if any("\n" in line for line in lines):
            raise ValueError("a secret has several lines: sed(1) could not tell them apart")
        return {SECRETS: "\n".join(lines)}

    def tasks(self, said: str, n: int) -> tuple[str, list[str]]:
        job = said.strip().partition(";")[0]  # a cluster's name may follow
        if not job.isdecimal():
            raise ValueError(said)
        return job, [f"{job}_{number}" for number in range(1, n + 1)] if n > 1 else [job]

    def ask(self, arrays: Sequence[Array]) -> dict[str, Said]:
        jobs = ",".join(array.job for array in arrays)
        ran = self._run("squeue", "--noheader", "--array", f"--jobs={jobs}", "--format=%i|%T|%r")
        if ran.status and "Invalid job id" not in ran.stderr:  # what a single one is that has gone
            raise OSError(f"squeue failed (status {ran.status}): {ran.stderr.strip()}")
        answers = {}
        for line in ran.stdout.splitlines():
            if "|" in line:  # and not the name of a cluster
                task, state, reason = line.split("|", 2)
                answers[task] = _said(state, reason)
        return answers

    def look_up(self, array: Array) -> dict[str, Said]:
        ran = self._run("scontrol", "--oneliner", "show", "job", array.job)
        if ran.status and "Invalid job id" not in ran.stderr:
            raise OSError(f"scontrol failed (status {ran.status}): {ran.stderr.strip()}")
        answers = {}
        for line in filter(str.strip, ran.stdout.splitlines()):
            fields = dict(re.findall(r"(?:^| )(\w[\w:/]*)=(.*?)(?= \w[\w:/]*=|\s*$)", line))
            task = f"{array.job}_{fields['ArrayTaskId']}" if "ArrayTaskId" in fields else fields["JobId"]
            answers[task] = _said(fields["JobState"], fields["Reason"], fields["ExitCode"], fields["StdOut"])
        return answers

    def end(self, tasks: Sequence[str]) -> None:
        ran = self._run("scancel", *tasks)
        if ran.status:
            raise OSError(f"scancel failed (status {ran.status}): {ran.stderr.strip()}")

    def _run(self, name: str, *words: str) -> shell.Ran:
        """Another command, on the cluster that the user's own directives name."""
        return shell.run([self.beside(name), *([f"--clusters={self.site}"] if self.site else []), *words])


def _said(state: str, reason: str, exit_code: str = "0:0", log: str | None = None) -> Said:
    words = state if reason in ("None", "(null)", "") else f"{state} ({reason})"
    if state in OVER:
        status, signal = map(int, exit_code.split(":"))
        words += f", exit status {status}" + (f", signal {signal}" if signal else "")
        return Said(Phase.ENDED, words, status or signal or (None if state == "COMPLETED" else 1), log)
    if state != "PENDING":
        return Said(Phase.RUNNING, words)
    return Said(Phase.STUCK if STUCK.fullmatch(reason) else Phase.WAITING, words)
