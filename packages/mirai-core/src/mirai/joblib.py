"""For joblib: after `import mirai.joblib`, `parallel_config(backend="mirai")` evaluates on daemons.

joblib looks for backends of others in its own list only, so that this module has to be imported once.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from joblib.parallel import (
    AutoBatchingMixin,
    FallbackToBackend,
    ParallelBackendBase,
    SequentialBackend,
    register_parallel_backend,
)

from mirai.api.daemons import daemons
from mirai.api.submit import mirai
from mirai.api.waiting import stop_mirai
from mirai.runtime import evaluate
from mirai.runtime import profile as profiles

if TYPE_CHECKING:
    from collections.abc import Callable

    from mirai.api.future import Mirai

_numbers = itertools.count(1)


class MiraiBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """The daemons of a compute profile; where none are set, `n_jobs` local ones for the time of the call.

    How many calls go into one task is found out as they are evaluated (`batch_size="auto"`). Calls nested in a task
    use threads there, and those nested in these none, as with joblib's own backends.
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True
    default_n_jobs = -1

    def __init__(self, compute: str | None = None, **options: Any) -> None:
        """Made by joblib. `compute`: the profile, the current one unless given; `options` are joblib's own."""
        super().__init__(**options)
        self._compute = compute
        self._own: str | None = None  # the profile that was set for this call
        self._unfinished: set[Mirai[Any]] = set()

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many tasks can be evaluated at once; -1: as many as there are daemons, -2: one less.

        Raises:
            ValueError: it is 0.
            NoDaemonsError: the profile named is not set.
        """
        if n_jobs == 0:
            raise ValueError("n_jobs=0: give how many jobs, or -1 for as many as there are daemons")
        profile = profiles.find(self._compute)
        there = profiles.cores() if profile is None else profile.places()
        if profile is None and evaluate.mapping:
            there = 1  # local daemons are refused there
        if n_jobs is None:
            return 1
        wanted = n_jobs if n_jobs > 0 else max(1, there + 1 + n_jobs)
        return wanted if profile is None and not evaluate.mapping else min(wanted, there)

    def configure(
        self, n_jobs: int = 1, parallel: Any = None, prefer: Any = None, require: Any = None, **memmapping: Any
    ) -> int:
        """Called by joblib before it submits. Large arrays go through shared memory: `memmapping` is of no use here.

        Raises:
            ValueError: `inner_max_num_threads` is given for daemons that are there already.
        """
        number = self.effective_n_jobs(n_jobs)
        profile = profiles.find(self._compute)
        if (profile is None and number == 1) or n_jobs in (None, 1):
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel = parallel
        threads = self.inner_max_num_threads
        if profile is None:
            self._own = f"joblib-{next(_numbers)}"
            daemons(number, compute=self._own, **({} if threads is None else {"threads": threads}))
        elif threads is not None:
            raise ValueError(
                f"inner_max_num_threads={threads}: the daemons of profile {profile.name!r} are there already; say so "
                f"where they are set, daemons(n, threads={threads})"
            )
        self._profile = self._own or profiles.chosen(self._compute)
        return max(2, number)  # 1 would have joblib evaluate here, though the one daemon may be elsewhere

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], object] | None = None) -> Mirai[Any]:
        """Evaluate a batch of calls on a daemon."""
        m = mirai(func, _compute=self._profile)
        self._unfinished.add(m)
        m.add_done_callback(self._unfinished.discard)
        if callback is not None:
            m.add_done_callback(callback)
        return m

    apply_async = submit  # as joblib before 1.5 calls it

    def retrieve_result_callback(self, out: Mirai[Any]) -> Any:
        """The values of a batch that is done, or what it raised."""
        return out.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """One has failed, or took too long: nobody waits for the others, running ones are interrupted."""
        stop_mirai(list(self._unfinished))

    def terminate(self) -> None:
        """The call is over, or the block of `with Parallel(…)`: daemons that were set for it leave."""
        if self._own is not None:
            profiles.remove(self._own)
            self._own = None
        self.reset_batch_stats()


register_parallel_backend("mirai", MiraiBackend)
