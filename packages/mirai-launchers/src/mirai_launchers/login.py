"""Log in to an ssh server as ssh(1) would: configuration, agent, keys, known hosts, jumps; and say why not.

`asyncssh` takes 0.2 s to import: import this where somebody is to log in.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import weakref
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncssh

from mirai_launchers import proxy, shell
from mirai_launchers.addresses import Remote

if TYPE_CHECKING:
    from collections.abc import Sequence

KEEPALIVE = 5.0  # seconds without a word after which a server is asked whether it is there
UNANSWERED = 2  # times, and with the next one it is gone
AT_ONCE = 8  # logins under way at one server: from the tenth on OpenSSH drops some at random (MaxStartups)
AGAIN = 0.25  # seconds until a server that dropped us is asked again, at first

_GLOBAL = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
_USER = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
_KEYS = tuple(f"~/.ssh/id_{kind}" for kind in ("ed25519", "ecdsa", "rsa", "ed25519_sk", "ecdsa_sk"))  # ssh(1)

_turns: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, asyncio.Semaphore]] = weakref.WeakKeyDictionary()


class Refused(OSError):
    """Nobody could log in, and what to do about it."""


class Place(NamedTuple):
    """An ssh server, and how to log in to it.

    Attributes:
        config: a file to read instead of the user's own configuration of ssh.
        timeout: seconds for one login, from the first packet on.
    """

    remote: Remote
    config: str | None
    timeout: float


async def login(place: Place) -> asyncssh.SSHClientConnection:
    """Connect and log in; through other servers where the configuration says so (ProxyJump).

    Raises:
        Refused: says which server, why, and what to do.
    """
    return await _login(place, None)


class _Client(asyncssh.SSHClient):
    """Remembers the host key that was not trusted."""

    key: asyncssh.SSHKey | None = None

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        self.key = key
        return False


async def _login(place: Place, via: asyncssh.SSHClientConnection | None) -> asyncssh.SSHClientConnection:
    remote = place.remote
    settings: dict[str, Any] = {"host": remote.host, "config": place.config or (), "client_factory": _Client}
    if remote.user is not None:
        settings["username"] = remote.user
    if remote.port is not None:
        settings["port"] = remote.port
    try:
        # Once without keys, to see which of the files there are: asyncssh takes exception to those that are not.
        options = await asyncssh.SSHClientConnectionOptions.construct(**settings, client_keys=None)
        settings["known_hosts"] = _known_hosts(options)
        settings |= {"client_keys": _key_files(options), "ignore_encrypted": True}
        options = await asyncssh.SSHClientConnectionOptions.construct(**settings)
    except (asyncssh.Error, OSError, ValueError) as error:
        raise Refused(f"cannot log in to {remote}: {error}: correct the configuration of ssh, or the key") from error
    if via is None and isinstance(options.tunnel, str):
        for hop in options.tunnel.split(","):
            via = await _login(place._replace(remote=_hop(hop)), via)
    settings |= {"tunnel": via, "connect_timeout": place.timeout, "login_timeout": place.timeout}
    settings |= {"keepalive_interval": KEEPALIVE, "keepalive_count_max": UNANSWERED}
    try:
        async with _turn(f"{options.host}:{options.port}"):
            connection = await _attempts(place, options, settings)
    except BaseException:
        if via is not None:
            via.abort()
            await via.wait_closed()
        raise
    if via is not None:
        _through(connection, via)
    return connection


def _hop(text: str) -> Remote:
    """One word of ProxyJump: `[user@]host[:port]`, or an ssh:// address."""
    user, _, place = text.strip().removeprefix("ssh://").rpartition("@")
    host, _, port = place.rpartition(":") if not place.endswith("]") and ":" in place else (place, "", "")
    return Remote(host.strip("[]"), user or None, int(port) if port else None)


def _through(connection: asyncssh.SSHClientConnection, tunnel: asyncssh.SSHClientConnection | proxy.Proxy) -> None:
    """Have the connection close, with itself, what it goes through."""
    connection.set_tunnel(tunnel)
    if connection.is_closed():
        tunnel.close()


def _turn(server: str) -> asyncio.Semaphore:
    turns = _turns.setdefault(asyncio.get_running_loop(), {})
    return turns.setdefault(server, asyncio.Semaphore(AT_ONCE))


async def _attempts(
    place: Place, options: asyncssh.SSHClientConnectionOptions, settings: dict[str, Any]
) -> asyncssh.SSHClientConnection:
    loop = asyncio.get_running_loop()
    deadline, pause = loop.time() + place.timeout, AGAIN
    while True:
        clients: list[_Client] = []

        def client(clients: list[_Client] = clients) -> _Client:
            clients.append(_Client())
            return clients[-1]

        try:
            return await _connect(options, settings | {"client_factory": client})
        except (asyncssh.Error, OSError, ValueError) as error:
            # Dropped before it said who it is: too many log in just now. Its turn comes, unless it has none.
            if not _is_dropped(error) or loop.time() + pause > deadline:
                key = clients[-1].key if clients else None
                why = "; ".join([await _why(error, place, options, key), *getattr(error, "__notes__", ())])
                raise Refused(f"cannot log in to {place.remote}: {why}") from error
        await asyncio.sleep(pause * random.uniform(0.5, 1.5))
        pause *= 2


async def _connect(
    options: asyncssh.SSHClientConnectionOptions, settings: dict[str, Any]
) -> asyncssh.SSHClientConnection:
    command = options.config.get("ProxyCommand") if settings["tunnel"] is None else None
    if command is None:
        return await asyncssh.connect(**settings)
    way = await proxy.start(str(command))
    try:
        connection = await asyncssh.connect(**settings, sock=way.socket)
    except BaseException as error:
        way.socket.close()
        way.close()
        await way.wait_closed()
        said = f"{command!r} (ProxyCommand) said: {way.said}"
        if way.status in (shell.NOT_FOUND, shell.NOT_EXECUTABLE):
            raise OSError(f"{said}: install it, or correct the configuration of ssh") from error
        if way.said:
            error.add_note(said)
        raise
    _through(connection, way)
    return connection


def _is_dropped(error: Exception) -> bool:
    return isinstance(error, (ConnectionResetError, asyncssh.ConnectionLost))


async def _why(
    error: Exception, place: Place, options: asyncssh.SSHClientConnectionOptions, key: asyncssh.SSHKey | None
) -> str:
    """What went wrong, and what to do about it."""
    again = _ssh(place)
    where = f"{options.host} port {options.port}"
    match error:
        case asyncssh.HostKeyNotVerifiable() if key is not None:
            print_ = f"{key.get_algorithm()} {key.get_fingerprint()}"
            if not _keys(options):
                return (
                    f"its host key is not known ({print_}): if it is the one that its administrator tells, "
                    f"accept it by `{again}`"
                )
            name = options.host if options.port == 22 else f"[{options.host}]:{options.port}"
            file = next(iter(_files(options)), "")
            return (
                f"its host key has changed (now {print_}), somebody else may answer there: if its administrator "
                f"changed it, `ssh-keygen -R '{name}' -f {file}`, and accept the new one by `{again}`"
            )
        case asyncssh.PermissionDenied():
            tried = await _tried(options)
            return (
                f"user {options.username!r} is refused by {where}; keys tried: {tried}: add one of them to "
                f"authorized_keys there, or name the right one (IdentityFile in ~/.ssh/config, ssh-add); "
                f"what works with `{again} -o BatchMode=yes` works here"
            )
        case asyncssh.KeyExchangeFailed():
            return f"{where} and we have no algorithm in common, or its kind of host key has changed: {error.reason}"
        case TimeoutError() | asyncio.TimeoutError():
            return f"{where} did not answer within {place.timeout:g} s: see that it is up, or give a longer timeout"
        case socket.gaierror():
            return f"there is no host {options.host!r} ({error.strerror}): correct its name"
        case asyncssh.ConnectionLost() | ConnectionResetError():
            return f"{where} closed the connection during {place.timeout:g} s of attempts: {error}"
        case ConnectionRefusedError():
            return f"nothing listens at {where}: see that sshd runs there, or correct the port"
        case asyncssh.DisconnectError() if "authentication failures" in error.reason:
            return (
                f"{where} counts too many keys ({await _tried(options)}): name the right one in ~/.ssh/config "
                "(IdentityFile, and IdentitiesOnly yes)"
            )
        case asyncssh.ChannelOpenError():
            return f"the server before it does not lead to {where}: {error.reason}: see ProxyJump"
        case OSError():
            return f"{where}: {error.strerror or error}"
    return f"{where}: {error}: see what `{again}` says"


def _ssh(place: Place) -> str:
    """The same login by ssh(1)."""
    host, user, port = place.remote
    words = ["ssh", *(["-F", place.config] if place.config else []), *(["-p", str(port)] if port else [])]
    return " ".join([*words, f"{user}@{host}" if user else host, "true"])


async def _tried(options: asyncssh.SSHClientConnectionOptions) -> str:
    names = []
    for file in _key_files(options):
        try:
            names.append(f"{_name(asyncssh.read_private_key(file).get_comment())} ({file})")
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError):
            if not file.endswith(".pub"):
                names.append(f"not {file}, which has a passphrase (`ssh-add {file}` asks for it)")
        except OSError:
            pass  # it has gone just now
    with suppress(OSError, ValueError, asyncssh.Error):
        agent = await asyncssh.connect_agent(options.agent_path)
        if agent is not None:
            async with agent:
                keys = await agent.get_keys(options.agent_identities)
            names += [f"{_name(key.get_comment())} of the agent" for key in keys]
    return ", ".join(names) or "none (there is none in ~/.ssh, nor an agent)"


def _name(comment: bytes | str | None) -> str:
    return comment.decode(errors="replace") if isinstance(comment, bytes) else comment or "one without a name"


def _files(options: asyncssh.SSHClientConnectionOptions) -> list[Path]:
    """The files of known hosts that are there, the user's first: ssh_config(5)."""
    named: list[Sequence[str]] = []
    for setting, default in (("UserKnownHostsFile", _USER), ("GlobalKnownHostsFile", _GLOBAL)):
        value = options.config.get(setting, default)
        named.append(value if isinstance(value, list | tuple) else [str(value)])
    paths = [Path(os.path.expanduser(name)) for names in named for name in names]
    return [path for path in paths if path.is_file() and os.access(path, os.R_OK)]


def _key_files(options: asyncssh.SSHClientConnectionOptions) -> list[str]:
    """Those that are there: of those that the configuration names, or else of the usual ones."""
    named = options.config.get("IdentityFile", _KEYS)
    assert isinstance(named, list | tuple), "it may stand there several times"
    paths = [os.path.expanduser(str(name)) for name in named]
    # A public key names one of the agent, where only those named are to be tried.
    only = options.config.get("IdentitiesOnly", False)
    return [path for path in paths if os.access(path, os.R_OK) and (only or not path.endswith(".pub"))]


def _known_hosts(options: asyncssh.SSHClientConnectionOptions) -> Any:
    # Not asyncssh's own choice: it trusts every server where the user names no file (`UserKnownHostsFile none`).
    return asyncssh.read_known_hosts([str(path) for path in _files(options)])


def _keys(options: asyncssh.SSHClientConnectionOptions) -> Sequence[Any]:
    """The host keys that are trusted for this server's name."""
    host = options.host_key_alias or options.host
    port = options.port if options.port != 22 else None
    return asyncssh.match_known_hosts(_known_hosts(options), host, "", port)[0]
