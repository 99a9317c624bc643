"""Daemons of other versions: those that cannot work with the host are told what to change, and so is the host."""

from __future__ import annotations

import glob
import logging
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import cloudpickle
import pytest

import mirai as package
from mirai import daemons, info, launch_remote, mirai, status
from mirai.protocol.handshake import PROTOCOL
from tests.core import tasks
from tests.waiting import wait_until

DEADLINE = 20  # seconds; what takes longer hangs
OURS = sys.version_info[:3]
MINORS = [(3, minor) for minor in range(11, 15)]


@cache
def pythons():
    """The interpreters of this machine: paths by version."""
    root = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    names = {f"python3.{minor}" for _, minor in MINORS}
    places = [*os.environ["PATH"].split(os.pathsep), *glob.glob(f"{root}/versions/*/bin")]
    found = {}
    for path in (os.path.join(place, name) for place in places for name in names):
        if os.access(path, os.X_OK):
            # pyenv's own python3.12 says that it is not chosen.
            ask = [path, "-S", "-E", "-c", "import sys; print(*sys.version_info[:3])"]
            ran = subprocess.run(ask, capture_output=True, text=True, timeout=DEADLINE)
            if ran.returncode == 0:
                found.setdefault(tuple(map(int, ran.stdout.split())), path)
    return found


@pytest.fixture
def network():
    """A profile that listens where others could come."""
    with daemons(url="tcp://127.0.0.1:0"):
        yield


@pytest.fixture
def start(network, tmp_path):
    """Starts a daemon on any Python, with what it needs of ours, and ends it with the test."""
    for imported in (package, cloudpickle):
        source = Path(imported.__file__).parent
        shutil.copytree(source, tmp_path / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    started = []

    def start(python, *, forge="pass"):
        """`forge`: what to change before it begins."""
        command = launch_remote()[0]
        code = f"import sys; {forge}; from mirai.runtime.daemon import main; sys.exit(main(sys.argv[1:]))"
        environment = {**os.environ, **command.env, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
        words = [python, "-c", code, *command.argv[4:]]
        started.append(subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def refused(process, caplog):
    """What the daemon said and what the host did, once it was turned away."""
    _, said = process.communicate(timeout=DEADLINE)
    assert process.returncode == 10, said
    wait_until(lambda: status().refused == 1, lambda: f"the host to count it: {status()}")
    assert info().cumulative == 0
    (logged,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    return said, logged


@pytest.mark.parametrize(
    "minor", [each for each in MINORS if each != OURS[:2]], ids=lambda minor: "{}.{}".format(*minor)
)
def test_another_python_is_refused_and_both_sides_say_what_to_change(start, caplog, minor):
    """A real one: functions that are sent by value are bytecode."""
    version, python = max(((v, path) for v, path in pythons().items() if v[:2] == minor), default=(None, None))
    if python is None:
        pytest.skip("this machine has no Python {}.{}".format(*minor))

    said, logged = refused(start(python), caplog)

    for text in (said, logged):
        assert "runs Python {}.{}.{}, this host {}.{}.{}".format(*version, *OURS) in text
        assert "start the daemon with the host's" in text


def test_another_patch_of_python_works(start):
    """A real one: 3.11.2 and 3.11.7, as it may be."""
    version, python = max(
        ((v, path) for v, path in pythons().items() if v[:2] == OURS[:2] and v != OURS), default=(0, 0)
    )
    if not python:
        pytest.skip("this machine has no other {}.{} than {}.{}.{}".format(*OURS[:2], *OURS))
    start(python)
    factor = 2

    assert mirai(lambda x: (factor * x, sys.version_info[:3]), 21).result(DEADLINE) == (42, version)


def test_another_patch_that_is_only_said_works(start):
    """Where there is no real one."""
    version = "{}.{}.99".format(*OURS[:2])
    start(
        sys.executable,
        forge=f"import mirai.protocol.handshake as h; h.Hello.__init__.__defaults__ = ('', {version!r}, h.PROTOCOL)",
    )

    assert mirai(tasks.double, 2).result(DEADLINE) == 4


def test_another_protocol_is_refused_and_both_sides_say_what_to_change(start, caplog):
    """As that of a mirai-core to come."""
    forge = f"import mirai.protocol.handshake as h; h.PROTOCOL = {PROTOCOL + 1}; h.Hello.__init__.__defaults__ = ('', h.PYTHON, h.PROTOCOL)"

    said, logged = refused(start(sys.executable, forge=forge), caplog)

    for text in (said, logged):
        assert f"speaks protocol {PROTOCOL + 1}, this host {PROTOCOL}" in text
        assert "install the same version of mirai-core on both" in text


def test_another_cloudpickle_is_refused_and_both_sides_say_what_to_change(start, caplog):
    """Of another major version."""
    said, logged = refused(start(sys.executable, forge="import cloudpickle; cloudpickle.__version__ = '99.1'"), caplog)

    for text in (said, logged):
        assert f"has cloudpickle 99.1, this host {cloudpickle.__version__}" in text
        assert "install the same major version on both" in text
