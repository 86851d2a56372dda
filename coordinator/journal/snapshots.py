"""Snapshots of the store: a copy in sealed pieces, sent to a cell or read back from one.

Source: docs/journal.md, "Snapshots".
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from blake3 import blake3

from common import limits
from common.crypto.journal import PIECE, JournalKey, JournalReader
from common.data_classes import dataclass
from common.errors import Corrupt
from common.format.journal import ChainEnd, end_in
from common.ports import Disk, Entropy, Stores, Workers
from common.reasons import Damage
from common.wire.messages.journal import JournalState
from coordinator.journal.cells import JournalCell
from coordinator.store import journal

COPY_NAME: Final = "journal.copy"
RESTORED_NAME: Final = "journal.restored"
PIECE_BYTES: Final = 512 * limits.KIB
"""Of the store, in one piece: what is compressed and sealed at a time."""
_LENGTH: Final = struct.Struct(">I")
_CONTEXT: Final = struct.Struct(">16sQQ32sQ?")
SNAPSHOT_ID_BYTES: Final = 16
_FASTEST: Final = 1


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A copy of the store on the coordinator's disk. ``end``: the point of the journal up to which
    it has everything."""

    snapshot_id: bytes
    end: ChainEnd
    size: int


def _context(snapshot_id: bytes, end: ChainEnd, number: int, *, is_last: bool) -> bytes:
    return _CONTEXT.pack(snapshot_id, *end, number, is_last)


async def make_snapshot(stores: Stores, store_name: str, disk: Disk, entropy: Entropy) -> Snapshot:
    """Copy the store as it is now. Raises as :meth:`common.ports.Stores.copy`."""
    row = await stores.copy(store_name, COPY_NAME, journal.load)
    file = await disk.open(COPY_NAME)
    try:
        size = await file.size()
    finally:
        await file.close()
    return Snapshot(entropy(SNAPSHOT_ID_BYTES), row.end, size)


async def send_snapshot(
    snapshot: Snapshot,
    cell: JournalCell,
    epoch: int,
    key: JournalKey,
    disk: Disk,
    workers: Workers,
    entropy: Entropy,
    between: Callable[[], Awaitable[None]],
) -> JournalState:
    """Send a snapshot to a cell and have it kept.

    Args:
        between: called after each piece: commits do not wait for a whole snapshot.

    Returns:
        The cell's journal afterwards.

    Raises:
        AlvearyError: of a call, or of the disk.
    """
    file = await disk.open(COPY_NAME)
    hasher, sent, offset = blake3(), 0, 0
    try:
        for number in range(-(-snapshot.size // PIECE_BYTES)):
            plain = await file.read(offset, PIECE_BYTES)
            offset += len(plain)
            context = _context(
                snapshot.snapshot_id, snapshot.end, number, is_last=offset >= snapshot.size
            )
            sealed = await workers.run(partial(_seal, key, context, plain, entropy))
            hasher.update(sealed)
            await cell.write_snapshot(epoch, snapshot.snapshot_id, sent, sealed)
            sent += len(sealed)
            await between()
    finally:
        await file.close()
    return await cell.keep(epoch, snapshot.snapshot_id, sent, hasher.digest(), snapshot.end)


def _seal(key: JournalKey, context: bytes, plain: bytes, entropy: Entropy) -> bytes:
    sealed = key.seal(PIECE, context, zlib.compress(plain, _FASTEST), entropy)
    return _LENGTH.pack(len(sealed)) + sealed


async def relay_snapshot(
    source: JournalCell, state: JournalState, target: JournalCell, epoch: int
) -> None:
    """Copy a cell's snapshot to another cell, as it is. Raises as calls do."""
    hasher, offset = blake3(), 0
    while page := await source.read_snapshot(state.snapshot_id, offset):
        hasher.update(page)
        await target.write_snapshot(epoch, state.snapshot_id, offset, page)
        offset += len(page)
    await target.keep(epoch, state.snapshot_id, offset, hasher.digest(), end_in(state.base))


async def fetch_snapshot(
    cell: JournalCell, state: JournalState, key: JournalReader, disk: Disk, workers: Workers
) -> None:
    """Read a cell's snapshot back, into the file RESTORED_NAME.

    Raises:
        Corrupt: ``journal_not_authentic``: it is not what a coordinator has sent.
        AlvearyError: of a call, or of the disk.
    """
    file = await disk.open(RESTORED_NAME, create=True)
    try:
        await file.truncate(0)
        written, number, offset, held = 0, 0, 0, b""
        while True:
            page = await cell.read_snapshot(state.snapshot_id, offset)
            offset += len(page)
            held += page
            while (piece := _next_piece(held)) is not None:
                held = held[_LENGTH.size + len(piece) :]
                is_last = not held and offset >= state.snapshot_bytes
                context = _context(state.snapshot_id, end_in(state.base), number, is_last=is_last)
                plain = await workers.run(partial(_open, key, context, piece))
                await file.write(written, [plain])
                written += len(plain)
                number += 1
                if is_last:
                    await file.sync()
                    return
            if not page:
                raise Corrupt(Damage.JOURNAL_NOT_AUTHENTIC, what="snapshot is cut short")
    finally:
        await file.close()


def _next_piece(held: bytes) -> bytes | None:
    if len(held) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack_from(held)
    if length > limits.MAX_JOURNAL_APPEND_BYTES:
        raise Corrupt(Damage.JOURNAL_NOT_AUTHENTIC, what="piece is too long")
    whole = held[_LENGTH.size : _LENGTH.size + length]
    return whole if len(whole) == length else None


def _open(key: JournalReader, context: bytes, piece: bytes) -> bytes:
    # Written by a coordinator of this swarm, or it would not open: no more than PIECE_BYTES come.
    return zlib.decompressobj().decompress(key.open(PIECE, context, piece), PIECE_BYTES)
