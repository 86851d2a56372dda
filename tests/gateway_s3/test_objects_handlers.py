"""Put, get, head, delete: what clients see, and what stays behind when it goes wrong."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from email.header import decode_header, make_header
from typing import Any

import pytest
from gateway_rig import Rig, encoded

from common.errors import NotFound
from common.http.records import HttpRequest
from common.ports import Buffer
from common.reasons import Absence
from common.wire import messages as m
from gateway.objects import ObjectBody

DATA = bytes(range(256)) * 8
BIG = bytes(range(251)) * 4000


@pytest.fixture
async def rig() -> Rig:
    made = Rig()
    await made.put("/bucket", b"")
    return made


def b64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


@pytest.mark.parametrize("size", [0, 1, 4096, 65536, 65537, 1_000_003])
async def test_what_was_put_is_got_back(rig: Rig, size: int) -> None:
    data = (BIG * (size // len(BIG) + 1))[:size]
    answer = await rig.put("/bucket/key", data)
    md5 = f'"{hashlib.md5(data).hexdigest()}"'
    assert answer.headers["etag"] == md5
    assert answer.headers["x-amz-checksum-type"] == "FULL_OBJECT"
    assert "x-amz-checksum-crc64nvme" in answer.headers
    got = await rig.ask("GET", "/bucket/key")
    assert (got.status, got.body, got.headers["etag"]) == (200, data, md5)
    assert got.headers["content-type"] == "binary/octet-stream"
    assert got.headers["accept-ranges"] == "bytes"
    assert got.headers["content-length"] == str(size)
    head = await rig.ask("HEAD", "/bucket/key")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(size)
    assert head.headers["last-modified"] == got.headers["last-modified"]
    assert head.headers["last-modified"].endswith("GMT")
    assert "x-amz-request-id" in head.headers
    assert "x-amz-id-2" in head.headers
    assert rig.swarm.open_reads == 0


async def test_an_object_replaced_and_purged_before_its_first_byte_is_read_anew(rig: Rig) -> None:
    await rig.put("/bucket/key", b"old" * 1000)
    read, times = rig.swarm.read, 0

    async def gone(*arguments: object) -> AsyncIterator[Buffer]:
        nonlocal times
        times += 1
        if times == 1:
            await rig.put("/bucket/key", b"new" * 1000)
        if times <= lost:
            raise NotFound(Absence.NO_SUCH_VERSION)
        async with aclosing(read(*arguments)) as chunks:
            async for chunk in chunks:
                yield chunk

    rig.swarm.read = gone
    lost = 1
    answer = await rig.ask("GET", "/bucket/key")
    assert (answer.status, answer.body) == (200, b"new" * 1000)
    times, lost = 0, 99
    answer = await rig.ask("GET", "/bucket/key")
    assert (answer.status, answer.code) == (503, "ServiceUnavailable")


async def test_content_headers_and_user_metadata_come_back(rig: Rig) -> None:
    sent = {
        "Content-Type": "text/plain",
        "Cache-Control": "max-age=5",
        "Content-Disposition": 'attachment; filename="x"',
        "Content-Encoding": "aws-chunked,gzip",
        "Content-Language": "de",
        "Expires": "Thu, 01 Dec 2033 16:00:00 GMT",
        "x-amz-meta-Colour": "red",
        "x-amz-meta-other": "with, comma",
    }
    await rig.put("/bucket/key", DATA, sent)
    for method in ("GET", "HEAD"):
        got = (await rig.ask(method, "/bucket/key")).headers
        assert got["content-type"] == "text/plain"
        assert got["cache-control"] == "max-age=5"
        assert got["content-disposition"] == 'attachment; filename="x"'
        assert got["content-encoding"] == "gzip"
        assert got["content-language"] == "de"
        assert got["expires"] == "Thu, 01 Dec 2033 16:00:00 GMT"
        assert got["x-amz-meta-colour"] == "red"
        assert got["x-amz-meta-other"] == "with, comma"


async def test_metadata_over_two_kib_is_refused(rig: Rig) -> None:
    answer = await rig.ask("PUT", "/bucket/key", "", DATA, {"x-amz-meta-a": "x" * 2048})
    assert (answer.status, answer.code) == (400, "MetadataTooLarge")


async def test_response_overrides_replace_the_objects_headers(rig: Rig) -> None:
    await rig.put("/bucket/key", DATA, {"Content-Type": "text/plain"})
    got = await rig.ask(
        "GET", "/bucket/key", "response-content-type=image%2Fpng&response-expires=never"
    )
    assert got.headers["content-type"] == "image/png"
    assert got.headers["expires"] == "never"
    bad = await rig.ask("GET", "/bucket/key", "response-content-type=a%0D%0Ab")
    assert (bad.status, bad.code) == (400, "InvalidArgument")


@pytest.mark.parametrize(
    ("header", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=10-19", 10, 19),
        ("bytes=1000-", 1000, 2047),
        ("bytes=2000-9999", 2000, 2047),
        ("bytes=-5", 2043, 2047),
        ("bytes=-9999", 0, 2047),
    ],
)
async def test_ranges(rig: Rig, header: str, first: int, last: int) -> None:
    await rig.put("/bucket/key", DATA)
    got = await rig.ask("GET", "/bucket/key", headers={"Range": header})
    assert got.status == 206
    assert got.body == DATA[first : last + 1]
    assert got.headers["content-range"] == f"bytes {first}-{last}/2048"
    head = await rig.ask("HEAD", "/bucket/key", headers={"Range": header})
    assert head.status == 206
    assert head.headers["content-length"] == str(last - first + 1)


@pytest.mark.parametrize("header", ["bytes=5-2", "lines=1-2", "bytes=1-2,4-5", "bytes=", "bytes=-"])
async def test_ranges_that_are_not_understood_are_ignored(rig: Rig, header: str) -> None:
    await rig.put("/bucket/key", DATA)
    got = await rig.ask("GET", "/bucket/key", headers={"Range": header})
    assert (got.status, got.body) == (200, DATA)


@pytest.mark.parametrize("header", ["bytes=2048-", "bytes=99999999999999999-", "bytes=-0"])
async def test_ranges_outside_are_416(rig: Rig, header: str) -> None:
    await rig.put("/bucket/key", DATA)
    got = await rig.ask("GET", "/bucket/key", headers={"Range": header})
    assert (got.status, got.code) == (416, "InvalidRange")
    await rig.put("/bucket/empty", b"")
    got = await rig.ask("GET", "/bucket/empty", headers={"Range": "bytes=0-"})
    assert got.status == 416


async def test_a_plain_get_asks_the_coordinator_once(rig: Rig) -> None:
    await rig.put("/bucket/key", DATA)
    rig.coordinators.requests.clear()
    await rig.ask("GET", "/bucket/key")
    await rig.ask("GET", "/bucket/key", headers={"Range": "bytes=1-5"})
    assert rig.coordinators.calls == ["ObjectGet", "ObjectGet"]
    rig.coordinators.requests.clear()
    await rig.put("/bucket/key", DATA)
    assert rig.coordinators.calls == ["ObjectCommit"]


async def test_conditional_reads(rig: Rig) -> None:
    etag = (await rig.put("/bucket/key", DATA)).headers["etag"]
    modified = (await rig.ask("HEAD", "/bucket/key")).headers["last-modified"]
    long_ago = "Thu, 01 Jan 2015 00:00:00 GMT"
    cases = [
        ({"If-Match": etag}, 200),
        ({"If-Match": '"other"'}, 412),
        ({"If-Match": "*"}, 200),
        ({"If-None-Match": etag}, 304),
        ({"If-None-Match": '"other"'}, 200),
        ({"If-Modified-Since": modified}, 304),
        ({"If-Modified-Since": long_ago}, 200),
        ({"If-Unmodified-Since": modified}, 200),
        ({"If-Unmodified-Since": long_ago}, 412),
        ({"If-Match": etag, "If-Unmodified-Since": long_ago}, 200),
        ({"If-None-Match": etag, "If-Modified-Since": long_ago}, 304),
    ]
    for headers, status in cases:
        for method in ("GET", "HEAD"):
            got = await rig.ask(method, "/bucket/key", headers=headers)
            assert got.status == status, headers
            if status == 304:
                assert got.body == b""
                assert got.headers["etag"] == etag
    assert rig.swarm.open_reads == 0


async def test_checksums_are_kept_and_shown_when_asked_for(rig: Rig) -> None:
    crc = b64(zlib.crc32(DATA).to_bytes(4, "big"))
    put = await rig.put("/bucket/key", DATA, {"x-amz-checksum-crc32": crc})
    assert put.headers["x-amz-checksum-crc32"] == crc
    plain = await rig.ask("GET", "/bucket/key")
    assert not [name for name in plain.headers if "checksum" in name]
    for method in ("GET", "HEAD"):
        got = await rig.ask(method, "/bucket/key", headers={"x-amz-checksum-mode": "ENABLED"})
        assert got.headers["x-amz-checksum-crc32"] == crc
        assert got.headers["x-amz-checksum-type"] == "FULL_OBJECT"
    part = await rig.ask(
        "GET", "/bucket/key", headers={"x-amz-checksum-mode": "ENABLED", "Range": "bytes=0-3"}
    )
    assert not [name for name in part.headers if "checksum" in name]


@pytest.mark.incident(7)
async def test_wrong_digests_store_nothing(rig: Rig) -> None:
    wrong = b64(hashlib.md5(b"other").digest())
    cases = [
        ({"Content-MD5": wrong}, None, "BadDigest"),
        ({"Content-MD5": "nonsense"}, None, "InvalidDigest"),
        ({"x-amz-checksum-crc32": b64(b"abcd")}, None, "BadDigest"),
        ({"x-amz-checksum-sha256": b64(b"x" * 32)}, None, "BadDigest"),
        ({"x-amz-checksum-sha256": "nonsense"}, None, "InvalidRequest"),
        ({}, hashlib.sha256(b"other").hexdigest(), "XAmzContentSHA256Mismatch"),
    ]
    for body in (DATA, BIG):
        for headers, payload, code in cases:
            answer = await rig.ask("PUT", "/bucket/key", "", body, headers, payload=payload)
            assert (answer.status, answer.code) == (400, code), headers
    assert not rig.swarm.segments
    assert (await rig.ask("GET", "/bucket/key")).code == "NoSuchKey"


async def test_bodies_shorter_or_longer_than_promised_store_nothing(rig: Rig) -> None:
    for promised in (len(DATA) - 1, len(DATA) + 1):
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(DATA), DATA)
        answer = await rig.ask(
            "PUT",
            "/bucket/key",
            "",
            body,
            {"x-amz-decoded-content-length": str(promised)},
            payload="STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        )
        assert (answer.status, answer.code) == (400, "IncompleteBody")
    assert not rig.swarm.segments


async def test_a_put_without_length_is_411_and_too_long_is_refused(rig: Rig) -> None:
    signed = rig.sign("PUT", "/bucket/key", "", {})
    answer = await rig.send("PUT", "/bucket/key", "", b"", signed)
    assert (answer.status, answer.code) == (411, "MissingContentLength")
    answer = await rig.ask(
        "PUT",
        "/bucket/key",
        "",
        b"0\r\n\r\n",
        {"x-amz-decoded-content-length": str(5 * 1024**3 + 1)},
        payload="STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    )
    assert (answer.status, answer.code) == (400, "EntityTooLarge")


async def test_conditional_puts(rig: Rig) -> None:
    first = await rig.put("/bucket/key", b"one", {"If-None-Match": "*"})
    again = await rig.ask("PUT", "/bucket/key", "", b"two", {"If-None-Match": "*"})
    assert (again.status, again.code) == (412, "PreconditionFailed")
    wrong = await rig.ask("PUT", "/bucket/key", "", b"two", {"If-Match": '"wrong"'})
    assert (wrong.status, wrong.code) == (412, "PreconditionFailed")
    await rig.put("/bucket/key", b"two", {"If-Match": first.headers["etag"]})
    assert (await rig.ask("GET", "/bucket/key")).body == b"two"
    missing = await rig.ask("PUT", "/bucket/none", "", b"x", {"If-Match": "*"})
    assert (missing.status, missing.code) == (404, "NoSuchKey")
    other = await rig.ask("PUT", "/bucket/key", "", b"x", {"If-None-Match": '"tag"'})
    assert (other.status, other.code) == (501, "NotImplemented")
    assert len(rig.swarm.segments) == 2, "what was not committed was abandoned"


async def test_if_match_compares_again_when_another_write_comes_between(rig: Rig) -> None:
    etag = (await rig.put("/bucket/key", b"one")).headers["etag"]

    def before_the_next_commit(others_do: Callable[[], Awaitable[Any]]) -> None:
        async def once(_: Any) -> None:
            del rig.coordinators.faults[m.ObjectCommit]
            await others_do()

        rig.coordinators.faults[m.ObjectCommit] = once

    before_the_next_commit(lambda: rig.put("/bucket/key", b"other"))
    lost = await rig.ask("PUT", "/bucket/key", "", b"two", {"If-Match": etag})
    assert (lost.status, lost.code) == (412, "PreconditionFailed")

    await rig.put("/bucket/key", b"one")
    before_the_next_commit(lambda: rig.ask("DELETE", "/bucket/key"))
    lost = await rig.ask("PUT", "/bucket/key", "", b"two", {"If-Match": etag})
    assert (lost.status, lost.code) == (404, "NoSuchKey")

    await rig.put("/bucket/key", b"one")
    before_the_next_commit(lambda: rig.put("/bucket/key", b"one"))
    await rig.put("/bucket/key", b"two", {"If-Match": etag})
    assert m.ObjectCommit not in rig.coordinators.faults, "no other write came between"
    assert (await rig.ask("GET", "/bucket/key")).body == b"two"


async def test_deletes_answer_204_always_unless_a_condition_fails(rig: Rig) -> None:
    etag = (await rig.put("/bucket/key", DATA)).headers["etag"]
    wrong = await rig.ask("DELETE", "/bucket/key", headers={"If-Match": '"wrong"'})
    assert (wrong.status, wrong.code) == (412, "PreconditionFailed")
    for headers in ({"If-Match": etag}, {}, {}):
        assert (await rig.ask("DELETE", "/bucket/key", headers=headers)).status == 204
    assert (await rig.ask("GET", "/bucket/key")).status == 404
    assert (await rig.ask("DELETE", "/nobucket/key")).code == "NoSuchBucket"


async def test_delete_objects_answers_for_each_key(rig: Rig) -> None:
    for name in "abc":
        etag = (await rig.put(f"/bucket/{name}", name.encode())).headers["etag"]
    body = (
        "<Delete xmlns='http://s3.amazonaws.com/doc/2006-03-01/'><Object><Key>a</Key></Object>"
        "<Object><Key>b</Key><VersionId>null</VersionId></Object>"
        "<Object><Key>gone</Key></Object><Object><Key>x</Key><VersionId>v</VersionId></Object>"
        f"<Object><Key>{'l' * 1025}</Key></Object>"
        "<Object><Key>c</Key><ETag>wrong</ETag></Object></Delete>"
    ).encode()
    md5 = {"Content-MD5": b64(hashlib.md5(body).digest())}
    unvouched = await rig.ask("POST", "/bucket", "delete=", body)
    assert (unvouched.status, unvouched.code) == (400, "InvalidRequest")
    answer = await rig.ask("POST", "/bucket", "delete=", body, md5)
    assert answer.status == 200
    assert answer.texts("Deleted/Key") == ["a", "b", "gone"]
    failed = dict(zip(answer.texts("Error/Key"), answer.texts("Error/Code"), strict=True))
    assert failed == {
        "x": "InvalidArgument",
        "l" * 1025: "KeyTooLongError",
        "c": "PreconditionFailed",
    }
    body = (
        f"<Delete><Quiet>true</Quiet><Object><Key>c</Key><ETag>{etag}</ETag></Object></Delete>"
    ).encode()
    md5 = {"Content-MD5": b64(hashlib.md5(body).digest())}
    answer = await rig.ask("POST", "/bucket", "delete=", body, md5)
    assert answer.texts("Deleted/Key") == []
    assert not rig.coordinators.current


async def test_delete_objects_takes_a_thousand_keys_and_no_more(rig: Rig) -> None:
    def document(count: int) -> bytes:
        rows = "".join(f"<Object><Key>k{number}</Key></Object>" for number in range(count))
        return f"<Delete>{rows}</Delete>".encode()

    for count, status in ((1000, 200), (1001, 400), (10_001, 400), (0, 400)):
        body = document(count)
        md5 = {"Content-MD5": b64(hashlib.md5(body).digest())}
        answer = await rig.ask("POST", "/bucket", "delete=", body, md5)
        assert answer.status == status
        if status == 400:
            assert answer.code == "MalformedXML"


@pytest.mark.incident(24)
@pytest.mark.parametrize(
    "key",
    [
        "..", "../../etc/passwd", "a/../b", "a//b", "//", "nul\0byte", "per%cent", "plus+sign",
        "a b", "\u00e4\u4e2d\U0001f600", "?query", "#hash", "a\nb\r\n", "<&>'\"", "/x", "x" * 1024,
    ],
)  # fmt: skip
async def test_any_utf8_key_is_just_a_key(rig: Rig, key: str) -> None:
    path = "/bucket/" + encoded(key)
    await rig.put(path, key.encode())
    assert (await rig.ask("GET", path)).body == key.encode()
    assert set(rig.coordinators.current) == {("bucket", key.encode())}
    listed = await rig.ask("GET", "/bucket", "list-type=2&encoding-type=url")
    assert listed.texts("Contents/Key") == [encoded(key)]
    assert (await rig.ask("DELETE", path)).status == 204
    assert not rig.coordinators.current


@pytest.mark.incident(32)
async def test_an_encoded_slash_is_not_another_path(rig: Rig) -> None:
    await rig.put("/bucket/a%2Fb", b"one")
    assert (await rig.ask("GET", "/bucket/a/b")).body == b"one"
    assert (await rig.ask("GET", "/bucket%2Fa/b")).status == 404


@pytest.mark.parametrize("path", ["/bucket/" + "k" * 1025, "/bucket/%ff", "/bucket/%zz"])
async def test_impossible_keys_are_refused(rig: Rig, path: str) -> None:
    for method in ("PUT", "GET", "DELETE"):
        answer = await rig.ask(method, path, "", b"")
        assert answer.status == 400
        assert answer.code in {"KeyTooLongError", "InvalidURI"}


async def test_a_bucket_made_anew_by_others_takes_no_record_of_the_old_one(rig: Rig) -> None:
    other = Rig(beside=rig)
    await rig.put("/bucket/key", b"old")
    await other.ask("DELETE", "/bucket/key")
    assert (await other.ask("DELETE", "/bucket")).status == 204
    written = len(rig.swarm.segments)
    gone = await rig.ask("PUT", "/bucket/key", "", b"x")
    assert (gone.status, gone.code) == (404, "NoSuchBucket")
    assert len(rig.swarm.segments) == written, "what was not committed was abandoned"
    await rig.put("/bucket", b"")
    await rig.put("/bucket/key", b"remembers the old one")
    old = rig.coordinators.bucket_id("bucket")
    await other.ask("DELETE", "/bucket/key")
    assert (await other.ask("DELETE", "/bucket")).status == 204
    await other.put("/bucket", b"")
    assert rig.coordinators.bucket_id("bucket") != old
    await rig.put("/bucket/key", b"new")
    assert (await rig.ask("GET", "/bucket/key")).body == b"new"
    assert (await other.ask("GET", "/bucket/key")).body == b"new"


async def test_a_get_that_is_left_gives_its_read_back(rig: Rig) -> None:
    await rig.put("/bucket/key", BIG)
    signed = rig.sign("GET", "/bucket/key", "", {})
    pairs = [(name.encode(), value.encode()) for name, value in signed.items()]
    response = await rig.app(HttpRequest("GET", b"/bucket/key", b"/bucket/key", b"", pairs))
    assert isinstance(response.body, ObjectBody)
    assert rig.swarm.open_reads == 1
    await response.body.aclose()
    assert rig.swarm.open_reads == 0
    assert rig.app.running == 0


@pytest.mark.fault("B04")
async def test_a_resumed_download_of_a_replaced_object_gets_all_of_it(rig: Rig) -> None:
    old = (await rig.put("/bucket/key", DATA)).headers["etag"]
    first = await rig.ask("GET", "/bucket/key")
    await rig.put("/bucket/key", DATA[::-1])
    new = (await rig.ask("HEAD", "/bucket/key")).headers
    ask = {"Range": "bytes=500-"}
    beyond = {"Range": "bytes=5000-"}
    stale = [old, f"W/{new['etag']}", "Thu, 01 Jan 2015 00:00:00 GMT", "nonsense"]
    for headers in (ask, beyond):
        for value in stale:
            got = await rig.ask("GET", "/bucket/key", headers=headers | {"If-Range": value})
            assert (got.status, got.body) == (200, DATA[::-1]), value
            assert "content-range" not in got.headers
            head = await rig.ask("HEAD", "/bucket/key", headers=headers | {"If-Range": value})
            assert (head.status, head.headers["content-length"]) == (200, str(len(DATA)))
    for value in (new["etag"], new["last-modified"]):
        got = await rig.ask("GET", "/bucket/key", headers=ask | {"If-Range": value})
        assert (got.status, got.body) == (206, DATA[::-1][500:])
        got = await rig.ask("GET", "/bucket/key", headers=beyond | {"If-Range": value})
        assert (got.status, got.code) == (416, "InvalidRange")
    assert first.body == DATA


@pytest.mark.fault("B04")
@pytest.mark.parametrize("name", ["Range", "If-Range", "If-Modified-Since", "Content-Type"])
async def test_a_header_with_one_value_is_refused_when_it_comes_twice(rig: Rig, name: str) -> None:
    await rig.put("/bucket/key", DATA)
    signed = rig.sign("GET", "/bucket/key", "", {})
    pairs = [*signed.items(), (name.lower(), "bytes=0-1"), (name.lower(), "bytes=2-3")]
    answer = await rig.send("GET", "/bucket/key", "", b"", pairs)
    assert (answer.status, answer.code) == (400, "InvalidArgument")


@pytest.mark.fault("B04")
async def test_no_write_ignores_a_condition(rig: Rig) -> None:
    await rig.put("/bucket/key", DATA)
    document = b"<Delete><Object><Key>key</Key></Object></Delete>"
    digest = base64.b64encode(hashlib.md5(document).digest()).decode()
    for headers in ({"If-Match": '"x"'}, {"If-None-Match": "*"}, {"If-Unmodified-Since": "x"}):
        answer = await rig.ask(
            "POST", "/bucket", "delete=", document, headers | {"content-md5": digest}
        )
        assert (answer.status, answer.code) == (501, "NotImplemented")
        assert (await rig.ask("DELETE", "/bucket", headers=headers)).status == 501
    assert (await rig.ask("GET", "/bucket/key")).body == DATA


WORDS = "=?UTF-8?B?Z3LDvG4=?="


@pytest.mark.fault("B06")
@pytest.mark.parametrize("sent", ["grün".encode(), "grün".encode("latin-1"), WORDS.encode()])
async def test_metadata_that_is_not_ascii_comes_back_as_encoded_words(
    rig: Rig, sent: bytes
) -> None:
    text = sent.decode("latin-1")
    headers = {"x-amz-meta-n": text, "Cache-Control": text, "Content-Disposition": text}
    await rig.put("/bucket/key", DATA, headers)
    copied = {"x-amz-copy-source": "bucket/key"}
    assert (await rig.ask("PUT", "/bucket/copy", "", b"", copied)).status == 200
    answer = await rig.ask("POST", "/bucket/parts", "uploads=", b"", headers)
    upload = answer.text("UploadId")
    part = await rig.ask("PUT", "/bucket/parts", f"partNumber=1&uploadId={upload}", DATA)
    document = (
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>"
        f"<ETag>{part.headers['etag']}</ETag></Part></CompleteMultipartUpload>"
    ).encode()
    done = await rig.ask("POST", "/bucket/parts", f"uploadId={upload}", document)
    assert done.status == 200
    for key in ("key", "copy", "parts"):
        for method in ("GET", "HEAD"):
            got = await rig.ask(method, f"/bucket/{key}")
            assert got.status == 200
            for name in headers:
                assert got.headers[name.lower()] == WORDS
    etag = {"If-None-Match": part.headers["etag"]}
    same = await rig.ask("GET", "/bucket/key", headers=etag)
    assert (same.status, same.headers["cache-control"]) == (304, WORDS)


@pytest.mark.fault("B06")
async def test_an_override_that_is_not_ascii_is_sent_as_encoded_words(rig: Rig) -> None:
    await rig.put("/bucket/key", DATA)
    query = f"response-content-disposition={encoded('grün')}"
    got = await rig.ask("GET", "/bucket/key", query)
    assert got.headers["content-disposition"] == WORDS


@pytest.mark.fault("B06")
async def test_content_headers_in_ascii_come_back_as_sent(rig: Rig) -> None:
    sent = "attachment; filename=\"=?UTF-8?B?Z3LDvG4=?=\"; filename*=UTF-8''gr%C3%BCn"
    await rig.put("/bucket/key", DATA, {"Content-Disposition": sent})
    assert (await rig.ask("HEAD", "/bucket/key")).headers["content-disposition"] == sent


@pytest.mark.fault("B06", "L")
async def test_two_kib_of_metadata_are_counted_on_decoded_values(rig: Rig) -> None:
    words = " ".join(["=?UTF-8?B?" + b64("ü".encode() * 22) + "?="] * 46)
    assert len(words) > 3000
    await rig.put("/bucket/key", DATA, {"x-amz-meta-a": words})
    got = (await rig.ask("HEAD", "/bucket/key")).headers["x-amz-meta-a"]
    assert str(make_header(decode_header(got))) == "ü" * 22 * 46
    over = "=?UTF-8?B?" + b64("ü".encode() * 1024) + "?="
    for value in (over, "ü" * 1024, "x" * 2048):
        answer = await rig.ask("PUT", "/bucket/key", "", DATA, {"x-amz-meta-a": value})
        assert (answer.status, answer.code) == (400, "MetadataTooLarge")
    fits = "=?UTF-8?B?" + b64("ü".encode() * 1023) + "?="
    await rig.put("/bucket/key", DATA, {"x-amz-meta-a": fits})


@pytest.mark.fault("L")
async def test_content_headers_over_eight_kib_are_refused(rig: Rig) -> None:
    headers = {"Content-Disposition": "x" * 5000, "Content-Language": "x" * 4000}
    for method, query in (("PUT", ""), ("POST", "uploads=")):
        answer = await rig.ask(method, "/bucket/key", query, b"", headers)
        assert (answer.status, answer.code) == (400, "RequestHeaderSectionTooLarge")


@pytest.mark.fault("B34")
async def test_the_encryption_is_answered_wherever_s3_does(rig: Rig) -> None:
    name = "x-amz-server-side-encryption"
    asked = {name: "AES256"}
    put = await rig.put("/bucket/key", DATA, asked)
    source = {"x-amz-copy-source": "bucket/key"}
    copied = await rig.ask("PUT", "/bucket/copy", "", b"", source | asked)
    begun = await rig.ask("POST", "/bucket/parts", "uploads=", b"", asked)
    upload = begun.text("UploadId")
    part = await rig.ask("PUT", "/bucket/parts", f"partNumber=1&uploadId={upload}", DATA)
    other = await rig.ask("PUT", "/bucket/parts", f"partNumber=2&uploadId={upload}", b"", source)
    document = (
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>"
        f"<ETag>{part.headers['etag']}</ETag></Part></CompleteMultipartUpload>"
    ).encode()
    done = await rig.ask("POST", "/bucket/parts", f"uploadId={upload}", document)
    got = await rig.ask("GET", "/bucket/key", headers={"Range": "bytes=1-2"})
    head = await rig.ask("HEAD", "/bucket/key")
    for answer in (put, copied, begun, part, other, done, got, head):
        assert answer.headers[name] == "AES256"
    for method in ("DELETE", "GET"):
        assert name not in (await rig.ask(method, "/bucket/none")).headers
