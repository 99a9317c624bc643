"""Daemons over TLS: with nothing said, with certificates of one's own, and with such as do not hold."""

from __future__ import annotations

import datetime
import logging
import socket

import pytest

from mirai import collect_mirai, daemons, daemons_set, info, launch_remote, mirai, status
from mirai.hookspecs import LaunchCommand
from tests.core import tasks
from tests.core.api.test_network import by_hand, connected, end
from tests.core.transport.certificates import DAY, NOW, authority
from tests.waiting import wait_until

__all__ = ["by_hand"]

DEADLINE = 20  # seconds; what takes longer hangs
TLS = "tls+tcp://127.0.0.1:0"


def changed(command, url=None, tlscert=None):
    """The command with another URL, or another certificate (or none: an empty text)."""
    argv = list(command.argv)
    argv[4] = url or argv[4]
    if tlscert is not None:
        del argv[argv.index("--tlscert") : argv.index("--tlscert") + 2]
        argv += ["--tlscert", tlscert] if tlscert else []
    return LaunchCommand(tuple(argv), command.env)


def test_with_nothing_said_a_certificate_is_made(by_hand):
    """The key stays in the host; the daemon accepts no other certificate."""
    with daemons(1, url=TLS):
        command = launch_remote()[0]
        by_hand(command)
        connected(2)
        assert "--tlscert" in command.argv
        assert "PRIVATE" not in str(command)
        assert collect_mirai([mirai(tasks.double, i) for i in range(20)]) == [2 * i for i in range(20)]


def test_large_things_go_over_tls():
    """Record by record, both ways."""
    data = bytes(range(256)) * 100_000
    with daemons(1, url=TLS):
        assert mirai(lambda x: x + x, data).result(DEADLINE) == data + data


@pytest.fixture(scope="module")
def ca():
    return authority()


def test_a_certificate_of_ones_own(by_hand, ca, tmp_path):
    """With the chain that it was issued by; the daemon may check it by the root."""
    issued = ca.issue("Department", is_authority=True).issue("localhost", "127.0.0.1")
    file = tmp_path / "host.pem"
    file.write_text(issued.chain + issued.key_pem())
    root = tmp_path / "root.pem"
    root.write_text(ca.pem)
    with daemons(1, url=TLS, tls=str(file)):
        by_hand(launch_remote(tlscert=str(root))[0])
        connected(2)


def test_a_key_that_is_encrypted(ca):
    """The password is asked for at the call, and is nowhere else."""
    issued = ca.issue("127.0.0.1")
    given = issued.chain, issued.key_pem(b"open sesame")

    with daemons(1, url=TLS, tls=given, password=lambda: "open sesame"):
        assert mirai(tasks.double, 2).result(DEADLINE) == 4

    for password in (None, lambda: "wrong"):
        with pytest.raises(ValueError, match="password"):
            daemons(1, url=TLS, tls=given, password=password)
        assert not daemons_set()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"url": "tcp://127.0.0.1:0", "tls": "x"}, "tls= is for addresses with TLS"),
        ({"url": "tcp://127.0.0.1:0", "password": str}, "password= is for addresses with TLS"),
        ({"n": 2, "tls": "x"}, "tls= is for addresses with TLS"),
        ({"url": TLS, "tls": "/no/such/file"}, "/no/such/file"),
        ({"url": TLS, "tls": "-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----"}, "tls="),
    ],
)
def test_a_certificate_that_is_none_is_an_error_at_the_call(two, arguments, said):
    """And the daemons that were set before serve on."""
    with pytest.raises((OSError, ValueError), match=said):
        daemons(**arguments)

    assert info().connections == 2


def wrong(ca, kind):
    """A host's certificate that does not hold, and what the daemon says of it."""
    if kind == "expired":
        return ca.issue("127.0.0.1", begin=NOW - 2 * DAY, end=NOW - datetime.timedelta(hours=1)), "expired"
    if kind == "early":
        return ca.issue("127.0.0.1", begin=NOW + DAY, end=NOW + 2 * DAY), "not valid yet"
    if kind == "name":
        return ca.issue("elsewhere.example"), "not made out to"
    return authority("Another Authority").issue("127.0.0.1"), "not that of tlscert"


@pytest.mark.parametrize("kind", ["expired", "early", "name", "authority"])
def test_a_certificate_that_does_not_hold(by_hand, caplog, ca, kind):
    """Both sides say why, once; the host serves on, and the daemon does not try for ever."""
    caplog.set_level(logging.WARNING, "mirai")
    issued, reason = wrong(ca, kind)
    with daemons(url=TLS, tls=(issued.chain, issued.key_pem())):
        command = changed(launch_remote(asyncdial=True)[0], tlscert=ca.pem)

        code, errors = end(by_hand(command))

        assert code == 10
        assert reason in errors
        assert len(errors.splitlines()) == 1
        wait_until(lambda: "the daemon refuses the host's certificate" in caplog.text, lambda: f"a log: {caplog.text}")
        assert status().refused == len(caplog.records) == 1
        if kind in ("name", "authority"):
            by_hand(launch_remote()[0])
            assert mirai(tasks.double, 2).result(DEADLINE) == 4


def test_another_hosts_certificate(by_hand, caplog):
    """The daemon was given that of a session that is over."""
    caplog.set_level(logging.WARNING, "mirai")
    with daemons(url=TLS, compute="other"):
        other = launch_remote(compute="other")[0]
    with daemons(url=TLS):
        code, errors = end(by_hand(changed(other, url=status().url)))

        assert code == 10
        assert "not that of tlscert" in errors
        wait_until(lambda: caplog.records, "it to be logged")


@pytest.mark.parametrize(
    ("listening", "dialled", "said"), [(TLS, "tcp", "TLS"), ("tcp://127.0.0.1:0", "tls+tcp", "but TLS")]
)
def test_plain_and_tls_do_not_understand_each_other(by_hand, caplog, listening, dialled, said):
    """Both sides say so; neither hangs."""
    caplog.set_level(logging.WARNING, "mirai")
    with daemons(url=listening):
        command = launch_remote()[0]
        url = f"{dialled}://{command.argv[4].partition('://')[2]}"

        code, errors = end(by_hand(changed(command, url, "" if "--tlscert" in command.argv else None)))

        assert code == 10
        assert errors.startswith("mirai daemon: ")
        assert len(errors.splitlines()) == 1
        wait_until(lambda: said in caplog.text, lambda: f"a log: {caplog.text}")
        by_hand(launch_remote()[0])
        assert mirai(tasks.double, 2).result(DEADLINE) == 4


def test_noise_at_a_tls_port_disturbs_nobody(caplog):
    """A port scanner, or half of a handshake."""
    caplog.set_level(logging.WARNING, "mirai")
    with daemons(1, url=TLS):
        place, port = status().url.removeprefix("tls+tcp://").rsplit(":", 1)
        for said in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", bytes(1000), b""):
            with socket.create_connection((place, int(port))) as stranger:
                stranger.sendall(said)
        assert mirai(tasks.double, 2).result(DEADLINE) == 4
        wait_until(lambda: status().refused >= 2, lambda: f"them to be counted: {status()}")
