"""Uploads in parts: from begin to object, and everything that must be refused on the way."""

from __future__ import annotations

import base64
import hashlib
import zlib

import pytest
import trio
from gateway_rig import Answer, Rig

from common.crypto.keys import commitment_of
from common.limits import MIN_PART_BYTES

PART = bytes(range(256)) * (MIN_PART_BYTES // 256)


@pytest.fixture
async def rig() -> Rig:
    made = Rig()
    await made.put("/bucket", b"")
    return made


async def begin(rig: Rig, headers: dict[str, str] | None = None, key: str = "key") -> str:
    answer = await rig.ask("POST", f"/bucket/{key}", "uploads=", b"", headers)
    assert answer.status == 200, answer.body
    upload_id = answer.text("UploadId")
    assert upload_id is not None
    return upload_id


async def part(
    rig: Rig, upload: str, number: int, body: bytes, headers: dict[str, str] | None = None
) -> Answer:
    return await rig.ask(
        "PUT", "/bucket/key", f"partNumber={number}&uploadId={upload}", body, headers
    )


def document(parts: list[tuple[int, str]], more: str = "") -> bytes:
    rows = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag>{more}</Part>"
        for number, etag in parts
    )
    return f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()


async def complete(
    rig: Rig, upload: str, parts: list[tuple[int, str]], headers: dict[str, str] | None = None
) -> Answer:
    return await rig.ask("POST", "/bucket/key", f"uploadId={upload}", document(parts), headers)


async def test_parts_become_one_object(rig: Rig) -> None:
    upload = await begin(rig, {"x-amz-meta-a": "b", "Content-Type": "text/plain"})
    sent = [(1, PART), (3, PART[::-1]), (7, b"the last one is small")]
    etags = []
    for number, body in reversed(sent):
        answer = await part(rig, upload, number, body)
        assert answer.headers["etag"] == f'"{hashlib.md5(body).hexdigest()}"'
        etags.insert(0, (number, answer.headers["etag"]))
    answer = await complete(rig, upload, etags)
    assert answer.status == 200
    joined = b"".join(hashlib.md5(body).digest() for _, body in sent)
    etag = f'"{hashlib.md5(joined).hexdigest()}-3"'
    assert answer.text("ETag") == etag
    got = await rig.ask("GET", "/bucket/key", headers={"x-amz-checksum-mode": "ENABLED"})
    whole = b"".join(body for _, body in sent)
    assert (got.body, got.headers["etag"]) == (whole, etag)
    assert got.headers["content-type"] == "text/plain"
    assert got.headers["x-amz-meta-a"] == "b"
    assert got.headers["x-amz-checksum-type"] == "FULL_OBJECT"
    single = await rig.put("/bucket/single", whole)
    name = "x-amz-checksum-crc64nvme"
    assert got.headers[name] == single.headers[name], "combined from the parts' checksums"
    start = 0
    for number, body in sent:
        piece = await rig.ask("GET", "/bucket/key", f"partNumber={number}")
        assert (piece.status, piece.body) == (206, body)
        assert piece.headers["x-amz-mp-parts-count"] == "3"
        end = start + len(body) - 1
        assert piece.headers["content-range"] == f"bytes {start}-{end}/{len(whole)}"
        start += len(body)
    missing = await rig.ask("GET", "/bucket/key", "partNumber=2")
    assert (missing.status, missing.code) == (416, "InvalidPartNumber")
    both = await rig.ask("GET", "/bucket/key", "partNumber=1", headers={"Range": "bytes=0-1"})
    assert (both.status, both.code) == (400, "InvalidRequest")


@pytest.mark.fault("C1")
async def test_every_try_at_a_part_is_written_under_a_key_of_its_own(rig: Rig) -> None:
    upload = await begin(rig)
    etags = []
    for number in (1, 1, 2, 3):
        etags.append((number, (await part(rig, upload, number, PART)).headers["etag"]))
    tries = [commitments for commitments, _ in rig.swarm.segments.values()]
    assert len(set(tries)) == 4
    assert (await complete(rig, upload, etags[1:])).status == 200
    assert set(rig.coordinators.current) == {("bucket", b"key")}
    manifest = rig.opened("bucket", b"key")
    assert {commitment_of(key) for key in manifest.keys} == set(tries[1:])
    assert (await rig.ask("GET", "/bucket/key")).body == 3 * PART


async def test_completing_again_answers_the_same(rig: Rig) -> None:
    upload = await begin(rig)
    etag = (await part(rig, upload, 1, b"x")).headers["etag"]
    first = await complete(rig, upload, [(1, etag)])
    again = await complete(rig, upload, [(1, etag)])
    assert (again.status, again.body) == (first.status, first.body)
    other = await complete(rig, upload, [(1, etag), (2, etag)])
    assert (other.status, other.code) == (404, "NoSuchUpload")


@pytest.mark.fault("L")
async def test_a_repeated_completion_is_good_for_the_very_parts_only(rig: Rig) -> None:
    upload = await begin(rig)
    sent = [PART, b"tail"]
    etags = [
        (number, (await part(rig, upload, number, body)).headers["etag"])
        for number, body in enumerate(sent, 1)
    ]
    assert (await complete(rig, upload, etags)).status == 200
    invented = f'"{"0" * 32}"'
    others = [
        [(1, invented), (2, invented)],
        [(1, etags[0][1]), (2, invented)],
        [(1, etags[1][1]), (2, etags[0][1])],
        [(1, etags[0][1]), (3, etags[1][1])],
        [(1, etags[0][1])],
        [(1, "nonsense"), (2, etags[1][1])],
        [(1, etags[0][1].upper()), (2, etags[1][1])],
    ]
    for parts in others:
        answer = await complete(rig, upload, parts)
        assert (answer.status, answer.code) == (404, "NoSuchUpload"), parts
    wrong = document(etags, "<ChecksumCRC64NVME>AAAAAAAAAAA=</ChecksumCRC64NVME>")
    answer = await rig.ask("POST", "/bucket/key", f"uploadId={upload}", wrong)
    assert (answer.status, answer.code) == (404, "NoSuchUpload")
    assert (await complete(rig, upload, etags)).status == 200


@pytest.mark.fault("B10")
@pytest.mark.parametrize(
    "headers", [{}, {"If-None-Match": "*"}, {"If-Match": "before"}], ids=["plain", "none", "match"]
)
async def test_completions_that_run_at_once_all_say_the_same(
    rig: Rig, headers: dict[str, str]
) -> None:
    if headers.get("If-Match"):
        headers = {"If-Match": (await rig.put("/bucket/key", b"before")).headers["etag"]}
    upload = await begin(rig)
    etag = (await part(rig, upload, 1, b"x")).headers["etag"]
    answers: list[Answer] = []

    async def repeat() -> None:
        answers.append(await complete(rig, upload, [(1, etag)], headers))

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(repeat)
    assert {(each.status, each.body) for each in answers} == {(200, answers[0].body)}
    assert (await rig.ask("GET", "/bucket/key")).body == b"x"


@pytest.mark.fault("B10", "L")
async def test_of_completions_with_other_parts_that_run_at_once_one_is_carried_out(
    rig: Rig,
) -> None:
    upload = await begin(rig)
    etags = [(n, (await part(rig, upload, n, PART)).headers["etag"]) for n in (1, 2)]
    answers: list[Answer] = []

    async def one(parts: list[tuple[int, str]]) -> None:
        answers.append(await complete(rig, upload, parts))

    async with trio.open_nursery() as nursery:
        for count in (1, 2, 1, 2):
            nursery.start_soon(one, etags[:count])
    kept = (await rig.ask("HEAD", "/bucket/key")).headers["etag"]
    good = [each for each in answers if each.status == 200]
    assert [each.text("ETag") for each in good] == [kept, kept]
    assert {each.code for each in answers if each.status != 200} == {"NoSuchUpload"}


async def test_a_part_sent_again_replaces_the_one_before(rig: Rig) -> None:
    upload = await begin(rig)
    old = (await part(rig, upload, 1, b"old")).headers["etag"]
    new = (await part(rig, upload, 1, b"new")).headers["etag"]
    stale = await complete(rig, upload, [(1, old)])
    assert (stale.status, stale.code) == (400, "InvalidPart")
    assert (await complete(rig, upload, [(1, new)])).status == 200
    assert (await rig.ask("GET", "/bucket/key")).body == b"new"


async def test_bad_completions_are_refused_and_the_upload_stays(rig: Rig) -> None:
    upload = await begin(rig)
    small = (await part(rig, upload, 1, b"small")).headers["etag"]
    last = (await part(rig, upload, 2, b"last")).headers["etag"]
    cases = [
        ([(2, last), (1, small)], 400, "InvalidPartOrder"),
        ([(1, small), (1, small)], 400, "InvalidPartOrder"),
        ([(1, small), (2, last)], 400, "EntityTooSmall"),
        ([(1, '"0123"')], 400, "InvalidPart"),
        ([(3, last)], 400, "InvalidPart"),
        ([], 400, "MalformedXML"),
        ([(0, small)], 400, "InvalidArgument"),
        ([(-4, small)], 400, "InvalidArgument"),
        ([(10_001, small)], 400, "InvalidArgument"),
    ]
    for parts, status, code in cases:
        answer = await complete(rig, upload, parts)
        assert (answer.status, answer.code) == (status, code), parts
    assert (await complete(rig, upload, [(2, last)])).status == 200


@pytest.mark.parametrize("number", ["0", "10001", "-1", "x", "", "99999999999999999999"])
async def test_part_numbers_are_1_to_10000(rig: Rig, number: str) -> None:
    upload = await begin(rig)
    answer = await rig.ask("PUT", "/bucket/key", f"partNumber={number}&uploadId={upload}", b"x")
    assert (answer.status, answer.code) == (400, "InvalidArgument")


@pytest.mark.parametrize("upload", ["nonsense", "00" * 16, "AB" * 16, "", "a" * 5000])
async def test_unknown_uploads_are_404(rig: Rig, upload: str) -> None:
    for method, query, body in (
        ("PUT", f"partNumber=1&uploadId={upload}", b"x"),
        ("GET", f"uploadId={upload}", b""),
        ("DELETE", f"uploadId={upload}", b""),
        ("POST", f"uploadId={upload}", document([(1, "x")])),
    ):
        answer = await rig.ask(method, "/bucket/key", query, body)
        assert (answer.status, answer.code) == (404, "NoSuchUpload"), method


async def test_a_bucket_that_is_not_there_is_said_before_an_upload_or_source_that_is_not(
    rig: Rig,
) -> None:
    for method, query, body in (
        ("PUT", "partNumber=1&uploadId=x", b"x"),
        ("GET", "uploadId=x", b""),
        ("DELETE", "uploadId=x", b""),
        ("POST", "uploadId=x", document([(1, "x")])),
    ):
        answer = await rig.ask(method, "/nothing/key", query, body)
        assert (answer.status, answer.code) == (404, "NoSuchBucket"), method
    for query in ("", "partNumber=1&uploadId=x"):
        answer = await rig.ask("PUT", "/nothing/key", query, b"", {"x-amz-copy-source": "none"})
        assert (answer.status, answer.code) == (404, "NoSuchBucket"), query


async def test_uploads_of_one_key_are_listed_as_they_were_begun(
    rig: Rig, autojump_clock: object
) -> None:
    ids = []
    for _ in range(5):
        ids.append(await begin(rig))
        await trio.sleep(0.01)
    answer = await rig.ask("GET", "/bucket", "uploads=")
    assert answer.texts("Upload/UploadId") == ids


async def test_an_upload_belongs_to_its_key(rig: Rig) -> None:
    upload = await begin(rig)
    answer = await rig.ask("PUT", "/bucket/other", f"partNumber=1&uploadId={upload}", b"x")
    assert (answer.status, answer.code) == (404, "NoSuchUpload")
    assert not rig.swarm.segments


async def test_abort_drops_the_upload(rig: Rig) -> None:
    upload = await begin(rig)
    await part(rig, upload, 1, b"x")
    assert (await rig.ask("DELETE", "/bucket/key", f"uploadId={upload}")).status == 204
    assert (await part(rig, upload, 1, b"x")).code == "NoSuchUpload"


async def test_conditions_on_completion(rig: Rig) -> None:
    upload = await begin(rig)
    etag = (await part(rig, upload, 1, b"x")).headers["etag"]
    await rig.put("/bucket/key", b"there")
    answer = await complete(rig, upload, [(1, etag)], {"If-None-Match": "*"})
    assert (answer.status, answer.code) == (412, "PreconditionFailed")
    there = (await rig.ask("HEAD", "/bucket/key")).headers["etag"]
    assert (await complete(rig, upload, [(1, etag)], {"If-Match": there})).status == 200


async def test_composite_checksums_of_parts(rig: Rig) -> None:
    upload = await begin(rig, {"x-amz-checksum-algorithm": "SHA256"})
    sent = [PART, b"tail"]
    etags, sums = [], []
    for number, body in enumerate(sent, 1):
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        answer = await part(rig, upload, number, body, {"x-amz-checksum-sha256": digest})
        assert answer.headers["x-amz-checksum-sha256"] == digest
        etags.append((number, answer.headers["etag"]))
        sums.append(digest)

    async def finish(named: list[str], element: str = "SHA256", whole: str | None = None) -> Answer:
        rows = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag>"
            f"<Checksum{element}>{digest}</Checksum{element}></Part>"
            for (number, etag), digest in zip(etags, named, strict=True)
        )
        body = f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()
        headers = None if whole is None else {"x-amz-checksum-sha256": whole}
        return await rig.ask("POST", "/bucket/key", f"uploadId={upload}", body, headers)

    assert (await finish(sums[::-1])).code == "InvalidPart"
    assert (await finish(["AAAA"] * 2)).code == "InvalidPart"
    assert (await finish(["AAAAAA=="] * 2, "CRC32")).code == "BadDigest"
    assert (await complete(rig, upload, etags)).code == "InvalidRequest"
    for wrong in (sums[0], sums[0] + "-2"):
        assert (await finish(sums, whole=wrong)).code == "BadDigest"
    for none in ("bad", sums[0] + "-x", sums[0] + "--2", sums[0] + "-2-2"):
        assert (await finish(sums, whole=none)).code == "InvalidRequest"
    joined = b"".join(hashlib.sha256(body).digest() for body in sent)
    composite = base64.b64encode(hashlib.sha256(joined).digest()).decode() + "-2"
    assert (await finish(sums, whole=composite.replace("-2", "-3"))).code == "BadDigest"
    answer = await finish(sums, whole=composite)
    assert answer.text("ChecksumSHA256") == composite
    assert answer.text("ChecksumType") == "COMPOSITE"
    one = await rig.ask(
        "GET", "/bucket/key", "partNumber=2", headers={"x-amz-checksum-mode": "ENABLED"}
    )
    assert one.headers["x-amz-checksum-sha256"] == sums[1]


async def test_full_object_checksums_of_parts(rig: Rig) -> None:
    asked = {"x-amz-checksum-algorithm": "CRC32", "x-amz-checksum-type": "FULL_OBJECT"}
    upload = await begin(rig, asked)
    sent = [PART, b"tail"]
    etags = [
        (number, (await part(rig, upload, number, body)).headers["etag"])
        for number, body in enumerate(sent, 1)
    ]
    whole = base64.b64encode(zlib.crc32(b"".join(sent)).to_bytes(4, "big")).decode()
    wrong = base64.b64encode(b"abcd").decode()
    answer = await complete(rig, upload, etags, {"x-amz-checksum-crc32": wrong})
    assert (answer.status, answer.code) == (400, "BadDigest")
    answer = await complete(rig, upload, etags, {"x-amz-checksum-crc32": whole})
    assert answer.text("ChecksumCRC32") == whole


async def test_a_part_with_another_checksum_than_the_upload_is_refused(rig: Rig) -> None:
    upload = await begin(rig, {"x-amz-checksum-algorithm": "SHA256"})
    crc = base64.b64encode(zlib.crc32(b"x").to_bytes(4, "big")).decode()
    answer = await part(rig, upload, 1, b"x", {"x-amz-checksum-crc32": crc})
    assert (answer.status, answer.code) == (400, "InvalidRequest")
    assert (await part(rig, upload, 1, b"x")).code == "InvalidRequest"


async def test_the_size_that_an_object_of_parts_is_said_to_have_is_held(rig: Rig) -> None:
    upload = await begin(rig)
    etag = (await part(rig, upload, 1, b"four")).headers["etag"]
    for said in ("5", "-1", "x", ""):
        answer = await complete(rig, upload, [(1, etag)], {"x-amz-mp-object-size": said})
        assert (answer.status, answer.code) == (400, "InvalidRequest")
    assert (await complete(rig, upload, [(1, etag)], {"x-amz-mp-object-size": "4"})).status == 200


@pytest.mark.parametrize("reply_rows", [1000, 2])
async def test_parts_are_listed_in_pages(rig: Rig, reply_rows: int) -> None:
    upload = await begin(rig)
    for number in (5, 1, 3, 9):
        await part(rig, upload, number, bytes(number))
    rig.coordinators.reply_rows = reply_rows
    answer = await rig.ask("GET", "/bucket/key", f"uploadId={upload}")
    assert answer.texts("Part/PartNumber") == ["1", "3", "5", "9"]
    assert answer.texts("Part/Size") == ["1", "3", "5", "9"]
    assert answer.text("IsTruncated") == "false"
    answer = await rig.ask("GET", "/bucket/key", f"max-parts=3&uploadId={upload}")
    assert answer.texts("Part/PartNumber") == ["1", "3", "5"]
    assert answer.text("IsTruncated") == "true"
    assert answer.text("NextPartNumberMarker") == "5"
    answer = await rig.ask("GET", "/bucket/key", f"part-number-marker=5&uploadId={upload}")
    assert answer.texts("Part/PartNumber") == ["9"]
    answer = await rig.ask("GET", "/bucket/key", f"max-parts=0&uploadId={upload}")
    assert answer.texts("Part/PartNumber") == []


async def test_many_parts_are_completed_over_several_replies(rig: Rig) -> None:
    upload = await begin(rig)
    etag = (await part(rig, upload, 1, PART)).headers["etag"]
    for number in range(2, 8):
        await part(rig, upload, number, PART)
    rig.coordinators.reply_rows = 2
    answer = await complete(rig, upload, [(number, etag) for number in range(1, 8)])
    assert answer.status == 200
    assert (await rig.ask("HEAD", "/bucket/key")).headers["content-length"] == str(7 * len(PART))


async def test_uploads_in_progress_are_listed(rig: Rig) -> None:
    ids = {key: await begin(rig, key=key) for key in ("a/1", "a/2", "b", "c")}
    answer = await rig.ask("GET", "/bucket", "uploads=")
    assert answer.texts("Upload/Key") == ["a/1", "a/2", "b", "c"]
    assert answer.texts("Upload/UploadId") == list(ids.values())
    answer = await rig.ask("GET", "/bucket", "delimiter=%2F&uploads=")
    assert answer.texts("Upload/Key") == ["b", "c"]
    assert answer.texts("CommonPrefixes/Prefix") == ["a/"]
    answer = await rig.ask("GET", "/bucket", "max-uploads=2&uploads=")
    assert answer.texts("Upload/Key") == ["a/1", "a/2"]
    assert answer.text("IsTruncated") == "true"
    key, upload = answer.text("NextKeyMarker"), answer.text("NextUploadIdMarker")
    assert (key, upload) == ("a/2", ids["a/2"])
    none = await rig.ask("GET", "/bucket", "key-marker=a%2F2&upload-id-marker=none&uploads=")
    assert (none.status, none.code) == (400, "InvalidArgument")
    answer = await rig.ask("GET", "/bucket", f"key-marker=a%2F2&upload-id-marker={upload}&uploads=")
    assert answer.texts("Upload/Key") == ["b", "c"]
    assert (await rig.ask("DELETE", "/bucket")).status == 204
    await rig.put("/bucket", b"")
    assert (await part(rig, ids["b"], 1, b"x")).code == "NoSuchUpload"
