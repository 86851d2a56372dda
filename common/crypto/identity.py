"""Identities: an Ed25519 key pair per peer, and the peer id that is the hash of its public key.

Source: docs/crypto.md, "Identities"; RFC 8032.
"""

from __future__ import annotations

import hashlib
from dataclasses import field
from typing import Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from common.data_classes import dataclass
from common.errors import BadConfig
from common.ids import PeerId
from common.ports import Entropy
from common.reasons import ConfigFault

PRIVATE_KEY_BYTES: Final = 32
PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64


def peer_id_of(public_key: bytes) -> PeerId:
    """The peer id of a raw Ed25519 public key: its SHA-256, 32 bytes."""
    return PeerId(hashlib.sha256(public_key).digest())


_FIELD: Final = 2**255 - 19
_SIGN: Final = 1 << 255
_Y8: Final = int("05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826", 16)
_LOW_ORDER_Y: Final = frozenset({0, 1, _FIELD - 1, _Y8, _FIELD - _Y8})
"""The second coordinates of the eight points whose order divides 8: (0, 1) of order 1, (0, -1) of
order 2, two of order 4 and four of order 8, with both signs."""


def is_sound_key(public_key: bytes) -> bool:
    """Return whether 32 bytes are acceptable as a public key: not one of the encodings under which
    anyone can make valid signatures, or which are a second encoding of the same point.

    That they are a point at all is checked with each signature.

    Source: RFC 8032, 5.1.3; Chalkias, Garillot, Nikolaenko: "Taming the many EdDSAs" (2020).
    """
    if len(public_key) != PUBLIC_KEY_BYTES:
        return False
    y = int.from_bytes(public_key, "little") & ~_SIGN
    return y < _FIELD and y not in _LOW_ORDER_Y


def signature_holds(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Return whether an Ed25519 signature is valid.

    Args:
        public_key: 32 raw bytes of a foreign key; anything else, and a key that is not sound, is
            simply not valid.
        message: what was signed; the caller separates domains.
        signature: 64 bytes; anything else is simply not valid.
    """
    if not is_sound_key(public_key) or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A peer's identity (:class:`common.ports.Identity`). Its text form shows no private key."""

    public_key: bytes
    private_key: bytes = field(repr=False)
    peer_id: PeerId = field(repr=False)
    _signer: Ed25519PrivateKey = field(repr=False, compare=False)

    @classmethod
    def generate(cls, entropy: Entropy) -> Self:
        """A new identity from 32 bytes of entropy."""
        return cls.from_private(entropy(PRIVATE_KEY_BYTES))

    @classmethod
    def from_private(cls, private_key: bytes) -> Self:
        """The identity of a stored seed.

        Args:
            private_key: 32 raw bytes (the RFC 8032 seed).

        Raises:
            BadConfig: ``bad_identity_key``: not 32 bytes.
        """
        if len(private_key) != PRIVATE_KEY_BYTES:
            raise BadConfig(ConfigFault.BAD_IDENTITY_KEY, length=len(private_key))
        signer = Ed25519PrivateKey.from_private_bytes(private_key)
        public_key = signer.public_key().public_bytes_raw()
        return cls(public_key, bytes(private_key), peer_id_of(public_key), signer)

    def sign(self, message: bytes) -> bytes:
        """64 bytes Ed25519 signature of a message that names its own purpose."""
        return self._signer.sign(message)
