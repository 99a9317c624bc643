"""What `ps` shows while something starts: the arguments of every process on this machine, read again and again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self

# A process of its own, since this one is busy with what it starts. It looks most at those that are new.
WATCH = """
import json, os, re, select, sys

def look(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb", 0) as file:
            line = file.read()
    except OSError:
        return  # it has ended
    if secret.search(line):
        shown[line.replace(b"\\0", b" ").decode(errors="replace").strip()] = None

secret, shown = re.compile(sys.stdin.buffer.readline().strip()), {}
old = {name for name in os.listdir("/proc") if name.isdecimal()}
print(flush=True)
looks, over = 0, False
while not over:
    over = select.select([0], [], [], 0)[0]
    for pid in os.listdir("/proc"):
        if pid.isdecimal() and (pid not in old or looks % 50 == 0):
            look(pid)
    looks += 1
print(json.dumps(list(shown)))
"""


class CommandLines:
    """A context manager: inside, the arguments of all processes are watched; what is there at its end is seen for sure.

    Attributes:
        shown: at its end, the command lines in which there was what was looked for.
    """

    def __init__(self, secret: str) -> None:
        """Look for that: a regular expression."""
        self._secret = secret
        self.shown: list[str] = []

    @staticmethod
    def can_be_read() -> bool:
        """Whether this machine has them in /proc."""
        return os.path.exists("/proc/self/cmdline")

    def __enter__(self) -> Self:
        self._watch = subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", WATCH], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._watch.stdin is not None, "a pipe was asked for"
        assert self._watch.stdout is not None, "a pipe was asked for"
        self._watch.stdin.write(self._secret + "\n")
        self._watch.stdin.flush()
        self._watch.stdout.readline()
        return self

    def __exit__(self, *exception: object) -> None:
        said, _ = self._watch.communicate()
        self.shown = json.loads(said)
