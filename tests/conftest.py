"""Fixtures that any test may use, and what holds for each of them: it leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.leftovers import leftovers, take_inventory
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_configure(config: pytest.Config) -> None:
    # Shells have what they run in the background ignore Ctrl-C, and so would the programs that tests start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Of this process's own, so that whatever turns up in it is ours; and short, since sockets are made in it.
    is_worker = hasattr(config, "workerinput")  # pytest-xdist's, whose temporary directory is that of its parent
    directory = tempfile.mkdtemp(prefix="t-", dir=Path(tempfile.gettempdir()).parent if is_worker else None)
    os.environ["TMPDIR"] = tempfile.tempdir = directory
    config.add_cleanup(lambda: shutil.rmtree(directory, ignore_errors=True))


@pytest.fixture(scope="session", autouse=True)
def nng_started() -> None:
    """NNG opens two descriptors with its first socket and keeps them: no test's leftovers."""
    import pynng

    pynng.Pair0().close()


@pytest.fixture(autouse=True)
def nothing_left_behind(nng_started: None) -> Iterator[None]:
    """After a reset nothing of ours is left: checked after every test."""
    before = take_inventory()
    yield
    wait_until(
        lambda: not leftovers(before),
        lambda: "\n  ".join(["these to go, which the test left behind:", *leftovers(before)]),
        timeout=10,
    )


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-ins of tests/fakes come first on PATH."""
    directory = Path(__file__).parent / "fakes"
    monkeypatch.setenv("PATH", str(directory), prepend=os.pathsep)
    return directory
