"""One ssh connection to each server, whatever the number of daemons: a supervisor at its end starts them.

OpenSSH allows ten sessions to a connection (MaxSessions), and ten connections that are logging in (MaxStartups): one
of each does for any number of daemons. All of it runs in one thread, with an event loop of its own, which begins with
the first launch and ends with the last.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import os
import selectors
import threading
import warnings
from contextlib import suppress
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncssh

from mirai.hookspecs import LaunchCommand
from mirai_launchers import addresses, login, proxy, shell, supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

log = logging.getLogger("mirai")

BEAT = 60.0  # seconds between two signs of life to a supervisor, which waits supervisor.SILENCE for one
START = 60.0  # seconds that a remote Python has to start: its files may be on a slow network
CLOSE = 3.0  # seconds that a connection has to close
BOUND = supervisor.GRACE + login.KEEPALIVE * (login.UNANSWERED + 1)  # seconds until a process, or its connection, ended
RUNNING = "running"

# For whatever Python is there; and a login shell may know no quotation but single marks, without ! and \ in them.
_BOOT = (
    'import sys; sys.version_info < (3, 11) and sys.exit("Python %s is too old" % sys.version.split()[0]); '
    'sys.path[:1] == [""] and sys.path.pop(0); exec(sys.stdin.readline())'
)


class Order(NamedTuple):
    """A daemon to start.

    Attributes:
        argv: the words after the interpreter.
        url: the word of `argv` that is the host's.
        tunnel: where the other end of a tunnel for it leads, None to do without one.
        stays: whether the daemon decides itself when to leave once its host is gone.
    """

    place: login.Place
    python: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    url: str
    tunnel: tuple[str, int] | None
    stays: bool


def launch(orders: Sequence[Order]) -> list[Daemon]:
    """Start daemons, without waiting for any of them."""
    global _hub
    with _lock:
        if _hub is None:
            _hub = _Hub()
        hub = _hub
        hub.launches += len(orders)
    daemons = [Daemon(hub, order) for order in orders]
    hub.call(hub.start, daemons)
    return daemons


class Daemon:
    """A daemon on an ssh server: a `mirai.hookspecs.Launch`."""

    def __init__(self, hub: _Hub, order: Order) -> None:
        """Nothing is started yet."""
        self.order = order
        self.pid: int | None = None
        self.session: _Session | None = None
        self.is_ordered = False
        self._hub = hub
        self._state = "connecting"
        self._failure: str | None = None
        self._is_cancelled = False
        self._over = threading.Event()

    @property
    def id(self) -> str:
        """The server, and the process id there once it is known."""
        remote = str(self.order.place.remote)
        return remote if self.pid is None else f"{remote} pid {self.pid}"

    def state(self) -> str:
        return self._state

    def failure(self) -> str | None:
        return self._failure

    def is_running(self) -> bool:
        """Whether its supervisor said that it began, and nobody that it ended, or that the connection did."""
        return self._state == RUNNING

    def cancel(self) -> None:
        self._is_cancelled = True
        self._hub.call(self._hub.end, self)
        self._over.wait(BOUND)
        self._hub.wait_if_ending()

    # In the hub's thread

    @property
    def is_over(self) -> bool:
        return self._over.is_set()

    def proceed(self, state: str) -> None:
        if not self.is_over:
            self._state = state

    def finish(self, state: str, failure: str | None) -> None:
        """It has ended, or nobody can know any more."""
        if self.is_over:
            return
        self._state = state
        if failure is not None and not self._is_cancelled:
            self._failure = failure
            log.info("%s: %s", self.id, failure)
        self._hub.launch_ended()  # first: who waits for this looks then whether the hub ends
        self._over.set()


class _Hub:
    """The thread, and the sessions that it drives."""

    def __init__(self) -> None:
        self.launches = 0  # those that are not over; guarded by _lock
        self.selector = selectors.DefaultSelector()
        self._sessions: dict[tuple[login.Place, str], _Session] = {}
        self._closing: list[_Session] = []  # whose successors have their places
        self._loop = asyncio.SelectorEventLoop(self.selector)
        self._thread = threading.Thread(target=self._run, name="mirai-ssh", daemon=True)
        self._thread.start()

    def call(self, function: Callable[..., None], *args: Any) -> None:
        """Have the thread call a function, if it still runs."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *args)

    def start(self, daemons: Sequence[Daemon]) -> None:
        for daemon in daemons:
            key = (daemon.order.place, daemon.order.python)
            session = self._sessions.get(key)
            if session is None or session.is_closing:
                if session is not None:
                    self._closing = [old for old in (*self._closing, session) if not old.is_closed]
                session = self._sessions[key] = _Session(*key)
            session.add(daemon)

    def end(self, daemon: Daemon) -> None:
        if daemon.session is not None:
            daemon.session.end(daemon)

    def launch_ended(self) -> None:
        global _hub
        with _lock:
            self.launches -= 1
            if self.launches:
                return
            if _hub is self:
                _hub = None
        self._loop.call_soon(self._loop.stop)

    def wait_if_ending(self) -> None:
        with _lock:
            is_ending = not self.launches
        if is_ending:
            self._thread.join(BOUND)

    def _run(self) -> None:
        loop = self._loop
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            loop.run_until_complete(self._close())
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            asyncio.set_event_loop(None)
            loop.close()

    async def _close(self) -> None:
        sessions = [*self._sessions.values(), *self._closing]
        await asyncio.gather(*(session.close() for session in sessions), return_exceptions=True)
        await proxy.end_all()


class _Session:
    """One connection to one server, and the supervisor of its daemons. Lives in the hub's thread."""

    def __init__(self, place: login.Place, python: str) -> None:
        self.is_closing = False
        self._place, self._python = place, python
        self._daemons: dict[int, Daemon] = {}
        self._last = 0
        self._connection: asyncssh.SSHClientConnection | None = None
        self._process: asyncssh.SSHClientProcess[str] | None = None
        self._tunnels: dict[tuple[str, int], asyncio.Task[asyncssh.SSHListener]] = {}
        self._said = ""  # what was printed that is no event
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed: asyncio.Task[None] | None = None
        self._opened = self._spawn(self._open())

    def add(self, daemon: Daemon) -> None:
        self._last += 1
        self._daemons[self._last] = daemon
        daemon.session = self
        self._spawn(self._start(self._last, daemon))

    def end(self, daemon: Daemon) -> None:
        for number, other in list(self._daemons.items()):
            if other is daemon and daemon.is_ordered:
                self._order(end=number)
            elif other is daemon:
                self._finish(number, "cancelled", None)

    @property
    def is_closed(self) -> bool:
        return self._closed is not None and self._closed.done()

    def close(self) -> asyncio.Task[None]:
        """Begin to close the connection; the task ends when it is."""
        self.is_closing = True
        if self._closed is None:
            self._closed = asyncio.ensure_future(self._close())
        return self._closed

    # Its tasks

    def _spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, OSError):
            self._break(f"{type(error).__name__}: {error}")  # a fault of ours: nobody is to wait for its end

    async def _open(self) -> None:
        """Log in, and have the supervisor greet us.

        Raises:
            OSError: says why not, and what to do.
        """
        self._connection = await login.login(self._place)
        boot = shell.line(LaunchCommand((self._python, "-c", _BOOT)))
        try:
            self._process = await self._connection.create_process(
                boot, request_pty=False, x11_forwarding=False, encoding="utf-8", errors="replace"
            )
        except asyncssh.Error as error:
            raise login.Refused(f"{self._place.remote} lets us log in, but run nothing: {error.reason}") from error
        with suppress(OSError):  # it may have ended already: why, is seen below
            self._process.stdin.write(f"exec({inspect.getsource(supervisor)!a})\n")
        errors = self._spawn(self._note(self._process.stderr))
        greeting, lost = None, ""
        try:
            async with asyncio.timeout(START):
                greeting = await self._event()
                if greeting is None:
                    await self._process.wait_closed()
                    await errors
        except TimeoutError:
            lost = f"it said nothing for {START:g} s"
        except asyncssh.Error as error:
            lost = f"the connection broke: {error}"
        if greeting is None:
            raise login.Refused(
                _why_no_greeting(self._place, self._python, self._process.exit_status, lost, self._said)
            )
        if not greeting["mirai"]:
            raise login.Refused(
                f"mirai is not installed for {greeting['python']} (Python {greeting['version']}) on "
                f"{self._place.remote}: run there `{greeting['python']} -m pip install mirai-core=="
                f"{version('mirai-core')}`, or name a Python that has it (python=)"
            )
        self._spawn(self._listen())
        self._spawn(self._beat())

    async def _start(self, number: int, daemon: Daemon) -> None:
        order = daemon.order
        try:
            await asyncio.shield(self._opened)
            daemon.proceed("starting")
            argv = list(order.argv)
            if order.tunnel is not None:
                listener = await asyncio.shield(self._tunnel(order.tunnel))
                argv[argv.index(order.url)] = addresses.other_end(order.url, listener.get_port())
        except (OSError, asyncssh.Error) as error:
            return self._finish(number, "failed", str(error))
        if not daemon.is_over:
            daemon.is_ordered = True
            self._order(start=number, argv=argv, env=dict(order.env), stays=order.stays)

    def _tunnel(self, target: tuple[str, int]) -> asyncio.Task[asyncssh.SSHListener]:
        """Have the server listen, at whatever port it likes, for us to connect to `target`."""
        if target not in self._tunnels:
            self._tunnels[target] = self._spawn(self._forward(*target))
        return self._tunnels[target]

    async def _forward(self, host: str, port: int) -> asyncssh.SSHListener:
        assert self._connection is not None, "a tunnel is built in it"
        try:
            return await self._connection.forward_remote_port(host, 0, host, port)
        except asyncssh.ChannelListenError:
            raise login.Refused(
                f"{self._place.remote} refuses to forward a port of its own to us: have its administrator allow it "
                "(AllowTcpForwarding, PermitListen in sshd_config), or do without the tunnel"
            ) from None

    async def _listen(self) -> None:
        """Take what the supervisor says, until it or the connection ends."""
        assert self._process is not None, "it has greeted us"
        try:
            while event := await self._event():
                self._take(event)
            await self._process.wait_closed()
            status = self._process.exit_status
            why = (
                "the server closed it" if status is None else f"its supervisor ended with status {status}: {self._said}"
            )
        except (asyncssh.Error, OSError) as error:
            why = str(error)
        self._break(why)

    def _break(self, why: str) -> None:
        self.is_closing = True
        text = f"the ssh connection to {self._place.remote} broke: {why}"
        if self._daemons:
            log.error(text)
            with suppress(Warning):  # raised here it would end the thread
                warnings.warn(text, RuntimeWarning, stacklevel=2)
        for number in list(self._daemons):
            self._finish(number, "connection lost", text)

    async def _event(self) -> dict[str, Any] | None:
        """The next thing that the supervisor says, None where it says no more."""
        assert self._process is not None, "it is waited for"
        while line := await self._process.stdout.readline():
            if line.startswith("mirai {"):
                event: dict[str, Any] = json.loads(line.removeprefix("mirai "))
                return event
            self._keep(line)
        return None

    def _take(self, event: dict[str, Any]) -> None:
        if number := event.get("started"):
            if daemon := self._daemons.get(number):
                daemon.pid = event["pid"]
                daemon.proceed(RUNNING)
        elif (number := event["ended"]) in self._daemons:
            failure = _why_ended(self._daemons[number].order, event["status"], event["said"])
            self._finish(number, f"ended with status {event['status']}", failure)

    async def _note(self, reader: asyncssh.SSHReader[str]) -> None:
        with suppress(asyncssh.Error, OSError):
            while text := await reader.read(4096):
                self._keep(text)

    def _keep(self, text: str) -> None:
        self._said = (self._said + text)[-shell.TAIL :]

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT)
            self._order()

    def _order(self, **order: Any) -> None:
        if self._process is not None and not self._process.is_closing():
            with suppress(OSError, asyncssh.Error):  # it is lost, which is told elsewhere
                self._process.stdin.write(json.dumps(order) + "\n")

    def _finish(self, number: int, state: str, failure: str | None) -> None:
        daemon = self._daemons.pop(number, None)
        if daemon is None:
            return  # it was told already
        target = daemon.order.tunnel
        if target in self._tunnels and all(other.order.tunnel != target for other in self._daemons.values()):
            # What it led to may soon be somebody else's.
            self._spawn(_end_tunnel(self._tunnels.pop(target)))
        if not self._daemons:
            self.close()
        daemon.finish(state, failure)

    async def _close(self) -> None:
        self._opened.cancel()
        if self._process is not None and not self._process.is_closing():
            with suppress(TimeoutError, asyncssh.Error):
                async with asyncio.timeout(CLOSE):
                    self._process.stdin.write_eof()
                    await self._process.wait_closed()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._connection is not None:
            self._connection.close()
            try:
                async with asyncio.timeout(CLOSE):
                    await self._connection.wait_closed()
            except TimeoutError:
                self._connection.abort()


async def _end_tunnel(forward: asyncio.Task[asyncssh.SSHListener]) -> None:
    with suppress(OSError, asyncssh.Error):
        listener = await forward
        listener.close()
        await listener.wait_closed()


def _why_no_greeting(place: login.Place, python: str, status: int | None, lost: str, said: str) -> str:
    said = f": {said.strip()}" if said.strip() else ""
    if "is too old" in said:
        return f"{python} on {place.remote} is too old{said}: name one that is 3.11 or later (python=)"
    if status in (shell.NOT_FOUND, shell.NOT_EXECUTABLE):
        return f"there is no {python} to run on {place.remote}{said}: name a Python, 3.11 or later, that is (python=)"
    how = lost or (f"it ended with status {status}" if status is not None else "it ended")
    return f"{python} did not begin on {place.remote}: {how}{said}"


def _why_ended(order: Order, status: int, said: str) -> str:
    how = f"ended with status {status}" if status >= 0 else f"was ended by signal {-status}"
    hint = ""
    if "cannot dial: Connection refused" in said and order.tunnel is None and addresses.is_loopback(order.url):
        hint = f"; {order.url} leads to that machine itself: listen at host_url(), or give tunnel=True"
    return f"the daemon on {order.place.remote} {how}" + (f": {said}" if said else "") + hint


_lock = threading.Lock()
_hub: _Hub | None = None
_of_parents: list[_Hub] = []  # kept, since an event loop that is forgotten complains that it was not closed


def _forget() -> None:
    """In a forked child: our connections are the parent's, and must end with it."""
    global _hub, _lock
    _lock = threading.Lock()
    if _hub is not None:
        null = os.open(os.devnull, os.O_RDWR)
        for key in list(_hub.selector.get_map().values()):
            os.dup2(null, key.fd, inheritable=False)
        os.close(null)
        _of_parents.append(_hub)
    _hub = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
