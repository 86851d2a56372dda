"""The schedule of a scrub: which shard is read next is decided by key, when is decided here. Pure.

A pass has a period, and each shard its place in it: it is due when as large a part of the period is
over as the pass has read of what the cell holds. So a pass goes on where it was after a restart,
however short a daemon's lives are, and one that is late catches up at a bounded rate.

Source: docs/repair.md, "Scrub".
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Final

from cell.storage.shards import ShardKey
from common import limits
from common.data_classes import dataclass
from common.errors import Corrupt
from common.ids import SEGMENT_ID_BYTES, SegmentId
from common.reasons import Damage

VERSION: Final = 1
CATCH_UP_FACTOR: Final = 4
"""A pass that is late reads so many times faster than one in time ..."""
CATCH_UP_BYTES_PER_S: Final = 1 * limits.MIB
"""... but this fast at least: small cells are soon done."""


@dataclass(frozen=True, slots=True)
class ScrubPass:
    """The progress of one pass over all shards.

    ``began``: unix seconds. ``after_segment``, ``after_slot``: the shard that was read last; no
    segment: none yet. ``read_bytes``: of shards. ``bad``: shards that failed.
    """

    began: float
    after_segment: str = ""
    after_slot: int = 0
    read_bytes: int = 0
    bad: int = 0

    @property
    def after(self) -> ShardKey:
        """The key behind which the pass goes on."""
        if not self.after_segment:
            return SegmentId(b""), -1
        return SegmentId(bytes.fromhex(self.after_segment)), self.after_slot

    def has_read(self, key: ShardKey, size: int, *, is_bad: bool = False) -> ScrubPass:
        """Return the pass after its next shard."""
        return replace(
            self,
            after_segment=key[0].hex(),
            after_slot=key[1],
            read_bytes=self.read_bytes + size,
            bad=self.bad + is_bad,
        )

    def part(self, held_bytes: int) -> float:
        """Return the part of what the cell holds that was read, at most 1."""
        return min(1.0, self.read_bytes / held_bytes) if held_bytes else 1.0

    def pack(self) -> bytes:
        """Return the bytes of the file that it is kept in."""
        return json.dumps({"version": VERSION, **asdict(self)}).encode() + b"\n"

    @classmethod
    def unpack(cls, data: bytes) -> ScrubPass:
        """Read the file's bytes.

        Raises:
            Corrupt: ``bad_scrub_file``.
        """
        try:
            content = json.loads(data)
            if content.pop("version") != VERSION:
                raise ValueError("version")
            made = cls(**content)
            counts = (made.after_slot, made.read_bytes, made.bad)
            if any(type(each) is not int or each < 0 for each in counts):
                raise ValueError("counts")
            if not isinstance(made.began, int | float) or not 0 <= made.began < limits.MAX_UINT:
                raise ValueError("began")
            if len(made.after[0]) not in {0, SEGMENT_ID_BYTES}:
                raise ValueError("after_segment")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise Corrupt(Damage.BAD_SCRUB_FILE) from error
        return made


def in_time(scrub: ScrubPass, held_bytes: int, period_s: float, now: float) -> ScrubPass:
    """Return the pass, as if it were in time when the clock says that it has not begun yet: the
    clock was set back, and nobody knows by how much."""
    if now >= scrub.began:
        return scrub
    return replace(scrub, began=max(0.0, now - period_s * scrub.part(held_bytes)))


def wait_s(scrub: ScrubPass, size: int, held_bytes: int, period_s: float, now: float) -> float:
    """Return the seconds to wait before the next shard is read.

    Args:
        size: of the shard, in bytes.
        held_bytes: of all shards.
        period_s: in which each shard is read once.
        now: unix seconds.
    """
    due = scrub.began + period_s * scrub.part(held_bytes)
    if now < due:
        return due - now
    return size / max(CATCH_UP_FACTOR * held_bytes / period_s, CATCH_UP_BYTES_PER_S)


def rest_s(scrub: ScrubPass, period_s: float, now: float) -> float:
    """Return the seconds between the end of a pass and the next one's beginning."""
    return max(0.0, scrub.began + period_s - now)
