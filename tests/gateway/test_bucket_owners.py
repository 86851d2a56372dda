"""Whose bucket a name is, for callers that proved nothing."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from object_service_rig import ServiceRig

from common import limits
from common.errors import NotFound, Unavailable
from common.ids import BucketId
from common.reasons import Outage
from common.wire import messages as m
from gateway.bucket_owners import OWNER_REMEMBERED_S
from gateway.buckets import create_bucket, delete_bucket
from gateway.principals import Anonymous, Bucket, KeyHolder


@pytest.fixture
async def rig() -> ServiceRig:
    made = ServiceRig()
    await made.make_bucket()
    return made


async def test_a_bucket_of_any_tenant_is_found_and_remembered(rig: ServiceRig) -> None:
    other = next(key for key in rig.tenants.values() if key != rig.tenant)
    await create_bucket(rig.other, other, "theirs")
    rig.coordinators.requests.clear()
    for _ in range(3):
        for name, owner in (("bucket", rig.tenant), ("theirs", other)):
            found = await rig.one.owners.find(name)
            assert found is not None
            assert found.owner == owner
    assert sorted(rig.coordinators.calls) == ["BucketGet", "BucketOwnerGet", "BucketOwnerGet"]


async def test_what_is_no_bucket_costs_one_call_for_some_time_and_an_impossible_name_none(
    rig: ServiceRig, autojump_clock: object
) -> None:
    rig.coordinators.requests.clear()
    for _ in range(3):
        assert await rig.one.owners.find("nothing") is None
        assert await rig.one.owners.find("No bucket's name") is None
    assert rig.coordinators.calls == ["BucketOwnerGet"]
    await create_bucket(rig.other, rig.tenant, "nothing")
    await trio.sleep(OWNER_REMEMBERED_S)
    assert await rig.one.owners.find("nothing") is not None


async def test_a_bucket_that_went_to_another_tenant_is_that_tenants(rig: ServiceRig) -> None:
    assert await rig.one.owners.find("bucket") is not None
    await delete_bucket(rig.one, rig.bucket)
    other = next(key for key in rig.tenants.values() if key != rig.tenant)
    await create_bucket(rig.other, other, "bucket")
    found = await rig.one.owners.find("bucket")
    assert found is not None
    assert found.owner == other


async def test_a_bucket_of_a_tenant_that_is_not_served_here_is_none(rig: ServiceRig) -> None:
    number, tenant_id = 99, b"t" * 16
    rig.coordinators.sql.execute(
        "INSERT INTO tenants (tenant, tenant_id, name, proof_key, created_ms)"
        " VALUES (?, ?, 'elsewhere', ?, 0)",
        (number, tenant_id, bytes(32)),
    )
    rig.coordinators.sql.execute(
        "INSERT INTO buckets (bucket_id, name, tenant, created_ms, settings)"
        " VALUES (?, 'elsewhere', ?, 0, ?)",
        (BucketId(b"e" * 16), number, b""),
    )
    assert await rig.one.owners.find("elsewhere") is None


async def test_only_so_many_names_are_looked_up_at_once(rig: ServiceRig) -> None:
    waiting = trio.Event()

    async def wait(request: m.Request) -> None:
        await waiting.wait()

    rig.coordinators.faults[m.BucketOwnerGet] = wait
    async with trio.open_nursery() as nursery:
        for number in range(limits.MAX_OWNER_LOOKUPS):
            nursery.start_soon(rig.one.owners.find, f"name-{number}")
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(Unavailable, match="too_busy"):
            await rig.one.owners.find("one-more")
        waiting.set()
    assert await rig.one.owners.find("one-more") is None


async def test_invented_names_push_no_owner_out_of_memory(
    rig: ServiceRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_BUCKETS_REMEMBERED", 10)
    owners = rig.one.owners
    assert isinstance(await owners.seen_by(Anonymous(), "bucket"), Bucket)
    for number in range(100):
        with pytest.raises(NotFound):
            await owners.seen_by(Anonymous(), f"invented-{number}")
    rig.coordinators.requests.clear()
    assert isinstance(await owners.seen_by(Anonymous(), "bucket"), Bucket)
    assert rig.coordinators.calls == []


async def test_a_flood_of_invented_names_leaves_known_buckets_and_proven_callers_their_look_ups(
    rig: ServiceRig, autojump_clock: object
) -> None:
    other = next(key for key in rig.tenants.values() if key != rig.tenant)
    await create_bucket(rig.other, other, "theirs")
    owners = rig.one.owners
    assert await owners.find("bucket") is not None
    await trio.sleep(2 * OWNER_REMEMBERED_S)
    flood_ends = trio.Event()

    async def wait(request: m.Request) -> None:
        if isinstance(request, m.BucketOwnerGet) and request.name.startswith("invented-"):
            await flood_ends.wait()

    rig.coordinators.faults[m.BucketOwnerGet] = wait
    async with trio.open_nursery() as nursery:
        for number in range(limits.MAX_OWNER_LOOKUPS):
            nursery.start_soon(owners.find, f"invented-{number}")
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(Unavailable, match="too_busy"):
            await owners.find("one-more")
        assert await owners.find("bucket") is not None
        holder = KeyHolder(rig.tenant, "AK")
        assert isinstance(await owners.seen_by(holder, "theirs"), Bucket)
        flood_ends.set()


async def test_one_look_up_serves_all_who_ask_about_a_bucket_at_once(rig: ServiceRig) -> None:
    rig.coordinators.requests.clear()
    found: list[object] = []

    async def find() -> None:
        found.append(await rig.one.owners.find("bucket"))

    async with trio.open_nursery() as nursery:
        for _ in range(2 * limits.MAX_OWNER_LOOKUPS):
            nursery.start_soon(find)
    assert len(found) == 2 * limits.MAX_OWNER_LOOKUPS
    assert all(isinstance(each, Bucket) for each in found)
    assert rig.coordinators.calls.count("BucketOwnerGet") == 1


async def test_all_who_asked_at_once_learn_of_a_failure_when_the_first_does(
    rig: ServiceRig, autojump_clock: object
) -> None:
    async def fail(request: m.Request) -> None:
        await trio.sleep(10)
        raise Unavailable(Outage.CALL_TIMEOUT)

    rig.coordinators.faults[m.BucketOwnerGet] = fail
    failed_at: list[float] = []
    began = trio.current_time()

    async def find() -> None:
        with pytest.raises(Unavailable, match="call_timeout"):
            await rig.one.owners.find("bucket")
        failed_at.append(trio.current_time() - began)

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(find)
    assert failed_at == [pytest.approx(10)] * 20
    del rig.coordinators.faults[m.BucketOwnerGet]
    assert await rig.one.owners.find("bucket") is not None


async def test_who_asks_beside_one_that_goes_away_gets_an_answer(rig: ServiceRig) -> None:
    waiting = trio.Event()
    found: list[object] = []

    async def wait(request: m.Request) -> None:
        await waiting.wait()

    async def find() -> None:
        found.append(await rig.one.owners.find("bucket"))

    rig.coordinators.faults[m.BucketOwnerGet] = wait
    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as first:
            first.start_soon(find)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(find)
            await trio.testing.wait_all_tasks_blocked()
            first.cancel_scope.cancel()
        waiting.set()
    assert [isinstance(each, Bucket) for each in found] == [True]
