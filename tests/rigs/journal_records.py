"""Records of a journal for tests: sealed under a key of their own, chained."""

from __future__ import annotations

import random

from common.crypto.journal import JournalKey
from common.format.journal import BEGINNING, ChainEnd
from coordinator.journal.commits import SealedRecord, seal_record

KEY = JournalKey(b"s" * 32)
_ENTROPY = random.Random(1).randbytes


def chain(count: int, *, epoch: int = 1, after: ChainEnd = BEGINNING) -> list[SealedRecord]:
    """So many records after a point."""
    made = []
    for _ in range(count):
        made.append(seal_record(KEY, epoch, after, _ENTROPY(100), _ENTROPY))
        after = made[-1].end
    return made


def joined(records: list[SealedRecord]) -> memoryview:
    """Records as they travel."""
    return memoryview(b"".join(each.record for each in records))
