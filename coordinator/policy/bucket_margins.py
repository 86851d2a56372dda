"""The margin of each bucket: what it would have left if a site failed now.

Pure: counts of segments by bucket and ring go in.

Source: docs/durability.md, "The swarm as it is".
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from common.data_classes import dataclass
from coordinator.policy.moves import HeldRing

OTHERS: Final = "(others)"
"""The name under which buckets stand together that are not shown by themselves."""


@dataclass(frozen=True, slots=True)
class OnRing:
    """Segments of a bucket on a ring. ``lacks``: slots, as bits, that count as lost for all of
    them, since the holder lacks the shard of one."""

    bucket: str
    ring: int
    segments: int
    lacks: int = 0


@dataclass(frozen=True, slots=True)
class BucketMargin:
    """The margin of a bucket. ``margin``: the shards that each of its segments can lose now;
    negative: one cannot be read. ``unreadable``: such segments. ``site``: the one whose failure
    would leave least; ``after``: the margin then, and ``unreadable_after``: the segments that could
    not be read then; the same as now where no site matters. ``buckets``: how many this stands for.
    """

    bucket: str
    segments: int
    margin: int
    unreadable: int
    site: str
    after: int
    unreadable_after: int
    buckets: int = 1

    @property
    def gravity(self) -> tuple[int, int, int, str]:
        """The order in which buckets are shown: the worst off first."""
        return (self.after, self.margin, -self.segments, self.bucket)


def bucket_margins(
    on_rings: Iterable[OnRing],
    rings: Mapping[int, HeldRing],
    sites: Mapping[int, str],
) -> list[BucketMargin]:
    """Return the margin of each bucket, the worst off first.

    Args:
        on_rings: where the segments are.
        rings: by number; segments on others are left out.
        sites: of the cells that a reader may expect an answer from, by number.
    """
    by_bucket: dict[str, list[OnRing]] = defaultdict(list)
    for each in on_rings:
        if each.ring in rings:
            by_bucket[each.bucket].append(each)
    found = [_of_bucket(bucket, each, rings, sites) for bucket, each in by_bucket.items()]
    return sorted(found, key=lambda each: each.gravity)


def _of_bucket(
    bucket: str,
    on_rings: Sequence[OnRing],
    rings: Mapping[int, HeldRing],
    sites: Mapping[int, str],
) -> BucketMargin:
    margin: int | None = None
    segments = unreadable = 0
    least: dict[str, int] = {}
    """By site: the least margin that its failure leaves of the rings with slots on it."""
    lost: Counter[str] = Counter()
    """By site: the segments that only its failure makes unreadable."""
    for each in on_rings:
        ring = rings[each.ring]
        places = Counter(
            sites[cell]
            for slot, cell in enumerate(ring.cells)
            if cell in sites and not each.lacks >> slot & 1
        )
        now = places.total() - ring.k
        margin = now if margin is None else min(margin, now)
        segments += each.segments
        if now < 0:
            unreadable += each.segments
        for site, slots in places.items():
            least[site] = min(least.get(site, now), now - slots)
            if 0 <= now < slots:
                lost[site] += each.segments
    assert margin is not None
    worst = BucketMargin(bucket, segments, margin, unreadable, "", margin, unreadable)
    for site in sorted(least):
        after, unreadable_after = min(margin, least[site]), unreadable + lost[site]
        if (after, -unreadable_after) < (worst.after, -worst.unreadable_after):
            worst = replace(worst, site=site, after=after, unreadable_after=unreadable_after)
    return worst


def worst_of(found: Sequence[BucketMargin], most: int) -> list[BucketMargin]:
    """Return the first of some buckets, and one entry that stands for all others together.

    Args:
        found: the worst off first.
        most: buckets to name.
    """
    rest = found[most:]
    if not rest:
        return list(found)
    together = replace(
        rest[0],
        bucket=OTHERS,
        segments=sum(each.segments for each in rest),
        margin=min(each.margin for each in rest),
        unreadable=sum(each.unreadable for each in rest),
        unreadable_after=sum(each.unreadable_after for each in rest),
        buckets=len(rest),
    )
    return [*found[:most], together]
