"""LSF: bsub, bjobs, bkill."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mirai_launchers import shell
from mirai_launchers.batch import NEVER, Batch, seconds
from mirai_launchers.jobs import Phase, Said

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mirai_launchers.jobs import Array

FIELDS = "jobid jobindex stat exit_code pend_reason delimiter='|'"  # bjobs(1), -o
GONE = re.compile(r"is not found|already finished|No matching job", re.IGNORECASE)
NAME = re.compile(r"\s-J\s*(?P<quote>[\"']?)(?P<name>[^\s\"'\[]+)")


@dataclass(frozen=True)
class LSF(Batch):
    """Start daemons as jobs of LSF.

    Several are one job array. Their tickets are in files of a private directory in `~/.mirai`.

    Attributes:
        command: bsub, or its path; bjobs and bkill are beside it.
        options: lines of the job's script: `#BSUB …`, as bsub(1) has them, and shell commands, such as
            `module load …`, that come before the daemon starts. `#!…` in the first line is the shell.
        python: the interpreter's name or path where the daemon will run.

    Source: `cluster_config()` in R.
    """

    name: ClassVar[str] = "lsf"

    command: str = "bsub"

    directive: ClassVar[str] = "#BSUB"
    task: ClassVar[str] = "LSB_JOBINDEX"
    array_option: ClassVar[re.Pattern[str]] = re.compile(r"\s-J\s*\S*\[")
    output_option: ClassVar[re.Pattern[str]] = re.compile(r"\s-(o|oo|e|eo)\s")
    hold_option: ClassVar[re.Pattern[str]] = NEVER  # dependencies leave a job pending
    too_many: ClassVar[re.Pattern[str]] = re.compile(r"Job array index too large")

    def submission(self, n: int, spool: str) -> list[str]:
        # The script comes by stdin: bsub reads no directives in a file that it is given by name.
        names = [found["name"] for line in self._lines.directives if (found := NAME.search(line))]
        name = names[-1] if names else "mirai"
        return [self.command, "-J", f"{name}[1-{n}]" if n > 1 else name]

    def directives(self, n: int, spool: str) -> list[str]:
        # Else the job's report goes out by mail.
        return [] if self.says(self.output_option) else ["#BSUB -o /dev/null"]

    def before(self, n: int, spool: str) -> list[str]:
        return self.redirection(n, spool)

    def allotted(self) -> int | None:
        minutes = self.said(re.compile(r"\s-W\s*(\d[\d:]*)"))  # or hours and minutes
        return None if minutes is None else 60 * seconds(minutes)

    def tasks(self, said: str, n: int) -> tuple[str, list[str]]:
        found = re.search(r"^Job <(\d+)> is submitted", said, re.MULTILINE)
        if not found:
            raise ValueError(said)
        job = found[1]
        return job, [f"{job}[{number}]" for number in range(1, n + 1)] if n > 1 else [job]

    def ask(self, arrays: Sequence[Array]) -> dict[str, Said]:
        ran = shell.run([self.beside("bjobs"), "-noheader", "-a", "-o", FIELDS, *(array.job for array in arrays)])
        if ran.status and not all(GONE.search(line) for line in ran.stderr.splitlines()):
            raise OSError(f"bjobs failed (status {ran.status}): {ran.stderr.strip()}")
        answers = {}
        for line in ran.stdout.splitlines():
            if GONE.search(line):
                continue
            job, index, state, status, reason = line.split("|", 4)
            task = job if index in ("0", "-") else f"{job}[{index}]"
            answers[task] = _said(state, status, reason.strip())
        return answers

    def look_up(self, array: Array) -> dict[str, Said]:
        return {}  # `bjobs -a` has said what there is, for an hour; bhist(1) reads files that may be huge

    def end(self, tasks: Sequence[str]) -> None:
        ran = shell.run([self.beside("bkill"), *tasks])
        said = ran.stderr.strip() or ran.stdout.strip()
        if ran.status and not all(GONE.search(line) or "is being terminated" in line for line in said.splitlines()):
            raise OSError(f"bkill failed (status {ran.status}): {said}")


def _said(state: str, exit_code: str, reason: str) -> Said:
    words = state if reason in ("", "-") else f"{state} ({reason})"
    if state in ("DONE", "EXIT", "ZOMBI"):
        status = int(exit_code) if exit_code.isdecimal() else 0 if state == "DONE" else None
        return Said(Phase.ENDED, words if status is None else f"{words}, exit status {status}", status)
    if state == "PSUSP":
        return Said(Phase.HELD, words)
    return Said(Phase.WAITING if state in ("PEND", "PROV", "WAIT") else Phase.RUNNING, words)
