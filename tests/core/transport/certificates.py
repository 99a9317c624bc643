"""A private authority, and certificates that it issues: for addresses, chains, and such as do not hold."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


@dataclass
class Issued:
    """A certificate with its key; `chain` is that and what issued it, without the root."""

    certificate: x509.Certificate
    key: PrivateKeyTypes
    above: str = ""

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def chain(self) -> str:
        return self.pem + self.above

    def key_pem(self, password: bytes = b"", style: PrivateFormat = PrivateFormat.PKCS8) -> str:
        encryption = BestAvailableEncryption(password) if password else NoEncryption()
        return self.key.private_bytes(Encoding.PEM, style, encryption).decode()

    def issue(
        self,
        *names: str,
        is_authority: bool = False,
        begin: datetime.datetime = NOW - DAY,
        end: datetime.datetime = NOW + DAY,
        kind: str = "ec",
    ) -> Issued:
        key = rsa.generate_private_key(65537, 2048) if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())
        above = "" if self.certificate.issuer == self.certificate.subject else self.chain
        return Issued(_signed(names, key, is_authority, begin, end, self), key, above)


def authority(name: str = "Test Authority") -> Issued:
    """A root that nobody knows."""
    key = ec.generate_private_key(ec.SECP256R1())
    return Issued(_signed((name,), key, True, NOW - DAY, NOW + DAY, None), key)


def _signed(names, key, is_authority, begin, end, issuer) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0] if names else "nobody")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )
    if not is_authority:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(map(_general_name, names))), critical=False)
    return builder.sign(issuer.key if issuer else key, hashes.SHA256())


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
