"""Dask: daemons placed as tasks on a cluster that exists."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from mirai.hookspecs import LaunchCommand, Launcher
from mirai_launchers import engine

TIMEOUT = 10.0  # seconds for the scheduler to answer


@dataclass(frozen=True)
class Dask(Launcher):
    """Start daemons on the workers of a Dask cluster, each as a task that occupies one of their threads.

    The workers need mirai, and nothing else of ours. Daemons leave with their host; a task that has not begun
    is cancelled. Tickets are arguments of these tasks, which the cluster's scheduler sees.

    Attributes:
        address: of the cluster's scheduler, such as `tcp://login1:8786`.
        resources: what each daemon takes of a worker, by the names that `dask worker --resources` gave.
        python: the interpreter's name or path on the workers.
    """

    name: ClassVar[str] = "dask"

    address: str
    resources: Mapping[str, float] | Sequence[tuple[str, float]] = ()
    python: str = "python3"

    def __post_init__(self) -> None:
        engine.check(self, "address", "python")

    def launch(self, commands: Sequence[LaunchCommand]) -> list[engine.EngineLaunch]:
        from distributed import Client

        client = Client(self.address, timeout=TIMEOUT, set_as_default=False)
        try:
            connection = engine.Connection(client.close, len(commands))
            launches = []
            for command in commands:
                words, options = engine.call(command, self.python)
                # Not pure: two daemons are two tasks. Not tried again: its ticket would be used up.
                future = client.submit(
                    subprocess.run, words, **options, pure=False, retries=0, resources=dict(self.resources) or None
                )
                launches.append(engine.EngineLaunch(self.name, str(future.key), _Placed(future), connection))
            return launches
        except BaseException:
            client.close()
            raise


class _Placed:
    def __init__(self, future: Any) -> None:
        self._future = future

    def state(self) -> str:
        return str(self._future.status)

    def outcome(self) -> Any:
        status = self._future.status
        if status == "finished":
            return self._future.result(timeout=TIMEOUT)
        if status == "error":
            return self._future.exception(timeout=TIMEOUT)
        return RuntimeError(f"it is {status}") if status in ("lost", "cancelled") else None

    def cancel(self) -> None:
        self._future.cancel()
