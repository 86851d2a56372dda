"""The cells that keep the journal, and whose journal counts.

Pure. A journal is kept by an odd number of cells, and a record counts once most of them have it.

Source: docs/journal.md, "Who keeps it" and "Settling".
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from common import limits
from common.data_classes import dataclass
from common.format.journal import ChainEnd

FEWEST: Final = 3
"""With fewer cells no loss would be survived: then no journal is kept."""


@dataclass(frozen=True, slots=True)
class JournalCandidate:
    """A cell that may keep the journal.

    ``is_fit``: it is heard and takes new data. ``stays``: it has not left for good. ``is_away``: it
    stays, and has been silent for so long that another should take its place meanwhile.
    """

    cell_id: bytes
    site: str
    owner: str
    is_fit: bool
    stays: bool
    is_away: bool = False


def quorum(members: int) -> int:
    """Return how many of so many are most of them."""
    return members // 2 + 1


def choose(current: Sequence[bytes], candidates: Collection[JournalCandidate]) -> tuple[bytes, ...]:
    """Choose the cells that keep the journal.

    Five cells where so many are fit, else three. Those that keep it stay, unless they have left or
    are away, and another can take the place. New ones come from the sites that have fewest, then
    from such owners. One at a time makes room for a cell of another site where its own site has at
    least two more.

    Args:
        current: the ids of those that keep it now; none at first.
        candidates: all cells.

    Returns:
        The ids; none where there are too few cells.
    """
    known = {each.cell_id: each for each in candidates}
    fit = sorted((each for each in candidates if each.is_fit), key=lambda each: each.cell_id)
    usual = limits.MAX_JOURNAL_CELLS if len(fit) >= limits.MAX_JOURNAL_CELLS else FEWEST
    wanted = max(usual, len(current))
    staying = [each for each in current if each in known and known[each].stays]
    chosen = [each for each in staying if not known[each].is_away]
    for spare in ([], [each for each in staying if known[each].is_away]):
        chosen += spare[: wanted - len(chosen)]
        while len(chosen) < wanted and (best := _best(chosen, current, fit, known)):
            chosen.append(best.cell_id)
    # Nobody takes these places: a cell that has left is better than an even number, or too few.
    leaving = [each for each in current if each not in staying]
    while leaving and (len(chosen) < FEWEST or len(chosen) % 2 == 0):
        chosen.append(leaving.pop(0))
    if len(chosen) % 2 == 0:
        chosen = chosen[:-1]
    if len(chosen) < FEWEST:
        return tuple(current)
    if set(chosen) == set(current):
        return _balanced(current, fit, known)
    return tuple(chosen)


def _best(
    chosen: Collection[bytes],
    current: Collection[bytes],
    fit: Sequence[JournalCandidate],
    known: Mapping[bytes, JournalCandidate],
) -> JournalCandidate | None:
    """The cell to choose next; None: there is none."""
    sites = Counter(known[each].site for each in chosen)
    owners = Counter(known[each].owner for each in chosen)
    left = [each for each in fit if each.cell_id not in chosen and each.cell_id not in current]
    return min(left, key=lambda each: (sites[each.site], owners[each.owner]), default=None)


def _balanced(
    current: Sequence[bytes],
    fit: Sequence[JournalCandidate],
    known: Mapping[bytes, JournalCandidate],
) -> tuple[bytes, ...]:
    """Let a cell of the site with most give way to one of a site with at least two fewer."""
    members = [each for each in current if each in known]
    sites = Counter(known[each].site for each in members)
    best = _best(members, current, fit, known)
    if best is None:
        return tuple(current)
    fullest, count = sites.most_common(1)[0]
    if count - sites[best.site] < 2:
        return tuple(current)
    gives_way = next(each for each in reversed(members) if known[each].site == fullest)
    return tuple(best.cell_id if each == gives_way else each for each in current)


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
