"""cluster_config(): the scheduler that a command is of."""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import TYPE_CHECKING

from mirai_launchers.lsf import LSF
from mirai_launchers.pbs import PBS
from mirai_launchers.sge import SGE
from mirai_launchers.slurm import Slurm

if TYPE_CHECKING:
    from mirai_launchers.batch import Batch


def cluster_config(command: str = "sbatch", options: str = "", python: str = "python3") -> Batch:
    """Start daemons as jobs of a cluster's scheduler.

    Args:
        command: what submits a job there, or its path: `sbatch` (Slurm), `qsub` (Grid Engine, PBS, Torque) or
            `bsub` (LSF). `qsub` is Grid Engine's where `options` has lines that begin with `#$`, PBS's where
            they begin with `#PBS`; else Grid Engine's where `SGE_ROOT` is set.
        options: lines of the job's script, as the site's manual has them.
        python: the interpreter's name or path where the daemon will run.

    Raises:
        TypeError, ValueError: names the argument and what it may be.

    Source: `cluster_config()` in R.
    """
    if not isinstance(command, str):
        raise TypeError(f"command is {command!r}, of type {type(command).__name__}: text belongs there")
    kinds: dict[str, type[SGE | PBS | LSF | Slurm]] = {
        "sbatch": Slurm,
        "qsub": _kind_of_qsub(str(options)),
        "bsub": LSF,
    }
    kind = kinds.get(PurePath(command).name)
    if kind is None:
        raise ValueError(
            f"command={command!r}: give one of {', '.join(kinds)}, or a path that ends so; a wrapper of another name "
            "goes with mirai.launcher('slurm', command=…)"
        )
    return kind(command, options, python)


def _kind_of_qsub(options: str) -> type[SGE | PBS]:
    lines = [line.strip() for line in options.splitlines()]
    if any(line.startswith(SGE.directive) for line in lines):
        return SGE
    if any(line.startswith(PBS.directive) for line in lines):
        return PBS
    return SGE if os.environ.get("SGE_ROOT") else PBS
