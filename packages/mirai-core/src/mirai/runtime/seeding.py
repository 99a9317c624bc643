"""Random numbers of the standard library and of NumPy: where they begin in each task."""

from __future__ import annotations

import sys

from mirai.protocol.seeds import stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

NUMPY = "numpy.random"  # loaded when it is first used, not with NumPy itself


def seed(root: int, place: int) -> None:
    """Have random numbers begin where the `place`-th task of seed `root` begins; NumPy's too once it is loaded."""
    import random

    words = stream(root, place)
    random.seed(sum(word << 32 * i for i, word in enumerate(words)))
    # Its generator is the same as the standard library's: seeded alike, both would give the same numbers.
    others = stream(root, place, " numpy")
    numpy = sys.modules.get(NUMPY)
    if numpy is not None:
        numpy.seed(others)
    else:
        _numpy_to_come.words = others
        if _numpy_to_come not in sys.meta_path:
            sys.meta_path.insert(0, _numpy_to_come)


class Kept:
    """The random numbers of a process that evaluates tasks of its own, which are to leave them as they were."""

    def __init__(self) -> None:
        import random

        numpy = sys.modules.get(NUMPY)
        self._random = random.getstate()
        self._numpy = numpy.get_state() if numpy is not None else None

    def restore(self) -> None:
        """Go on from where they were."""
        import random

        random.setstate(self._random)
        numpy = sys.modules.get(NUMPY)
        if numpy is None:
            if _numpy_to_come in sys.meta_path:
                sys.meta_path.remove(_numpy_to_come)
        elif self._numpy is not None:
            numpy.set_state(self._numpy)
        else:
            numpy.seed()


class _NumpyToCome:
    """Seeds NumPy as soon as the task imports it: it must not matter which task was its daemon's first."""

    words: Sequence[int] = ()

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != NUMPY:
            return None
        from importlib.util import find_spec

        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_seed(module: ModuleType) -> None:
                load(module)
                module.seed(self.words)

            spec.loader.exec_module = load_and_seed  # type: ignore[method-assign]
        return spec


_numpy_to_come = _NumpyToCome()
