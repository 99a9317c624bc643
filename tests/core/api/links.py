"""Two machines with a cable between them: network namespaces, where this machine lets us make some."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

CABLE = Path(__file__).with_name("cable.py")


class Link:
    """The cable. `here` and `there` are what commands that run at its ends begin with."""

    address = "10.77.0.1"  # of the end here

    def __init__(self, mtu: int = 1500) -> None:
        words = [sys.executable, str(CABLE), str(mtu), self.address, "10.77.0.2"]
        self._cable = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self._cable.stdout is not None
        if not (said := self._cable.stdout.readline()):
            _, errors = self._cable.communicate()
            raise OSError(errors.strip().rpartition("\n")[2])
        self.here, self.there = (["nsenter", f"--net={namespace}", "--"] for namespace in json.loads(said))

    def cut(self) -> None:
        """Nothing arrives any more, and nobody is told. The wire between two good sockets, as it were."""
        self._order(cut=True)

    def mend(self) -> None:
        """It arrives again."""
        self._order(cut=False)

    def spoil(self, *, delay: tuple[float, float], loss: float = 0.0, copies: float = 0.0, seed: int = 1) -> None:
        """Delay packets by so many seconds, at least and at most, lose a part of them, and deliver a part twice.

        What is lost is drawn with `seed`: the same packets, as long as the same are sent.
        """
        self._order(delay=delay, loss=loss, copies=copies, seed=seed)

    def counts(self) -> dict[str, int]:
        """How many packets were sent, and lost."""
        return self._order()

    def remove(self) -> None:
        self._cable.communicate()

    def _order(self, **order: Any) -> dict[str, int]:
        assert self._cable.stdin is not None
        assert self._cable.stdout is not None
        self._cable.stdin.write(json.dumps(order) + "\n")
        self._cable.stdin.flush()
        counts: dict[str, int] = json.loads(self._cable.stdout.readline())
        return counts


@pytest.fixture
def link(request: pytest.FixtureRequest) -> Iterator[Link]:
    """A cable between two ends, `link.here` and `link.there`. Its parameter is how much a packet may hold, in bytes."""
    for program in ("ip", "nsenter"):
        if shutil.which(program) is None:
            pytest.skip(f"this machine has no {program}(8), for network namespaces")
    if os.geteuid():
        pytest.skip("network namespaces cannot be made here: that takes root")
    try:
        made = Link(getattr(request, "param", 1500))
    except OSError as error:
        pytest.skip(f"network namespaces cannot be made here: {error}")
    yield made
    made.remove()
