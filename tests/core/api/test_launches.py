"""Launches: daemons that somebody else starts, watched until they are here, or it is known why not."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from dataclasses import dataclass

import pytest

from mirai import ConnectionReset, call_mirai, daemons, daemons_set, info, launch_remote, mirai, saisei, status
from mirai.hookspecs import Launcher
from mirai.runtime import vigil
from tests.core import tasks
from tests.waiting import wait_until

DEADLINE = 20  # seconds; what takes longer hangs
LOOPBACK = "tcp://127.0.0.1:0"


class Job:
    """What a scheduler knows of one daemon."""

    def __init__(self, number):
        self.id = str(number)
        self.process = None
        self.reason = None
        self.words = "PENDING (Resources)"
        self.cancelled = 0
        self.asked_by = set()

    def failure(self):
        self.asked_by.add(threading.current_thread().name)
        return self.reason

    def state(self):
        return self.words

    def cancel(self):
        self.cancelled += 1
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@dataclass(frozen=True, eq=False)
class Queue(Launcher):
    """A scheduler: jobs wait until the test has them run."""

    name = "queue"
    jobs: list
    commands: list
    error: Exception | None = None
    number: int = 2

    @property
    def places(self):
        return self.number

    def launch(self, commands):
        if self.error:
            raise self.error
        jobs = [Job(len(self.jobs) + i) for i in range(len(commands))]
        self.jobs.extend(jobs)
        self.commands.extend(commands)
        return jobs

    def run(self, i):
        command = self.commands[i]
        self.jobs[i].process = subprocess.Popen(command.argv, env={**os.environ, **command.env})


@pytest.fixture
def queue():
    return Queue([], [])


@pytest.fixture
def soon(monkeypatch):
    """What a user waits fifteen seconds for."""
    monkeypatch.setattr(vigil, "UNEASY", 0.05)
    monkeypatch.setattr(vigil, "LOST", 0.2)


def states():
    return [row.state for row in status().launches]


def test_a_launch_is_seen_from_submitted_to_ended(queue):
    """With what its keeper says of it meanwhile."""
    with daemons(2, url=LOOPBACK, remote=queue):
        assert [(row.i, row.launcher, row.id, row.state) for row in status().launches] == [
            (1, "queue", "0", "submitted"),
            (2, "queue", "1", "submitted"),
        ]
        wait_until(lambda: status().launches[0].reason == "PENDING (Resources)", "its state to be known")
        assert "PENDING (Resources)" in str(status())
        queue.run(1)
        wait_until(lambda: states() == ["submitted", "connected"], lambda: f"it to connect: {status()}")
        assert [row.i for row in status().daemons] == [2]
        assert mirai(tasks.pid).result(DEADLINE) == queue.jobs[1].process.pid
        queue.jobs[1].process.terminate()
        wait_until(lambda: states() == ["submitted", "ended"], lambda: f"it to end: {status()}")
        assert status().launches[1].to_dict()["reason"] == "closed its connection"


def test_what_it_is_called_may_be_known_later(queue):
    """A process on another machine has a number only once somebody is there to start it."""
    with daemons(1, url=LOOPBACK, remote=queue):
        assert status().launches[0].id == "0"
        queue.jobs[0].id = "alpha pid 4711"
        queue.run(0)
        wait_until(lambda: states() == ["connected"], lambda: f"it to connect: {status()}")
        assert status().launches[0].id == "alpha pid 4711"


def test_why_a_daemon_was_killed_is_asked_afterwards(queue, caplog):
    """A scheduler knows it a while later: it goes to the log, to `status()`, and to the tasks that wait in vain."""
    with daemons(1, url=LOOPBACK, remote=queue):
        queue.run(0)
        wait_until(lambda: states() == ["connected"], "it to connect")
        queue.jobs[0].process.kill()
        wait_until(lambda: states() == ["ended"], "it to end")
        queue.jobs[0].reason = "OUT_OF_MEMORY"
        wait_until(lambda: "OUT_OF_MEMORY" in status().launches[0].reason, lambda: f"the reason: {status()}")
        wait_until(lambda: "OUT_OF_MEMORY" in caplog.text, "it to be logged")


def test_a_launch_whose_ticket_is_revoked_is_not_waited_for(queue):
    """Somebody has started another daemon in its place."""
    with daemons(2, url=LOOPBACK, remote=queue):
        saisei(1)

        assert states() == ["ended", "submitted"]
        assert status().launches[0].reason == "its ticket was revoked"


def test_a_daemon_that_said_goodbye_is_not_asked_after(queue):
    """Its exit status is no failure."""
    with daemons(1, url=LOOPBACK, remote=queue, maxtasks=1):
        queue.run(0)
        assert mirai(tasks.double, 2).result(DEADLINE) == 4
        wait_until(lambda: states() == ["ended"], "it to end")
        assert status().launches[0].reason == "left with code 3"


def test_as_many_as_the_launcher_has_places(queue):
    """Where no number is said."""
    with daemons(url=LOOPBACK, remote=queue):
        assert len(queue.jobs) == 2


def test_an_address_that_others_can_reach_is_taken_where_none_is_given(queue):
    """As daemons are to come from elsewhere."""
    with daemons(1, remote=queue):
        assert queue.commands[0].argv[4] == status().url
        assert "127.0.0.1" not in status().url


def test_daemons_are_given_an_address_that_they_can_reach(queue):
    """Not every interface, which is none."""
    with daemons(1, url="tcp://:0", remote=queue):
        port = status().url.rpartition(":")[2]
        given = queue.commands[0].argv[4]
        assert given.endswith(f":{port}")
        assert "0.0.0.0" not in given


def test_more_can_be_launched(queue):
    """Elsewhere than the first ones."""
    with daemons(1, url=LOOPBACK, remote=queue):
        commands = launch_remote(2, remote=queue, maxtasks=1)

        assert [command.argv[-2:] for command in commands] == [("--maxtasks", "1")] * 2
        assert [row.i for row in status().launches] == [1, 2, 3]


def test_what_is_queued_is_cancelled(queue):
    """At the reset, and only then; nothing of ours is left."""
    with daemons(3, url=LOOPBACK, remote=queue):
        queue.run(0)
        wait_until(lambda: info().connections == 1, "it to connect")
        process = queue.jobs[0].process
        assert [job.cancelled for job in queue.jobs] == [0, 0, 0]

    assert [job.cancelled for job in queue.jobs] == [1, 1, 1]
    assert process.wait(DEADLINE) == 0  # it had the time to leave by itself
    assert "mirai-launches" not in [thread.name for thread in threading.enumerate()]


def test_launchers_are_asked_by_one_thread(queue):
    """Never by the one that drives the sockets, since a scheduler may take its time."""
    with daemons(2, url=LOOPBACK, remote=queue), daemons(2, url=LOOPBACK, remote=queue, compute="other"):
        wait_until(lambda: all(job.asked_by for job in queue.jobs), "all to be asked")

    assert {name for job in queue.jobs for name in job.asked_by} == {"mirai-launches"}


def test_a_launch_that_fails_is_told_of(queue, caplog):
    """With its cause, once for all that have the same one."""
    with daemons(3, url=LOOPBACK, remote=queue):
        for job in queue.jobs:
            job.reason = "held: no account"
        with pytest.warns(RuntimeWarning, match="launch.*held: no account"):
            wait_until(lambda: caplog.records and states() == ["failed"] * 3, lambda: f"them to fail: {status()}")
        assert len(caplog.records) <= 3
        assert {row.reason for row in status().launches} == {"held: no account"}


@pytest.mark.filterwarnings("ignore:.*launch:RuntimeWarning", "ignore:no daemon is left:RuntimeWarning")
def test_tasks_whose_every_launch_failed_learn_the_cause(queue, soon):
    """In time; not while one of them may still come."""
    with daemons(2, url=LOOPBACK, remote=queue):
        m = mirai(tasks.double, 2)
        queue.jobs[0].reason = "killed by the administrator"
        wait_until(lambda: states() == ["failed", "submitted"], lambda: f"one to fail: {status()}")
        assert not m.done()
        queue.jobs[1].reason = "out of memory"

        error = call_mirai(m).data

        assert isinstance(error, ConnectionReset)
        assert "out of memory" in str(error)


@pytest.mark.filterwarnings("ignore:.*launch:RuntimeWarning")
def test_a_failed_launch_cannot_come_after_all(queue):
    """Its ticket is dead: another one may be on its way in its place."""
    with daemons(1, url=LOOPBACK, remote=queue):
        queue.jobs[0].reason = "lost"
        wait_until(lambda: states() == ["failed"], "it to fail")
        queue.run(0)
        assert queue.jobs[0].process.wait(DEADLINE) == 10


def test_a_launcher_that_cannot_start_anything_is_an_error_at_the_call():
    """The profile is not set."""
    with pytest.raises(OSError, match="no such partition"):
        daemons(2, url=LOOPBACK, remote=Queue([], [], OSError("no such partition")))

    assert not daemons_set()


def test_a_plugin_that_raises_takes_no_other_with_it(queue):
    """It is said in `status()`."""

    def broken():
        raise ZeroDivisionError("a bug")

    with daemons(2, url=LOOPBACK, remote=queue):
        queue.jobs[0].failure = broken
        wait_until(lambda: "a bug" in status().launches[0].reason, "it to be said")
        wait_until(lambda: status().launches[1].reason == "PENDING (Resources)", "the other to be asked")
        queue.jobs[0].cancel = broken

    assert queue.jobs[1].cancelled == 1


def test_a_scheduler_that_takes_its_time_delays_nobody(queue):
    """Tasks go on while it is asked."""
    asked, release = threading.Event(), threading.Event()

    def slow():
        asked.set()
        release.wait(DEADLINE)

    with daemons(2, url=LOOPBACK, remote=queue):
        queue.jobs[0].failure = slow
        assert asked.wait(DEADLINE)
        queue.run(1)
        began = time.monotonic()
        assert mirai(tasks.double, 2).result(DEADLINE) == 4
        assert time.monotonic() - began < DEADLINE / 2
        release.set()


@pytest.mark.parametrize("remote", ["ssh", 7, object()])
def test_what_is_no_launcher_is_refused(remote):
    """At the call, with how to make one."""
    with pytest.raises(TypeError, match=r"launcher\('ssh'"):
        daemons(2, url=LOOPBACK, remote=remote)


def test_no_ticket_is_shown_by_whoever_echoes_it(queue, soon, caplog):
    """Its state, why it failed, and what is raised go to logs, warnings and errors of tasks."""
    with daemons(2, url=LOOPBACK, remote=queue):
        secrets = [command.env["MIRAI_TICKET"] for command in queue.commands]
        queue.jobs[0].words = f"RUNNING {secrets[0]}"
        wait_until(lambda: status().launches[0].reason == "RUNNING …", lambda: f"its state: {status()}")
        for job, secret in zip(queue.jobs, secrets, strict=True):
            job.reason = f"export MIRAI_TICKET={secret}: not found"
        error = mirai("1").exception(DEADLINE)
        assert "export MIRAI_TICKET=…: not found" in str(error)
        assert "MIRAI_TICKET=…" in caplog.text
        shown = f"{error} {caplog.text} {status()}"
        assert not any(secret.partition(".")[2] in shown for secret in secrets)


def test_no_ticket_is_shown_by_a_launcher_that_raises():
    """As where it quotes the command that it could not run."""

    class Quotes(Launcher):
        name = "quotes"

        def launch(self, commands):
            raise RuntimeError(f"cannot run {commands[0].env}")

    with daemons(url=LOOPBACK), pytest.raises(RuntimeError, match="cannot run .*'MIRAI_TICKET': '…'"):
        launch_remote(1, remote=Quotes())
