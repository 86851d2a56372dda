"""Handlers of the requests by which cells are audited.

Source: docs/repair.md, "Audits"; docs/protocol.md, "Messages".
"""

from __future__ import annotations

import trio

from common.errors import NotFound
from common.ports import Entropy
from common.reasons import Absence
from common.rpc.caller import Answer
from common.wire.messages.audit import (
    AuditChallenge,
    AuditCommit,
    AuditGet,
    AuditOpen,
    AuditQuestion,
    AuditUnits,
    AuditVerdict,
)
from coordinator.audits import Auditor
from coordinator.membership import Membership
from coordinator.policy.audit import Opening
from coordinator.policy.audit_book import draw_bytes
from coordinator.session import ByRequest, Caller


class AuditHandlers:
    """Asks cells, and takes their answers."""

    def __init__(self, auditor: Auditor, membership: Membership, entropy: Entropy) -> None:
        self._auditor = auditor
        self._membership = membership
        self._entropy = entropy

    def by_request(self) -> ByRequest:
        """Return the handler of each request."""
        return {AuditGet: self.get, AuditCommit: self.commit, AuditOpen: self.open}

    async def get(self, caller: Caller, request: AuditGet, _: memoryview) -> Answer:
        """Put the question that is due."""
        cell = self._membership.cell_of(caller.peer_id)
        question = await self._auditor.question(cell)
        if question is None:
            return AuditQuestion(None)
        subject = question.subject
        within_s = max(0, int(question.deadline - trio.current_time()))
        return AuditQuestion(
            AuditChallenge(
                question.audit_id,
                subject.segment_id,
                subject.slot,
                question.nonce,
                within_s,
                question.units,
            )
        )

    async def commit(self, caller: Caller, request: AuditCommit, _: memoryview) -> Answer:
        """Take a commitment, and draw what is to be opened."""
        cell = self._membership.cell_of(caller.peer_id)
        book = self._auditor.book
        question = book.find(cell.cell, request.audit_id)
        if request.root is None:
            await self._auditor.lacks(cell, question)
            return AuditUnits(())
        draws = self._entropy(draw_bytes(question.subject))
        return AuditUnits(book.commit(question, request.root, draws, trio.current_time()))

    async def open(self, caller: Caller, request: AuditOpen, payload: memoryview) -> Answer:
        """Judge what was opened."""
        cell = self._membership.cell_of(caller.peer_id)
        question = self._auditor.book.find(cell.cell, request.audit_id)
        if not question.commitment:
            raise NotFound(Absence.NO_SUCH_AUDIT)
        opening = Opening(request.leaves, request.fresh_leaves, payload)
        finding = await self._auditor.opened(cell, question, opening)
        return AuditVerdict("" if finding is None else finding.value)
