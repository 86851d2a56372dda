"""``x-amz-copy-source``: what a copy is made from.

Source: Amazon S3 API Reference, CopyObject.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway_s3 import errors
from gateway_s3.errors import S3Error
from gateway_s3.names import check_key, is_bucket_name
from gateway_s3.query import decode_percent


@dataclass(frozen=True, slots=True)
class CopySource:
    """The source of a copy. Reading it needs the same permission as a GET of it."""

    bucket: str
    key: bytes


def parse_copy_source(header: bytes) -> CopySource:
    """Read ``[/]bucket/key[?versionId=null]``, percent-encoded.

    The bucket is what stands before the first slash of the header as sent, so an encoded slash, or
    ``..`` in the key, never reaches another bucket.

    Raises:
        S3Error: InvalidArgument: not of this form; NoSuchVersion: a version other than ``null``;
            NotImplemented: an access point; KeyTooLongError.
    """
    if header.startswith(b"arn:"):
        raise S3Error(errors.NOT_IMPLEMENTED, Header="x-amz-copy-source")
    path, mark, query = header.partition(b"?")
    raw_bucket, slash, raw_key = path.removeprefix(b"/").partition(b"/")
    if not slash:
        # The whole path may be encoded, slashes and all (older aws-cli and boto).
        decoded = _decode(raw_bucket)
        raw_bucket, slash, raw_key = decoded.removeprefix(b"/").partition(b"/")
        key = raw_key
    else:
        key = _decode(raw_key)
    bucket = _decode(raw_bucket).decode("latin-1")
    if not slash or not is_bucket_name(bucket) or not key:
        raise _invalid("Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
    if mark and query != b"versionId=null":
        if not query.startswith(b"versionId="):
            raise _invalid("Unsupported copy source parameter.")
        raise S3Error(errors.NO_SUCH_VERSION)
    try:
        return CopySource(bucket, check_key(key))
    except S3Error as error:
        if error.code is errors.KEY_TOO_LONG:
            raise
        raise _invalid("Invalid copy source encoding.") from None


def _decode(raw: bytes) -> bytes:
    try:
        return decode_percent(raw)
    except S3Error:
        raise _invalid("Invalid copy source encoding.") from None


def _invalid(message: str) -> S3Error:
    return S3Error(errors.INVALID_ARGUMENT, message, ArgumentName="x-amz-copy-source")
