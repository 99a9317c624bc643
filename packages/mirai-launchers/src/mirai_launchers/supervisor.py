"""What runs at the other end of an ssh session: it starts daemons, says how they end, and ends with its host.

Its source is sent there and runs by itself, so it imports nothing of ours. Each line of its standard input is an
order in JSON, each that it prints is `mirai ` and an event in JSON; a login shell may print other lines before.

                                               {"python": "/usr/bin/python3", "version": "3.12.1", "mirai": true}
    {"start": 1, "argv": […], "env": {…}, "stays": false}                          {"started": 1, "pid": 4711}
    {"end": 1}                                                     {"ended": 1, "status": -15, "said": "…"}
    {}  (the host lives)

Sshd does not end a command when its connection ends: it closes the command's standard input. So what was started
is ended then, and also where a connection is dead without having ended, which is when nothing was heard for long.
"""

from __future__ import annotations

import importlib.util
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from typing import Any

TAIL = 2000  # bytes of what a daemon prints that are kept
LEAVING = 1.0  # seconds that daemons have to leave by themselves once their host is gone
GRACE = 5.0  # seconds between asking a process to end and ending it
SILENCE = 3600.0  # seconds without an order after which the host, which sends some, is gone; it may be stopped a while
FOREVER = float("inf")


class Child:
    """A daemon, and what it prints."""

    def __init__(self, number: int, argv: list[str], env: dict[str, str], stays: bool) -> None:
        self.number = number
        self.stays = stays  # when the host is gone, it decides itself whether to leave
        self.said = b""
        self.ask_at = self.kill_at = FOREVER
        self.process = subprocess.Popen(
            [sys.executable, *argv],
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that what it starts can be ended with it
        )
        assert self.process.stdout is not None, "a pipe was asked for"
        self.output = self.process.stdout.fileno()
        os.set_blocking(self.output, False)

    def read(self) -> bool:
        """Keep the end of what it prints; whether there may be more."""
        try:
            chunk = os.read(self.output, 65536)
        except BlockingIOError:
            return True
        self.said = (self.said + chunk)[-TAIL:]
        return chunk != b""

    def signal(self, number: int) -> None:
        try:
            os.killpg(self.process.pid, number)
        except (ProcessLookupError, PermissionError):
            pass

    def act(self, now: float) -> None:
        """Ask it to end, or end it, when it is time to."""
        if now >= self.kill_at:
            self.kill_at = FOREVER
            self.signal(signal.SIGKILL)
        elif now >= self.ask_at:
            self.ask_at = FOREVER
            self.signal(signal.SIGTERM)
            self.kill_at = now + GRACE


class Supervisor:
    """Takes orders from standard input until that ends, and then until no daemon is left."""

    def __init__(self) -> None:
        self._children: dict[int, Child] = {}
        self._orders = b""
        self._heard_at = time.monotonic()
        self._is_dismissed = False
        self._is_alone = False
        self._selector = selectors.DefaultSelector()
        self._wake, waker = socket.socketpair()
        for end in (self._wake, waker):
            end.setblocking(False)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._selector.register(0, selectors.EVENT_READ)
        self._waker = waker
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._dismissed)

    def run(self) -> None:
        self._tell(greeting())
        while self._children or not self._is_alone:
            now = time.monotonic()
            for key, _ in self._selector.select(max(0.0, min(self._deadline() - now, 3600.0))):
                if key.fileobj is self._wake:
                    self._wake.recv(4096)
                elif key.fd == 0:
                    self._listen()
                elif not key.data.read():
                    self._selector.unregister(key.fd)
            now = time.monotonic()
            if self._is_dismissed or now >= self._heard_at + SILENCE:
                self._abandon()
            for child in list(self._children.values()):
                child.act(now)
                if child.process.poll() is not None:
                    self._ended(child)

    def _deadline(self) -> float:
        silent = FOREVER if self._is_alone else self._heard_at + SILENCE
        return min([silent, *(min(child.ask_at, child.kill_at) for child in self._children.values())])

    def _listen(self) -> None:
        chunk = os.read(0, 65536)
        if not chunk:
            return self._abandon()
        self._heard_at = time.monotonic()
        *lines, self._orders = (self._orders + chunk).split(b"\n")
        for line in lines:
            self._obey(json.loads(line))

    def _obey(self, order: dict[str, Any]) -> None:
        if "start" in order:
            number = order["start"]
            try:
                child = Child(number, order["argv"], order["env"], order["stays"])
            except OSError as error:
                return self._tell({"ended": number, "status": 127, "said": str(error)})
            self._children[number] = child
            self._selector.register(child.output, selectors.EVENT_READ, child)
            self._tell({"started": number, "pid": child.process.pid})
        elif order.get("end") in self._children:
            child = self._children[order["end"]]
            child.ask_at = min(child.ask_at, time.monotonic())

    def _ended(self, child: Child) -> None:
        del self._children[child.number]
        if child.output in self._selector.get_map():
            self._selector.unregister(child.output)
            child.read()  # all of it: a pipe holds no more
        assert child.process.stdout is not None, "a pipe was asked for"
        child.process.stdout.close()
        if child.kill_at != FOREVER:
            child.signal(signal.SIGKILL)  # its group: it was to end with all that it started
        said = child.said.decode(errors="replace").strip()
        self._tell({"ended": child.number, "status": child.process.returncode, "said": said})

    def _dismissed(self, *_: object) -> None:
        self._is_dismissed = True  # and no more: what is going on now may be anything

    def _abandon(self) -> None:
        """The host is gone, or wants no more of us."""
        if self._is_alone:
            return
        self._is_alone = True
        self._selector.unregister(0)
        leave_at = time.monotonic() + LEAVING
        for child in self._children.values():
            if not child.stays:
                child.ask_at = min(child.ask_at, leave_at)

    def _tell(self, event: dict[str, Any]) -> None:
        try:
            sys.stdout.write("mirai " + json.dumps(event) + "\n")
            sys.stdout.flush()
        except (OSError, ValueError):
            pass  # nobody is there to read it


def greeting() -> dict[str, Any]:
    """Who this is: what must be right before a daemon is started, or be told to the user."""
    try:
        found = importlib.util.find_spec("mirai.launch") is not None
    except ImportError:
        found = False
    return {"python": sys.executable, "version": sys.version.split()[0], "mirai": found}


if __name__ == "__main__":
    Supervisor().run()
