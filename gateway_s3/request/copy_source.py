"""``x-amz-copy-source``: what a copy is made from.

Source: Amazon S3 API Reference, CopyObject.
"""

from __future__ import annotations

from common.data_classes import dataclass
from gateway.names import is_bucket_name
from gateway.versions import VersionName
from gateway_s3 import errors
from gateway_s3.errors import S3Error
from gateway_s3.request.names import check_key
from gateway_s3.request.query import decode_percent
from gateway_s3.request.version_ids import parse_version_id


@dataclass(frozen=True, slots=True)
class CopySource:
    """The source of a copy. Reading it needs the same permission as a GET of it. ``version``: None
    where none is named: the current one."""

    bucket: str
    key: bytes
    version: VersionName | None = None


def parse_copy_source(header: bytes) -> CopySource:
    """Read ``[/]bucket/key[?versionId=id]``, percent-encoded.

    ``?versionId=`` is split off first, as sent; then what stands before the first slash as sent is
    the bucket, so an encoded slash, or ``..`` in the key, never reaches another bucket; then each
    is decoded, once. A ``+`` is a space and ``%2B`` a plus, as in a form: that is what SDKs send
    that encode the header like a query, and what S3 makes of it.

    Raises:
        S3Error: InvalidArgument: not of this form; NotImplemented: an access point;
            KeyTooLongError.
    """
    if header.startswith(b"arn:"):
        raise S3Error(errors.NOT_IMPLEMENTED, Header="x-amz-copy-source")
    path, mark, query = header.partition(b"?")
    raw_bucket, slash, raw_key = path.removeprefix(b"/").partition(b"/")
    if slash:
        bucket, key = _decode(raw_bucket), _decode(raw_key)
    else:
        # The whole path may be encoded, slashes and all (older aws-cli and boto).
        bucket, slash, key = _decode(raw_bucket).removeprefix(b"/").partition(b"/")
    name = bucket.decode("latin-1")
    if not slash or not is_bucket_name(name) or not key:
        raise _invalid("Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
    version = _version(query) if mark else None
    try:
        return CopySource(name, check_key(key), version)
    except S3Error as error:
        if error.code is errors.KEY_TOO_LONG:
            raise
        raise _invalid("Invalid copy source encoding.") from None


def _version(raw: bytes) -> VersionName:
    """The version that stands behind the ``?``."""
    name, equals, value = raw.partition(b"=")
    if not equals or _decode(name) != b"versionId" or b"&" in value:
        raise _invalid("Unsupported copy source parameter.")
    return parse_version_id(_decode(value).decode("latin-1"), "x-amz-copy-source")


def _decode(raw: bytes) -> bytes:
    try:
        return decode_percent(raw.replace(b"+", b" "))
    except S3Error:
        raise _invalid("Invalid copy source encoding.") from None


def _invalid(message: str) -> S3Error:
    return S3Error(errors.INVALID_ARGUMENT, message, ArgumentName="x-amz-copy-source")
