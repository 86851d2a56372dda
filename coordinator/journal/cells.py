"""Calls to a cell that keeps the journal.

Source: docs/journal.md, "Messages".
"""

from __future__ import annotations

from typing import Final, TypeVar

from common.errors import PeerViolation
from common.format.journal import ChainEnd
from common.ids import PeerId
from common.ports import Address, Buffer
from common.reasons import Violation
from common.rpc.peers import PeerPool
from common.wire.messages.base import Done, Endpoint, Reply, Request
from common.wire.messages.journal import (
    JournalAppend,
    JournalBegin,
    JournalConfigure,
    JournalKeep,
    JournalLook,
    JournalPoint,
    JournalRead,
    JournalRecords,
    JournalState,
    SnapshotPiece,
    SnapshotRead,
    SnapshotWrite,
)

R = TypeVar("R", bound=Reply)
NOWHERE: Final = Address("", 0)
"""The place of a coordinator that does not say where it takes calls."""
CALL_S: Final = 10.0
KEEP_S: Final = 120.0
"""A cell reads a whole snapshot to check it."""


class JournalCell:
    """One cell that keeps the journal, or is to. All methods raise as
    :meth:`common.rpc.peers.PeerPool.call`, and what the cell answered.

    Args:
        endpoint: its id and address.
        rescue_pass: of a caller that only reads, and is not a coordinator.
    """

    def __init__(self, pool: PeerPool, endpoint: Endpoint, rescue_pass: bytes = b"") -> None:
        self._rescue_pass = rescue_pass
        self.endpoint = endpoint
        self.cell_id = bytes(endpoint.cell_id)
        self._pool = pool
        self._address = Address(endpoint.host, endpoint.port)

    async def _call(
        self,
        request: Request,
        kind: type[R],
        payload: tuple[Buffer, ...] = (),
        timeout_s: float = CALL_S,
    ) -> tuple[R, memoryview]:
        reply, data = await self._pool.call(
            self._address, PeerId(self.cell_id), request, payload, timeout_s=timeout_s
        )
        if not isinstance(reply, kind):
            raise PeerViolation(Violation.WRONG_ANSWER)
        return reply, data

    async def look(self, *, timeout_s: float = CALL_S) -> JournalState:
        """The state of its journal."""
        return (
            await self._call(JournalLook(self._rescue_pass), JournalState, timeout_s=timeout_s)
        )[0]

    async def begin(
        self,
        epoch: int,
        run_id: bytes,
        *,
        succeeds: int = 0,
        at: Address = NOWHERE,
        timeout_s: float = CALL_S,
    ) -> JournalState:
        """Have it promise an epoch, or confirm the one that it has promised.

        Args:
            succeeds: as of the request.
            at: where this coordinator takes calls.
        """
        request = JournalBegin(epoch, run_id, succeeds, at.host, at.port)
        return (await self._call(request, JournalState, timeout_s=timeout_s))[0]

    async def append(self, epoch: int, after: ChainEnd, records: Buffer) -> None:
        """Append records after a point."""
        await self._call(JournalAppend(epoch, JournalPoint(*after)), Done, (records,))

    async def read(self, after: int) -> memoryview:
        """Records after a number; empty at the end."""
        return (await self._call(JournalRead(after, self._rescue_pass), JournalRecords))[1]

    async def write_snapshot(
        self, epoch: int, snapshot_id: bytes, offset: int, data: Buffer
    ) -> None:
        """Write the next bytes of a snapshot."""
        await self._call(SnapshotWrite(epoch, snapshot_id, offset), Done, (data,))

    async def keep(
        self, epoch: int, snapshot_id: bytes, size: int, digest: bytes, base: ChainEnd
    ) -> JournalState:
        """Have it keep the snapshot that was written, and the records after it."""
        request = JournalKeep(epoch, snapshot_id, size, digest, JournalPoint(*base))
        return (await self._call(request, JournalState, timeout_s=KEEP_S))[0]

    async def read_snapshot(self, snapshot_id: bytes, offset: int) -> memoryview:
        """Bytes of its snapshot; empty at the end."""
        request = SnapshotRead(snapshot_id, offset, self._rescue_pass)
        return (await self._call(request, SnapshotPiece))[1]

    async def configure(self, epoch: int, version: int, members: bytes) -> None:
        """Have it remember who keeps the journal."""
        await self._call(JournalConfigure(epoch, version, members), Done)
