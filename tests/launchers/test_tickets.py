"""Where tickets go, in every way of launching: never through a command line, were it for a moment."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack

import pytest

from mirai import collect_mirai, daemons, info, launch_local, launch_remote, mirai
from mirai.testing import CommandLines, FakeJobServer, FakeScheduler, fake_ssh
from mirai_launchers import cluster_config, engine, http_config, plugin, remote_config, ssh_config
from tests.launchers.backends import require
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(not CommandLines.can_be_read(), reason="there is no /proc here")

DEADLINE = 30  # seconds; what takes longer hangs
N = 2
SECRET = "[0-9a-f]{64}"  # of a ticket
# By what the daemon that evaluates this was started, which nobody but its user can read.
STARTED = "import os, re; re.findall('\\0(MIRAI_TICKET[A-Z_]*)=', '\\0' + open('/proc/self/environ').read())"


class Ways:
    """Each launches `N` daemons for the profile that is set; what it starts is ended with the test."""

    def __init__(self, request, stack, tmp_path):
        self._fixture, self._stack, self._tmp_path = request.getfixturevalue, stack, tmp_path

    def launch_local(self):
        launch_local(N)

    def daemon(self):
        """`mirai daemon URL` with the ticket in its environment."""
        for command in launch_remote(N):
            self._start(command.argv, env=command.env)

    def daemon_file(self):
        """The same with the ticket in a file of mode 0600."""
        for number, command in enumerate(launch_remote(N)):
            file = self._tmp_path / f"ticket-{number}"
            file.touch(0o600)
            file.write_text(command.env["MIRAI_TICKET"])
            self._start(command.argv, env={"MIRAI_TICKET_FILE": str(file)})

    def remote_config(self):
        launch_remote(N, remote=remote_config("nice", python=sys.executable))

    def remote_config_quote(self):
        launch_remote(N, remote=remote_config("sh", ["-c", "."], sys.executable, quote=True))

    def remote_config_ssh(self):
        self._stack.enter_context(fake_ssh())
        launch_remote(N, remote=remote_config("ssh", ["box", "."], sys.executable, quote=True))

    def ssh(self, **options):
        file = str(self._fixture("mortal_ssh_server").anywhere)
        launch_remote(N, remote=ssh_config("ssh://box", python=sys.executable, config=file, **options))

    def tunnel(self):
        self.ssh(tunnel=True)

    def openssh(self, **options):
        file = self._fixture("sshd")
        launch_remote(N, remote=ssh_config("ssh://mirai-ssh", python=sys.executable, config=file, **options))

    def openssh_tunnel(self):
        self.openssh(tunnel=True)

    def slurm(self):
        self._on_scheduler("slurm", "sbatch")

    def sge(self):
        self._on_scheduler("sge", "qsub", "#$ -V")

    def pbs(self):
        self._on_scheduler("pbs", "qsub", "#PBS -V")

    def lsf(self):
        self._on_scheduler("lsf", "bsub")

    def slurm_itself(self):
        self._fixture("slurm")
        launch_remote(N, remote=cluster_config("sbatch", python=sys.executable))

    def sge_itself(self):
        self._fixture("sge")
        launch_remote(N, remote=cluster_config("qsub", "#$ -V", sys.executable))

    def torque_itself(self):
        self._fixture("torque")
        launch_remote(N, remote=cluster_config("qsub", "#PBS -V", sys.executable))

    def http(self):
        server = self._stack.enter_context(FakeJobServer())
        launch_remote(N, remote=http_config(server.url, python=sys.executable))

    def http_itself(self):
        """Slurm's, as configs/http.yaml has it, but for the daemon's output."""
        self._fixture("slurm")
        url = require("SLURM_REST_URL", "slurm")
        names = {"X-SLURM-USER-NAME": "SLURM_REST_USER", "X-SLURM-USER-TOKEN": "SLURM_REST_TOKEN"}
        data = """{"script": "#!/bin/sh\\n%s",
            "job": {"name": "mirai", "current_working_directory": "/tmp", "standard_output": "/dev/null",
            "environment": {"PATH": "/usr/bin:/bin", "MIRAI_TICKET": "%(MIRAI_TICKET)s"}}}"""
        headers = {header: os.environ[name] for header, name in names.items()}
        launch_remote(N, remote=http_config(f"{url}/job/submit", headers=headers, data=data, python=sys.executable))

    def dask(self):
        """What a worker of Dask or Ray is given to do, done here: with Dask itself see test_engine.py."""
        for command in launch_remote(N):
            words, options = engine.call(command, sys.executable)
            process = self._start(words, stdin=subprocess.PIPE)
            with process.stdin as pipe:
                pipe.write(options["input"].encode())

    ray = dask

    def _on_scheduler(self, kind, command, options=""):
        self._fixture("home")
        self._fixture("at_once")
        self._stack.enter_context(FakeScheduler(kind))
        launch_remote(N, remote=cluster_config(command, options, sys.executable))

    def _start(self, words, env=None, **options):
        process = subprocess.Popen(words, env={**os.environ, **(env or {})}, stderr=subprocess.DEVNULL, **options)
        self._stack.callback(process.wait, DEADLINE)
        return process


NAMES = [name for name in vars(Ways) if not name.startswith("_")]
REAL = {"openssh": "sshd", "openssh_tunnel": "sshd", "slurm_itself": "slurm", "torque_itself": "slurm"}
REAL |= {"http_itself": "slurm", "sge_itself": "sge"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.backend] if name in REAL else []) for name in NAMES]
)
def test_no_command_line_ever_has_a_ticket(request, tmp_path, name):
    """`ps` shows those to everybody on the machine. A daemon's environment and a file of mode 0600 are its user's."""
    with ExitStack() as stack:
        ways = Ways(request, stack, tmp_path)
        with CommandLines(SECRET) as ps, daemons(url="tcp://127.0.0.1:0"):
            getattr(ways, name)()
            wait_until(lambda: info().connections == N, "the daemons to come", DEADLINE)
            started_by = collect_mirai([mirai(STARTED) for _ in range(2 * N)])

    assert started_by == [["MIRAI_TICKET_FILE" if name == "daemon_file" else "MIRAI_TICKET"]] * 2 * N
    assert ps.shown == []
    assert not list(tmp_path.glob("ticket-*")), "a file with a ticket is removed once it is read"


def test_daemons_of_this_user_at_a_private_address_need_no_ticket():
    """There is none to be seen."""
    with CommandLines(SECRET) as ps, daemons(N):
        assert collect_mirai([mirai(STARTED) for _ in range(2 * N)]) == [[]] * 2 * N
    assert ps.shown == []


def test_every_way_of_launching_is_looked_at():
    """A launcher that is added is added here."""
    assert set(plugin.mirai_launchers()) - set(NAMES) == set()


def test_what_ps_shows_is_seen():
    """Else no test of this file could fail."""
    with CommandLines("7c9e[0-9]{4}") as ps:
        process = subprocess.Popen(["sh", "-c", "read line; : 7c9e6679"], stdin=subprocess.PIPE)
    process.communicate()

    assert ps.shown == ["sh -c read line; : 7c9e6679"]
