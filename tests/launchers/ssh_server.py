"""A stand-in for sshd, a process of its own: commands run on this machine, ports are forwarded, faults are to order."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncssh

CONFIG = """
Host box
  HostName 127.0.0.1
  Port {port}
  IdentityFile {home}/id
  {more}
"""


class Server:
    """One that lets in who has the key in `home`, and whose host key is known there.

    Attributes:
        port: where it listens, on the loopback.
        key: its host key.
        anywhere: a client's configuration that does for those who have another home.
    """

    def __init__(self, home: Path) -> None:
        """Make its key."""
        self.home = home
        self.anywhere = home / "anywhere"
        self.key = asyncssh.generate_private_key("ssh-ed25519")
        self._client = asyncssh.generate_private_key("ssh-ed25519")
        home.mkdir(mode=0o700)
        self.key.write_private_key(home / "host_key")
        self.let_in(self._client)

    def __enter__(self) -> Server:
        words = [sys.executable, "-m", "tests.launchers.ssh_server", self.home]
        root = Path(__file__).parents[2]
        self._process = subprocess.Popen(words, cwd=root, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.reset()
        return self

    def reset(self) -> None:
        """Write the client's configuration, key and known hosts anew, order no faults, forget the log."""
        (self.home / "config").write_text(CONFIG.format(port=self.port, home="~/.ssh", more=""))
        more = f"UserKnownHostsFile {self.home}/known_hosts"
        self.anywhere.write_text(CONFIG.format(port=self.port, home=self.home, more=more))
        (self.home / "id").unlink(missing_ok=True)
        self._client.write_private_key(self.home / "id")
        (self.home / "id").chmod(0o600)
        self.let_in(self._client)
        self.know(self.key)
        self.order()
        (self.home / "log").write_text("")

    def __exit__(self, *_: object) -> None:
        self.cut()

    def order(self, *, drops: int = 0, sessions: bool = True, forwarding: bool = True) -> None:
        """Order faults.

        Args:
            drops: so many connections from now on, before they say anything: what too many logins at once get.
            sessions, forwarding: what is allowed.
        """
        faults = {"drops": drops, "sessions": sessions, "forwarding": forwarding}
        (self.home / "faults").write_text(json.dumps(faults))

    def let_in(self, key: asyncssh.SSHKey) -> None:
        """Let in who has this key, and nobody else."""
        (self.home / "authorized_keys").write_bytes(key.export_public_key())

    def know(self, key: asyncssh.SSHKey) -> None:
        """Have this host key, and no other, in the client's known hosts."""
        line = key.export_public_key().decode()
        (self.home / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {line}")

    def configure(self, lines: str) -> None:
        """Add lines to the client's configuration, for all hosts if they name none."""
        with (self.home / "config").open("a") as file:
            file.write(f"\nHost *\n{lines}\n")

    def freeze(self) -> None:
        """Answer no more, and close nothing: a network that has gone."""
        self._process.send_signal(signal.SIGSTOP)

    def cut(self) -> None:
        """End, with all connections."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    @property
    def logins(self) -> int:
        """Those that succeeded."""
        return len(self._log("login"))

    @property
    def commands(self) -> list[str]:
        """What was run."""
        return self._log("command")

    def _log(self, kind: str) -> list[str]:
        rows = map(json.loads, (self.home / "log").read_text().splitlines())
        return [row[1] for row in rows if row[0] == kind]


class _Login(asyncssh.SSHServer):
    def __init__(self, home: Path) -> None:
        self._home = home

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        faults = self._faults
        if faults["drops"]:
            (self._home / "faults").write_text(json.dumps(faults | {"drops": faults["drops"] - 1}))
            conn.abort()

    def auth_completed(self) -> None:
        _note(self._home, "login", "")

    def session_requested(self) -> Any:
        async def run(process: asyncssh.SSHServerProcess[bytes]) -> None:
            _note(self._home, "command", process.command)
            await _run(process)

        return asyncssh.SSHServerProcess(run, None, 3, False) if self._faults["sessions"] else False

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        return True

    def server_requested(self, listen_host: str, listen_port: int) -> bool:
        return self._faults["forwarding"]

    @property
    def _faults(self) -> Any:
        return json.loads((self._home / "faults").read_text())


async def _serve(home: Path) -> None:
    acceptor = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=lambda: _Login(home),
        server_host_keys=[str(home / "host_key")],
        authorized_client_keys=str(home / "authorized_keys"),
        encoding=None,
    )
    print(acceptor.get_port(), flush=True)
    await acceptor.wait_closed()


async def _run(process: asyncssh.SSHServerProcess[bytes]) -> None:
    child = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", process.command or ":", stdin=-1, stdout=-1, stderr=-1, start_new_session=True
    )
    # Not awaited: as with sshd, the command may not read what it is sent.
    feed = asyncio.ensure_future(_pump(process.stdin, child.stdin))
    await asyncio.gather(_pump(child.stdout, process.stdout), _pump(child.stderr, process.stderr), child.wait())
    feed.cancel()
    process.exit(child.returncode)


async def _pump(source: Any, target: Any) -> None:
    with contextlib.suppress(asyncssh.Error, OSError):
        while chunk := await source.read(65536):
            target.write(chunk)
    if isinstance(target, asyncio.StreamWriter):
        target.close()


def _note(home: Path, *row: str | None) -> None:
    with (home / "log").open("a") as file:
        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
