"""Handlers of the requests by which coordinators keep their journal on this cell.

Source: docs/journal.md, "Messages".
"""

from __future__ import annotations

from collections.abc import Mapping

from cell.rescuers import Rescuers
from cell.session import Caller, Handler
from cell.storage.journal import CellJournal
from common.charter_book import CharterBook
from common.errors import Refused
from common.format.journal import end_in
from common.reasons import Refusal
from common.rpc.caller import Answer
from common.wire.messages.base import Done, Request
from common.wire.messages.journal import (
    JournalAppend,
    JournalBegin,
    JournalConfigure,
    JournalKeep,
    JournalLook,
    JournalRead,
    JournalRecords,
    SnapshotPiece,
    SnapshotRead,
    SnapshotWrite,
)


class JournalHandlers:
    """Answers coordinators and, where it is only read, callers with a rescue pass; nobody else.

    Args:
        charters: who the swarm's coordinators are.
    """

    def __init__(self, journal: CellJournal, charters: CharterBook, rescuers: Rescuers) -> None:
        self._journal = journal
        self._charters = charters
        self._rescuers = rescuers

    def by_request(self) -> Mapping[type[Request], Handler]:
        """For :class:`common.rpc.server.PeerServer`."""
        return {
            JournalBegin: self.begin,
            JournalLook: self.look,
            JournalAppend: self.append,
            JournalRead: self.read,
            SnapshotWrite: self.write_snapshot,
            JournalKeep: self.keep,
            SnapshotRead: self.read_snapshot,
            JournalConfigure: self.configure,
        }

    def recognise(self, caller: Caller, request: Request) -> None:
        """Introduce a coordinator, or a caller with a rescue pass."""
        if self._charters.names(caller.peer_id):
            caller.introduce(caller.peer_id)
        elif isinstance(request, JournalLook | JournalRead | SnapshotRead):
            self._rescuers.admits(caller, request.rescue_pass)

    def _check(self, caller: Caller) -> None:
        if not self._charters.names(caller.peer_id):
            raise Refused(Refusal.NOT_A_COORDINATOR)

    def _check_reader(self, caller: Caller, rescue_pass: bytes) -> None:
        if not self._rescuers.admits(caller, rescue_pass):
            self._check(caller)

    async def look(self, caller: Caller, request: JournalLook, payload: memoryview) -> Answer:
        """Return what is kept, and promise nothing."""
        self._check_reader(caller, request.rescue_pass)
        return self._journal.state()

    async def begin(self, caller: Caller, request: JournalBegin, payload: memoryview) -> Answer:
        """Promise an epoch."""
        self._check(caller)
        return await self._journal.begin(
            request.epoch,
            request.run_id,
            succeeds=request.succeeds,
            host=request.host,
            port=request.port,
        )

    async def append(self, caller: Caller, request: JournalAppend, payload: memoryview) -> Answer:
        """Append records, durably."""
        self._check(caller)
        await self._journal.append(request.epoch, end_in(request.after), payload)
        return Done()

    async def read(self, caller: Caller, request: JournalRead, payload: memoryview) -> Answer:
        """Return records."""
        self._check_reader(caller, request.rescue_pass)
        return JournalRecords(), [await self._journal.read(request.after)]

    async def write_snapshot(
        self, caller: Caller, request: SnapshotWrite, payload: memoryview
    ) -> Answer:
        """Write the next bytes of a snapshot."""
        self._check(caller)
        await self._journal.write_snapshot(
            request.epoch, request.snapshot_id, request.offset, payload
        )
        return Done()

    async def keep(self, caller: Caller, request: JournalKeep, payload: memoryview) -> Answer:
        """Keep a snapshot, and the records after it."""
        self._check(caller)
        return await self._journal.keep(
            request.epoch,
            request.snapshot_id,
            request.snapshot_bytes,
            request.snapshot_digest,
            end_in(request.base),
        )

    async def read_snapshot(
        self, caller: Caller, request: SnapshotRead, payload: memoryview
    ) -> Answer:
        """Return bytes of the snapshot."""
        self._check_reader(caller, request.rescue_pass)
        piece = await self._journal.read_snapshot(request.snapshot_id, request.offset)
        return SnapshotPiece(), [piece]

    async def configure(
        self, caller: Caller, request: JournalConfigure, payload: memoryview
    ) -> Answer:
        """Remember who keeps the journal."""
        self._check(caller)
        await self._journal.configure(request.epoch, request.version, request.members)
        return Done()
