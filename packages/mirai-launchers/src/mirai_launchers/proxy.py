"""A command that leads to an ssh server, for networks with ways of their own: ProxyCommand in ssh_config(5).

Not left to `asyncssh`, which knows no shell, takes for the server's words what the command says on its standard error,
and may be through before the command has ended.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import tempfile
import weakref
from contextlib import suppress
from typing import IO

from mirai_launchers import shell

GRACE = 1.0  # seconds between asking it to end and ending it

_running: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, set[Proxy]] = weakref.WeakKeyDictionary()


async def start(command: str) -> Proxy:
    """Run a command as ssh(1) does: by the user's shell, in whose place it comes, its standard input and output ours.

    Raises:
        OSError: there is no such shell.
    """
    ours, theirs = socket.socketpair()
    log = tempfile.TemporaryFile()  # noqa: SIM115 (`Proxy` closes it)
    try:
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(os.environ.get("SHELL") or "/bin/sh", "-c", f"exec {command}"),
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=log,
                start_new_session=True,  # a Ctrl-C in the host's terminal is for the host
            )
    except BaseException:
        ours.close()
        log.close()
        raise
    return Proxy(process, ours, log)


async def end_all() -> None:
    """End those of this event loop, which does not close before they are reaped."""
    proxies = list(_running.get(asyncio.get_running_loop(), ()))
    for proxy in proxies:
        proxy.close()
    await asyncio.gather(*(proxy.wait_closed() for proxy in proxies))


class Proxy:
    """The command, while it runs: a tunnel as `asyncssh` closes it with what goes through it.

    Attributes:
        socket: our end, which is closed by whoever takes it.
        said: the end of what it said on its standard error, once it has ended.
    """

    def __init__(self, process: asyncio.subprocess.Process, ours: socket.socket, log: IO[bytes]) -> None:
        """It has just been started."""
        self.socket = ours
        self.said = ""
        self._process, self._log = process, log
        self._end: asyncio.Task[None] | None = None
        self._over = asyncio.Event()
        self._others = _running.setdefault(asyncio.get_running_loop(), set())
        self._others.add(self)

    @property
    def status(self) -> int | None:
        """With which it ended; negative, and a signal's, where it was made to."""
        return self._process.returncode

    def close(self) -> None:
        """Have it end, without waiting for that."""
        if self._end is None:
            self._end = asyncio.ensure_future(self._ended())

    async def wait_closed(self) -> None:
        """Wait until it was told to end, and is reaped."""
        await self._over.wait()

    async def _ended(self) -> None:
        for number in (signal.SIGHUP, signal.SIGKILL):
            if self.status is None:
                with suppress(ProcessLookupError):
                    os.killpg(self._process.pid, number)
            with suppress(TimeoutError):
                async with asyncio.timeout(GRACE):
                    await self._process.wait()
        await self._process.wait()
        self.said = shell.tail(self._log)
        self._log.close()
        self._others.discard(self)
        self._over.set()
