"""NNG streams behind sockets: what the contract does not say."""

from __future__ import annotations

import contextlib
import random
import select
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from mirai.transport import nng
from tests.core.transport.conftest import CARRIERS, accept, receive_rest, run, silent_url

TCP = CARRIERS["nng tcp"]

both = pytest.mark.parametrize("carrier", ["nng tcp", "nng ipc"], indirect=True)

# The script of a process that sends to a peer for as long as that takes something.
FILL = """
import select
from mirai.transport import nng

listener = nng.listen("tcp://127.0.0.1:0")
connection = nng.dial("{}", 10)
connection.setblocking(False)
sent = 0
while select.select([], [connection], [], 0.2)[1]:
    sent += connection.send(bytes(1000))
"""


@both
def test_peer_that_only_sends_learns_that_nobody_listens(carrier, listener):
    """Also where it does not take what was sent to it before."""
    with carrier.dial(listener.url) as staying:
        leaving = accept(listener)
        leaving.setblocking(False)
        while select.select([], [leaving], [], 0.2)[1]:
            leaving.send(bytes(1000))
        leaving.close()

        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while True:
                staying.sendall(bytes(1000))


@both
def test_closing_in_the_midst_of_traffic_leaves_no_thread(carrier, listener):
    """NNG never ends an operation that begins on a closed stream."""

    def flood(end):
        with end, contextlib.suppress(OSError):
            while True:
                end.sendall(bytes(1000))

    for _ in range(30):
        near, far = carrier.dial(listener.url), accept(listener)
        threads = [threading.Thread(target=flood, args=[end]) for end in (near, far)]
        for thread in threads:
            thread.start()
        for _ in range(random.randrange(20)):
            near.recv(10_000)
        random.choice([near, far]).shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()


def test_half_close_ends_both_directions():
    """So that it is the same for those who wait for the end at either side; NNG has no other."""
    listener = TCP.listen()
    with TCP.dial(listener.url) as near, accept(listener) as far:
        near.sendall(b"the last")
        near.shutdown(socket.SHUT_WR)

        assert receive_rest(far) == b"the last"
        assert near.recv(1) == b""
    listener.close()


def test_ipv6():
    """Written in brackets, as elsewhere."""
    try:
        listener = nng.listen("tcp://[::1]:0")
    except OSError:
        pytest.skip("this machine has no IPv6")
    with TCP.dial(listener.url), accept(listener):
        assert listener.url.startswith("tcp://[::1]:")
    listener.close()


def test_what_was_sent_is_delivered_at_exit():
    """A daemon sends its last result, and its interpreter ends."""
    listener = TCP.listen()
    script = FILL.format(listener.url) + "print(sent, flush=True)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        sent = int(process.stdout.readline())
        with accept(listener) as connection:
            received = len(receive_rest(connection))

    assert received == sent
    assert process.returncode == 0
    listener.close()


def test_exit_does_not_wait_for_a_peer_that_reads_nothing():
    """A host that hangs must not keep its daemons from leaving."""
    listener = TCP.listen()
    start = time.monotonic()
    run(FILL.format(listener.url))

    assert time.monotonic() - start < 10
    accept(listener).close()
    listener.close()


def test_attempt_is_never_taken_for_a_connection():
    """NNG itself reports success for one in three of these."""
    with silent_url() as url:
        for _ in range(10):
            with pytest.raises(TimeoutError):
                nng.dial(url, 0.05)


def test_interrupt_ends_a_dial():
    """Ctrl-C in a daemon that waits for a host that does not answer."""
    with silent_url() as url:
        script = f"""
from mirai.transport import nng

try:
    print(flush=True)
    nng.dial({url!r}, 60)
except KeyboardInterrupt:
    print("interrupted")
"""
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
            process.stdout.readline()
            process.send_signal(signal.SIGINT)

            assert process.communicate(timeout=10)[0] == "interrupted\n"


def test_forked_child_ends_and_its_parent_goes_on():
    """In the child NNG aborts the process, or never lets it end: it must not be touched there."""
    run("""
import os, select, signal, warnings
from mirai.transport import nng

warnings.simplefilter("ignore")  # of the very thing that is tested here

listener = nng.listen("tcp://127.0.0.1:0")
near = nng.dial(listener.url, 10)
child = os.fork()
if child:
    assert os.waitpid(child, 0)[1] == 0
    near.sendall(b"undisturbed")
    select.select([listener], [], [])
    with listener.accept() as far:
        assert far.recv(100) == b"undisturbed"
else:
    signal.alarm(10)
    try:
        nng.dial(listener.url, 10)
    except RuntimeError as error:
        assert "spawn" in str(error)
near.close()
listener.close()
""")
