"""Garbage collection: purge deleted and replaced versions after a grace period, in small
transactions.

Grace is measured in monotonic time since this process saw the row, so that a step of the wall
clock cuts no download short; after a restart it begins again.

Source: docs/placement.md, "The life of a segment".
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Collection

from common import limits
from common.data_classes import dataclass
from common.ids import SegmentId
from common.ports import Sql
from common.wire.messages.writing import Page
from coordinator.store import leases, misplaced, segments
from coordinator.store.versions import KIND_VERSION


@dataclass(frozen=True, slots=True)
class Purged:
    """The work of one transaction. ``more``: there is more that is due."""

    owners: int
    segments: int
    more: bool


def purge(sql: Sql, due: int, held: Collection[bytes] = ()) -> Purged:
    """Purge some of what was dropped with numbers up to ``due``.

    Args:
        held: ids of versions that are being read, and stay, as those that the store names do.

    Raises:
        Corrupt: ``references_broken``; nothing was changed.
    """
    owners = deleted = extents = 0
    rows = _due(sql, due, {*held, *leases.reading(sql)})
    for number, owner, kind, bucket in rows:
        uses: Counter[SegmentId] = Counter()
        pages = []
        whole = True
        for page_number, packed in sql.execute(
            "SELECT number, extents FROM pages WHERE owner = ? ORDER BY number", (owner,)
        ):
            page = Page.unpack(packed)
            if extents and extents + len(page.extents) > limits.MAX_PURGED_EXTENTS:
                whole = False
                break
            extents += len(page.extents)
            pages.append((owner, page_number))
            for extent in page.extents:
                uses[extent.segment_id] += 1
        deleted += segments.release(sql, bucket, uses)
        sql.executemany("DELETE FROM pages WHERE owner = ? AND number = ?", pages)
        if not whole:
            return Purged(owners, deleted, True)
        sql.execute("DELETE FROM dropped WHERE number = ?", (number,))
        if kind == KIND_VERSION:
            misplaced.forget(sql, owner)
            sql.execute("DELETE FROM versions WHERE sequence = ?", (owner,))
        owners += 1
    return Purged(owners, deleted, len(rows) == limits.MAX_PURGED_OWNERS)


def _due(sql: Sql, due: int, held: Collection[bytes]) -> list[tuple[int, int, int, int]]:
    """The first due rows of ``dropped`` that nobody holds: number, owner, kind and bucket."""
    # Of those that are due as many can be held as are read.
    most = limits.MAX_PURGED_OWNERS + len(held)
    rows = []
    for number, owner, kind, bucket, version_id in sql.execute(
        "SELECT d.number, d.owner, d.kind, d.bucket, v.version_id FROM dropped d"
        " LEFT JOIN versions v ON d.kind = ? AND v.sequence = d.owner WHERE d.number <= ?"
        " ORDER BY d.number LIMIT ?",
        (KIND_VERSION, due, most),
    ):
        if version_id not in held:
            rows.append((number, owner, kind, bucket))
            if len(rows) == limits.MAX_PURGED_OWNERS:
                break
    return rows


def last_dropped(sql: Sql) -> int:
    """The highest number that was given to something dropped."""
    return _last(sql, "dropped")


def last_abandoned(sql: Sql) -> int:
    """The highest number that was given to an abandoned segment."""
    return _last(sql, "abandoned")


def _last(sql: Sql, table: str) -> int:
    row = sql.execute(f"SELECT max(number) FROM {table}").fetchone()
    return row[0] or 0


def forget_abandoned(sql: Sql, due: int) -> None:
    """Forget abandoned segments with numbers up to ``due``."""
    sql.execute("DELETE FROM abandoned WHERE number <= ?", (due,))


class Grace:
    """Tracks which numbered rows were seen at least ``grace_s`` monotonic seconds ago."""

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._seen: deque[tuple[float, int]] = deque()
        self._due = 0

    @property
    def next_end(self) -> float:
        """The end of the grace of the first row seen; infinity if there are none."""
        return self._seen[0][0] + self._grace_s if self._seen else math.inf

    def due(self, now: float, last: int) -> int:
        """The highest number whose grace is over.

        Args:
            now: monotonic seconds.
            last: the highest number there is now.
        """
        if last > (self._seen[-1][1] if self._seen else self._due):
            self._seen.append((now, last))
        while self._seen and self._seen[0][0] <= now - self._grace_s:
            self._due = self._seen.popleft()[1]
        return self._due
