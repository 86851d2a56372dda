"""Access control lists are obeyed: who reads and writes what.

The expectations about canned lists of buckets and objects are those of published suites
(ceph/s3-tests, the ACL cases).
"""

from __future__ import annotations

import base64
import zlib

import pytest
from acl_client import (
    ACL,
    ALL,
    account,
    anonymous,
    document,
    list_of,
    made,
    other_account,
    set_list,
    statuses,
)

MATRIX = [
    # lists of the bucket and of an object in it; then, for another tenant and for nobody: reading
    # the object, reading one with its default list, listing, overwriting the object, a new one
    ("private", "private", [403, 403, 403, 403, 403], [403, 403, 403, 403, 403]),
    ("private", "public-read", [200, 403, 403, 403, 403], [200, 403, 403, 403, 403]),
    ("private", "public-read-write", [200, 403, 403, 403, 403], [200, 403, 403, 403, 403]),
    ("private", "authenticated-read", [200, 403, 403, 403, 403], [403, 403, 403, 403, 403]),
    ("public-read", "private", [403, 403, 200, 403, 403], [403, 403, 200, 403, 403]),
    ("public-read", "public-read", [200, 403, 200, 403, 403], [200, 403, 200, 403, 403]),
    ("public-read", "public-read-write", [200, 403, 200, 403, 403], [200, 403, 200, 403, 403]),
    ("authenticated-read", "private", [403, 403, 200, 403, 403], [403, 403, 403, 403, 403]),
    ("public-read-write", "private", [403, 403, 200, 200, 200], [403, 403, 200, 200, 200]),
    ("public-read-write", "public-read", [200, 403, 200, 200, 200], [200, 403, 200, 200, 200]),
]


@pytest.mark.parametrize(("of_bucket", "of_object", "other", "nobody"), MATRIX)
async def test_who_reads_and_writes_what_by_canned_lists(
    of_bucket: str, of_object: str, other: list[int], nobody: list[int]
) -> None:
    for key, expected in (("OTHER", other), ("", nobody)):
        rig = await made()
        await rig.put("/bucket/listed", b"content", {"x-amz-acl": of_object})
        await rig.put("/bucket/default", b"content")
        await set_list(rig, "/bucket", of_bucket)
        answers = []
        for method, path, body in (
            ("GET", "/bucket/listed", b""),
            ("GET", "/bucket/default", b""),
            ("GET", "/bucket", b""),
            ("PUT", "/bucket/listed", b"overwritten"),
            ("PUT", "/bucket/new", b"new"),
        ):
            answers += await statuses(rig, method, path, "", body, keys=[key])
        assert answers == expected


async def test_heads_ranges_and_versions_are_read_by_the_list_of_the_very_version() -> None:
    rig = await made()
    versioning = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    await rig.ask("PUT", "/bucket", "versioning=", versioning)
    first = await rig.put("/bucket/key", b"first", {"x-amz-acl": "public-read"})
    second = await rig.put("/bucket/key", b"second")
    old, new = (f"versionId={each.headers['x-amz-version-id']}" for each in (first, second))
    assert await statuses(rig, "GET", "/bucket/key") == [200, 403, 403]
    assert await statuses(rig, "GET", "/bucket/key", old) == [200, 200, 200]
    assert await statuses(rig, "HEAD", "/bucket/key", new) == [200, 403, 403]
    changed = await rig.ask("PUT", "/bucket/key", f"acl=&{old}", b"", {"x-amz-acl": "private"})
    assert changed.status == 200
    assert changed.headers["x-amz-version-id"] == first.headers["x-amz-version-id"]
    await set_list(rig, "/bucket/key", "public-read")
    assert await statuses(rig, "HEAD", "/bucket/key", old) == [200, 403, 403]
    assert await statuses(rig, "GET", "/bucket/key", "", b"", {"range": "bytes=0-2"}) == [206] * 3
    answer = await anonymous(rig, "GET", "/bucket/key")
    assert answer.body == b"second"
    assert (await list_of(rig, "/bucket/key", f"acl=&{old}"))[1] == [(account(rig), "FULL_CONTROL")]
    await rig.ask("DELETE", "/bucket/key")
    assert await statuses(rig, "GET", "/bucket/key") == [404, 403, 403]
    assert await statuses(rig, "GET", "/bucket/key", new) == [200, 200, 200]


async def test_the_rights_on_the_list_itself() -> None:
    rig = await made()
    other = other_account(rig)
    for path in ("/bucket", "/bucket/key"):
        await rig.put("/bucket/key", b"content")
        for permission in ALL:
            await rig.ask("PUT", path, ACL, document(account(rig), (other, permission)))
            reads, writes = (
                permission in {each, "FULL_CONTROL"} for each in ("READ_ACP", "WRITE_ACP")
            )
            answer = await rig.ask("GET", path, ACL, access_key="OTHER")
            assert answer.status == (200 if reads else 403), permission
            body = document(account(rig), (other, permission))
            answer = await rig.ask("PUT", path, ACL, body, access_key="OTHER")
            assert answer.status == (200 if writes else 403), permission
            assert (await anonymous(rig, "GET", path, ACL)).status == 403


async def test_who_may_list_learns_that_a_key_is_missing_and_others_do_not() -> None:
    rig = await made()
    assert await statuses(rig, "GET", "/bucket/missing") == [404, 403, 403]
    assert await statuses(rig, "GET", "/bucket/missing", ACL) == [404, 403, 403]
    await set_list(rig, "/bucket", "public-read")
    for query in ("", ACL):
        assert await statuses(rig, "GET", "/bucket/missing", query) == [404, 404, 404]
    assert await statuses(rig, "HEAD", "/bucket") == [200, 200, 200]
    answer = await anonymous(rig, "GET", "/bucket/missing")
    assert answer.code == "NoSuchKey"


async def test_deleting_takes_the_buckets_write_and_a_version_its_owner() -> None:
    rig = await made()
    for canned, status in (("private", 403), ("public-read", 403), ("public-read-write", 204)):
        await rig.put("/bucket/key", b"content", {"x-amz-acl": "public-read-write"})
        await set_list(rig, "/bucket", canned)
        assert (await rig.ask("DELETE", "/bucket/key", access_key="OTHER")).status == status
    await rig.put("/bucket/key", b"content")
    answer = await rig.ask("DELETE", "/bucket/key", "versionId=null", access_key="OTHER")
    assert answer.status == 403
    listed = b"<Delete><Object><Key>key</Key></Object></Delete>"
    digest = {"x-amz-checksum-crc32": crc32_of(listed)}
    answer = await rig.ask("POST", "/bucket", "delete=", listed, digest, access_key="OTHER")
    assert answer.texts("Deleted/Key") == ["key"]
    await rig.put("/bucket/key", b"content")
    etag = b"9a0364b9e99bb480dd25e1f0284c8555"
    listed = b"<Delete><Object><Key>key</Key><ETag>%b</ETag></Object></Delete>" % etag
    digest = {"x-amz-checksum-crc32": crc32_of(listed)}
    answer = await rig.ask("POST", "/bucket", "delete=", listed, digest, access_key="OTHER")
    assert answer.texts("Error/Code") == ["AccessDenied"], "an ETag shows something of the object"
    await set_list(rig, "/bucket/key", "public-read")
    answer = await rig.ask("POST", "/bucket", "delete=", listed, digest, access_key="OTHER")
    assert answer.texts("Deleted/Key") == ["key"]


def crc32_of(body: bytes) -> str:
    return base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()


async def test_a_condition_on_a_write_needs_the_right_to_read() -> None:
    rig = await made()
    stored = await rig.put("/bucket/key", b"content")
    await set_list(rig, "/bucket", "public-read-write")
    headers = {"if-match": stored.headers["etag"]}
    answer = await rig.ask("PUT", "/bucket/key", "", b"x", headers, access_key="OTHER")
    assert answer.status == 403
    await set_list(rig, "/bucket/key", "public-read")
    answer = await rig.ask("PUT", "/bucket/key", "", b"x", headers, access_key="OTHER")
    assert answer.status == 200
