"""Fixtures for launchers: servers to launch on, and a home directory of the test's own."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mirai_launchers import jobs
from tests.launchers.backends import FIXTURES, require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.launchers.ssh_server import Server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("backend")


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home directory: job scripts, secrets and logs go there."""
    # Not tmp_path: what runs jobs as us must be able to enter it, and so must who looks at its mode.
    with tempfile.TemporaryDirectory(prefix="home-") as directory:
        monkeypatch.setenv("HOME", directory)
        yield Path(directory)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs are ended at once: those of tests would not leave by themselves."""
    monkeypatch.setattr(jobs, "GRACE", 0.0)


@pytest.fixture
def at_once(impatient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What became of a job is asked at once, too: a fake knows it as soon as it is so."""
    monkeypatch.setattr(jobs, "FIRST", 0.05)


@pytest.fixture
def slurm(home: Path, impatient: None, monkeypatch: pytest.MonkeyPatch) -> str:
    """A real Slurm."""
    # Its jobs get the environment of sbatch: they are not ours to count, since they end when their queue does.
    monkeypatch.delenv("TMPDIR", raising=False)
    return require("SLURM_CONF", "slurm", "sbatch", "squeue", "scontrol", "scancel")


@pytest.fixture
def sshd() -> str:
    """The configuration of ssh with the host `mirai-ssh`, a real server."""
    return require("SSHD_CONFIG", "sshd")


@pytest.fixture
def isolated_sshd(sshd: str) -> str:
    """The same, where `mirai-remote` and `mirai-inner` are there: not every machine allows them."""
    if "SSHD_REMOTE_PORT" not in os.environ:
        pytest.skip("no host with a loopback of its own here: its script says why")
    return sshd


@pytest.fixture(scope="session")
def _shared_ssh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    from tests.launchers.ssh_server import Server

    with Server(tmp_path_factory.mktemp("home") / ".ssh") as server:
        yield server


@pytest.fixture
def torque(slurm: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Slurm's imitation of Torque."""
    directory = require("TORQUE_BIN", "slurm")
    monkeypatch.setenv("PATH", directory, prepend=os.pathsep)
    return directory


@pytest.fixture
def sge(home: Path, impatient: None) -> str:
    """A real Grid Engine."""
    return require("SGE_ROOT", "sge", "qsub", "qstat", "qacct", "qdel")


@pytest.fixture
def ssh_server(_shared_ssh_server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A stand-in for sshd that has faults to order; `ssh://box` leads there, as ~/.ssh/config says."""
    _shared_ssh_server.reset()
    _at_home(_shared_ssh_server, monkeypatch)
    return _shared_ssh_server


@pytest.fixture
def proxy_command(ssh_server: Server, tmp_path: Path) -> Callable[..., Callable[[], int]]:
    """Have a command lead to the server, with others before and after it; the last of its process ids is returned."""
    number = tmp_path / "number"
    relay = f"{sys.executable} {Path(__file__).parent / 'relay.py'} %h %p 3>&1"

    def configure(before: str = ":", after: str = ":") -> Callable[[], int]:
        ssh_server.configure(f"ProxyCommand sh -c 'echo $$ >{number}; {before}; {relay}; {after}'")
        return lambda: int(number.read_text())

    return configure


@pytest.fixture
def mortal_ssh_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The same, to be cut off."""
    from tests.launchers.ssh_server import Server

    with Server(tmp_path / ".ssh") as server:
        _at_home(server, monkeypatch)
        yield server


def _at_home(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(server.home.parent))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
