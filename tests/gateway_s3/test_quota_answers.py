"""What S3 clients are told where a bucket's quota does not allow a write."""

from __future__ import annotations

import pytest
import versions_client as v
from gateway_rig import Rig

from coordinator.store import usage
from coordinator.store.usage import Quota


@pytest.fixture
async def rig() -> Rig:
    made = Rig()
    await made.put("/bucket", b"")
    return made


def set_quota(rig: Rig, objects: int | None = None, size: int | None = None) -> None:
    usage.set_quota(rig.coordinators.sql, "bucket", Quota(objects, size))


async def test_a_put_a_copy_and_a_part_beyond_the_quota_are_refused_and_leave_nothing(
    rig: Rig,
) -> None:
    await rig.put("/bucket/a", b"12345")
    set_quota(rig, size=8)
    begun = await rig.ask("POST", "/bucket/up", "uploads=")
    upload = begun.text("UploadId") or ""
    part = await rig.ask("PUT", "/bucket/up", f"partNumber=1&uploadId={upload}", b"123")
    assert part.status == 200
    copy = {"x-amz-copy-source": "/bucket/a"}
    for path, query, body, headers in (
        ("/bucket/b", "", b"1234", {}),
        ("/bucket/b", "", b"", copy),
        ("/bucket/up", f"partNumber=2&uploadId={upload}", b"4", {}),
        ("/bucket/up", f"partNumber=2&uploadId={upload}", b"", copy),
    ):
        answer = await rig.ask("PUT", path, query, body, headers)
        assert (answer.status, answer.code) == (403, "QuotaExceeded"), path
    assert await v.live(rig) == ["a"]
    assert len(rig.swarm.segments) == 2, "those of the object and of the part"
    await rig.put("/bucket/b", b"1")
    document = v.one_part(part.headers["etag"])
    answer = await rig.ask("POST", "/bucket/up", f"uploadId={upload}", document)
    assert (answer.status, answer.code) == (403, "QuotaExceeded")
    assert (await rig.ask("DELETE", "/bucket/b")).status == 204
    assert (await rig.ask("POST", "/bucket/up", f"uploadId={upload}", document)).status == 200
    assert await v.live(rig) == ["a", "up"]


async def test_what_makes_a_full_bucket_no_larger_is_allowed(rig: Rig) -> None:
    for key in "ab":
        await rig.put(f"/bucket/{key}", b"12345")
    set_quota(rig, objects=1, size=3)
    await rig.put("/bucket/a", b"1234")
    tags = b"<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>"
    assert (await rig.ask("PUT", "/bucket/a", "tagging=", tags)).status == 200
    answer = await rig.ask("PUT", "/bucket/empty", "", b"")
    assert (answer.status, answer.code) == (403, "QuotaExceeded")
    await v.set_versioning(rig, "Enabled")
    await v.delete(rig, "a")
    answer = await rig.ask("PUT", "/bucket/b", "", b"")
    assert answer.code == "QuotaExceeded", "what it would replace is kept"
    set_quota(rig)
    await rig.put("/bucket/b", b"")
