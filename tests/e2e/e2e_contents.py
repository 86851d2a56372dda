"""Objects whose contents follow from their names, so that any amount of them can be written, and
compared as they come, without a copy."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from common.limits import MIB

PIECE_BYTES: Final = MIB
CONNECTIONS: Final = 4


@dataclass(frozen=True, slots=True)
class Contents:
    """Objects of one size in a bucket.

    Args:
        s3: a boto3 client that may be used by several threads.
        seed: other seeds give other contents.
    """

    s3: Any
    bucket: str
    object_bytes: int
    seed: str

    def pieces(self, name: str) -> Iterator[bytes]:
        """The contents of an object, a piece at a time."""
        key = hashlib.sha256(f"{self.seed}/{name}".encode()).digest()
        stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
        for at in range(0, self.object_bytes, PIECE_BYTES):
            yield stream.update(bytes(min(PIECE_BYTES, self.object_bytes - at)))

    def write(self, names: Sequence[str]) -> None:
        """Write objects over several connections."""
        with ThreadPoolExecutor(CONNECTIONS) as threads:
            list(threads.map(self._write_one, names))

    def unreadable(self, names: Sequence[str]) -> list[str]:
        """The names whose objects cannot be read, or are not what was written."""
        with ThreadPoolExecutor(CONNECTIONS) as threads:
            return [why for why in threads.map(self._why_unreadable, names) if why]

    def _write_one(self, name: str) -> None:
        self.s3.put_object(Bucket=self.bucket, Key=name, Body=b"".join(self.pieces(name)))

    def _why_unreadable(self, name: str) -> str:
        try:
            with closing(self.s3.get_object(Bucket=self.bucket, Key=name)["Body"]) as body:
                for number, piece in enumerate(self.pieces(name)):
                    if body.read(len(piece)) != piece:
                        return f"{name}: piece {number} is another"
                if body.read(1):
                    return f"{name}: too long"
        except Exception as error:  # Whatever the client calls it.
            return f"{name}: {type(error).__name__}: {error}"
        return ""
