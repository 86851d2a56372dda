"""The parameters of the listing operations, read and bounded.

Source: Amazon S3 API Reference, ListObjects, ListObjectsV2, ListObjectVersions,
ListMultipartUploads, ListParts, ListBuckets.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

from common import limits
from common.data_classes import dataclass
from gateway.versions import VersionName
from gateway_s3 import errors
from gateway_s3.errors import S3Error
from gateway_s3.request.numbers import parse_number
from gateway_s3.request.query import Query
from gateway_s3.request.version_ids import parse_version_id

_TOKEN_MARK: Final = b"\x01"


@dataclass(frozen=True, slots=True)
class ListObjectsParams:
    """ListObjects (v1). ``after``: list names greater than this."""

    prefix: bytes
    delimiter: bytes
    after: bytes
    limit: int
    encode_url: bool


@dataclass(frozen=True, slots=True)
class ListObjectsV2Params:
    """ListObjectsV2. ``after``: where the token, or else ``start-after``, says to go on."""

    prefix: bytes
    delimiter: bytes
    after: bytes
    limit: int
    encode_url: bool
    token: str | None
    start_after: bytes
    fetch_owner: bool


@dataclass(frozen=True, slots=True)
class ListVersionsParams:
    """ListObjectVersions. ``after_version``: of ``after``; None: after all versions of it."""

    prefix: bytes
    delimiter: bytes
    after: bytes
    after_version: VersionName | None
    limit: int
    encode_url: bool


@dataclass(frozen=True, slots=True)
class ListUploadsParams:
    """ListMultipartUploads. ``after_upload``: the id as the client knows it, without meaning
    unless ``after`` is given."""

    prefix: bytes
    delimiter: bytes
    after: bytes
    after_upload: str
    limit: int
    encode_url: bool


@dataclass(frozen=True, slots=True)
class ListPartsParams:
    """ListParts. ``after``: list part numbers greater than this."""

    after: int
    limit: int


@dataclass(frozen=True, slots=True)
class ListBucketsParams:
    """ListBuckets. ``limit``: None where the client sets none."""

    prefix: str
    after: str
    limit: int | None
    region: str | None = None
    """Only buckets in it."""


def list_objects_params(query: Query) -> ListObjectsParams:
    """Read them. Raises InvalidArgument."""
    return ListObjectsParams(
        _name(query, "prefix"),
        _name(query, "delimiter"),
        _name(query, "marker"),
        _limit(query, "max-keys"),
        _encoding(query),
    )


def list_objects_v2_params(query: Query) -> ListObjectsV2Params:
    """Read them. Raises InvalidArgument."""
    token = query.get("continuation-token")
    start_after = _name(query, "start-after")
    return ListObjectsV2Params(
        _name(query, "prefix"),
        _name(query, "delimiter"),
        read_token(token) if token else start_after,
        _limit(query, "max-keys"),
        _encoding(query),
        token,
        start_after,
        (query.get("fetch-owner") or "").lower() == "true",
    )


def list_versions_params(query: Query) -> ListVersionsParams:
    """Read them. Raises InvalidArgument."""
    after = _name(query, "key-marker")
    version = query.get("version-id-marker") or ""
    if version and not after:
        raise invalid(
            "version-id-marker",
            version,
            "A version-id marker cannot be specified without a key marker.",
        )
    return ListVersionsParams(
        _name(query, "prefix"),
        _name(query, "delimiter"),
        after,
        parse_version_id(version, "version-id-marker") if version else None,
        _limit(query, "max-keys"),
        _encoding(query),
    )


def list_uploads_params(query: Query) -> ListUploadsParams:
    """Read them. Raises InvalidArgument."""
    after = _name(query, "key-marker")
    upload = query.get("upload-id-marker") or ""
    if len(upload) > limits.MAX_UPLOAD_ID_CHARACTERS:
        raise invalid("upload-id-marker", upload)
    return ListUploadsParams(
        _name(query, "prefix"),
        _name(query, "delimiter"),
        after,
        upload if after else "",
        _limit(query, "max-uploads"),
        _encoding(query),
    )


def list_parts_params(query: Query) -> ListPartsParams:
    """Read them. Raises InvalidArgument."""
    return ListPartsParams(
        _number(query, "part-number-marker", 0, 2**31 - 1), _limit(query, "max-parts")
    )


def list_buckets_params(query: Query) -> ListBucketsParams:
    """Read them. Raises InvalidArgument."""
    token = query.get("continuation-token")
    limit = None
    if query.get("max-buckets") is not None:
        limit = _number(query, "max-buckets", 1, 10_000)
        if not limit:
            raise invalid("max-buckets", "0")
    after = ""
    if token is not None:
        try:
            after = read_token(token).decode("utf-8")
        except UnicodeDecodeError:
            raise _invalid_token() from None
    return ListBucketsParams(query.get("prefix") or "", after, limit, query.get("bucket-region"))


def make_token(after: bytes) -> str:
    """The continuation token that goes on after a name. Opaque to clients, and safe in a URL."""
    return base64.urlsafe_b64encode(_TOKEN_MARK + after).decode("ascii")


def read_token(token: str) -> bytes:
    """The name that a continuation token goes on after.

    Raises:
        S3Error: InvalidArgument: none of ours.
    """
    try:
        data = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _invalid_token() from None
    if not data.startswith(_TOKEN_MARK) or len(data) > limits.MAX_NAME_BYTES + 1:
        raise _invalid_token()
    return data[1:]


def _invalid_token() -> S3Error:
    return S3Error(
        errors.INVALID_ARGUMENT,
        "The continuation token provided is incorrect",
        ArgumentName="continuation-token",
    )


def invalid(name: str, value: str, message: str | None = None) -> S3Error:
    """Return the error for a parameter with such a value."""
    return S3Error(errors.INVALID_ARGUMENT, message, ArgumentName=name, ArgumentValue=value[:1024])


def _name(query: Query, name: str) -> bytes:
    """A prefix, delimiter or marker: any UTF-8 that a key could begin with."""
    value = (query.get(name) or "").encode("utf-8")
    if len(value) > limits.MAX_NAME_BYTES:
        raise invalid(name, value[:1024].decode("utf-8", "replace"))
    return value


def _limit(query: Query, name: str) -> int:
    """Return the number of entries to list: what is asked for, at most 1,000."""
    return min(_number(query, name, limits.MAX_LIST_ENTRIES, 2**31 - 1), limits.MAX_LIST_ENTRIES)


def _number(query: Query, name: str, default: int, most: int) -> int:
    text = query.get(name)
    if text is None or not text:
        return default
    if text.startswith("-") and text[1:].isdigit():
        said = "maxKeys" if name == "max-keys" else name
        raise invalid(name, text, f"Argument {said} must be an integer between 0 and {most}")
    number = parse_number(text)
    if number is None or number > most:
        raise invalid(name, text, f"Provided {name} not an integer or within integer range")
    return number


def _encoding(query: Query) -> bool:
    value = query.get("encoding-type")
    if not value:
        return False
    if value.lower() != "url":
        raise invalid("encoding-type", value, "Invalid Encoding Method specified in Request")
    return True
