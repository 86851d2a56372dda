"""Snapshots for the cells that follow the journal: when one is due, and which one it gets.

Source: docs/journal.md, "Snapshots".
"""

from __future__ import annotations

import trio

from common import limits
from common.crypto.journal import JournalKey
from common.ports import World
from common.wire.messages.journal import JournalState
from coordinator.journal.gate import JournalGate
from coordinator.journal.members import Member, Recent
from coordinator.journal.snapshots import Snapshot, make_snapshot, send_snapshot


class SentSnapshots:
    """The snapshots of one opened store, the last of which is kept for the next cell.

    Args:
        gate: has the epoch in which they are sent.
        store_name: what is copied.
    """

    def __init__(self, world: World, gate: JournalGate, key: JournalKey, store_name: str) -> None:
        self._world = world
        self._gate = gate
        self._key = key
        self._store_name = store_name
        self._snapshot: Snapshot | None = None
        self._turn = trio.Lock()
        self._records_begin = 0

    def is_due(self, recent: Recent, member: Member) -> bool:
        """Return whether a cell's snapshot is so old that its records are too many."""
        appended = recent.bytes_appended - self._records_begin
        if self._snapshot is None:  # the one that the cell has is of an earlier process
            records = recent.end.sequence - member.base_sequence
            return (
                appended > limits.LEAST_JOURNAL_RECORDS_BYTES
                or records > limits.MOST_INHERITED_RECORDS
            )
        is_due = appended > max(limits.LEAST_JOURNAL_RECORDS_BYTES, self._snapshot.size)
        return is_due or member.base_sequence < self._snapshot.end.sequence

    async def send(self, recent: Recent, member: Member) -> JournalState:
        """Send a snapshot: the last one if the records after it are still there, or a new one. One
        cell at a time: the others take commits meanwhile."""
        async with self._turn:
            world = self._world
            is_usable = (
                self._snapshot is not None
                and recent.has(self._snapshot.end)
                and member.base_sequence < self._snapshot.end.sequence
            )
            if not is_usable:
                self._records_begin = recent.bytes_appended
                self._snapshot = await make_snapshot(
                    world.stores, self._store_name, world.disk, world.entropy
                )
            assert self._snapshot is not None
            state = await send_snapshot(
                self._snapshot,
                member.cell,
                self._gate.epoch,
                self._key,
                world.disk,
                world.workers,
                world.entropy,
                member.append,
            )
            world.log.info(
                "journal_snapshot_kept",
                cell=member.cell.cell_id,
                sequence=self._snapshot.end.sequence,
                bytes=state.snapshot_bytes,
            )
            return state
