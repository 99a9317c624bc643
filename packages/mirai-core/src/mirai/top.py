"""`mirai top`: what goes on in the hosts of this user on this machine, live."""

from __future__ import annotations

import shutil
import sys
import time
from contextlib import ExitStack
from typing import Any

from mirai.runtime.visit import Visit, visits

CLEAR = "\x1b[H\x1b[J"  # cursor to the corner, erase from there on: ECMA-48


class Top:
    """Visits to hosts, and what was seen there before, for the rates."""

    def __init__(self, profile: str | None) -> None:
        """`profile`: the only one to show; None for all."""
        self._profile = profile
        self._before: dict[tuple[int, str], tuple[float, int]] = {}

    def look(self) -> str:
        """What is there now, as text."""
        with ExitStack() as ends:
            seen = [self._ask(ends, visit) for visit in visits()]
        shown = [self._show(host) for host in seen if host and self._profile in (None, host["profile"])]
        if shown:
            return "\n\n".join(shown)
        which = "" if self._profile is None else f" with a profile {self._profile!r}"
        return f"no program of yours{which} has daemons set on this machine"

    @staticmethod
    def _ask(ends: ExitStack, visit: Visit) -> dict[str, Any]:
        ends.callback(visit.close)
        try:
            return visit.ask("status")
        except (OSError, ValueError):
            return {}  # it has gone

    def _show(self, host: dict[str, Any]) -> str:
        now, done = time.monotonic(), host["mirai"]["completed"]
        key = host["pid"], host["profile"]
        at, before = self._before.get(key, (now, done))
        self._before[key] = now, done
        rate = f"{(done - before) / (now - at):.0f} tasks/s, " if now > at else ""
        return f"profile {host['profile']!r}: {rate}process {host['pid']}, {host['program']}\n{host['text']}"


def top(profile: str | None, *, interval: float, once: bool) -> int:
    """Show it every `interval` seconds until Ctrl-C; only once where that is asked for, or nobody watches."""
    view = Top(profile)
    if once or not sys.stdout.isatty():
        print(view.look())
        return 0
    while True:
        columns, rows = shutil.get_terminal_size()
        lines = [line[:columns] for line in f"{view.look()}\n\nCtrl-C ends this view, nothing else".splitlines()]
        print(CLEAR + "\n".join(lines[: rows - 1]), flush=True)
        time.sleep(interval)
