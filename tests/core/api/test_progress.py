"""The bar, wherever it is shown."""

from __future__ import annotations

import io
import sys
from types import ModuleType

import pytest

from mirai.api import progress
from mirai.api.progress import Progress, render


@pytest.mark.parametrize(
    ("numbers", "line"),
    [
        ((0, 10, 0, 0.0), "[..........] 0/10"),
        ((0, 10, 0, 5.0), "[..........] 0/10"),
        ((5, 10, 0, 2.0), "[#####.....] 5/10 2.5/s ETA 2.0 s"),
        ((5, 10, 2, 2.0), "[#####.....] 5/10 2.5/s ETA 2.0 s (2 failed)"),
        ((1, 10, 0, 30.0), "[#.........] 1/10 0.0333/s ETA 4:30 min"),
        ((1, 100, 0, 120.0), "[..........] 1/100 0.00833/s ETA 3:18:00 h"),
        ((10, 10, 0, 0.01), "[##########] 10/10 1000/s in 0.0 s"),
        ((10, 10, 1, 59.9), "[##########] 10/10 0.167/s in 1:00 min (1 failed)"),
        ((0, 0, 0, 0.0), "[##########] 0/0 in 0.0 s"),
    ],
)
def test_a_line_says_how_far_how_fast_and_how_long(numbers, line):
    """Done, total, failed and seconds are all that it is made of."""
    assert render(*numbers, bar=10) == line


def test_a_line_begins_with_its_name():
    """There may be several, one after the other."""
    assert render(1, 2, 0, 1.0, "parse", bar=0) == "parse: 1/2 1/s ETA 1.0 s"


class Clock:
    """Stands in for `time`."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


@pytest.fixture
def stderr(monkeypatch):
    """Makes a stream of the kind given stderr."""
    monkeypatch.setenv("TERM", "xterm")

    def stderr(kind: type[io.StringIO]) -> io.StringIO:
        monkeypatch.setattr(sys, "stderr", kind())
        return sys.stderr

    return stderr


def advance(bar, clock, steps, pause):
    for done in range(1, steps + 1):
        clock.now += pause
        bar.update(done, 0)


def test_a_terminal_has_one_line_redrawn_at_most_ten_times_a_second(stderr, clock):
    """Drawing costs more than many a task."""
    stream = stderr(Terminal)

    with Progress(1000, "parse") as bar:
        advance(bar, clock, 1000, pause=0.001)

    *drawn, end = stream.getvalue().split("\r")
    assert end == "parse: [##############################] 1000/1000 1000/s in 1.0 s\x1b[K\n"
    assert 9 <= len(drawn) <= 12
    assert "\n" not in "".join(drawn)


def test_a_line_fits_its_terminal(stderr, clock):
    """One that wraps cannot be redrawn."""
    stream = stderr(Terminal)

    with Progress(10, "n" * 200):
        pass

    assert max(len(line.removesuffix("\x1b[K\n")) for line in stream.getvalue().split("\r")) < 83


@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_a_log_has_few_lines_and_no_control_characters(stderr, clock, monkeypatch, kind):
    """It is read later, by people and programs. A terminal may be too dumb for more."""
    monkeypatch.setenv("TERM", "dumb")
    stream = stderr(kind)

    with Progress(200, "parse") as bar:
        advance(bar, clock, 200, pause=0.125)

    assert stream.getvalue().splitlines() == [
        "parse: 0/200",
        "parse: 80/200 8/s ETA 15 s",
        "parse: 160/200 8/s ETA 5.0 s",
        "parse: 200/200 8/s in 25 s",
    ]


def test_nothing_to_do_is_one_line(stderr, clock):
    """Its beginning is its end."""
    stream = stderr(io.StringIO)

    with Progress(0):
        pass

    assert stream.getvalue() == "0/0 in 0.0 s\n"


def test_what_breaks_off_leaves_the_line_as_it_was(stderr, clock):
    """What is printed next, a traceback perhaps, begins below it."""
    stream = stderr(Terminal)

    def interrupted():
        with Progress(10) as bar:
            bar.update(3, 1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert "3/10" in stream.getvalue().split("\r")[-1]
    assert stream.getvalue().endswith("\n")


def test_a_program_without_stderr_has_no_bar(monkeypatch):
    """There is none under `pythonw.exe`; that is no reason to fail."""
    monkeypatch.setattr(sys, "stderr", None)

    with Progress(1) as bar:
        bar.update(1)


def test_a_notebook_has_one_display_that_is_updated(monkeypatch, clock):
    """A line for each step would fill the page; and stderr is red there."""
    shown = []

    class Handle:
        def update(self, data, *, raw):
            shown.append(data)

    def display(data, *, raw, display_id):
        shown.append(data)
        return Handle()

    modules = {name: ModuleType(name) for name in ("ipykernel", "IPython", "IPython.display")}
    modules["IPython"].get_ipython = lambda: "a shell"
    modules["IPython.display"].display = display
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)

    with Progress(10, "<map>") as bar:
        advance(bar, clock, 10, pause=0.05)

    assert 5 <= len(shown) <= 8
    assert shown[-1] == {
        "text/plain": "<map>: [##############################] 10/10 20/s in 0.5 s",
        "text/html": '<progress value="10" max="10"></progress> &lt;map&gt;: 10/10 20/s in 0.5 s',
    }
