"""Access keys: cached for seconds, revoked soon, never another's."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
import trio
from trio.testing import MockClock

from common import limits
from common.crypto.keys import TenantKey
from common.errors import NotFound, Unavailable
from common.format.manifest import AccessKeyRecord, seal_access_key
from common.ids import TenantId
from common.reasons import Absence, Outage
from common.wire.messages.writing import AccessKey, RosterRecord
from gateway.rosters import Rosters
from gateway_s3.auth.access_keys import FRESH_S, STALE_S, UNKNOWN_S, AccessKeys
from gateway_s3.errors import S3Error
from sim.world import SimWorld

ENTROPY = random.Random(1).randbytes
TENANT = TenantKey(tenant_id=TenantId(b"t" * 16), key=b"k" * 32)
OTHER = TenantKey(tenant_id=TenantId(b"o" * 16), key=b"l" * 32)


class Coordinator:
    """Answers AccessKeyGet from a table, and counts."""

    def __init__(self) -> None:
        self.records: dict[str, AccessKey] = {}
        self.asked = 0
        self.failing = False

    def add(self, key_id: str, secret: str, tenant: TenantKey = TENANT) -> None:
        record = AccessKeyRecord(secret=secret, created_ms=1)
        sealed = seal_access_key(tenant, key_id, record, ENTROPY)
        self.records[key_id] = AccessKey(tenant_id=tenant.tenant_id, sealed=sealed)

    async def ask(self, key_id: str) -> AccessKey:
        self.asked += 1
        await trio.lowlevel.checkpoint()
        if self.failing:
            raise Unavailable(Outage.NO_COORDINATOR)
        if key_id not in self.records:
            raise NotFound(Absence.NO_SUCH_ACCESS_KEY)
        return self.records[key_id]


async def no_more_tenants() -> bool:
    return False


def keys(
    coordinator: Coordinator, more: Callable[[], Awaitable[bool]] = no_more_tenants
) -> AccessKeys:
    held = {TENANT.tenant_id: TENANT}
    return made(coordinator.ask, held, more)


def made(
    ask: Callable[[str], Awaitable[AccessKey]],
    held: dict[TenantId, TenantKey],
    more: Callable[[], Awaitable[bool]] = no_more_tenants,
) -> AccessKeys:
    world = SimWorld(1).node("gateway").world

    async def no_roster(_: TenantId) -> RosterRecord:
        raise NotFound(Absence.NO_SUCH_ROSTER)

    rosters = Rosters(no_roster, world.disk, world.log)
    return AccessKeys(ask, held.get, more, world.log, rosters)


async def test_a_key_of_a_tenant_that_came_later_is_found() -> None:
    coordinator = Coordinator()

    async def more_tenants() -> bool:
        coordinator.add("AK", "secret")
        return True

    assert (await keys(coordinator, more_tenants).find("AK")).secret == "secret"
    assert coordinator.asked == 2


async def test_a_known_key_is_asked_for_once_in_five_seconds(autojump_clock: MockClock) -> None:
    coordinator = Coordinator()
    coordinator.add("AK", "secret")
    known = keys(coordinator)
    for _ in range(3):
        assert (await known.find("AK")).secret == "secret"
    assert coordinator.asked == 1
    await trio.sleep(FRESH_S + 0.1)
    assert (await known.find("AK")).tenant is TENANT
    assert coordinator.asked == 2


async def test_a_revoked_key_is_refused_when_it_is_no_longer_fresh(
    autojump_clock: MockClock,
) -> None:
    coordinator = Coordinator()
    coordinator.add("AK", "secret")
    known = keys(coordinator)
    await known.find("AK")
    coordinator.records.clear()
    await trio.sleep(FRESH_S + 0.1)
    with pytest.raises(S3Error, match="InvalidAccessKeyId"):
        await known.find("AK")
    with pytest.raises(S3Error, match="InvalidAccessKeyId"):
        await known.find("AK")


async def test_an_unknown_key_is_remembered_briefly_and_in_bounded_memory(
    autojump_clock: MockClock,
) -> None:
    coordinator = Coordinator()
    known = keys(coordinator)
    for _ in range(3):
        with pytest.raises(S3Error):
            await known.find("AK")
    assert coordinator.asked == 1
    await trio.sleep(UNKNOWN_S + 0.1)
    coordinator.add("AK", "secret")
    assert (await known.find("AK")).secret == "secret"
    for number in range(limits.MAX_UNKNOWN_ACCESS_KEYS + 10):
        with pytest.raises(S3Error):
            await known.find(f"X{number}")
    assert len(known._unknown) == limits.MAX_UNKNOWN_ACCESS_KEYS
    assert (await known.find("AK")).secret == "secret"


@pytest.mark.fault("L")
async def test_an_unknown_key_is_asked_for_once_for_all_who_wait_for_it() -> None:
    coordinator = Coordinator()
    coordinator.add("AK", "secret")
    known = keys(coordinator)

    async def find(key_id: str) -> None:
        with suppress(S3Error):
            await known.find(key_id)

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(find, "AK")
            nursery.start_soon(find, "INVENTED")
    assert coordinator.asked == 2


@pytest.mark.fault("L")
async def test_invented_keys_keep_few_calls_running_and_known_keys_go_on() -> None:
    coordinator = Coordinator()
    coordinator.add("AK", "secret")
    known = keys(coordinator)
    await known.find("AK")
    refused: list[str] = []

    async def invent(number: int) -> None:
        with pytest.raises(S3Error) as caught:
            await known.find(f"INVENTED{number}")
        refused.append(caught.value.code.code)

    async with trio.open_nursery() as nursery:
        for number in range(3 * limits.MAX_ACCESS_KEY_LOOKUPS):
            nursery.start_soon(invent, number)
        await trio.lowlevel.checkpoint()
        assert (await known.find("AK")).secret == "secret"
    assert coordinator.asked == 1 + limits.MAX_ACCESS_KEY_LOOKUPS
    assert Counter(refused) == {
        "InvalidAccessKeyId": limits.MAX_ACCESS_KEY_LOOKUPS,
        "SlowDown": 2 * limits.MAX_ACCESS_KEY_LOOKUPS,
    }


async def test_known_keys_work_on_for_a_while_when_no_coordinator_answers(
    autojump_clock: MockClock,
) -> None:
    coordinator = Coordinator()
    coordinator.add("AK", "secret")
    known = keys(coordinator)
    await known.find("AK")
    coordinator.failing = True
    await trio.sleep(FRESH_S + 1)
    assert (await known.find("AK")).secret == "secret"
    await trio.sleep(STALE_S)
    with pytest.raises(Unavailable):
        await known.find("AK")


async def test_a_record_of_another_key_or_tenant_lets_nobody_in() -> None:
    coordinator = Coordinator()
    coordinator.add("AK", "secret")
    coordinator.add("FOREIGN", "secret", OTHER)
    coordinator.records["STOLEN"] = coordinator.records["AK"]
    known = keys(coordinator)
    for key_id in ("STOLEN", "FOREIGN", "x" * 129):
        with pytest.raises(S3Error, match="InvalidAccessKeyId"):
            await known.find(key_id)


async def test_a_credential_does_not_show_its_secret() -> None:
    coordinator = Coordinator()
    coordinator.add("AK", "very-secret")
    assert "very-secret" not in repr(await keys(coordinator).find("AK"))


@pytest.mark.fault("F12")
async def test_a_coordinator_that_hangs_holds_a_request_with_a_known_key_for_a_second(
    autojump_clock: MockClock,
) -> None:
    coordinator = Coordinator()
    coordinator.add("AK", "secret")
    hangs = False

    async def ask(key_id: str) -> AccessKey:
        if hangs:
            await trio.sleep(10)
        return await coordinator.ask(key_id)

    held = {TENANT.tenant_id: TENANT}
    found = made(ask, held)
    await found.find("AK")
    await trio.sleep(FRESH_S + 1)
    hangs = True
    begun = trio.current_time()
    assert (await found.find("AK")).secret == "secret"
    assert trio.current_time() - begun < 1.5
