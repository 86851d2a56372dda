"""Conclusions about cells: the state of each, and the health of rings and segments.

Pure. What is known of cells stands in ``coordinator/membership.py``; status, metrics, placement and
the removal of cells all ask here.

Source: docs/placement.md, "Cells"; the sets follow Storj's ``repair/classification.go``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final


class CellState(StrEnum):
    """The state of a cell, by what it can be used for now."""

    NEW = "new"
    """Joined, and never heard since: where it is and what it holds is not known."""
    UNHEARD = "unheard"
    """Known from an earlier life of the coordinator, and not heard in this one yet."""
    ALIVE = "alive"
    READ_ONLY = "read_only"
    FULL = "full"
    """Alive, with too little free space to be written to."""
    SILENT = "silent"
    """No heartbeat for the timeout, or its connection broke: still tried for reading."""
    REMOVED = "removed"
    """The operator removed it: its key is refused, and nobody reads from it or writes to it."""


class CellEvent(StrEnum):
    """The events of a cell that a coordinator sees."""

    HEARD = "heard"
    """A heartbeat of a cell that takes shards."""
    HEARD_FULL = "heard_full"
    HEARD_READ_ONLY = "heard_read_only"
    CONNECTION_BROKE = "connection_broke"
    """The connection of its last heartbeat."""
    TIMED_OUT = "timed_out"
    """No heartbeat for the timeout."""
    REMOVED = "removed"


_HEARD: Final = {
    CellEvent.HEARD: CellState.ALIVE,
    CellEvent.HEARD_FULL: CellState.FULL,
    CellEvent.HEARD_READ_ONLY: CellState.READ_ONLY,
    CellEvent.REMOVED: CellState.REMOVED,
}
_GONE: Final = {
    CellEvent.CONNECTION_BROKE: CellState.SILENT,
    CellEvent.TIMED_OUT: CellState.SILENT,
}
TRANSITIONS: Final[Mapping[CellState, Mapping[CellEvent, CellState]]] = {
    CellState.NEW: _HEARD,
    CellState.UNHEARD: _HEARD | _GONE,
    CellState.ALIVE: _HEARD | _GONE,
    CellState.READ_ONLY: _HEARD | _GONE,
    CellState.FULL: _HEARD | _GONE,
    CellState.SILENT: _HEARD,
    CellState.REMOVED: {},
}
"""By state and event, the state after it; an event that is not here changes nothing."""

SURE: Final = frozenset({CellState.ALIVE, CellState.READ_ONLY, CellState.FULL})
"""Heard lately: what they hold can be read."""
READABLE: Final = SURE | {CellState.UNHEARD}
"""A reader may expect an answer from them."""
WRITABLE: Final = frozenset({CellState.ALIVE})
"""Take new shards."""


def after(state: CellState, event: CellEvent) -> CellState:
    """Return the state of a cell after an event."""
    return TRANSITIONS[state].get(event, state)


def heartbeat_event(*, read_only: bool, full: bool) -> CellEvent:
    """Return what a heartbeat with such facts is."""
    if read_only:
        return CellEvent.HEARD_READ_ONLY
    return CellEvent.HEARD_FULL if full else CellEvent.HEARD


def state_now(state: CellState, silent_s: float, timeout_s: float) -> CellState:
    """Return what a cell is good for now.

    Args:
        state: after the last event.
        silent_s: time since the last heartbeat, or since the coordinator's start.
        timeout_s: silence after which a cell counts as gone.
    """
    return after(state, CellEvent.TIMED_OUT) if silent_s > timeout_s else state


# --- slots --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SlotClasses:
    """The slots of a ring, or of one segment on it, in sets by what is known of them.

    Each slot is in the one set that is named after the state of its cell, and may be in others:
    ``missing``: its shard is known to be lost. ``suspect``: a reader found its shard bad or
    missing, and no cell has confirmed that. ``crowded``: on a site with more slots than the site
    should have; the first ones there are not crowded.
    """

    count: int
    new: frozenset[int]
    unheard: frozenset[int]
    alive: frozenset[int]
    read_only: frozenset[int]
    full: frozenset[int]
    silent: frozenset[int]
    removed: frozenset[int]
    missing: frozenset[int]
    suspect: frozenset[int]
    crowded: frozenset[int]

    @property
    def writable(self) -> frozenset[int]:
        """Slots that take new shards."""
        return self.alive

    @property
    def readable(self) -> frozenset[int]:
        """Slots that a reader may expect an answer from."""
        return (self.alive | self.read_only | self.full | self.unheard) - self.missing

    @property
    def healthy(self) -> frozenset[int]:
        """Slots that need nothing: their cells were heard and nobody doubts their shards."""
        return (self.alive | self.read_only | self.full) - self.missing - self.suspect

    @property
    def lost(self) -> frozenset[int]:
        """Slots whose shards will not come back by themselves."""
        return self.removed | self.missing


_SETS: Final = tuple((state, state.value) for state in CellState)
"""Each state with the name of its set."""


def classify(
    states: Sequence[CellState],
    *,
    missing: Iterable[int] = (),
    suspect: Iterable[int] = (),
    sites: Sequence[str] = (),
    site_limit: int = 0,
) -> SlotClasses:
    """Sort slots into sets.

    Args:
        states: of each slot's cell.
        missing: slots of a segment that are known to lack their shards.
        suspect: slots of a segment that a reader complained of.
        sites: of each slot's cell; none: no slot is crowded.
        site_limit: slots that one site may have.
    """
    slots: dict[CellState, list[int]] = {}
    for slot, state in enumerate(states):
        slots.setdefault(state, []).append(slot)
    on_site: Counter[str] = Counter()
    crowded = []
    for slot, site in enumerate(sites):
        on_site[site] += 1
        if on_site[site] > site_limit:
            crowded.append(slot)
    return SlotClasses(
        count=len(states),
        **{name: frozenset(slots.get(state, ())) for state, name in _SETS},
        missing=frozenset(missing),
        suspect=frozenset(suspect),
        crowded=frozenset(crowded),
    )


class RingVerdict(Enum):
    """The health of a ring, by what it can be used for now."""

    WHOLE = "whole"
    """Every slot is written and read."""
    DEGRADED = "degraded"
    """Written and read, not at full strength."""
    READABLE = "readable"
    """Read, not written."""
    LOST = "lost"
    """Neither, until cells come back."""


def judge_ring(slots: SlotClasses, *, k: int, quorum: int) -> RingVerdict:
    """Return what a ring is good for.

    Args:
        slots: of the ring.
        k: slots that give the data back.
        quorum: slots that a write needs.
    """
    writable = len(slots.writable)
    if writable == slots.count:
        return RingVerdict.WHOLE
    if writable >= quorum:
        return RingVerdict.DEGRADED
    return RingVerdict.READABLE if len(slots.readable) >= k else RingVerdict.LOST


def count_needing(
    cell: int, rings: Iterable[tuple[Collection[int], int]], states: Mapping[int, CellState]
) -> int:
    """Count the rings that cannot be read without a cell.

    Args:
        cell: its number.
        rings: the cells of each ring, and the k of its class.
        states: by cell.

    Returns:
        How many rings would have fewer than k cells that can surely be read; 0 where that cell is
        none.
    """
    if states[cell] not in SURE:
        return 0
    return sum(
        cell in cells and sum(states[each] in SURE for each in cells) - 1 < k for cells, k in rings
    )
