"""Frozen bytes of what a gateway seals: in manifests, summaries, uploads, settings and tags."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common import limits
from common.errors import Corrupt
from common.format import access_lists, configurations, objects
from common.format.manifest import SUMMARY_PLAINTEXT_BYTES
from common.limits import MAX_OBJECT_BYTES

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "object-records.json").read_text())
UNPACK = {
    "ObjectMetadata": objects.unpack_object,
    "ObjectSummary": objects.unpack_summary,
    "DeleteMarker": objects.unpack_marker,
    "UploadInfo": objects.unpack_upload,
    "PartMetadata": objects.unpack_part,
    "BucketSettings": objects.unpack_bucket,
    "Tags": configurations.unpack_tags,
    "OriginRules": configurations.unpack_origin_rules,
    "Website": configurations.unpack_website,
    "PolicyText": configurations.unpack_policy,
    "PublicAccess": configurations.unpack_public_access,
    "AccessList": access_lists.unpack_access_list,
    "BucketOwnership": access_lists.unpack_ownership,
    "LifecycleRules": configurations.unpack_lifecycle,
    "BucketEncryption": configurations.unpack_encryption,
    "AccessLogging": configurations.unpack_access_logging,
    "NotificationRules": configurations.unpack_notification_rules,
    "Event": configurations.unpack_event,
}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["record"].partition("(")[0])
def test_a_frozen_record_is_read_and_written_alike(vector: dict[str, str]) -> None:
    data = bytes.fromhex(vector["packed"])
    unpack = UNPACK[vector["record"].partition("(")[0]]
    record = unpack(data)
    assert repr(record) == vector["record"]
    if "older" not in vector:  # of a writer that did not know the last fields
        assert record.pack() == data
    for wrong in (*(data[:length] for length in range(len(data))), data + b"\0"):
        with pytest.raises(Corrupt, match="bad_metadata"):
            unpack(wrong)
    newer = bytes([data[0], 2]) + data[2:]
    with pytest.raises(Corrupt, match="bad_metadata"):
        unpack(newer)


def test_every_record_is_frozen() -> None:
    assert {vector["record"].partition("(")[0] for vector in VECTORS} == set(UNPACK)


@pytest.mark.fault("M8")
def test_the_longest_summary_fits_its_limit() -> None:
    etag = "f" * 32 + "-10000"
    longest = objects.ObjectSummary(1, etag, MAX_OBJECT_BYTES, limits.MAX_UINT, "x" * 32, True)
    assert len(longest.pack()) <= SUMMARY_PLAINTEXT_BYTES // 2
