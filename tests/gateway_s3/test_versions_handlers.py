"""Buckets with versions: what clients see of each operation."""

from __future__ import annotations

import base64
import hashlib
import json
from email.utils import parsedate_to_datetime
from urllib.parse import quote

import pytest
import trio
from gateway_rig import Rig
from versions_client import (
    Listed,
    delete,
    delete_many,
    get,
    ids,
    live,
    one_part,
    only,
    put,
    rows_of,
    set_versioning,
    version_of,
    versions,
)

from common.wire import messages as m

ABSENT_ID = "a1" * 16


@pytest.fixture
async def rig() -> Rig:
    """A gateway with a bucket whose versioning is enabled."""
    made = Rig()
    await made.put("/bucket", b"")
    assert (await set_versioning(made, "Enabled")).status == 200
    return made


@pytest.fixture
async def plain() -> Rig:
    """A gateway with a bucket that never had versions."""
    made = Rig()
    await made.put("/bucket", b"")
    return made


def tag(body: bytes) -> str:
    return f'"{hashlib.md5(body).hexdigest()}"'


# --- the bucket's state -------------------------------------------------------------------------


async def test_versioning_is_enabled_and_suspended(plain: Rig) -> None:
    async def status() -> str | None:
        answer = await plain.ask("GET", "/bucket", "versioning=")
        assert answer.status == 200
        assert answer.xml().tag == "VersioningConfiguration"
        return answer.text("Status")

    assert await status() is None
    for each in ("Enabled", "Suspended", "Enabled", "Enabled"):
        assert (await set_versioning(plain, each)).status == 200
        assert await status() == each


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"<VersioningConfiguration/>", 400, "IllegalVersioningConfigurationException"),
        (b"", 400, "MalformedXML"),
        (b"<Versioning><Status>Enabled</Status></Versioning>", 400, "MalformedXML"),
        (b"<VersioningConfiguration><Status>On</Status></VersioningConfiguration>", 400, None),
        (
            b"<VersioningConfiguration><Status>Enabled</Status><MfaDelete>Enabled</MfaDelete>"
            b"</VersioningConfiguration>",
            501,
            "NotImplemented",
        ),
        (
            b"<VersioningConfiguration><Status>Enabled</Status><More/></VersioningConfiguration>",
            400,
            "MalformedXML",
        ),
    ],
)
async def test_a_configuration_that_cannot_be_is_refused(
    plain: Rig, body: bytes, status: int, code: str | None
) -> None:
    answer = await plain.ask("PUT", "/bucket", "versioning=", body)
    assert answer.status == status
    assert answer.code == (code or "MalformedXML")
    assert (await plain.ask("GET", "/bucket", "versioning=")).text("Status") is None


async def test_mfa_delete_may_be_said_to_be_off_and_its_header_is_501(rig: Rig) -> None:
    body = (
        b"<VersioningConfiguration><MfaDelete>Disabled</MfaDelete><Status>Suspended</Status>"
        b"</VersioningConfiguration>"
    )
    assert (await rig.ask("PUT", "/bucket", "versioning=", body)).status == 200
    answer = await rig.ask("DELETE", "/bucket/key", "", b"", {"x-amz-mfa": "serial 123456"})
    assert (answer.status, answer.code) == (501, "NotImplemented")


async def test_versioning_of_another_tenants_bucket_is_denied(rig: Rig) -> None:
    body = b"<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>"
    answer = await rig.ask("PUT", "/bucket", "versioning=", body, access_key="OTHER")
    assert (answer.status, answer.code) == (403, "AccessDenied")
    assert (await rig.ask("GET", "/bucket", "versioning=")).text("Status") == "Enabled"


async def test_a_bucket_that_never_had_versions_says_nothing_of_them(plain: Rig) -> None:
    answers = [
        await plain.put("/bucket/key", b"one"),
        await get(plain, "key"),
        await get(plain, "key", method="HEAD"),
        await plain.ask("PUT", "/bucket/copy", "", b"", {"x-amz-copy-source": "bucket/key"}),
        await plain.ask("DELETE", "/bucket/key"),
    ]
    for answer in answers:
        assert answer.status in {200, 204}
        assert not {"x-amz-version-id", "x-amz-delete-marker"} & answer.headers.keys()
        assert "x-amz-copy-source-version-id" not in answer.headers
    assert await versions(plain) == [
        Listed("copy", "null", True, False, tag(b"one"), 3),
    ]


# --- writing and reading ------------------------------------------------------------------------


async def test_every_write_is_a_version_that_can_be_read(rig: Rig) -> None:
    bodies = [b"one", b"two", b"", b"four"]
    made = [await put(rig, "key", body) for body in bodies]
    assert len(set(made)) == 4
    current = await get(rig, "key")
    assert (current.body, version_of(current)) == (b"four", made[-1])
    for version, body in zip(made, bodies, strict=True):
        for method in ("GET", "HEAD"):
            answer = await get(rig, "key", version, method)
            assert (answer.status, version_of(answer)) == (200, version)
            assert answer.headers["etag"] == tag(body)
            assert answer.body == (body if method == "GET" else b"")
    assert await ids(rig, "key") == made[::-1]


async def test_a_range_and_a_condition_are_of_the_version_that_is_named(rig: Rig) -> None:
    old = await put(rig, "key", b"old bytes")
    await put(rig, "key", b"new")
    query = f"versionId={old}"
    answer = await rig.ask("GET", "/bucket/key", query, b"", {"range": "bytes=4-8"})
    assert (answer.status, answer.body, version_of(answer)) == (206, b"bytes", old)
    answer = await rig.ask("GET", "/bucket/key", query, b"", {"if-none-match": tag(b"old bytes")})
    assert (answer.status, version_of(answer)) == (304, old)
    answer = await rig.ask("GET", "/bucket/key", query, b"", {"if-match": tag(b"new")})
    assert (answer.status, answer.code) == (412, "PreconditionFailed")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_version_that_is_not_there_is_404_and_an_impossible_id_400(
    rig: Rig, method: str
) -> None:
    await put(rig, "key", b"one")
    other = await put(rig, "other", b"other")
    for version in (ABSENT_ID, "null", other):
        answer = await get(rig, "key", version, method)
        assert answer.status == 404
        if method == "GET":
            assert (answer.code, answer.text("Key")) == ("NoSuchVersion", "key")
    for version in ("x", ABSENT_ID.upper(), ABSENT_ID + "00", "Null", "%00"):
        answer = await get(rig, "key", version, method)
        assert answer.status == 400
        if method == "GET":
            assert answer.code == "InvalidArgument"
            assert answer.text("ArgumentName") == "versionId"


async def test_a_version_that_is_deleted_while_it_is_asked_for_is_not_another(rig: Rig) -> None:
    old = await put(rig, "key", b"old")
    await put(rig, "key", b"new")

    async def delete_now(_: object) -> None:
        del rig.coordinators.faults[m.ObjectGet]
        await delete(rig, "key", old)

    rig.coordinators.faults[m.ObjectGet] = delete_now
    answer = await get(rig, "key", old)
    assert (answer.status, answer.code) == (404, "NoSuchVersion")


async def test_a_version_in_parts_is_known_by_its_id(rig: Rig) -> None:
    first = await put(rig, "key", b"single")
    begun = await rig.ask("POST", "/bucket/key", "uploads=")
    assert "x-amz-version-id" not in begun.headers
    upload = begun.text("UploadId")
    part = await rig.ask("PUT", "/bucket/key", f"partNumber=1&uploadId={upload}", b"part")
    assert "x-amz-version-id" not in part.headers
    body = one_part(part.headers["etag"])
    done = await rig.ask("POST", "/bucket/key", f"uploadId={upload}", body)
    again = await rig.ask("POST", "/bucket/key", f"uploadId={upload}", body)
    assert (again.status, version_of(again)) == (200, version_of(done))
    assert await ids(rig, "key") == [version_of(done), first]
    assert (await get(rig, "key", version_of(done))).body == b"part"
    query = f"versionId={version_of(done)}&partNumber=1"
    assert (await rig.ask("GET", "/bucket/key", query)).headers["x-amz-mp-parts-count"] == "1"


async def test_an_upload_that_is_completed_when_versioning_is_suspended_is_null(rig: Rig) -> None:
    begun = await rig.ask("POST", "/bucket/key", "uploads=")
    upload = begun.text("UploadId")
    part = await rig.ask("PUT", "/bucket/key", f"partNumber=1&uploadId={upload}", b"part")
    await set_versioning(rig, "Suspended")
    body = one_part(part.headers["etag"])
    done = await rig.ask("POST", "/bucket/key", f"uploadId={upload}", body)
    assert version_of(done) == "null"
    answer = await get(rig, "key", upload)
    assert (answer.status, answer.code) == (404, "NoSuchVersion")


# --- the null version ---------------------------------------------------------------------------


async def test_what_was_there_before_is_the_null_version(plain: Rig) -> None:
    await plain.put("/bucket/key", b"before")
    assert "x-amz-version-id" not in (await get(plain, "key")).headers
    await set_versioning(plain, "Enabled")
    assert version_of(await get(plain, "key")) == "null"
    made = await put(plain, "key", b"after")
    assert await ids(plain, "key") == [made, "null"]
    null = await get(plain, "key", "null")
    assert (null.body, version_of(null)) == (b"before", "null")
    done = await delete(plain, "key", "null")
    assert version_of(done) == "null"
    assert await ids(plain, "key") == [made]


async def test_a_suspended_bucket_replaces_the_null_version_and_no_other(rig: Rig) -> None:
    first, second = await put(rig, "key", b"1"), await put(rig, "key", b"2")
    await set_versioning(rig, "Suspended")
    assert await put(rig, "key", b"3") == "null"
    assert await ids(rig, "key") == ["null", second, first]
    assert await put(rig, "key", b"4") == "null"
    assert await ids(rig, "key") == ["null", second, first]
    assert (await get(rig, "key", "null")).body == (await get(rig, "key")).body == b"4"
    await set_versioning(rig, "Enabled")
    last = await put(rig, "key", b"5")
    assert await ids(rig, "key") == [last, "null", second, first]
    await set_versioning(rig, "Suspended")
    await put(rig, "key", b"6")
    # The null version moves to the front: it is ordered by when it was committed.
    assert await ids(rig, "key") == ["null", last, second, first]


async def test_a_delete_in_a_suspended_bucket_leaves_a_null_marker(rig: Rig) -> None:
    first = await put(rig, "key", b"1")
    await set_versioning(rig, "Suspended")
    await put(rig, "key", b"2")
    for _ in range(2):
        done = await delete(rig, "key")
        assert version_of(done) == "null"
        assert done.headers["x-amz-delete-marker"] == "true"
        assert await ids(rig, "key") == ["-null", first]
    done = await delete(rig, "key", "null")
    assert (version_of(done), done.headers["x-amz-delete-marker"]) == ("null", "true")
    assert (await get(rig, "key")).body == b"1"
    done = await delete(rig, "nothing")
    assert (version_of(done), await ids(rig, "nothing")) == ("null", ["-null"])


async def test_versions_that_remain_can_be_deleted_when_versioning_is_suspended(rig: Rig) -> None:
    made = [await put(rig, "key", bytes([number])) for number in range(5)]
    await set_versioning(rig, "Suspended")
    for version in made:
        assert version_of(await delete(rig, "key", version)) == version
    assert await versions(rig) == []


# --- delete markers -----------------------------------------------------------------------------


async def test_a_delete_leaves_a_marker_and_every_version(rig: Rig) -> None:
    made = await put(rig, "key", b"data")
    done = await delete(rig, "key")
    marker = version_of(done)
    assert done.headers["x-amz-delete-marker"] == "true"
    assert marker not in {made, "null"}
    assert await live(rig) == []
    assert await versions(rig) == [
        Listed("key", marker, True, True),
        Listed("key", made, False, False, tag(b"data"), 4),
    ]
    assert (await get(rig, "key", made)).body == b"data"
    for method in ("GET", "HEAD"):
        gone = await get(rig, "key", method=method)
        assert (gone.status, version_of(gone)) == (404, marker)
        assert gone.headers["x-amz-delete-marker"] == "true"
        named = await get(rig, "key", marker, method)
        assert (named.status, version_of(named)) == (405, marker)
        assert named.headers["x-amz-delete-marker"] == "true"
        assert named.headers["allow"] == "DELETE"
        parsedate_to_datetime(named.headers["last-modified"])
    assert (await get(rig, "key")).code == "NoSuchKey"
    assert (await get(rig, "key", marker)).code == "MethodNotAllowed"


async def test_deleting_a_marker_brings_the_object_back(rig: Rig) -> None:
    made = await put(rig, "key", b"data")
    first, second = version_of(await delete(rig, "key")), version_of(await delete(rig, "key"))
    assert await ids(rig, "key") == ["-" + second, "-" + first, made]
    done = await delete(rig, "key", first)
    assert (version_of(done), done.headers["x-amz-delete-marker"]) == (first, "true")
    assert (await get(rig, "key")).status == 404
    await delete(rig, "key", second)
    answer = await get(rig, "key")
    assert (answer.status, version_of(answer)) == (200, made)
    assert await live(rig) == ["key"]


async def test_deleting_the_current_version_makes_the_one_before_current(rig: Rig) -> None:
    first, second = await put(rig, "key", b"1"), await put(rig, "key", b"2")
    done = await delete(rig, "key", second)
    assert version_of(done) == second
    assert "x-amz-delete-marker" not in done.headers
    assert (await get(rig, "key")).body == b"1"
    # Of a version that is not there, and once more.
    for version in (second, ABSENT_ID):
        again = await delete(rig, "key", version)
        assert version_of(again) == version
        assert "x-amz-delete-marker" not in again.headers
    assert await ids(rig, "key") == [first]
    await delete(rig, "key", first)
    answer = await get(rig, "key")
    assert (answer.status, answer.code) == (404, "NoSuchKey")
    assert "x-amz-delete-marker" not in answer.headers


async def test_a_marker_is_made_of_a_key_that_never_was(rig: Rig) -> None:
    marker = version_of(await delete(rig, "nothing"))
    assert await ids(rig, "nothing") == ["-" + marker]


async def test_an_impossible_version_is_not_deleted(rig: Rig) -> None:
    await put(rig, "key", b"1")
    for version in ("x", ""):
        answer = await rig.ask("DELETE", "/bucket/key", f"versionId={version}")
        assert (answer.status, answer.code) == (400, "InvalidArgument")
    assert len(await ids(rig, "key")) == 1


async def test_a_gateway_that_did_not_hear_of_versions_makes_markers_all_the_same() -> None:
    rig = Rig()
    await rig.put("/bucket", b"")
    beside = Rig(2, beside=rig)
    await beside.put("/bucket/key", b"data")
    await set_versioning(rig, "Enabled")
    marker = version_of(await delete(beside, "key"))
    assert (await ids(rig, "key"))[0] == "-" + marker


async def test_deletes_at_once_where_versions_were_not_heard_of_all_make_markers() -> None:
    rig = Rig()
    await rig.put("/bucket", b"")
    beside = Rig(2, beside=rig)
    keys = ("one", "two", "three")
    for key in keys:
        await beside.put(f"/bucket/{key}", b"data")
    await set_versioning(rig, "Enabled")
    made: dict[str, str] = {}

    async def remove(key: str) -> None:
        made[key] = version_of(await delete(beside, key))

    async with trio.open_nursery() as nursery:
        for key in keys:
            nursery.start_soon(remove, key)
    for key in keys:
        assert await ids(rig, key) == ["-" + made[key], "null"]


async def test_a_bucket_made_anew_takes_no_marker_of_the_old_one() -> None:
    rig = Rig()
    await rig.put("/bucket", b"")
    await set_versioning(rig, "Enabled")
    beside = Rig(2, beside=rig)
    await delete(beside, "key")
    for row in await versions(rig):
        await delete(rig, row.key, row.version)
    assert (await rig.ask("DELETE", "/bucket")).status == 204
    await rig.put("/bucket", b"")
    await set_versioning(rig, "Enabled")
    marker = version_of(await delete(beside, "key"))
    assert await ids(rig, "key") == ["-" + marker]


# --- DeleteObjects ------------------------------------------------------------------------------


async def test_many_are_deleted_by_name_and_by_version(rig: Rig) -> None:
    first, second = await put(rig, "a", b"1"), await put(rig, "a", b"2")
    other = await put(rig, "b", b"3")
    marker = version_of(await delete(rig, "c"))
    answer = await delete_many(
        rig,
        f"<Key>a</Key><VersionId>{first}</VersionId>",
        "<Key>b</Key>",
        f"<Key>c</Key><VersionId>{marker}</VersionId>",
        f"<Key>a</Key><VersionId>{ABSENT_ID}</VersionId>",
        "<Key>a</Key><VersionId>bad</VersionId>",
    )
    rows = [
        {child.tag: child.text for child in element}
        for element in answer.xml()
        if element.tag == "Deleted"
    ]
    made = rows[1]["DeleteMarkerVersionId"]
    assert rows == [
        {"Key": "a", "VersionId": first},
        {"Key": "b", "DeleteMarker": "true", "DeleteMarkerVersionId": made},
        {
            "Key": "c",
            "VersionId": marker,
            "DeleteMarker": "true",
            "DeleteMarkerVersionId": marker,
        },
        {"Key": "a", "VersionId": ABSENT_ID},
    ]
    assert answer.texts("Error/Code") == ["InvalidArgument"]
    assert answer.texts("Error/VersionId") == ["bad"]
    assert await ids(rig, "a") == [second]
    assert await ids(rig, "b") == ["-" + str(made), other]
    assert await ids(rig, "c") == []


async def test_of_one_key_named_twice_each_delete_counts(rig: Rig) -> None:
    made = await put(rig, "a", b"1")
    answer = await delete_many(
        rig, "<Key>a</Key>", "<Key>a</Key>", f"<Key>a</Key><VersionId>{made}</VersionId>"
    )
    markers = answer.texts("Deleted/DeleteMarkerVersionId")
    assert await ids(rig, "a") == ["-" + markers[1], "-" + markers[0]]


# --- copies -------------------------------------------------------------------------------------


async def test_a_copy_of_an_old_version_restores_it(rig: Rig) -> None:
    old, new = await put(rig, "key", b"old"), await put(rig, "key", b"new")
    header = {"x-amz-copy-source": f"/bucket/key?versionId={old}"}
    answer = await rig.ask("PUT", "/bucket/key", "", b"", header)
    assert answer.status == 200
    assert answer.headers["x-amz-copy-source-version-id"] == old
    restored = version_of(answer)
    assert (await get(rig, "key")).body == b"old"
    assert await ids(rig, "key") == [restored, new, old]
    # What it is a copy of can go: the copy holds its segments.
    await delete(rig, "key", old)
    assert (await get(rig, "key")).body == b"old"


async def test_the_current_version_is_copied_where_none_is_named(rig: Rig) -> None:
    await put(rig, "key", b"old")
    new = await put(rig, "key", b"new")
    answer = await rig.ask("PUT", "/bucket/copy", "", b"", {"x-amz-copy-source": "bucket/key"})
    assert answer.headers["x-amz-copy-source-version-id"] == new
    assert (await get(rig, "copy")).body == b"new"
    to_itself = await rig.ask("PUT", "/bucket/key", "", b"", {"x-amz-copy-source": "bucket/key"})
    assert (to_itself.status, to_itself.code) == (400, "InvalidRequest")


async def test_a_copy_from_a_bucket_with_versions_to_one_without(rig: Rig) -> None:
    old = await put(rig, "key", b"old")
    await rig.put("/plain", b"")
    header = {"x-amz-copy-source": quote(f"bucket/key?versionId={old}", safe="/?=")}
    answer = await rig.ask("PUT", "/plain/key", "", b"", header)
    assert answer.headers["x-amz-copy-source-version-id"] == old
    assert "x-amz-version-id" not in answer.headers


async def test_what_is_deleted_cannot_be_copied(rig: Rig) -> None:
    await put(rig, "key", b"old")
    marker = version_of(await delete(rig, "key"))
    for source, status, code in (
        ("bucket/key", 404, "NoSuchKey"),
        (f"bucket/key?versionId={marker}", 400, "InvalidRequest"),
        (f"bucket/key?versionId={ABSENT_ID}", 404, "NoSuchVersion"),
        ("bucket/key?versionId=null", 404, "NoSuchVersion"),
        ("bucket/key?versionId=bad", 400, "InvalidArgument"),
    ):
        answer = await rig.ask("PUT", "/bucket/copy", "", b"", {"x-amz-copy-source": source})
        assert (answer.status, answer.code) == (status, code), source
    assert await ids(rig, "copy") == []


async def test_a_part_is_copied_from_the_version_that_is_named(rig: Rig) -> None:
    old = await put(rig, "key", b"old bytes")
    await put(rig, "key", b"new")
    upload = (await rig.ask("POST", "/bucket/target", "uploads=")).text("UploadId")
    part = await rig.ask(
        "PUT",
        "/bucket/target",
        f"partNumber=1&uploadId={upload}",
        b"",
        {
            "x-amz-copy-source": f"bucket/key?versionId={old}",
            "x-amz-copy-source-range": "bytes=4-8",
        },
    )
    assert part.headers["x-amz-copy-source-version-id"] == old
    body = one_part(part.text("ETag") or "")
    await rig.ask("POST", "/bucket/target", f"uploadId={upload}", body)
    assert (await get(rig, "target")).body == b"bytes"


# --- conditions ---------------------------------------------------------------------------------


async def test_conditions_are_on_the_current_version(rig: Rig) -> None:
    async def attempt(headers: dict[str, str], body: bytes = b"new") -> int:
        return (await rig.ask("PUT", "/bucket/key", "", body, headers)).status

    old = await put(rig, "key", b"old")
    await put(rig, "key", b"now")
    assert await attempt({"if-none-match": "*"}) == 412
    assert await attempt({"if-match": tag(b"old")}) == 412
    assert await attempt({"if-match": tag(b"now")}, b"next") == 200
    assert len(await ids(rig, "key")) == 3
    # Under a delete marker there is nothing: what is to be absent is, and nothing can match.
    await delete(rig, "key")
    missing = await rig.ask("PUT", "/bucket/key", "", b"x", {"if-match": "*"})
    assert (missing.status, missing.code) == (404, "NoSuchKey")
    assert await attempt({"if-none-match": "*"}, b"again") == 200
    assert await attempt({"if-none-match": "*"}) == 412
    assert (await get(rig, "key", old)).body == b"old"


async def test_a_conditional_delete_looks_at_the_current_version(rig: Rig) -> None:
    old, now = await put(rig, "key", b"old"), await put(rig, "key", b"now")
    for query in ("", f"versionId={old}"):
        refused = await rig.ask("DELETE", "/bucket/key", query, b"", {"if-match": tag(b"old")})
        assert (refused.status, refused.code) == (412, "PreconditionFailed")
    assert await ids(rig, "key") == [now, old]
    done = await rig.ask("DELETE", "/bucket/key", "", b"", {"if-match": tag(b"now")})
    assert (done.status, done.headers["x-amz-delete-marker"]) == (204, "true")
    gone = await rig.ask("DELETE", "/bucket/key", "", b"", {"if-match": "*"})
    assert (gone.status, gone.code) == (404, "NoSuchKey")


# --- listings -----------------------------------------------------------------------------------


async def test_versions_are_listed_by_key_and_from_the_latest_on(rig: Rig) -> None:
    made = {key: [await put(rig, key, b"x"), await put(rig, key, b"y")] for key in ("b", "a", "c")}
    marker = version_of(await delete(rig, "a"))
    rows = await versions(rig)
    assert [(row.key, row.version, row.is_latest) for row in rows] == [
        ("a", marker, True),
        ("a", made["a"][1], False),
        ("a", made["a"][0], False),
        ("b", made["b"][1], True),
        ("b", made["b"][0], False),
        ("c", made["c"][1], True),
        ("c", made["c"][0], False),
    ]
    assert await live(rig) == ["b", "c"]


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize("query", ["", "&prefix=d", "&delimiter=%2F", "&prefix=d%2F&delimiter=%2F"])
async def test_pages_of_versions_neither_skip_nor_repeat(rig: Rig, size: int, query: str) -> None:
    for number in range(3):
        for key in ("a", "d/1", "d/2", "d/e/3", "d/e/4", "z"):
            if (number + len(key)) % 4 == 0:
                await delete(rig, key)
            else:
                await put(rig, key, bytes([number]))
    await set_versioning(rig, "Suspended")
    await put(rig, "d/1", b"null")
    whole = await rig.ask("GET", "/bucket", "versions=" + query)
    seen, prefixes, marker = [], [], ""
    while True:
        page = await rig.ask("GET", "/bucket", f"versions={query}&max-keys={size}{marker}")
        rows = rows_of(page)
        assert len(rows) + len(page.texts("CommonPrefixes/Prefix")) <= size
        seen += rows
        prefixes += page.texts("CommonPrefixes/Prefix")
        if page.text("IsTruncated") != "true":
            assert page.text("NextKeyMarker") is None
            break
        marker = f"&key-marker={quote(page.text('NextKeyMarker') or '', safe='')}"
        if page.text("NextVersionIdMarker") is not None:
            marker += f"&version-id-marker={page.text('NextVersionIdMarker')}"
    assert seen == rows_of(whole)
    assert prefixes == whole.texts("CommonPrefixes/Prefix")
    assert sum(row.is_latest for row in seen) == len({row.key for row in seen})


async def test_a_bucket_is_emptied_page_by_page(rig: Rig) -> None:
    """As boto3 and mc do it: each page is deleted before the next is asked for."""
    for number in range(7):
        await put(rig, f"key{number % 2}", bytes([number]))
    marker = ""
    for _ in range(10):
        page = await rig.ask("GET", "/bucket", f"versions=&max-keys=2{marker}")
        await delete_many(
            rig,
            *(f"<Key>{row.key}</Key><VersionId>{row.version}</VersionId>" for row in rows_of(page)),
        )
        if page.text("IsTruncated") != "true":
            break
        marker = (
            f"&key-marker={page.text('NextKeyMarker')}"
            f"&version-id-marker={page.text('NextVersionIdMarker')}"
        )
    assert await versions(rig) == []
    assert (await rig.ask("DELETE", "/bucket")).status == 204


async def test_a_listing_goes_on_after_a_key_or_a_version(rig: Rig) -> None:
    a = [await put(rig, "a", bytes([number])) for number in range(3)]
    b = await put(rig, "b", b"x")
    assert [row.version for row in await versions(rig, "&key-marker=a")] == [b]
    page = await versions(rig, f"&key-marker=a&version-id-marker={a[1]}")
    assert [(row.version, row.is_latest) for row in page] == [(a[0], False), (b, True)]
    # A version of another key, or none at all: nothing of the key is skipped.
    for version in (b, ABSENT_ID, "null"):
        page = await versions(rig, f"&key-marker=a&version-id-marker={version}")
        assert [row.version for row in page] == [a[2], a[1], a[0], b]


@pytest.mark.parametrize(
    "query",
    [
        "&version-id-marker=null",
        "&key-marker=a&version-id-marker=x",
        "&max-keys=-1",
        "&encoding-type=x",
    ],
)
async def test_bad_parameters_of_a_listing_are_refused(rig: Rig, query: str) -> None:
    answer = await rig.ask("GET", "/bucket", "versions=" + query)
    assert (answer.status, answer.code) == (400, "InvalidArgument")


async def test_a_listing_says_what_it_was_asked_for_and_encodes_keys(rig: Rig) -> None:
    await rig.put("/bucket/a%20%25%01", b"x")
    await delete(rig, "a%20%25%01")
    answer = await rig.ask(
        "GET",
        "/bucket",
        f"versions=&encoding-type=url&prefix=a%20&key-marker=a%20&version-id-marker={ABSENT_ID}"
        "&max-keys=1",
    )
    assert answer.texts("DeleteMarker/Key") == ["a%20%25%01"]
    assert answer.text("EncodingType") == "url"
    assert answer.text("KeyMarker") == answer.text("Prefix") == "a%20"
    assert answer.text("VersionIdMarker") == ABSENT_ID
    assert answer.text("NextKeyMarker") == "a%20%25%01"
    assert answer.text("MaxKeys") == "1"
    empty = await rig.ask("GET", "/bucket", "versions=&max-keys=0")
    assert (rows_of(empty), empty.text("IsTruncated")) == ([], "false")


async def test_a_bucket_with_any_version_or_marker_stays(rig: Rig) -> None:
    made = await put(rig, "key", b"x")
    marker = version_of(await delete(rig, "key"))
    for version in (made, marker):
        answer = await rig.ask("DELETE", "/bucket")
        assert (answer.status, answer.code) == (409, "BucketNotEmpty")
        await delete(rig, "key", version)
    assert (await rig.ask("DELETE", "/bucket")).status == 204


async def test_settings_of_a_version_are_those_of_the_version_that_is_named(rig: Rig) -> None:
    old = await put(rig, "key", b"old")
    marker = version_of(await delete(rig, "key"))
    for query in ("acl=", "tagging="):
        assert (await rig.ask("GET", "/bucket/key", f"{query}&versionId={old}")).status == 200
        assert (await rig.ask("GET", "/bucket/key", query)).status == 404
        answer = await rig.ask("GET", "/bucket/key", f"{query}&versionId={marker}")
        assert (answer.status, answer.code) == (405, "MethodNotAllowed")


async def test_each_version_has_tags_of_its_own(rig: Rig) -> None:
    async def tags(version: str | None = None) -> list[str]:
        query = "tagging=" + ("" if version is None else f"&versionId={version}")
        answer = await rig.ask("GET", "/bucket/key", query)
        assert version is None or version_of(answer) == version
        return answer.texts("TagSet/Tag/Value")

    def document(value: str) -> bytes:
        tag = f"<Tag><Key>k</Key><Value>{value}</Value></Tag>"
        return f"<Tagging><TagSet>{tag}</TagSet></Tagging>".encode()

    old = await put(rig, "key", b"old", {"x-amz-tagging": "k=first"})
    new = await put(rig, "key", b"new", {"x-amz-tagging": "k=second"})
    assert (await tags(old), await tags()) == (["first"], ["second"])
    done = await rig.ask("PUT", "/bucket/key", f"tagging=&versionId={old}", document("third"))
    assert (done.status, version_of(done)) == (200, old)
    assert (await tags(old), await tags(new)) == (["third"], ["second"])
    done = await rig.ask("DELETE", "/bucket/key", f"tagging=&versionId={old}")
    assert (done.status, version_of(done)) == (204, old)
    assert (await tags(old), await tags(new)) == ([], ["second"])
    assert await ids(rig, "key") == [new, old]
    header = {"x-amz-copy-source": f"bucket/key?versionId={new}"}
    await rig.ask("PUT", "/bucket/key", "", b"", header)
    assert await tags() == ["second"]
    marker = version_of(await delete(rig, "key"))
    for query, status in ((f"tagging=&versionId={marker}", 405), ("tagging=", 404)):
        answer = await rig.ask("PUT", "/bucket/key", query, document("x"))
        assert answer.status == status
    answer = await rig.ask("GET", "/bucket/key", f"tagging=&versionId={ABSENT_ID}")
    assert (answer.status, answer.code) == (404, "NoSuchVersion")


async def test_who_may_read_objects_may_not_therefore_read_or_delete_their_versions(
    rig: Rig,
) -> None:
    """``s3:GetObject`` and ``s3:GetObjectVersion`` are two permissions, and so on."""
    old = await put(rig, "key", b"old")
    await put(rig, "key", b"new")
    plain = ["s3:GetObject", "s3:DeleteObject", "s3:ListBucket", "s3:PutObject"]
    of_versions = ["s3:GetObjectVersion", "s3:DeleteObjectVersion", "s3:ListBucketVersions"]

    async def allow(actions: list[str]) -> None:
        allowed = {
            "Effect": "Allow",
            "Principal": "*",
            "Action": actions,
            "Resource": ["arn:aws:s3:::bucket", "arn:aws:s3:::bucket/*"],
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]}).encode()
        assert (await rig.ask("PUT", "/bucket", "policy=", policy)).status == 204

    async def status(method: str, path: str, query: str, **headers: str) -> int:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return (await rig.ask(method, path, query, b"", given, access_key="OTHER")).status

    none = b"<PublicAccessBlockConfiguration/>"
    md5 = base64.b64encode(hashlib.md5(none).digest()).decode()
    await rig.ask("PUT", "/bucket", "publicAccessBlock=", none, {"content-md5": md5})
    await rig.ask("PUT", "/theirs", access_key="OTHER")
    for actions, plainly, by_version in ((plain, 200, 403), (of_versions, 403, 200)):
        await allow(actions)
        assert await status("GET", "/bucket/key", "") == plainly
        assert await status("GET", "/bucket/key", f"versionId={old}") == by_version
        assert await status("GET", "/bucket", "list-type=2") == plainly
        assert await status("GET", "/bucket", "versions=") == by_version
        for source, wanted in (("key", plainly), (f"key?versionId={old}", by_version)):
            copied = await status("PUT", "/theirs/copy", "", x_amz_copy_source=f"bucket/{source}")
            assert copied == wanted
        done = await status("DELETE", "/bucket/key", f"versionId={ABSENT_ID}")
        assert (done == 204) == (by_version == 200)


async def test_a_read_of_a_version_asks_the_coordinator_once(rig: Rig) -> None:
    old = await put(rig, "key", b"old")
    await put(rig, "key", b"new")
    await get(rig, "key")
    rig.coordinators.requests.clear()
    assert (await get(rig, "key", old)).body == b"old"
    assert [type(each) for each in rig.coordinators.requests] == [m.ObjectGet]


async def test_one_delete_is_one_request_also_where_markers_are_made(rig: Rig) -> None:
    await put(rig, "key", b"x")
    rig.coordinators.requests.clear()
    await delete_many(rig, "<Key>key</Key>", "<Key>other</Key>")
    assert [type(each) for each in rig.coordinators.requests] == [m.ObjectsDelete]
    assert only(await ids(rig, "other"))[0] == "-"
