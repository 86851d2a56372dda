"""The records of a coordinator's journal as cells keep them: framed, numbered and chained.

A record's digest covers the digest of the record before it, so one digest names a whole journal.
Bodies are sealed (:mod:`common.crypto.journal`): cells follow the chain and read nothing.

Source: docs/journal.md, "Records".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from blake3 import blake3

from common import limits
from common.errors import PeerViolation
from common.ports import Buffer
from common.reasons import Violation
from common.wire.messages.journal import JournalPoint

RECORD_VERSION: Final = 1
_HEAD: Final = struct.Struct(">BxxxIQQ32s")
RECORD_HEAD_BYTES: Final = _HEAD.size
DIGEST_BYTES: Final = 32


class ChainEnd(NamedTuple):
    """A point of a journal: just after a record, whose number, epoch and digest these are."""

    sequence: int
    epoch: int
    digest: bytes


BEGINNING: Final = ChainEnd(0, 0, bytes(DIGEST_BYTES))
"""The point before the first record of all."""


def end_in(point: JournalPoint) -> ChainEnd:
    """Return the point that a message names."""
    return ChainEnd(point.sequence, point.epoch, point.digest)


class RecordHead(NamedTuple):
    """The head of a record. ``previous``: the digest of the record before."""

    body_bytes: int
    epoch: int
    sequence: int
    previous: bytes

    def pack(self) -> bytes:
        """The head as bytes; bodies are sealed with it as their context."""
        return _HEAD.pack(RECORD_VERSION, *self)


def head_of(epoch: int, after: ChainEnd, body_bytes: int) -> RecordHead:
    """The head of the record that follows a point."""
    assert 0 < body_bytes <= limits.MAX_JOURNAL_BODY_BYTES
    assert epoch >= after.epoch
    return RecordHead(body_bytes, epoch, after.sequence + 1, after.digest)


def read_head(data: Buffer, offset: int = 0) -> RecordHead:
    """The head at an offset.

    Raises:
        PeerViolation: ``bad_record``: there is none.
    """
    if len(data) - offset < RECORD_HEAD_BYTES:
        raise PeerViolation(Violation.BAD_RECORD, what="journal head")
    version, *fields = _HEAD.unpack_from(data, offset)
    head = RecordHead(*fields)
    if version != RECORD_VERSION or not 0 < head.body_bytes <= limits.MAX_JOURNAL_BODY_BYTES:
        raise PeerViolation(Violation.BAD_RECORD, what="journal head")
    return head


def end_of(head: RecordHead, record: Buffer) -> ChainEnd:
    """The point after a record."""
    return ChainEnd(head.sequence, head.epoch, blake3(record).digest())


def follow(after: ChainEnd, records: Buffer) -> Iterator[tuple[RecordHead, memoryview, ChainEnd]]:
    """Go through records that follow a point, one after another.

    Yields:
        Each record's head, the whole record, and the point after it.

    Raises:
        PeerViolation: ``bad_record``: the next bytes are not a whole record that follows.
    """
    data = memoryview(records)
    offset = 0
    while offset < len(data):
        head = read_head(data, offset)
        until = offset + RECORD_HEAD_BYTES + head.body_bytes
        follows = (
            head.sequence == after.sequence + 1
            and head.epoch >= after.epoch
            and head.previous == after.digest
        )
        if until > len(data) or not follows:
            raise PeerViolation(Violation.BAD_RECORD, what="journal record")
        record = data[offset:until]
        after = end_of(head, record)
        yield head, record, after
        offset = until
