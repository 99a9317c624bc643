"""Certificates for TLS: one made for the session, or the user's own; and what a daemon checks them by.

The key of a session's certificate never leaves this process, and touches no disk: `ssl` reads keys from files
only, and gets one in memory where the system has that.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import datetime
import os
import ssl
import tempfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    Password = Callable[[], str | bytes]

# What a session's certificate is made out to, whatever the host's address. `.invalid` is nobody's: RFC 2606.
SESSION_NAME = "session.mirai.invalid"

_BEGIN = "-----BEGIN "
_END = "-----END CERTIFICATE-----"
_VALID = (datetime.datetime(2000, 1, 1), datetime.datetime(9999, 12, 31, 23, 59, 59))  # clocks may differ: RFC 5280


class Identity:
    """A host's certificate, with those it was issued by, and its key.

    Attributes:
        chain: PEM, the host's own certificate first.
        key: PEM, not encrypted; it must not leave this process.
        tlscert: the host's own certificate as one line, for the daemon option of this name: it then accepts no other.
    """

    def __init__(self, chain: bytes, key: bytes) -> None:
        """Made by `identity()`."""
        self.chain, self.key = chain, key
        self.tlscert = base64.b64encode(_ders(chain.decode("ascii"))[0]).decode()

    def __repr__(self) -> str:
        return f"Identity({self.tlscert[:16]}…)"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a host's identity holds its key, which stays in this process: give daemons its tlscert")

    def context(self) -> ssl.SSLContext:
        """What a listener needs."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _set_common_options(context)
        # Tickets to resume by would be of no use; and a daemon that left them unread would, by its end, reset
        # the connection, and what it had sent before with it.
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET
        with _as_file(self.chain + b"\n" + self.key) as path:
            context.load_cert_chain(path)
        return context


def identity(
    given: str | os.PathLike[str] | tuple[str, str] | None = None, password: Password | None = None
) -> Identity:
    """The host's certificate and key: new ones, or those that the user gives.

    Args:
        given: None: an EC P-256 key, and a certificate for this session. Else a path or PEM text that holds both, or
            one for each: `(certificate, key)`. The certificates that it was issued by may follow the host's own.
        password: called where the key is encrypted, and only then.

    Raises:
        ValueError: what is given is no certificate with its key; or the password is missing or wrong.
        OSError: a file cannot be read.
    """
    if password is not None and not callable(password):
        raise TypeError("password=…: give a callable that returns it, such as lambda: keyring.get_password(…)")
    if given is None:
        return _made_for_this_session()
    certificate, key = given if isinstance(given, tuple | list) else (given, given)
    chain, chain_from = _read(certificate, "tls")
    secret, key_from = (chain, chain_from) if key is certificate else _read(key, "tls")
    return _given(chain, chain_from, secret, key_from, password)


class Trust:
    """What a daemon checks its host's certificate by."""

    def __init__(self, tlscert: str | None) -> None:
        """Take the daemon option `tlscert`.

        Args:
            tlscert: None: the certificates that this system trusts. One line, base64 of DER: the host's own
                certificate, and no other, whatever its name. A path or PEM text: certificates that the host's must
                be issued by; and it must be made out to the name or the IP address that is dialled.

        Raises:
            ValueError: it is none of these, or the file cannot be read.
        """
        self.pinned: bytes | None = None
        self.authorities: tuple[bytes, ...] = ()
        if tlscert is None:
            return
        pinned = _from_one_line(tlscert)
        if pinned is None:
            try:
                text, origin = _read(tlscert, "tlscert")
            except OSError as error:
                raise ValueError(f"{error.strerror}: {error.filename!r}") from None  # to dial again is of no use
            self.authorities = tuple(_ders(text, origin))
            if len(self.authorities) == 1 and SESSION_NAME.encode() in self.authorities[0]:
                pinned = self.authorities[0]
        if pinned is not None:
            self.pinned, self.authorities = pinned, (pinned,)

    def context(self) -> ssl.SSLContext:
        """What dialling needs."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _set_common_options(context)
        if self.pinned is not None:
            context.check_hostname = False
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if self.authorities:
            try:
                context.load_verify_locations(cadata=b"".join(self.authorities))
            except ssl.SSLError as error:
                raise ValueError(f"tlscert holds no certificate: {error.reason}") from None
        else:
            context.load_default_certs()
        return context

    def refusal(self, certificate: bytes | None) -> str:
        """Why not to go on with a host that showed this one; empty where its chain, which was checked, is enough."""
        if self.pinned is not None and certificate != self.pinned:
            return "the host shows another certificate than that of tlscert"
        return ""


def _set_common_options(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # nor may a write ever have to wait for something to read


def _made_for_this_session() -> Identity:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, SESSION_NAME)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_VALID[0])
        .not_valid_after(_VALID[1])
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(SESSION_NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Identity(_pem(certificate), _key_pem(key))


def _given(chain: str, chain_from: str, secret: str, key_from: str, password: Password | None) -> Identity:
    from cryptography import x509

    try:
        certificates = x509.load_pem_x509_certificates(chain.encode())
    except ValueError as error:
        raise ValueError(f"{chain_from} holds no certificate in PEM format: {error}") from None
    key = _load_key(secret, key_from, password)
    if key.public_key() != certificates[0].public_key():
        raise ValueError(
            f"the key in {key_from} is not that of the first certificate in {chain_from}: "
            "put the host's own certificate before those it was issued by"
        )
    return Identity(b"".join(map(_pem, certificates)), _key_pem(key))


def _load_key(text: str, origin: str, password: Password | None) -> PrivateKeyTypes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    blocks = [block for block in text.split(_BEGIN)[1:] if block.partition("-----")[0].endswith("PRIVATE KEY")]
    if not blocks:
        raise ValueError(f"{origin} holds no private key in PEM format: give tls=(certificate, key)")
    secret = None
    if "ENCRYPTED" in blocks[0].partition("\n\n")[0]:
        if password is None:
            raise ValueError(f"the key in {origin} is encrypted: give password=, a callable that returns its password")
        answer = password()
        secret = answer.encode() if isinstance(answer, str) else answer
        if not isinstance(secret, bytes) or not secret:
            raise ValueError(f"password() returned no text, and the key in {origin} is encrypted")
    try:
        return load_pem_private_key((_BEGIN + blocks[0]).encode(), secret)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if secret is not None:
            raise ValueError(f"password() does not return the password of the key in {origin}") from None
        raise ValueError(f"the key in {origin} cannot be used: {error}") from None


def _read(given: str | os.PathLike[str], argument: str) -> tuple[str, str]:
    """PEM text, and what to call it in an error."""
    if isinstance(given, str) and _BEGIN in given:
        return given, f"{argument}= (text)"
    try:
        with open(given, encoding="ascii") as file:
            return file.read(), f"{argument}={os.fspath(given)!r}"
    except UnicodeDecodeError:
        raise ValueError(f"{argument}={os.fspath(given)!r} is not in PEM format, which is text") from None
    except OSError as error:
        reason = f"{argument}= is neither PEM text nor a file that can be read: {error.strerror}"
        raise OSError(error.errno, reason, os.fspath(given)) from None


def _from_one_line(text: str) -> bytes | None:
    """The certificate whose base64 this is, if it is."""
    if not text.startswith("MI"):  # as does every DER sequence of 256 to 65535 bytes
        return None
    try:
        der = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    return der if len(der) == 4 + int.from_bytes(der[2:4], "big") else None


def _ders(text: str, origin: str = "") -> list[bytes]:
    """The certificates in PEM text, in order."""
    blocks = [block for block in text.split(_BEGIN)[1:] if block.startswith("CERTIFICATE-----")]
    if not blocks:
        raise ValueError(f"{origin} holds no certificate in PEM format")
    try:
        return [ssl.PEM_cert_to_DER_cert((_BEGIN + block.partition("-----END")[0] + _END).strip()) for block in blocks]
    except ValueError as error:
        raise ValueError(f"{origin} holds no certificate in PEM format: {error}") from None


def _pem(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def _key_pem(key: PrivateKeyTypes) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@contextlib.contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A path at which `content` can be read meanwhile, by this user only; in memory where the system has that."""
    if hasattr(os, "memfd_create") and os.path.exists("/proc/self/fd"):
        with open(os.memfd_create("mirai"), "wb") as file:
            file.write(content)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
        return
    descriptor, path = tempfile.mkstemp()  # of mode 0600
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        yield path
    finally:
        os.unlink(path)
