"""The encryption that a request asks for, with a key that its tenant has a name for (SSE-KMS).

Source: Amazon S3 API Reference, PutObject; User Guide, "Specifying server-side encryption with AWS
KMS".
"""

from __future__ import annotations

import base64
import json
from typing import Final

from common import limits
from common.data_classes import dataclass
from common.errors import NotFound
from common.http.records import HttpRequest
from common.reasons import Absence
from gateway_s3 import errors
from gateway_s3.errors import S3Error

METHOD: Final = b"x-amz-server-side-encryption"
KEY_ID: Final = METHOD + b"-aws-kms-key-id"
CONTEXT: Final = METHOD + b"-context"
BUCKET_KEY: Final = METHOD + b"-bucket-key-enabled"
OF_NAMED_KEYS: Final = (KEY_ID, CONTEXT)
"""Headers that are given beside KMS only."""
AES256: Final = "AES256"
KMS: Final = "aws:kms"
_OF_THE_TENANT: Final = "aws/s3"
"""The key of S3's own in an account: here the tenant's default one."""


@dataclass(frozen=True, slots=True)
class AskedEncryption:
    """The encryption that a request asks for. ``method``: AES256 or KMS. ``key_id``: as it was
    sent, or empty. ``context``: JSON with its names in order, or empty."""

    method: str
    key_id: str = ""
    context: bytes = b""
    bucket_key: bool = False


def read_encryption(request: HttpRequest) -> AskedEncryption | None:
    """Return what a request asks for; None: nothing.

    Raises:
        S3Error: InvalidArgument: it asks for half of it, or its context is none.
    """
    method = request.header(METHOD)
    if method != KMS.encode():
        for name in OF_NAMED_KEYS:
            if request.header(name) is not None:
                raise _invalid(
                    name,
                    "Server Side Encryption with AWS KMS managed key requires HTTP header "
                    "x-amz-server-side-encryption : aws:kms",
                )
        return None if method is None else AskedEncryption(AES256)
    key_id = (request.header(KEY_ID) or b"").decode("utf-8", "replace")
    if len(key_id) > limits.MAX_KEY_ID_CHARACTERS:
        raise _invalid(KEY_ID, "The key id is too long.")
    context = request.header(CONTEXT)
    bucket_key = (request.header(BUCKET_KEY) or b"").lower() == b"true"
    return AskedEncryption(KMS, key_id, _context(context) if context else b"", bucket_key)


def _context(value: bytes) -> bytes:
    """The context of a header, in one form for each meaning. Raises S3Error InvalidArgument."""
    try:
        pairs = json.loads(base64.b64decode(value, validate=True))
    except (ValueError, RecursionError):
        pairs = None
    if not isinstance(pairs, dict) or not all(isinstance(each, str) for each in pairs.values()):
        raise _invalid(
            CONTEXT,
            "The header 'x-amz-server-side-encryption-context' shall be Base64-encoded UTF-8 "
            "string holding JSON which represents a string-string map",
        )
    packed = json.dumps(pairs, sort_keys=True, separators=(",", ":")).encode("ascii")
    if len(packed) > limits.MAX_ENCRYPTION_CONTEXT_BYTES:
        raise _invalid(CONTEXT, "The encryption context is too long.")
    return packed


def key_arn(region: str, account: str, name: str) -> str:
    """Return the ARN by which answers name a key."""
    return f"arn:aws:kms:{region}:{account}:key/{name}"


def key_name(key_id: str, region: str, account: str) -> str:
    """Return the name of the key that a client names, of an account; empty: its default one.

    Args:
        key_id: a name, an alias, or the ARN of either.

    Raises:
        NotFound: ``no_such_named_key``: it is another account's, another region's or none.
    """
    name = key_id
    if key_id.startswith("arn:"):
        name = key_id.removeprefix(f"arn:aws:kms:{region}:{account}:")
        if name == key_id or not name.startswith(("key/", "alias/")):
            raise NotFound(Absence.NO_SUCH_NAMED_KEY, key=key_id)
        name = name.removeprefix("key/")
    if name.startswith("alias/"):
        name = name.removeprefix("alias/")
        if name == _OF_THE_TENANT:
            return ""
    if not name and key_id:
        raise NotFound(Absence.NO_SUCH_NAMED_KEY, key=key_id)
    if len(name) > limits.MAX_KEY_NAME_CHARACTERS:
        raise NotFound(Absence.NO_SUCH_NAMED_KEY, key=name[:128])
    return name


def _invalid(header: bytes, message: str) -> S3Error:
    return S3Error(errors.INVALID_ARGUMENT, message, ArgumentName=header.decode())
