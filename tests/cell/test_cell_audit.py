"""A cell answers audits: for what it holds, for what it lacks, and whatever it is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from cell_rig import put, root_of, running, shard_data, shard_key, upload
from trio.testing import MockClock

from cell.metrics import CellMetrics
from cell.rounds.audit import AuditRound
from cell.storage.shard_store import ShardStore
from common.errors import NotFound, Refused
from common.reasons import Absence
from common.wire import messages as m
from coordinator.policy.audit import Finding, Opening, Subject, judge
from sim.world import SimNode, SimWorld

NONCE = bytes(range(32))


class Coordinator:
    """One question to the cell; its answer is judged as a coordinator judges it."""

    def __init__(self, subject: Subject, units: tuple[int, ...], *, is_committed: bool = False):
        self.subject = subject
        self.units = units
        self.is_committed = is_committed
        self.commitments: list[bytes | None] = []
        self.findings: list[Finding] = []

    async def wait_audit_due(self) -> None:
        """The part of heartbeats."""
        await trio.lowlevel.checkpoint()

    async def call(self, request: m.Request, *, ask: Any = None) -> m.Reply:
        if ask is not None:
            reply: m.Reply = await ask(Connection(self), request, 30.0)
            return reply
        if isinstance(request, m.AuditGet):
            units = self.units if self.is_committed else ()
            segment, slot = self.subject.segment_id, self.subject.slot
            return m.AuditQuestion(m.AuditChallenge(bytes(16), segment, slot, NONCE, 12, units))
        assert isinstance(request, m.AuditCommit)
        self.commitments.append(request.root)
        return m.AuditUnits(self.units)


class Connection:
    """A connection, over which the payload comes."""

    def __init__(self, coordinator: Coordinator) -> None:
        self.coordinator = coordinator

    async def call(
        self, request: m.AuditOpen, payload: list[bytes], *, timeout_s: float
    ) -> tuple[m.AuditVerdict, bytes]:
        asked = self.coordinator
        assert asked.commitments
        finding = judge(
            asked.subject,
            nonce=NONCE,
            commitment=asked.commitments[-1] or b"",
            units=asked.units,
            opening=Opening(request.leaves, request.fresh_leaves, b"".join(payload)),
        )
        asked.findings.append(finding)
        return m.AuditVerdict(finding.value), b""


@asynccontextmanager
async def cell() -> AsyncIterator[tuple[SimNode, ShardStore]]:
    node = SimWorld(1).node("cell")
    async with running(node) as store:
        yield node, store


async def answer(node: SimNode, store: ShardStore, asked: Coordinator) -> CellMetrics:
    metrics = CellMetrics()
    world = node.world
    await AuditRound(store, asked, asked, metrics, world.log).run()
    return metrics


def subject(number: int, data: bytes, unit_bytes: int) -> Subject:
    segment, slot = shard_key(number)
    return Subject(segment, slot, unit_bytes, len(data), root_of(data, unit_bytes))


def counted(metrics: CellMetrics, finding: str) -> float:
    name = "alveary_cell_audits_total"
    return metrics.registry.get_sample_value(name, {"finding": finding}) or 0.0


@pytest.mark.parametrize(
    ("size", "unit_bytes", "units"),
    [
        (100, 100, (0,)),
        (1000, 300, (0,)),
        (1000, 300, (1, 3)),
        (3_000_000, 1 << 18, (11,)),
        (2_500_000, 1 << 20, (2,)),
    ],
)
async def test_a_cell_shows_what_it_holds(
    autojump_clock: MockClock, size: int, unit_bytes: int, units: tuple[int, ...]
) -> None:
    async with cell() as (node, store):
        data = shard_data(5, size)
        if size == unit_bytes:
            await put(store, shard_key(5), data)
        else:
            await upload(store, shard_key(5), data, unit_bytes)
        asked = Coordinator(subject(5, data, unit_bytes), units)
        metrics = await answer(node, store, asked)
        assert asked.findings == [Finding.PASSED]
        assert counted(metrics, "passed") == 1


async def test_a_commitment_of_an_earlier_life_is_opened(autojump_clock: MockClock) -> None:
    async with cell() as (node, store):
        data = shard_data(5, 1000)
        await upload(store, shard_key(5), data, 300)
        asked = Coordinator(subject(5, data, 300), (2,))
        await answer(node, store, asked)
        asked.is_committed = True
        await answer(node, store, asked)
        assert asked.findings == [Finding.PASSED] * 2
        assert len(asked.commitments) == 1


async def test_a_cell_says_that_it_does_not_have_a_shard(autojump_clock: MockClock) -> None:
    async with cell() as (node, store):
        asked = Coordinator(subject(6, shard_data(6, 100), 100), (0,))
        metrics = await answer(node, store, asked)
        assert asked.commitments == [None]
        assert not asked.findings
        assert counted(metrics, "lacks") == 1


async def test_a_cell_whose_shard_has_rotted_says_so_and_reports_it(
    autojump_clock: MockClock,
) -> None:
    """The rot is in a unit that is not drawn: the commitment alone takes the whole shard."""
    async with cell() as (node, store):
        data = shard_data(5, 1000)
        await upload(store, shard_key(5), data, 300)
        entry = await store.index.find(shard_key(5))
        assert entry is not None
        node.platter.rot(f"volumes/{entry.volume:08d}.vol", entry.data_offset + 950)
        asked = Coordinator(subject(5, data, 300), (0,))
        await answer(node, store, asked)
        assert asked.commitments == [None]
        assert not asked.findings
        assert await store.index.lost(10) == [shard_key(5)]


async def test_units_that_are_not_there_are_not_answered(autojump_clock: MockClock) -> None:
    async with cell() as (node, store):
        data = shard_data(5, 1000)
        await upload(store, shard_key(5), data, 300)
        for units in [(4,), (1 << 62,), ()]:
            asked = Coordinator(subject(5, data, 300), units)
            with pytest.raises(Refused):
                await answer(node, store, asked)
            assert not asked.findings


async def test_a_question_that_is_over_is_left_alone(autojump_clock: MockClock) -> None:
    class Forgetful(Coordinator):
        async def call(self, request: m.Request, *, ask: Any = None) -> m.Reply:
            if isinstance(request, m.AuditCommit):
                raise NotFound(Absence.NO_SUCH_AUDIT)
            return await super().call(request, ask=ask)

    async with cell() as (node, store):
        data = shard_data(5, 100)
        await put(store, shard_key(5), data)
        asked = Forgetful(subject(5, data, 100), (0,))
        with pytest.raises(NotFound):
            await answer(node, store, asked)
        assert not asked.commitments
