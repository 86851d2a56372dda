"""Objects, looked up and opened: every record under the id of the bucket that was asked about.

The id comes from the bucket's settings, which are sealed with its name, never from the answer that
is being opened: an object of another bucket, or of another version than asked for, shows nothing.

Source: docs/crypto.md, "Answers and questions".
"""

from __future__ import annotations

from dataclasses import dataclass

from common.crypto.keys import TenantKey
from common.errors import Corrupt
from common.format.manifest import Manifest, open_manifest
from common.format.objects import ObjectMetadata, unpack_object
from common.ids import VersionId
from common.wire.messages.objects import ObjectGet, ObjectRecord
from gateway_s3.backend import Backend
from gateway_s3.request.ranges import Span


@dataclass(frozen=True, slots=True)
class FoundObject:
    """An object that was looked up and opened."""

    record: ObjectRecord
    manifest: Manifest
    metadata: ObjectMetadata

    @property
    def modified_s(self) -> int:
        """When it was made: unix seconds, as ``last-modified`` shows it."""
        return self.metadata.modified_ms // 1000


async def find_object(
    backend: Backend,
    tenant: TenantKey,
    bucket: str,
    name: bytes,
    *,
    span: Span | None = None,
    version_id: VersionId | None = None,
) -> FoundObject:
    """Look an object up and open its manifest.

    Args:
        span: also the places of these bytes; they may reach beyond the end.
        version_id: this version, even if another is current by now.

    Raises:
        NotFound: no such bucket, object or version.
        Corrupt: its record is not authentic, or not of this bucket, or of another size.
    """
    first, last = (span.first, span.last) if span is not None else (0, 0)
    record: ObjectRecord = await backend.buckets.ask(
        tenant, ObjectGet(tenant.tenant_id, bucket, name, version_id, span is not None, first, last)
    )
    manifest = open_manifest(tenant, record.bucket_id, name, record.version_id, record.sealed)
    if record.size != manifest.size:
        raise Corrupt("size_mismatch", size=record.size)
    return FoundObject(record, manifest, unpack_object(manifest.metadata))
