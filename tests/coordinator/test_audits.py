"""A coordinator audits cells: those that hold their shards, and those that do not."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
from coordinator_rig import FakeCell, Gateway, Rig, running
from trio.testing import MockClock

from common import limits
from common.crypto.digest import ShardDigests
from common.crypto.freshness import FreshDigests
from common.erasure.geometry import Geometry
from common.errors import NotFound, Refused
from common.format.evidence import AuditEvidence, read_evidence
from common.ids import PeerId, SegmentId
from common.reasons import Absence, Refusal
from common.wire import messages as m
from coordinator.journaled_store import STORE_NAME
from coordinator.store import audits

MIB = 1 << 20
ShardName = tuple[SegmentId, int]


@dataclass
class Swarm:
    """A coordinator that audits often, and the shards that its cells should hold."""

    rig: Rig
    gateway: Gateway
    shards: dict[ShardName, tuple[Geometry, list[bytes]]] = field(default_factory=dict)
    objects: dict[SegmentId, bytes] = field(default_factory=dict)

    async def put(self, name: bytes, size: int = 3 * MIB + 5) -> SegmentId:
        """Commit an object whose shards have the roots of real bytes."""
        grant = (await self.gateway.grant(size)).grants[0]
        geometry = Geometry.plan(grant.k, grant.n, size)
        chance = random.Random(name)
        roots = []
        for slot in range(grant.n):
            whole = chance.randbytes(geometry.shard_bytes)
            step = geometry.unit_bytes
            units = [whole[at : at + step] for at in range(0, len(whole), step)]
            self.shards[grant.segment_id, slot] = geometry, units
            roots.append(ShardDigests.of(step, len(whole), whole).root)
        segment = m.NewSegment(
            grant.segment_id,
            grant.ring,
            grant.revision,
            size,
            geometry.unit_bytes,
            geometry.shard_bytes,
            b"".join(roots),
            (1 << grant.n) - 1,
        )
        await self.gateway.call(self.gateway.commit_of(name, [segment]))
        self.objects[grant.segment_id] = name
        return grant.segment_id

    def commitment(self, challenge: m.AuditChallenge, *, holds: bool = True) -> tuple[bytes, bytes]:
        """The fresh root and leaves of a cell that holds the shard, or that invents them."""
        geometry, units = self.shards[challenge.segment_id, challenge.slot]
        digests = FreshDigests(challenge.nonce)
        leaves = b"".join(digests.leaf(unit if holds else b"nothing") for unit in units)
        name = (challenge.segment_id, challenge.slot)
        return digests.root(*name, geometry.unit_bytes, geometry.shard_bytes, leaves), leaves

    def missing(self, cell: FakeCell) -> list[ShardName]:
        rows = self.rig.sql(
            "SELECT m.segment_id, m.slot FROM missing_shards m JOIN ring_slots r"
            " ON r.ring = m.ring AND r.slot = m.slot JOIN cells c ON c.cell = r.cell"
            " WHERE c.cell_id = ?",
            cell.identity.peer_id,
        )
        return [(segment, slot) for segment, slot in rows]

    async def told(self, cell: FakeCell) -> dict[str, Any]:
        """What the operator is told of the audits of a cell."""
        answer: dict[str, Any] = await self.rig.operate(
            "GET", f"/v1/cells/{cell.identity.peer_id.hex()}/audits"
        )
        return answer

    async def evidence(self, cell: FakeCell) -> list[AuditEvidence]:
        """The evidence on a cell, newest first, each verified as by a stranger."""
        answer = await self.told(cell)
        return [
            read_evidence(
                bytes.fromhex(each["record"]),
                bytes.fromhex(each["signature"]),
                public_key=bytes.fromhex(answer["coordinator_public_key"]),
                coordinator=PeerId(self.rig.serving.peer_id),
            )
            for each in answer["evidence"]
        ]

    async def answer(self, cell: FakeCell, *, holds: bool = True) -> str:
        """Answer the next question, with the right units in any case. Return what it shows."""
        challenge = await asked(cell)
        root, leaves = self.commitment(challenge, holds=holds)
        units = (await cell.call(m.AuditCommit(challenge.audit_id, root))).units
        return await self.open(cell, challenge, units, leaves)

    async def open(
        self, cell: FakeCell, challenge: m.AuditChallenge, units: tuple[int, ...], leaves: bytes
    ) -> str:
        geometry, data = self.shards[challenge.segment_id, challenge.slot]
        whole = b"".join(data)
        plain = ShardDigests.of(geometry.unit_bytes, len(whole), whole).leaves
        request = m.AuditOpen(challenge.audit_id, plain, leaves)
        return await opened(cell, request, [data[unit] for unit in units])


async def opened(cell: FakeCell, request: m.AuditOpen, payload: list[bytes]) -> str:
    connection = await cell.pool.connection(
        cell.rig.config.listen, cell.rig.serving.peer_id, timeout_s=5
    )
    reply, _ = await connection.call(request, payload)
    assert isinstance(reply, m.AuditVerdict)
    return reply.finding


async def due(cell: FakeCell, within_s: float = 3600) -> m.HeartbeatReply:
    """Beat until an audit is due."""
    with trio.fail_after(within_s):
        while True:
            reply = await cell.beat()
            if reply.is_audit_due:
                return reply
            await trio.sleep(5)


async def is_left_alone(cell: FakeCell, for_s: float) -> None:
    with pytest.raises(trio.TooSlowError):
        await due(cell, within_s=for_s)


async def asked(cell: FakeCell) -> m.AuditChallenge:
    await due(cell)
    challenge = (await cell.call(m.AuditGet())).challenge
    assert isinstance(challenge, m.AuditChallenge)
    return challenge


@asynccontextmanager
async def auditing(objects: int = 1, **config: Any) -> AsyncIterator[Swarm]:
    config = {
        "audit_interval_s": 30,
        "audit_traffic_ppm": 1_000_000_000,
        "delete_grace_s": 0,
        **config,
    }
    async with running(**config) as rig:
        gateway = await rig.add_gateway()
        await gateway.make_bucket()
        swarm = Swarm(rig, gateway)
        for number in range(objects):
            await swarm.put(b"object %d" % number)
        for cell in rig.cells[1:]:
            cell.beating = False  # only the first one is there to be audited
        yield swarm


async def test_a_cell_that_holds_its_shards_passes(autojump_clock: MockClock) -> None:
    async with auditing() as swarm:
        cell = swarm.rig.cells[0]
        for _ in range(3):
            challenge = await asked(cell)
            assert challenge.units == ()
            root, leaves = swarm.commitment(challenge)
            units = (await cell.call(m.AuditCommit(challenge.audit_id, root))).units
            assert len(units) == 1
            assert await swarm.open(cell, challenge, units, leaves) == "passed"
        evidence = await swarm.evidence(cell)
        assert [each.finding for each in evidence] == ["passed"] * 3
        assert evidence[0].commitment == root
        assert (evidence[0].audit_id, evidence[0].units) == (challenge.audit_id, units)
        assert evidence[0].leaves == b""
        assert len({each.nonce for each in evidence}) == 3
        assert not swarm.missing(cell)
        reply = await cell.beat()
        assert (reply.trust, reply.trust_reason, reply.is_audit_due) == ("good", "", False)


async def test_a_cell_that_fetches_single_units_from_others_is_found(
    autojump_clock: MockClock,
) -> None:
    """It holds nothing: it knows all digests, and gets whatever unit is drawn."""
    async with auditing() as swarm:
        cell = swarm.rig.cells[0]
        challenge = await asked(cell)
        name = (challenge.segment_id, challenge.slot)
        root, leaves = swarm.commitment(challenge, holds=False)
        units = (await cell.call(m.AuditCommit(challenge.audit_id, root))).units
        assert await swarm.open(cell, challenge, units, leaves) == "not_held"
        assert swarm.missing(cell) == [name]
        reply = await cell.beat()
        assert reply.trust == "warned"
        assert "1 of the last 1 audits failed" in reply.trust_reason
        assert reply.has_missing
        told = await swarm.told(cell)
        assert (told["trust"], told["trust_reason"]) == ("warned", reply.trust_reason)
        (evidence,) = await swarm.evidence(cell)
        assert (evidence.finding, evidence.fresh_leaves) == ("not_held", leaves)
        (shown,) = [
            each
            for each in (await swarm.rig.operate("GET", "/v1/status"))["cells"]
            if each["trust"] != "good"
        ]
        assert shown["cell_id"] == cell.identity.peer_id.hex()
        assert shown["state"] == "alive"


@pytest.mark.parametrize(
    ("what", "finding"),
    [
        ("unit", "wrong_unit"),
        ("payload", "wrong_unit"),
        ("leaves", "wrong_leaves"),
        ("fresh", "wrong_fresh_leaves"),
    ],
)
async def test_a_wrong_answer_is_found(autojump_clock: MockClock, what: str, finding: str) -> None:
    async with auditing() as swarm:
        cell = swarm.rig.cells[0]
        challenge = await asked(cell)
        root, leaves = swarm.commitment(challenge)
        (unit,) = (await cell.call(m.AuditCommit(challenge.audit_id, root))).units
        geometry, data = swarm.shards[challenge.segment_id, challenge.slot]
        plain = ShardDigests.of(geometry.unit_bytes, geometry.shard_bytes, b"".join(data)).leaves
        payload = data[unit]
        if what == "unit":
            payload = bytes([payload[0] ^ 1]) + payload[1:]
        elif what == "payload":
            payload = b"garbage"
        elif what == "leaves":
            plain = plain[::-1]
        else:
            leaves = leaves[::-1]
        request = m.AuditOpen(challenge.audit_id, plain, leaves)
        assert await opened(cell, request, [payload]) == finding
        assert swarm.missing(cell) == [(challenge.segment_id, challenge.slot)]
        with pytest.raises(NotFound, match=Absence.NO_SUCH_AUDIT):
            await opened(cell, request, [data[unit]])
        assert [each.finding for each in await swarm.evidence(cell)] == [finding]


async def test_a_cell_that_says_what_it_lacks_is_asked_no_more_about_it(
    autojump_clock: MockClock,
) -> None:
    async with auditing() as swarm:
        cell = swarm.rig.cells[0]
        challenge = await asked(cell)
        reply = await cell.call(m.AuditCommit(challenge.audit_id, None))
        assert reply.units == ()
        assert swarm.missing(cell) == [(challenge.segment_id, challenge.slot)]
        assert [each.finding for each in await swarm.evidence(cell)] == ["lacks"]
        # It was the only one; what was drawn of it before is passed over.
        await due(cell)
        assert (await cell.call(m.AuditGet())).challenge is None
        await is_left_alone(cell, 3600)


@pytest.mark.parametrize("then", ["commits", "asks again"])
async def test_a_cell_that_reports_a_loss_once_it_was_asked_has_failed(
    autojump_clock: MockClock, then: str
) -> None:
    async with auditing(objects=3) as swarm:
        cell = swarm.rig.cells[0]
        challenge = await asked(cell)
        name = m.ShardName(challenge.segment_id, challenge.slot)
        await cell.call(m.ShardsLost((name,)))
        if then == "commits":
            await cell.call(m.AuditCommit(challenge.audit_id, None))
        else:
            other = await asked(cell)
            assert other.segment_id != challenge.segment_id
        (evidence,) = await swarm.evidence(cell)
        assert (evidence.finding, evidence.segment_id) == ("lacks", challenge.segment_id)
        assert (await cell.beat()).trust == "warned"


async def test_a_loss_that_a_cell_reports_by_itself_is_no_failed_audit(
    autojump_clock: MockClock,
) -> None:
    async with auditing(objects=3) as swarm:
        cell = swarm.rig.cells[0]
        await due(cell)
        lost = [m.ShardName(*name) for name in swarm.shards if name[1] in range(6)][:12]
        await cell.call(m.ShardsLost(tuple(lost)))
        assert await swarm.answer(cell) == "passed"
        assert (await cell.beat()).trust == "good"


async def test_a_commitment_that_comes_late_is_refused_and_the_third_time_counts(
    autojump_clock: MockClock,
) -> None:
    async with auditing(objects=4) as swarm:
        cell = swarm.rig.cells[0]
        names, nonces = set(), set()
        for count in range(limits.AUDIT_TRIES):
            challenge = await asked(cell)
            names.add((challenge.segment_id, challenge.slot))
            nonces.add(challenge.nonce)
            assert challenge.within_s == int(limits.AUDIT_ANSWER_S)
            await trio.sleep(challenge.within_s + 2)
            root, _ = swarm.commitment(challenge)
            with pytest.raises(Refused, match=Refusal.AUDIT_LATE):
                await cell.call(m.AuditCommit(challenge.audit_id, root))
            assert not await swarm.evidence(cell), count
        assert len(names) == 1
        assert len(nonces) == limits.AUDIT_TRIES
        await due(cell)
        assert (await cell.call(m.AuditGet())).challenge is None
        await trio.sleep(5)
        (evidence,) = await swarm.evidence(cell)
        assert evidence.finding == "unanswered"
        assert {(evidence.segment_id, evidence.slot)} == names
        assert swarm.missing(cell) == list(names)
        assert await swarm.answer(cell) == "passed"  # about another shard


async def test_a_cell_that_never_asks_is_found(autojump_clock: MockClock) -> None:
    async with auditing() as swarm:
        await trio.sleep(1200)  # it beats, and does not look at what it is told
        cell = swarm.rig.cells[0]
        assert [each.finding for each in await swarm.evidence(cell)] == ["unanswered"]


async def test_a_cell_that_is_away_fails_nothing(autojump_clock: MockClock) -> None:
    async with auditing() as swarm:
        cell = swarm.rig.cells[0]
        await asked(cell)
        cell.beating = False
        await trio.sleep(4 * 3600)
        assert not await swarm.evidence(cell)
        assert await swarm.answer(cell) == "passed"


async def test_a_question_can_be_asked_for_again_and_answered_once(
    autojump_clock: MockClock,
) -> None:
    async with auditing() as swarm:
        cell = swarm.rig.cells[0]
        challenge = await asked(cell)
        assert (await cell.call(m.AuditGet())).challenge.audit_id == challenge.audit_id
        root, leaves = swarm.commitment(challenge)
        units = (await cell.call(m.AuditCommit(challenge.audit_id, root))).units
        assert (await cell.call(m.AuditCommit(challenge.audit_id, root))).units == units
        with pytest.raises(Refused, match=Refusal.AUDIT_ANSWERED):
            await cell.call(m.AuditCommit(challenge.audit_id, bytes(32)))
        with pytest.raises(NotFound, match=Absence.NO_SUCH_AUDIT):
            await cell.call(m.AuditCommit(bytes(16), root))
        assert await swarm.open(cell, challenge, units, leaves) == "passed"
        for request in (
            m.AuditCommit(challenge.audit_id, root),
            m.AuditOpen(challenge.audit_id, leaves, leaves),
        ):
            with pytest.raises(NotFound, match=Absence.NO_SUCH_AUDIT):
                await cell.call(request)
        assert len(await swarm.evidence(cell)) == 1


async def test_nothing_is_opened_before_the_commitment(autojump_clock: MockClock) -> None:
    async with auditing() as swarm:
        cell = swarm.rig.cells[0]
        challenge = await asked(cell)
        _, leaves = swarm.commitment(challenge)
        with pytest.raises(NotFound, match=Absence.NO_SUCH_AUDIT):
            await swarm.open(cell, challenge, (0,), leaves)
        assert not await swarm.evidence(cell)


async def test_a_commitment_stands_and_the_same_units_are_drawn(
    autojump_clock: MockClock,
) -> None:
    """Whoever does not like what was drawn gets nothing else by going away."""
    async with auditing(objects=4) as swarm:
        cell = swarm.rig.cells[0]
        first = await asked(cell)
        root, leaves = swarm.commitment(first)
        units = (await cell.call(m.AuditCommit(first.audit_id, root))).units
        again = await asked(cell)
        assert (again.audit_id, again.nonce, again.units) == (first.audit_id, first.nonce, units)
        assert await swarm.open(cell, again, units, leaves) == "passed"


async def test_a_question_of_another_cell_cannot_be_answered(autojump_clock: MockClock) -> None:
    async with auditing() as swarm:
        cell, other = swarm.rig.cells[:2]
        challenge = await asked(cell)
        root, _ = swarm.commitment(challenge)
        with pytest.raises(NotFound, match=Absence.NO_SUCH_AUDIT):
            await other.call(m.AuditCommit(challenge.audit_id, root))
        stranger = await swarm.rig.add_gateway("stranger")
        with pytest.raises(Refused, match=Refusal.NOT_A_CELL):
            await stranger.call(m.AuditGet())


async def test_a_segment_that_was_deleted_meanwhile_counts_nothing(
    autojump_clock: MockClock,
) -> None:
    async with auditing() as swarm:
        cell = swarm.rig.cells[0]
        challenge = await asked(cell)
        await swarm.gateway.delete(swarm.objects[challenge.segment_id])
        await trio.sleep(5)
        assert not swarm.rig.one("SELECT count(*) FROM segments")
        await cell.call(m.AuditCommit(challenge.audit_id, None))
        assert not await swarm.evidence(cell)
        assert (await cell.beat()).trust == "good"


async def test_a_cell_is_suspended_after_a_warning_and_recovers(
    autojump_clock: MockClock,
) -> None:
    async with auditing(objects=6, audit_recover_passes=4) as swarm:
        cell = swarm.rig.cells[0]
        trusts = []
        for _ in range(3):
            assert await swarm.answer(cell, holds=False) == "not_held"
            trusts.append((await cell.beat()).trust)
        assert trusts == ["warned", "warned", "suspended"]
        path = f"/v1/cells/{cell.identity.peer_id.hex()}"
        shown = await swarm.rig.operate("GET", path)
        assert shown["state"] == "suspended"
        assert shown["suspended"].startswith("3 of the last 3 audits failed")
        assert (await cell.beat()).trust_reason == shown["suspended"]
        await swarm.rig.restart()
        for _ in range(4):
            assert (await cell.beat()).trust == "suspended"
            assert await swarm.answer(cell) == "passed"
        assert ((await cell.beat()).trust, (await cell.beat()).trust_reason) == ("good", "")
        assert (await swarm.rig.operate("GET", path))["state"] == "alive"


async def test_a_suspension_by_an_operator_is_not_lifted_by_audits(
    autojump_clock: MockClock,
) -> None:
    async with auditing(audit_recover_passes=2) as swarm:
        cell = swarm.rig.cells[0]
        path = f"/v1/cells/{cell.identity.peer_id.hex()}"
        await swarm.rig.operate("POST", f"{path}/suspend", {"reason": "stolen"})
        for _ in range(4):
            assert await swarm.answer(cell) == "passed"
        reply = await cell.beat()
        assert (reply.trust, reply.trust_reason) == ("suspended", "stolen")


async def test_an_operator_who_takes_a_cell_back_forgets_what_it_did(
    autojump_clock: MockClock,
) -> None:
    async with auditing(objects=6) as swarm:
        cell = swarm.rig.cells[0]
        for _ in range(3):
            await swarm.answer(cell, holds=False)
        path = f"/v1/cells/{cell.identity.peer_id.hex()}"
        shown = await swarm.rig.operate("POST", f"{path}/resume", {})
        assert (shown["trust"], shown["suspended"]) == ("good", "")
        assert (await cell.beat()).trust == "good"
        assert await swarm.answer(cell, holds=False) == "not_held"
        assert (await cell.beat()).trust == "warned"


async def test_evidence_is_kept_of_the_latest_audits_only(autojump_clock: MockClock) -> None:
    async with auditing() as swarm:
        cell = swarm.rig.cells[0]
        for _ in range(limits.AUDIT_EVIDENCE_KEPT + 3):
            assert await swarm.answer(cell) == "passed"
        evidence = await swarm.evidence(cell)
        assert len(evidence) == limits.AUDIT_EVIDENCE_KEPT
        assert sorted(evidence, key=lambda each: each.audited_ms, reverse=True) == evidence


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 100])
async def test_a_pass_sees_every_shard_of_every_slot_once(
    autojump_clock: MockClock, limit: int
) -> None:
    async with auditing(objects=5) as swarm:
        cell = swarm.rig.cells[0]
        slots = swarm.rig.sql(
            "SELECT r.ring, r.slot FROM ring_slots r JOIN cells c ON c.cell = r.cell"
            " WHERE c.cell_id = ? ORDER BY r.ring",
            cell.identity.peer_id,
        )
        held = {(segment, swarm.rig.holders(segment).index(cell)) for segment in swarm.objects}
        assert len(held) == 5
        lost = min(held)
        await cell.call(m.ShardsLost((m.ShardName(*lost),)))
        connection = swarm.rig.node.databases[STORE_NAME].connection
        seen = []
        start: audits.Start | None = audits.FIRST
        while start is not None:
            page, start = audits.page(connection, slots, start, limit)
            assert len(page) <= limit
            seen += [(each.segment_id, each.slot) for each in page]
        assert sorted(seen) == sorted(held - {lost})


async def test_audits_can_be_turned_off(autojump_clock: MockClock) -> None:
    async with auditing(audit_traffic_ppm=0) as swarm:
        await is_left_alone(swarm.rig.cells[0], 3600)
        assert (await swarm.rig.cells[0].call(m.AuditGet())).challenge is None


async def test_the_traffic_of_audits_is_bounded_by_what_a_cell_should_hold(
    autojump_clock: MockClock,
) -> None:
    """What was sent is counted, against twice what is configured. By default that is a thousandth
    of the stored bytes for each day; here it is a hundred thousand times as much."""
    async with auditing(objects=4, audit_traffic_ppm=50_000_000) as swarm:
        cell = swarm.rig.cells[0]
        stored = sum(
            geometry.shard_bytes for (_, slot), (geometry, _) in swarm.shards.items() if slot == 0
        )
        began = trio.current_time()
        moved = 0
        for _ in range(5):
            await due(cell)
            challenge = (await cell.call(m.AuditGet())).challenge
            root, leaves = swarm.commitment(challenge)
            units = (await cell.call(m.AuditCommit(challenge.audit_id, root))).units
            assert await swarm.open(cell, challenge, units, leaves) == "passed"
            _, data = swarm.shards[challenge.segment_id, challenge.slot]
            moved += sum(len(data[unit]) for unit in units) + 2 * len(leaves) + 2048
        days = (trio.current_time() - began) / 86400
        assert moved <= stored * 100 * days
