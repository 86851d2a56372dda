"""Names that a bucket may have, and how the names of objects are stored.

Buckets are named by S3's rules whatever protocol makes them, so that S3 can serve them all. Keys
are opaque. ``..``, ``//``, NUL and ``%2F`` mean nothing: a key is never a path, here or on any
cell, so nothing can be reached through one.

Source: Amazon S3 User Guide, "Bucket naming rules".
"""

from __future__ import annotations

import re
from typing import Final, Protocol

_BUCKET: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]{1,61})[a-z0-9]")
_IPV4: Final = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
_RESERVED_PREFIXES: Final = ("xn--", "sthree-", "amzn-s3-demo-")
_RESERVED_SUFFIXES: Final = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")


def is_bucket_name(name: str) -> bool:
    """Return whether a bucket may have this name: 3 to 63 of ``a-z 0-9 . -``, by S3's rules."""
    return (
        _BUCKET.fullmatch(name) is not None
        and ".." not in name
        and ".-" not in name
        and "-." not in name
        and _IPV4.fullmatch(name) is None
        and not name.startswith(_RESERVED_PREFIXES)
        and not name.endswith(_RESERVED_SUFFIXES)
    )


class NameCodec(Protocol):
    """The translation of keys to the names that the coordinator sees, and back."""

    def encode(self, key: bytes) -> bytes:
        """The stored name of a key, or of a prefix, delimiter or marker of keys."""

    def decode(self, name: bytes) -> bytes:
        """The key of a stored name."""


class IdentityNames:
    """Names are stored as they are: the coordinator sees them, ordered as S3 orders them."""

    def encode(self, key: bytes) -> bytes:
        return key

    def decode(self, name: bytes) -> bytes:
        return name
