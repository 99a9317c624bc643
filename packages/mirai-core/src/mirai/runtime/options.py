"""A daemon's options: what may be said of one, on its command line or by who launches it."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # without enumerations, which take 0.2 MB of a daemon
import os
from math import inf

from mirai.runtime import cleanup

TYPE_CHECKING = False  # not from typing, whose import is a good part of a daemon's start
if TYPE_CHECKING:
    from typing import Any


class Options:
    """A daemon's options: what `daemon()` takes beside the URL, checked."""

    def __init__(self, **given: Any) -> None:
        """Check them.

        Raises:
            TypeError: there is no such option.
            ValueError: names the option and what it may be.
        """
        self.dispatcher = _flag("dispatcher", given.pop("dispatcher", True))
        self.asyncdial = _flag("asyncdial", given.pop("asyncdial", False))
        self.autoexit = _autoexit(given.pop("autoexit", True))
        self.cleanup = cleanup.parse(given.pop("cleanup", True))
        self.output = _flag("output", given.pop("output", False))
        self.idletime = _positive("idletime", given.pop("idletime", inf))
        self.walltime = _positive("walltime", given.pop("walltime", inf))
        self.maxtasks = _whole("maxtasks", given.pop("maxtasks", inf))
        self.timerstart = int(_positive("timerstart", given.pop("timerstart", 0), zero=True))
        self.tlscert = _text("tlscert", given.pop("tlscert", None))
        self.threads = _count("threads", given.pop("threads", None))
        for name in given:
            raise TypeError(f"a daemon has no option {name!r}, only {', '.join(sorted(vars(self)))}")


def _flag(name: str, value: Any) -> bool:
    text = str(value).lower()
    if text not in ("true", "false"):
        raise ValueError(f"{name}={value!r}: give True or False")
    return text == "true"


def _positive(name: str, value: Any, *, zero: bool = False) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if isinstance(value, bool) or not (number > 0 or (zero and number == 0)):
        raise ValueError(f"{name}={value!r}: give a number greater than 0, or leave it out for no limit")
    return number


def _whole(name: str, value: Any) -> float:
    number = _positive(name, value)
    if number != inf and number != int(number):
        raise ValueError(f"{name}={value!r}: give a whole number, or leave it out for no limit")
    return number


def _text(name: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str | os.PathLike):
        raise ValueError(f"{name}={value!r}: give a path, or text")
    return None if value is None else str(os.fspath(value))


def _count(name: str, value: Any) -> int | None:
    if value is None or (str(value).isdecimal() and int(value) > 0):
        return None if value is None else int(value)
    raise ValueError(f"{name}={value!r}: give a whole number, 1 or more")


def _autoexit(value: Any) -> bool | int | str:
    text = str(value).lower()
    if text in ("true", "false"):
        return text == "true"
    if text == "task":
        return text
    if text.isdecimal() and int(text) in {int(s) for s in signal.valid_signals()}:
        return int(text)
    raise ValueError(f"autoexit={value!r}: give True, False, 'task', or the number of a signal")
