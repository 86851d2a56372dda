"""The latest order epoch that this cell has seen, durably: it obeys no earlier coordinator.

Source: docs/protocol.md, "Order epochs".
"""

from __future__ import annotations

from typing import Final

import trio
from blake3 import blake3

from common.crypto import epochs
from common.errors import AlvearyError, Corrupt, PeerViolation, Unavailable
from common.ports import Disk, Log
from common.reasons import Outage, Violation
from common.rpc.coordinators import ask_plainly
from common.rpc.peer_connection import PeerConnection
from common.state_files import read_whole, write_whole
from common.wire.messages import Directions
from common.wire.messages.base import Reply, Request

NAME: Final = "order.epoch"
_DIGEST_BYTES: Final = 32
_FILE_BYTES: Final = epochs.MARK_BYTES + _DIGEST_BYTES


class SeenEpoch:
    """The latest epoch of a coordinator that has answered this cell. Made by :meth:`load`."""

    def __init__(self, disk: Disk, log: Log, mark: bytes) -> None:
        self.mark = mark
        """The mark that heartbeats report; empty: none was seen."""
        self.epoch = epochs.read(mark)
        self._disk = disk
        self._log = log
        self._written = self.epoch
        self._writing = trio.Lock()
        self._refused = 0

    @classmethod
    async def load(cls, disk: Disk, log: Log) -> SeenEpoch:
        """Read what an earlier life has written. A damaged file counts as none: the next
        coordinator that answers sends its mark again, and no order is taken before that."""
        try:
            data = await read_whole(disk, NAME, max_bytes=_FILE_BYTES + 1)
            return cls(disk, log, b"" if data is None else _decode(data))
        except (Corrupt, PeerViolation) as error:
            log.error("order_epoch_damaged", error=str(error))
            return cls(disk, log, b"")

    async def ask(self, connection: PeerConnection, request: Request, timeout_s: float) -> Reply:
        """Make a request of a coordinator; what it directs counts only if no later one has
        answered: see :class:`common.rpc.coordinators.Coordinators`.

        Raises:
            Unavailable: ``coordinator_superseded``: ask another one.
            PeerViolation: ``bad_epoch_mark``.
        """
        reply = await ask_plainly(connection, request, timeout_s)
        if isinstance(reply, Directions):
            await self._heard(reply.order_epoch)
        return reply

    async def _heard(self, mark: bytes) -> None:
        epoch = epochs.read(mark)
        if epoch > self.epoch:
            self.epoch, self.mark = epoch, mark
        if self._written < self.epoch:
            async with self._writing:
                await self._write()
        # Compared last: a later one may have come while this one was being written.
        if epoch < self.epoch:
            if epoch != self._refused:
                self._refused = epoch
                self._log.error("coordinator_superseded", epoch=epoch, seen=self.epoch)
            raise Unavailable(Outage.COORDINATOR_SUPERSEDED, epoch=epoch, seen=self.epoch)

    async def _write(self) -> None:
        """Make the epoch durable before anything of it is done. Where that fails, the cell goes on,
        or it would be of no use while its disk is full: it tries again with each answer."""
        if self._written >= self.epoch:
            return
        epoch, mark = self.epoch, self.mark
        try:
            await write_whole(self._disk, NAME, mark + blake3(mark).digest())
        except AlvearyError as error:
            self._log.error("order_epoch_not_written", epoch=epoch, error=str(error))
            return
        self._written = epoch
        self._log.info("order_epoch_seen", epoch=epoch)


def _decode(data: bytes) -> bytes:
    mark = data[: epochs.MARK_BYTES]
    if len(data) != _FILE_BYTES or blake3(mark).digest() != data[epochs.MARK_BYTES :]:
        raise PeerViolation(Violation.BAD_EPOCH_MARK)
    return mark
