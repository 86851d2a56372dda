"""Audits: how often a cell is asked, about which units of which shards, and the verdict on an
answer.

Pure. ``coordinator/audits.py`` keeps what is under way; ``coordinator/handlers/audit.py`` asks.

Source: docs/decisions/0033-audit.md.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from enum import StrEnum
from itertools import accumulate
from typing import Final

from common import limits
from common.crypto.digest import ShardDigests
from common.crypto.freshness import FreshDigests
from common.data_classes import dataclass
from common.ids import DIGEST_BYTES, SegmentId
from common.ports import Buffer, Chance

DRAW_BYTES: Final = 8
"""Random bytes that choose a unit."""
_DAY_S: Final = 86400.0


class Finding(StrEnum):
    """The result of an audit."""

    PASSED = "passed"
    LACKS = "lacks"
    """The cell says itself that it does not have the shard whole."""
    WRONG_LEAVES = "wrong_leaves"
    """The leaves are not those of the shard."""
    WRONG_UNIT = "wrong_unit"
    """The units are not those of the shard."""
    WRONG_FRESH_LEAVES = "wrong_fresh_leaves"
    """The fresh leaves are not those that the cell committed to."""
    NOT_HELD = "not_held"
    """The units are those of the shard, and the cell did not have them when it committed."""
    UNANSWERED = "unanswered"
    """The cell was there and left several challenges about the shard without an answer."""


WORDS: Final = {
    Finding.PASSED: "it showed that it holds the shard",
    Finding.LACKS: "it does not have a shard that it should hold",
    Finding.WRONG_LEAVES: "it answered with digests of another shard",
    Finding.WRONG_UNIT: "it answered with other bytes than were stored",
    Finding.WRONG_FRESH_LEAVES: "it answered with other digests than it had committed to",
    Finding.NOT_HELD: "it did not have the bytes when it was asked, and got them from elsewhere",
    Finding.UNANSWERED: "it was there and did not answer",
}
"""Each finding in words, for the owner of the cell."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A shard that its cell is asked about, as committed."""

    segment_id: SegmentId
    slot: int
    unit_bytes: int
    shard_bytes: int
    root: bytes

    @property
    def units(self) -> int:
        """The number of its units."""
        return -(-self.shard_bytes // self.unit_bytes)


@dataclass(frozen=True, slots=True)
class Opening:
    """A cell's answer about a shard. ``payload``: the units asked for, in order, joined."""

    leaves: bytes
    fresh_leaves: bytes
    payload: Buffer


# --- how much -----------------------------------------------------------------------------------


def samples_needed(lost: float, probability: float) -> int:
    """Return how many independent samples find a loss with a probability.

    Args:
        lost: the part of the bytes that is lost, 0 to 1, both excluded.
        probability: that at least one of the samples meets it, likewise.
    """
    return math.ceil(math.log1p(-probability) / math.log1p(-lost))


def units_opened(unit_bytes: int, shard_bytes: int) -> int:
    """Return how many units are drawn of a shard."""
    units = -(-shard_bytes // unit_bytes)
    fitting = limits.AUDIT_OPENED_BYTES // unit_bytes
    return max(1, min(fitting, units, limits.MAX_AUDIT_UNITS))


def cost_bytes(unit_bytes: int, shard_bytes: int) -> int:
    """Return the traffic of one audit, both ways."""
    units = -(-shard_bytes // unit_bytes)
    opened = min(units_opened(unit_bytes, shard_bytes) * unit_bytes, shard_bytes)
    return opened + 2 * DIGEST_BYTES * units + limits.AUDIT_MESSAGES_BYTES


def interval_s(
    cost: int, stored_bytes: int, *, traffic_ppm: int, least_s: float, cells: int
) -> float:
    """Return the time after which a cell is asked again.

    Args:
        cost: bytes that the audit moves.
        stored_bytes: bytes that the cell should hold.
        traffic_ppm: millionths of these that audits may move in a day; more than 0.
        least_s: the shortest interval.
        cells: how many cells the coordinator asks.
    """
    of_traffic = cost * _DAY_S * 1e6 / (max(1, stored_bytes) * traffic_ppm)
    return max(least_s, of_traffic, cells / limits.AUDITS_PER_S)


def commit_within_s(shard_bytes: int) -> float:
    """Return the time in which a cell has to commit to a shard: what reading it takes."""
    return limits.AUDIT_ANSWER_S + shard_bytes / limits.AUDIT_READ_BYTES_PER_S


# --- which --------------------------------------------------------------------------------------


class Sampler:
    """Draws shards of a stream of unknown length, each with a probability that is proportional to
    its bytes, with replacement.

    Args:
        count: how many are drawn.
    """

    def __init__(self, count: int) -> None:
        self.total_bytes = 0
        """Of all shards that were seen."""
        self.drawn: list[SampledShard] = []
        self._count = count

    def take(self, page: Sequence[SampledShard], chance: Chance) -> None:
        """Take in the next shards of the stream."""
        ends = list(accumulate(each.shard_bytes for each in page))
        if not ends or not ends[-1]:
            return
        self.total_bytes += ends[-1]

        def draw() -> SampledShard:
            return page[min(bisect_right(ends, chance.random() * ends[-1]), len(page) - 1)]

        if not self.drawn:
            self.drawn = [draw() for _ in range(self._count)]
            return
        for place in range(self._count):
            if chance.random() * self.total_bytes < ends[-1]:
                self.drawn[place] = draw()


@dataclass(frozen=True, slots=True)
class SampledShard:
    """A shard that may be asked about."""

    segment_id: SegmentId
    slot: int
    unit_bytes: int
    shard_bytes: int


def drawn_units(subject: Subject, draws: bytes) -> tuple[int, ...]:
    """Return the units that are to be opened: those of random bytes of the shard, so that a longer
    unit is drawn more often. Two draws may meet in one unit.

    Args:
        draws: random bytes, DRAW_BYTES for each of :func:`units_opened`.
    """
    drawn = set()
    for at in range(0, len(draws), DRAW_BYTES):
        offset = int.from_bytes(draws[at : at + DRAW_BYTES], "big") % subject.shard_bytes
        drawn.add(offset // subject.unit_bytes)
    return tuple(sorted(drawn))


# --- the verdict --------------------------------------------------------------------------------


def judge(
    subject: Subject,
    *,
    nonce: bytes,
    commitment: bytes,
    units: Sequence[int],
    opening: Opening,
) -> Finding:
    """Return what an answer shows.

    Args:
        nonce: of the challenge.
        commitment: the fresh root that the cell named before the units were drawn.
        units: what it was asked for.
        opening: its answer; any bytes.
    """
    plain = ShardDigests(subject.unit_bytes, subject.shard_bytes, opening.leaves)
    if not plain.belong_to(subject.root):
        return Finding.WRONG_LEAVES
    opened = split_units(subject, units, opening.payload)
    if opened is None or not all(
        plain.hold(unit, 1, data) for unit, data in zip(units, opened, strict=True)
    ):
        return Finding.WRONG_UNIT
    fresh = FreshDigests(nonce)
    if len(opening.fresh_leaves) != subject.units * DIGEST_BYTES or commitment != fresh.root(
        subject.segment_id,
        subject.slot,
        subject.unit_bytes,
        subject.shard_bytes,
        opening.fresh_leaves,
    ):
        return Finding.WRONG_FRESH_LEAVES
    for unit, data in zip(units, opened, strict=True):
        at = unit * DIGEST_BYTES
        if fresh.leaf(data) != opening.fresh_leaves[at : at + DIGEST_BYTES]:
            return Finding.NOT_HELD
    return Finding.PASSED


def split_units(subject: Subject, units: Sequence[int], payload: Buffer) -> list[memoryview] | None:
    """Return the units of an answer; None if it has another length than they have."""
    view = memoryview(payload)
    found = []
    at = 0
    for unit in units:
        size = min(subject.unit_bytes, subject.shard_bytes - unit * subject.unit_bytes)
        found.append(view[at : at + size])
        at += size
    return found if at == len(view) else None
