"""Listings of objects and uploads, in as many calls as a page takes.

A coordinator's reply may be shorter than what was asked for; it is asked on until the page is full
or there is no more. What a coordinator returns is ordered by the bytes of the stored names.

Source: docs/protocol.md; docs/crypto.md, "Answers and questions".
"""

from __future__ import annotations

from dataclasses import field
from typing import Generic, TypeVar

import trio

from common.crypto.keys import TenantKey
from common.data_classes import dataclass
from common.errors import Corrupt
from common.format.manifest import open_marker, open_summary
from common.format.objects import ObjectSummary, unpack_marker, unpack_summary
from common.ids import BucketId, VersionId
from common.reasons import Damage
from common.wire.messages.multipart import UploadRow, Uploads, UploadsList
from common.wire.messages.objects import (
    ListedObject,
    ListedVersion,
    Listing,
    ObjectsList,
    VersionListing,
    VersionsList,
)
from gateway.names import NameCodec
from gateway.object_service import ObjectService
from gateway.parts import begun_ms
from gateway.principals import Bucket
from gateway.sealed_class import opened_class_name
from gateway.versions import VersionName

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class ObjectEntry:
    """An object in a listing. ``class_name``: that was asked for; empty: none was."""

    key: bytes
    summary: ObjectSummary
    class_name: str = ""


@dataclass(frozen=True, slots=True)
class VersionEntry:
    """A version or a delete marker in a listing. ``summary``: of a marker only its time counts.
    ``class_name``: as of an object."""

    key: bytes
    summary: ObjectSummary
    version: VersionName
    is_latest: bool
    is_marker: bool
    class_name: str = ""


@dataclass(frozen=True, slots=True)
class UploadEntry:
    """An upload in a listing. ``begun_ms``: unix milliseconds. ``class_name``: of its object."""

    key: bytes
    upload_id: VersionId
    begun_ms: int
    class_name: str = ""


@dataclass(slots=True)
class ListingPage(Generic[Row]):
    """A page of a listing. ``last``: the key or prefix it ends with; ``last_upload``: of a listing
    of uploads, the id it ends with, or empty. ``last_version``: of a listing of versions, the one
    that it ends with; None when it ends with a prefix."""

    rows: list[Row] = field(default_factory=list)
    prefixes: list[bytes] = field(default_factory=list)
    truncated: bool = False
    last: bytes = b""
    last_upload: bytes = b""
    last_version: VersionName | None = None


def _ends(
    page: ListingPage[Row],
    names: NameCodec,
    reply: Listing | VersionListing | Uploads,
    rows: int,
    room: int,
) -> bool:
    """Take in what a reply says beside its rows, and return whether the page ends with it.

    Args:
        rows: in the reply.
        room: entries that were asked for; 0 only of a page that is to have none.
    """
    page.prefixes += [names.decode(each) for each in reply.prefixes]
    page.truncated = reply.truncated and room > 0
    page.last = names.decode(reply.last)
    count = rows + len(reply.prefixes)
    return not reply.truncated or count >= room or not count


async def list_objects(
    service: ObjectService,
    bucket: Bucket,
    *,
    prefix: bytes,
    delimiter: bytes,
    after: bytes,
    limit: int,
) -> ListingPage[ObjectEntry]:
    """Up to ``limit`` keys and prefixes after ``after``; none are asked for with 0.

    Raises:
        NotFound: ``no_such_bucket``.
    """
    page: ListingPage[ObjectEntry] = ListingPage(last=after)
    names = service.names
    while True:
        room = limit - len(page.rows) - len(page.prefixes)
        reply: Listing = await service.buckets.ask(
            bucket,
            ObjectsList(
                bucket.owner.tenant_id,
                bucket.name,
                names.encode(prefix),
                names.encode(delimiter),
                names.encode(page.last),
                room,
            ),
        )
        for row in reply.objects:
            page.rows.append(_object_row(service, bucket.owner, reply.bucket_id, row))
        if _ends(page, names, reply, len(reply.objects), room):
            return page
        await trio.lowlevel.checkpoint()


def _object_row(
    service: ObjectService, owner: TenantKey, bucket_id: BucketId, row: ListedObject
) -> ObjectEntry:
    place = (owner, bucket_id, row.name, row.version_id)
    summary = unpack_summary(open_summary(*place, row.summary))
    if row.size != summary.size:
        raise Corrupt(Damage.SIZE_MISMATCH, size=row.size)
    class_name = opened_class_name(*place, row.class_name)
    return ObjectEntry(service.names.decode(row.name), summary, class_name)


async def list_versions(
    service: ObjectService,
    bucket: Bucket,
    *,
    prefix: bytes,
    delimiter: bytes,
    after: bytes,
    after_version: VersionName | None,
    limit: int,
) -> ListingPage[VersionEntry]:
    """Up to ``limit`` versions, delete markers and prefixes: after the version ``after_version`` of
    the key ``after``, or after all versions of that key. By key, and of each the latest first.

    Raises:
        NotFound: ``no_such_bucket``.
    """
    page: ListingPage[VersionEntry] = ListingPage(last=after, last_version=after_version)
    names = service.names
    while True:
        room = limit - len(page.rows) - len(page.prefixes)
        held = page.last_version
        reply: VersionListing = await service.buckets.ask(
            bucket,
            VersionsList(
                bucket.owner.tenant_id,
                bucket.name,
                names.encode(prefix),
                names.encode(delimiter),
                names.encode(page.last),
                (held.version_id if held is not None else None) or b"",
                held is not None and held.version_id is None,
                room,
            ),
        )
        for row in reply.versions:
            page.rows.append(open_version(service, bucket.owner, reply.bucket_id, row))
        if reply.versions or reply.prefixes:
            page.last_version = page.rows[-1].version if reply.last_version else None
        if _ends(page, names, reply, len(reply.versions), room):
            return page
        await trio.lowlevel.checkpoint()


def open_version(
    service: ObjectService, owner: TenantKey, bucket_id: BucketId, row: ListedVersion
) -> VersionEntry:
    """Open a row of a listing of versions.

    Raises:
        Corrupt: it is not authentic, or not of this bucket, or of another size.
    """
    place = (owner, bucket_id, row.name, row.version_id)
    if row.delete_marker:
        marker = unpack_marker(open_marker(*place, row.summary))
        summary = ObjectSummary(marker.version, "", 0, marker.modified_ms)
    else:
        summary = unpack_summary(open_summary(*place, row.summary))
    if row.size != summary.size:
        raise Corrupt(Damage.SIZE_MISMATCH, size=row.size)
    version = VersionName(None if row.is_null else row.version_id)
    key = service.names.decode(row.name)
    class_name = opened_class_name(*place, row.class_name)
    return VersionEntry(key, summary, version, row.is_latest, row.delete_marker, class_name)


async def list_uploads(
    service: ObjectService,
    bucket: Bucket,
    *,
    prefix: bytes,
    delimiter: bytes,
    after: bytes,
    after_upload: bytes,
    limit: int,
) -> ListingPage[UploadEntry]:
    """Up to ``limit`` uploads in progress and prefixes: after the upload ``after_upload`` of the
    key ``after``, or after all uploads of that key.

    Raises:
        NotFound: ``no_such_bucket``.
        Corrupt: ``bad_upload_id``; a class name of another upload.
    """
    page: ListingPage[UploadEntry] = ListingPage(last=after, last_upload=after_upload)
    names = service.names
    while True:
        room = limit - len(page.rows) - len(page.prefixes)
        reply: Uploads = await service.coordinators.call(
            UploadsList(
                bucket.owner.tenant_id,
                bucket.name,
                names.encode(prefix),
                names.encode(delimiter),
                names.encode(page.last),
                page.last_upload,
                room,
            )
        )
        page.rows += [_upload_row(service, bucket, row) for row in reply.uploads]
        page.last_upload = reply.last_upload
        if _ends(page, names, reply, len(reply.uploads), room):
            return page


def _upload_row(service: ObjectService, bucket: Bucket, row: UploadRow) -> UploadEntry:
    upload_id = row.upload_id
    class_name = opened_class_name(
        bucket.owner, bucket.bucket_id, row.name, upload_id, row.class_name
    )
    return UploadEntry(service.names.decode(row.name), upload_id, begun_ms(upload_id), class_name)
