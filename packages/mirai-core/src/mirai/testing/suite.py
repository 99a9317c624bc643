"""The tests that a launcher must pass. They need pytest."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import mirai
from mirai.hookspecs import LaunchCommand
from mirai.testing.command_lines import CommandLines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mirai.hookspecs import Launch, Launcher

# What runs in the place of a daemon: it writes down what has reached it, and waits for its end.
REPORT = """
import json, os, pathlib, signal, sys
ticket = os.environ.get("MIRAI_TICKET", "none")
names = sorted(name for name, value in os.environ.items() if "ticket-" in value)
path = pathlib.Path(sys.argv[1], ticket)
path.with_suffix(".new").write_text(json.dumps([sys.argv[2:], names, os.getpid()]))
path.with_suffix(".new").rename(path)
signal.pause()
"""
WORDS = ["a b", "$HOME", "it's", '"quoted"', "100%"]
ABSENT = "/no/such/python"
TICKETS = "ticket-7c9e6679-"  # what they begin with


class LauncherSuite:
    """Derive a class `Test…` from it, and give it a fixture `launcher`: one whose daemons this Python can run.

    Attributes:
        several: how many daemons to launch at once.
        timeout: seconds until what was launched must run here, and until a failure must be told.
        tells_logs: whether a failure quotes what the daemon's command has printed.
        ends_running: whether `cancel` ends what runs, and not only what is queued.
    """

    several = 3
    timeout = 30.0
    tells_logs = True
    ends_running = True

    @pytest.fixture
    def launcher(self) -> Launcher:
        raise NotImplementedError("give your class a fixture `launcher`")

    @pytest.fixture(autouse=True)
    def home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A home directory of the test's own."""
        home = tmp_path / "home"
        home.mkdir()
        monkeypatch.setenv("HOME", str(home))
        return home

    @pytest.fixture
    def reports(self, tmp_path: Path) -> Path:
        """Where what is launched writes down what has reached it."""
        directory = tmp_path / "reports"
        directory.mkdir()
        return directory

    @pytest.fixture
    def launch(
        self, launcher: Launcher, reports: Path
    ) -> Iterator[Callable[[int], tuple[Sequence[Launch], list[Any]]]]:
        """Launch that many, and wait for their reports; they are cancelled when the test ends."""
        launched: list[Launch] = []

        def launch(n: int) -> tuple[Sequence[Launch], list[Any]]:
            launches = launcher.launch(_commands(reports, n))
            launched.extend(launches)
            paths = [reports / _ticket(number) for number in range(n)]
            self.wait(
                lambda: all(path.exists() for path in paths),
                lambda: f"{n} to run: {[(launch.state(), launch.failure()) for launch in launches]}",
            )
            return launches, [json.loads(path.read_text()) for path in paths]

        yield launch
        for one in launched:
            one.cancel()
        if not self.ends_running:
            for path in reports.iterdir():
                os.kill(json.loads(path.read_text())[2], signal.SIGTERM)

    def wait(self, condition: Callable[[], Any], what: Callable[[], str]) -> Any:
        """The first true value, within `timeout`."""
        deadline = time.monotonic() + self.timeout
        while not (value := condition()):
            assert time.monotonic() < deadline, f"waited {self.timeout} s for {what()}"
            time.sleep(0.02)
        return value

    # What it is

    def test_it_is_a_frozen_dataclass(self, launcher: Launcher) -> None:
        """YAML profiles are made into it, and may be compared."""
        assert dataclasses.is_dataclass(launcher)
        assert type(launcher).__dataclass_params__.frozen
        assert dataclasses.replace(launcher) == launcher
        assert isinstance(launcher.name, str)

    # What it starts

    def test_words_and_secrets_arrive(self, launch: Any) -> None:
        """A daemon without its words does something else, one without its own ticket is turned away."""
        launches, arrived = launch(self.several)

        assert [words for words, _, _ in arrived] == [WORDS] * self.several
        assert [names for _, names, _ in arrived] == [["MIRAI_TICKET"]] * self.several
        assert len({one.id for one in launches}) == len({pid for _, _, pid in arrived}) == self.several

    def test_a_single_one_is_launched_as_well(self, launch: Any) -> None:
        """Some schedulers refuse an array of one."""
        launches, arrived = launch(1)

        assert (len(launches), arrived[0][0]) == (1, WORDS)

    def test_what_runs_has_not_failed(self, launch: Any) -> None:
        """Its daemon may still connect."""
        (one,), _ = launch(1)

        assert one.failure() is None
        assert isinstance(one.state(), str)

    def test_daemons_connect_and_work(self, launcher: Launcher) -> None:
        """That is what it is for."""
        with mirai.daemons(2, url="tcp://127.0.0.1:0", remote=launcher):
            values = [mirai.mirai(pow, 2, n, _timeout=self.timeout) for n in range(4)]
            assert mirai.collect_mirai(values) == [1, 2, 4, 8]

    # Secrets

    def test_show_starts_nothing_and_shows_no_secret(self, launcher: Launcher, reports: Path) -> None:
        """It is for people to read, and to send to their site's support."""
        shown = launcher.show(_commands(reports, self.several))

        assert "mirai" in shown or "python" in shown.lower()
        assert _ticket(0) not in shown
        assert not list(reports.iterdir())

    @pytest.mark.skipif(not CommandLines.can_be_read(), reason="there is no /proc here")
    def test_no_secret_is_in_a_command_line(self, launch: Any) -> None:
        """`ps` shows those to everybody, and were it for a moment."""
        with CommandLines(TICKETS) as ps:
            launch(self.several)

        assert ps.shown == []

    def test_no_secret_is_in_a_file_that_others_can_read(self, launch: Any, home: Path) -> None:
        """Many a home directory is open to all."""
        launch(self.several)

        holders = [path for path in home.rglob("*") if path.is_file() and _ticket(0) in path.read_text("latin-1")]
        assert [path for path in holders if not _is_private(path, home)] == []

    # How it ends

    def test_cancel_ends_what_runs(self, launch: Any) -> None:
        """`daemons(0)` leaves nothing behind; to cancel twice is fine."""
        launches, arrived = launch(self.several)

        for one in [*launches, *launches]:
            one.cancel()

        if self.ends_running:
            pids = [pid for _, _, pid in arrived]
            self.wait(lambda: not any(map(_is_there, pids)), lambda: f"the processes {pids} to end")

    @pytest.mark.parametrize("n", [1, 2])
    def test_a_daemon_that_cannot_begin_is_told(self, launcher: Launcher, n: int) -> None:
        """Those who wait for it are to know why: a launch that fails is never silent."""
        command = LaunchCommand(("python3", "-c", "import sys; sys.exit('no module named anything')"))

        launches = launcher.launch([command] * n)
        try:
            failures = [
                self.wait(one.failure, lambda: f"a failure to be told: {launches[0].state()}") for one in launches
            ]
        finally:
            for one in launches:
                one.cancel()

        if self.tells_logs:
            assert ["no module named anything" in failure for failure in failures] == [True] * n

    def test_a_python_that_is_not_there_is_told(self, launcher: Launcher) -> None:
        """The most common mistake of all."""
        options: Any = launcher
        if not any(field.name == "python" for field in dataclasses.fields(options)):
            pytest.skip("it has no option `python`")

        try:
            (one,) = dataclasses.replace(options, python=ABSENT).launch([LaunchCommand(("python3", "-c", "pass"))])
        except OSError as error:
            said = str(error)
        else:
            said = self.wait(one.failure, lambda: f"a failure to be told: {one.state()}")
            one.cancel()

        assert ABSENT in said


def _ticket(number: int) -> str:
    return f"{TICKETS}{number}"


def _commands(reports: Path, n: int) -> list[LaunchCommand]:
    argv = ("python3", "-c", REPORT, str(reports), *WORDS)
    return [LaunchCommand(argv, {"MIRAI_TICKET": _ticket(number)}) for number in range(n)]


def _is_private(path: Path, home: Path) -> bool:
    """Whether its mode, or that of a directory between it and the home, keeps others out."""
    inside = [path, *(parent for parent in path.parents if home in parent.parents)]
    return any(not stat.S_IMODE(one.stat().st_mode) & 0o077 for one in inside)


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
