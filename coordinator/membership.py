"""The swarm as this process knows it: its cells and its rings. What follows from that is concluded
in ``coordinator/policy/health.py`` and ``coordinator/placement.py``.

Source: docs/placement.md, "Cells".
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from common import limits
from common.data_classes import dataclass
from common.errors import NotFound, Refused
from common.ids import PeerId
from common.reasons import Absence, Refusal
from common.wire.messages.base import CellFacts, Endpoint
from coordinator.policy.availability import Absences, Availability
from coordinator.policy.hazard import Hazard
from coordinator.policy.health import (
    SILENT,
    SURE,
    AdminState,
    CellState,
    Departure,
    Liveness,
    LivenessEvent,
    SilenceTimes,
    is_cut_off,
    leaves,
    silence_times,
)
from coordinator.policy.outlook import Look
from coordinator.policy.pace import Pace
from coordinator.policy.reputation import Trust, TrustRecord
from coordinator.store.cells import Cell, Decisions
from coordinator.store.rings import Ring


@dataclass(frozen=True, slots=True)
class Heard:
    """The changes by a heartbeat. ``has_moved``: the cell is new, or elsewhere than it was.
    ``was_silent``: it was not heard as it should be."""

    has_moved: bool
    has_new_facts: bool
    has_new_state: bool
    was_silent: bool


class Membership:
    """Cells by number and by key, and rings.

    Args:
        cells: what the store holds.
        rings: likewise.
        heartbeat_interval_s: of a swarm that is not too large for it.
        cell_timeout_s: silence after which a cell of such a swarm is offline.
        lost_after_s: silence after which a cell is lost.
    """

    def __init__(
        self,
        cells: Iterable[Cell],
        rings: Iterable[Ring],
        heartbeat_interval_s: int,
        cell_timeout_s: float,
        lost_after_s: float,
    ) -> None:
        self.cells: dict[int, Cell] = {}
        self.rings: dict[int, Ring] = {}
        """By number. Replaced as a whole when they change, never changed in place."""
        self._by_id: dict[PeerId, Cell] = {}
        self._heard_here: set[int] = set()
        self._slots: dict[int, tuple[tuple[int, int], ...]] | None = None
        """The slots that each cell holds; None until somebody asks."""
        self._interval_s = heartbeat_interval_s
        self._timeout_s = cell_timeout_s
        self._lost_after_s = lost_after_s
        self.is_cut_off = False
        """True while so many cells are offline that the coordinator itself is probably cut off."""
        self._was_cut_off_at = -math.inf
        self.departures: dict[int, Departure] = {}
        """The cells whose slots move to others, and why, as last concluded. Replaced as a whole
        when that changes."""
        self.barred: frozenset[int] = frozenset()
        """The cells that are suspended, as last concluded: they fill nothing."""
        self.absences = Absences()
        """The silence of cells, as last counted. Replaced as a whole."""
        self.hazards: dict[int, Hazard] = {}
        """The hazard of the disks of cells that have signs of one, as last estimated. Replaced as a
        whole."""
        self.drain_paces: dict[int, Pace] = {}
        """The pace at which cells that leave get empty. Replaced as a whole."""
        self.reputations: dict[int, TrustRecord] = {}
        """Of each cell that was audited, as this process last knew it."""
        self.look: Look | None = None
        """Margins and the pace of repair, as last looked. Replaced as a whole."""
        self._newly_lost: list[Cell] = []
        self._heard: list[Cell] = []
        """Those that were heard lately, as last concluded."""
        self._changes_at = -math.inf
        """The time at which a cell that is not heard is in another state, as last concluded."""
        for cell in cells:
            self.add_cell(cell)
        self.set_rings(rings)

    def add_cell(self, cell: Cell) -> None:
        """Take in a cell that has joined (or was loaded)."""
        self.cells[cell.cell] = cell
        self._by_id[cell.cell_id] = cell

    def set_rings(self, rings: Iterable[Ring]) -> None:
        """Take in that the rings are these now."""
        self.rings = {ring.ring: ring for ring in rings}
        self._slots = None

    def change_rings(self, changed: Iterable[Ring]) -> None:
        """Take in that some rings are these now."""
        rings = {ring.ring: ring for ring in changed}
        slots = self._slots
        if slots is not None:
            for number, ring in rings.items():
                before = self.rings[number].cells if number in self.rings else ()
                for slot, cell in enumerate(before):
                    slots[cell] = tuple(each for each in slots[cell] if each != (number, slot))
                for slot, cell in enumerate(ring.cells):
                    slots[cell] = (*slots.get(cell, ()), (number, slot))
        self.rings = self.rings | rings

    def slots_of(self, cell: int) -> tuple[tuple[int, int], ...]:
        """The slots that a cell holds: ring and slot."""
        if self._slots is None:
            slots: dict[int, list[tuple[int, int]]] = defaultdict(list)
            for ring in self.rings.values():
                for slot, holder in enumerate(ring.cells):
                    slots[holder].append((ring.ring, slot))
            self._slots = {holder: tuple(found) for holder, found in slots.items()}
        return self._slots.get(cell, ())

    @property
    def heartbeat_interval_s(self) -> int:
        """The interval of heartbeats for a swarm of this size."""
        needed_s = -(-len(self.cells) // limits.HEARTBEATS_PER_S)
        return min(max(self._interval_s, needed_s), limits.MAX_HEARTBEAT_INTERVAL_S)

    @property
    def timeout_s(self) -> float:
        """Silence after which a cell is offline."""
        return self._timeout_s * self.heartbeat_interval_s / self._interval_s

    @property
    def times(self) -> SilenceTimes:
        """The silence after which cells are suspect, offline and lost."""
        return silence_times(self.heartbeat_interval_s, self.timeout_s, self._lost_after_s)

    def cell_of(self, peer_id: PeerId) -> Cell:
        """The cell with this key. Raises Refused ``not_a_cell``, ``cell_removed``."""
        cell = self._by_id.get(peer_id)
        if cell is None:
            raise Refused(Refusal.NOT_A_CELL)
        if cell.is_removed:
            raise Refused(Refusal.CELL_REMOVED)
        return cell

    def find(self, text: str) -> Cell:
        """Return the one cell whose id, in hex, begins with ``text``.

        Raises:
            NotFound: ``no_such_cell``.
            Refused: ``ambiguous_cell``: several do; give more of it.
        """
        wanted = text.lower()
        found = [each for each in self.cells.values() if each.cell_id.hex().startswith(wanted)]
        if not wanted or not found:
            raise NotFound(Absence.NO_SUCH_CELL)
        if len(found) > 1:
            raise Refused(Refusal.AMBIGUOUS_CELL, cells=len(found))
        return found[0]

    def knows(self, peer_id: PeerId) -> bool:
        """Return whether the key is a cell's."""
        return peer_id in self._by_id

    def is_member(self, peer_id: PeerId) -> bool:
        """Return whether the key is that of a cell which was not removed."""
        cell = self._by_id.get(peer_id)
        return cell is not None and not cell.is_removed

    def state(self, cell: Cell, now: float) -> CellState:
        """Return the state of a cell now."""
        return cell.state(now, self.times)

    def states(self, now: float) -> dict[int, CellState]:
        """Return the state of each cell now, by its number."""
        times = self.times
        return {number: cell.state(now, times) for number, cell in self.cells.items()}

    def conclude(self, now: float) -> dict[int, CellState]:
        """Look at all cells, and conclude which of them are lost.

        While the coordinator is probably cut off none is, and after that each offline cell has its
        whole time to be heard.

        Returns:
            As :meth:`states`.
        """
        states = self.states(now)
        cut_off = is_cut_off(Counter(states.values()))
        if cut_off or self.is_cut_off:
            self._was_cut_off_at = now
        self.is_cut_off = cut_off
        times = self.times
        changes_at = math.inf
        departures = {}
        barred = set()
        for number, seen in states.items():
            state = seen
            if state is CellState.ALIVE:
                continue
            cell = self.cells[number]
            if state is CellState.OFFLINE:
                silent_since = max(cell.unexplained_since(), self._was_cut_off_at)
                lost_at = silent_since + times.lost_after_s
                if lost_at <= now and not cut_off:
                    cell.sees(LivenessEvent.TIMED_OUT)
                    cell.sees(LivenessEvent.LONG_SILENT)
                    state = states[number] = cell.state(now, times)
                    self._newly_lost.append(cell)
                else:
                    changes_at = min(changes_at, lost_at)
            elif state is CellState.MAINTENANCE:
                changes_at = min(changes_at, cell.maintenance_until)
            elif state in (CellState.SUSPECT, CellState.UNHEARD):
                changes_at = min(changes_at, cell.heard_at + times.timeout_s)
            elif state is CellState.SUSPENDED:
                barred.add(number)
            reason = leaves(state)
            if reason is not None:
                departures[number] = reason
        self.barred = frozenset(barred)
        self._changes_at = changes_at
        self._heard = [self.cells[number] for number, state in states.items() if state in SURE]
        if departures != self.departures:
            self.departures = departures
        return states

    def changes_at(self) -> float:
        """Return when some cell may be in another state unless it is heard before."""
        heard_at = min((cell.heard_at for cell in self._heard), default=math.inf)
        return min(self._changes_at, heard_at + self.times.overdue_s)

    def draining(self) -> Iterator[int]:
        """Yield the cells that leave."""
        for number, cell in self.cells.items():
            if AdminState.DRAINING in cell.admin and not cell.is_removed:
                yield number

    def availability(self, cell: Cell) -> Availability:
        """Return for how much of the last days a cell was heard, as last counted."""
        return self.absences.of(cell.cell, cell.joined_at_s)

    def was_cut_off_since(self, then: float) -> bool:
        """Return whether the coordinator was probably cut off at any time since."""
        return self.is_cut_off or self._was_cut_off_at >= then

    def silence_s(self, cell: int, now: float) -> float:
        """Return for how long a cell has been silent unannounced since this process began."""
        return self.cells[cell].silence_s(now, self.times.overdue_s)

    def trust(self, cell: Cell) -> tuple[Trust, str]:
        """Return how far a cell is trusted, and why not more, for its owner."""
        if cell.decisions.suspended:
            return Trust.SUSPENDED, cell.decisions.suspended
        known = self.reputations.get(cell.cell)
        if known is None or not known.reason:
            return Trust.GOOD, ""
        return Trust.WARNED, known.reason

    def take_newly_lost(self) -> list[Cell]:
        """Take the cells that were concluded to be lost since they were last taken."""
        lost, self._newly_lost = self._newly_lost, []
        return lost

    def endpoint(self, cell: int) -> Endpoint:
        """Return the last address of a cell."""
        known = self.cells[cell]
        return Endpoint(known.cell_id, known.address_host, known.address_port)

    def heard(self, cell: Cell, host: str, port: int, facts: CellFacts, now: float) -> Heard:
        """Take in a heartbeat. Return what it changed."""
        self._heard_here.add(cell.cell)
        return self.heard_elsewhere(cell, host, port, facts, now)

    def heard_elsewhere(
        self, cell: Cell, host: str, port: int, facts: CellFacts, now: float
    ) -> Heard:
        """Take in a heartbeat that another process on the store has heard."""
        is_new = cell.liveness is Liveness.NEW
        has_moved = is_new or (cell.address_host, cell.address_port) != (host, port)
        has_new_facts = facts != cell.facts
        times = self.times
        before = cell.state(now, times)
        cell.address_host, cell.address_port = host, port
        cell.hears(facts, now, times.overdue_s)
        has_new_state = cell.state(now, times) is not before
        return Heard(has_moved, has_new_facts, has_new_state, before in SILENT)

    def take_heard(self) -> list[Cell]:
        """Take the cells that this process has heard since they were last taken."""
        heard = [self.cells[number] for number in sorted(self._heard_here)]
        self._heard_here.clear()
        return heard

    def put_back(self, heard: Iterable[Cell]) -> None:
        """Put back cells that were taken, to be taken again."""
        self._heard_here.update(cell.cell for cell in heard)

    def disconnected(self, cell: Cell) -> None:
        """Take in that the connection of a cell's last heartbeat broke."""
        cell.sees(LivenessEvent.CONNECTION_BROKE)

    def decide(self, cell: Cell, decisions: Decisions, now: float) -> None:
        """Take in what was decided of a cell, durably."""
        cell.decide(decisions, now, self.times.overdue_s)

    def removed(self, cell: Cell) -> None:
        """Take in that a cell was removed, durably."""
        cell.remove()
