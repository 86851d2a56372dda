"""Audits: the cell answers a coordinator's question about one shard.

It reads the shard whole, commits to its fresh root, and opens the units that are drawn then. The
bytes are few and the time is short, so this takes no turns with other work in the background.

Source: docs/repair.md, "Audits".
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from cell.metrics import CellMetrics
from cell.rounds.heartbeat import HeartbeatRound
from cell.storage.shard_store import ShardStore
from cell.storage.shards import ShardKey
from common import limits
from common.crypto.freshness import FreshDigests
from common.errors import AlvearyError, Corrupt, NotFound, Refused
from common.ports import Log
from common.reasons import Absence, Refusal
from common.rpc.coordinators import Coordinators
from common.rpc.peer_connection import PeerConnection
from common.wire.messages.audit import (
    AuditChallenge,
    AuditCommit,
    AuditGet,
    AuditOpen,
    AuditQuestion,
    AuditUnits,
    AuditVerdict,
)
from common.wire.messages.base import Reply, Request

AUDIT_RETRY_S: Final = 5.0


async def _ask_with(
    payload: Sequence[bytes], connection: PeerConnection, request: Request, timeout_s: float
) -> Reply:
    """Make a request with a payload."""
    reply, _ = await connection.call(request, payload, timeout_s=timeout_s)
    return reply


class AuditRound:
    """Answers audits."""

    def __init__(
        self,
        store: ShardStore,
        coordinators: Coordinators,
        heartbeat: HeartbeatRound,
        metrics: CellMetrics,
        log: Log,
    ) -> None:
        self._store = store
        self._coordinators = coordinators
        self._heartbeat = heartbeat
        self._metrics = metrics
        self._log = log

    async def run(self) -> None:
        """Wait until an audit is due, and answer it.

        Raises:
            AlvearyError: no coordinator can be reached, or it took the answer not.
        """
        await self._heartbeat.wait_audit_due()
        reply = await self._coordinators.call(AuditGet())
        assert isinstance(reply, AuditQuestion)
        if reply.challenge is not None:
            await self._answer(reply.challenge)

    async def _answer(self, challenge: AuditChallenge) -> None:
        segment, slot = key = (challenge.segment_id, challenge.slot)
        units = challenge.units
        try:
            root, fresh_leaves = await self._read(key, challenge.nonce)
            if not units:
                reply = await self._coordinators.call(AuditCommit(challenge.audit_id, root))
                assert isinstance(reply, AuditUnits)
                units = reply.units
            opened, leaves = await self._open(key, units)
        except NotFound as error:
            if error.reason != Absence.NO_SUCH_SHARD:
                raise
            await self._admit(challenge, error)
        except Corrupt as error:
            # What is bad was written down with the read, and is reported as lost, too.
            await self._admit(challenge, error)
        else:
            request = AuditOpen(challenge.audit_id, leaves, fresh_leaves)
            verdict = await self._coordinators.call(request, ask=partial(_ask_with, opened))
            assert isinstance(verdict, AuditVerdict)
            self._metrics.audited(verdict.finding or "void")
            if verdict.finding not in ("", "passed"):
                self._log.error(
                    "audit_not_passed", segment=segment, slot=slot, finding=verdict.finding
                )

    async def _admit(self, challenge: AuditChallenge, error: AlvearyError) -> None:
        """Say that the shard is not here, or not whole."""
        self._log.warning(
            "audited_shard_lacking",
            segment=challenge.segment_id,
            slot=challenge.slot,
            error=str(error),
        )
        await self._coordinators.call(AuditCommit(challenge.audit_id, None))
        self._metrics.audited("lacks")

    async def _read(self, key: ShardKey, nonce: bytes) -> tuple[bytes, bytes]:
        """Read a shard whole. Return its fresh root and its fresh leaves.

        Raises:
            NotFound: ``no_such_shard``.
            Corrupt: ``leaf_mismatch``, ``read_error``.
        """
        fresh = FreshDigests(nonce)
        leaves: list[bytes] = []
        count = units = 1
        while len(leaves) < units:
            entry, data, _ = await self._store.read(key, len(leaves), count, want_leaves=False)
            view, step = memoryview(data), entry.unit_bytes
            leaves += [fresh.leaf(view[at : at + step]) for at in range(0, len(view), step)]
            units = -(-entry.shard_bytes // step)
            count = max(1, limits.MAX_UNITS_PER_READ_BYTES // step)
        joined = b"".join(leaves)
        return fresh.root(*key, entry.unit_bytes, entry.shard_bytes, joined), joined

    async def _open(self, key: ShardKey, units: Sequence[int]) -> tuple[list[bytes], bytes]:
        """Read the units that were drawn. Return them, and the plain leaves of all units.

        Raises:
            NotFound, Corrupt: as :meth:`_read`.
            Refused: ``bad_range``: no such units, or more than one answer takes.
        """
        opened: list[bytes] = []
        leaves = b""
        for unit in units:
            _, data, leaves = await self._store.read(key, unit, 1, want_leaves=True)
            opened.append(data)
        if not opened or sum(map(len, opened)) > limits.MAX_UNITS_PER_READ_BYTES:
            raise Refused(Refusal.BAD_RANGE, units=len(opened))
        return opened, leaves
