"""A cell's durable record of its coordinators' history, and of the one it deletes for.

Source: docs/placement.md, "The store's history".
"""

from __future__ import annotations

from typing import Final

import trio
from blake3 import blake3

from common import limits
from common.crypto.positions import POSITION_BYTES
from common.errors import AlvearyError, Corrupt, PeerViolation
from common.ports import Disk, Log
from common.reasons import Violation
from common.rpc.protocol.positions import Known, covers
from common.state_files import read_whole, write_whole
from common.wire.messages.membership import HeartbeatReply

NAME: Final = "positions"
_DIGEST_BYTES: Final = 32
_FULL_FILE_BYTES: Final = limits.MAX_POSITIONS_KNOWN * POSITION_BYTES + _DIGEST_BYTES
WRITE_EVERY_S: Final = 4.0
"""Maximum age of the file when only the number of a transaction has grown: about every heartbeat of
a swarm that is written to, whose cells sync for every shard anyway. An unknown run is written at
once, and the rest when the cell is asked to end."""
LAST_WRITE_S: Final = 2.0
"""Patience with the disk when the cell is asked to end: its supervisor waits for it, and would kill
it."""


class Positions:
    """The positions that this cell was sent. Made by :meth:`load`."""

    def __init__(self, disk: Disk, log: Log, known: Known) -> None:
        self._disk = disk
        self._log = log
        self._known = known
        self._written = known.packed()
        self._written_at = float("-inf")
        self._failed = ""
        self._writing = trio.Lock()
        self._trusted: bytes | None = None
        self._complained_of: bytes | None = None

    @classmethod
    async def load(cls, disk: Disk, log: Log) -> Positions:
        """Read what an earlier life has written. A damaged file counts as none: the coordinator
        sends its position again, and until then the cell has nothing to compare with."""
        try:
            data = await read_whole(disk, NAME, max_bytes=_FULL_FILE_BYTES + 1)
            return cls(disk, log, Known() if data is None else _decode(data))
        except (Corrupt, PeerViolation) as error:
            log.error("positions_damaged", error=str(error))
            return cls(disk, log, Known())

    def packed(self) -> tuple[bytes, ...]:
        """Return the positions to send to a coordinator."""
        return self._known.packed()

    def trusts(self, run_id: bytes) -> bool:
        """Return whether the coordinator's run has shown that its store has all that this cell
        knows of, so that it may say what is garbage."""
        return run_id == self._trusted

    async def heard(self, asked: tuple[bytes, ...], reply: HeartbeatReply, now: float) -> bool:
        """Take in what a coordinator answered.

        Args:
            asked: the positions that were sent to it.
            reply: its answer.
            now: trio's time.

        Returns:
            Whether its store has everything that this cell knows of: only then may anything be
            deleted for it.

        Raises:
            PeerViolation: ``bad_position``.
        """
        is_covered = covers(asked, reply.ends)
        self._trusted = reply.run_id if is_covered else None
        if not is_covered and asked:
            self._tell(reply)
        is_new = False
        if reply.withdrawn:
            is_new = self._known.forget(reply.run_id)
        elif reply.position:
            is_new = self._known.note(reply.position)
        if is_new or now - self._written_at >= WRITE_EVERY_S:
            await self._write(now)
        return is_covered

    async def write_last(self) -> None:
        """Write what is not written yet, since the cell is to end; give up after LAST_WRITE_S."""
        with trio.move_on_after(LAST_WRITE_S) as patience:
            await self._write(trio.current_time())
        if patience.cancelled_caught:
            self._log.warning("positions_not_written", error="slow")

    def _tell(self, reply: HeartbeatReply) -> None:
        if reply.run_id != self._complained_of:
            self._complained_of = reply.run_id
            self._log.error("coordinator_behind", run_id=reply.run_id.hex())

    async def _write(self, now: float) -> None:
        async with self._writing:  # all write the same draft
            await self._write_alone(now)

    async def _write_alone(self, now: float) -> None:
        packed = self.packed()
        if packed == self._written:
            return
        body = b"".join(packed)
        try:
            await write_whole(self._disk, NAME, body + blake3(body).digest())
        except AlvearyError as error:  # kept in memory, and written with the next heartbeat
            if str(error) != self._failed:
                self._log.warning("positions_not_written", error=str(error))
            self._failed = str(error)
            return
        self._failed = ""
        self._written, self._written_at = packed, now


def _decode(data: bytes) -> Known:
    body, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if blake3(body).digest() != digest or len(body) % POSITION_BYTES:
        raise PeerViolation(Violation.BAD_POSITION)
    return Known(body[at : at + POSITION_BYTES] for at in range(0, len(body), POSITION_BYTES))
