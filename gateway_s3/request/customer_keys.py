"""Keys that clients give with requests (SSE-C): read, checked, and never shown.

Source: Amazon S3 User Guide, "Specifying server-side encryption with customer-provided keys";
API Reference, headers of the actions named there.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import field
from typing import Final

from common.crypto.keys import KEY_BYTES
from common.data_classes import dataclass
from common.format.envelope import WrappingKey
from common.http.records import Headers, HttpRequest
from gateway_s3 import errors
from gateway_s3.errors import S3Error

PREFIX: Final = b"x-amz-server-side-encryption-customer-"
SOURCE_PREFIX: Final = b"x-amz-copy-source-server-side-encryption-customer-"
_ALGORITHM: Final = b"AES256"
_ASKS: Final = "Requests specifying Server Side Encryption with Customer provided keys must "
_MISSING: Final[Mapping[bytes, str]] = {
    b"algorithm": _ASKS + "provide a valid encryption algorithm.",
    b"key": _ASKS + "provide an appropriate secret key.",
    b"key-md5": _ASKS + "provide the client calculated MD5 of the secret key.",
}
NAMES: Final = frozenset(prefix + name for prefix in (PREFIX, SOURCE_PREFIX) for name in _MISSING)
"""All headers of such keys."""
SECRETS: Final = frozenset({PREFIX + b"key", SOURCE_PREFIX + b"key"})
"""Those of them whose value is a key."""


@dataclass(frozen=True, slots=True)
class CustomerKey:
    """A key that a client gave. ``md5``: of the key, as it was sent."""

    wrapping: WrappingKey = field(repr=False)
    md5: bytes

    @property
    def headers(self) -> Headers:
        """The headers by which an answer says that it was used."""
        return [(PREFIX + b"algorithm", _ALGORITHM), (PREFIX + b"key-md5", self.md5)]


def read_customer_key(
    request: HttpRequest, *, in_clear: bool, prefix: bytes = PREFIX
) -> CustomerKey | None:
    """Return the key that a request gives; None: it gives none.

    Args:
        in_clear: take it from a request that did not come over TLS, too.
        prefix: of its headers.

    Raises:
        S3Error: InvalidRequest: it came in the clear; InvalidArgument: one of its headers is
            missing or wrong; InvalidEncryptionAlgorithmError.
    """
    algorithm, key, md5 = (request.header(prefix + name) for name in _MISSING)
    if algorithm is None and key is None and md5 is None:
        return None
    if not (request.secure or in_clear):
        raise S3Error(errors.INVALID_REQUEST, _ASKS + "be made over a secure connection.")
    if algorithm is None or key is None or md5 is None:
        given = {b"algorithm": algorithm, b"key": key, b"key-md5": md5}
        lacks = next(name for name, value in given.items() if value is None)
        raise _invalid(prefix + lacks, _MISSING[lacks])
    if algorithm != _ALGORITHM:
        raise S3Error(
            errors.INVALID_ENCRYPTION_ALGORITHM, ArgumentName=(prefix + b"algorithm").decode()
        )
    secret = _decoded(key)
    if secret is None or len(secret) != KEY_BYTES:
        raise _invalid(prefix + b"key", "The secret key was invalid for the specified algorithm.")
    digest = hashlib.md5(secret, usedforsecurity=False).digest()
    if not hmac.compare_digest(digest, _decoded(md5) or b""):
        raise _invalid(
            prefix + b"key-md5",
            "The calculated MD5 hash of the key did not match the hash that was provided.",
        )
    return CustomerKey(WrappingKey(secret), md5)


def _decoded(value: bytes) -> bytes | None:
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        return None


def _invalid(header: bytes, message: str) -> S3Error:
    return S3Error(errors.INVALID_ARGUMENT, message, ArgumentName=header.decode())
