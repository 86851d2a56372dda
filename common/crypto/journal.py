"""The sealing of a coordinator's journal, under a key that only coordinators have.

Whatever is sealed draws a salt of its own and so has a key of its own, used once, with a nonce of
zeros. It opens only in its context: a record at its place in the chain, a piece of a snapshot at
its place in that snapshot.

Source: docs/journal.md, "Sealing"; docs/crypto.md, "Journal"; RFC 5869.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from common import limits
from common.errors import Corrupt
from common.ports import Buffer, Entropy
from common.reasons import Damage

SALT_BYTES: Final = 24
SEAL_OVERHEAD_BYTES: Final = SALT_BYTES + limits.AEAD_TAG_BYTES
_KEY_BYTES: Final = 32
_NONCE: Final = bytes(12)
RECORD: Final = b"record"
PIECE: Final = b"piece"
MEMBERS: Final = b"members"


class JournalKey:
    """The key of a swarm's journal.

    Args:
        swarm_secret: at least 32 random bytes that only coordinators have.
    """

    def __init__(self, swarm_secret: bytes) -> None:
        assert len(swarm_secret) >= 32
        self._key = HKDF(
            algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=b"alveary journal key v1"
        ).derive(swarm_secret)

    def _own_key(self, purpose: bytes, salt: bytes) -> AESGCM:
        info = b"alveary journal v1\0" + purpose + b"\0" + salt
        return AESGCM(HKDFExpand(SHA256(), _KEY_BYTES, info).derive(self._key))

    def seal(self, purpose: bytes, context: bytes, plaintext: Buffer, entropy: Entropy) -> bytes:
        """Seal something.

        Args:
            purpose: RECORD, PIECE or MEMBERS.
            context: what it belongs to; authenticated, not stored.

        Returns:
            SEAL_OVERHEAD_BYTES more than the plaintext.
        """
        salt = entropy(SALT_BYTES)
        return salt + self._own_key(purpose, salt).encrypt(_NONCE, plaintext, context)

    def open(self, purpose: bytes, context: bytes, sealed: Buffer) -> bytes:
        """Return the plaintext.

        Raises:
            Corrupt: ``journal_not_authentic``: it was not sealed so by a coordinator of this swarm.
        """
        if len(sealed) < SEAL_OVERHEAD_BYTES:
            raise Corrupt(Damage.JOURNAL_NOT_AUTHENTIC)
        salt = bytes(sealed[:SALT_BYTES])
        try:
            return self._own_key(purpose, salt).decrypt(_NONCE, sealed[SALT_BYTES:], context)
        except InvalidTag:
            raise Corrupt(Damage.JOURNAL_NOT_AUTHENTIC) from None
