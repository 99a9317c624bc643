"""Addresses of ssh servers, and those of the host that a tunnel can carry."""

from __future__ import annotations

import pytest

from mirai_launchers.addresses import Remote, carried, other_end, parse


@pytest.mark.parametrize(
    ("url", "remote"),
    [
        ("ssh://alpha", Remote("alpha")),
        ("ssh://alpha/", Remote("alpha")),
        ("ssh://ada@alpha:2222", Remote("alpha", "ada", 2222)),
        ("ssh://a.b-c@alpha.example.org", Remote("alpha.example.org", "a.b-c")),
        ("ssh://ada@[::1]:22", Remote("::1", "ada", 22)),
        ("ssh://[fe80::1%eth0]", Remote("fe80::1%eth0")),
    ],
)
def test_an_address_has_a_host_and_may_have_more(url, remote):
    """What it does not say, the user's configuration does."""
    assert parse(url) == remote


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("alpha", "'alpha' is no address of an ssh server: write ssh://"),
        ("tcp://alpha:22", "no address of an ssh server"),
        ("ssh://", "no valid host"),
        ("ssh://@alpha", "no valid user"),
        ("ssh://-oProxyCommand=reboot", "no valid host"),
        ("ssh://-l@alpha", "no valid user"),
        ("ssh://alpha:0", "port 0"),
        ("ssh://alpha:65536", "port 65536"),
        ("ssh://alpha:ssh", "malformed"),
        ("ssh://alpha/home", "malformed"),
        ("ssh://::1", "malformed"),
        ("ssh://al pha", "malformed"),
    ],
)
def test_a_malformed_address_says_what_is_wrong(url, said):
    """Before anybody is connected to."""
    with pytest.raises(ValueError, match=said):
        parse(url)


def test_a_password_in_an_address_is_refused_and_not_repeated():
    """It would stand in files and logs."""
    with pytest.raises(ValueError, match="take it out") as refused:
        parse("ssh://ada:sesame@alpha")

    assert "sesame" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "leads_to", "there"),
    [
        ("tcp://127.0.0.1:5555", ("127.0.0.1", 5555), "tcp://127.0.0.1:40000"),
        ("tls+tcp://localhost:5555", ("localhost", 5555), "tls+tcp://localhost:40000"),
        ("tcp://[::1]:5555", ("::1", 5555), "tcp://[::1]:40000"),
        ("wss://127.0.0.1:5555/mirai", ("127.0.0.1", 5555), "wss://127.0.0.1:40000/mirai"),
    ],
)
def test_a_tunnel_has_a_port_of_its_own_at_the_other_end(url, leads_to, there):
    """Ours may be taken there."""
    assert carried(url) == leads_to
    assert other_end(url, 40000) == there


@pytest.mark.parametrize("url", ["tcp://10.0.0.1:5555", "tcp://0.0.0.0:5555", "ipc:///tmp/host", "tcp://alpha:1", ""])
def test_a_tunnel_leads_to_the_hosts_own_loopback_only(url):
    """What listens elsewhere needs none, and would be reached by others beside it."""
    with pytest.raises(ValueError, match=r"loopback.*127\.0\.0\.1:0"):
        carried(url)
