"""What a line about an object says of whose it is and of who may do what to it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from common.crypto.keys import TenantKey
from common.errors import Corrupt
from common.format.access_lists import AccessList, AclGrant, AclPermission, Grantee
from common.format.class_names import pack_class_name
from common.format.manifest import seal_acl, seal_class_name
from common.format.objects import METADATA_VERSION, ObjectMetadata
from common.ids import BucketId, TenantId, VersionId
from common.wire.messages.locks import NO_LOCK
from coordinator.store.restoring import RestorableBucket, RestorableVersion
from rescue.records import object_record

OWNER = TenantKey(TenantId(b"o" * 16), b"k" * 32)
BUCKET = RestorableBucket(1, BucketId(b"b" * 16), "bucket", 0, 1, b"")
VERSION = RestorableVersion(
    1, 1, b"key", VersionId(b"v" * 16), False, 0, b"", b"", b"", True, NO_LOCK, b"", b""
)
METADATA = ObjectMetadata(METADATA_VERSION, "0" * 32, 0, (), (), None)


def test_an_object_without_a_list_is_its_buckets() -> None:
    record = object_record(OWNER, BUCKET, VERSION, METADATA, size=1, path="p")
    assert (record["owner"], record["grants"]) == (None, None)
    assert record["class_name"] is None


def test_an_object_has_the_class_that_was_asked_for() -> None:
    place = (BUCKET.bucket_id, VERSION.name, VERSION.version_id)
    sealed = seal_class_name(OWNER, *place, pack_class_name("GLACIER_IR"), bytes)
    version = replace(VERSION, class_name=sealed)
    record = object_record(OWNER, BUCKET, version, METADATA, size=1, path="p")
    assert record["class_name"] == "GLACIER_IR"
    with pytest.raises(Corrupt):
        object_record(OWNER, BUCKET, replace(version, name=b"other"), METADATA, size=1, path="p")


def test_an_object_has_its_owner_and_its_list() -> None:
    grants = (
        AclGrant(Grantee.ACCOUNT, b"w" * 16, AclPermission.FULL_CONTROL),
        AclGrant(Grantee.EVERYONE, b"", AclPermission.READ),
    )
    place = (BUCKET.bucket_id, VERSION.name, VERSION.version_id)
    sealed = seal_acl(OWNER, *place, AccessList(1, grants).pack(), bytes)
    version, metadata = replace(VERSION, acl=sealed), replace(METADATA, owner=b"w" * 16)
    record = object_record(OWNER, BUCKET, version, metadata, size=1, path="p")
    assert record["owner"] == (b"w" * 16).hex()
    assert record["grants"] == [
        {"grantee": (b"w" * 16).hex(), "permission": "FULL_CONTROL"},
        {"grantee": "EVERYONE", "permission": "READ"},
    ]
    with pytest.raises(Corrupt):
        object_record(OWNER, BUCKET, replace(version, name=b"other"), metadata, size=1, path="p")
