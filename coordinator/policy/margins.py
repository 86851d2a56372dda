"""The margin of segments: how many more shards each can lose and still be read.

Pure. It is exact: segments are counted by the slots that they lack, and not by what their rings
lack together.

Source: docs/operations.md, "What is wrong, in words".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from common.data_classes import dataclass
from coordinator.policy.moves import HeldRing


@dataclass(frozen=True, slots=True)
class LackingKind:
    """Segments of one ring that lack the same shards. ``gone``: the slots whose shards are not with
    their sources either; ``elsewhere``: those whose sources have them; both as bits."""

    ring: int
    gone: int
    elsewhere: int
    segments: int


@dataclass(frozen=True, slots=True)
class Margins:
    """The margins of a swarm's segments.

    ``least``: that of the segment with the least; None where there is no segment. ``unreadable``:
    segments that cannot be read now, of those that lack shards; ``bare``: those that can, and that
    no further loss may hit. ``bare_rings`` and ``unreadable_rings``: rings of which that is true of
    every segment, since their cells cannot be read.
    """

    least: int | None = None
    unreadable: int = 0
    bare: int = 0
    unreadable_rings: int = 0
    bare_rings: int = 0


def margins_of(
    rings: Mapping[int, HeldRing],
    used: Iterable[int],
    lacking: Iterable[LackingKind],
    readable: Collection[int],
) -> Margins:
    """Return the margins of segments.

    Args:
        rings: by number.
        used: the rings that hold segments.
        lacking: the segments that lack shards.
        readable: the cells that a reader may expect an answer from.
    """
    spares = {
        number: sum(cell in readable for cell in rings[number].cells) - rings[number].k
        for number in used
        if number in rings
    }
    found = Counter[int]()
    for kind in lacking:
        ring = rings.get(kind.ring)
        if ring is not None:
            found[_margin(ring, kind, readable)] += kind.segments
    return Margins(
        min([*spares.values(), *found], default=None),
        sum(segments for margin, segments in found.items() if margin < 0),
        found[0],
        sum(margin < 0 for margin in spares.values()),
        sum(margin == 0 for margin in spares.values()),
    )


def _margin(ring: HeldRing, kind: LackingKind, readable: Collection[int]) -> int:
    there = 0
    for slot, holder in enumerate(ring.cells):
        if kind.elsewhere >> slot & 1:
            source = ring.sources.get(slot)
            there += source is not None and source.cell in readable
        elif not kind.gone >> slot & 1:
            there += holder in readable
    return there - ring.k
