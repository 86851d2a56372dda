"""What file sync and share servers (Nextcloud, ownCloud, oCIS) ask of an external storage."""

from __future__ import annotations

import base64
import hashlib
import zlib
from urllib.parse import quote

import pytest
from gateway_rig import Answer, Rig

from common.limits import MIB


@pytest.fixture
async def rig() -> Rig:
    made = Rig()
    await made.put("/bucket", b"")
    return made


async def test_a_bucket_is_asked_for_with_and_without_a_slash_at_its_end(rig: Rig) -> None:
    for path in ("/bucket", "/bucket/"):
        assert (await rig.ask("HEAD", path)).status == 200
    for path in ("/nothing", "/nothing/"):
        assert (await rig.ask("HEAD", path)).status == 404


async def test_directories_are_empty_objects_whose_keys_end_in_a_slash(rig: Rig) -> None:
    await rig.put("/bucket/dir/", b"", {"content-type": "httpd/unix-directory"})
    await rig.put("/bucket/dir/file", b"x")
    marker = await rig.ask("HEAD", "/bucket/dir/")
    assert (marker.status, marker.headers["content-length"]) == (200, "0")
    assert marker.headers["content-type"] == "httpd/unix-directory"
    assert (await rig.ask("HEAD", "/bucket/dir")).status == 404
    listed = await rig.ask("GET", "/bucket", "delimiter=%2F&prefix=dir%2F")
    assert listed.texts("Contents/Key") == ["dir/", "dir/file"]
    assert (await rig.ask("DELETE", "/bucket/dir/")).status == 204
    assert (await rig.ask("GET", "/bucket/dir/file")).body == b"x"


async def test_lists_of_version_1_encode_keys_for_urls(rig: Rig) -> None:
    for key in ("a b+ü&", "d/e f"):
        await rig.put(f"/bucket/{quote(key)}", b"")
    listed = await rig.ask("GET", "/bucket", "delimiter=%2F&encoding-type=url")
    assert listed.texts("Contents/Key") == ["a%20b%2B%C3%BC%26"]
    assert listed.texts("CommonPrefixes/Prefix") == ["d/"]
    assert listed.text("EncodingType") == "url"


@pytest.mark.parametrize("digest", ["x-amz-checksum-crc32", "content-md5"])
async def test_deletes_need_one_digest_of_any_kind(rig: Rig, digest: str) -> None:
    await rig.put("/bucket/key", b"content")
    body = b"<Delete><Object><Key>key</Key></Object></Delete>"
    values = {
        "x-amz-checksum-crc32": zlib.crc32(body).to_bytes(4, "big"),
        "content-md5": hashlib.md5(body).digest(),
    }
    headers = {digest: base64.b64encode(values[digest]).decode()}
    answer = await rig.ask("POST", "/bucket", "delete=", body, headers)
    assert (answer.status, answer.texts("Deleted/Key")) == (200, ["key"])


async def test_deletes_say_the_etag_size_and_time_that_a_key_must_have(rig: Rig) -> None:
    put = await rig.put("/bucket/key", b"content")
    etag = put.headers["etag"]
    modified = (await rig.ask("HEAD", "/bucket/key")).headers["last-modified"]
    wrong = (
        "<Size>8</Size>",
        '<ETag>"0"</ETag>',
        f"<ETag>{etag}</ETag><Size>8</Size>",
        "<LastModifiedTime>Thu, 01 Jan 1970 00:00:00 GMT</LastModifiedTime>",
        "<LastModifiedTime>1970-01-01T00:00:00.000Z</LastModifiedTime><Size>7</Size>",
    )
    for said in wrong:
        answer = await _delete(rig, f"<Object><Key>key</Key>{said}</Object>")
        assert answer.texts("Error/Code") == ["PreconditionFailed"], said
    gone = await _delete(rig, "<Object><Key>nothing</Key><Size>7</Size></Object>")
    assert gone.texts("Error/Code") == ["NoSuchKey"]
    right = f"<ETag>{etag}</ETag><Size>7</Size><LastModifiedTime>{modified}</LastModifiedTime>"
    done = await _delete(rig, f"<Object><Key>key</Key>{right}</Object>")
    assert done.texts("Deleted/Key") == ["key"]
    for said in ("<Size>x</Size>", "<Size>-1</Size>", "<LastModifiedTime>x</LastModifiedTime>"):
        bad = await _delete(rig, f"<Object><Key>key</Key>{said}</Object>")
        assert (bad.status, bad.code) == (400, "MalformedXML")


async def _delete(rig: Rig, objects: str) -> Answer:
    body = f"<Delete>{objects}</Delete>".encode()
    md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
    return await rig.ask("POST", "/bucket", "delete=", body, {"content-md5": md5})


@pytest.mark.parametrize(
    "source",
    [
        "bucket/a b+c",
        "/bucket/a b+c",
        "bucket/a%20b%2Bc",
        "/bucket/a%20b%2Bc",
        "bucket%2Fa%20b%2Bc",
        "%2Fbucket%2Fa%20b%2Bc",
    ],
)
async def test_sources_of_copies_come_in_every_way(rig: Rig, source: str) -> None:
    key = "a b c" if "+" in source else "a b+c"  # a plus stands for a space, as on S3
    await rig.put(f"/bucket/{quote(key)}", b"content")
    answer = await rig.ask("PUT", "/bucket/copy", "", b"", {"x-amz-copy-source": source})
    assert answer.status == 200, answer.body
    assert (await rig.ask("GET", "/bucket/copy")).body == b"content"


async def test_an_object_is_copied_onto_itself_with_new_metadata(rig: Rig) -> None:
    await rig.put("/bucket/key", b"content", {"x-amz-meta-a": "old"})
    headers = {
        "x-amz-copy-source": "bucket/key",
        "x-amz-metadata-directive": "REPLACE",
        "x-amz-meta-mtime": "1700000000",
        "content-type": "text/plain",
    }
    assert (await rig.ask("PUT", "/bucket/key", "", b"", headers)).status == 200
    stored = await rig.ask("GET", "/bucket/key")
    assert (stored.body, stored.headers["content-type"]) == (b"content", "text/plain")
    assert stored.headers["x-amz-meta-mtime"] == "1700000000"
    assert "x-amz-meta-a" not in stored.headers


async def test_ranges_of_objects_are_copied_as_parts(rig: Rig) -> None:
    content = bytes(range(256)) * (24 * MIB // 1024)
    await rig.put("/bucket/source", content)
    begun = await rig.ask("POST", "/bucket/joined", "uploads=")
    upload_id = begun.text("UploadId")
    rows = []
    for number, (first, last) in enumerate([(0, 5 * MIB - 1), (5 * MIB, len(content) - 1)], 1):
        headers = {
            "x-amz-copy-source": "/bucket/source",
            "x-amz-copy-source-range": f"bytes={first}-{last}",
        }
        query = f"partNumber={number}&uploadId={upload_id}"
        answer = await rig.ask("PUT", "/bucket/joined", query, b"", headers)
        rows.append(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{answer.text('ETag')}</ETag></Part>"
        )
    body = f"<CompleteMultipartUpload>{''.join(rows)}</CompleteMultipartUpload>"
    done = await rig.ask("POST", "/bucket/joined", f"uploadId={upload_id}", body.encode())
    assert done.status == 200, done.body
    assert (await rig.ask("GET", "/bucket/joined")).body == content


async def test_a_signed_header_may_be_empty(rig: Rig) -> None:
    for headers in ({"x-amz-meta-empty": ""}, {"content-md5": ""}, {"x-amz-tagging": ""}):
        answer = await rig.ask("PUT", "/bucket/key", "", b"content", headers)
        assert answer.status == 200 or "content-md5" in headers, answer.body
    assert (await rig.ask("HEAD", "/bucket/key")).status == 200


async def test_a_client_that_waits_to_go_on_is_answered(rig: Rig) -> None:
    answer = await rig.ask("PUT", "/bucket/key", "", b"content", {"expect": "100-continue"})
    assert answer.status == 200


@pytest.mark.parametrize("key", ["urn:oid:7", "urn:oid:12345", "a:b/c:d", "::"])
async def test_keys_have_colons(rig: Rig, key: str) -> None:
    encoded = f"/bucket/{quote(key, safe='/')}"
    assert (await rig.ask("PUT", encoded, "", b"content")).status == 200
    for path in (encoded, f"/bucket/{key}"):  # signed alike, however they are sent
        headers = rig.sign("GET", encoded, "", {})
        assert (await rig.send("GET", path, "", b"", headers)).body == b"content"
    assert (await rig.ask("GET", "/bucket")).texts("Contents/Key") == [key]


async def test_versioning_and_rights_of_a_bucket_can_be_asked_for(rig: Rig) -> None:
    versioning = await rig.ask("GET", "/bucket", "versioning=")
    assert (versioning.status, versioning.text("Status")) == (200, None)
    rights = await rig.ask("GET", "/bucket", "acl=")
    assert (rights.status, rights.texts("AccessControlList/Grant/Permission")) == (
        200,
        ["FULL_CONTROL"],
    )
