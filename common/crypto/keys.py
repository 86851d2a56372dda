"""The key tree: tenant keys and the records sealed under them, upload keys and segment keys,
wrapping keys and data keys.

A sealed record is ``version | salt | commitment | AES-256-GCM ciphertext and tag``. Its key is
used once, because each record draws its own salt, so the GCM nonce is zero. The commitment is
derived beside the key and checked before anything is opened: a record opens under one key only.

Source: docs/crypto.md, "Key tree" and "Sealed records"; RFC 5869.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import field
from typing import Final

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from common import limits
from common.crypto.identity import KeyPair
from common.data_classes import dataclass
from common.errors import BadConfig, Corrupt
from common.ids import SEGMENT_ID_BYTES, TENANT_ID_BYTES, SegmentId, TenantId
from common.ports import Entropy
from common.reasons import ConfigFault, Damage

KEY_BYTES: Final = 32
COMMITMENT_BYTES: Final = 32
SALT_BYTES: Final = 24
"""A salt that repeats under one purpose key would repeat a key and nonce: 2**48 records make that
likelier than 2**-97 only."""
DATA_NONCE_BYTES: Final = 16
RECORD_VERSION: Final = 1
RECORD_OVERHEAD_BYTES: Final = 1 + SALT_BYTES + COMMITMENT_BYTES + limits.AEAD_TAG_BYTES
"""The difference in length between a sealed record and its plaintext."""

_SALT_END: Final = 1 + SALT_BYTES
_COMMITMENT_END: Final = _SALT_END + COMMITMENT_BYTES
_VERSION_BYTE: Final = bytes([RECORD_VERSION])
_NONCE: Final = bytes(12)
_HASH: Final = SHA256()


def _derive(key: bytes, salt: bytes | None, label: bytes) -> bytes:
    return HKDF(algorithm=_HASH, length=KEY_BYTES, salt=salt, info=label).derive(key)


def _context(purpose: str, context: Sequence[bytes]) -> bytes:
    parts = []
    for part in (purpose.encode(), *context):
        parts.append(len(part).to_bytes(4, "big"))
        parts.append(part)
    return b"".join(parts)


def _record_keys(purpose_key: bytes, salt: bytes) -> tuple[bytes, bytes]:
    both = HKDFExpand(
        algorithm=_HASH,
        length=KEY_BYTES + COMMITMENT_BYTES,
        info=b"alveary record v1" + salt,
    ).derive(purpose_key)
    return both[:KEY_BYTES], both[KEY_BYTES:]


def seal_under(
    purpose_key: bytes,
    purpose: str,
    context: Sequence[bytes],
    plaintext: bytes,
    entropy: Entropy,
) -> bytes:
    """Seal a record under a purpose key, 32 bytes; see :meth:`TenantKey.seal`."""
    salt = entropy(SALT_BYTES)
    assert len(salt) == SALT_BYTES
    key, commitment = _record_keys(purpose_key, salt)
    sealed = AESGCM(key).encrypt(_NONCE, plaintext, _context(purpose, context))
    return b"".join((_VERSION_BYTE, salt, commitment, sealed))


def is_sealed_under(purpose_key: bytes, sealed: bytes) -> bool:
    """Return whether a record names this purpose key as its own. That it opens is not said."""
    if len(sealed) < RECORD_OVERHEAD_BYTES or sealed[0] != RECORD_VERSION:
        return False
    _, commitment = _record_keys(purpose_key, sealed[1:_SALT_END])
    return hmac.compare_digest(commitment, sealed[_SALT_END:_COMMITMENT_END])


def open_under(purpose_key: bytes, purpose: str, context: Sequence[bytes], sealed: bytes) -> bytes:
    """The plaintext of a record; see :meth:`TenantKey.open`. Raises Corrupt."""
    if len(sealed) < RECORD_OVERHEAD_BYTES or sealed[0] != RECORD_VERSION:
        raise Corrupt(Damage.RECORD_NOT_AUTHENTIC, purpose=purpose)
    key, commitment = _record_keys(purpose_key, sealed[1:_SALT_END])
    if not hmac.compare_digest(commitment, sealed[_SALT_END:_COMMITMENT_END]):
        raise Corrupt(Damage.RECORD_NOT_AUTHENTIC, purpose=purpose)
    try:
        return AESGCM(key).decrypt(_NONCE, sealed[_COMMITMENT_END:], _context(purpose, context))
    except InvalidTag:
        raise Corrupt(Damage.RECORD_NOT_AUTHENTIC, purpose=purpose) from None


def wrapping_purpose_key(wrapping_key: bytes, kind: str) -> bytes:
    """Return the purpose key under which a wrapping key seals object keys, 32 bytes.

    Args:
        wrapping_key: 32 bytes: of a customer, or of a named key.
        kind: of wrapping key, a constant of the program.
    """
    assert len(wrapping_key) == KEY_BYTES
    return _derive(wrapping_key, None, b"alveary wrapping key v1\0" + kind.encode())


def data_key(object_key: bytes, nonce: bytes) -> bytes:
    """Return the key of one stretch of an object's inner layer, 32 bytes.

    Args:
        object_key: 32 random bytes, drawn for one write or upload.
        nonce: drawn for the stretch; no two stretches under one object key have the same.
    """
    assert len(object_key) == KEY_BYTES
    assert len(nonce) == DATA_NONCE_BYTES
    return _derive(object_key, nonce, b"alveary data key v1")


@dataclass(frozen=True, slots=True)
class TenantKey:
    """A tenant's root secret; it lives in gateways and native clients only.

    Args:
        tenant_id: 16 bytes.
        key: 32 random bytes.

    Raises:
        BadConfig: ``bad_tenant_key``: a length is wrong.
    """

    tenant_id: TenantId
    key: bytes = field(repr=False)
    _purpose_keys: dict[str, bytes] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        if len(self.tenant_id) != TENANT_ID_BYTES or len(self.key) != KEY_BYTES:
            raise BadConfig(ConfigFault.BAD_TENANT_KEY)

    def _prover(self) -> KeyPair:
        return KeyPair.from_private(_derive(self.key, self.tenant_id, b"alveary tenant proof v1"))

    def proof_key(self) -> bytes:
        """The public key, 32 bytes, by which coordinators check :meth:`prove`. It reveals nothing
        of the tenant key, and nobody can act for the tenant with it."""
        return self._prover().public_key

    def prove(self, message: bytes) -> bytes:
        """Sign that the caller has the tenant key: 64 bytes.

        Args:
            message: :func:`common.wire.control.tenant_message`: it names one connection to one
                coordinator, so the signature is of no use elsewhere.
        """
        return self._prover().sign(message)

    def _purpose_key(self, purpose: str) -> bytes:
        key = self._purpose_keys.get(purpose)
        if key is None:
            assert len(self._purpose_keys) < limits.MAX_KEY_PURPOSES, (
                "purposes are constants of the program"
            )
            label = b"alveary record purpose v1\0" + purpose.encode()
            key = self._purpose_keys[purpose] = _derive(self.key, self.tenant_id, label)
        return key

    def seal(
        self, purpose: str, context: Sequence[bytes], plaintext: bytes, entropy: Entropy
    ) -> bytes:
        """Seal a record so that it opens only for the same tenant, purpose and context.

        Args:
            purpose: a constant of the program, such as ``manifest``.
            context: what the record belongs to (bucket id, name, version id), in a fixed order.
            plaintext: any bytes.
            entropy: for the salt.

        Returns:
            RECORD_OVERHEAD_BYTES more than the plaintext.
        """
        return seal_under(self._purpose_key(purpose), purpose, context, plaintext, entropy)

    def token(self, purpose: str, context: Sequence[bytes]) -> bytes:
        """Return a name, 16 bytes, that stands for a context and says nothing of it to anyone
        without the key; the same whenever it is asked for.

        Args:
            purpose: as for :meth:`seal`; one that nothing is sealed for.
        """
        message = _context(purpose, context)
        return hmac.digest(self._purpose_key(purpose), message, "sha256")[:16]

    def open(self, purpose: str, context: Sequence[bytes], sealed: bytes) -> bytes:
        """The plaintext of a record that was sealed with this purpose and context.

        Raises:
            Corrupt: ``record_not_authentic``: not sealed under this key, purpose and context, or
                changed since. These cases cannot be distinguished.
        """
        return open_under(self._purpose_key(purpose), purpose, context, sealed)


def commitment_of(upload_key: bytes) -> bytes:
    """The public name of an upload key, 32 bytes: extents say with it which key opens them.

    It hides the key, and nobody can make two keys with one commitment.

    Args:
        upload_key: 32 random bytes.
    """
    assert len(upload_key) == KEY_BYTES
    return blake3(upload_key, derive_key_context="alveary upload key commitment v1").digest()


def segment_key(upload_key: bytes, segment: SegmentId, number: int) -> bytes:
    """The key of one try at one segment's stripes, 32 bytes.

    Args:
        upload_key: 32 random bytes, drawn for one write, sealed in the manifest.
        segment: the segment's id. A coordinator gives it, so it makes no key unique.
        number: counted by the writer, from 0: no two tries at segments under one upload key have
            the same. Any integer of a record.
    """
    assert len(upload_key) == KEY_BYTES
    assert len(segment) == SEGMENT_ID_BYTES
    return _derive(upload_key, segment, b"alveary segment key v1" + number.to_bytes(8, "big"))
