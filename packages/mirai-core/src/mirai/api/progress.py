"""A bar for what takes a while: in a terminal, in a notebook, or as lines of a log."""

from __future__ import annotations

import html
import importlib
import io
import os
import sys
import time
from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    from types import TracebackType

BAR = 30  # characters


class Progress:
    """A bar on stderr, or below a notebook's cell, from `with` to the end of its block."""

    def __init__(self, total: int, name: str = "") -> None:
        """`total`: how many there are to do."""
        self._total = total
        self._name = name
        self._done = self._failed = 0

    def __enter__(self) -> Progress:
        self._display = _display()
        self._started = time.monotonic()
        self._draw(self._started)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._draw(time.monotonic())
        self._display.close()

    def update(self, done: int, failed: int = 0) -> None:
        """So many are done by now, `failed` of them in vain. May be called as often as you like."""
        self._done, self._failed = done, failed
        now = time.monotonic()
        if now >= self._next and done < self._total:  # the last drawing is left to the end
            self._draw(now)

    def _draw(self, now: float) -> None:
        self._next = now + self._display.interval
        self._display.show(self._done, self._total, self._failed, now - self._started, self._name)


def render(done: int, total: int, failed: int, elapsed: float, name: str = "", *, bar: int = BAR) -> str:
    """One line: how far it is, how fast, how long it will take, or did, and how many failed.

    Args:
        elapsed: seconds since the start.
        bar: characters that the bar takes; 0 for none.
    """
    filled = bar * done // total if total else bar
    words = [f"{name}:"] if name else []
    words += [f"[{'#' * filled}{'.' * (bar - filled)}]"] if bar else []
    words += [f"{done}/{total}"]
    rate = done / elapsed if elapsed > 0 else 0.0
    if rate:
        words += [f"{rate:.3g}/s" if rate < 100 else f"{rate:.0f}/s"]
    if done >= total:
        words += ["in", _duration(elapsed)]
    elif rate:
        words += ["ETA", _duration((total - done) / rate)]
    if failed:
        words += [f"({failed} failed)"]
    return " ".join(words)


def _duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} h" if hours else f"{minutes}:{rest:02} min"


class _Display(Protocol):
    """Where it is shown."""

    interval: float  # seconds from one drawing to the next, at least

    def show(self, done: int, total: int, failed: int, elapsed: float, name: str) -> None: ...

    def close(self) -> None: ...


class _Terminal:
    """One line, redrawn."""

    interval = 0.1

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, done: int, total: int, failed: int, elapsed: float, name: str) -> None:
        line = render(done, total, failed, elapsed, name)
        # Cut: a line that wraps cannot be redrawn.
        self._stream.write(f"\r{line[: self._width() - 1]}\x1b[K")
        self._stream.flush()

    def close(self) -> None:
        self._stream.write("\n")
        self._stream.flush()

    def _width(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except OSError:
            return 80


class _Log:
    """Lines, few of them: it is read later, or by a program."""

    interval = 10.0
    _last = ""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, done: int, total: int, failed: int, elapsed: float, name: str) -> None:
        line = render(done, total, failed, elapsed, name, bar=0)
        if line != self._last:
            print(line, file=self._stream, flush=True)
        self._last = line

    def close(self) -> None:
        pass


class _Notebook:
    """One display below the cell, updated."""

    interval = 0.1
    _handle: Any = None

    def show(self, done: int, total: int, failed: int, elapsed: float, name: str) -> None:
        line = html.escape(render(done, total, failed, elapsed, name, bar=0))
        data = {
            "text/plain": render(done, total, failed, elapsed, name),
            "text/html": f'<progress value="{done}" max="{max(total, 1)}"></progress> {line}',
        }
        if self._handle is None:
            display = importlib.import_module("IPython.display").display
            self._handle = display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)

    def close(self) -> None:
        pass


def _display() -> _Display:
    if "ipykernel" in sys.modules and importlib.import_module("IPython").get_ipython() is not None:
        return _Notebook()
    stream = sys.stderr or io.StringIO()  # there is none under pythonw.exe
    if stream.isatty() and os.environ.get("TERM") != "dumb":
        return _Terminal(stream)
    return _Log(stream)
