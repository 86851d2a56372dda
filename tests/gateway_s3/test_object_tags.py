"""Tags of objects: given with the object, replaced without a new version, copied, counted."""

from __future__ import annotations

import pytest
from gateway_rig import Answer, Rig

from common import limits
from common.wire import messages as m

TAGGING = "<Tagging><TagSet>{}</TagSet></Tagging>"


def document(*pairs: tuple[str, str]) -> bytes:
    rows = [f"<Tag><Key>{key}</Key><Value>{value}</Value></Tag>" for key, value in pairs]
    return TAGGING.format("".join(rows)).encode()


@pytest.fixture
async def rig() -> Rig:
    made = Rig()
    await made.put("/bucket", b"")
    return made


async def tags_of(rig: Rig, path: str) -> list[tuple[str, str]]:
    answer = await rig.ask("GET", path, "tagging=")
    assert answer.status == 200, answer.body
    assert answer.xml().tag == "Tagging"
    keys, values = answer.texts("TagSet/Tag/Key"), answer.texts("TagSet/Tag/Value")
    return list(zip(keys, values, strict=True))


async def counts(rig: Rig, path: str) -> set[str | None]:
    return {
        (await rig.ask(method, path)).headers.get("x-amz-tagging-count")
        for method in ("GET", "HEAD")
    }


async def begin(rig: Rig, path: str, headers: dict[str, str]) -> str:
    begun = await rig.ask("POST", path, "uploads=", b"", headers)
    return begun.text("UploadId") or ""


async def complete(rig: Rig, path: str, upload_id: str) -> Answer:
    part = await rig.ask("PUT", path, f"partNumber=1&uploadId={upload_id}", b"part")
    body = (
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>"
        f"<ETag>{part.headers['etag']}</ETag></Part></CompleteMultipartUpload>"
    )
    return await rig.ask("POST", path, f"uploadId={upload_id}", body.encode())


async def test_tags_come_with_the_object_and_are_counted(rig: Rig) -> None:
    await rig.put("/bucket/key", b"content", {"x-amz-tagging": "a=1&b%20c=x%2Fy&empty"})
    assert await tags_of(rig, "/bucket/key") == [("a", "1"), ("b c", "x/y"), ("empty", "")]
    assert await counts(rig, "/bucket/key") == {"3"}
    await rig.put("/bucket/key", b"content", {"x-amz-tagging": ""})
    assert await tags_of(rig, "/bucket/key") == []
    assert await counts(rig, "/bucket/key") == {None}


async def test_tags_are_replaced_and_removed_without_a_new_version(rig: Rig) -> None:
    await rig.put("/bucket/key", b"content", {"x-amz-tagging": "a=1"})
    before = rig.coordinators.current["bucket", b"key"]
    shown = await rig.ask("HEAD", "/bucket/key")
    for pairs in ([("b", "2"), ("A", "1")], [("b", "3")], []):
        done = await rig.ask("PUT", "/bucket/key", "tagging=", document(*pairs))
        assert (done.status, done.body) == (200, b"")
        assert await tags_of(rig, "/bucket/key") == pairs
        assert await counts(rig, "/bucket/key") == {str(len(pairs)) if pairs else None}
    await rig.ask("PUT", "/bucket/key", "tagging=", document(("c", "4")))
    for _ in range(2):
        gone = await rig.ask("DELETE", "/bucket/key", "tagging=")
        assert (gone.status, gone.body) == (204, b"")
        assert await tags_of(rig, "/bucket/key") == []
    after = rig.coordinators.current["bucket", b"key"]
    assert (after.version_id, after.sequence) == (before.version_id, before.sequence)
    again = await rig.ask("HEAD", "/bucket/key")
    for name in ("etag", "last-modified", "content-length"):
        assert again.headers[name] == shown.headers[name]


async def test_another_gateway_shows_new_tags_at_once(rig: Rig) -> None:
    beside = Rig(beside=rig)
    await rig.put("/bucket/key", b"content")
    assert await tags_of(beside, "/bucket/key") == []
    await rig.ask("PUT", "/bucket/key", "tagging=", document(("a", "1")))
    assert await tags_of(beside, "/bucket/key") == [("a", "1")]


async def test_a_new_version_has_none_of_the_old_ones_tags(rig: Rig) -> None:
    await rig.put("/bucket/key", b"content", {"x-amz-tagging": "a=1"})
    await rig.put("/bucket/key", b"new")
    assert await tags_of(rig, "/bucket/key") == []


async def test_tags_of_an_upload_in_parts_are_the_objects(rig: Rig) -> None:
    upload_id = await begin(rig, "/bucket/key", {"x-amz-tagging": "a=1&b=2"})
    assert (await complete(rig, "/bucket/key", upload_id)).status == 200
    assert await tags_of(rig, "/bucket/key") == [("a", "1"), ("b", "2")]
    assert await counts(rig, "/bucket/key") == {"2"}


async def test_the_largest_tags_fit_with_the_largest_headers_in_an_upload_and_an_object(
    rig: Rig,
) -> None:
    key, value = "%E6%96%87" * 126, "%E6%96%87" * 256
    tags = "&".join(f"{number:02d}{key}={value}" for number in range(10))
    headers = {
        "x-amz-tagging": tags,
        "content-disposition": "x" * (limits.MAX_CONTENT_HEADER_BYTES - 100),
        "x-amz-meta-a": "y" * (limits.MAX_USER_METADATA_BYTES - 1),
    }
    upload_id = await begin(rig, "/bucket/key", headers)
    assert (await complete(rig, "/bucket/key", upload_id)).status == 200
    wanted = [(f"{number:02d}" + "文" * 126, "文" * 256) for number in range(10)]
    assert await tags_of(rig, "/bucket/key") == wanted


@pytest.mark.parametrize(
    ("directive", "header", "wanted"),
    [
        (None, None, [("a", "1")]),
        ("COPY", None, [("a", "1")]),
        ("COPY", "b=2", [("a", "1")]),
        (None, "b=2", [("a", "1")]),
        ("REPLACE", "b=2", [("b", "2")]),
        ("REPLACE", None, []),
        ("REPLACE", "", []),
    ],
)
async def test_a_copy_has_the_sources_tags_or_new_ones(
    rig: Rig, directive: str | None, header: str | None, wanted: list[tuple[str, str]]
) -> None:
    await rig.put("/bucket/source", b"content", {"x-amz-tagging": "a=1"})
    headers = {"x-amz-copy-source": "/bucket/source"}
    if directive is not None:
        headers["x-amz-tagging-directive"] = directive
    if header is not None:
        headers["x-amz-tagging"] = header
    answer = await rig.ask("PUT", "/bucket/copy", "", b"", headers)
    assert answer.status == 200, answer.body
    assert await tags_of(rig, "/bucket/copy") == wanted
    assert await tags_of(rig, "/bucket/source") == [("a", "1")]


async def test_a_copy_onto_itself_that_changes_only_tags_is_refused_as_on_s3(rig: Rig) -> None:
    await rig.put("/bucket/key", b"content", {"x-amz-tagging": "a=1"})
    headers = {
        "x-amz-copy-source": "/bucket/key",
        "x-amz-tagging-directive": "REPLACE",
        "x-amz-tagging": "b=2",
    }
    answer = await rig.ask("PUT", "/bucket/key", "", b"", headers)
    assert (answer.status, answer.code) == (400, "InvalidRequest")
    replaced = {**headers, "x-amz-metadata-directive": "REPLACE"}
    assert (await rig.ask("PUT", "/bucket/key", "", b"", replaced)).status == 200
    assert await tags_of(rig, "/bucket/key") == [("b", "2")]


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("a=1&a=2", "InvalidArgument"),
        ("=1", "InvalidArgument"),
        ("aws:x=1", "InvalidTag"),
        ("a=%3Cb%3E", "InvalidTag"),
        ("&".join(f"k{number}=" for number in range(11)), "BadRequest"),
    ],
)
async def test_tags_that_an_object_cannot_have_leave_nothing_behind(
    rig: Rig, header: str, code: str
) -> None:
    await rig.put("/bucket/source", b"content")
    headers = {"x-amz-tagging": header}
    copy = {**headers, "x-amz-copy-source": "/bucket/source", "x-amz-tagging-directive": "REPLACE"}
    for answer in (
        await rig.ask("PUT", "/bucket/key", "", b"content", headers),
        await rig.ask("PUT", "/bucket/key", "", b"", copy),
        await rig.ask("POST", "/bucket/key", "uploads=", b"", headers),
    ):
        assert (answer.status, answer.code) == (400, code)
    assert ("bucket", b"key") not in rig.coordinators.current
    assert not rig.coordinators.uploads


@pytest.mark.fault("S3-18")
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "MalformedXML"),
        (b"<Tagging/>", "MalformedXML"),
        (b"<Tagging><TagSet>", "MalformedXML"),
        (document(("", "v")), "InvalidTag"),
        (document(("a", "1"), ("a", "2")), "InvalidTag"),
        (document(*((f"k{number}", "") for number in range(11))), "BadRequest"),
    ],
)
async def test_a_document_that_cannot_be_meant_changes_no_tags(
    rig: Rig, body: bytes, code: str
) -> None:
    await rig.put("/bucket/key", b"content", {"x-amz-tagging": "a=1"})
    answer = await rig.ask("PUT", "/bucket/key", "tagging=", body)
    assert (answer.status, answer.code) == (400, code)
    assert await tags_of(rig, "/bucket/key") == [("a", "1")]


async def test_a_missing_bucket_or_key_is_said_first(rig: Rig) -> None:
    for path, code in (("/nothing/key", "NoSuchBucket"), ("/bucket/nothing", "NoSuchKey")):
        for method, body in (("PUT", b"<x>"), ("GET", b""), ("DELETE", b"")):
            answer = await rig.ask(method, path, "tagging=", body)
            assert (answer.status, answer.code) == (404, code)


async def test_only_the_owner_sets_shows_and_removes_tags(rig: Rig) -> None:
    await rig.put("/bucket/key", b"content", {"x-amz-tagging": "a=1"})
    for method, body in (("PUT", document()), ("GET", b""), ("DELETE", b"")):
        answer = await rig.ask(method, "/bucket/key", "tagging=", body, access_key="OTHER")
        assert (answer.status, answer.code) == (403, "AccessDenied")
    assert await tags_of(rig, "/bucket/key") == [("a", "1")]


@pytest.mark.parametrize(
    ("method", "query"),
    [("GET", ""), ("DELETE", ""), ("PUT", "partNumber=1&uploadId=x"), ("PUT", "tagging=")],
)
async def test_the_header_is_refused_where_it_would_be_ignored(
    rig: Rig, method: str, query: str
) -> None:
    answer = await rig.ask(method, "/bucket/key", query, b"", {"x-amz-tagging": "a=1"})
    assert (answer.status, answer.code) == (501, "NotImplemented")


async def test_tags_follow_an_object_that_is_replaced_while_they_are_set(rig: Rig) -> None:
    await rig.put("/bucket/key", b"old")
    beside = Rig(beside=rig)
    replaced = 0

    async def replace(request: m.Request) -> None:
        nonlocal replaced
        if replaced < 2:
            replaced += 1
            await beside.put("/bucket/key", b"new %d" % replaced)

    rig.coordinators.faults[m.ObjectTagsSet] = replace
    assert (await rig.ask("PUT", "/bucket/key", "tagging=", document(("a", "1")))).status == 200
    assert await tags_of(rig, "/bucket/key") == [("a", "1")]
    assert (await rig.ask("GET", "/bucket/key")).body == b"new 2"


async def test_tags_cost_reads_and_writes_no_call(rig: Rig) -> None:
    for headers in ({}, {"x-amz-tagging": "a=1"}):
        for method, call in (("PUT", "ObjectCommit"), ("GET", "ObjectGet"), ("HEAD", "ObjectGet")):
            rig.coordinators.requests.clear()
            given = headers if method == "PUT" else {}
            assert (await rig.ask(method, "/bucket/key", "", b"x", given)).status == 200
            assert [each for each in rig.coordinators.calls if each.startswith("Object")] == [call]


async def test_coordinators_see_no_word_of_a_tag(rig: Rig) -> None:
    await rig.put("/bucket/key", b"content", {"x-amz-tagging": "secretive=whispered"})
    (kept,) = rig.coordinators.sql.execute("SELECT tags FROM versions").fetchone()
    assert kept
    assert b"secretive" not in kept
    assert b"whispered" not in kept


@pytest.mark.fault("H1")
async def test_tags_of_another_object_are_not_shown(rig: Rig) -> None:
    await rig.put("/bucket/one", b"content", {"x-amz-tagging": "a=1"})
    await rig.put("/bucket/two", b"content", {"x-amz-tagging": "b=2"})
    sql = rig.coordinators.sql
    sql.execute("UPDATE versions SET tags = (SELECT tags FROM versions WHERE name = ?)", (b"one",))
    assert await tags_of(rig, "/bucket/one") == [("a", "1")]
    answer = await rig.ask("GET", "/bucket/two", "tagging=")
    assert (answer.status, answer.code) == (500, "InternalError")
