"""The check that every test leaves nothing behind must itself notice each kind of thing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from tests.leftovers import leftovers, take_inventory


def test_nothing_is_left_by_doing_nothing():
    """A check that fails at random would soon be switched off."""
    assert leftovers(take_inventory()) == []


def test_a_process_is_noticed():
    """A daemon that stays is what users would mind most."""
    before = take_inventory()

    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        said = [line for line in leftovers(before) if line.startswith(f"process {process.pid} (")]
        assert [line.rpartition(": ")[2] for line in said] == ["cat"]  # whether it runs or sleeps at the moment


def test_an_orphan_is_noticed():
    """Where a host was killed its daemons are no children of anybody."""
    before = take_inventory()
    start_and_leave = "import subprocess, sys; print(subprocess.Popen(['cat'], stdout=2).pid)"
    read, write = os.pipe()
    with open(write, "wb"):
        orphan = subprocess.check_output(
            [sys.executable, "-c", start_and_leave], stdin=read, stderr=subprocess.DEVNULL, text=True
        ).strip()
        os.close(read)

        left = leftovers(before)

    assert [line for line in left if line.startswith(f"process {orphan} ")]


def test_a_thread_is_noticed():
    """A thread that waits for ever keeps an interpreter from ending."""
    before = take_inventory()
    done = threading.Event()
    thread = threading.Thread(target=done.wait, name="stays")
    thread.start()

    left = leftovers(before)
    done.set()
    thread.join()

    assert left == ["thread stays"]


def test_a_file_descriptor_is_noticed():
    """A host that serves for months runs out of them."""
    before = take_inventory()

    with open(os.devnull) as file:
        assert leftovers(before) == [f"file descriptor {file.fileno()}: {os.devnull}"]


def test_a_directory_is_noticed():
    """Sockets live in directories of ours."""
    before = take_inventory()
    directory = Path(tempfile.mkdtemp(prefix="mirai-"))

    left = leftovers(before)
    directory.rmdir()

    assert left == [str(directory)]


def test_the_process_of_another_session_is_not():
    """Two suites may run on one machine at the same time."""
    before = take_inventory()
    stranger = subprocess.check_output(["sh", "-c", "sleep 60 >/dev/null & echo $!"], env={**os.environ, "TMPDIR": "/"})

    left = leftovers(before)
    os.kill(int(stranger), signal.SIGKILL)

    assert left == []
