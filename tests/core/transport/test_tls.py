"""Certificates, and what a daemon checks them by: who is accepted, who is not, and what is said."""

from __future__ import annotations

import datetime
import functools
import os
import pickle
import socket
import ssl
import tempfile
import threading

import pytest
from cryptography.hazmat.primitives.serialization import PrivateFormat

from mirai.transport import schemes
from mirai.transport.schemes import TlsError
from mirai.transport.tls import SESSION_NAME, Trust, identity
from tests.core.transport.certificates import DAY, NOW, authority
from tests.core.transport.conftest import DEADLINE, accept, receive, run


@functools.cache
def root():
    return authority()


def meet(tls, tlscert, *, host="127.0.0.1", dialled=None):
    """Let a daemon dial a host: what each of them makes of it, a text or the error."""
    listener = schemes.listen(f"tls+tcp://{host}:0", tls)
    port = listener.url.rpartition(":")[2]
    results = {}

    def daemon():
        try:
            with schemes.dial(f"tls+tcp://{dialled or host}:{port}", DEADLINE, tlscert) as connection:
                connection.sendall(b"hello")
                results["daemon"] = receive(connection, 7).decode()
        except OSError as error:
            results["daemon"] = error

    thread = threading.Thread(target=daemon)
    thread.start()
    with accept(listener) as connection:
        try:
            results["host"] = "welcome" if receive(connection, 5) == b"hello" else "gone"
            connection.sendall(b"welcome")
        except OSError as error:
            results["host"] = error
    thread.join()
    listener.close()
    return results["host"], results["daemon"]


def assert_met(*given, **options):
    assert meet(*given, **options) == ("welcome", "welcome")


def assert_refused(host_says, daemon_says, *given, **options):
    host, daemon = meet(*given, **options)

    assert isinstance(daemon, TlsError)
    assert isinstance(host, TlsError)
    assert daemon_says in str(daemon)
    assert "tls+tcp://" in str(daemon)
    assert host_says in str(host)
    assert "\n" not in str(daemon) + str(host)


# For the session


def test_certificate_of_the_session_is_all_that_a_daemon_needs():
    """Whatever the host's address is: it is the certificate that counts."""
    tls = identity()

    assert_met(tls, tls.tlscert)
    assert_met(tls, tls.tlscert, dialled="localhost")
    assert_met(tls, tls.chain.decode())


def test_certificate_of_another_session_is_refused():
    """Whoever listens at the address now, it is not who this daemon was started for."""
    assert_refused("daemon refuses", "not that of tlscert", identity(), identity().tlscert)


def test_daemon_that_was_given_no_certificate_trusts_those_of_its_system():
    """Of a public authority, nothing need be said; ours is none."""
    assert_refused("daemon refuses", "not that of tlscert", identity(), None)


def test_what_a_daemon_is_given_stands_in_one_word():
    """It is an argument in a script of some scheduler."""
    assert identity().tlscert.isascii()
    assert not set(identity().tlscert) & set(" \n'\"\\$")


def test_sessions_do_not_share_anything():
    """A daemon of one must not be taken in by another."""
    assert identity().tlscert != identity().tlscert
    assert identity().key != identity().key


def test_certificate_of_a_session_holds_whatever_the_clocks_say():
    """Nodes whose clock is a day off are common."""
    from cryptography import x509

    certificate = x509.load_pem_x509_certificate(identity().chain)

    assert certificate.not_valid_before_utc < datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)
    assert certificate.not_valid_after_utc > datetime.datetime(2500, 1, 1, tzinfo=datetime.UTC)


def test_key_stays_in_this_process():
    """Neither printed nor pickled, by accident."""
    tls = identity()

    assert "PRIVATE" not in repr(tls)
    with pytest.raises(TypeError, match="tlscert"):
        pickle.dumps(tls)


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="this system has no files in memory")
def test_key_is_never_on_a_disk(monkeypatch):
    """Not even for a moment: `ssl` reads it from memory."""
    monkeypatch.setattr(tempfile, "mkstemp", None)
    identity().context()


def test_elsewhere_the_file_of_the_key_is_for_its_owner_and_gone_at_once(monkeypatch):
    """Where there are no files in memory."""
    monkeypatch.delattr(os, "memfd_create", raising=False)
    before = set(os.listdir(tempfile.gettempdir()))
    modes = []
    load = ssl.SSLContext.load_cert_chain
    monkeypatch.setattr(
        ssl.SSLContext,
        "load_cert_chain",
        lambda self, path: (modes.append(os.stat(path).st_mode & 0o777), load(self, path)),
    )

    identity().context()

    assert modes == [0o600]
    assert set(os.listdir(tempfile.gettempdir())) == before


def test_local_daemons_do_without():
    """`ssl` and `cryptography` cost more than all the rest of a daemon's start."""
    run("""
import sys
import mirai.runtime.daemon
from mirai.transport.schemes import dial, listen

listener = listen("tcp://127.0.0.1:0")
dial(listener.url).close()
listener.close()
assert not sys.modules.keys() & {"ssl", "cryptography", "mirai.transport.tls", "mirai.transport.tls_socket"}
""")


def test_a_daemon_needs_no_cryptography_to_check():
    """It starts half as fast with it."""
    run(f"""
import sys
from mirai.transport.tls import Trust

Trust({identity().tlscert!r}).context()
Trust({root().pem!r}).context()
assert "cryptography" not in sys.modules
""")


# The user's own


@pytest.mark.parametrize("kind", ["ec", "rsa"])
@pytest.mark.parametrize("where", ["text", "texts", "path", "paths"])
def test_own_certificates(tmp_path, kind, where):
    """As a file with both, two files, or texts of either."""
    host = root().issue("127.0.0.1", kind=kind)
    texts = {"both.pem": host.key_pem() + host.pem, "host.pem": host.pem, "key.pem": host.key_pem()}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    given = {
        "text": texts["both.pem"],
        "texts": (host.pem, host.key_pem()),
        "path": str(tmp_path / "both.pem"),
        "paths": (str(tmp_path / "host.pem"), tmp_path / "key.pem"),
    }[where]

    assert_met(identity(given), root().pem)


def test_authority_may_be_a_path(tmp_path):
    """It lies in the same place on every node."""
    (tmp_path / "ca.pem").write_text("# of the institute\n" + authority("Other").pem + root().pem)

    assert_met(identity(bundle(root().issue("127.0.0.1"))), str(tmp_path / "ca.pem"))


def bundle(issued):
    return issued.chain + issued.key_pem()


def test_chain():
    """The daemon knows the root only; the host shows what is between."""
    between = root().issue("Between", is_authority=True).issue("Further between", is_authority=True)
    host = between.issue("127.0.0.1")

    assert_met(identity(bundle(host)), root().pem)
    assert_refused("unknown ca", "not that of tlscert", identity(host.pem + host.key_pem()), root().pem)


def test_launched_daemons_may_be_given_the_very_certificate():
    """Whoever issued it, and whatever it is made out to: the host knows what it shows."""
    host = root().issue("elsewhere.example")
    tls = identity(bundle(host))

    assert_met(tls, tls.tlscert)
    assert_refused("daemon refuses", "not that of tlscert", identity(bundle(root().issue("127.0.0.1"))), tls.tlscert)


def test_names_and_addresses():
    """A host is reached by several."""
    tls = identity(bundle(root().issue("localhost", "127.0.0.1", "::1")))

    assert_met(tls, root().pem)
    assert_met(tls, root().pem, dialled="localhost")
    if socket.has_ipv6:
        assert_met(tls, root().pem, host="[::1]")


@pytest.mark.parametrize("name", ["127.0.0.2", "other.example", ""])
def test_certificate_for_another_name_is_refused(name):
    """Anybody may have one of the same authority."""
    tls = identity(bundle(root().issue(*filter(None, [name]))))

    assert_refused("not made out to what was dialled", "127.0.0.1", tls, root().pem)


def test_certificate_of_another_authority_is_refused():
    """Whatever it says it is."""
    tls = identity(bundle(authority().issue("127.0.0.1")))

    assert_refused("daemon refuses", "not that of tlscert", tls, root().pem)


def test_expired_certificate_is_refused():
    """Also if it is the very one."""
    tls = identity(bundle(root().issue("127.0.0.1", begin=NOW - 3 * DAY, end=NOW - 2 * DAY)))

    assert_refused("expired", "has expired: renew it", tls, root().pem)
    assert_refused("expired", "has expired: renew it", tls, tls.tlscert)


def test_certificate_of_tomorrow_is_refused():
    """Or the daemon's clock is wrong, and it should say so."""
    tls = identity(bundle(root().issue("127.0.0.1", begin=NOW + DAY, end=NOW + 2 * DAY)))

    assert_refused("not yet valid", "not valid yet: set this machine's clock", tls, root().pem)


def test_an_authority_named_like_a_session_is_no_way_around_the_name():
    """Only what a session's certificate is, is taken for one: it issues nothing."""
    false = authority(SESSION_NAME)
    tls = identity(bundle(false.issue("other.example")))

    host, daemon = meet(tls, false.pem)

    assert host != "welcome"
    assert isinstance(daemon, TlsError)


# Keys with a password


@pytest.mark.parametrize("style", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("answer", ["s3cret", b"s3cret"])
def test_encrypted_key(style, answer):
    """Its password comes from a key ring, or from the user."""
    host = root().issue("127.0.0.1")
    asked = []

    tls = identity((host.pem, host.key_pem(b"s3cret", style)), lambda: asked.append(1) or answer)

    assert asked == [1]
    assert_met(tls, root().pem)


def test_password_is_not_asked_for_in_vain():
    """A script would stop there, and nobody knows why."""
    assert identity(bundle(root().issue("127.0.0.1")), lambda: pytest.fail("asked"))
    assert identity(None, lambda: pytest.fail("asked"))


@pytest.mark.parametrize(
    ("password", "says"),
    [
        (None, "is encrypted: give password=, a callable"),
        (lambda: "wrong", "does not return the password of the key in tls= (text)"),
        (lambda: "", "returned no text"),
        (lambda: None, "returned no text"),
    ],
)
def test_missing_or_wrong_password_is_an_error(password, says):
    """OpenSSL would ask at the terminal."""
    host = root().issue("127.0.0.1")

    with pytest.raises(ValueError, match="password") as caught:
        identity(host.pem + host.key_pem(b"s3cret"), password)

    assert says in str(caught.value)


def test_password_itself_is_no_callable():
    """It would stand in the script."""
    with pytest.raises(TypeError, match="callable"):
        identity(None, "s3cret")


# What is none


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (lambda host: host.pem, "no private key in PEM format: give tls=(certificate, key)"),
        (lambda host: host.key_pem(), "no certificate in PEM format"),
        (lambda host: (host.pem, root().key_pem()), "not that of the first certificate"),
        (lambda host: root().pem + host.pem + host.key_pem(), "not that of the first certificate"),
        (lambda host: host.pem.replace("M", "!", 9) + host.key_pem(), "no certificate in PEM format"),
        (lambda host: host.pem + host.key_pem().replace("M", "A", 1), "cannot be used"),
    ],
)
def test_what_is_no_identity_says_so_at_once(given, says):
    """And not when the first daemon comes."""
    with pytest.raises(ValueError, match="tls=") as caught:
        identity(given(root().issue("127.0.0.1")))

    assert says in str(caught.value)


def test_file_that_is_not_there_is_named():
    """The path was mistyped."""
    with pytest.raises(FileNotFoundError, match="tls= is neither PEM text nor a file.*no/such/file"):
        identity("no/such/file")
    with pytest.raises(ValueError, match="tlscert= is neither PEM text nor a file.*no/such/file"):
        Trust("no/such/file")


@pytest.mark.parametrize(
    "tlscert", ["-----BEGIN CERTIFICATE-----\nM\n-----END CERTIFICATE-----\n", "-----BEGIN PRIVATE KEY-----\nM"]
)
def test_what_is_no_certificate_says_so(tlscert):
    """A daemon that trusts nobody is of no use."""
    with pytest.raises(ValueError, match="tlscert.* no certificate"):
        Trust(tlscert).context()


def test_file_that_is_not_text_is_named(tmp_path):
    """Certificates come as DER, too."""
    (tmp_path / "host.der").write_bytes(bytes(range(256)))

    with pytest.raises(ValueError, match="host.der' is not in PEM format"):
        identity(str(tmp_path / "host.der"))


def test_address_with_tls_needs_a_certificate():
    """One that is made up on the way would be trusted by nobody."""
    with pytest.raises(ValueError, match=r"tls\+tcp://127.0.0.1:0.*needs a certificate"):
        schemes.listen("tls+tcp://127.0.0.1:0")


def test_certificate_for_an_address_without_tls_is_an_error():
    """Whoever gives one believes to be safe."""
    with pytest.raises(ValueError, match=r"tcp://127.0.0.1:0.*not for TLS.*tls\+tcp://"):
        schemes.listen("tcp://127.0.0.1:0", identity())
    with pytest.raises(ValueError, match=r"ipc:///x.*not for TLS.*tls\+tcp://"):
        schemes.dial("ipc:///x", 1, identity().tlscert)
