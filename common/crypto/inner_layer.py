"""The inner layer of protected objects: their bytes under a key that is not the tenant's.

AES-256-CTR of each stretch under a data key of its own, from counter 0: byte i of the ciphertext
depends on byte i of the plaintext and on nothing else, so ranges are read at random and the length
stays. It hides, and does not authenticate: what it makes is sealed in stripes like any plaintext,
so that it can be moved and rebuilt by those who lack its key.

Source: docs/crypto.md, "Inner layer"; NIST SP 800-38A, 6.5.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR

from common.crypto.keys import DATA_NONCE_BYTES, data_key
from common.data_classes import dataclass
from common.errors import Corrupt
from common.ports import Buffer
from common.reasons import Damage

_BLOCK_BYTES: Final = 16
_STRETCH: Final = struct.Struct(f">{DATA_NONCE_BYTES}sQ")
STRETCH_BYTES: Final = _STRETCH.size


@dataclass(frozen=True, slots=True)
class Stretch:
    """A run of an object's bytes that was written at once. ``nonce``: makes its data key."""

    nonce: bytes
    length: int


def pack_stretches(stretches: Sequence[Stretch]) -> bytes:
    """Pack the stretches of an object, in order."""
    return b"".join([_STRETCH.pack(each.nonce, each.length) for each in stretches])


def unpack_stretches(data: bytes) -> list[Stretch]:
    """Read stretches.

    Raises:
        Corrupt: ``record_not_understood``: not a whole number of them.
    """
    if len(data) % _STRETCH.size:
        raise Corrupt(Damage.RECORD_NOT_UNDERSTOOD, record="stretches")
    return [Stretch(*each) for each in _STRETCH.iter_unpack(data)]


class InnerStream:
    """Encrypts or decrypts bytes of an object in order; both are the same.

    Args:
        object_key: 32 bytes.
        stretches: of the whole object.
        first: the place of the first byte in the object.
    """

    def __init__(self, object_key: bytes, stretches: Sequence[Stretch], first: int) -> None:
        self._object_key = object_key
        self._left: list[tuple[Stretch, int]] = []
        start = 0
        for each in stretches:
            if start + each.length > first:
                self._left.append((each, max(0, first - start)))
            start += each.length
        self._left.reverse()
        self._context: CipherContext | None = None
        self._room = 0

    def apply(self, data: Buffer) -> bytes:
        """Return the next bytes, encrypted or decrypted: as many as there are in ``data``.

        Raises:
            Corrupt: ``record_not_understood``: they are more than the object has.
        """
        if len(data) <= self._room:
            return self._take(data)
        pieces = []
        view = memoryview(data)
        while view:
            if not self._room:
                self._begin()
            piece = view[: self._room]
            pieces.append(self._take(piece))
            view = view[len(piece) :]
        return b"".join(pieces)

    def _take(self, data: Buffer) -> bytes:
        if not len(data):
            return b""
        assert self._context is not None
        self._room -= len(data)
        return self._context.update(data)

    def _begin(self) -> None:
        if not self._left:
            raise Corrupt(Damage.RECORD_NOT_UNDERSTOOD, record="stretches")
        stretch, offset = self._left.pop()
        counter = (offset // _BLOCK_BYTES).to_bytes(_BLOCK_BYTES, "big")
        key = data_key(self._object_key, stretch.nonce)
        self._context = Cipher(AES256(key), CTR(counter)).encryptor()
        self._context.update(bytes(offset % _BLOCK_BYTES))
        self._room = stretch.length - offset
