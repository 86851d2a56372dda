"""Conclusions about cells: the state of each, and the health of rings and segments.

Pure. What is known of cells stands in ``coordinator/membership.py``; status, metrics, placement and
the removal of cells all ask here.

Source: docs/placement.md, "Cells"; the sets follow Storj's ``repair/classification.go``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import Enum, Flag, StrEnum, auto
from typing import Final

from common.data_classes import dataclass


class CellState(StrEnum):
    """The state of a cell, by what it can be used for now: its liveness and what was decided of it
    in one word."""

    NEW = "new"
    """Joined, and never heard since: where it is and what it holds is not known."""
    UNHEARD = "unheard"
    """Known from an earlier life of the coordinator, and not heard in this one yet."""
    ALIVE = "alive"
    READ_ONLY = "read_only"
    FULL = "full"
    """Alive, with too little free space to be written to."""
    SUSPECT = "suspect"
    """Its connection broke, or a heartbeat is overdue: not written to, still read."""
    OFFLINE = "offline"
    """No heartbeat for the timeout: still tried for reading."""
    LOST = "lost"
    """Silent for so long that it is taken to be gone for good: its slots move to other cells."""
    DRAINING = "draining"
    """Heard, and leaving: read, not written to, and its slots move to other cells."""
    MAINTENANCE = "maintenance"
    """Silent as announced: still tried for reading, and never lost."""
    SUSPENDED = "suspended"
    """Heard, and not trusted with new shards: read, not written to."""
    REMOVED = "removed"
    """The operator removed it: its key is refused, and nobody reads from it or writes to it."""


SURE: Final = frozenset(
    {
        CellState.ALIVE,
        CellState.READ_ONLY,
        CellState.FULL,
        CellState.DRAINING,
        CellState.SUSPENDED,
    }
)
"""Heard lately: what they hold can be read."""
READABLE: Final = SURE | {CellState.UNHEARD, CellState.SUSPECT}
"""A reader may expect an answer from them."""
WRITABLE: Final = frozenset({CellState.ALIVE})
"""Take new shards."""
SILENT: Final = frozenset(
    {CellState.SUSPECT, CellState.OFFLINE, CellState.LOST, CellState.MAINTENANCE}
)
"""Not heard now, and expected to be: what they hold may come back by itself."""


class Departure(StrEnum):
    """The reason why the slots of a cell move to other cells."""

    LOST = "lost"
    """The cell cannot be read: others compute its shards."""
    DRAIN = "drain"
    """The cell is there and leaves: others copy its shards."""


_DEPARTURES: Final[Mapping[CellState, Departure]] = {
    CellState.LOST: Departure.LOST,
    CellState.REMOVED: Departure.LOST,
    CellState.DRAINING: Departure.DRAIN,
}


def leaves(state: CellState) -> Departure | None:
    """Return why the slots of a cell of this state move to other cells; None where they stay."""
    return _DEPARTURES.get(state)


# --- liveness: what is heard of a cell ----------------------------------------------------------


class Liveness(StrEnum):
    """The last that was heard of a cell, or how long nothing was. Values as of CellState."""

    NEW = "new"
    UNHEARD = "unheard"
    ALIVE = "alive"
    READ_ONLY = "read_only"
    FULL = "full"
    SUSPECT = "suspect"
    OFFLINE = "offline"
    LOST = "lost"


class LivenessEvent(StrEnum):
    """The events of a cell that a coordinator sees."""

    HEARD = "heard"
    """A heartbeat of a cell that takes shards."""
    HEARD_FULL = "heard_full"
    HEARD_READ_ONLY = "heard_read_only"
    CONNECTION_BROKE = "connection_broke"
    """The connection of its last heartbeat."""
    OVERDUE = "overdue"
    """No heartbeat for two intervals and a half."""
    TIMED_OUT = "timed_out"
    """No heartbeat for the timeout."""
    LONG_SILENT = "long_silent"
    """No heartbeat for the time after which a cell is lost, none of it announced."""
    EXPECTED_BACK = "expected_back"
    """Somebody who knows where it is announced its maintenance."""


_HEARD: Final = {
    LivenessEvent.HEARD: Liveness.ALIVE,
    LivenessEvent.HEARD_FULL: Liveness.FULL,
    LivenessEvent.HEARD_READ_ONLY: Liveness.READ_ONLY,
}
_TIMED_OUT: Final = {LivenessEvent.TIMED_OUT: Liveness.OFFLINE}
_BROKE: Final = {LivenessEvent.CONNECTION_BROKE: Liveness.SUSPECT}
_OVERDUE: Final = {LivenessEvent.OVERDUE: Liveness.SUSPECT}
LIVENESS_TRANSITIONS: Final[Mapping[Liveness, Mapping[LivenessEvent, Liveness]]] = {
    Liveness.NEW: _HEARD,
    Liveness.UNHEARD: _HEARD | _BROKE | _TIMED_OUT,
    Liveness.ALIVE: _HEARD | _BROKE | _OVERDUE | _TIMED_OUT,
    Liveness.READ_ONLY: _HEARD | _BROKE | _OVERDUE | _TIMED_OUT,
    Liveness.FULL: _HEARD | _BROKE | _OVERDUE | _TIMED_OUT,
    Liveness.SUSPECT: _HEARD | _TIMED_OUT,
    Liveness.OFFLINE: _HEARD | {LivenessEvent.LONG_SILENT: Liveness.LOST},
    Liveness.LOST: _HEARD | {LivenessEvent.EXPECTED_BACK: Liveness.OFFLINE},
}
"""By liveness and event, the liveness after it; an event that is not here changes nothing."""

OVERDUE_INTERVALS: Final = 2.5
"""A coordinator on a shared store learns of another's heartbeats at most an interval later: two
intervals may lie between two that it learns of."""


@dataclass(frozen=True, slots=True)
class SilenceTimes:
    """Silence after which a cell is suspect, offline and lost, in seconds."""

    overdue_s: float
    timeout_s: float
    lost_after_s: float


def silence_times(interval_s: float, timeout_s: float, lost_after_s: float) -> SilenceTimes:
    """Return the times for a swarm.

    Args:
        interval_s: of heartbeats.
        timeout_s: silence after which a cell is offline.
        lost_after_s: silence after which it is lost; at least the timeout.
    """
    overdue_s = min(interval_s * OVERDUE_INTERVALS, timeout_s)
    return SilenceTimes(overdue_s, timeout_s, max(timeout_s, lost_after_s))


def after(liveness: Liveness, event: LivenessEvent) -> Liveness:
    """Return the liveness of a cell after an event."""
    return LIVENESS_TRANSITIONS[liveness].get(event, liveness)


def heartbeat_event(*, read_only: bool, full: bool) -> LivenessEvent:
    """Return what a heartbeat with such facts is."""
    if read_only:
        return LivenessEvent.HEARD_READ_ONLY
    return LivenessEvent.HEARD_FULL if full else LivenessEvent.HEARD


def liveness_now(liveness: Liveness, silent_s: float, times: SilenceTimes) -> Liveness:
    """Return what a cell that has been silent is now, short of lost: that takes a look at all
    cells (:func:`is_cut_off`).

    Args:
        liveness: after the last event.
        silent_s: time since the last heartbeat, or since the coordinator's start.
        times: of this swarm.
    """
    if silent_s > times.timeout_s:
        return after(liveness, LivenessEvent.TIMED_OUT)
    return after(liveness, LivenessEvent.OVERDUE) if silent_s > times.overdue_s else liveness


# --- what was decided of a cell -----------------------------------------------------------------


class AdminState(Flag):
    """Decisions on a cell that hold, by its operator, its owner or its reputation. None of them is
    a plain member."""

    MEMBER = 0
    DRAINING = auto()
    MAINTENANCE = auto()
    """Within the window that was announced."""
    SUSPENDED = auto()
    REMOVED = auto()


class AdminEvent(StrEnum):
    """Decisions on a cell."""

    DRAIN = "drain"
    DRAIN_CANCELLED = "drain_cancelled"
    MAINTENANCE_ANNOUNCED = "maintenance_announced"
    MAINTENANCE_OVER = "maintenance_over"
    SUSPEND = "suspend"
    RESUME = "resume"
    REMOVE = "remove"


ADMIN_TRANSITIONS: Final[Mapping[AdminEvent, tuple[AdminState, AdminState]]] = {
    AdminEvent.DRAIN: (AdminState.DRAINING, AdminState.MEMBER),
    AdminEvent.DRAIN_CANCELLED: (AdminState.MEMBER, AdminState.DRAINING),
    AdminEvent.MAINTENANCE_ANNOUNCED: (AdminState.MAINTENANCE, AdminState.MEMBER),
    AdminEvent.MAINTENANCE_OVER: (AdminState.MEMBER, AdminState.MAINTENANCE),
    AdminEvent.SUSPEND: (AdminState.SUSPENDED, AdminState.MEMBER),
    AdminEvent.RESUME: (AdminState.MEMBER, AdminState.SUSPENDED),
    AdminEvent.REMOVE: (AdminState.REMOVED, ~AdminState.REMOVED),
}
"""By event, what holds from then on and what does not any more; the rest stays. Nothing changes a
removed cell."""


def decided(state: AdminState, event: AdminEvent) -> AdminState:
    """Return what holds of a cell after a decision."""
    if AdminState.REMOVED in state:
        return state
    begins, ends = ADMIN_TRANSITIONS[event]
    return (state & ~ends) | begins


# --- both together ------------------------------------------------------------------------------

_AWAY: Final = frozenset({Liveness.UNHEARD, Liveness.SUSPECT, Liveness.OFFLINE, Liveness.LOST})


def cell_state(liveness: Liveness, admin: AdminState) -> CellState:
    """Return what a cell can be used for, by what is heard of it and what was decided."""
    state = CellState(liveness.value)
    if not admin:
        return state
    if AdminState.REMOVED in admin:
        return CellState.REMOVED
    if liveness in _AWAY:
        if AdminState.MAINTENANCE in admin:
            return CellState.MAINTENANCE
        # What may be written to once the others do not suffice is not one that leaves.
        is_barred = bool(admin & (AdminState.DRAINING | AdminState.SUSPENDED))
        return CellState.SUSPECT if is_barred and liveness is Liveness.UNHEARD else state
    if liveness is Liveness.NEW:
        return state
    if AdminState.DRAINING in admin:
        return CellState.DRAINING
    return CellState.SUSPENDED if AdminState.SUSPENDED in admin else state


def is_cut_off(counts: Mapping[CellState, int]) -> bool:
    """Return whether the coordinator itself is probably cut off: more than half of the cells that
    should be heard are offline. Then none of them is taken for lost.

    Args:
        counts: cells, by state. Those that are lost already, silent as announced, removed or new
            do not count.
    """
    expected = READABLE | {CellState.OFFLINE}
    return 2 * counts.get(CellState.OFFLINE, 0) > sum(counts.get(state, 0) for state in expected)


# --- slots --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SlotClasses:
    """The slots of a ring, or of one segment on it, in sets by what is known of them.

    Each slot is in the one set that is named after the state of its cell, and may be in others:
    ``missing``: its shard is known to be lost. ``doubted``: a reader found its shard bad or
    missing, and no cell has confirmed that. ``crowded``: on a site with more slots than the site
    should have; the first ones there are not crowded.
    """

    count: int
    new: frozenset[int]
    unheard: frozenset[int]
    alive: frozenset[int]
    read_only: frozenset[int]
    full: frozenset[int]
    suspect: frozenset[int]
    offline: frozenset[int]
    lost: frozenset[int]
    draining: frozenset[int]
    maintenance: frozenset[int]
    suspended: frozenset[int]
    removed: frozenset[int]
    missing: frozenset[int]
    doubted: frozenset[int]
    crowded: frozenset[int]

    @property
    def writable(self) -> frozenset[int]:
        """Slots that take new shards."""
        return self.alive

    @property
    def sure(self) -> frozenset[int]:
        """Slots whose cells were heard lately."""
        return self.alive | self.read_only | self.full | self.draining | self.suspended

    @property
    def readable(self) -> frozenset[int]:
        """Slots that a reader may expect an answer from."""
        return (self.sure | self.unheard | self.suspect) - self.missing

    @property
    def healthy(self) -> frozenset[int]:
        """Slots that need nothing: their cells were heard and nobody doubts their shards."""
        return self.sure - self.missing - self.doubted

    @property
    def gone(self) -> frozenset[int]:
        """Slots whose shards will not come back by themselves."""
        return self.removed | self.lost | self.missing


_SETS: Final = tuple((state, state.value) for state in CellState)
"""Each state with the name of its set."""


def classify(
    states: Sequence[CellState],
    *,
    missing: Iterable[int] = (),
    doubted: Iterable[int] = (),
    sites: Sequence[str] = (),
    site_limit: int = 0,
) -> SlotClasses:
    """Sort slots into sets.

    Args:
        states: of each slot's cell.
        missing: slots of a segment that are known to lack their shards.
        doubted: slots of a segment that a reader complained of.
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
        doubted=frozenset(doubted),
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


def count_without_place(
    cell: int, rings: Iterable[Collection[int]], states: Mapping[int, CellState]
) -> int:
    """Count the slots of a cell that no other cell could take: each that stays holds another slot
    of the ring.

    Args:
        cell: its number.
        rings: the cells of each ring.
        states: by cell.
    """
    staying = {
        number
        for number, state in states.items()
        if leaves(state) is None and state is not CellState.NEW
    }
    return sum(cell in cells and staying <= set(cells) for cells in rings)


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
