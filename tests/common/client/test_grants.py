"""A coordinator that lies about places for segments: no key repeats, what shows is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from fake_swarm import (
    DOWN,
    TENANT,
    FakeSwarm,
    content,
    fake_swarm,
    receiver,
)
from in_process_coordinator import InProcessCoordinator, reissue
from trio.testing import MockClock

from common.client.coordinators import CoordinatorClient
from common.client.grants import GrantedIds
from common.client.object_client import SwarmClient
from common.errors import PeerViolation
from common.ids import SegmentId, segment_id
from common.limits import MIB, SEGMENT_BYTES
from common.ports import Address
from common.wire import messages as m


def xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def turned(grant: m.SegmentGrant, segment: SegmentId) -> m.SegmentGrant:
    """The grant under another id, each slot on the cell after its own, with the orders as they
    were."""
    return replace(grant, segment_id=segment, cells=(*grant.cells[1:], grant.cells[0]))


def granted_again(swarm: FakeSwarm, reply: m.Grants, segment: SegmentId) -> m.Grants:
    """The first grant of a reply turned, with orders that the cells take."""
    first = reply.grants[0]
    grant = turned(first, segment)
    orders = tuple(
        reissue(
            order,
            swarm.identity.peer_id,
            reply.endpoints[given].cell_id,
            reply.endpoints[wanted].cell_id,
            segment_id=segment,
        )
        for order, given, wanted in zip(first.orders, first.cells, grant.cells, strict=True)
    )
    return replace(reply, grants=(replace(grant, orders=orders),))


def of_grants(change: Callable[[m.Grants], m.Grants]) -> Callable[[Any, Any], Any]:
    """A lie in every reply that grants segments."""
    return lambda request, reply: change(reply) if isinstance(reply, m.Grants) else reply


def sealed(swarm: FakeSwarm, segment: SegmentId, turn: int) -> bytes:
    """The sealed stripe of a small segment whose slots were turned by ``turn``."""
    return b"".join(swarm.cells[(slot + turn) % 6].shards[segment, slot].data for slot in range(4))


async def another_gateway(swarm: FakeSwarm, coordinators: CoordinatorClient) -> SwarmClient:
    """A second gateway of the tenant, which remembers nothing of what the first one was granted."""
    world = swarm.node.world
    client = SwarmClient(
        coordinators=coordinators,
        pool=swarm.pool,
        workers=world.workers,
        entropy=world.entropy,
        chance=world.chance,
        log=world.log,
        budget_bytes=32 << 20,
    )
    await swarm.nursery.start(client.run)
    return client


@pytest.mark.fault("C1")
async def test_two_writes_into_one_granted_id_are_sealed_under_two_keys(
    autojump_clock: MockClock,
) -> None:
    async with fake_swarm() as swarm:
        one, other = content(4080, 1), content(4080, 2)
        first = await swarm.write(one)
        segment = first.segments[0].segment_id
        before = sealed(swarm, segment, 0)

        swarm.coordinator.lie = of_grants(lambda reply: granted_again(swarm, reply, segment))
        gateway = await another_gateway(swarm, swarm.coordinators)
        second = await gateway.write(TENANT, receiver(other), len(other))
        assert second.segments[0].segment_id == segment
        after = sealed(swarm, segment, 1)
        assert xor(before, after)[:4080] != xor(one, other), "one key stream sealed both"
        assert first.upload_key != second.upload_key
        assert first.pages[0].extents[0].commitment != second.pages[0].extents[0].commitment


@pytest.mark.fault("C1")
@pytest.mark.parametrize("size", [5000, 2 * MIB])
async def test_every_try_of_a_write_has_a_number_of_its_own_and_is_read_with_it(
    size: int, autojump_clock: MockClock
) -> None:
    async with fake_swarm(cells=12, rings=[range(6, 12), range(6)]) as swarm:
        for number in (0, 1, 2):
            swarm.cells[number].faults[m.ShardPut] = DOWN
            swarm.cells[number].faults[m.ShardOpen] = DOWN
        numbers = set()
        for _ in range(3):
            written = await swarm.write(content(size))
            numbers.add(written.pages[0].extents[0].number)
            assert await swarm.read(await swarm.commit(written)) == content(size)
        assert max(numbers) > 0, "none of the writes needed a second try"


@pytest.mark.fault("C1")
async def test_the_segments_of_an_object_have_numbers_of_their_own(
    autojump_clock: MockClock,
) -> None:
    async with fake_swarm() as swarm:
        written = await swarm.write(content(SEGMENT_BYTES + 3), chunk=256 * 1024)
        extents = [extent for page in written.pages for extent in page.extents]
        assert [extent.number for extent in extents] == [0, 1]


def repeat(lie: str) -> Callable[[m.Grants], m.Grants]:
    """What a coordinator does to its second and later replies."""
    replies: list[m.Grants] = []

    def change(reply: m.Grants) -> m.Grants:
        replies.append(reply)
        first, grants = replies[0].grants[0], reply.grants
        if len(replies) > 1 or lie == "within one reply":
            grants = (*grants[:-1], turned(grants[-1], first.segment_id))
        return replace(reply, grants=grants)

    return change


@pytest.mark.fault("C1")
@pytest.mark.parametrize("lie", ["within one reply", "in a later reply"])
async def test_an_id_granted_twice_fails_the_write_and_drops_the_coordinator(
    lie: str, autojump_clock: MockClock
) -> None:
    async with fake_swarm() as swarm:
        coordinator = swarm.coordinator
        coordinator.lie = of_grants(repeat(lie))
        size = SEGMENT_BYTES + 2 * MIB
        if lie == "in a later reply":
            await swarm.write(content(2 * MIB))
        with pytest.raises(PeerViolation) as caught:
            await swarm.write(content(size))
        assert caught.value.reason == "segment_id_repeated"
        assert swarm.open_uploads() == 0
        assert swarm.client.budget.free_bytes == 32 << 20
        coordinator.lie = None
        opened = coordinator.count(m.TenantOpen)
        written = await swarm.write(content(2 * MIB))
        assert coordinator.count(m.TenantOpen) == opened + 1, "the connection was kept"
        assert await swarm.read(await swarm.commit(written)) == content(2 * MIB)


@pytest.mark.fault("C1")
async def test_an_id_granted_twice_makes_another_coordinator_be_asked(
    autojump_clock: MockClock,
) -> None:
    async with fake_swarm() as swarm:
        liar = swarm.coordinator
        honest = InProcessCoordinator(
            swarm.sim.node("honest"), (), (), liar.redundancy, beside=liar
        )
        await swarm.nursery.start(honest.serve)
        coordinators = CoordinatorClient(
            swarm.pool,
            [
                (Address("coordinator", 7000), liar.identity.peer_id),
                (Address("honest", 7000), honest.identity.peer_id),
            ],
            {TENANT.tenant_id: TENANT},
            swarm.node.world.log,
        )
        await swarm.nursery.start(coordinators.lease.run)
        gateway = await another_gateway(swarm, coordinators)
        liar.lie = of_grants(repeat("in a later reply"))
        for _ in range(2):
            data = content(2 * MIB)
            written = await gateway.write(TENANT, receiver(data), len(data))
            assert written.segments
        assert (liar.count(m.WriteStart), honest.count(m.WriteStart)) == (2, 1)


@pytest.mark.parametrize(
    "lie",
    [
        lambda reply: replace(reply, grants=()),
        lambda reply: replace(reply, grants=(*reply.grants, *reply.grants)),
        lambda reply: replace(
            reply,
            grants=(turned(reply.grants[0], segment_id(77, bytes(10))), *reply.grants[1:]),
        ),
    ],
    ids=["none", "more than asked for", "of another lease"],
)
async def test_grants_that_do_not_answer_the_question_are_refused(
    lie: Callable[[m.Grants], m.Grants], autojump_clock: MockClock
) -> None:
    async with fake_swarm() as swarm:
        swarm.coordinator.lie = of_grants(lie)
        for _ in range(2):
            with pytest.raises(PeerViolation) as caught:
                await swarm.write(content(2 * MIB))
            assert caught.value.reason == "bad_grant"


def grants_of(numbers: range) -> list[m.SegmentGrant]:
    return [
        m.SegmentGrant(segment_id(1, number.to_bytes(10, "big")), 0, 0, 1, 1, 1, 1, 1, (0,), (b"",))
        for number in numbers
    ]


def test_at_least_so_many_ids_are_remembered_and_at_most_twice_as_many() -> None:
    granted = GrantedIds(100)
    for start in range(0, 1000, 10):
        granted.add(grants_of(range(start, start + 10)))
        for known in range(max(0, start - 90), start + 10):
            with pytest.raises(PeerViolation, match="segment_id_repeated"):
                granted.add(grants_of(range(known, known + 1)))
    granted.add(grants_of(range(700)))


def test_a_refused_reply_leaves_no_id_behind() -> None:
    granted = GrantedIds(100)
    granted.add(grants_of(range(10)))
    with pytest.raises(PeerViolation):
        granted.add(grants_of(range(9, 12)))
    granted.add(grants_of(range(10, 12)))
