"""Anybody may connect: what they say first is looked at with care, and what is wrong with it is said clearly."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirai.protocol.handshake import LARGEST_HELLO, PROTOCOL, Hello, refusal
from mirai.protocol.wire import FrameError

printable = st.text(st.characters().filter(str.isprintable))
HELLO = Hello("data", "7c9e", 4711, "node1", "2")


def lines(**changes):
    """A hello with some of its lines changed, or left out where None."""
    pairs = dict(line.split("=", 1) for line in HELLO.encode().decode().split("\n")) | changes
    return "\n".join(f"{name}={value}" for name, value in pairs.items() if value is not None).encode()


@given(
    role=st.sampled_from(["data", "control"]),
    instance=printable,
    pid=st.integers(-(2**63), 2**64),
    host=printable,
    launch=printable,
    protocol=st.integers(0, 2**32),
)
def test_what_is_said_arrives(role, instance, pid, host, launch, protocol):
    """Whatever people call their machines."""
    hello = Hello(role, instance, pid, host, launch, protocol=protocol)
    heard = Hello.decode(hello.encode())

    assert {name: getattr(heard, name) for name in Hello.__slots__} == {
        "role": role,
        "instance": instance,
        "pid": pid,
        "host": host,
        "launch": launch,
        "python": ".".join(map(str, sys.version_info[:3])),
        "protocol": protocol,
    }
    assert heard == hello
    assert hash(heard) == hash(hello)


@given(st.text())
def test_any_host_name_can_be_said(host):
    """A line break, or bytes that are no text, must not keep a daemon from working."""
    heard = Hello.decode(Hello("data", "7c9e", 1, host).encode())

    assert heard.host.isprintable()
    assert len(heard.host) == len(host)


def test_no_name_of_ours_is_too_long():
    """Host names have 255 bytes at most, so that the limit refuses strangers only."""
    assert len(Hello("control", "f" * 64, 2**64, "é" * 255, "l" * 64).encode()) < LARGEST_HELLO


@given(st.one_of(st.binary(), st.text().map(str.encode)))
def test_garbage_is_refused(body):
    """A port scanner finds the port, too: the host goes on."""
    with pytest.raises(FrameError):
        Hello.decode(body)


@pytest.mark.parametrize(
    "body",
    [
        *(lines(**{name: None}) for name in Hello.__slots__),
        lines(pid="many"),
        lines(pid=""),
        lines(pid="1.5"),
        lines(pid="9" * 5000),
        lines(protocol="one"),
        lines(role="both"),
        lines(role=""),
        lines(host="node1\rGET /"),
        lines(host="\x1b[2Jnode1"),
        lines(python="3.11\u2028"),
        lines() + b"\nhost=node2",
        lines() + b"\n",
        lines() + b"\n\xff=1",
        lines().replace(b"node1", b"\xff"),
        lines().replace(b"=", b":"),
    ],
)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_nearly_a_hello_is_refused(body, kind):
    """What gets in is used, and printed: it must be whole, plain and without a second meaning."""
    with pytest.raises(FrameError):
        Hello.decode(kind(body))


def test_other_names_may_come_later():
    """Who speaks another protocol must get as far as being told so."""
    hello = Hello.decode(lines(protocol="2", colour="blue"))

    assert "protocol 2" in refusal(hello)


def test_the_same_versions_work_together():
    """The patch level of Python may differ."""
    major, minor = sys.version_info[:2]

    assert refusal(HELLO) == ""
    assert refusal(Hello("data", "7c9e", 1, "node1", python=f"{major}.{minor}.99")) == ""


def test_another_protocol_is_refused():
    """The next frame would be misread."""
    text = refusal(Hello("data", "7c9e", 1, "node1", protocol=PROTOCOL + 1))

    assert text == (
        f"the daemon on node1 speaks protocol {PROTOCOL + 1}, this host {PROTOCOL}: "
        "install the same version of mirai-core on both"
    )


@pytest.mark.parametrize("python", ["2.7.18", "3.9.1", "4.0.0", "3", "", "three"])
def test_another_python_is_refused(python):
    """Functions sent by value are bytecode: a daemon would crash, or worse."""
    text = refusal(Hello("data", "7c9e", 1, "node1", python=python))

    assert text.startswith(f"the daemon on node1 runs Python {python}, this host {sys.version_info.major}.")
    assert text.endswith("start the daemon with the host's")
