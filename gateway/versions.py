"""Versions of objects, as clients know them: by an id, or as the null version.

Source: docs/s3-compatibility.md, "Versions".
"""

from __future__ import annotations

from enum import IntEnum

from common.crypto.keys import TenantKey
from common.data_classes import dataclass
from common.errors import NotFound
from common.format.manifest import open_marker
from common.format.objects import DeleteMarker, unpack_marker
from common.ids import VersionId
from common.reasons import Absence
from common.wire.messages.buckets import SUSPENDED, UNVERSIONED, VERSIONED
from common.wire.messages.objects import Committed, ObjectRecord


class Versioning(IntEnum):
    """The state of a bucket's versioning."""

    UNVERSIONED = UNVERSIONED
    ENABLED = VERSIONED
    SUSPENDED = SUSPENDED


@dataclass(frozen=True, slots=True)
class VersionName:
    """The name of a version among those of its key. ``version_id``: None of the null version."""

    version_id: VersionId | None


def name_of_new(version_id: VersionId, committed: Committed) -> VersionName | None:
    """The name of a version that was committed; None where its bucket never had versions."""
    return _name(version_id, committed.versioning, committed.versioning != VERSIONED)


def name_of(record: ObjectRecord) -> VersionName | None:
    """The name of a version that was looked up; None where its bucket never had versions."""
    return _name(record.version_id, record.versioning, record.is_null)


def _name(version_id: VersionId, versioning: int, is_null: bool) -> VersionName | None:
    if versioning == UNVERSIONED:
        return None
    return VersionName(None if is_null else version_id)


def marker_of(owner: TenantKey, name: bytes, record: ObjectRecord) -> DeleteMarker:
    """Open a delete marker that was looked up.

    Raises:
        Corrupt: ``record_not_authentic``: it is none of this name and id in this bucket.
    """
    sealed = open_marker(owner, record.bucket_id, name, record.version_id, record.sealed)
    return unpack_marker(sealed)


def deleted_by(record: ObjectRecord, marker: DeleteMarker, *, named: bool) -> NotFound:
    """The error for a version that is a delete marker.

    Args:
        named: the client named it; else it is the latest version of the key.
    """
    return NotFound(
        Absence.DELETE_MARKER,
        version="" if record.is_null else record.version_id.hex(),
        modified_ms=marker.modified_ms,
        named=named,
    )
