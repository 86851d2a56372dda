"""The cells that keep the journal, and whose journal counts.

Pure. A journal is kept by an odd number of cells, and a record counts once most of them have it.

Source: docs/journal.md, "Who keeps it" and "Settling".
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from common import limits
from common.format.journal import ChainEnd

FEWEST: Final = 3
"""With fewer cells no loss would be survived: then no journal is kept."""


@dataclass(frozen=True, slots=True)
class JournalCandidate:
    """A cell that may keep the journal.

    ``is_fit``: it is heard and takes new data. ``stays``: it has not left for good.
    """

    cell_id: bytes
    site: str
    owner: str
    is_fit: bool
    stays: bool


def quorum(members: int) -> int:
    """Return how many of so many are most of them."""
    return members // 2 + 1


def choose(current: Sequence[bytes], candidates: Collection[JournalCandidate]) -> tuple[bytes, ...]:
    """Choose the cells that keep the journal.

    Those that keep it stay, unless they have left and another can take the place. New ones come
    from sites that have none yet, then from owners that have none. Five sites give five cells,
    fewer give three.

    Args:
        current: the ids of those that keep it now; none at first.
        candidates: all cells.

    Returns:
        The ids; none where there are too few cells.
    """
    known = {each.cell_id: each for each in candidates}
    fit = sorted((each for each in candidates if each.is_fit), key=lambda each: each.cell_id)
    wanted = limits.MAX_JOURNAL_CELLS
    if len({each.site for each in fit}) < wanted:
        wanted = FEWEST
    staying = [each for each in current if each in known and known[each].stays]
    leaving = [each for each in current if each not in staying]
    chosen = staying[: max(wanted, len(current))]
    while len(chosen) < max(wanted, len(current)):
        left = [each for each in fit if each.cell_id not in chosen and each.cell_id not in leaving]
        if not left:
            break
        sites = {known[each].site for each in chosen}
        owners = {known[each].owner for each in chosen}
        best = min(left, key=lambda each: (each.site in sites, each.owner in owners))
        chosen.append(best.cell_id)
    if len(chosen) < len(current):  # nobody takes their places: better those than none
        chosen += leaving[: len(current) - len(chosen)]
    if len(chosen) % 2 == 0:
        chosen = chosen[:-1]
    return tuple(chosen) if len(chosen) >= FEWEST else tuple(current)


def weakness(members: Collection[JournalCandidate]) -> str:
    """Return in words what the choice does not survive; empty where any one site may go."""
    sites = len({each.site for each in members})
    if sites >= FEWEST:
        return ""
    where = "one site" if sites == 1 else f"{sites} sites"
    return f"the journal's {len(members)} cells are on {where}: the loss of one can take it along"


def passed(groups: Iterable[Collection[bytes]], acked: Mapping[bytes, int]) -> int:
    """Return the number up to which records are on most cells of each group.

    Args:
        groups: of cells: one, or two while the members change.
        acked: by cell, the number of the last record that it has made durable.
    """
    ends = []
    for group in groups:
        held = sorted((acked.get(each, 0) for each in group), reverse=True)
        ends.append(held[quorum(len(group)) - 1])
    return min(ends)


def confirmed_at(groups: Iterable[Collection[bytes]], confirmed: Mapping[bytes, float]) -> float:
    """Return since when most cells of each group have confirmed an epoch; minus infinity where they
    never did.

    Args:
        groups: of cells: one, or two while the members change.
        confirmed: by cell, the time of its latest confirmation.
    """
    times = []
    for group in groups:
        latest = sorted((confirmed.get(each, -math.inf) for each in group), reverse=True)
        times.append(latest[quorum(len(group)) - 1])
    return min(times)


@dataclass(frozen=True, slots=True)
class Tail:
    """The journal that a cell answered with."""

    cell_id: bytes
    base: ChainEnd
    end: ChainEnd
    is_whole: bool


def best_first(tails: Iterable[Tail]) -> list[Tail]:
    """Sort journals by how much counts of them: one whose last record is of a later epoch goes
    before, since its coordinator had settled all that was before it; then the longer one."""
    return sorted(
        (each for each in tails if each.is_whole),
        key=lambda each: (each.end.epoch, each.end.sequence, each.cell_id),
        reverse=True,
    )
