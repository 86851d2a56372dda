"""A client that gives keys of its own with its requests."""

from __future__ import annotations

import base64
import hashlib

KEY_A = bytes(range(32))
KEY_B = bytes(range(32, 64))
_PREFIX = "x-amz-server-side-encryption-customer-"


def customer(key: bytes, prefix: str = _PREFIX) -> dict[str, str]:
    """The headers that give a key."""
    return {
        prefix + "algorithm": "AES256",
        prefix + "key": base64.b64encode(key).decode(),
        prefix + "key-MD5": base64.b64encode(hashlib.md5(key).digest()).decode(),
    }


def source_customer(key: bytes) -> dict[str, str]:
    """The headers that give the key of the source of a copy."""
    return customer(key, "x-amz-copy-source-server-side-encryption-customer-")
