"""Certificates of listeners that strangers connect to: read from files, and made for one machine.

A peer of the swarm is known by its pinned key (:mod:`common.system.tls`); a client of S3 is a
stranger and wants a chain to an authority that it trusts. Where there is no other, ``alveary up
--tls`` makes one here.

Source: RFC 5280; docs/operations.md, "TLS for S3 clients".
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from common import limits
from common.data_classes import dataclass
from common.errors import BadConfig
from common.ports import Certificate
from common.reasons import ConfigFault

AUTHORITY_DAYS: Final = 3650
SERVER_DAYS: Final = 397
"""Some clients refuse certificates that are good for longer (CA/Browser Forum, 6.3.2)."""
_BACKDATED: Final = datetime.timedelta(hours=1)
"""Clients' clocks may be behind."""


class CertificateFiles:
    """A certificate chain and its private key, in PEM files.

    Args:
        chain: the server's certificate first, then those between it and the authority.
        key: the private key, without a passphrase; may be the same file.
    """

    def __init__(self, chain: Path, key: Path) -> None:
        self._chain = chain
        self._key = key

    async def read(self) -> Certificate:
        """Read both files as they are now.

        Raises:
            BadConfig: ``cannot_read``, ``bad_certificate``.
        """
        return await trio.to_thread.run_sync(self._read_now)

    def _read_now(self) -> Certificate:
        chain, key = _read_file(self._chain), _read_file(self._key)
        return Certificate(chain=chain, key=key, ends_at_s=_end_of(chain, self._chain))


def _read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limits.MAX_CERTIFICATE_FILE_BYTES + 1)
    except OSError as error:
        raise BadConfig(ConfigFault.CANNOT_READ, file=str(path), error=error.strerror) from error
    if len(data) > limits.MAX_CERTIFICATE_FILE_BYTES:
        raise BadConfig(ConfigFault.BAD_CERTIFICATE, file=str(path), cause="too large")
    return data


def _end_of(chain: bytes, path: Path) -> float:
    try:
        first = x509.load_pem_x509_certificates(chain)[0]
    except ValueError as error:
        raise BadConfig(ConfigFault.BAD_CERTIFICATE, file=str(path), cause=str(error)) from error
    return first.not_valid_after_utc.timestamp()


@dataclass(frozen=True, slots=True)
class Pem:
    """A certificate and its private key, PEM."""

    certificate: bytes
    key: bytes


def make_authority(name: str, now: float) -> Pem:
    """A new authority that can sign servers' certificates and nothing else.

    Args:
        name: what it is called where it is trusted.
        now: Unix seconds.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = _usage(signs_certificates=True)
    certificate = (
        _builder(subject, subject, key.public_key(), now, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pem(certificate, key)


def make_server_certificate(authority: Pem, names: Sequence[str], now: float) -> Pem:
    """A server's certificate, signed by an authority of :func:`make_authority`.

    Args:
        names: host names and IP addresses that clients may use, the first as its own name.
        now: Unix seconds.
    """
    signer = x509.load_pem_x509_certificate(authority.certificate)
    signing_key = load_pem_private_key(authority.key, password=None)
    assert isinstance(signing_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    certificate = (
        _builder(subject, signer.subject, key.public_key(), now, SERVER_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()),
            critical=False,
        )
        .sign(signing_key, hashes.SHA256())
    )
    return _pem(certificate, key)


def is_good_for(server: Pem, authority: Pem, names: Sequence[str], until: float) -> bool:
    """Return whether a server's certificate is of this authority, has all these names, belongs to
    its key, and is valid at a time (Unix seconds). False, too, for what cannot be read."""
    try:
        certificate = x509.load_pem_x509_certificate(server.certificate)
        key = load_pem_private_key(server.key, password=None)
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate))
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception:  # the parser of foreign bytes documents no set of errors
        return False
    return (
        {_general_name(name) for name in names} <= set(found)
        and key.public_key() == certificate.public_key()
        and certificate.not_valid_after_utc.timestamp() > until
    )


def is_authority(pem: Pem, until: float) -> bool:
    """Return whether an authority can be read, belongs to its key, and is valid at a time."""
    try:
        certificate = x509.load_pem_x509_certificate(pem.certificate)
        key = load_pem_private_key(pem.key, password=None)
    except Exception:  # as above
        return False
    return (
        key.public_key() == certificate.public_key()
        and certificate.not_valid_after_utc.timestamp() > until
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: float, days: int
) -> x509.CertificateBuilder:
    begin = datetime.datetime.fromtimestamp(now, datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - _BACKDATED)
        .not_valid_after(begin + datetime.timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pem:
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Pem(certificate.public_bytes(Encoding.PEM), private)
