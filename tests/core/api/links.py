"""Two machines with a cable between them: network namespaces, where this machine lets us make some."""

from __future__ import annotations

import os
import shutil
import subprocess
from itertools import count
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_numbers = count(1)


class Link:
    """The cable. `here` and `there` are what commands that run at its ends begin with."""

    address = "10.77.0.1"  # of the end here

    def __init__(self) -> None:
        self._name = f"mirai{os.getpid()}x{next(_numbers)}"
        self.here, self.there = ([*["ip", "netns", "exec"], self._name + end] for end in "ab")
        self._cable = f"m{os.getpid()}"

    def lay(self) -> None:
        a, b, cable = self._name + "a", self._name + "b", self._cable
        for words in (
            f"netns add {a}",
            f"netns add {b}",
            f"link add dev {cable}a netns {a} type veth peer name {cable}b netns {b}",
            f"-n {a} addr add {self.address}/24 dev {cable}a",
            f"-n {b} addr add 10.77.0.2/24 dev {cable}b",
            *(f"-n {end} link set {device} up" for end, device in ((a, f"{cable}a"), (b, f"{cable}b"))),
            *(f"-n {end} link set lo up" for end in (a, b)),
        ):
            _run("ip", *words.split())

    def cut(self) -> None:
        """Nothing arrives any more, and nobody is told. The wire between two good sockets, as it were."""
        self._set("down")

    def mend(self) -> None:
        """It is as before."""
        self._set("up")

    def spoil(self, *how: str) -> None:
        """Delay and lose packets: netem(8)."""
        command = ["tc", "qdisc", "add", "dev", f"{self._cable}b", "root", "netem", *how]
        done = subprocess.run([*self.there, *command], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"this machine's kernel cannot spoil a link: {done.stderr.strip()}")

    def remove(self) -> None:
        for end in "ab":
            subprocess.run(["ip", "netns", "delete", self._name + end], capture_output=True)

    def _set(self, state: str) -> None:
        # A bridge between the two would be nearer to a cable that is cut in its middle. But a device that is down
        # drops all the same: neither end gets an error for what it has connected already.
        _run("ip", "-n", self._name + "b", "link", "set", f"{self._cable}b", state)


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, text=True)


@pytest.fixture
def link() -> Iterator[Link]:
    """A cable between two ends, `link.here` and `link.there`."""
    if shutil.which("ip") is None:
        pytest.skip("this machine has no ip(8), to make network namespaces with")
    made = Link()
    try:
        made.lay()
    except subprocess.CalledProcessError as error:
        made.remove()
        pytest.skip(f"network namespaces cannot be made here, which takes root: {error.stderr.strip()}")
    yield made
    made.remove()
