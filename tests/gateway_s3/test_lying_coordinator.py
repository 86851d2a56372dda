"""A coordinator that answers another question than it was asked: nothing is shown, nothing changes.

One test, or more, for each row of the table in docs/crypto.md, "Answers and questions".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import trio
from gateway_rig import Answer, Rig
from trio.testing import MockClock
from versions_client import set_versioning

from common.limits import MIN_PART_BYTES
from common.wire import messages as m
from gateway.bucket_cache import CLASS_REMEMBERED_S

Lie: TypeAlias = Callable[[Any, Any], Any]
OURS, EVIL = b"what was written here", b"EVIL: what was written elsewhere"
PART = bytes(MIN_PART_BYTES)


@pytest.fixture
async def rig() -> Rig:
    """Two buckets of one tenant that hold the same keys, with other bytes."""
    made = Rig()
    for bucket, body in (("ours", OURS), ("evil", EVIL)):
        await made.put(f"/{bucket}", b"")
        await made.put(f"/{bucket}/key", body)
        await made.put(f"/{bucket}/other", body + b" in another key")
    return made


def refused(answer: Answer) -> bool:
    """Whether an answer is an error that shows nothing."""
    return answer.status == 500 and b"EVIL" not in answer.body and "etag" not in answer.headers


def instead(rig: Rig, bucket: str, name: bytes, **fields: Any) -> Lie:
    """Answers to ObjectGet with the record of this object, perhaps changed."""
    record = replace(rig.coordinators.current[bucket, name], **fields)

    def lie(request: Any, reply: Any) -> Any:
        return record if isinstance(request, m.ObjectGet) and request.bucket == "ours" else reply

    return lie


READS: list[tuple[str, str, str, dict[str, str]]] = [
    ("GET", "/ours/key", "", {}),
    ("GET", "/ours/key", "", {"range": "bytes=0-3"}),
    ("GET", "/ours/key", "partNumber=1", {}),
    ("HEAD", "/ours/key", "", {}),
    ("PUT", "/ours/copy", "", {"x-amz-copy-source": "/ours/key"}),
    ("PUT", "/evil/copy", "", {"x-amz-copy-source": "/ours/key"}),
    ("PUT", "/ours/key", "", {"if-match": "*"}),
    ("DELETE", "/ours/key", "", {"if-match": "*"}),
    ("GET", "/ours/key", "tagging=", {}),
]


@pytest.mark.fault("H1")
@pytest.mark.parametrize(("method", "path", "query", "headers"), READS)
@pytest.mark.parametrize(
    "lie", ["another bucket's", "another bucket's under our id", "another key's"]
)
async def test_an_object_answered_with_another_one_shows_and_changes_nothing(
    rig: Rig, method: str, path: str, query: str, headers: dict[str, str], lie: str
) -> None:
    ours = rig.coordinators.bucket_id("ours")
    rig.coordinators.lie = {
        "another bucket's": instead(rig, "evil", b"key"),
        "another bucket's under our id": instead(rig, "evil", b"key", bucket_id=ours),
        "another key's": instead(rig, "ours", b"other"),
    }[lie]
    before = dict(rig.coordinators.current)
    assert refused(await rig.ask(method, path, query, b"", headers))
    assert rig.coordinators.current == before
    rig.coordinators.lie = None
    assert (await rig.ask("GET", "/ours/key")).body == OURS


@pytest.mark.fault("H1")
async def test_a_part_copied_from_an_object_answered_with_another_one_is_not_made(rig: Rig) -> None:
    begun = await rig.ask("POST", "/ours/whole", "uploads=")
    query = f"partNumber=1&uploadId={begun.text('UploadId')}"
    rig.coordinators.lie = instead(rig, "evil", b"key")
    headers = {"x-amz-copy-source": "/ours/key"}
    assert refused(await rig.ask("PUT", "/ours/whole", query, b"", headers))
    (upload,) = rig.coordinators.uploads.values()
    assert not upload.parts


@pytest.mark.fault("H1")
async def test_a_version_that_was_asked_for_is_not_answered_with_another(rig: Rig) -> None:
    older = rig.coordinators.current["ours", b"key"]
    await rig.put("/ours/key", b"the newer version")

    def lie(request: Any, reply: Any) -> Any:
        return older if isinstance(request, m.ObjectGet) and request.version_id else reply

    rig.coordinators.lie = lie
    # A suffix is looked up first, and then asked for by its version.
    assert refused(await rig.ask("GET", "/ours/key", headers={"range": "bytes=-3"}))


@pytest.mark.fault("H1")
@pytest.mark.parametrize("known", [True, False])
async def test_a_bucket_answered_with_the_settings_of_another_shows_nothing(
    rig: Rig, known: bool
) -> None:
    evil = rig.coordinators.owned["evil"]
    record = rig.coordinators.current["evil", b"key"]

    def lie(request: Any, reply: Any) -> Any:
        if isinstance(request, m.BucketGet) and request.name == "ours":
            return replace(evil, name="ours")
        return record if isinstance(request, m.ObjectGet) else reply

    if not known:
        rig.backend.buckets.forget(rig.tenant, "ours")
    rig.coordinators.lie = lie
    assert refused(await rig.ask("GET", "/ours/key"))
    assert refused(await rig.ask("HEAD", "/ours"))


@pytest.mark.fault("H1")
async def test_a_bucket_made_under_the_id_of_another_takes_no_object(rig: Rig) -> None:
    evil = rig.coordinators.owned["evil"]

    def lie(request: Any, reply: Any) -> Any:
        return replace(evil, name="new") if isinstance(request, m.BucketCreate) else reply

    rig.coordinators.lie = lie
    assert refused(await rig.ask("PUT", "/new", "", b""))
    rig.coordinators.lie = None
    await rig.put("/new/key", OURS)
    (sealed_for,) = {
        request.bucket_id
        for request in rig.coordinators.requests
        if isinstance(request, m.ObjectCommit) and request.bucket == "new"
    }
    assert sealed_for == rig.coordinators.bucket_id("new")
    assert rig.opened("new", b"key").size == len(OURS)


@pytest.mark.fault("H1")
@pytest.mark.parametrize("field", ["bucket_id", "settings", "name"])
async def test_a_list_of_buckets_with_a_row_that_is_not_one_is_refused(
    rig: Rig, field: str
) -> None:
    def lie(request: Any, reply: Any) -> Any:
        if not isinstance(request, m.BucketsList):
            return reply
        evil, ours = reply.buckets
        wrong = {"name": "evil-2"} if field == "name" else {field: getattr(ours, field)}
        return replace(reply, buckets=(replace(evil, **wrong), ours))

    rig.coordinators.lie = lie
    assert refused(await rig.ask("GET", "/"))


@pytest.mark.fault("H1", "M8")
@pytest.mark.parametrize("query", ["", "list-type=2"])
@pytest.mark.parametrize("lie", ["bucket", "our id", "name", "version", "summary", "size"])
async def test_a_listing_with_a_row_of_something_else_is_refused(
    rig: Rig, query: str, lie: str
) -> None:
    evil = await rig.coordinators.call(
        m.ObjectsList(rig.tenant.tenant_id, "evil", b"", b"", b"", 1000)
    )

    def change(request: Any, reply: Any) -> Any:
        if not isinstance(request, m.ObjectsList):
            return reply
        first, second = reply.objects
        changed = {
            "bucket": evil,
            "our id": replace(evil, bucket_id=reply.bucket_id),
            "name": replace(reply, objects=(replace(first, name=b"kez"), second)),
            "version": replace(reply, objects=(replace(first, version_id=bytes(16)), second)),
            "summary": replace(reply, objects=(replace(first, summary=second.summary), second)),
            "size": replace(reply, objects=(replace(first, size=first.size + 1), second)),
        }
        return changed[lie]

    rig.coordinators.lie = change
    assert refused(await rig.ask("GET", "/ours", query))


async def with_versions(rig: Rig) -> None:
    """In both buckets a key with a delete marker over a version."""
    for bucket in ("ours", "evil"):
        await set_versioning(rig, "Enabled", bucket)
        await rig.put(f"/{bucket}/marked", b"EVIL" if bucket == "evil" else OURS)
        assert (await rig.ask("DELETE", f"/{bucket}/marked")).status == 204


@pytest.mark.fault("H1")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("lie", ["a version", "another key's", "another bucket's", "not one"])
async def test_a_delete_marker_that_is_none_hides_nothing(rig: Rig, method: str, lie: str) -> None:
    await with_versions(rig)
    tenant = rig.tenant.tenant_id
    marked = m.ObjectGet(tenant, "ours", b"marked", None, False, 0, 0)
    ours = await rig.coordinators.call(marked)
    evil = await rig.coordinators.call(replace(marked, bucket="evil"))
    assert ours.delete_marker
    key, changed = {
        "a version": ("key", lambda reply: replace(reply, delete_marker=True)),
        "another key's": ("key", lambda _: ours),
        "another bucket's": ("marked", lambda _: replace(evil, bucket_id=ours.bucket_id)),
        "not one": ("marked", lambda reply: replace(reply, delete_marker=False)),
    }[lie]
    rig.coordinators.lie = lambda request, reply: (
        changed(reply) if isinstance(request, m.ObjectGet) else reply
    )
    answer = await rig.ask(method, f"/ours/{key}")
    assert refused(answer)
    assert "x-amz-delete-marker" not in answer.headers


@pytest.mark.fault("H1")
@pytest.mark.parametrize(
    "lie", ["bucket", "our id", "name", "version", "summary", "size", "marker", "no marker"]
)
async def test_a_listing_of_versions_with_a_row_of_something_else_is_refused(
    rig: Rig, lie: str
) -> None:
    await with_versions(rig)
    evil = await rig.coordinators.call(
        m.VersionsList(rig.tenant.tenant_id, "evil", b"", b"", b"", b"", False, 1000)
    )

    def change(request: Any, reply: Any) -> Any:
        if not isinstance(request, m.VersionsList):
            return reply
        key, marker, *rest = reply.versions
        changed = {
            "bucket": evil,
            "our id": replace(evil, bucket_id=reply.bucket_id),
            "name": (replace(key, name=b"kez"), marker, *rest),
            "version": (replace(key, version_id=bytes(16)), marker, *rest),
            "summary": (replace(key, summary=rest[0].summary), marker, *rest),
            "size": (replace(key, size=key.size + 1), marker, *rest),
            "marker": (replace(key, delete_marker=True), marker, *rest),
            "no marker": (key, replace(marker, delete_marker=False), *rest),
        }[lie]
        return (
            changed if isinstance(changed, m.VersionListing) else replace(reply, versions=changed)
        )

    rig.coordinators.lie = change
    assert refused(await rig.ask("GET", "/ours", "versions="))


async def begun_in(rig: Rig, bucket: str) -> tuple[bytes, str]:
    """An upload of ``key`` with one part: its id, and the part's ETag."""
    begun = await rig.ask("POST", f"/{bucket}/key", "uploads=")
    upload = begun.text("UploadId")
    assert upload is not None
    made = await rig.ask("PUT", f"/{bucket}/key", f"partNumber=1&uploadId={upload}", PART)
    return bytes.fromhex(upload), made.headers["etag"]


@pytest.mark.fault("H1")
@pytest.mark.parametrize("lie", ["another bucket's", "another bucket's under our id", "another"])
async def test_an_upload_answered_with_another_one_takes_and_shows_nothing(
    rig: Rig, lie: str
) -> None:
    ours, etag = await begun_in(rig, "ours")
    evil, _ = await begun_in(rig, "evil")
    record = rig.coordinators.uploads[evil].record
    changed = {
        "another bucket's": replace(record, upload_id=ours),
        "another bucket's under our id": replace(
            record, upload_id=ours, bucket_id=rig.coordinators.bucket_id("ours")
        ),
        "another": record,
    }[lie]
    rig.coordinators.lie = lambda request, reply: (
        changed if isinstance(request, m.UploadGet) else reply
    )
    uploaded = f"uploadId={ours.hex()}"
    document = (
        f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>"
        "</CompleteMultipartUpload>"
    ).encode()
    assert refused(await rig.ask("GET", "/ours/key", uploaded))
    assert refused(await rig.ask("PUT", "/ours/key", f"partNumber=2&{uploaded}", b"x"))
    assert refused(await rig.ask("POST", "/ours/key", uploaded, document))
    assert list(rig.coordinators.uploads[ours].parts) == [1]
    rig.coordinators.lie = None
    assert (await rig.ask("POST", "/ours/key", uploaded, document)).status == 200


@pytest.mark.fault("H1", "M8")
@pytest.mark.parametrize("lie", ["upload", "bucket id", "number", "part id", "size", "sealed"])
async def test_parts_answered_with_others_are_neither_shown_nor_completed(
    rig: Rig, lie: str
) -> None:
    ours, etag = await begun_in(rig, "ours")
    evil, _ = await begun_in(rig, "evil")
    (other,) = rig.coordinators.uploads[evil].parts.values()

    def change(request: Any, reply: Any) -> Any:
        if not isinstance(request, m.PartsList):
            return reply
        row = reply.parts[0]
        changed = {
            "upload": replace(reply, parts=(other,)),
            "bucket id": replace(reply, bucket_id=bytes(16)),
            "number": replace(reply, parts=(replace(row, part_number=2),)),
            "part id": replace(reply, parts=(replace(row, part_id=bytes(16)),)),
            "size": replace(reply, parts=(replace(row, size=row.size + 1),)),
            "sealed": replace(reply, parts=(replace(row, sealed=other.sealed),)),
        }
        return changed[lie]

    rig.coordinators.lie = change
    uploaded = f"uploadId={ours.hex()}"
    document = (
        f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>"
        "</CompleteMultipartUpload>"
    ).encode()
    assert refused(await rig.ask("GET", "/ours/key", uploaded))
    assert refused(await rig.ask("POST", "/ours/key", uploaded, document))
    assert ours in rig.coordinators.uploads


@pytest.mark.fault("H1")
async def test_an_access_key_answered_with_another_ones_record_lets_nobody_in() -> None:
    fresh = Rig(2)
    stolen = fresh.coordinators.access_key("OTHER")
    fresh.coordinators.lie = lambda request, reply: (
        stolen if isinstance(request, m.AccessKeyGet) else reply
    )
    assert (await fresh.ask("GET", "/")).code == "InvalidAccessKeyId"


@pytest.mark.fault("H1")
async def test_deletes_answered_with_other_results_are_not_called_done(rig: Rig) -> None:
    rig.coordinators.lie = lambda request, reply: (
        m.Deleted(()) if isinstance(request, m.ObjectsDelete) else reply
    )
    assert refused(await rig.ask("DELETE", "/ours/key"))


@pytest.mark.fault("H1")
async def test_a_bucket_that_was_made_again_is_found_at_once(rig: Rig) -> None:
    await rig.ask("GET", "/ours/key")
    before = rig.coordinators.bucket_id("ours")
    other = Rig(beside=rig)  # another gateway of the tenant, which makes the bucket again
    for key in ("key", "other"):
        await other.ask("DELETE", f"/ours/{key}")
    assert (await other.ask("DELETE", "/ours")).status == 204
    await other.put("/ours", b"")
    await other.put("/ours/key", b"after")
    assert rig.coordinators.bucket_id("ours") != before
    assert (await rig.ask("GET", "/ours/key")).body == b"after"
    assert (await rig.ask("GET", "/ours")).texts("Contents/Key") == ["key"]


@pytest.mark.fault("H1")
async def test_a_bucket_in_use_is_asked_for_once_a_minute(
    rig: Rig, autojump_clock: MockClock
) -> None:
    await rig.ask("GET", "/ours/key")
    rig.coordinators.requests.clear()
    for _ in range(20):
        await trio.sleep(5)
        await rig.ask("GET", "/ours/key")
        await trio.sleep(5)
        await rig.put("/ours/key", OURS)
        await trio.sleep(5)
        await rig.ask("GET", "/ours")
    assert rig.coordinators.calls.count("BucketGet") == 300 // CLASS_REMEMBERED_S


@pytest.mark.fault("M8")
async def test_an_upload_id_that_no_gateway_drew_is_not_listed(rig: Rig) -> None:
    await begun_in(rig, "ours")

    def lie(request: Any, reply: Any) -> Any:
        if not isinstance(request, m.UploadsList):
            return reply
        return replace(reply, uploads=(replace(reply.uploads[0], upload_id=b"\xff" * 16),))

    rig.coordinators.lie = lie
    assert refused(await rig.ask("GET", "/ours", "uploads="))


@pytest.mark.fault("M8")
async def test_times_and_sizes_are_the_gateways_whatever_a_coordinator_says(rig: Rig) -> None:
    honest = await rig.ask("HEAD", "/ours/key")
    listed = await rig.ask("GET", "/ours", "list-type=2")
    buckets = await rig.ask("GET", "/")
    upload, _ = await begun_in(rig, "ours")
    parts = await rig.ask("GET", "/ours/key", f"uploadId={upload.hex()}")
    uploads = await rig.ask("GET", "/ours", "uploads=")

    def later(request: Any, reply: Any) -> Any:
        for rows in ("objects", "buckets", "parts", "uploads"):
            if hasattr(reply, rows):
                moved = tuple(replace(row, created_ms=5) for row in getattr(reply, rows))
                reply = replace(reply, **{rows: moved})
        return replace(reply, created_ms=5) if hasattr(reply, "created_ms") else reply

    rig.coordinators.lie = later
    since = {"if-unmodified-since": honest.headers["last-modified"]}
    again = await rig.ask("HEAD", "/ours/key", headers=since)
    assert (again.status, again.headers["last-modified"]) == (
        200,
        honest.headers["last-modified"],
    )
    for path, query, before in (
        ("/ours", "list-type=2", listed),
        ("/", "", buckets),
        ("/ours/key", f"uploadId={upload.hex()}", parts),
        ("/ours", "uploads=", uploads),
    ):
        assert (await rig.ask("GET", path, query)).body == before.body
    headers = {"x-amz-copy-source": "/ours/key"}
    copied = await rig.ask("PUT", "/ours/copy", "", b"", headers)
    assert "1970" not in (copied.text("LastModified") or "1970")


@pytest.mark.fault("M8")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_an_object_whose_size_is_said_otherwise_is_refused(rig: Rig, method: str) -> None:
    rig.coordinators.lie = instead(rig, "ours", b"key", size=len(OURS) - 1)
    assert refused(await rig.ask(method, "/ours/key"))


def test_every_row_of_the_page_has_its_test() -> None:
    root = Path(__file__).parents[2]
    page = (root / "docs" / "crypto.md").read_text()
    table = page.partition("| answer to |")[2].partition("\n\n")[0]
    rows = table.splitlines()[2:]
    assert len(rows) > 10
    tests = "".join(path.read_text() for path in (root / "tests").rglob("test_*.py"))
    for row in rows:
        names = re.findall("`([a-z_]+)`", row.rpartition(" | ")[2])
        assert names, row
        for name in names:
            assert f"def test_{name}(" in tests, name
