"""Across a network, a daemon that vanishes without a goodbye is missed, and nobody else is."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time

import psutil
import pytest

from mirai import ConnectionReset, call_mirai, daemons, info, launch_remote, mirai, status
from tests.core import tasks
from tests.core.api.test_network import LOOPBACK, by_hand, connected, end
from tests.waiting import wait_until

__all__ = ["by_hand"]

DEADLINE = 20  # seconds; what takes longer hangs
BEAT = 0.2
SLOW = 1.0  # a beat that a daemon keeps also where the machine has more to do


@pytest.fixture
def stopped():
    """Stops a process, and has it go on with the end of the test."""
    pids = []

    def stop(pid):
        os.kill(pid, signal.SIGSTOP)
        pids.append(pid)

    yield stop
    for pid in pids:
        if psutil.pid_exists(pid):
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("scheme", ["tcp", "tls+tcp", "ws", "wss"])
def test_a_daemon_that_falls_silent_is_gone(by_hand, stopped, scheme):
    """Its task is told, within three beats; what waited is for others."""
    with daemons(url=f"{scheme}://127.0.0.1:0", heartbeat=BEAT):
        process = by_hand(launch_remote()[0])
        m = mirai("import time; time.sleep(300)")
        waiting = mirai(tasks.double, 2)
        wait_until(lambda: info().executing, "the task to begin")
        stopped(process.pid)
        began = time.monotonic()

        error = call_mirai(m).data

        assert isinstance(error, ConnectionReset)
        assert "was silent for 0.6 s" in str(error)
        assert BEAT < time.monotonic() - began < DEADLINE / 2
        assert not waiting.done()
        by_hand(launch_remote()[0])
        assert waiting.result(DEADLINE) == 4


def test_its_task_is_given_to_another_one_where_that_is_asked_for(by_hand, stopped, tmp_path):
    """`retry=1`: and the result of the first, which comes when it goes on, is nobody's."""
    with daemons(url=LOOPBACK, heartbeat=BEAT, retry=1):
        first = by_hand(launch_remote()[0])
        m = mirai(tasks.begin_and_wait, tmp_path / "begun", tmp_path / "go")
        wait_until((tmp_path / "begun").exists, "the task to begin")
        by_hand(launch_remote()[0])
        connected(2)
        stopped(first.pid)
        wait_until(lambda: info().connections == 1, "it to be missed")
        (tmp_path / "go").touch()
        call_mirai(m)
        assert m.exception() is None
        os.kill(first.pid, signal.SIGCONT)
        assert end(first)[0] == 0
        assert info().completed == 1


def test_a_silent_daemon_may_be_let_be(by_hand, stopped):
    """`heartbeat=None`."""
    with daemons(url=LOOPBACK, heartbeat=None):
        process = by_hand(launch_remote()[0])
        connected()
        stopped(process.pid)
        assert not threading.Event().wait(4 * BEAT)  # what would be time enough
        assert info().connections == 1
        os.kill(process.pid, signal.SIGCONT)
        assert mirai(tasks.double, 2).result(DEADLINE) == 4


def test_local_daemons_at_a_private_address_have_no_heartbeat(stopped):
    """There the kernel tells."""
    with daemons(1, heartbeat=BEAT):
        stopped(status().daemons[0].pid)
        assert not threading.Event().wait(4 * BEAT)
        assert info().connections == 1
        os.kill(status().daemons[0].pid, signal.SIGCONT)


@pytest.mark.parametrize("scheme", ["tcp", "tls+tcp", "wss"])
def test_a_busy_daemon_answers(scheme):
    """While it evaluates, and while it sends and receives what is large."""
    with daemons(1, url=f"{scheme}://127.0.0.1:0", heartbeat=SLOW):
        assert mirai("import time; time.sleep(3.2 * beat); 1", beat=SLOW).result(DEADLINE) == 1
        assert mirai("x = 0\nwhile x < 10_000_000: x += 1\nx").result(DEADLINE) == 10_000_000
        assert len(mirai("data * 2", data=bytes(30_000_000)).result(DEADLINE)) == 60_000_000
        assert info()[:2] == (1, 1)


@pytest.mark.parametrize("scheme", ["tcp", "tls+tcp", "ws", "wss", "abstract"])
def test_a_task_that_lets_no_other_thread_run_is_no_silence(by_hand, stopped, scheme):
    """As long calls of compiled code do: its machine is there, and so is its process. Unless that is stopped, too."""
    url = f"abstract://mirai-{os.getpid()}" if scheme == "abstract" else f"{scheme}://127.0.0.1:0"
    with daemons(url=url, heartbeat=BEAT):
        process = by_hand(launch_remote()[0])
        connected()
        m = mirai(tasks.hold_the_interpreter, 8 * BEAT)
        wait_until(lambda: status().daemons[0].silent >= 2 * BEAT, "it to be silent for too long", DEADLINE)
        assert "(silent)" in str(status())

        assert m.result(DEADLINE) == "held"

        wait_until(lambda: status().daemons[0].silent == 0, "it to be heard again", DEADLINE)
        assert info()[:2] == (1, 1)
        m = mirai(tasks.hold_the_interpreter, 300)
        wait_until(lambda: status().daemons[0].silent >= 2 * BEAT, "it to be silent again", DEADLINE)
        stopped(process.pid)
        assert "was silent for 0.6 s" in str(call_mirai(m).data)


def test_patience_with_a_silent_daemon_has_a_bound(by_hand):
    """It may be in a deadlock: whoever waits for its task is told."""
    with daemons(url=LOOPBACK, heartbeat=BEAT, patience=5 * BEAT):
        by_hand(launch_remote()[0])
        m = mirai(tasks.hold_the_interpreter, 300)

        error = call_mirai(m).data

        assert isinstance(error, ConnectionReset)
        assert "said nothing for 1 s" in str(error)
        assert "daemons(patience=…)" in str(error)


@pytest.mark.parametrize("scheme", ["tcp", "tls+tcp", "wss"])
def test_a_host_that_was_stopped_finds_its_daemons(start_host, scheme):
    """For longer than three beats: by Ctrl-Z, or as its machine swapped."""
    host = start_host(f"""
        import os, sys, time
        daemons(2, url='{scheme}://127.0.0.1:0', heartbeat={SLOW})
        print(os.getpid(), flush=True)
        m = mirai("import time; time.sleep(4); 7")
        print("submitted", flush=True)
        print(m.result(), flush=True)
        time.sleep(1)
        print(*[mirai("1").result(), info().connections, info().cumulative], flush=True)
        daemons(0)
    """)
    pid = int(host.line())
    assert host.line() == "submitted"
    os.kill(pid, signal.SIGSTOP)
    assert not threading.Event().wait(3.5 * SLOW)
    os.kill(pid, signal.SIGCONT)

    assert host.line() == "7"
    assert host.line() == "1 2 2"
    assert host.end() == (0, "", "")


def test_a_daemon_that_dials_again_takes_its_own_place(by_hand):
    """The host may not have noticed that the connection was lost; the ticket is not in use by another."""
    with daemons(url=LOOPBACK) as _:
        process = by_hand(launch_remote(autoexit=False)[0])
        connected()
        for connection in psutil.Process(process.pid).net_connections("tcp"):
            assert connection.status == psutil.CONN_ESTABLISHED
        # From inside: half of the connections is shut, as by a router that forgot about them.
        mirai("""
import os, socket, stat
for fd in range(3, 64):
    try:
        if stat.S_ISSOCK(os.fstat(fd).st_mode):
            socket.socket(fileno=os.dup(fd)).shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
""")
        wait_until(lambda: info().cumulative == 2, lambda: f"it to come again: {status()}")
        assert mirai(tasks.pid).result(DEADLINE) == process.pid
        assert [row.i for row in status().daemons] == [1]
        daemons(None)


@pytest.mark.parametrize("heartbeat", [0, -1, True, float("inf"), "often"])
def test_a_heartbeat_is_seconds(heartbeat):
    """Or None."""
    with pytest.raises((TypeError, ValueError), match="heartbeat|'<' not supported"):
        daemons(1, heartbeat=heartbeat)


@pytest.mark.parametrize("patience", [-1, True, "long", None])
def test_patience_is_seconds(patience):
    """`inf` where there is to be no end to it."""
    with pytest.raises(ValueError, match="patience=.*: give seconds, 0 or more"):
        daemons(1, patience=patience)


class Cable(threading.Thread):
    """A connection that goes through here, until it is cut: then nothing arrives, and nobody is told."""

    def __init__(self, url):
        super().__init__(daemon=True)
        place, port = url.removeprefix("tcp://").rsplit(":", 1)
        self.far = place, int(port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"tcp://127.0.0.1:{self.listener.getsockname()[1]}"
        self.is_cut = False
        self.sockets = []
        self.threads = []
        self.start()

    def run(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection(self.far)
            self.sockets += [near, far]
            for one, other in ((near, far), (far, near)):
                self.threads.append(threading.Thread(target=self.carry, args=(one, other), daemon=True))
                self.threads[-1].start()

    def carry(self, one, other):
        try:
            while data := one.recv(65536):
                if not self.is_cut:
                    other.sendall(data)
            if not self.is_cut:
                other.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.join()
        for sock in self.sockets:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in self.threads:
            thread.join()
        for sock in self.sockets:
            sock.close()


def test_a_cable_that_is_cut_is_noticed(by_hand):
    """Although both kernels are content, since something between them is."""
    with daemons(url=LOOPBACK, heartbeat=BEAT):
        cable = Cable(status().url)
        try:
            command = launch_remote()[0]
            command = type(command)((*command.argv[:4], cable.url, *command.argv[5:]), command.env)
            by_hand(command)
            m = mirai("import time; time.sleep(300)")
            wait_until(lambda: info().executing, "the task to begin")

            cable.is_cut = True

            assert "was silent" in str(call_mirai(m).data)
            assert info().connections == 0
        finally:
            cable.close()
