"""Anybody may connect: what they say first is looked at with care, and what is wrong with it is said clearly."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirai.protocol.handshake import (
    LARGEST_HELLO,
    NONCE_SIZE,
    PROTOCOL,
    Examiner,
    Hello,
    Refusal,
    answer,
    refusal,
)
from mirai.protocol.messages import Kind
from mirai.protocol.tickets import ID_SIZE, SECRET_SIZE, Tickets, read_line
from mirai.protocol.wire import HEADER_SIZE, FrameError

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
    mirai=printable,
)
def test_what_is_said_arrives(role, instance, pid, host, launch, protocol, mirai):
    """Whatever people call their machines."""
    hello = Hello(
        role,
        instance,
        pid,
        host,
        launch,
        protocol=protocol,
        attempt="a",
        ticket="t",
        nonce="n",
        mirai=mirai,
        left="3600.000",
    )
    heard = Hello.decode(hello.encode())

    assert {name: getattr(heard, name) for name in Hello.__slots__} == {
        "role": role,
        "instance": instance,
        "pid": pid,
        "host": host,
        "launch": launch,
        "python": ".".join(map(str, sys.version_info[:3])),
        "protocol": protocol,
        "attempt": "a",
        "ticket": "t",
        "nonce": "n",
        "left": "3600.000",
        "mirai": mirai,
        "cloudpickle": "",
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
    hello = Hello.decode(lines(protocol="99", colour="blue", ticket=None))

    assert "protocol 99" in refusal(hello)


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


@pytest.mark.parametrize("cloudpickle", ["2.2.1", "4.0"])
def test_another_cloudpickle_is_refused(cloudpickle):
    """Its pickles name functions that the other one does not have."""
    text = refusal(Hello("data", "7c9e", 1, "node1", cloudpickle=cloudpickle), "3.1.0")

    assert f"cloudpickle {cloudpickle}" in text
    assert "same major version" in text
    assert refusal(Hello("data", "7c9e", 1, "node1", cloudpickle="3.0.1"), "3.1.0") == ""


# Tickets


def random(n, seed=1):
    return bytes((i * 37 + seed * 101) % 256 for i in range(n))


def host(tickets, seed=1, *, is_private=False):
    return Examiner(tickets, random(2 * NONCE_SIZE, seed), is_private=is_private)


def tickets_and_one():
    tickets = Tickets()
    return tickets, tickets.issue(1, random(ID_SIZE + SECRET_SIZE))


def hello_with(ticket, seed=7):
    name = ticket if isinstance(ticket, str) else ticket.id
    return Hello("data", "7c9e", 1, "node1", ticket=name, nonce=random(NONCE_SIZE, seed).hex()).encode()


def test_both_sides_prove_the_ticket():
    """And then the daemon is let in."""
    tickets, ticket = tickets_and_one()
    examiner, hello = host(tickets), hello_with(ticket)

    challenge = examiner.heard(Kind.HELLO, hello)
    assert not examiner.is_through
    assert ticket.secret.hex() not in challenge.decode("latin-1")
    examiner.heard(Kind.PROOF, answer(ticket.secret, hello, challenge[HEADER_SIZE:]))

    assert examiner.is_through
    assert examiner.ticket is ticket


def test_without_a_ticket_nobody_is_let_in():
    """Where others can reach the host; the error says what to do."""
    tickets, _ = tickets_and_one()

    with pytest.raises(Refusal, match="launch_remote"):
        host(tickets).heard(Kind.HELLO, HELLO.encode())


def test_where_only_this_user_comes_no_ticket_is_needed():
    """Nor another round trip: local daemons start as fast as they can."""
    examiner = host(Tickets(), is_private=True)

    assert examiner.heard(Kind.HELLO, HELLO.encode()) == b""
    assert examiner.is_through


@pytest.mark.parametrize("known", [True, False])
def test_a_stranger_cannot_tell_which_tickets_there_are(known):
    """Known or not, the id is answered alike, and the wrong proof refused alike."""
    tickets, ticket = tickets_and_one()
    examiner, hello = host(tickets), hello_with(ticket if known else "0" * 16)

    challenge = examiner.heard(Kind.HELLO, hello)
    with pytest.raises(Refusal, match="not \\(any more\\) one of this host's"):
        examiner.heard(Kind.PROOF, b"0" * 64)

    assert len(challenge) == len(host(tickets).heard(Kind.HELLO, hello_with(ticket)))
    assert not examiner.is_through


def test_a_daemon_serves_no_impostor():
    """Who does not know the ticket gets no proof, and no daemon to run its code."""
    _, ticket = tickets_and_one()
    impostor, hello = host(Tickets()), hello_with(ticket)

    with pytest.raises(FrameError, match="does not know this daemon's ticket"):
        answer(ticket.secret, hello, impostor.heard(Kind.HELLO, hello)[HEADER_SIZE:])


def test_a_captured_proof_is_worth_nothing():
    """The host's nonce is another one each time."""
    tickets, ticket = tickets_and_one()
    hello = hello_with(ticket)
    captured = answer(ticket.secret, hello, host(tickets, 1).heard(Kind.HELLO, hello)[HEADER_SIZE:])

    again = host(tickets, 2)
    again.heard(Kind.HELLO, hello)
    with pytest.raises(Refusal):
        again.heard(Kind.PROOF, captured)


def test_a_captured_challenge_is_worth_nothing():
    """The daemon's nonce is another one each time."""
    tickets, ticket = tickets_and_one()
    captured = host(tickets).heard(Kind.HELLO, hello_with(ticket, 7))[HEADER_SIZE:]

    with pytest.raises(FrameError):
        answer(ticket.secret, hello_with(ticket, 8), captured)


def test_a_proof_reflected_is_worth_nothing():
    """What the host has sent does not open its own door."""
    tickets, ticket = tickets_and_one()
    examiner, hello = host(tickets), hello_with(ticket)
    challenge = examiner.heard(Kind.HELLO, hello)[HEADER_SIZE:]
    reflected = dict(line.split("=") for line in challenge.decode().split("\n"))["proof"].encode()

    with pytest.raises(Refusal):
        examiner.heard(Kind.PROOF, reflected)


def test_what_was_said_of_the_daemon_is_proved_too():
    """Nobody between the two can change the role, the versions or the ticket."""
    tickets, ticket = tickets_and_one()
    examiner, hello = host(tickets), hello_with(ticket)
    changed = examiner.heard(Kind.HELLO, hello.replace(b"node1", b"node2"))

    with pytest.raises(FrameError):
        answer(ticket.secret, hello, changed[HEADER_SIZE:])


def test_a_revoked_ticket_is_dead():
    """Also for who was in the middle of proving it."""
    tickets, ticket = tickets_and_one()
    examiner, hello = host(tickets), hello_with(ticket)
    challenge = examiner.heard(Kind.HELLO, hello)

    tickets.revoke(ticket)

    with pytest.raises(Refusal):
        examiner.heard(Kind.PROOF, answer(ticket.secret, hello, challenge[HEADER_SIZE:]))


def test_one_daemon_at_a_time():
    """By one ticket; the same process may come again."""
    _, ticket = tickets_and_one()
    first, other = Hello("data", "7c9e", 1, "node1"), Hello("data", "0000", 2, "node2")
    assert ticket.objection(first) == ""

    ticket.holder = first

    assert ticket.objection(Hello("data", "7c9e", 1, "node1", attempt="2")) == ""
    assert "in use, by process 1 on node1" in ticket.objection(other)
    ticket.is_valid = False
    assert "revoked" in ticket.objection(first)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*range(Kind.TRIM + 1), 255]), st.one_of(st.binary(max_size=200), st.just(HELLO.encode()))
        )
    )
)
def test_no_garbage_opens_the_door(said):
    """Whatever a stranger says, in whatever order."""
    tickets, ticket = tickets_and_one()
    examiner = host(tickets)
    try:
        examiner.heard(Kind.HELLO, hello_with(ticket))
        for kind, body in said:
            examiner.heard(kind, body)
    except FrameError:
        pass

    assert not examiner.is_through


@given(st.binary(max_size=300))
def test_a_daemon_answers_no_garbage(body):
    """It has a secret to keep."""
    _, ticket = tickets_and_one()

    with pytest.raises(FrameError):
        answer(ticket.secret, hello_with(ticket), body)


def test_a_ticket_is_one_line():
    """It goes by environment, by file, by paste."""
    _, ticket = tickets_and_one()

    assert ticket.line().split() == [ticket.line()]
    assert read_line(ticket.line() + "\n") == (ticket.id, ticket.secret)


@pytest.mark.parametrize("text", ["", "x", "12.34", "a" * 64, "zz" * 8 + "." + "00" * 32, "00" * 8 + "." + "00" * 31])
def test_what_is_no_ticket_is_refused(text):
    """Half of one was pasted. It is not shown: it may be a secret all the same."""
    with pytest.raises(ValueError, match="copy all of it") as caught:
        read_line(text)

    assert text == "" or text not in str(caught.value).replace("x", "")


def test_how_long_a_daemon_may_stay_is_a_number():
    """Tasks are given to it accordingly."""
    assert Hello("data", "7c9e", 1, "node1").seconds_left() == float("inf")
    assert Hello("data", "7c9e", 1, "node1", left="60.5").seconds_left() == 60.5
    for wrong in ("soon", "-1", "nan"):
        with pytest.raises(FrameError, match=f"not a hello: left='{wrong}'"):
            Hello.decode(Hello("data", "7c9e", 1, "node1", left=wrong).encode())


def test_a_ticket_is_hidden_in_what_somebody_says():
    """Whole, cut in the middle, and that of another daemon; what is none stays."""
    tickets = Tickets()
    ticket, other = (tickets.issue(i, bytes(range(i, i + ID_SIZE + SECRET_SIZE))) for i in (1, 101))
    secret = ticket.secret.hex()

    assert ticket.hidden(f"export MIRAI_TICKET={ticket.line()}; x") == "export MIRAI_TICKET=…; x"
    assert ticket.hidden(f"{secret.upper()} {secret[20:]} {other.line()}") == "… … …"
    said = "job 20261126 of node deadbeef0123456789abcdef, PENDING (Resources)"
    assert ticket.hidden(said) == said


def test_a_visitor_may_run_on_another_python():
    """`mirai top` shows the hosts of all environments; nothing that it is told is pickled."""
    visitor = Hello("visitor", "aa", 1, "here", python="3.2.1", attempt="b")

    assert refusal(visitor) == ""
    assert "speaks protocol" in refusal(Hello("visitor", "aa", 1, "here", protocol=1, attempt="b"))
