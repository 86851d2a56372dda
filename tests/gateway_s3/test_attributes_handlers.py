"""GetObjectAttributes: exactly what is asked for, of objects of one piece and of parts."""

from __future__ import annotations

import base64
import zlib

import pytest
from gateway_rig import Answer, Rig

from common import limits
from common.limits import MIB

ALL = "ETag,Checksum,ObjectParts,StorageClass,ObjectSize"


@pytest.fixture
async def rig() -> Rig:
    made = Rig()
    await made.put("/bucket", b"")
    return made


def crc32(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


async def attributes(
    rig: Rig, path: str, asked: str | None = ALL, headers: dict[str, str] | None = None
) -> Answer:
    named = {} if asked is None else {"x-amz-object-attributes": asked}
    return await rig.ask("GET", path, "attributes=", b"", {**named, **(headers or {})})


async def upload(rig: Rig, sizes: list[int], algorithm: str = "CRC32") -> None:
    headers = {"x-amz-checksum-algorithm": algorithm}
    begun = await rig.ask("POST", "/bucket/parts", "uploads=", b"", headers)
    upload_id = begun.text("UploadId")
    rows = []
    for number, size in enumerate(sizes, 1):
        data = b"%d" % number * size
        answer = await rig.ask(
            "PUT",
            "/bucket/parts",
            f"partNumber={number}&uploadId={upload_id}",
            data,
            {"x-amz-checksum-crc32": crc32(data)},
        )
        rows.append(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{answer.headers['etag']}</ETag>"
            f"<ChecksumCRC32>{crc32(data)}</ChecksumCRC32></Part>"
        )
    body = f"<CompleteMultipartUpload>{''.join(rows)}</CompleteMultipartUpload>"
    done = await rig.ask("POST", "/bucket/parts", f"uploadId={upload_id}", body.encode())
    assert done.status == 200, done.body


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        (ALL, ["ETag", "Checksum", "StorageClass", "ObjectSize"]),
        ("ObjectSize, ETag", ["ETag", "ObjectSize"]),
        ("Checksum", ["Checksum"]),
        ("ObjectParts", []),
        ("StorageClass,StorageClass", ["StorageClass"]),
    ],
)
async def test_what_is_asked_for_is_shown_and_no_more(
    rig: Rig, asked: str, shown: list[str]
) -> None:
    await rig.put("/bucket/key", b"hello", {"x-amz-checksum-crc32": crc32(b"hello")})
    answer = await attributes(rig, "/bucket/key", asked)
    assert answer.status == 200, answer.body
    document = answer.xml()
    assert document.tag == "GetObjectAttributesResponse"
    assert [each.tag for each in document] == shown
    values = {
        "ETag": "5d41402abc4b2a76b9719d911017c592",
        "StorageClass": "STANDARD",
        "ObjectSize": "5",
    }
    for name in set(shown) & set(values):
        assert document.findtext(name) == values[name]
    if "Checksum" in shown:
        assert document.findtext("Checksum/ChecksumCRC32") == crc32(b"hello")
        assert document.findtext("Checksum/ChecksumType") == "FULL_OBJECT"
    head = await rig.ask("HEAD", "/bucket/key")
    assert answer.headers["last-modified"] == head.headers["last-modified"]


async def test_each_attribute_may_be_in_a_line_of_its_own(rig: Rig) -> None:
    await rig.put("/bucket/key", b"hello")
    name = "x-amz-object-attributes"
    signed = rig.sign("GET", "/bucket/key", "attributes=", {name: "ETag,ObjectSize"})
    rest = [pair for pair in signed.items() if pair[0] != name]
    for lines in (("ETag", "ObjectSize"), ("ETag,ObjectSize",)):
        pairs = [*rest, *((name, line) for line in lines)]
        answer = await rig.send("GET", "/bucket/key", "attributes=", b"", pairs)
        assert answer.status == 200, answer.body
        assert [child.tag for child in answer.xml()] == ["ETag", "ObjectSize"]
    other = [*rest, (name, "ObjectSize"), (name, "ETag")]
    assert (await rig.send("GET", "/bucket/key", "attributes=", b"", other)).status == 403


async def test_parts_are_shown_by_pages(rig: Rig) -> None:
    sizes = [5 * MIB, 5 * MIB + 1, 4]
    await upload(rig, sizes)
    whole = await attributes(rig, "/bucket/parts")
    assert whole.text("ObjectSize") == str(sum(sizes))
    assert (whole.text("ETag") or "").endswith("-3")
    assert whole.text("Checksum/ChecksumType") == "COMPOSITE"
    assert whole.text("ObjectParts/PartsCount") == "3"
    assert whole.text("ObjectParts/IsTruncated") == "false"
    assert whole.texts("ObjectParts/Part/Size") == [str(size) for size in sizes]
    assert whole.texts("ObjectParts/Part/ChecksumCRC32") == [
        crc32(b"%d" % number * size) for number, size in enumerate(sizes, 1)
    ]
    for most, after, numbers, truncated in (
        ("2", "0", ["1", "2"], "true"),
        ("2", "2", ["3"], "false"),
        ("1", "1", ["2"], "true"),
        ("5000", "3", [], "false"),
        ("0", "0", [], "true"),
    ):
        headers = {"x-amz-max-parts": most, "x-amz-part-number-marker": after}
        page = await attributes(rig, "/bucket/parts", "ObjectParts", headers)
        assert page.texts("ObjectParts/Part/PartNumber") == numbers
        assert page.text("ObjectParts/IsTruncated") == truncated
        assert page.text("ObjectParts/PartNumberMarker") == after
        assert page.text("ObjectParts/NextPartNumberMarker") == (numbers[-1] if numbers else after)
        assert page.text("ObjectParts/MaxParts") == str(min(int(most), limits.MAX_LIST_ENTRIES))


@pytest.mark.parametrize(
    ("asked", "headers", "code"),
    [
        (None, {}, "InvalidRequest"),
        ("", {}, "InvalidRequest"),
        (",", {}, "InvalidArgument"),
        ("etag", {}, "InvalidArgument"),
        ("ETag,Owner", {}, "InvalidArgument"),
        ("ETag", {"x-amz-max-parts": "x"}, "InvalidArgument"),
        ("ETag", {"x-amz-part-number-marker": "-1"}, "InvalidArgument"),
    ],
)
async def test_what_cannot_be_meant_is_refused(
    rig: Rig, asked: str | None, headers: dict[str, str], code: str
) -> None:
    await rig.put("/bucket/key", b"hello")
    answer = await attributes(rig, "/bucket/key", asked, headers)
    assert (answer.status, answer.code) == (400, code)


async def test_a_missing_bucket_or_key_is_said(rig: Rig) -> None:
    for path, code in (("/nothing/key", "NoSuchBucket"), ("/bucket/nothing", "NoSuchKey")):
        answer = await attributes(rig, path)
        assert (answer.status, answer.code) == (404, code)


async def test_a_version_has_attributes_of_its_own(rig: Rig) -> None:
    body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    await rig.ask("PUT", "/bucket", "versioning=", body)
    first = await rig.put("/bucket/key", b"first")
    await rig.put("/bucket/key", b"second!")
    version = first.headers["x-amz-version-id"]
    headers = {"x-amz-object-attributes": "ObjectSize"}
    answer = await rig.ask("GET", "/bucket/key", f"attributes=&versionId={version}", b"", headers)
    assert (answer.text("ObjectSize"), answer.headers["x-amz-version-id"]) == ("5", version)
    assert (await attributes(rig, "/bucket/key")).text("ObjectSize") == "7"
