"""Metadata of objects, uploads, parts and buckets: records that are sealed inside manifests,
summaries and settings, so that no coordinator or cell ever reads them.

Source: docs/object-format.md.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Final, TypeAlias

from common import limits
from common.data_classes import dataclass
from common.errors import Corrupt
from common.format.envelope import KeyEnvelope
from common.format.versioned import unpack_versioned
from common.ids import DIGEST_BYTES, TENANT_ID_BYTES
from common.reasons import Damage
from common.wire.records import Max, Record, Size

METADATA_VERSION: Final = 1
_PART: Final = struct.Struct(">HQ")

HeaderText: TypeAlias = Annotated[bytes, Max(limits.MAX_HTTP_HEADER_BLOCK_BYTES)]
Headers: TypeAlias = Annotated[tuple[HeaderText, ...], Max(2 * limits.MAX_HTTP_HEADERS)]
"""Names and values in turn, names in lower case: ``(name, value, name, value, ...)``."""
OwnerBytes: TypeAlias = Annotated[bytes, Max(TENANT_ID_BYTES)]
"""The id of a tenant, or empty."""


@dataclass(frozen=True, slots=True)
class Checksum(Record):
    """A checksum of an object. ``value``: base64, and ``-<parts>`` behind a composite one."""

    algorithm: Annotated[str, Max(32)]
    value: Annotated[str, Max(128)]
    composite: bool = False


@dataclass(frozen=True, slots=True)
class ObjectMetadata(Record):
    """Metadata of a version of an object (``Manifest.metadata``).

    ``modified_ms``: when a gateway made it, by its clock, unix milliseconds.
    ``headers``: the content headers; ``user``: user metadata, names
    without the prefix that a protocol's headers put before them.
    ``parts``: number and size of each part (:func:`pack_parts`), empty for a single PUT.
    ``part_checksums``: the parts' digests of the checksum's algorithm, joined, or empty.
    ``owner``: the tenant that owns it where that is another than the bucket's owner, or empty.
    """

    version: int
    etag: Annotated[str, Max(64)]
    modified_ms: int
    headers: Headers
    user: Headers
    checksum: Checksum | None
    parts: Annotated[bytes, Max(_PART.size * limits.MAX_PARTS)] = b""
    part_checksums: Annotated[bytes, Max(DIGEST_BYTES * limits.MAX_PARTS)] = b""
    owner: OwnerBytes = b""


@dataclass(frozen=True, slots=True)
class ObjectSummary(Record):
    """The facts that a listing row shows beside the name. ``owner``: as of the metadata."""

    version: int
    etag: Annotated[str, Max(64)]
    size: int
    modified_ms: int
    algorithm: Annotated[str, Max(32)] = ""
    composite: bool = False
    owner: OwnerBytes = b""


@dataclass(frozen=True, slots=True)
class DeleteMarker(Record):
    """A delete marker. ``modified_ms``: when a gateway made it, by its clock, unix milliseconds."""

    version: int
    modified_ms: int


@dataclass(frozen=True, slots=True)
class UploadInfo(Record):
    """Headers and checksum that an upload in parts was begun with. ``algorithm``: the one that the
    client asked for, or empty: then CRC64NVME is computed. ``tags``: a packed
    :class:`common.format.configurations.Tags`, or empty. ``envelope``: with the object key under
    which its parts are protected; None: they are not. ``acl``: a packed
    :class:`common.format.access_lists.AccessList`, or empty. ``owner``: of the object, as of its
    metadata. ``initiator``: the tenant that began it where that is not the bucket's owner, or
    empty."""

    version: int
    headers: Headers
    user: Headers
    algorithm: Annotated[str, Max(32)] = ""
    composite: bool = False
    tags: Annotated[bytes, Max(limits.MAX_TAGS_RECORD_BYTES)] = b""
    envelope: KeyEnvelope | None = None
    acl: Annotated[bytes, Max(limits.MAX_ACL_RECORD_BYTES)] = b""
    owner: OwnerBytes = b""
    initiator: OwnerBytes = b""


@dataclass(frozen=True, slots=True)
class PartMetadata(Record):
    """Metadata of a part (``Manifest.metadata`` of the part). ``modified_ms``: as of an object."""

    version: int
    md5: Annotated[bytes, Size(16)]
    modified_ms: int
    algorithm: Annotated[str, Max(32)]
    checksum: Annotated[bytes, Max(DIGEST_BYTES)]


@dataclass(frozen=True, slots=True)
class BucketDocument(Record):
    """A configuration of a bucket. ``kind``: one of its protocol's; ``body``: as the module of that
    kind packs it."""

    kind: Annotated[str, Max(32)]
    body: Annotated[bytes, Max(limits.MAX_BUCKET_DOCUMENT_BYTES)]


@dataclass(frozen=True, slots=True)
class BucketSettings(Record):
    """Settings of a bucket. ``created_ms``: when a gateway made it, by its clock, unix
    milliseconds. ``documents``: at most one of a kind, in the order of their kinds."""

    version: int
    created_ms: int
    documents: Annotated[tuple[BucketDocument, ...], Max(limits.MAX_BUCKET_DOCUMENTS)] = ()

    def document(self, kind: str) -> bytes | None:
        """Return the body of the document of a kind; None if there is none."""
        for each in self.documents:
            if each.kind == kind:
                return each.body
        return None

    def with_document(self, kind: str, body: bytes | None) -> BucketSettings:
        """Return these settings with the document of a kind set, or without it (None)."""
        kept = [each for each in self.documents if each.kind != kind]
        if body is not None:
            kept.append(BucketDocument(kind, body))
        return replace(self, documents=tuple(sorted(kept, key=lambda each: each.kind)))


@dataclass(frozen=True, slots=True)
class PartSpan:
    """Part ``number`` of an object: ``size`` bytes from ``start`` on; ``index`` counts from 0."""

    index: int
    number: int
    start: int
    size: int


def pack_parts(parts: list[tuple[int, int]]) -> bytes:
    """Pack (number, size) of every part, in order."""
    return b"".join([_PART.pack(number, size) for number, size in parts])


def part_count(metadata: ObjectMetadata) -> int:
    """Return the number of parts that the object was made of; 0 for a single PUT or a copy."""
    return len(metadata.parts) // _PART.size


def part_spans(metadata: ObjectMetadata) -> Iterator[PartSpan]:
    """Every part in order with the place of its bytes in the object."""
    start = 0
    for index, (number, size) in enumerate(_PART.iter_unpack(metadata.parts)):
        yield PartSpan(index, number, start, size)
        start += size


def unpack_object(data: bytes) -> ObjectMetadata:
    """Read the metadata of an opened manifest.

    Raises:
        Corrupt: ``bad_metadata``: authentic bytes that this version cannot read.
    """
    metadata = unpack_versioned(ObjectMetadata, METADATA_VERSION, "object", data)
    if len(metadata.parts) % _PART.size:
        raise Corrupt(Damage.BAD_METADATA, what="object", version=metadata.version)
    return metadata


def unpack_summary(data: bytes) -> ObjectSummary:
    """Read the summary of a listing row. Raises Corrupt ``bad_metadata``."""
    return unpack_versioned(ObjectSummary, METADATA_VERSION, "summary", data)


def unpack_marker(data: bytes) -> DeleteMarker:
    """Read the record of a delete marker. Raises Corrupt ``bad_metadata``."""
    return unpack_versioned(DeleteMarker, METADATA_VERSION, "marker", data)


def unpack_upload(data: bytes) -> UploadInfo:
    """Read what an upload was begun with. Raises Corrupt ``bad_metadata``."""
    return unpack_versioned(UploadInfo, METADATA_VERSION, "upload", data)


def unpack_bucket(data: bytes) -> BucketSettings:
    """Read the settings of a bucket. Raises Corrupt ``bad_metadata``."""
    return unpack_versioned(BucketSettings, METADATA_VERSION, "bucket", data)


def unpack_part(data: bytes) -> PartMetadata:
    """Read the metadata of a part. Raises Corrupt ``bad_metadata``."""
    return unpack_versioned(PartMetadata, METADATA_VERSION, "part", data)


def summary_of(metadata: ObjectMetadata, size: int) -> ObjectSummary:
    """The listing row that belongs to the metadata of an object of ``size`` bytes."""
    checksum = metadata.checksum
    return ObjectSummary(
        METADATA_VERSION,
        metadata.etag,
        size,
        metadata.modified_ms,
        checksum.algorithm if checksum is not None else "",
        checksum is not None and checksum.composite,
        metadata.owner,
    )
