"""Keys of a swarm's coordinators: each derives from the secret that they alone have.

Source: docs/crypto.md, "Key tree".
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES: Final = 32


def derive(swarm_secret: bytes, label: bytes, *, salt: bytes | None = None) -> bytes:
    """Return the key of a label, KEY_BYTES.

    Args:
        swarm_secret: at least 32 random bytes that only coordinators have.
        label: what the key is for, with its version; no two keys have the same.
        salt: whom it is for, where there is one key for each.
    """
    assert len(swarm_secret) >= 32
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=label).derive(swarm_secret)
