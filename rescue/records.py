"""Records beside the bytes of objects: one JSON line each.

Bytes that are not UTF-8 stand as lone surrogates, as Python's ``surrogateescape`` makes them, so
that each line gives them back.

Source: docs/rescue.md, "What is written".
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from common.crypto.keys import TenantKey
from common.errors import Corrupt
from common.format.access_lists import AclPermission, Grantee, unpack_access_list
from common.format.class_names import unpack_class_name
from common.format.configurations import unpack_tags
from common.format.manifest import (
    open_acl,
    open_bucket_settings,
    open_class_name,
    open_marker,
    open_tags,
)
from common.format.objects import (
    Headers,
    ObjectMetadata,
    part_spans,
    unpack_bucket,
    unpack_marker,
)
from common.reasons import Damage
from common.wire.messages.buckets import UNVERSIONED, VERSIONED
from common.wire.messages.locks import HOLD_ON, NO_LOCK, Lock
from coordinator.store.restoring import RestorableBucket, RestorableVersion

_VERSIONING = ("", "enabled", "suspended")
_RETENTION = ("", "governance", "compliance")


def line(record: Mapping[str, Any]) -> bytes:
    """Return a record as a line of a file."""
    return json.dumps(record).encode("ascii") + b"\n"


def text(data: bytes) -> str:
    """Return bytes as text that gives them back."""
    return data.decode("utf-8", "surrogateescape")


def bucket_record(tenant: TenantKey, bucket: RestorableBucket) -> dict[str, Any]:
    """Return the record of a bucket, with its configurations as they are packed.

    Raises:
        Corrupt: its settings are not of this bucket.
    """
    settings = unpack_bucket(
        open_bucket_settings(
            tenant, bucket.bucket_id, bucket.name, bucket.revision, bucket.settings
        )
    )
    return {
        "kind": "bucket",
        "bucket": bucket.name,
        "versioning": _VERSIONING[bucket.versioning],
        "created_ms": settings.created_ms,
        "documents": {
            each.kind: base64.b64encode(each.body).decode("ascii") for each in settings.documents
        },
    }


def _named(bucket: RestorableBucket, version: RestorableVersion) -> dict[str, Any]:
    """The names of a version, as S3 clients know it: no id where the bucket never had versions."""
    version_id = version.version_id.hex() if version.versioning == VERSIONED else "null"
    return {
        "bucket": bucket.name,
        "key": text(version.name),
        "version_id": "" if bucket.versioning == UNVERSIONED else version_id,
        "is_latest": version.is_latest,
    }


def marker_record(
    tenant: TenantKey, bucket: RestorableBucket, version: RestorableVersion
) -> dict[str, Any]:
    """Return the record of a delete marker. Raises Corrupt ``record_not_authentic``."""
    opened = open_marker(
        tenant, bucket.bucket_id, version.name, version.version_id, version.summary
    )
    made_ms = unpack_marker(opened).modified_ms
    return {"kind": "delete-marker", **_named(bucket, version), "modified_ms": made_ms}


def object_record(
    tenant: TenantKey,
    bucket: RestorableBucket,
    version: RestorableVersion,
    metadata: ObjectMetadata,
    *,
    size: int,
    path: str,
) -> dict[str, Any]:
    """Return the record of an object's version.

    Raises:
        Corrupt: its tags, its access control list or its class name do not open.
    """
    place = (tenant, bucket.bucket_id, version.name, version.version_id)
    tags: Mapping[str, str] = {}
    if version.tags:
        tags = unpack_tags(open_tags(*place, version.tags)).as_mapping()
    grants = None
    if version.acl:
        opened = open_acl(*place, version.acl)
        grants = [
            {
                "grantee": each.account.hex() or Grantee(each.grantee).name,
                "permission": AclPermission(each.permission).name,
            }
            for each in unpack_access_list(opened).grants
        ]
    class_name = None
    if version.class_name:
        class_name = unpack_class_name(open_class_name(*place, version.class_name))
    checksum = metadata.checksum
    return {
        "kind": "object",
        **_named(bucket, version),
        "path": path,
        "size": size,
        "modified_ms": metadata.modified_ms,
        "etag": metadata.etag,
        "headers": _pairs(metadata.headers),
        "metadata": _pairs(metadata.user),
        "tags": dict(tags),
        "lock": _lock(version.lock),
        "owner": metadata.owner.hex() or None,
        "class_name": class_name,
        "grants": grants,
        "checksum": None if checksum is None else {checksum.algorithm: checksum.value},
        "parts": [each.size for each in part_spans(metadata)],
    }


def _lock(lock: Lock) -> dict[str, Any] | None:
    if lock == NO_LOCK:
        return None
    retention = _RETENTION[lock.mode]
    return {"retention": retention, "until_ms": lock.until_ms, "hold": lock.hold == HOLD_ON}


def missing_record(
    bucket: RestorableBucket, version: RestorableVersion, why: str, cells: list[str]
) -> dict[str, Any]:
    """Return the record of a version that could not be read. ``cells``: those of the segment at
    which it failed."""
    named = _named(bucket, version)
    return {**named, "sequence": version.sequence, "why": why, "cells": cells}


def _pairs(headers: Headers) -> dict[str, str]:
    if len(headers) % 2:
        raise Corrupt(Damage.BAD_METADATA, what="headers")
    names = iter(headers)
    return {text(name): text(value) for name, value in zip(names, names, strict=True)}
