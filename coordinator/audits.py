"""The auditor: draws shards, judges answers, and takes in what follows.

Carries out ``coordinator/policy/audit_book.py`` and ``coordinator/policy/audit.py``.

Source: docs/repair.md, "Audits"; docs/decisions/0033-audit.md.
"""

from __future__ import annotations

from functools import partial

import trio
from blake3 import blake3

from common import limits
from common.format.evidence import EVIDENCE_VERSION, AuditEvidence, sign_evidence
from common.ids import DIGEST_BYTES
from common.ports import Identity, Sql, Store, World
from coordinator.hints import Queues
from coordinator.membership import Membership
from coordinator.metrics import CoordinatorMetrics
from coordinator.placement import Placement
from coordinator.policy.audit import (
    Finding,
    Opening,
    SampledShard,
    Sampler,
    judge,
    split_units,
)
from coordinator.policy.audit_book import AUDIT_ID_BYTES, AuditBook, Question
from coordinator.policy.history import Standing
from coordinator.policy.reputation import Thresholds
from coordinator.store import audits
from coordinator.store.audits import FIRST, AuditedShard, Noted, Start
from coordinator.store.cells import Cell
from coordinator.store.history import StoreHistory

_NO_OPENING = Opening(b"", b"", b"")


class Auditor:
    """Audits the cells that this process hears.

    Args:
        identity: signs evidence.
        book: what is due and under way.
        rules: what follows from findings.
    """

    def __init__(
        self,
        world: World,
        store: Store,
        identity: Identity,
        membership: Membership,
        placement: Placement,
        queues: Queues,
        metrics: CoordinatorMetrics,
        history: StoreHistory,
        book: AuditBook,
        rules: Thresholds,
    ) -> None:
        self.book = book
        self._world = world
        self._store = store
        self._identity = identity
        self._membership = membership
        self._placement = placement
        self._queues = queues
        self._metrics = metrics
        self._rules = rules
        self._history = history
        self._has_work = trio.Event()

    def heard(self, cell: int, now: float) -> bool:
        """Take in a heartbeat. Return whether an audit of the cell is due.

        There is none while the store may say what is no longer so.
        """
        if self._history.standing is not Standing.CURRENT:
            return False
        is_due = self.book.heard(cell, now)
        if self.book.has_work:
            self._has_work.set()
        return is_due

    async def work(self) -> None:
        """Wait until shards are to be drawn or cells did not answer; draw, and take that in.

        Raises:
            Unavailable: the store cannot be used.
        """
        await self._has_work.wait()
        await self._note_unanswered()
        while (cell := self.book.take_to_plan()) is not None:
            await self._plan(cell)
        self._has_work = trio.Event()

    async def load(self) -> None:
        """Take up what the store holds of reputations."""
        self._membership.reputations = await self._store.read(audits.load)

    # --- shards ----------------------------------------------------------------------------------

    async def _plan(self, cell: int) -> None:
        """Draw the shards that a cell will be asked about.

        Raises:
            Unavailable: the store cannot be read.
        """
        sampler = Sampler(limits.AUDIT_SAMPLES)
        is_planned = False
        try:
            slots = self._membership.slots_of(cell)
            start: Start | None = FIRST
            while start is not None:
                look = partial(audits.page, slots=slots, start=start, limit=limits.MAX_AUDIT_PAGE)
                shards, start = await self._store.read(look)
                sampler.take(shards, self._world.chance)
            self.book.planned(cell, sampler, trio.current_time(), self._world.chance)
            is_planned = True
        finally:
            if not is_planned:
                self.book.not_planned(cell)

    async def question(self, cell: Cell) -> Question | None:
        """Return the question that is due to a cell, if one is."""
        now = trio.current_time()
        current = self.book.current(cell.cell, now)
        if current is not None:
            return current
        while (sample := self.book.next_sample(cell.cell, trio.current_time())) is not None:
            found = await self._find(cell.cell, sample)
            if found is not None and not found.is_missing:
                drawn = self._world.entropy(AUDIT_ID_BYTES + DIGEST_BYTES)
                return self.book.ask(cell.cell, found.subject, trio.current_time(), drawn)
            question = self.book.skip(cell.cell)
            if found is not None and question is not None:
                # Asked about it, it has reported its loss instead of an answer.
                await self._note(cell, question, Finding.LACKS, _NO_OPENING)
        return None

    async def _find(self, cell: int, sample: SampledShard) -> AuditedShard | None:
        return await self._store.read(
            lambda sql: audits.find(sql, cell, sample.segment_id, sample.slot)
        )

    # --- answers ---------------------------------------------------------------------------------

    async def opened(self, cell: Cell, question: Question, opening: Opening) -> Finding | None:
        """Judge an answer. Return what it shows; None: it counts nothing."""
        finding = judge(
            question.subject,
            nonce=question.nonce,
            commitment=question.commitment,
            units=question.units,
            opening=opening,
        )
        return await self._answered(cell, question, finding, opening)

    async def lacks(self, cell: Cell, question: Question) -> Finding | None:
        """Take in that a cell has no such whole shard, as it says. Returns as :meth:`opened`."""
        return await self._answered(cell, question, Finding.LACKS, _NO_OPENING)

    async def _answered(
        self, cell: Cell, question: Question, finding: Finding, opening: Opening
    ) -> Finding | None:
        # A cell that closes its connection once it knows that it has failed has failed.
        with trio.CancelScope(shield=True):
            noted = await self._note(cell, question, finding, opening)
            self.book.end(cell.cell, question)
        return noted

    async def _note_unanswered(self) -> None:
        """Take in the questions that cells left without an answer."""
        while (unanswered := self.book.take_unanswered()) is not None:
            cell = self._membership.cells[unanswered.cell]
            found = await self._find(cell.cell, unanswered.sample)
            if found is None or cell.is_removed:
                continue
            if unanswered.was_asked or not found.is_missing:
                audit_id = self._world.entropy(AUDIT_ID_BYTES)
                question = Question(audit_id, bytes(DIGEST_BYTES), found.subject, 0.0)
                await self._note(cell, question, Finding.UNANSWERED, _NO_OPENING)

    async def _note(
        self, cell: Cell, question: Question, finding: Finding, opening: Opening
    ) -> Finding | None:
        now_ms = int(self._world.clock.now() * 1000)
        subject = question.subject
        evidence = self._evidence(cell, question, finding, opening, now_ms)

        def work(sql: Sql) -> Noted | None:
            return audits.note(sql, cell.cell, subject, finding, self._rules, evidence, now_ms)

        noted = await self._store.transact(work)
        self._metrics.audited("void" if noted is None else finding.value)
        if noted is None:
            return None
        self._take_in(cell, noted)
        if finding is not Finding.PASSED:
            self._queues.missing.tell()
            self._world.log.warning(
                "audit_failed",
                cell=cell.cell_id.hex()[:12],
                owner=cell.owner,
                finding=finding.value,
                segment=subject.segment_id,
                slot=subject.slot,
            )
        return finding

    def _take_in(self, cell: Cell, noted: Noted) -> None:
        self._membership.reputations[cell.cell] = noted.now
        before, trust = noted.before.reputation.trust, noted.now.reputation.trust
        if trust is not before:
            self._world.log.warning(
                "cell_trust_changed",
                cell=cell.cell_id.hex()[:12],
                owner=cell.owner,
                trust=trust.value,
                before=before.value,
                reason=noted.now.reason,
            )
        if noted.decisions is not None:
            now = trio.current_time()
            self._membership.decide(cell, noted.decisions, now)
            self._placement.refresh(now)

    def _evidence(
        self, cell: Cell, question: Question, finding: Finding, opening: Opening, now_ms: int
    ) -> tuple[bytes, bytes]:
        subject = question.subject
        units = split_units(subject, question.units, opening.payload) or ()
        has_failed = finding is not Finding.PASSED
        return sign_evidence(
            self._identity,
            AuditEvidence(
                version=EVIDENCE_VERSION,
                audit_id=question.audit_id,
                cell_id=cell.cell_id,
                audited_ms=now_ms,
                segment_id=subject.segment_id,
                slot=subject.slot,
                unit_bytes=subject.unit_bytes,
                shard_bytes=subject.shard_bytes,
                root=subject.root,
                nonce=question.nonce,
                commitment=question.commitment or bytes(DIGEST_BYTES),
                units=question.units,
                opened=b"".join(blake3(unit).digest() for unit in units),
                leaves=opening.leaves if has_failed else b"",
                fresh_leaves=opening.fresh_leaves if has_failed else b"",
                finding=finding.value,
            ),
        )
