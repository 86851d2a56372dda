"""XML that clients are answered.

Keys may hold characters that XML 1.0 cannot: they are written as character references, as S3
does, which strict parsers refuse; with ``encoding-type=url`` they are percent-encoded, which is
why clients ask for it.

Source: Amazon S3 API Reference, the response of each action.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote_from_bytes

from common.data_classes import dataclass
from gateway.checksums import Algorithm
from gateway_s3.errors import S3Error
from gateway_s3.request.listing_params import (
    ListObjectsParams,
    ListObjectsV2Params,
    ListPartsParams,
    ListUploadsParams,
    ListVersionsParams,
    make_token,
)
from gateway_s3.request.storage_classes import STANDARD
from gateway_s3.request.version_ids import version_text
from gateway_s3.xml.read import Tree

CONTENT_TYPE: Final = b"application/xml"
NAMESPACE: Final = "http://s3.amazonaws.com/doc/2006-03-01/"
_DECLARATION: Final = '<?xml version="1.0" encoding="UTF-8"?>\n'
_SPECIAL: Final = re.compile('[&<>"\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]')
_NAMED: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}

_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class ObjectElement:
    """A listed object. ``etag``: without quotes. ``algorithm``, ``checksum_type``: or empty.
    ``owner_id``: where it is another than of the bucket, or empty. ``storage_class``: a word, which
    needs no escapes."""

    key: bytes
    modified_ms: int
    etag: str
    size: int
    algorithm: str = ""
    checksum_type: str = ""
    owner_id: str = ""
    storage_class: str = STANDARD


@dataclass(frozen=True, slots=True)
class ObjectElements:
    """A listing page of a bucket's objects. ``truncated``: there are more after ``last``, the last
    key or common prefix."""

    bucket: str
    rows: Sequence[ObjectElement]
    prefixes: Sequence[bytes]
    owner_id: str
    truncated: bool
    last: bytes


@dataclass(frozen=True, slots=True)
class VersionElement:
    """A listed version. ``is_marker``: it is a delete marker, of which only key and time count."""

    object: ObjectElement
    version_id: str
    is_latest: bool
    is_marker: bool


@dataclass(frozen=True, slots=True)
class DeletedElement:
    """An object or version that DeleteObjects deleted. ``version_id``: the one that was named.
    ``marker``: the id of the delete marker that was made or deleted."""

    key: bytes
    version_id: str | None = None
    marker: str | None = None


@dataclass(frozen=True, slots=True)
class UploadElement:
    """A listed upload in parts."""

    key: bytes
    upload_id: str
    created_ms: int
    algorithm: str = ""
    checksum_type: str = ""
    storage_class: str = STANDARD


@dataclass(frozen=True, slots=True)
class PartElement:
    """A listed part. ``checksum``: base64, of ``algorithm``; or None."""

    number: int
    modified_ms: int
    etag: str
    size: int
    algorithm: Algorithm | None = None
    checksum: str = ""


@dataclass(frozen=True, slots=True)
class DeleteFailure:
    """An object that DeleteObjects did not delete."""

    key: bytes
    code: str
    message: str
    version_id: str | None = None


def escape(text: str) -> str:
    """Text as XML carries it."""
    return _SPECIAL.sub(_reference, text) if _SPECIAL.search(text) else text


def _reference(match: re.Match[str]) -> str:
    character = match[0]
    return _NAMED.get(character) or f"&#x{ord(character):X};"


def iso_time(milliseconds: int) -> str:
    """``2006-02-03T16:45:09.000Z``: how XML says a time."""
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"


def _tag(name: str, value: object) -> str:
    return f"<{name}>{escape(str(value))}</{name}>"


def _flag(name: str, value: bool) -> str:
    return f"<{name}>{'true' if value else 'false'}</{name}>"


def _etag(etag: str) -> str:
    return f"<ETag>&quot;{escape(etag)}&quot;</ETag>"


def _document(root: str, parts: Iterable[str]) -> bytes:
    text = f'{_DECLARATION}<{root} xmlns="{NAMESPACE}">{"".join(parts)}</{root}>'
    return text.encode("utf-8")


class _Names:
    """Writes keys and prefixes, percent-encoded where the client asked for it."""

    def __init__(self, encode_url: bool) -> None:
        self._encode_url = encode_url

    def __call__(self, tag: str, name: bytes) -> str:
        if self._encode_url:
            return f"<{tag}>{quote_from_bytes(name, safe='/')}</{tag}>"
        return f"<{tag}>{escape(name.decode('utf-8', 'replace'))}</{tag}>"

    def encoding(self) -> str:
        return "<EncodingType>url</EncodingType>" if self._encode_url else ""

    def prefixes(self, prefixes: Iterable[bytes]) -> list[str]:
        return [f"<CommonPrefixes>{self('Prefix', each)}</CommonPrefixes>" for each in prefixes]


# --- errors ------------------------------------------------------------------------------------


def error_document(error: S3Error, *, resource: str, request_id: str, host_id: str) -> bytes:
    """The body of an error. Errors have no namespace.

    Facts are what clients sent. A character that XML 1.0 cannot hold is replaced, because a client
    that cannot read the document does not learn the code either.
    """
    facts = "".join(
        _tag(name, _NOT_XML.sub("\ufffd", str(value)))
        for name, value in error.fields.items()
        if name not in {"Code", "Message", "Resource", "RequestId", "HostId"}
    )
    return (
        f"{_DECLARATION}<Error>{_tag('Code', error.code.code)}"
        f"{_tag('Message', _NOT_XML.sub(chr(0xFFFD), error.message))}"
        f"{facts}{_tag('Resource', resource)}{_tag('RequestId', request_id)}"
        f"{_tag('HostId', host_id)}</Error>"
    ).encode()


# --- buckets -----------------------------------------------------------------------------------


def _owner(owner_id: str, tag: str = "Owner") -> str:
    return f"<{tag}>{_tag('ID', owner_id)}{_tag('DisplayName', owner_id)}</{tag}>"


def list_buckets(
    owner_id: str,
    buckets: Iterable[tuple[str, int]],
    *,
    region: str,
    prefix: str = "",
    next_token: str | None = None,
) -> bytes:
    """ListBuckets. ``buckets``: names and times of creation in milliseconds, sorted."""
    rows = "".join(
        f"<Bucket>{_tag('Name', name)}{_tag('CreationDate', iso_time(created_ms))}"
        f"{_tag('BucketRegion', region)}</Bucket>"
        for name, created_ms in buckets
    )
    return _document(
        "ListAllMyBucketsResult",
        (
            _owner(owner_id),
            f"<Buckets>{rows}</Buckets>",
            "" if next_token is None else _tag("ContinuationToken", next_token),
            _tag("Prefix", prefix) if prefix else "",
        ),
    )


def location(region: str) -> bytes:
    """GetBucketLocation: ``us-east-1`` is written as nothing, as it always was."""
    return _document("LocationConstraint", ("" if region == "us-east-1" else escape(region),))


def versioning(status: str) -> bytes:
    """GetBucketVersioning. ``status``: empty where versioning was never enabled or suspended."""
    return _document("VersioningConfiguration", (_tag("Status", status) if status else "",))


def access_control(owner_id: str, grants: Iterable[tuple[str, str, str]]) -> bytes:
    """GetBucketAcl or GetObjectAcl.

    Args:
        grants: of each the type of the grantee, its account or the URI of the group, the
            permission.
    """
    rows = "".join([_grant(*grant) for grant in grants])
    return _document(
        "AccessControlPolicy",
        (_owner(owner_id), f"<AccessControlList>{rows}</AccessControlList>"),
    )


def _grant(kind: str, name: str, permission: str) -> str:
    named = _tag("URI", name)
    if kind == "CanonicalUser":
        named = _tag("ID", name) + _tag("DisplayName", name)
    return (
        '<Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        f'xsi:type="{kind}">{named}</Grantee>{_tag("Permission", permission)}</Grant>'
    )


def configuration(tree: Tree) -> bytes:
    """A configuration."""
    return _document(tree.name, map(_element, tree.children))


def plain_document(tree: Tree, namespace: str = "") -> bytes:
    """A document of another protocol than S3, without S3's namespace."""
    if not namespace:
        return f"{_DECLARATION}{_element(tree)}".encode()
    inner = "".join(map(_element, tree.children))
    return f'{_DECLARATION}<{tree.name} xmlns="{namespace}">{inner}</{tree.name}>'.encode()


def readable(text: str) -> str:
    """Return a text without the characters that XML 1.0 cannot hold."""
    return _NOT_XML.sub("\ufffd", text)


def _element(tree: Tree) -> str:
    inner = "".join(map(_element, tree.children)) if tree.children else escape(tree.text)
    return f"<{tree.name}>{inner}</{tree.name}>"


# --- listings ----------------------------------------------------------------------------------


def _contents(rows: Sequence[ObjectElement], names: _Names, owner: str) -> list[str]:
    return [
        f"<Contents>{names('Key', row.key)}<LastModified>{iso_time(row.modified_ms)}</LastModified>"
        f"{_etag(row.etag)}{_algorithm(row.algorithm, row.checksum_type)}<Size>{row.size}</Size>"
        f"{_owner(row.owner_id) if owner and row.owner_id else owner}"
        f"<StorageClass>{row.storage_class}</StorageClass></Contents>"
        for row in rows
    ]


def _algorithm(algorithm: str, checksum_type: str) -> str:
    if not algorithm:
        return ""
    kind = _tag("ChecksumType", checksum_type) if checksum_type else ""
    return _tag("ChecksumAlgorithm", algorithm) + kind


def list_objects(params: ListObjectsParams, page: ObjectElements) -> bytes:
    """ListObjects. ``NextMarker`` is only shown where there is a delimiter, as S3 does: without
    one, clients go on after the last key."""
    names = _Names(params.encode_url)
    return _document(
        "ListBucketResult",
        (
            _tag("Name", page.bucket),
            names("Prefix", params.prefix),
            names("Marker", params.after),
            names("NextMarker", page.last) if page.truncated and params.delimiter else "",
            _tag("MaxKeys", params.limit),
            names("Delimiter", params.delimiter) if params.delimiter else "",
            names.encoding(),
            _flag("IsTruncated", page.truncated),
            *_contents(page.rows, names, _owner(page.owner_id)),
            *names.prefixes(page.prefixes),
        ),
    )


def list_objects_v2(params: ListObjectsV2Params, page: ObjectElements) -> bytes:
    """ListObjectsV2."""
    names = _Names(params.encode_url)
    return _document(
        "ListBucketResult",
        (
            _tag("Name", page.bucket),
            names("Prefix", params.prefix),
            names("StartAfter", params.start_after) if params.start_after else "",
            "" if params.token is None else _tag("ContinuationToken", params.token),
            _tag("NextContinuationToken", make_token(page.last)) if page.truncated else "",
            _tag("KeyCount", len(page.rows) + len(page.prefixes)),
            _tag("MaxKeys", params.limit),
            names("Delimiter", params.delimiter) if params.delimiter else "",
            names.encoding(),
            _flag("IsTruncated", page.truncated),
            *_contents(page.rows, names, _owner(page.owner_id) if params.fetch_owner else ""),
            *names.prefixes(page.prefixes),
        ),
    )


def list_versions(
    bucket: str,
    params: ListVersionsParams,
    rows: Sequence[VersionElement],
    prefixes: Sequence[bytes],
    *,
    owner_id: str,
    truncated: bool,
    next_key: bytes = b"",
    next_version: str = "",
) -> bytes:
    """ListObjectVersions: versions and delete markers as they come, by key and from the latest on.

    Args:
        next_key: the key or common prefix that the page ends with.
        next_version: the version that it ends with; empty where it ends with a prefix.
    """
    names = _Names(params.encode_url)
    owner = _owner(owner_id)
    after = params.after_version
    is_next = truncated and bool(next_version)
    return _document(
        "ListVersionsResult",
        (
            _tag("Name", bucket),
            names("Prefix", params.prefix),
            names("KeyMarker", params.after),
            _tag("VersionIdMarker", "" if after is None else version_text(after)),
            names("NextKeyMarker", next_key) if truncated else "",
            _tag("NextVersionIdMarker", next_version) if is_next else "",
            _tag("MaxKeys", params.limit),
            names("Delimiter", params.delimiter) if params.delimiter else "",
            names.encoding(),
            _flag("IsTruncated", truncated),
            *(_version_row(row, names, owner) for row in rows),
            *names.prefixes(prefixes),
        ),
    )


def _version_row(row: VersionElement, names: _Names, owner: str) -> str:
    shown = row.object
    head = (
        f"{names('Key', shown.key)}{_tag('VersionId', row.version_id)}"
        f"{_flag('IsLatest', row.is_latest)}"
        f"<LastModified>{iso_time(shown.modified_ms)}</LastModified>"
    )
    if row.is_marker:
        return f"<DeleteMarker>{head}{owner}</DeleteMarker>"
    return (
        f"<Version>{head}{_etag(shown.etag)}{_algorithm(shown.algorithm, shown.checksum_type)}"
        f"<Size>{shown.size}</Size>{_owner(shown.owner_id) if shown.owner_id else owner}"
        f"<StorageClass>{shown.storage_class}</StorageClass></Version>"
    )


def list_uploads(
    bucket: str,
    params: ListUploadsParams,
    rows: Sequence[UploadElement],
    prefixes: Sequence[bytes],
    *,
    owner_id: str,
    truncated: bool,
    next_key: bytes = b"",
    next_upload: str = "",
) -> bytes:
    """ListMultipartUploads."""
    names = _Names(params.encode_url)
    people = _owner(owner_id, "Initiator") + _owner(owner_id)
    return _document(
        "ListMultipartUploadsResult",
        (
            _tag("Bucket", bucket),
            names("KeyMarker", params.after),
            _tag("UploadIdMarker", params.after_upload),
            names("NextKeyMarker", next_key) if truncated else "",
            _tag("NextUploadIdMarker", next_upload) if truncated else "",
            names("Prefix", params.prefix),
            names("Delimiter", params.delimiter) if params.delimiter else "",
            names.encoding(),
            _tag("MaxUploads", params.limit),
            _flag("IsTruncated", truncated),
            *(
                f"<Upload>{names('Key', row.key)}{_tag('UploadId', row.upload_id)}{people}"
                f"<StorageClass>{row.storage_class}</StorageClass>"
                f"<Initiated>{iso_time(row.created_ms)}</Initiated>"
                f"{_algorithm(row.algorithm, row.checksum_type)}</Upload>"
                for row in rows
            ),
            *names.prefixes(prefixes),
        ),
    )


def list_parts(
    bucket: str,
    key: bytes,
    upload_id: str,
    params: ListPartsParams,
    rows: Sequence[PartElement],
    *,
    owner_id: str,
    initiator_id: str,
    truncated: bool,
    encode_url: bool = False,
    algorithm: str = "",
    checksum_type: str = "",
    storage_class: str = STANDARD,
) -> bytes:
    """ListParts."""
    return _document(
        "ListPartsResult",
        (
            _tag("Bucket", bucket),
            _Names(encode_url)("Key", key),
            _tag("UploadId", upload_id),
            _owner(initiator_id, "Initiator"),
            _owner(owner_id),
            _tag("StorageClass", storage_class),
            _tag("PartNumberMarker", params.after),
            _tag("NextPartNumberMarker", rows[-1].number if rows else 0),
            _tag("MaxParts", params.limit),
            _flag("IsTruncated", truncated),
            _algorithm(algorithm, checksum_type),
            *(
                f"<Part><PartNumber>{row.number}</PartNumber>"
                f"<LastModified>{iso_time(row.modified_ms)}</LastModified>{_etag(row.etag)}"
                f"<Size>{row.size}</Size>{_checksum(row.algorithm, row.checksum)}</Part>"
                for row in rows
            ),
        ),
    )


def _checksum(algorithm: Algorithm | None, value: str) -> str:
    return _tag("Checksum" + algorithm.value, value) if algorithm is not None and value else ""


# --- writes ------------------------------------------------------------------------------------


def copied(
    root: str, etag: str, modified_ms: int, algorithm: Algorithm | None = None, checksum: str = ""
) -> bytes:
    """CopyObject (``root``: CopyObjectResult) and UploadPartCopy (CopyPartResult)."""
    return _document(
        root,
        (
            f"<LastModified>{iso_time(modified_ms)}</LastModified>",
            _etag(etag),
            _checksum(algorithm, checksum),
        ),
    )


def posted(location: str, bucket: str, key: bytes, etag: str) -> bytes:
    """PostObject, where the form asks for a document. It has no namespace, on S3 either."""
    parts = (
        _tag("Location", location),
        _tag("Bucket", bucket),
        _Names(False)("Key", key),
        _etag(etag),
    )
    return f"{_DECLARATION}<PostResponse>{''.join(parts)}</PostResponse>".encode()


def upload_created(bucket: str, key: bytes, upload_id: str) -> bytes:
    """CreateMultipartUpload."""
    return _document(
        "InitiateMultipartUploadResult",
        (_tag("Bucket", bucket), _Names(False)("Key", key), _tag("UploadId", upload_id)),
    )


def upload_completed(
    place: str,
    bucket: str,
    key: bytes,
    etag: str,
    algorithm: Algorithm | None = None,
    checksum: str = "",
    checksum_type: str = "",
) -> bytes:
    """CompleteMultipartUpload. ``place``: the URL of the object."""
    return _document(
        "CompleteMultipartUploadResult",
        (
            _tag("Location", place),
            _tag("Bucket", bucket),
            _Names(False)("Key", key),
            _etag(etag),
            _checksum(algorithm, checksum),
            _tag("ChecksumType", checksum_type) if checksum_type else "",
        ),
    )


def deleted(
    rows: Iterable[DeletedElement], failures: Iterable[DeleteFailure], *, quiet: bool
) -> bytes:
    """DeleteObjects. ``rows``: what was deleted."""
    names = _Names(False)
    done = (
        f"<Deleted>{names('Key', row.key)}{_version(row.version_id)}{_marker(row.marker)}</Deleted>"
        for row in rows
    )
    failed = (
        f"<Error>{names('Key', each.key)}{_version(each.version_id)}{_tag('Code', each.code)}"
        f"{_tag('Message', each.message)}</Error>"
        for each in failures
    )
    return _document("DeleteResult", (*(() if quiet else done), *failed))


def _marker(version_id: str | None) -> str:
    if version_id is None:
        return ""
    return _flag("DeleteMarker", True) + _tag("DeleteMarkerVersionId", version_id)


def _version(version_id: str | None) -> str:
    return "" if version_id is None else _tag("VersionId", version_id)
