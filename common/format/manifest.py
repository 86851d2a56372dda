"""Records that gateways seal under the tenant key: manifests, parts, summaries, delete markers,
upload and bucket records, access keys.

The coordinator stores these records and cannot read them. Each is bound to where it belongs, so
none opens in another's place. Every ``open_*`` raises only ``Corrupt``: ``record_not_authentic``
(not ours, or not here), or ``record_not_understood`` (authentic, of a newer version).

Source: docs/manifest-format.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Final, TypeAlias, TypeVar

from common import limits
from common.crypto.inner_layer import unpack_stretches
from common.crypto.keys import RECORD_OVERHEAD_BYTES, TenantKey, commitment_of
from common.data_classes import dataclass
from common.errors import Corrupt, PeerViolation, Refused
from common.format.envelope import InnerLayer
from common.ids import BucketId, VersionId
from common.ports import Entropy
from common.reasons import Damage, Refusal
from common.wire.records import Max, Record, Size

MANIFEST_VERSION: Final = 1
SUMMARY_PLAINTEXT_BYTES: Final = limits.MAX_SUMMARY_BYTES - RECORD_OVERHEAD_BYTES
_MANIFEST: Final = "manifest"
_PART: Final = "part"
_SUMMARY: Final = "summary"
_TAGS: Final = "tags"
_ACL: Final = "acl"
_CLASS_NAME: Final = "class-name"
_MARKER: Final = "delete-marker"
_UPLOAD: Final = "upload"
_BUCKET_SETTINGS: Final = "bucket-settings"
_EVENT: Final = "event"
_ACCESS_KEY: Final = "access-key"
_USER_KEY: Final = "user-key"

R = TypeVar("R", bound=Record)
UploadKey: TypeAlias = Annotated[bytes, Size(32)]


@dataclass(frozen=True, slots=True)
class PageEntry(Record):
    """A page of extents: its digest (:func:`common.crypto.digest.page_digest`) and how many
    plaintext bytes of the object it holds."""

    digest: Annotated[bytes, Size(32)]
    size: int


@dataclass(frozen=True, slots=True)
class Manifest(Record):
    """The secret and the binding half of a version or part.

    ``size``: plaintext bytes. ``pages``: in order; their sizes add up to ``size``. ``keys``: the
    upload keys, each once; extents name them by commitment. ``metadata``: what the gateway packs.
    ``inner``: the inner layer of a protected version or part: what stripes hold of it is encrypted
    once more.
    """

    version: int
    size: int
    pages: Annotated[tuple[PageEntry, ...], Max(limits.MAX_PAGES_PER_OBJECT)]
    keys: Annotated[tuple[UploadKey, ...], Max(limits.MAX_UPLOAD_KEYS_PER_OBJECT)] = field(
        repr=False
    )
    metadata: Annotated[bytes, Max(limits.MAX_METADATA_BYTES)]
    inner: InnerLayer | None = None

    def keys_by_commitment(self) -> Mapping[bytes, bytes]:
        """The upload keys by their commitments: what an extent's commitment looks up."""
        return {commitment_of(key): key for key in self.keys}


@dataclass(frozen=True, slots=True)
class AccessKeyRecord(Record):
    """The secret half of an access key. ``created_ms``: unix milliseconds. ``old_signatures``: its
    holder's tools know no signatures but those of a protocol's older version."""

    secret: Annotated[str, Max(128)] = field(repr=False)
    created_ms: int
    old_signatures: bool = False


def _seal(
    tenant: TenantKey, purpose: str, context: tuple[bytes, ...], plaintext: bytes, entropy: Entropy
) -> bytes:
    sealed_bytes = len(plaintext) + RECORD_OVERHEAD_BYTES
    if sealed_bytes > limits.MAX_SEALED_RECORD_BYTES:
        raise Refused(Refusal.RECORD_TOO_LARGE, purpose=purpose, sealed_bytes=sealed_bytes)
    return tenant.seal(purpose, context, plaintext, entropy)


def _understood(record: type[R], plaintext: bytes) -> R:
    try:
        return record.unpack(plaintext)
    except PeerViolation as error:
        raise Corrupt(Damage.RECORD_NOT_UNDERSTOOD, record=record.__name__) from error


def _checked(manifest: Manifest) -> Manifest:
    if manifest.version != MANIFEST_VERSION:
        raise Corrupt(Damage.RECORD_NOT_UNDERSTOOD, record="Manifest", version=manifest.version)
    if sum(page.size for page in manifest.pages) != manifest.size:
        raise Corrupt(Damage.RECORD_NOT_UNDERSTOOD, record="Manifest")
    if manifest.inner is not None:
        stretches = unpack_stretches(manifest.inner.stretches)
        if sum(each.length for each in stretches) != manifest.size:
            raise Corrupt(Damage.RECORD_NOT_UNDERSTOOD, record="Manifest")
    return manifest


def _packed(manifest: Manifest) -> bytes:
    assert manifest.version == MANIFEST_VERSION
    assert sum(page.size for page in manifest.pages) == manifest.size
    return manifest.pack()


def seal_manifest(
    tenant: TenantKey,
    bucket_id: BucketId,
    name: bytes,
    version_id: VersionId,
    manifest: Manifest,
    entropy: Entropy,
) -> bytes:
    """Seal the manifest of one version of one name.

    Raises:
        Refused: ``record_too_large``: pages, keys and metadata together do not fit
            MAX_SEALED_RECORD_BYTES.
    """
    return _seal(tenant, _MANIFEST, (bucket_id, name, version_id), _packed(manifest), entropy)


def open_manifest(
    tenant: TenantKey, bucket_id: BucketId, name: bytes, version_id: VersionId, sealed: bytes
) -> Manifest:
    """The manifest of this version of this name in this bucket.

    Raises:
        Corrupt: ``record_not_authentic``, ``record_not_understood``.
    """
    plaintext = tenant.open(_MANIFEST, (bucket_id, name, version_id), sealed)
    return _checked(_understood(Manifest, plaintext))


def _part_context(
    bucket_id: BucketId, name: bytes, upload_id: VersionId, part_number: int, part_id: VersionId
) -> tuple[bytes, ...]:
    return (bucket_id, name, upload_id, part_number.to_bytes(4, "big"), part_id)


def seal_part(
    tenant: TenantKey,
    bucket_id: BucketId,
    name: bytes,
    upload_id: VersionId,
    part_number: int,
    part_id: VersionId,
    manifest: Manifest,
    entropy: Entropy,
) -> bytes:
    """Seal the manifest of one try at one part of an upload in parts.

    Args:
        part_number: 1..MAX_PARTS.
        part_id: drawn for this try.

    Raises:
        Refused: ``record_too_large``.
    """
    context = _part_context(bucket_id, name, upload_id, part_number, part_id)
    return _seal(tenant, _PART, context, _packed(manifest), entropy)


def open_part(
    tenant: TenantKey,
    bucket_id: BucketId,
    name: bytes,
    upload_id: VersionId,
    part_number: int,
    part_id: VersionId,
    sealed: bytes,
) -> Manifest:
    """The manifest of this part.

    Raises:
        Corrupt: ``record_not_authentic``, ``record_not_understood``.
    """
    context = _part_context(bucket_id, name, upload_id, part_number, part_id)
    return _checked(_understood(Manifest, tenant.open(_PART, context, sealed)))


def seal_summary(
    tenant: TenantKey,
    bucket_id: BucketId,
    name: bytes,
    version_id: VersionId,
    summary: bytes,
    entropy: Entropy,
) -> bytes:
    """Seal what listings show of a version.

    Args:
        summary: packed by the gateway, at most SUMMARY_PLAINTEXT_BYTES.
    """
    assert len(summary) <= SUMMARY_PLAINTEXT_BYTES
    return tenant.seal(_SUMMARY, (bucket_id, name, version_id), summary, entropy)


def open_summary(
    tenant: TenantKey, bucket_id: BucketId, name: bytes, version_id: VersionId, sealed: bytes
) -> bytes:
    """Return what was sealed for this version of this name.

    Raises:
        Corrupt: ``record_not_authentic``.
    """
    return tenant.open(_SUMMARY, (bucket_id, name, version_id), sealed)


def seal_tags(
    tenant: TenantKey,
    bucket_id: BucketId,
    name: bytes,
    version_id: VersionId,
    tags: bytes,
    entropy: Entropy,
) -> bytes:
    """Seal the tags of a version (packed by the gateway, at most MAX_TAGS_RECORD_BYTES)."""
    assert len(tags) <= limits.MAX_TAGS_RECORD_BYTES
    return tenant.seal(_TAGS, (bucket_id, name, version_id), tags, entropy)


def open_tags(
    tenant: TenantKey, bucket_id: BucketId, name: bytes, version_id: VersionId, sealed: bytes
) -> bytes:
    """Return what was sealed as the tags of this version of this name.

    Raises:
        Corrupt: ``record_not_authentic``.
    """
    return tenant.open(_TAGS, (bucket_id, name, version_id), sealed)


def seal_acl(
    tenant: TenantKey,
    bucket_id: BucketId,
    name: bytes,
    version_id: VersionId,
    acl: bytes,
    entropy: Entropy,
) -> bytes:
    """Seal the access control list of a version (packed, at most MAX_ACL_RECORD_BYTES)."""
    assert len(acl) <= limits.MAX_ACL_RECORD_BYTES
    return tenant.seal(_ACL, (bucket_id, name, version_id), acl, entropy)


def open_acl(
    tenant: TenantKey, bucket_id: BucketId, name: bytes, version_id: VersionId, sealed: bytes
) -> bytes:
    """Return what was sealed as the access control list of this version of this name.

    Raises:
        Corrupt: ``record_not_authentic``.
    """
    return tenant.open(_ACL, (bucket_id, name, version_id), sealed)


def seal_class_name(
    tenant: TenantKey,
    bucket_id: BucketId,
    name: bytes,
    version_id: VersionId,
    class_name: bytes,
    entropy: Entropy,
) -> bytes:
    """Seal the name of the class that was asked for a version, or for an upload in parts, whose id
    its version has (:func:`common.format.class_names.pack_class_name`)."""
    return tenant.seal(_CLASS_NAME, (bucket_id, name, version_id), class_name, entropy)


def open_class_name(
    tenant: TenantKey, bucket_id: BucketId, name: bytes, version_id: VersionId, sealed: bytes
) -> bytes:
    """Return what was sealed as the class name of this version of this name.

    Raises:
        Corrupt: ``record_not_authentic``.
    """
    return tenant.open(_CLASS_NAME, (bucket_id, name, version_id), sealed)


def seal_marker(
    tenant: TenantKey,
    bucket_id: BucketId,
    name: bytes,
    version_id: VersionId,
    marker: bytes,
    entropy: Entropy,
) -> bytes:
    """Seal the record of a delete marker, which has the place of a version.

    Args:
        marker: packed by the gateway, at most SUMMARY_PLAINTEXT_BYTES.
    """
    assert len(marker) <= SUMMARY_PLAINTEXT_BYTES
    return tenant.seal(_MARKER, (bucket_id, name, version_id), marker, entropy)


def open_marker(
    tenant: TenantKey, bucket_id: BucketId, name: bytes, version_id: VersionId, sealed: bytes
) -> bytes:
    """Return what was sealed for this delete marker.

    Raises:
        Corrupt: ``record_not_authentic``: also of a version with data.
    """
    return tenant.open(_MARKER, (bucket_id, name, version_id), sealed)


def seal_upload(
    tenant: TenantKey,
    bucket_id: BucketId,
    name: bytes,
    upload_id: VersionId,
    record: bytes,
    entropy: Entropy,
) -> bytes:
    """Seal what the gateway must remember of an upload in parts (packed by the gateway).

    Raises:
        Refused: ``record_too_large``.
    """
    return _seal(tenant, _UPLOAD, (bucket_id, name, upload_id), record, entropy)


def open_upload(
    tenant: TenantKey, bucket_id: BucketId, name: bytes, upload_id: VersionId, sealed: bytes
) -> bytes:
    """Return what was sealed for this upload.

    Raises:
        Corrupt: ``record_not_authentic``.
    """
    return tenant.open(_UPLOAD, (bucket_id, name, upload_id), sealed)


def _settings_context(bucket_id: BucketId, name: str, revision: int) -> tuple[bytes, ...]:
    return (bucket_id, name.encode(), revision.to_bytes(8, "big"))


def seal_bucket_settings(
    tenant: TenantKey,
    bucket_id: BucketId,
    name: str,
    revision: int,
    settings: bytes,
    entropy: Entropy,
) -> bytes:
    """Seal the settings of a bucket (packed by the gateway). They bind its name to its id.

    Args:
        revision: that the settings get, 1 for those of a new bucket.

    Raises:
        Refused: ``record_too_large``.
    """
    context = _settings_context(bucket_id, name, revision)
    return _seal(tenant, _BUCKET_SETTINGS, context, settings, entropy)


def open_bucket_settings(
    tenant: TenantKey, bucket_id: BucketId, name: str, revision: int, sealed: bytes
) -> bytes:
    """Return what was sealed for the bucket of this name and id, as settings of this revision.

    Raises:
        Corrupt: ``record_not_authentic``: also when a coordinator answers with another bucket.
    """
    return tenant.open(_BUCKET_SETTINGS, _settings_context(bucket_id, name, revision), sealed)


def seal_event(
    tenant: TenantKey, bucket_id: BucketId, notification_id: bytes, event: bytes, entropy: Entropy
) -> bytes:
    """Seal the event of a notification (packed by the gateway, at most
    MAX_EVENT_BYTES)."""
    assert len(event) <= limits.MAX_EVENT_BYTES
    return tenant.seal(_EVENT, (bucket_id, notification_id), event, entropy)


def open_event(
    tenant: TenantKey, bucket_id: BucketId, notification_id: bytes, sealed: bytes
) -> bytes:
    """Return what was sealed for this notification.

    Raises:
        Corrupt: ``record_not_authentic``.
    """
    return tenant.open(_EVENT, (bucket_id, notification_id), sealed)


def seal_access_key(
    tenant: TenantKey, access_key_id: str, record: AccessKeyRecord, entropy: Entropy
) -> bytes:
    """Seal the secret half of an access key."""
    return tenant.seal(_ACCESS_KEY, (access_key_id.encode(),), record.pack(), entropy)


def open_access_key(tenant: TenantKey, access_key_id: str, sealed: bytes) -> AccessKeyRecord:
    """The secret half of this access key.

    Raises:
        Corrupt: ``record_not_authentic``, ``record_not_understood``.
    """
    plaintext = tenant.open(_ACCESS_KEY, (access_key_id.encode(),), sealed)
    return _understood(AccessKeyRecord, plaintext)


def seal_user_key(
    tenant: TenantKey, access_key_id: str, record: AccessKeyRecord, entropy: Entropy
) -> bytes:
    """Seal the secret half of an access key of a user, for another purpose than one of the tenant's
    own, so that it is never taken for such a one. The tenant's roster says whose it is."""
    return tenant.seal(_USER_KEY, (access_key_id.encode(),), record.pack(), entropy)


def open_user_key(tenant: TenantKey, access_key_id: str, sealed: bytes) -> AccessKeyRecord:
    """Open an access key of a user.

    Raises:
        Corrupt: it is not authentic for this access key id and purpose, or not understood.
    """
    plaintext = tenant.open(_USER_KEY, (access_key_id.encode(),), sealed)
    return _understood(AccessKeyRecord, plaintext)
