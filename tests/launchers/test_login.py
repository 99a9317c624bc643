"""Logging in as ssh(1) would, and what is said where that fails."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import subprocess

import asyncssh
import psutil
import pytest

from mirai_launchers import login, proxy
from mirai_launchers.addresses import parse
from mirai_launchers.login import Place, Refused


def log_in(url="ssh://box", *, config=None, timeout=10.0, command="echo here"):
    """What a command prints there."""

    async def run():
        connection = await login.login(Place(parse(url), config, timeout))
        async with connection:
            return (await connection.run(command)).stdout.strip()

    return asyncio.run(run())


def refusal(url="ssh://box", **options):
    with pytest.raises(Refused) as refused:
        log_in(url, **options)
    return str(refused.value)


def test_the_users_configuration_says_where_and_how(ssh_server):
    """`Host`, `HostName`, `Port`, `IdentityFile` of ~/.ssh/config."""
    assert log_in() == "here"


def test_the_address_wins_over_the_configuration(ssh_server):
    """As on ssh's command line."""
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(ssh_server.home / "id")
    ssh_server.configure("User eve")

    assert "user 'eve' is refused" in refusal("ssh://box")
    assert "user 'ada' is refused" in refusal("ssh://ada@box")
    assert "nothing listens at 127.0.0.1 port 1:" in refusal("ssh://box:1")


def test_another_configuration_may_be_named(ssh_server, tmp_path):
    """`ssh -F`."""
    config = (ssh_server.home / "config").rename(tmp_path / "other")

    assert log_in(config=str(config)) == "here"
    assert "there is no host 'box'" in refusal()
    assert "No such file" in refusal(config="/no/such/file")


def test_an_unknown_host_key_is_refused_with_the_way_to_accept_it(ssh_server):
    """Nobody is there to be asked; and silence would be an invitation."""
    (ssh_server.home / "known_hosts").unlink()

    said = refusal()

    assert "its host key is not known (ssh-ed25519 SHA256:" in said
    assert "accept it by `ssh box true`" in said
    assert ssh_server.logins == 0


@pytest.mark.parametrize(
    "line", ["UserKnownHostsFile none", "UserKnownHostsFile /dev/null", "StrictHostKeyChecking no"]
)
def test_no_known_hosts_is_not_any_host(ssh_server, line):
    """Asyncssh would trust all where the file is `none`."""
    (ssh_server.home / "known_hosts").unlink()
    ssh_server.configure(f"{line}\nGlobalKnownHostsFile none")

    assert "its host key is not known" in refusal()


def test_a_changed_host_key_is_refused_with_a_warning(ssh_server):
    """Somebody may stand between."""
    ssh_server.know(asyncssh.generate_private_key("ssh-ed25519"))

    said = refusal()

    assert "has changed" in said
    assert f"ssh-keygen -R '[127.0.0.1]:{ssh_server.port}' -f {ssh_server.home}/known_hosts" in said
    assert ssh_server.logins == 0


def test_a_host_key_of_another_kind_is_no_reason_to_trust(ssh_server):
    """The server is asked for the kind that is known."""
    ssh_server.know(asyncssh.generate_private_key("ecdsa-sha2-nistp256"))

    assert "its kind of host key has changed" in refusal()


def test_who_is_refused_is_told_which_keys_were_tried(ssh_server):
    """The usual cause is a key that the client did not find."""
    asyncssh.generate_private_key("ssh-ed25519", comment="ada@laptop").write_private_key(ssh_server.home / "id")

    said = refusal()

    assert "is refused by 127.0.0.1" in said
    assert f"keys tried: ada@laptop ({ssh_server.home}/id): add one of them" in said


def test_without_keys_nothing_can_be_tried(ssh_server):
    """And ~/.ssh is where they would be."""
    (ssh_server.home / "id").unlink()
    config = (ssh_server.home / "config").read_text()
    (ssh_server.home / "config").write_text(config.replace("IdentityFile", "#"))

    assert "keys tried: none" in refusal()


def test_an_identity_file_that_is_not_there_is_passed_over(ssh_server):
    """As ssh(1) does: configurations are shared between machines."""
    config = (ssh_server.home / "config").read_text()
    (ssh_server.home / "config").write_text(f"{config}\n  IdentityFile ~/.ssh/other\n")

    assert log_in() == "here"


@pytest.fixture
def agent(tmp_path, monkeypatch):
    if not shutil.which("ssh-agent"):
        pytest.skip("no ssh-agent here: install openssh-client")
    path = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.PIPE, text=True)
    process.stdout.readline()  # it listens
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    yield
    process.terminate()
    process.wait()
    process.stdout.close()


def test_an_agent_holds_keys(ssh_server, agent):
    """Those that have a passphrase are usable only there."""
    subprocess.run(["ssh-add", "-q", ssh_server.home / "id"], check=True, timeout=10)
    (ssh_server.home / "id").unlink()

    assert log_in() == "here"
    ssh_server.let_in(asyncssh.generate_private_key("ssh-ed25519"))
    assert "of the agent" in refusal()


def test_a_key_with_a_passphrase_is_for_the_agent(ssh_server):
    """Nobody is there to be asked for it."""
    if not shutil.which("ssh-keygen"):
        pytest.skip("no ssh-keygen here: install openssh-client")
    file = ssh_server.home / "id"
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "sesame", "-f", file], check=True, timeout=10, stdout=-3)

    assert f"keys tried: not {file}, which has a passphrase (`ssh-add {file}`" in refusal()


def test_jumps(ssh_server):
    """`ProxyJump`, which is a login of its own."""
    with (ssh_server.home / "config").open("a") as file:
        file.write(
            f"\nHost inner\n  HostName 127.0.0.1\n  Port {ssh_server.port}\n  IdentityFile ~/.ssh/id\n"
            "  ProxyJump box\nHost innermost\n  HostName 127.0.0.1\n"
            f"  Port {ssh_server.port}\n  IdentityFile ~/.ssh/id\n  ProxyJump box,inner\n"
        )

    assert log_in("ssh://inner") == "here"
    assert ssh_server.logins == 2
    assert log_in("ssh://innermost") == "here"
    assert ssh_server.logins == 5


def test_a_jump_that_fails_is_named(ssh_server):
    """It is not in the address."""
    with (ssh_server.home / "config").open("a") as file:
        file.write("\nHost inner\n  ProxyJump nowhere.invalid\n")

    assert refusal("ssh://inner").startswith("cannot log in to nowhere.invalid: there is no host")


def test_a_command_may_lead_there(proxy_command):
    """`ProxyCommand`, for networks with ways of their own: a shell's, whose standard error is not the server's word."""
    process = proxy_command()

    assert log_in() == "here"
    assert not psutil.pid_exists(process())


def test_a_command_is_reaped_where_a_login_fails(ssh_server, proxy_command):
    """An event loop that has been closed complains of its child."""
    (ssh_server.home / "known_hosts").unlink()
    process = proxy_command()

    said = refusal()

    assert not psutil.pid_exists(process())
    assert "its host key is not known" in said
    assert re.search(r"\(ProxyCommand\) said: \d+ bytes for you;", said)


def test_a_command_that_does_not_want_to_end_is_killed(proxy_command, monkeypatch):
    """It holds up nobody for long."""
    monkeypatch.setattr(proxy, "GRACE", 0.05)
    process = proxy_command('trap "" HUP', "sleep 600")

    assert log_in() == "here"
    assert not psutil.pid_exists(process())


def test_a_command_that_cannot_be_run_is_told_at_once(ssh_server):
    """Another attempt finds no more."""
    ssh_server.configure("ProxyCommand no-such-program %h %p")

    said = refusal(timeout=600)

    assert f"'no-such-program 127.0.0.1 {ssh_server.port}' (ProxyCommand) said: " in said
    assert "not found: install it, or correct the configuration of ssh" in said


def test_a_connection_that_is_dropped_is_tried_again(ssh_server):
    """OpenSSH drops some at random where many log in at once (MaxStartups)."""
    ssh_server.order(drops=2)

    assert log_in() == "here"


def test_one_that_is_always_dropped_is_given_up(ssh_server):
    """Within the time for a login."""
    ssh_server.order(drops=10**6)

    assert "closed the connection during 0.5 s of attempts" in refusal(timeout=0.5)


def test_a_server_that_says_nothing_is_given_up(ssh_server):
    """A firewall drops what it does not like."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        said = refusal(f"ssh://box:{silent.getsockname()[1]}", timeout=0.3)

    assert "did not answer within 0.3 s" in said


def test_where_nothing_listens(ssh_server):
    """The port may be wrong, or sshd not run."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    assert f"nothing listens at 127.0.0.1 port {port}" in refusal(f"ssh://box:{port}")


@pytest.mark.parametrize(
    ("host", "name"), [("mirai-ssh", None), ("mirai-remote", "mirai-remote"), ("mirai-inner", "mirai-remote")]
)
def test_real_servers(isolated_sshd, host, name):
    """OpenSSH, by a configuration with keys, known hosts and a jump."""
    assert log_in(f"ssh://{host}", config=isolated_sshd, command="uname -n") == (name or socket.gethostname())


def test_a_key_that_a_real_server_refuses(sshd, tmp_path):
    """OpenSSH says no more than that."""
    from os import environ

    config = tmp_path / "config"
    config.write_text(
        f"Host *\n  IdentityFile {environ['SSHD_REFUSED_KEY']}\n  UserKnownHostsFile {environ['SSHD_KNOWN_HOSTS']}\n"
    )

    said = refusal(f"ssh://{environ['SSHD_USER']}@{environ['SSHD_HOST']}:{environ['SSHD_PORT']}", config=str(config))

    assert f"keys tried: refused ({environ['SSHD_REFUSED_KEY']}): add one of them" in said
