"""Documents of a bucket: set by several gateways at once, bounded, and read back by all."""

from __future__ import annotations

import pytest
import trio
from object_service_rig import ServiceRig

from common import limits
from common.errors import NotFound, Refused
from common.wire import messages as m
from gateway.buckets import create_bucket, delete_bucket
from gateway.configurations import set_document


@pytest.fixture
async def rig() -> ServiceRig:
    made = ServiceRig()
    await made.make_bucket()
    return made


async def read(rig: ServiceRig, kind: str) -> bytes | None:
    bucket = await rig.other.buckets.read(rig.tenant, "bucket")
    return bucket.settings.document(kind)


async def test_gateways_that_set_different_documents_at_once_lose_none(rig: ServiceRig) -> None:
    services = [rig.service() for _ in range(4)]
    found = [await each.buckets.find(rig.tenant, "bucket") for each in services]
    async with trio.open_nursery() as nursery:
        for number, (service, bucket) in enumerate(zip(services, found, strict=True)):
            nursery.start_soon(set_document, service, bucket, f"kind-{number}", b"%d" % number)
    assert [await read(rig, f"kind-{number}") for number in range(4)] == [b"0", b"1", b"2", b"3"]


async def test_the_gateway_that_sets_a_document_has_it_at_once(rig: ServiceRig) -> None:
    await set_document(rig.one, rig.bucket, "kind", b"body")
    rig.coordinators.requests.clear()
    again = await rig.one.buckets.find(rig.tenant, "bucket")
    assert again.settings.document("kind") == b"body"
    assert rig.coordinators.calls == []
    await set_document(rig.one, again, "kind", None)
    assert await read(rig, "kind") is None


async def test_setting_what_is_so_already_costs_no_call(rig: ServiceRig) -> None:
    rig.coordinators.requests.clear()
    await set_document(rig.one, rig.bucket, "kind", None)
    assert rig.coordinators.calls == []


async def test_documents_are_bounded_each_and_together(rig: ServiceRig) -> None:
    most = limits.MAX_BUCKET_DOCUMENT_BYTES
    with pytest.raises(Refused, match="too_large"):
        await set_document(rig.one, rig.bucket, "a", bytes(most + 1))
    await set_document(rig.one, rig.bucket, "a", bytes(most))
    with pytest.raises(Refused, match="too_large"):
        await set_document(
            rig.one, await rig.one.buckets.find(rig.tenant, "bucket"), "b", bytes(most)
        )
    assert await read(rig, "a") == bytes(most)
    assert await read(rig, "b") is None


async def test_a_document_is_not_set_in_a_bucket_that_was_made_again(rig: ServiceRig) -> None:
    await delete_bucket(rig.other, rig.bucket)
    await create_bucket(rig.other, rig.tenant, "bucket")
    with pytest.raises(NotFound, match="no_such_bucket"):
        await set_document(rig.one, rig.bucket, "kind", b"body")
    assert await read(rig, "kind") is None


async def test_others_that_always_come_between_end_in_a_refusal(rig: ServiceRig) -> None:
    count = 0

    async def come_between(request: m.Request) -> None:
        nonlocal count
        count += 1
        hook = rig.coordinators.faults.pop(m.BucketSettingsSet)
        bucket = await rig.other.buckets.read(rig.tenant, "bucket")
        await set_document(rig.other, bucket, "other", b"%d" % count)
        rig.coordinators.faults[m.BucketSettingsSet] = hook

    rig.coordinators.faults[m.BucketSettingsSet] = come_between
    with pytest.raises(Refused, match="settings_changed"):
        await set_document(rig.one, rig.bucket, "kind", b"body")
    assert count == limits.MAX_COMMIT_TRIES
    del rig.coordinators.faults[m.BucketSettingsSet]
    assert await read(rig, "kind") is None
    assert await read(rig, "other") == b"%d" % count


async def test_coordinators_see_no_word_of_a_document(rig: ServiceRig) -> None:
    await set_document(rig.one, rig.bucket, "kindly", b"not for coordinators")
    kept = rig.coordinators.owned["bucket"].settings
    assert b"kindly" not in kept
    assert b"coordinators" not in kept
