"""An object gets another name: nothing of it changes, nothing is moved, all or nothing."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import versions_client as v
from acl_client import EVERYONE, OWNERSHIP, list_of, made, ownership, set_list
from gateway_rig import Answer, Rig
from notifications_client import deliver, listen, rule, set_rules
from prometheus_client import CollectorRegistry, Counter

from common.errors import Unavailable
from common.reasons import Outage
from common.wire import messages as m
from gateway.following import PageOfVersion, rewrite_page
from gateway.objects import find_object


@pytest.fixture
async def rig() -> Rig:
    made = Rig()
    await made.put("/bucket", b"")
    return made


async def rename(
    rig: Rig, source: str, target: str, access_key: str = "AK", **headers: str
) -> Answer:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    given["x-amz-rename-source"] = f"/bucket/{source}"
    return await rig.ask(
        "PUT", f"/bucket/{target}", "renameObject=", headers=given, access_key=access_key
    )


async def test_it_keeps_all_that_it_has(rig: Rig) -> None:
    headers = {
        "content-type": "image/png",
        "x-amz-meta-a": "b",
        "x-amz-tagging": "k=v",
        "x-amz-checksum-crc32": base64.b64encode((0x0).to_bytes(4, "big")).decode(),
    }
    await rig.put("/bucket/old", b"", headers)
    rig.node.clock_offset_s += 100
    before = (await v.get(rig, "old")).headers
    answer = await rename(rig, "old", "new")
    assert (answer.status, answer.body) == (200, b"")
    after = await v.get(rig, "new")
    for name in (
        *("etag", "last-modified", "content-type", "x-amz-meta-a", "x-amz-tagging-count"),
        *("x-amz-checksum-crc32",),
    ):
        assert after.headers.get(name) == before.get(name), name
    assert (await v.get(rig, "old")).code == "NoSuchKey"
    assert await v.live(rig) == ["new"]
    counted = rig.coordinators.sql.execute("SELECT objects, logical_bytes FROM bucket_usage")
    assert counted.fetchall() == [(1, 0)]


async def test_nothing_is_moved_whatever_its_size(rig: Rig) -> None:
    body = bytes(3 << 20)
    await rig.put("/bucket/old", body)
    written = dict(rig.swarm.written) if hasattr(rig.swarm, "written") else None
    rig.coordinators.requests.clear()
    assert (await rename(rig, "old", "dir/new")).status == 200
    assert rig.coordinators.calls == ["ObjectGet", "ObjectRename"]
    sizes = [len(each.pack()) for each in rig.coordinators.requests]
    assert sum(sizes) < 4096, "however many bytes it has"
    if written is not None:
        assert dict(rig.swarm.written) == written
    assert (await v.get(rig, "dir/new")).body == body


async def test_what_it_replaces_is_gone(rig: Rig) -> None:
    await rig.put("/bucket/old", b"old")
    await rig.put("/bucket/new", b"new")
    assert (await rename(rig, "old", "new")).status == 200
    assert (await v.get(rig, "new")).body == b"old"
    assert await v.live(rig) == ["new"]
    counted = rig.coordinators.sql.execute("SELECT objects, logical_bytes FROM bucket_usage")
    assert counted.fetchall() == [(1, 3)]


async def test_conditions_are_on_either_name(rig: Rig) -> None:
    await rig.put("/bucket/old", b"old")
    await rig.put("/bucket/new", b"new")
    etag = (await v.get(rig, "old")).headers["etag"]
    there = (await v.get(rig, "new")).headers["etag"]
    for refused in (
        {"if_none_match": "*"},
        {"if_match": etag},
        {"if_unmodified_since": "Thu, 01 Jan 1970 00:00:00 GMT"},
        {"if_modified_since": "Fri, 01 Jan 2100 00:00:00 GMT"},
        {"x_amz_rename_source_if_match": there},
        {"x_amz_rename_source_if_none_match": etag},
        {"x_amz_rename_source_if_unmodified_since": "Thu, 01 Jan 1970 00:00:00 GMT"},
        {"x_amz_rename_source_if_modified_since": "Fri, 01 Jan 2100 00:00:00 GMT"},
    ):
        answer = await rename(rig, "old", "new", **refused)
        assert (answer.status, answer.code) == (412, "PreconditionFailed"), refused
    assert await v.live(rig) == ["new", "old"]
    assert (await rename(rig, "old", "none", if_match=etag)).code == "NoSuchKey"
    since = {"if_modified_since": "Thu, 01 Jan 1970 00:00:00 GMT"}
    assert (await rename(rig, "old", "none", **since)).status == 412
    answer = await rename(
        rig, "old", "new", if_match=there, x_amz_rename_source_if_match=etag, **since
    )
    assert answer.status == 200
    assert (await rename(rig, "new", "free", if_none_match="*")).status == 200
    assert await v.live(rig) == ["free"]


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("/bucket/none", "NoSuchKey"),
        ("bucket/none", "NoSuchKey"),
        ("none", "InvalidArgument"),
        ("/other/old", "InvalidArgument"),
        ("/bucket/old?versionId=null", "InvalidArgument"),
        ("/bucket/new", "InvalidRequest"),
    ],
)
async def test_a_source_that_cannot_be_is_refused(rig: Rig, source: str, code: str) -> None:
    await rig.put("/bucket/old", b"")
    headers = {"x-amz-rename-source": source}
    answer = await rig.ask("PUT", "/bucket/new", "renameObject=", headers=headers)
    assert answer.code == code, answer.body
    missing = await rig.ask("PUT", "/bucket/new", "renameObject=")
    assert missing.code == "InvalidRequest"
    for token in ("", "a" * 65, "a b", "é"):
        given = {"x-amz-rename-source": "/bucket/old", "x-amz-client-token": token}
        answer = await rig.ask("PUT", "/bucket/new", "renameObject=", headers=given)
        assert answer.code == "InvalidArgument"
    assert await v.live(rig) == ["old"]


async def test_a_request_with_a_token_is_carried_out_once(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.put("/bucket/old", b"first")
    token = {"x_amz_client_token": "0a1b"}
    assert (await rename(rig, "old", "new", **token)).status == 200
    assert (await rename(rig, "old", "new", **token)).status == 200
    assert (await rename(rig, "old", "new")).code == "NoSuchKey"
    assert (await rename(rig, "old", "new", x_amz_client_token="other")).code == "NoSuchKey"
    await rig.put("/bucket/old", b"second")
    assert (await rename(rig, "old", "new", **token)).status == 200
    assert (await v.get(rig, "new")).body == b"first", "it was done before"
    assert await v.live(rig) == ["new", "old"]


async def test_one_whose_answer_was_lost_is_known_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.put("/bucket/old", b"first")
    answer = rig.coordinators.handle

    async def lose(caller: Any, request: Any, payload: memoryview) -> Any:
        reply = await answer(caller, request, payload)
        if isinstance(request, m.ObjectRename):
            raise Unavailable(Outage.CONNECTION_LOST)
        return reply

    monkeypatch.setattr(rig.coordinators, "handle", lose)
    token = {"x_amz_client_token": "0a1b"}
    assert (await rename(rig, "old", "new", **token)).status == 503
    monkeypatch.setattr(rig.coordinators, "handle", answer)
    assert (await rename(rig, "old", "new", **token)).status == 200
    assert await v.live(rig) == ["new"]


async def test_a_write_that_comes_between_is_not_lost(rig: Rig) -> None:
    await rig.put("/bucket/old", b"first")

    async def write(_: object) -> None:
        rig.coordinators.faults.clear()
        await rig.put("/bucket/old", b"second")

    rig.coordinators.faults[m.ObjectRename] = write
    assert (await rename(rig, "old", "new")).status == 200
    assert (await v.get(rig, "new")).body == b"second"

    async def fill(_: object) -> None:
        rig.coordinators.faults.clear()
        await rig.put("/bucket/free", b"mine")

    rig.coordinators.faults[m.ObjectRename] = fill
    assert (await rename(rig, "new", "free", if_none_match="*")).status == 412
    assert (await v.get(rig, "free")).body == b"mine"
    assert (await v.get(rig, "new")).body == b"second"

    async def replace(_: object) -> None:
        await rig.put("/bucket/new", b"again")

    rig.coordinators.faults[m.ObjectRename] = replace
    assert (await rename(rig, "new", "free")).status == 409


@pytest.mark.parametrize("versioning", ["", "Enabled"])
async def test_a_page_that_moves_meanwhile_leaves_it_readable(rig: Rig, versioning: str) -> None:
    if versioning:
        await v.set_versioning(rig, versioning)
    body = bytes(range(256)) * 1024
    await rig.put("/bucket/old", body)
    counter = Counter("rewritten", "Bytes", registry=CollectorRegistry())

    async def move(_: object) -> None:
        rig.coordinators.faults.clear()
        bucket = await rig.backend.buckets.find(rig.tenant, "bucket")
        name = rig.backend.names.encode(b"old")
        found = await find_object(rig.backend, bucket, name)
        page = PageOfVersion(bucket, name, found.record.version_id, 0)
        await rewrite_page(rig.backend, page, "STANDARD", counter)

    rig.coordinators.faults[m.ObjectRename] = move
    assert (await rename(rig, "old", "new")).status == 200
    answer = await v.get(rig, "new")
    assert (answer.status, answer.body) == (200, body)


async def test_tags_and_a_list_that_are_set_meanwhile_are_kept() -> None:
    rig = await made()
    await rig.put("/bucket/old", b"", {"x-amz-acl": "public-read", "x-amz-tagging": "k=before"})

    async def hide(_: object) -> None:
        rig.coordinators.faults.clear()
        await set_list(rig, "/bucket/old", "private")

    rig.coordinators.faults[m.ObjectRename] = hide
    assert (await rename(rig, "old", "new")).status == 200
    assert EVERYONE not in {who for who, _ in (await list_of(rig, "/bucket/new"))[1]}

    async def untag(_: object) -> None:
        rig.coordinators.faults.clear()
        assert (await rig.ask("DELETE", "/bucket/new", "tagging=")).status == 204

    rig.coordinators.faults[m.ObjectRename] = untag
    assert (await rename(rig, "new", "again")).status == 200
    assert "x-amz-tagging-count" not in (await v.get(rig, "again")).headers


async def test_a_list_is_kept_that_does_not_count_now() -> None:
    rig = await made()
    await rig.put("/bucket/old", b"", {"x-amz-acl": "public-read"})
    before = await list_of(rig, "/bucket/old")

    async def set_ownership(rule: str) -> None:
        assert (await rig.ask("PUT", "/bucket", OWNERSHIP, ownership(rule))).status == 200

    await set_ownership("BucketOwnerEnforced")
    assert (await rename(rig, "old", "new")).status == 200
    await set_ownership("ObjectWriter")
    assert await list_of(rig, "/bucket/new") == before
    assert EVERYONE in {who for who, _ in before[1]}


async def test_versions_stay_under_both_names(rig: Rig) -> None:
    await v.set_versioning(rig, "Enabled")
    old = await v.put(rig, "old", b"old")
    new = await v.put(rig, "new", b"new")
    before = (await v.get(rig, "old")).headers["last-modified"]
    rig.node.clock_offset_s += 100
    assert (await rename(rig, "old", "new")).status == 200
    after = await v.get(rig, "new")
    assert after.body == b"old"
    assert after.headers["last-modified"] != before, "by it rules see since when another is old"
    assert (await v.get(rig, "old", old)).body == b"old"
    assert (await v.get(rig, "new", new)).body == b"new"
    rows = await v.versions(rig)
    assert [(row.key, row.is_marker) for row in rows] == [
        *(("new", False), ("new", False)),
        *(("old", True), ("old", False)),
    ]


async def test_it_takes_the_permission_to_read_and_delete_there_and_to_write_here(
    rig: Rig,
) -> None:
    await rig.put("/bucket/old", b"")

    def allow(action: str, key: str) -> dict[str, str]:
        return {"Effect": "Allow", "Action": action, "Resource": f"arn:aws:s3:::bucket/{key}"}

    read, delete = allow("s3:GetObject", "old"), allow("s3:DeleteObject", "old")
    write = allow("s3:PutObject", "new")
    moves = allow("s3:RenameObject", "new")
    lacking = ([read, delete, moves], [read, write, moves], [delete, write, moves])
    for number, statements in enumerate((*lacking, [read, delete, write]), start=1):
        rig.add_user(f"U{number}", *statements)
        assert (await rename(rig, "old", "new", access_key=f"U{number}")).status == 403
    rig.add_user("UA", read, delete, write, moves)
    assert (await rename(rig, "old", "new", access_key="UA")).status == 200


async def test_both_events_are_reported(rig: Rig) -> None:
    receiver = listen(rig)
    await set_rules(rig, rule("s3:ObjectCreated:*", "s3:ObjectRemoved:*"))
    await rig.put("/bucket/old", b"")
    await deliver(rig)
    assert (await rename(rig, "old", "new")).status == 200
    await deliver(rig)
    assert sorted(receiver.told[1:]) == [
        ("ObjectCreated:Copy", "new"),
        ("ObjectRemoved:Delete", "old"),
    ]


async def test_what_is_renamed_can_be_renamed_purged_and_read(rig: Rig) -> None:
    await rig.put("/bucket/a", b"content")
    for source, target in (("a", "b"), ("b", "c"), ("c", "a")):
        assert (await rename(rig, source, target)).status == 200
    assert (await v.get(rig, "a")).body == b"content"
    refs = rig.coordinators.sql.execute("SELECT refs FROM segments").fetchall()
    held = rig.coordinators.sql.execute("SELECT count(*) FROM pages").fetchone()
    assert refs == [held]
