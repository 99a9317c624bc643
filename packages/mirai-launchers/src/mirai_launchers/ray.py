"""Ray: daemons placed as tasks on a cluster that exists."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from mirai.hookspecs import LaunchCommand, Launcher
from mirai_launchers import engine


@dataclass(frozen=True)
class Ray(Launcher):
    """Start daemons on the nodes of a Ray cluster, each as a task.

    The nodes need mirai, and nothing else of ours. Daemons leave with their host; a task that has not begun is
    cancelled. Tickets are arguments of these tasks, which the cluster sees.

    Attributes:
        address: of the cluster: `auto` for the one that this machine belongs to, or `ray://login1:10001`.
        resources: what each daemon takes: `num_cpus` (1 unless given), `num_gpus`, or names of the cluster's own.
        python: the interpreter's name or path on the nodes.
    """

    name: ClassVar[str] = "ray"

    address: str = "auto"
    resources: Mapping[str, float] | Sequence[tuple[str, float]] = ()
    python: str = "python3"

    def __post_init__(self) -> None:
        engine.check(self, "address", "python")

    def launch(self, commands: Sequence[LaunchCommand]) -> list[engine.EngineLaunch]:
        import ray

        if not ray.is_initialized():
            ray.init(address=self.address, log_to_driver=False, logging_level="error")
        wanted = dict(self.resources)
        options: dict[str, Any] = {name: wanted.pop(name) for name in ("num_cpus", "num_gpus") if name in wanted}
        # Not tried again: its ticket would be used up.
        run = ray.remote(subprocess.run).options(**options, resources=wanted or None, max_retries=0)
        connection = engine.Connection(lambda: None, len(commands))  # the program may use it, too
        launches = []
        for command in commands:
            words, keywords = engine.call(command, self.python)
            reference = run.remote(words, **keywords)
            launches.append(engine.EngineLaunch(self.name, reference.hex()[:16], _Placed(ray, reference), connection))
        return launches


class _Placed:
    def __init__(self, ray: Any, reference: Any) -> None:
        self._ray, self._reference = ray, reference

    def state(self) -> str:
        return "ended" if self._has_ended() else "queued or running"

    def outcome(self) -> Any:
        if not self._has_ended():
            return None
        try:
            return self._ray.get(self._reference)
        except Exception as error:  # whatever the cluster, or the task, has to say
            return error

    def cancel(self) -> None:
        self._ray.cancel(self._reference, force=True)

    def _has_ended(self) -> bool:
        return bool(self._ray.wait([self._reference], timeout=0)[0])
