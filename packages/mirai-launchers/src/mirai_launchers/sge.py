"""Grid Engine: qsub, qstat, qacct, qdel."""

from __future__ import annotations

import os
import pwd
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar
from xml.etree import ElementTree

from mirai_launchers import shell
from mirai_launchers.batch import SCRIPT, Batch, seconds
from mirai_launchers.jobs import Phase, Said
from mirai_launchers.spool import log_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mirai_launchers.jobs import Array


@dataclass(frozen=True)
class SGE(Batch):
    """Start daemons as jobs of Grid Engine (SGE, UGE, and those that go on with it).

    Several are one array job. Their tickets are in files of a private directory in `~/.mirai`, since
    `qstat -j` shows a job's environment and its arguments to everybody.

    Attributes:
        command: qsub, or its path; qstat, qacct and qdel are beside it.
        options: lines of the job's script: `#$ …`, as qsub(1) has them, and shell commands, such as
            `module load …`, that come before the daemon starts. `#!…` in the first line is the shell.
        python: the interpreter's name or path where the daemon will run.

    Source: `cluster_config()` in R.
    """

    name: ClassVar[str] = "sge"

    command: str = "qsub"

    directive: ClassVar[str] = "#$"
    task: ClassVar[str] = "SGE_TASK_ID"
    array_option: ClassVar[re.Pattern[str]] = re.compile(r"\s-t\s")
    output_option: ClassVar[re.Pattern[str]] = re.compile(r"\s-o\s")
    hold_option: ClassVar[re.Pattern[str]] = re.compile(r"\s-hold_jid")
    too_many: ClassVar[re.Pattern[str]] = re.compile(r"tried to submit a job with more than \d+ tasks")

    def submission(self, n: int, spool: str) -> list[str]:
        return [self.command, "-terse", SCRIPT]

    def directives(self, n: int, spool: str) -> list[str]:
        ours = [
            "#$ -N mirai",
            # Without it a script's first line is ignored, as shell_start_mode in queue_conf(5) has it.
            f"#$ -S {self.interpreter.split()[0]}",
            "#$ -j y",
            f"#$ -o {spool}/{log_name('$TASK_ID' if n > 1 else 1)}",
        ]
        return [*ours, f"#$ -t 1-{n}"] if n > 1 else ours

    def allotted(self) -> int | None:
        runtime = self.said(re.compile(r"\b[hs]_rt=(\d[\d:]*)"))
        return None if runtime is None else seconds(runtime)

    def tasks(self, said: str, n: int) -> tuple[str, list[str]]:
        # Warnings may come before it.
        job = said.strip().rpartition("\n")[2].partition(".")[0]
        if not job.isdecimal():
            raise ValueError(said)
        return job, [f"{job}.{number}" for number in range(1, n + 1)] if n > 1 else [job]

    def ask(self, arrays: Sequence[Array]) -> dict[str, Said]:
        user = pwd.getpwuid(os.getuid()).pw_name
        ran = shell.run([self.beside("qstat"), "-xml", "-u", user])
        if ran.status:
            raise OSError(f"qstat failed (status {ran.status}): {ran.stderr.strip()}")
        jobs = {array.job for array in arrays}
        answers: dict[str, Said] = {}
        errors: dict[str, dict[str, str]] = {}
        for row in ElementTree.fromstring(ran.stdout).iter("job_list"):
            job, state = row.findtext("JB_job_number", ""), row.findtext("state", "")
            if job not in jobs:
                continue
            if "E" in state and job not in errors:
                errors[job] = self._errors(job)
            for number in _numbers(row.findtext("tasks", "")):
                words = f"{state} ({errors[job].get(number, 'error')})" if "E" in state else state
                answers[f"{job}.{number}" if number else job] = Said(_phase(state), words)
        return answers

    def look_up(self, array: Array) -> dict[str, Said]:
        try:
            ran = shell.run([self.beside("qacct"), "-j", array.job])
        except OSError:
            return {}  # the accounting file may be elsewhere, or too large
        answers = {}
        for record in ran.stdout.split("=" * 62)[1:]:
            fields = {key: value.strip() for key, value in re.findall(r"^(\w+) +(.*)$", record, re.MULTILINE)}
            number, status = fields["taskid"], int(fields["exit_status"].split()[0])
            # "0", or "100 : assumedly after job", "37  : qmaster enforced h_rt, h_cpu or h_vmem limit".
            failed = re.sub(r"\s+", " ", fields["failed"])
            words = f"ended, exit status {status}" + (f", failed {failed}" if failed != "0" else "")
            task = array.job if number == "undefined" else f"{array.job}.{number}"
            answers[task] = Said(Phase.ENDED, words, status or (1 if failed != "0" else 0))
        return answers

    def end(self, tasks: Sequence[str]) -> None:
        ran = shell.run([self.beside("qdel"), ",".join(tasks)])
        said = (ran.stdout + ran.stderr).strip()
        if ran.status and not all("does not exist" in line for line in said.splitlines()):
            raise OSError(f"qdel failed (status {ran.status}): {said}")

    def _errors(self, job: str) -> dict[str, str]:
        """Why tasks are in the error state, by their numbers."""
        ran = shell.run([self.beside("qstat"), "-j", job])
        found = re.findall(r"^error reason +(\d+): +(.*)$", ran.stdout, re.MULTILINE)
        reasons = dict(found)
        return {**reasons, "": reasons.get("1", "error")}


def _numbers(tasks: str) -> Iterator[str]:
    """`1-5:2,8` is 1, 3, 5 and 8; nothing is a job that is no array."""
    for part in tasks.split(","):
        bounds, _, step = part.partition(":")
        first, _, last = bounds.partition("-")
        if last:
            yield from map(str, range(int(first), int(last) + 1, int(step or 1)))
        else:
            yield first


def _phase(state: str) -> Phase:
    if "E" in state:
        return Phase.STUCK
    if "q" not in state:
        return Phase.RUNNING
    return Phase.HELD if "h" in state else Phase.WAITING
