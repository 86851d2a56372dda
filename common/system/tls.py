"""TLS contexts: between peers, and for strangers.

Between peers TLS 1.3 with a self-signed Ed25519 certificate, and the key that was shown pinned:
there is neither a chain nor a name to verify: the hash of the server's raw public key is its name.
Strangers (S3 clients) get a chain to an authority that they trust.

Source: docs/protocol.md, "Transport"; RFC 8446, RFC 8410.
"""

from __future__ import annotations

import datetime
import os
import ssl
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from common.crypto.identity import is_sound_key
from common.errors import BadConfig, PeerViolation
from common.ports import Certificate, Identity
from common.reasons import ConfigFault, Violation

_BEGIN = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
_NEVER = datetime.datetime(9999, 12, 31, tzinfo=datetime.UTC)
"""RFC 5280, 4.1.2.5: no well-defined end. A key is revoked by taking its peer id out."""


def server_context(identity: Identity) -> ssl.SSLContext:
    """A context to listen with: this identity's key and a certificate made of it now."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # No tickets: a resumed session would skip the proof of the key that callers pin.
    context.num_tickets = 0
    _load(context, _certificate(identity))
    return context


def public_context(certificate: Certificate) -> ssl.SSLContext:
    """A context to serve HTTP to strangers with: TLS 1.2 with forward secrecy, and TLS 1.3.

    Raises:
        BadConfig: ``bad_certificate``: chain and key do not fit, cannot be read, or the key has a
            passphrase.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        _load(context, certificate.key + b"\n" + certificate.chain)
    except (OSError, ValueError) as error:
        raise BadConfig(
            ConfigFault.BAD_CERTIFICATE, cause=str(error) or type(error).__name__
        ) from error
    return context


def _load(context: ssl.SSLContext, pem: bytes) -> None:
    """Load a private key and its chain. ssl loads from named files only; this one lies in memory
    and has no name on any disk."""
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(pem)
        # Without a password given, OpenSSL would ask for it on the terminal.
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password="")
    finally:
        os.close(descriptor)


@lru_cache(maxsize=1)
def client_context() -> ssl.SSLContext:
    """The context to connect with. The peer's key is checked by :func:`shown_key`'s caller."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def shown_key(certificate: bytes | None) -> bytes:
    """The raw Ed25519 public key in a certificate. That the peer holds its private half is what
    the TLS handshake has proven.

    Args:
        certificate: DER, as the peer sent it.

    Raises:
        PeerViolation: ``wrong_server_key``: no certificate, or one of another kind of key.
    """
    if certificate is None:
        raise PeerViolation(Violation.WRONG_SERVER_KEY, cause="no certificate")
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
    except Exception as error:  # the parser of foreign bytes documents no set of errors
        raise PeerViolation(Violation.WRONG_SERVER_KEY, cause="unreadable certificate") from error
    if not isinstance(key, Ed25519PublicKey):
        raise PeerViolation(Violation.WRONG_SERVER_KEY, cause="not an Ed25519 key")
    raw = key.public_bytes_raw()
    if not is_sound_key(raw):
        raise PeerViolation(Violation.WRONG_SERVER_KEY, cause="a key that is nobody's")
    return raw


def _certificate(identity: Identity) -> bytes:
    """Private key and certificate, PEM."""
    key = Ed25519PrivateKey.from_private_bytes(identity.private_key)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity.peer_id.hex())])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_BEGIN)
        .not_valid_after(_NEVER)
        .sign(key, None)
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + certificate.public_bytes(Encoding.PEM)
