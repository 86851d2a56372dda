"""No key and nonce are ever used for two different inputs, over all that is sealed in a run.

A pair that repeats shows the XOR of two plaintexts, and two tags under one nonce show the key that
authenticates. It takes no fault to make one, only an answer that the sealer believed; so everything
that is sealed in the run's process is watched, records and stripes, of all gateways.

Source: docs/crypto.md; NIST SP 800-38D, section 8.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sim.replacing import replaced

PRODUCT: Final = ("common.", "cell.", "coordinator.", "gateway_s3.")
SHORT_DIGEST_BYTES: Final = 16
MOST_SHOWN: Final = 5


def _short(*parts: Any) -> bytes:
    digest = hashlib.blake2b(digest_size=SHORT_DIGEST_BYTES)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


class SealWatch:
    """Remembers every pair of key and nonce, and what was sealed with it.

    The same input again gives the same bytes and is not a finding: a stripe is made again when its
    upload is repeated.
    """

    def __init__(self) -> None:
        self.violations: list[str] = []
        self.sealed = 0
        self._seen: dict[bytes, bytes] = {}

    def seals(self, key: bytes, nonce: Any, plaintext: Any, context: Any) -> None:
        """Note one use of a key and a nonce."""
        self.sealed += 1
        sealed = _short(plaintext, context or b"")
        before = self._seen.setdefault(_short(key, nonce), sealed)
        if before != sealed and len(self.violations) < MOST_SHOWN:
            self.violations.append(
                f"a key and nonce sealed two different inputs (nonce {bytes(nonce).hex()},"
                f" {len(plaintext)} bytes)"
            )

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch whatever is sealed inside the ``with``."""
        watch = self

        class WatchedAead:
            """AESGCM whose every seal is noted first."""

            __slots__ = ("_aead", "_key", "decrypt", "decrypt_into")

            def __init__(self, key: bytes) -> None:
                self._aead = AESGCM(key)
                self._key = bytes(key)
                self.decrypt = self._aead.decrypt
                self.decrypt_into = self._aead.decrypt_into

            def encrypt(self, nonce: Any, data: Any, aad: Any) -> bytes:
                watch.seals(self._key, nonce, data, aad)
                return self._aead.encrypt(nonce, data, aad)

            def encrypt_into(self, nonce: Any, data: Any, aad: Any, out: Any) -> int:
                watch.seals(self._key, nonce, data, aad)
                return self._aead.encrypt_into(nonce, data, aad, out)

        sealers = [
            module
            for name, module in sorted(sys.modules.items())
            if name.startswith(PRODUCT) and getattr(module, "AESGCM", None) is AESGCM
        ]
        assert sealers, "nothing of the product seals"
        with ExitStack() as stack:
            for module in sealers:
                stack.enter_context(replaced(module, "AESGCM", WatchedAead))
            yield
