"""PBS: qsub, qstat, qdel of OpenPBS (and PBS Professional), Torque, and Slurm's imitation of them."""

from __future__ import annotations

import functools
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mirai_launchers import shell
from mirai_launchers.batch import MOST, SCRIPT, Batch, seconds
from mirai_launchers.jobs import Phase, Said

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mirai_launchers.jobs import Array

# qstat(1B): what it says, on stderr, of jobs that are gone.
GONE = re.compile(r"Unknown Job Id|has finished")


@dataclass(frozen=True)
class PBS(Batch):
    """Start daemons as jobs of OpenPBS, PBS Professional or Torque.

    Several are one job array. Their tickets are in files of a private directory in `~/.mirai`, since
    `qstat -f` shows a job's environment and its arguments to everybody. Where qsub is that of Slurm, jobs
    are submitted one by one: its ids do not tell the tasks of an array apart.

    Attributes:
        command: qsub, or its path; qstat and qdel are beside it.
        options: lines of the job's script: `#PBS …`, as qsub(1B) has them, and shell commands, such as
            `module load …`, that come before the daemon starts. `#!…` in the first line is the shell.
        python: the interpreter's name or path where the daemon will run.

    Source: `cluster_config()` in R.
    """

    name: ClassVar[str] = "pbs"

    command: str = "qsub"

    directive: ClassVar[str] = "#PBS"
    task: ClassVar[str] = "MIRAI_TASK"
    array_option: ClassVar[re.Pattern[str]] = re.compile(r"\s-[Jt]\s*\d")
    output_option: ClassVar[re.Pattern[str]] = re.compile(r"\s-[oejk]")
    hold_option: ClassVar[re.Pattern[str]] = re.compile(r"\s-W\s*\S*depend")
    too_many: ClassVar[re.Pattern[str]] = re.compile(
        r"Array job exceeds server or queue size limit|Requested array size too large"
    )

    @property
    def most(self) -> int:
        return 1 if self._flavour == "slurm" else MOST

    def submission(self, n: int, spool: str) -> list[str]:
        # In words, since what reads directives differs: Slurm's qsub does not, and PBS has another letter.
        array = ["-t" if self._flavour == "torque" else "-J", f"1-{n}"] if n > 1 else []
        output = [] if self.says(self.output_option) else ["-j", "oe", "-o", "/dev/null"]
        return [self.command, *array, *output, SCRIPT]

    def directives(self, n: int, spool: str) -> list[str]:
        # Without -S it is the user's own shell, whatever the first line says.
        return ["#PBS -N mirai", f"#PBS -S {self.interpreter.split()[0]}"]

    def before(self, n: int, spool: str) -> list[str]:
        # PBS copies output when a job has ended: a log of our own can be read before.
        number = [f"{self.task}=${{PBS_ARRAY_INDEX:-$PBS_ARRAYID}}"] if n > 1 else []
        return [*number, *self.redirection(n, spool)]

    def allotted(self) -> int | None:
        walltime = self.said(re.compile(r"\bwalltime=(\d[\d:]*)"))
        return None if walltime is None else seconds(walltime)

    def end_of_allocation(self) -> list[str]:
        # Torque says it to the job, PBS does not.
        return super().end_of_allocation() or [
            '[ -z "$PBS_WALLTIME" ] || export MIRAI_UNTIL=$(($(date +%s) + PBS_WALLTIME))'
        ]

    def tasks(self, said: str, n: int) -> tuple[str, list[str]]:
        job = said.strip().rpartition("\n")[2]
        found = re.fullmatch(r"(\d+)(\[\])?(\..+)?", job)
        if not found or (n > 1 and not found[2]):
            raise ValueError(said)
        if n == 1:
            return job, [job]
        return job, [f"{found[1]}[{number}]{found[3] or ''}" for number in range(1, n + 1)]

    def ask(self, arrays: Sequence[Array]) -> dict[str, Said]:
        return self._stat([array.job for array in arrays], history=self._flavour == "openpbs")

    def look_up(self, array: Array) -> dict[str, Said]:
        return {}  # what it knows it has said

    def end(self, tasks: Sequence[str]) -> None:
        ran = shell.run([self.beside("qdel"), *tasks])
        said = ran.stderr.strip()
        if ran.status and not all(GONE.search(line) for line in said.splitlines()):
            raise OSError(f"qdel failed (status {ran.status}): {said}")

    def _stat(self, jobs: Sequence[str], *, history: bool) -> dict[str, Said]:
        options = ["-f"] if self._flavour == "slurm" else ["-t", "-f"]
        ran = shell.run([self.beside("qstat"), *(["-x"] if history else []), *options, *jobs])
        if history and re.search("job.history", ran.stderr):  # the server keeps none, as it is by default
            return self._stat(jobs, history=False)
        if ran.status and not all(GONE.search(line) for line in ran.stderr.splitlines()):
            raise OSError(f"qstat failed (status {ran.status}): {ran.stderr.strip()}")
        return {job: _said(fields) for job, fields in _records(ran.stdout)}

    @property
    def _flavour(self) -> str:
        return _flavour(shutil.which(self.command) or "")


@functools.cache
def _flavour(qsub: str) -> str:
    """Whose qsub it is: they differ in how they say "array", and "all that there was"."""
    if not qsub:
        return "openpbs"  # only to be shown
    ran = shell.run([qsub, "--version"])
    said = ran.stdout + ran.stderr
    if "pbs_version" in said:
        return "openpbs"
    return "torque" if re.search(r"^version:", said, re.IGNORECASE | re.MULTILINE) else "slurm"


def _said(fields: Mapping[str, str]) -> Said:
    state, comment = fields["job_state"], fields.get("comment", "")
    words = f"{state} ({comment})" if comment else state
    if state in ("F", "C", "X"):
        said = fields.get("Exit_status", fields.get("exit_status"))  # of PBS, of Torque
        status = None if said is None else int(said)
        return Said(Phase.ENDED, words if status is None else f"{words}, exit status {status}", status)
    if state in ("Q", "W", "T"):
        return Said(Phase.WAITING, words)
    if state == "H":
        return Said(Phase.HELD, words)
    return Said(Phase.RUNNING, words)


def _records(said: str) -> list[tuple[str, dict[str, str]]]:
    """What `qstat -f` says of each job: its id, and the fields, of which long ones go on in lines that a tab begins."""
    records: list[tuple[str, dict[str, str]]] = []
    last = ""
    for line in said.splitlines():
        if line.startswith("Job Id:"):
            records.append((line.partition(":")[2].strip(), {}))
        elif field := re.match(r"(?:    |\t)(\w[\w.]*) = (.*)", line):
            last = field[1]
            records[-1][1][last] = field[2]
        elif line.startswith("\t") and last:
            records[-1][1][last] += line[1:]
    return records
