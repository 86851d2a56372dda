"""Names of buckets and keys that requests carry, checked.

Source: Amazon S3 User Guide, "Bucket naming rules", "Naming Amazon S3 objects".
"""

from __future__ import annotations

from common import limits
from gateway.names import is_bucket_name
from gateway_s3 import errors
from gateway_s3.errors import S3Error


def check_bucket_name(name: str) -> str:
    """The name, if a bucket may have it.

    Raises:
        S3Error: InvalidBucketName.
    """
    if not is_bucket_name(name):
        raise S3Error(errors.INVALID_BUCKET_NAME, BucketName=name[:255])
    return name


def check_key(key: bytes) -> bytes:
    """The key, if an object may have it: 1 to 1,024 bytes of UTF-8.

    Raises:
        S3Error: KeyTooLongError; InvalidURI: not UTF-8, or empty.
    """
    if len(key) > limits.MAX_NAME_BYTES:
        raise S3Error(errors.KEY_TOO_LONG, Size=len(key), MaxSizeAllowed=limits.MAX_NAME_BYTES)
    if not key:
        raise S3Error(errors.INVALID_URI)
    try:
        key.decode("utf-8")
    except UnicodeDecodeError:
        raise S3Error(errors.INVALID_URI) from None
    return key
