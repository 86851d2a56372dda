"""Copies share bytes: nothing is written, metadata follows the directive, conditions hold."""

from __future__ import annotations

import base64
import hashlib
import zlib

import pytest
from gateway_rig import Answer, Rig

DATA = bytes(range(256)) * 8
SOURCE = {"x-amz-copy-source": "/bucket/source"}


@pytest.fixture
async def rig() -> Rig:
    made = Rig()
    await made.put("/bucket", b"")
    await made.put("/second", b"")
    await made.put("/bucket/source", DATA, {"Content-Type": "text/plain", "x-amz-meta-a": "b"})
    return made


async def copy(rig: Rig, path: str, headers: dict[str, str], query: str = "") -> Answer:
    return await rig.ask("PUT", path, query, b"", headers)


async def test_a_copy_shares_the_bytes_and_takes_the_metadata(rig: Rig) -> None:
    answer = await copy(rig, "/second/target", SOURCE)
    assert answer.status == 200
    assert answer.text("ETag") == f'"{hashlib.md5(DATA).hexdigest()}"'
    assert len(rig.swarm.segments) == 1
    await rig.ask("DELETE", "/bucket/source")
    got = await rig.ask("GET", "/second/target")
    assert got.body == DATA
    assert got.headers["content-type"] == "text/plain"
    assert got.headers["x-amz-meta-a"] == "b"


async def test_replace_takes_the_requests_metadata(rig: Rig) -> None:
    headers = SOURCE | {
        "x-amz-metadata-directive": "REPLACE",
        "Content-Type": "image/png",
        "x-amz-meta-c": "d",
    }
    assert (await copy(rig, "/bucket/source", headers)).status == 200
    got = await rig.ask("GET", "/bucket/source")
    assert got.body == DATA
    assert got.headers["content-type"] == "image/png"
    assert got.headers["x-amz-meta-c"] == "d"
    assert "x-amz-meta-a" not in got.headers


async def test_a_copy_to_itself_that_changes_nothing_is_refused(rig: Rig) -> None:
    answer = await copy(rig, "/bucket/source", SOURCE)
    assert (answer.status, answer.code) == (400, "InvalidRequest")


async def test_conditions_on_the_source_and_on_the_target(rig: Rig) -> None:
    etag = f'"{hashlib.md5(DATA).hexdigest()}"'
    cases = [
        ({"x-amz-copy-source-if-match": etag}, 200),
        ({"x-amz-copy-source-if-match": '"x"'}, 412),
        ({"x-amz-copy-source-if-none-match": etag}, 412),
        ({"x-amz-copy-source-if-unmodified-since": "Thu, 01 Jan 2015 00:00:00 GMT"}, 412),
        ({"x-amz-copy-source-if-modified-since": "Thu, 01 Jan 2015 00:00:00 GMT"}, 200),
        ({"If-None-Match": "*"}, 412),
        ({"If-Match": etag}, 200),
        ({"If-Match": '"x"'}, 412),
    ]
    for headers, status in cases:
        assert (await copy(rig, "/second/target", SOURCE | headers)).status == status, headers


@pytest.mark.parametrize(
    ("source", "status", "code"),
    [
        ("", 400, "InvalidArgument"),
        ("/", 400, "InvalidArgument"),
        ("bucket", 400, "InvalidArgument"),
        ("bucket/", 400, "InvalidArgument"),
        ("/bucket/none", 404, "NoSuchKey"),
        ("/nobucket/key", 404, "NoSuchBucket"),
        ("/bucket/../second/key", 404, "NoSuchKey"),
        ("/bucket/source?versionId=other", 400, "InvalidArgument"),
        ("/bucket/source?versionId=" + "a1" * 16, 404, "NoSuchVersion"),
        ("/bucket/" + "x" * 1025, 400, "KeyTooLongError"),
    ],
)
async def test_bad_sources(rig: Rig, source: str, status: int, code: str) -> None:
    answer = await copy(rig, "/second/target", {"x-amz-copy-source": source})
    assert (answer.status, answer.code) == (status, code)


async def test_another_tenants_object_cannot_be_copied(rig: Rig) -> None:
    await rig.ask("PUT", "/third", "", b"", access_key="OTHER")
    answer = await rig.ask("PUT", "/third/target", "", b"", SOURCE, access_key="OTHER")
    assert (answer.status, answer.code) == (403, "AccessDenied")


async def test_an_asked_for_checksum_is_computed_by_reading(rig: Rig) -> None:
    answer = await copy(rig, "/second/target", SOURCE | {"x-amz-checksum-algorithm": "CRC32"})
    assert (
        answer.text("ChecksumCRC32")
        == base64.b64encode(zlib.crc32(DATA).to_bytes(4, "big")).decode()
    )
    assert len(rig.swarm.segments) == 1
    assert rig.swarm.open_reads == 0


async def begin(rig: Rig, headers: dict[str, str] | None = None) -> str:
    answer = await rig.ask("POST", "/second/target", "uploads=", b"", headers)
    return answer.text("UploadId") or ""


async def test_parts_can_be_copied_whole_and_in_ranges(rig: Rig) -> None:
    big = bytes(range(251)) * 40_000
    await rig.put("/bucket/big", big)
    upload = await begin(rig)
    source = {"x-amz-copy-source": "bucket/big"}
    first = await copy(
        rig,
        "/second/target",
        source | {"x-amz-copy-source-range": "bytes=100-6000099"},
        f"partNumber=1&uploadId={upload}",
    )
    assert first.status == 200
    again = await copy(
        rig,
        "/second/target",
        source | {"x-amz-copy-source-range": "bytes=100-6000099"},
        f"partNumber=1&uploadId={upload}",
    )
    assert again.text("ETag") == first.text("ETag"), "the same bytes of the same version"
    second = await copy(rig, "/second/target", SOURCE, f"partNumber=2&uploadId={upload}")
    assert second.text("ETag") == f'"{hashlib.md5(DATA).hexdigest()}"'
    rows = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{answer.text('ETag')}</ETag></Part>"
        for number, answer in enumerate((first, second), 1)
    )
    document = f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()
    done = await rig.ask("POST", "/second/target", f"uploadId={upload}", document)
    assert done.status == 200
    got = await rig.ask("GET", "/second/target")
    assert got.body == big[100:6000100] + DATA
    assert len(rig.swarm.segments) == 2, "no data was moved"


async def test_a_copied_part_has_the_checksum_that_the_upload_asks_for(rig: Rig) -> None:
    upload = await begin(rig, {"x-amz-checksum-algorithm": "SHA256"})
    answer = await copy(
        rig,
        "/second/target",
        SOURCE | {"x-amz-copy-source-range": "bytes=1-99"},
        f"partNumber=1&uploadId={upload}",
    )
    digest = base64.b64encode(hashlib.sha256(DATA[1:100]).digest()).decode()
    assert answer.text("ChecksumSHA256") == digest
    assert answer.text("ETag") == f'"{hashlib.md5(DATA[1:100]).hexdigest()}"'


@pytest.mark.parametrize("span", ["bytes=0-2048", "bytes=5-1", "bytes=-5", "0-5", "bytes=0-"])
async def test_bad_copy_ranges(rig: Rig, span: str) -> None:
    upload = await begin(rig)
    answer = await copy(
        rig,
        "/second/target",
        SOURCE | {"x-amz-copy-source-range": span},
        f"partNumber=1&uploadId={upload}",
    )
    assert (answer.status, answer.code) == (400, "InvalidArgument")


@pytest.mark.fault("B01")
@pytest.mark.parametrize("slash", ["", "/"])
async def test_a_plus_in_a_copy_source_is_a_space_and_an_encoded_one_a_plus(
    rig: Rig, slash: str
) -> None:
    contents = {"/bucket/a%20b": b"space", "/bucket/a%2Bb": b"plus", "/bucket/a%252Bb": b"percent"}
    for path, data in contents.items():
        await rig.put(path, data)
    sources = {
        "bucket/a+b": b"space",
        "bucket/a%20b": b"space",
        "bucket%2Fa+b": b"space",
        "bucket/a+b?versionId=null": b"space",
        "bucket/a%2Bb": b"plus",
        "bucket/a%2bb?versionId=nu%6cl": b"plus",
        "bucket%2Fa%2Bb": b"plus",
        "bucket/a%252Bb": b"percent",
        "bucket%2Fa%252Bb": b"percent",
    }
    for source, data in sources.items():
        upload = await begin(rig)
        header = {"x-amz-copy-source": slash + source}
        assert (await copy(rig, "/second/whole", header)).status == 200, source
        assert (await rig.ask("GET", "/second/whole")).body == data, source
        part = await copy(rig, "/second/target", header, f"partNumber=1&uploadId={upload}")
        assert part.text("ETag") == f'"{hashlib.md5(data).hexdigest()}"', source


@pytest.mark.fault("B01")
async def test_the_version_of_a_copy_source_is_split_off_before_it_is_decoded(rig: Rig) -> None:
    await rig.put("/bucket/what%3FversionId%3Dnull", b"question")
    header = {"x-amz-copy-source": "bucket/what%3FversionId%3Dnull"}
    assert (await copy(rig, "/second/target", header)).status == 200
    assert (await rig.ask("GET", "/second/target")).body == b"question"
    for query, code in {
        "?versionId=": "InvalidArgument",
        "?versionId=null&x=y": "InvalidArgument",
        "?versionId=n%75ll2": "InvalidArgument",
    }.items():
        answer = await copy(rig, "/second/target", {"x-amz-copy-source": "bucket/source" + query})
        assert answer.code == code, query


@pytest.mark.fault("B01")
async def test_the_bucket_of_a_copy_source_is_decoded_once(rig: Rig) -> None:
    for source in ("b%2575cket%2Fsource", "b%2575cket/source"):
        answer = await copy(rig, "/second/target", {"x-amz-copy-source": source})
        assert (answer.status, answer.code) == (400, "InvalidArgument")


@pytest.mark.fault("B46")
async def test_the_error_for_a_missing_source_names_the_source(rig: Rig) -> None:
    upload = await begin(rig)
    for query in ("", f"partNumber=1&uploadId={upload}"):
        header = {"x-amz-copy-source": "bucket/no%20such"}
        answer = await copy(rig, "/second/target", header, query)
        assert (answer.code, answer.text("Key")) == ("NoSuchKey", "no such")
        header = {"x-amz-copy-source": "nowhere/source"}
        answer = await copy(rig, "/second/target", header, query)
        assert (answer.code, answer.text("BucketName")) == ("NoSuchBucket", "nowhere")


@pytest.mark.fault("B05")
@pytest.mark.parametrize(
    "header", [{"x-amz-storage-class": "STANDARD"}, {"x-amz-server-side-encryption": "AES256"}]
)
async def test_a_copy_onto_itself_may_set_its_class_or_encryption(
    rig: Rig, header: dict[str, str]
) -> None:
    answer = await copy(rig, "/bucket/source", SOURCE | header)
    assert answer.status == 200
    got = await rig.ask("GET", "/bucket/source")
    assert (got.body, got.headers["x-amz-meta-a"]) == (DATA, "b")
    assert got.headers["content-type"] == "text/plain"


@pytest.mark.fault("B04")
async def test_no_header_of_a_copy_is_ignored(rig: Rig) -> None:
    answer = await copy(rig, "/second/target", SOURCE | {"x-amz-copy-source-range": "bytes=0-9"})
    assert (answer.status, answer.code) == (501, "NotImplemented")
    for name in ("x-amz-copy-source-if-match", "x-amz-copy-source-range"):
        answer = await copy(rig, "/bucket/source", {name: '"x"'})
        assert (answer.status, answer.code) == (400, "InvalidArgument")
    assert (await rig.ask("GET", "/bucket/source")).body == DATA
