"""Addresses come from users and command lines: what is wrong with one must be said at once."""

from __future__ import annotations

import os
import re
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirai.transport.schemes import dial, listen
from mirai.transport.urls import LONGEST_PATH, SCHEMES, Address, host_url, local_url, parse, remove_local

PORTS = st.integers(0, 65535)
HOSTS = st.one_of(
    st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,20}[A-Za-z0-9])?", fullmatch=True),
    st.ip_addresses().map(str),
)
NAMES = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=LONGEST_PATH // 4)


@given(HOSTS, PORTS)
def test_host_and_port_survive(host, port):
    """What a listener says is what its daemons dial."""
    for scheme in ("tcp", "tls+tcp", "ws", "wss"):
        address = Address(scheme, host, port)

        assert parse(str(address)) == address


@given(HOSTS, PORTS, st.from_regex(r"(/[A-Za-z0-9._~:@!$&'()*+,;=-]*)*", fullmatch=True))
def test_path_survives(host, port, path):
    """Behind one port, several programs may listen."""
    address = Address("wss", host, port, path)

    assert parse(str(address)) == address


@given(st.sampled_from(["ipc", "abstract", "memory"]), NAMES)
def test_name_survives(scheme, name):
    """A path may hold any character but NUL: nothing is unquoted."""
    assert parse(f"{scheme}://{name}") == Address(scheme, name)


@given(st.one_of(st.text(), st.builds("{}://{}".format, st.sampled_from(SCHEMES), st.text())))
def test_anything_is_an_address_or_an_error_that_shows_it(url):
    """A typing error in a configuration file is found by its text."""
    try:
        address = parse(url)
    except ValueError as error:
        shown = str(error)
    else:
        shown = repr(url)
        assert parse(str(address)) == address

    assert repr(url) in shown


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("tcp:/127.0.0.1:5555", "ipc://, abstract://, tcp://, tls+tcp://, ws://, wss://, memory://"),
        ("inproc://name", "ipc://, abstract://, tcp://, tls+tcp://, ws://, wss://, memory://"),
        ("tcp://127.0.0.1", "0 to 65535"),
        ("tcp://127.0.0.1:65536", "0 to 65535"),
        ("tcp://127.0.0.1:" + "9" * 5000, "0 to 65535"),
        ("tcp://127.0.0.1:80/path", "0 to 65535"),
        ("tcp://::1:5555", "brackets"),
        ("tls+tcp://127.0.0.1", "0 to 65535"),
        ("tls+tcp://127.0.0.1:80/path", "0 to 65535"),
        ("tls://127.0.0.1:80", "tls+tcp://"),
        ("ws://127.0.0.1/path", "0 to 65535"),
        ("wss://::1:80/path", "brackets"),
        ("ws://127.0.0.1:80/pa th", "path"),
        ("wss://127.0.0.1:80/path?query", "path"),
        ("tcp://user@host:5555", "host"),
        ("tcp://höst:5555", "ASCII"),
        ("ipc://", "path"),
        ("abstract://", "name"),
        ("ipc:///" + "x" * 120, "local_url()"),
        ("ipc:///a\0b", "path"),
    ],
)
def test_malformed_address_says_what_to_write(url, hint):
    """The next step is part of the error."""
    with pytest.raises(ValueError, match=re.escape(hint)) as caught:
        parse(url)

    assert repr(url) in str(caught.value)


def test_unknown_scheme_is_refused_by_those_who_use_addresses():
    """Both ends say it before they try anything."""
    with pytest.raises(ValueError, match="udp://"):
        listen("udp://127.0.0.1:0")
    with pytest.raises(ValueError, match="udp://"):
        dial("udp://127.0.0.1:1")


def test_ipv6_is_written_in_brackets():
    """As in every URL (RFC 3986), or its port could not be told."""
    assert parse("tcp://[::1]:5555") == Address("tcp", "::1", 5555)
    assert str(Address("tcp", "::1", 5555)) == "tcp://[::1]:5555"


def test_no_host_is_every_interface():
    """`tcp://:5555` is how configuration files say it."""
    assert str(parse("tcp://:5555")) == "tcp://0.0.0.0:5555"


def test_local_address_is_in_a_directory_of_its_own_that_nobody_else_enters():
    """Whoever can enter it can send us work: it stands for a ticket."""
    urls = [local_url(), local_url()]
    directories = [Path(parse(url).place).parent for url in urls]

    assert len(set(directories)) == 2
    for url, directory in zip(urls, directories, strict=True):
        assert directory.name.startswith("mirai-")
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        remove_local(url)
        assert not directory.exists()


def test_local_address_is_short_where_the_temporary_directory_is_not(monkeypatch, tmp_path):
    """Schedulers give each job a long one, and sockets take 108 bytes."""
    long = tmp_path / ("x" * LONGEST_PATH)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))

    url = local_url()

    assert url.startswith("ipc:///tmp/mirai-")
    assert list(long.iterdir()) == []
    listen(url).close()
    remove_local(url)


def test_local_address_over_tcp_is_on_the_loopback_interface():
    """For those whose sandbox forbids socket files."""
    assert local_url(tcp=True) == "tcp://127.0.0.1:0"
    assert local_url(tcp=True, port=5555) == "tcp://127.0.0.1:5555"


def test_removing_takes_the_socket_file_too():
    """A host that was killed could not do it itself."""
    url = local_url()
    path = Path(parse(url).place)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    remove_local(url)
    remove_local(url)

    assert not path.parent.exists()


def test_removing_spares_what_local_url_did_not_make(tmp_path):
    """A user's own socket file stays where it is."""
    path = tmp_path / "socket"
    path.touch()

    remove_local(f"ipc://{path}")
    remove_local("tcp://127.0.0.1:5555")

    assert path.exists()


def test_removing_spares_other_files_in_the_directory():
    """It is ours, but what somebody put there is not."""
    url = local_url()
    other = Path(parse(url).place).with_name("other")
    other.touch()

    remove_local(url)

    assert other.exists()
    other.unlink()
    os.rmdir(other.parent)


def test_an_unused_directory_is_removed_at_the_end_of_the_program_that_made_it():
    """Not by a child that was forked from it, and not what somebody uses."""
    program = """
import os, sys
from mirai.transport.urls import local_url, remove_local
unused, removed, used = local_url(), local_url(), local_url()
remove_local(removed)
open(used.removeprefix("ipc://"), "w").close()
child = os.fork()
if not child:
    sys.exit()
os.waitpid(child, 0)
print(os.path.exists(os.path.dirname(unused.removeprefix("ipc://"))), used)
"""
    with tempfile.TemporaryDirectory() as place:  # whose name is short
        environment = {**os.environ, "TMPDIR": place}
        ran = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=30, check=True
        )

        assert ran.stdout.split() == ["True", *(f"ipc://{place}/{name}/host" for name in os.listdir(place))]
        assert len(os.listdir(place)) == 1


def test_host_address_can_be_listened_at():
    """Others dial it, so it is of an interface that is up, with the port that was asked for."""
    url = host_url()

    assert not url.startswith(("tcp://127.", "tcp://0."))
    listener = listen(url)
    dial(listener.url).close()
    listener.close()
    assert host_url(port=5555).endswith(":5555")
    assert host_url(tls=True).startswith("tls+tcp://")


def test_ports_that_are_none_are_refused():
    """Before they stand in somebody's script."""
    with pytest.raises(ValueError, match="0 to 65535"):
        host_url(port=65536)
    with pytest.raises(ValueError, match="0 to 65535"):
        local_url(tcp=True, port=-1)


def test_host_address_is_the_name_where_there_is_no_network(monkeypatch):
    """A laptop in a train still has one."""
    monkeypatch.setattr(socket, "socket", lambda *_: NoNetwork())

    assert host_url(port=1) == f"tcp://{socket.gethostname()}:1"


class NoNetwork:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def connect(self, _):
        raise OSError(101, "Network is unreachable")
