"""Commits as the journal has them: the statements that changed the store, with their parameters.

A commit is one packed value, in one record or, where it is long, in several. A body's first byte
says what it is.

Source: docs/journal.md, "Bodies".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgpack

from common import limits
from common.crypto.journal import RECORD, SEAL_OVERHEAD_BYTES, JournalKey, JournalReader
from common.data_classes import dataclass
from common.errors import Corrupt
from common.format.journal import RECORD_HEAD_BYTES, ChainEnd, RecordHead, end_of, head_of
from common.ports import Entropy, SqlStatement
from common.reasons import Damage

BEGUN: Final = 0
"""A coordinator has begun an epoch; the rest names its run."""
PART: Final = 1
"""A part of a commit that goes on in the next record of the same epoch."""
COMMIT: Final = 2
"""A commit, or its last part."""
_PART_BYTES: Final = limits.MAX_JOURNAL_BODY_BYTES - SEAL_OVERHEAD_BYTES - 1

_pack: Callable[..., bytes] = msgpack.packb
_unpack: Callable[..., Any] = msgpack.unpackb  # type: ignore[attr-defined]  # no __all__ there


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit to be made again. ``changes``: rows that it changes. ``definitions``: texts of its
    statements that had no number yet."""

    changes: int
    definitions: Sequence[tuple[int, str]]
    statements: Sequence[SqlStatement]


@dataclass(frozen=True, slots=True)
class SealedRecord:
    """A record, and the point after it."""

    record: bytes
    end: ChainEnd


def pack_commit(
    changes: int,
    definitions: Sequence[tuple[int, str]],
    statements: Sequence[SqlStatement],
    numbers: Mapping[str, int],
) -> bytes:
    """A commit as bytes. ``numbers``: of texts; a text without one is written out."""
    rows = [(numbers.get(each.sql, each.sql), each.is_many, each.parameters) for each in statements]
    return _pack((changes, definitions, rows), use_bin_type=True)


def unpack_commit(data: bytes, texts: Mapping[int, str]) -> Commit:
    """The commit of these bytes.

    Args:
        data: opened, so a coordinator of this swarm has written it.
        texts: by number, of all commits before.

    Raises:
        Corrupt: ``journal_diverged``: it names a text that none of them defined.
    """
    changes, definitions, rows = _unpack(data, raw=False, use_list=False)
    known = {**texts, **dict(definitions)} if definitions else texts
    try:
        statements = [
            SqlStatement(known[name] if isinstance(name, int) else name, parameters, is_many)
            for name, is_many, parameters in rows
        ]
    except KeyError as error:
        raise Corrupt(Damage.JOURNAL_DIVERGED, statement=str(error)) from error
    return Commit(changes, definitions, statements)


def seal_record(
    key: JournalKey, epoch: int, after: ChainEnd, body: bytes, entropy: Entropy
) -> SealedRecord:
    """Seal a body as the record after a point."""
    head = head_of(epoch, after, len(body) + SEAL_OVERHEAD_BYTES)
    packed = head.pack()
    record = packed + key.seal(RECORD, packed, body, entropy)
    return SealedRecord(record, end_of(head, record))


def seal_commit(
    key: JournalKey, epoch: int, after: ChainEnd, commit: bytes, entropy: Entropy
) -> list[SealedRecord]:
    """Seal a commit as the records after a point."""
    records = []
    for offset in range(0, len(commit), _PART_BYTES):
        is_last = offset + _PART_BYTES >= len(commit)
        body = bytes([COMMIT if is_last else PART]) + commit[offset : offset + _PART_BYTES]
        records.append(seal_record(key, epoch, after, body, entropy))
        after = records[-1].end
    return records


def open_record(key: JournalReader, head: RecordHead, record: memoryview) -> bytes:
    """The body of a record. Raises Corrupt ``journal_not_authentic``."""
    return key.open(RECORD, head.pack(), record[RECORD_HEAD_BYTES:])


class Assembly:
    """Commits put together from the bodies of a journal, in order.

    The parts of a commit that its coordinator did not finish are followed by a record of another
    epoch: they were never acknowledged, and are dropped.
    """

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._epoch = 0

    @property
    def is_whole(self) -> bool:
        """False while parts of a commit wait for its last one."""
        return not self._parts

    def take(self, epoch: int, body: bytes) -> Iterator[bytes]:
        """Take the next body; yields a commit's bytes if that was its last part."""
        if epoch != self._epoch or body[0] == BEGUN:
            self._parts, self._epoch = [], epoch
        if body[0] == BEGUN:
            return
        self._parts.append(body[1:])
        if body[0] == COMMIT:
            whole = b"".join(self._parts)
            self._parts = []
            yield whole
