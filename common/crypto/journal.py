"""The sealing of a coordinator's journal: read with one key, written with another.

Whatever is sealed draws a salt of its own and so has a key of its own, used once, with a nonce of
zeros. It opens only in its context: a record at its place in the chain, a piece of a snapshot at
its place in that snapshot. And it is signed: a reader, such as the holder of a rescue kit,
cannot write.

Source: docs/journal.md, "Sealing"; docs/crypto.md, "Journal"; RFC 5869, RFC 8032.
"""

from __future__ import annotations

from typing import Final

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from common import limits
from common.crypto.identity import (
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    KeyPair,
    signature_holds,
)
from common.crypto.swarm_secret import derive
from common.errors import Corrupt
from common.ports import Buffer, Entropy
from common.reasons import Damage

SALT_BYTES: Final = 24
SEAL_OVERHEAD_BYTES: Final = SALT_BYTES + SIGNATURE_BYTES + limits.AEAD_TAG_BYTES
READ_KEY_BYTES: Final = 32
_NONCE: Final = bytes(12)
_OLD_OVERHEAD_BYTES: Final = SALT_BYTES + limits.AEAD_TAG_BYTES
RECORD: Final = b"record"
PIECE: Final = b"piece"
MEMBERS: Final = b"members"


def _own_key(key: bytes, version: bytes, purpose: bytes, salt: Buffer) -> AESGCM:
    info = b"alveary journal " + version + b"\0" + purpose + b"\0" + bytes(salt)
    return AESGCM(HKDFExpand(SHA256(), READ_KEY_BYTES, info).derive(key))


def _signed(purpose: bytes, context: bytes, plaintext: Buffer) -> bytes:
    parts = (
        b"alveary journal author v1\0",
        purpose,
        b"\0",
        len(context).to_bytes(4, "big"),
        context,
        blake3(plaintext).digest(),
    )
    return b"".join(parts)


class JournalReader:
    """The key by which a journal is read, and that of its authors.

    Args:
        read_key: 32 bytes, derived from the swarm's secret.
        author: 32 bytes, the public key under which coordinators sign.
    """

    def __init__(self, read_key: bytes, author: bytes) -> None:
        assert len(read_key) == READ_KEY_BYTES
        assert len(author) == PUBLIC_KEY_BYTES
        self.read_key: Final = read_key
        self.author: Final = author

    def open(self, purpose: bytes, context: bytes, sealed: Buffer) -> bytes:
        """Return the plaintext.

        Args:
            purpose: RECORD, PIECE or MEMBERS.
            context: what it belongs to.

        Raises:
            Corrupt: ``journal_not_authentic``: no coordinator of this swarm has sealed it so.
        """
        if len(sealed) < SEAL_OVERHEAD_BYTES:
            raise Corrupt(Damage.JOURNAL_NOT_AUTHENTIC)
        try:
            both = _own_key(self.read_key, b"v2", purpose, sealed[:SALT_BYTES]).decrypt(
                _NONCE, sealed[SALT_BYTES:], context
            )
        except InvalidTag:
            raise Corrupt(Damage.JOURNAL_NOT_AUTHENTIC) from None
        plaintext, signature = both[:-SIGNATURE_BYTES], both[-SIGNATURE_BYTES:]
        if not signature_holds(self.author, _signed(purpose, context, plaintext), signature):
            raise Corrupt(Damage.JOURNAL_NOT_AUTHENTIC, what="signature")
        return plaintext


class JournalKey(JournalReader):
    """The keys of a swarm's journal, to read and to write it.

    Args:
        swarm_secret: at least 32 random bytes that only coordinators have.
    """

    def __init__(self, swarm_secret: bytes) -> None:
        self._signer = KeyPair.from_private(derive(swarm_secret, b"alveary journal author key v1"))
        read_key = derive(swarm_secret, b"alveary journal read key v2")
        super().__init__(read_key, self._signer.public_key)
        self._old_key = derive(swarm_secret, b"alveary journal key v1")

    @property
    def reader(self) -> JournalReader:
        """The part that reads and cannot write."""
        return JournalReader(self.read_key, self.author)

    def seal(self, purpose: bytes, context: bytes, plaintext: Buffer, entropy: Entropy) -> bytes:
        """Seal something.

        Args:
            purpose: RECORD, PIECE or MEMBERS.
            context: what it belongs to; authenticated, not stored.

        Returns:
            SEAL_OVERHEAD_BYTES more than the plaintext.
        """
        salt = entropy(SALT_BYTES)
        signature = self._signer.sign(_signed(purpose, context, plaintext))
        own = _own_key(self.read_key, b"v2", purpose, salt)
        return salt + own.encrypt(_NONCE, bytes(plaintext) + signature, context)

    def open(self, purpose: bytes, context: bytes, sealed: Buffer) -> bytes:
        """Return the plaintext, of version 1 too: only coordinators have the key of that one.
        Raises as :meth:`JournalReader.open`."""
        try:
            return super().open(purpose, context, sealed)
        except Corrupt:
            if len(sealed) < _OLD_OVERHEAD_BYTES:
                raise
            old = _own_key(self._old_key, b"v1", purpose, sealed[:SALT_BYTES])
            try:
                return old.decrypt(_NONCE, sealed[SALT_BYTES:], context)
            except InvalidTag:
                raise Corrupt(Damage.JOURNAL_NOT_AUTHENTIC) from None
