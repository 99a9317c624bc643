"""The built-in launcher: daemons as subprocesses on this machine."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from typing import IO, TYPE_CHECKING, Any

from mirai.errors import DaemonStartError
from mirai.protocol.command import LAUNCH_VARIABLE, THREAD_VARIABLES, TICKET, option_words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mirai.runtime.lead import Lead

TAIL = 4096  # bytes of stderr that are kept, to say why a daemon died
GRACE = 2.0  # seconds that a daemon has to leave once its connection is closed, before it is killed

_HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Not `-m mirai.launch daemon`, which takes 5 ms more. Not the working directory in front of the path
# either: a file there may have the name of a module. The host's own path comes with the first frame.
_CODE = f"import sys; sys.path = [p for p in sys.path if p] + [{_HOME!r}]; " + (
    "from mirai.runtime.daemon import main; sys.exit(main(sys.argv[1:]))"
)


_left_behind: list[int] = []  # processes that persist, and were not seen to end yet


def _leave_behind(popen: subprocess.Popen[bytes]) -> None:
    """It outlives its profile; when it ends, it is reaped with the next start of another one."""
    popen.returncode = 0  # else the garbage collector warns of a process that still runs
    _left_behind.append(popen.pid)


def _reap() -> None:
    for pid in list(_left_behind):
        try:
            ended = os.waitpid(pid, os.WNOHANG)[0] == pid
        except ChildProcessError:
            ended = True
        if ended:
            _left_behind.remove(pid)


class LocalProcess:
    """A daemon on this machine that this process started."""

    def __init__(
        self, url: str, launch: str, options: Mapping[str, Any], *, threads: int | None, output: bool, ticket: str = ""
    ) -> None:
        """Start it. `threads`: what BLAS and OpenMP may use, None: as the environment says, or all.

        Raises:
            DaemonStartError: there is no interpreter to start.
        """
        if not sys.executable:
            raise DaemonStartError("this interpreter does not know its own path (sys.executable is empty)")
        _reap()
        environment = {**os.environ, LAUNCH_VARIABLE: launch}
        if ticket:
            environment[TICKET] = ticket
        if threads is not None:
            environment.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
        self.launch = launch
        self.options, self.threads, self.output = options, threads, output
        self.persistent = str(options.get("autoexit", True)).lower() in ("false", "task")
        self.connected = False
        self._tail = b""
        self._reading = threading.RLock()  # by the lead, or by who closes
        self._lead: Lead | None = None
        try:
            self._popen = subprocess.Popen(
                [sys.executable, *flags, "-c", _CODE, url, *option_words(options)],
                stdin=subprocess.PIPE,  # says, by its end, that the host is gone
                stdout=subprocess.PIPE if output else subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=environment,
                # Ctrl-C in the host's terminal is for the host.
                start_new_session=True,
            )
        except OSError as error:
            raise DaemonStartError(f"{sys.executable}: {error.strerror}") from error
        self.pid = self._popen.pid
        assert self._popen.stdin is not None
        self._lifeline = self._popen.stdin
        self._pidfd = os.pidfd_open(self.pid) if hasattr(os, "pidfd_open") else None
        self._pipes: dict[int, tuple[IO[bytes], IO[str] | None]] = {}
        self._lines: dict[int, bytes] = {}  # begun, and to be forwarded when they end
        for pipe, name in ((self._popen.stdout, "stdout"), (self._popen.stderr, "stderr")):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
                self._pipes[pipe.fileno()] = (pipe, getattr(sys, name) if output else None)

    def watch(self, lead: Lead, ended: Callable[[LocalProcess], None]) -> None:
        """Forward its output, and call `ended(self)` once it is gone, from whichever thread leads."""
        self._lead = lead
        for fd in list(self._pipes):  # the lead closes one that has ended
            lead.register(fd, lambda events, fd=fd: self._read(fd, ended))  # type: ignore[misc]
        if self._pidfd is not None:
            # Asked, as the event may be that of a descriptor which was closed meanwhile and had the same number.
            lead.register(self._pidfd, lambda events: None if self.exit_status() is None else ended(self))

    def exit_status(self) -> int | None:
        """As `subprocess.Popen.poll`."""
        return self._popen.poll()

    def describe_end(self, timeout: float = 0.5) -> str:
        """What ended it, waiting `timeout` seconds for that; empty while it runs."""
        try:
            status = self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            return ""
        if status < 0:
            try:
                return f"was killed by {signal.Signals(-status).name}"
            except ValueError:
                return f"was killed by signal {-status}"
        return f"exited with status {status}"

    def stderr_tail(self) -> str:
        """The last of what it wrote to stderr."""
        with self._reading:
            for fd in list(self._pipes):
                while self._receive(fd):
                    pass
        return self._tail.decode(errors="replace").strip()

    def kill(self) -> None:
        """End it at once."""
        self._popen.kill()

    def end(self, deadline: float) -> None:
        """Wait until it has left, kill it at `deadline` (of `time.monotonic`), and forget it."""
        if self._pidfd is not None:
            poll = select.poll()
            poll.register(self._pidfd, select.POLLIN)
            poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
        else:
            try:
                self._popen.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass
        if self._popen.poll() is None:
            self._popen.kill()
            self._popen.wait()
        self.forget()

    def forget(self) -> None:
        """Close what watched it; the last of its output is still forwarded."""
        self._lifeline.close()
        with self._reading:
            for fd in list(self._pipes):
                while self._receive(fd):
                    pass
                self._close_pipe(fd)
        if self._pidfd is not None:
            if self._lead is not None:
                self._lead.unregister(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None
        if self._popen.poll() is None:
            _leave_behind(self._popen)

    def abandon(self) -> None:
        """In a forked child: close the copies of what watches it, as it is the parent's."""
        self._popen.returncode = 0  # else the garbage collector warns of a process that still runs
        self._lifeline.close()
        for pipe, _ in self._pipes.values():
            pipe.close()
        self._pipes.clear()
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None

    def _read(self, fd: int, ended: Callable[[LocalProcess], None]) -> None:
        if not self._reading.acquire(False):
            return  # somebody reads just now, whom the thread that drives the sockets must not wait for
        try:
            if fd in self._pipes and self._receive(fd) is None:
                self._close_pipe(fd)
            if self._pidfd is None and not self._pipes:
                ended(self)
        finally:
            self._reading.release()

    def _receive(self, fd: int) -> bool | None:
        """Take what is in the pipe: whether there was anything, None at its end."""
        pipe, forwarded = self._pipes[fd]
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return False
        if not data:
            return None
        if forwarded is not None:
            lines, end, begun = (self._lines.pop(fd, b"") + data).rpartition(b"\n")
            if begun:
                self._lines[fd] = begun
            self._forward(lines + end, forwarded)
        if pipe is self._popen.stderr:
            self._tail = (self._tail + data)[-TAIL:]
        return True

    @staticmethod
    def _forward(data: bytes, to: IO[str]) -> None:
        if data:
            to.write(data.decode(errors="replace"))
            to.flush()

    def _close_pipe(self, fd: int) -> None:
        pipe, forwarded = self._pipes.pop(fd)
        if forwarded is not None:
            self._forward(self._lines.pop(fd, b""), forwarded)
        if self._lead is not None:
            self._lead.unregister(fd)
        pipe.close()
