"""A fake scheduler for PATH: Slurm, Grid Engine, OpenPBS, Torque, LSF."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mirai.testing import fakes

if TYPE_CHECKING:
    from typing import Self


class FakeJob(NamedTuple):
    """A job that was submitted.

    Attributes:
        id: the job's number.
        task: its number in the array, from 1; 0 where it is none.
        state: `waits`, `held`, `runs`, `over`, `ended` (by force) or `lost`.
        status: what it ended with; negative for a signal.
    """

    id: int
    task: int
    state: str
    status: int | None


class FakeScheduler:
    """A context manager: inside, its commands come first on PATH; at its end, its jobs are ended.

    Args:
        kind: `slurm` (sbatch, squeue, scontrol, scancel), `sge` (qsub, qstat, qacct, qdel), `pbs` or `torque`
            (qsub, qstat, qdel), or `lsf` (bsub, bjobs, bkill).
    """

    def __init__(self, kind: str) -> None:
        if kind not in fakes.COMMANDS:
            raise ValueError(f"kind={kind!r}: give one of {', '.join(fakes.COMMANDS)}")
        self.kind = kind

    def __enter__(self) -> Self:
        self._directory = tempfile.mkdtemp(prefix=f"{self.kind}-")
        self.bin = Path(self._directory, "bin")
        self.bin.mkdir()
        for command in fakes.COMMANDS[self.kind]:
            program = self.bin / command
            words = f'"{sys.executable}" -S -E "{fakes.__file__}" {self.kind} "{self._directory}" {command}'
            program.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
            program.chmod(0o755)
        self._path = os.environ["PATH"]
        os.environ["PATH"] = f"{self.bin}{os.pathsep}{self._path}"
        return self

    def __exit__(self, *exception: object) -> None:
        os.environ["PATH"] = self._path
        self.kill()
        runners = [job["runner"] for job in self._state()["jobs"] if "runner" in job]
        deadline = time.monotonic() + 10
        while any(map(_is_there, runners)) and time.monotonic() < deadline:
            time.sleep(0.01)
        shutil.rmtree(self._directory)

    # Faults

    def reject(self, message: str) -> None:
        """Submissions are refused, with that on stderr."""
        self._order("reject", message)

    def hold(self, reason: str) -> None:
        """Jobs are held from now on; on Grid Engine, any reason but `h` is that of an error."""
        self._order("hold", reason)

    def lose(self) -> None:
        """Jobs are accepted, and never heard of again."""
        self._order("lose", True)

    def slow(self) -> None:
        """Jobs wait until `begin`."""
        self._order("slow", True)

    def down(self, message: str) -> None:
        """Every command fails, with that on stderr."""
        self._order("down", message)

    def limit(self, tasks: int) -> None:
        """How many tasks an array may have."""
        self._order("limit", tasks)

    def well(self) -> None:
        """No more faults; what waited goes on waiting."""
        with fakes.state_of(self._directory) as state:
            state["faults"] = {}

    def begin(self) -> None:
        """Start what waits."""
        # In a process of its own, whose children the jobs become, as they are those of a submission otherwise.
        words = ["-S", "-E", fakes.__file__, self.kind, self._directory, "begin"]
        subprocess.run([sys.executable, *words], check=True)

    def kill(self, reason: str = "") -> None:
        """A node dies: whatever is there is ended by force, in the scheduler's words where `reason` says any."""
        with fakes.state_of(self._directory) as state:
            for job in state["jobs"]:
                fakes.end(state, job, reason)

    # What was done

    @property
    def jobs(self) -> list[FakeJob]:
        """All that were ever submitted."""
        return [FakeJob(job["id"], job["task"], job["state"], job.get("status")) for job in self._state()["jobs"]]

    @property
    def commands(self) -> list[list[str]]:
        """All commands that were ever run, word by word."""
        return list(self._state()["commands"])

    def _order(self, fault: str, value: object) -> None:
        with fakes.state_of(self._directory) as state:
            state["faults"][fault] = value

    def _state(self) -> fakes.State:
        with fakes.state_of(self._directory) as state:
            return state


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
