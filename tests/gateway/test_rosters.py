"""Rosters as gateways know them: the newest that was ever seen, for as few calls as can be."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
import trio

from common import limits
from common.crypto.keys import TenantKey
from common.errors import Corrupt, NotFound, Refused, Unavailable
from common.format.roster import (
    EMPTY_ROSTER,
    Roster,
    RosterKey,
    RosterPolicy,
    RosterUser,
    open_roster,
    seal_roster,
)
from common.ids import TenantId
from common.reasons import Absence, Outage
from common.wire.messages.writing import RosterRecord
from gateway.access.patterns import NOTHING_KNOWN
from gateway.access.policy import Effect, PolicyCaller
from gateway.rosters import KnownRoster, Rosters
from sim.world import SimNode, SimWorld

ENTROPY = random.Random(1).randbytes
TENANT = TenantKey(tenant_id=TenantId(b"t" * 16), key=b"k" * 32)


def policy(name: str, permission: str, *, is_role: bool = False) -> RosterPolicy:
    statement = {"Effect": "Allow", "Action": permission, "Resource": "*"}
    return RosterPolicy(name, 0, json.dumps({"Statement": statement}).encode(), is_role)


def user(name: str, *policies: str, key: str = "", is_active: bool = True) -> RosterUser:
    return RosterUser(name, 0, policies, (RosterKey(key or f"AK{name}", 0, is_active),))


ROSTER = Roster(1, (user("ann", "read"),), (policy("read", "s3:GetObject"),))


class Coordinator:
    """Answers RosterGet, and counts."""

    def __init__(self) -> None:
        self.records: dict[TenantId, RosterRecord] = {}
        self.asked = 0
        self.failing = False

    def put(self, revision: int, roster: Roster, tenant: TenantKey = TENANT) -> None:
        sealed = seal_roster(tenant, revision, roster, ENTROPY)
        self.records[tenant.tenant_id] = RosterRecord(revision, sealed)

    async def ask(self, tenant_id: TenantId) -> RosterRecord:
        self.asked += 1
        await trio.lowlevel.checkpoint()
        if self.failing:
            raise Unavailable(Outage.NO_COORDINATOR)
        if tenant_id not in self.records:
            raise NotFound(Absence.NO_SUCH_ROSTER)
        return self.records[tenant_id]


@pytest.fixture
def coordinator() -> Coordinator:
    return Coordinator()


@pytest.fixture
async def node() -> SimNode:
    return SimWorld(1).node("gateway")


def rosters(coordinator: Coordinator, node: SimNode) -> Rosters:
    return Rosters(coordinator.ask, node.world.disk, node.world.log)


def allowed(roster: KnownRoster, key: str, permission: str) -> bool:
    found = roster.user_of(key)
    assert found is not None
    caller = PolicyCaller("a", found.name)
    effect = roster.policy_of(found).judge(caller, permission, "arn:aws:s3:::b/k", NOTHING_KNOWN)
    return effect is Effect.ALLOW


async def test_a_roster_is_asked_for_once_for_each_revision(
    coordinator: Coordinator, node: SimNode
) -> None:
    coordinator.put(3, ROSTER)
    known = rosters(coordinator, node)
    found: list[KnownRoster] = []

    async def find() -> None:
        found.append(await known.find(TENANT, 3))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(find)
    assert coordinator.asked == 1
    assert allowed(found[0], "AKann", "s3:GetObject")
    assert not allowed(found[0], "AKann", "s3:PutObject")
    coordinator.put(4, replace(ROSTER, policies=(policy("read", "s3:PutObject"),)))
    changed = await known.find(TENANT, 4)
    assert coordinator.asked == 2
    assert allowed(changed, "AKann", "s3:PutObject")
    assert not allowed(changed, "AKann", "s3:GetObject")


async def test_a_tenant_without_users_costs_no_call(
    coordinator: Coordinator, node: SimNode
) -> None:
    found = await rosters(coordinator, node).find(TENANT, 0)
    assert (found.revision, found.user_of("AKann"), coordinator.asked) == (0, None, 0)


async def test_a_gateway_never_goes_back_to_an_older_roster_not_even_after_a_restart(
    coordinator: Coordinator, node: SimNode
) -> None:
    coordinator.put(3, ROSTER)
    known = rosters(coordinator, node)
    await known.find(TENANT, 3)
    coordinator.put(4, EMPTY_ROSTER)
    await known.find(TENANT, 4)
    coordinator.put(3, ROSTER)
    asked = coordinator.asked
    for gateway in (known, rosters(coordinator, node)):
        assert (await gateway.find(TENANT, 3)).user_of("AKann") is None
    assert coordinator.asked == asked


async def test_an_older_answer_is_logged_once(coordinator: Coordinator, node: SimNode) -> None:
    lines: list[str] = []

    class Lines:
        def info(self, event: str, **_: object) -> None:
            lines.append(event)

        warning = error = info

    coordinator.put(3, ROSTER)
    known = Rosters(coordinator.ask, node.world.disk, Lines())
    known.note_answer(TENANT.tenant_id, 1)
    await known.find(TENANT, 3)
    for revision in (3, 2, 2, 1, 4):
        known.note_answer(TENANT.tenant_id, revision)
    assert lines == ["roster_older"] * 2


async def test_an_older_roster_than_somebody_has_seen_is_refused(
    coordinator: Coordinator, node: SimNode
) -> None:
    known = rosters(coordinator, node)
    with pytest.raises(Corrupt, match="roster_too_old"):
        await known.find(TENANT, 4)
    coordinator.put(3, ROSTER)
    with pytest.raises(Corrupt, match="roster_too_old"):
        await known.find(TENANT, 4)


async def test_a_roster_under_another_revision_or_of_another_tenant_is_refused(
    coordinator: Coordinator, node: SimNode
) -> None:
    coordinator.put(3, ROSTER)
    sealed = coordinator.records[TENANT.tenant_id].sealed
    other = TenantKey(tenant_id=TENANT.tenant_id, key=b"l" * 32)
    for record in (
        RosterRecord(4, sealed),
        RosterRecord(3, sealed[:-1] + bytes([sealed[-1] ^ 1])),
        RosterRecord(3, seal_roster(other, 3, ROSTER, ENTROPY)),
        RosterRecord(1 << 63, sealed),
        RosterRecord(3, TENANT.seal("roster", (bytes(7) + b"\3",), b"\x90", ENTROPY)),
        RosterRecord(3, seal_roster(TENANT, 3, replace(ROSTER, version=2), ENTROPY)),
    ):
        coordinator.records[TENANT.tenant_id] = record
        with pytest.raises(Corrupt, match="record_not"):
            await rosters(coordinator, node).find(TENANT, 3)
    with pytest.raises(Corrupt):
        open_roster(TENANT, -1, sealed)


async def test_without_a_coordinator_a_known_roster_is_used_and_an_unknown_one_is_not_guessed(
    coordinator: Coordinator, node: SimNode
) -> None:
    coordinator.put(3, ROSTER)
    known = rosters(coordinator, node)
    await known.find(TENANT, 3)
    coordinator.failing = True
    assert (await known.find(TENANT, 3)).revision == 3
    assert (await rosters(coordinator, node).find(TENANT, 3)).revision == 3
    with pytest.raises(Unavailable):
        await known.find(TENANT, 4)


async def test_a_damaged_file_costs_no_more_than_a_call(
    coordinator: Coordinator, node: SimNode
) -> None:
    coordinator.put(3, ROSTER)
    await rosters(coordinator, node).find(TENANT, 3)
    name = f"roster-{TENANT.tenant_id.hex()}"
    for content in (b"", b"xx", bytes(100)):
        file = await node.world.disk.open(name)
        await file.truncate(0)
        await file.write(0, [content])
        await file.close()
        assert (await rosters(coordinator, node).find(TENANT, 3)).revision == 3
    assert coordinator.asked == 4


async def test_a_roster_that_could_not_be_kept_is_not_followed_by_an_older_one(
    coordinator: Coordinator, node: SimNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_KNOWN_ROSTERS", 1)
    other = TenantKey(tenant_id=TenantId(b"o" * 16), key=b"k" * 32)
    known = rosters(coordinator, node)
    coordinator.put(1, ROSTER, other)
    coordinator.put(3, ROSTER)
    await known.find(TENANT, 3)
    coordinator.put(4, EMPTY_ROSTER)
    node.platter.faults.refuses = "no_space"
    await known.find(TENANT, 4)
    await known.find(other, 1)
    assert TENANT.tenant_id not in known.known
    coordinator.put(3, ROSTER)
    with pytest.raises(Corrupt, match="roster_too_old"):
        await known.find(TENANT, 3)
    coordinator.put(4, EMPTY_ROSTER)
    assert (await known.find(TENANT, 3)).revision == 4


async def test_the_rosters_in_memory_are_bounded_and_others_come_from_the_disk(
    coordinator: Coordinator, node: SimNode
) -> None:
    known = rosters(coordinator, node)
    tenants = [
        TenantKey(tenant_id=TenantId(bytes(15) + bytes([number])), key=b"k" * 32)
        for number in range(limits.MAX_KNOWN_ROSTERS + 3)
    ]
    for tenant in tenants:
        coordinator.put(1, ROSTER, tenant)
        await known.find(tenant, 1)
    assert len(known.known) == limits.MAX_KNOWN_ROSTERS
    asked = coordinator.asked
    assert (await known.find(tenants[0], 1)).revision == 1
    assert coordinator.asked == asked


def test_a_disabled_key_is_nobodys_and_a_role_is_what_was_marked_as_one() -> None:
    roster = Roster(
        1,
        (user("ann", "read"), user("bob", key="AKOFF", is_active=False)),
        (policy("read", "s3:GetObject"), policy("role", "s3:PutObject", is_role=True)),
    )
    known = KnownRoster(1, roster)
    assert known.user_of("AKOFF") is None
    assert known.user_of("AKNONE") is None
    assert allowed(known, "AKann", "s3:GetObject")
    assert known.role("read") is None
    assert known.role("none") is None
    role = known.role("role")
    assert role is not None
    changed = KnownRoster(2, replace(roster, users=()), known)
    assert changed.role("role") is role  # It was parsed before.


def test_a_policy_that_cannot_be_read_gives_nothing() -> None:
    bad = RosterPolicy("read", 0, b"{}", False)
    known = KnownRoster(1, replace(ROSTER, policies=(bad,)))
    found = known.user_of("AKann")
    assert found is not None
    with pytest.raises(Refused, match="malformed_policy"):
        known.policy_of(found)


def test_a_user_whose_policy_is_missing_is_given_nothing() -> None:
    known = KnownRoster(1, replace(ROSTER, users=(user("ann", "read", "gone"),)))
    found = known.user_of("AKann")
    assert found is not None
    with pytest.raises(Corrupt, match="record_not_understood"):
        known.policy_of(found)


def test_a_roster_that_is_too_large_is_refused_before_it_is_sealed() -> None:
    large = RosterPolicy("p", 0, bytes(limits.MAX_NAMED_POLICY_BYTES), False)
    policies = tuple(replace(large, name=f"p{number}") for number in range(100))
    with pytest.raises(Refused, match="record_too_large"):
        seal_roster(TENANT, 1, replace(ROSTER, policies=policies), ENTROPY)
