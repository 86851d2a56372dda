"""The state of the swarm in words and numbers, for operators and for metrics.

Source: docs/operations.md, "Metrics and health".
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, replace
from itertools import islice
from typing import Any

import trio

from common import limits
from common.charter_book import CharterBook
from common.ports import Address, Sql
from common.wire.messages.base import CellFacts
from coordinator.api.outlook import measure_outlook, seen_of, tell_look, tell_outlook
from coordinator.api.written import seen_classes, tell_classes, tell_following
from coordinator.gateways import Gateways
from coordinator.membership import Membership
from coordinator.metrics import CoordinatorMetrics
from coordinator.placement import Placement
from coordinator.policy.availability import TARGET, Availability, of_owners
from coordinator.policy.hazard import HORIZON_DAYS, Advice, Hazard
from coordinator.policy.health import (
    SILENT,
    AdminState,
    CellState,
    classify,
    count_without_place,
    judge_ring,
)
from coordinator.policy.history import Standing
from coordinator.policy.losses import LossTable, PlacedCell, PlacedRing
from coordinator.policy.outlook import Outlook, outlook_of
from coordinator.policy.reputation import Trust
from coordinator.policy.storage_classes import STANDARD
from coordinator.shared_store import OtherCoordinators
from coordinator.standbys import Standbys
from coordinator.store import schema
from coordinator.store.cells import Cell
from coordinator.store.counts import StoreCounts, count
from coordinator.store.departures import Left, left_of
from coordinator.store.history import StoreHistory
from coordinator.store.leases import LeaseBook
from coordinator.store.missing import slots_lacking
from coordinator.store.rings import Ring
from coordinator.store_health import WatchedStore


def space_of(facts: Iterable[CellFacts]) -> dict[str, int]:
    """Return what cells have of space, counting once what they share of a file system.

    Args:
        facts: of each cell.

    Returns:
        ``capacity_bytes``, ``used_bytes`` and ``free_bytes``.
    """
    by_medium: dict[object, list[CellFacts]] = defaultdict(list)
    for each in facts:
        by_medium[each.medium or object()].append(each)
    capacity = used = free = 0
    for cells in by_medium.values():
        own_capacity = sum(each.capacity_bytes for each in cells)
        own_free = sum(each.free_bytes for each in cells)
        if cells[0].medium:
            own_capacity = min(own_capacity, max(each.medium_total_bytes for each in cells))
            # The newest of them knows best, but which that is, is not known; none has more.
            own_free = min(own_free, max(each.medium_free_bytes for each in cells))
        capacity += own_capacity
        used += sum(each.used_bytes for each in cells)
        free += own_free
    return {"capacity_bytes": capacity, "used_bytes": used, "free_bytes": free}


def _availability(found: Availability) -> dict[str, Any]:
    return {
        "watched_s": found.watched_s,
        "silent_s": found.silent_s,
        "ratio": round(found.ratio, 6),
        "below_target": found.is_below_target,
    }


def _hazard(hazard: Hazard | None) -> dict[str, Any] | None:
    """Return what is known of a disk that has signs of failing; None of any other."""
    if hazard is None:
        return None
    return {
        "loss_within_days": HORIZON_DAYS,
        "loss": round(hazard.loss, 4),
        "advice": hazard.advice.value,
        "reasons": hazard.reasons[: limits.MAX_REASONS_SHOWN],
    }


class Status:
    """Reports the state of a swarm."""

    def __init__(
        self,
        name: str,
        store: WatchedStore,
        membership: Membership,
        placement: Placement,
        lease_book: LeaseBook,
        history: StoreHistory,
        journal: Callable[[], dict[str, Any]],
        standbys: Standbys,
        others: OtherCoordinators,
        charters: CharterBook,
    ) -> None:
        self.gateways = Gateways(
            self.unwritable, self.space_of_objects, standbys.named, charters.newer_than
        )
        self._charters = charters
        self._standbys = standbys
        self._others = others
        self._name = name
        self._store = store
        self._membership = membership
        self._placement = placement
        self._leases = lease_book
        self._history = history
        self._journal = journal

    def _count(self, sql: Sql) -> StoreCounts:
        return count(sql, [each.storage_class for each in self._placement.classes])

    def space_of_objects(self) -> tuple[int, int]:
        """The bytes of objects that all cells could hold in the configured class, and can still
        take."""
        space = space_of([cell.facts for cell in self._membership.cells.values()])
        k, n = self._placement.redundancy.k, self._placement.redundancy.n
        return space["capacity_bytes"] * k // n, space["free_bytes"] * k // n

    def unwritable(self) -> str:
        """The reason why nothing can be written; empty when writing is possible."""
        if self._store.read_only_reason:
            return "store_not_writable"
        if self._history.standing is Standing.BEHIND:
            return "store_behind"
        return "" if self._placement.can_be_written else "no_ring"

    def _silent_shards(self, states: Mapping[int, CellState]) -> int:
        """Shards on the cells that are not heard, as they last said."""
        cells = self._membership.cells
        return sum(cells[number].facts.shards for number, own in states.items() if own in SILENT)

    def _lost_shards(self) -> int:
        return sum(cell.facts.lost_shards for cell in self._membership.cells.values())

    async def tell_cell(self, cell: Cell) -> dict[str, Any]:
        """Return what is known of a cell, JSON-like."""
        is_leaving = AdminState.DRAINING in cell.admin
        left = await self._store.read(lambda sql: left_of(sql, cell.cell)) if is_leaving else None
        now = trio.current_time()
        states = self._membership.states(now)
        return self._cell(cell, states, now, left)

    def _leaving(
        self, cell: Cell, states: Mapping[int, CellState], left: Left | None
    ) -> dict[str, Any] | None:
        """Return how far a cell is that leaves; None of any other."""
        if left is None:
            return None
        rings = (ring.cells for ring in self._membership.rings.values())
        pace = self._membership.drain_paces.get(cell.cell)
        left_s = None if pace is None else pace.left_s()
        return {
            "held_slots": left.held_slots,
            "moving_slots": left.moving_slots,
            "slots_without_place": count_without_place(cell.cell, rings, states),
            "shards": left.shards,
            "left_s": None if left_s is None else round(left_s),
            "deletes": left.deletes,
            "is_empty": left.is_empty,
        }

    def _cell(
        self, cell: Cell, states: Mapping[int, CellState], now: float, left: Left | None
    ) -> dict[str, Any]:
        facts = cell.facts
        state = states[cell.cell]
        trust, trust_reason = self._membership.trust(cell)
        window_s = max(0.0, cell.maintenance_until - now)
        address = Address(cell.address_host, cell.address_port) if cell.address_port else ""
        return {
            "cell_id": cell.cell_id.hex(),
            "address": str(address),
            "site": cell.site,
            "owner": cell.owner,
            "state": state.value,
            "capacity_bytes": facts.capacity_bytes,
            "used_bytes": facts.used_bytes,
            "free_bytes": facts.free_bytes,
            "shards": facts.shards,
            "read_only": facts.read_only,
            "read_only_reason": facts.read_only_reason,
            "lost_shards": facts.lost_shards,
            "medium_free_bytes": facts.medium_free_bytes,
            "leaving": self._leaving(cell, states, left),
            "hazard": _hazard(self._membership.hazards.get(cell.cell)),
            "draining": AdminState.DRAINING in cell.admin,
            "suspended": cell.decisions.suspended,
            "availability": _availability(self._membership.availability(cell)),
            "trust": trust.value,
            "trust_reason": trust_reason,
            "maintenance_left_s": math.ceil(window_s),
            "last_seen_s": round(now - cell.heard_at, 1),
            "clock_ahead_s": round(cell.clock_ahead_s, 1),
        }

    def _watched(self) -> list[Cell]:
        return [cell for cell in self._membership.cells.values() if not cell.is_removed]

    def _owners(self, cells: Iterable[Cell]) -> dict[str, Availability]:
        """The availability of the owners of cells, the worst first."""
        return of_owners((cell.owner, self._membership.availability(cell)) for cell in cells)

    def _clocks(self) -> dict[str, Any]:
        """Return how far the clocks of cells differ from this machine's."""
        known = self._watched()
        return {
            "cells_off": sum(cell.clock_is_off for cell in known),
            "most_ahead_s": round(max((c.clock_ahead_s for c in known), default=0.0), 1),
            "most_behind_s": round(-min((c.clock_ahead_s for c in known), default=0.0), 1),
        }

    def _shown_rings(self) -> list[Ring]:
        return list(islice(self._membership.rings.values(), limits.MAX_RINGS_SHOWN))

    def _ring_state(self, ring: Ring, states: Mapping[int, CellState]) -> str:
        """The verdict on a ring, with ``closed`` before it where no new segment is placed on it."""
        redundancy = ring.redundancy
        slots = classify([states[cell] for cell in ring.cells])
        verdict = judge_ring(slots, k=redundancy.k, quorum=redundancy.quorum).value
        return verdict if ring.open else f"closed, {verdict}"

    def _outlook(self, states: Mapping[int, CellState], counts: StoreCounts, now: float) -> Outlook:
        """Return what is wrong, in words."""
        has_fallen_back = self._placement.has_fallen_back
        seen = seen_of(self._membership, states, now)
        return outlook_of(
            replace(
                seen,
                is_behind=self._history.standing is Standing.BEHIND,
                standing=self._history.tell().get("what_to_do", ""),
                store_fault=self._store.read_only_reason,
                unwritable=self.unwritable(),
                lost_segments=counts.segments_lost,
                lost_shards=self._lost_shards(),
                suspects=counts.suspect_shards,
                configured=str(self._placement.redundancy),
                fallback=str(self._placement.written) if has_fallen_back else "",
                fallback_segments=sum(counts.fallback_segments.values()),
                classes=seen_classes(self._placement, counts.classes_in_use),
                misplaced=counts.misplaced_pages,
                scans=counts.class_scans,
            )
        )

    async def tell(self) -> dict[str, Any]:
        """Everything, JSON-like."""
        known = self._membership.cells
        shown = list(islice(self._membership.draining(), limits.MAX_DRAINS_SHOWN))
        rings = self._shown_rings()
        counts, left, lacking = await self._store.read(
            lambda sql: (
                self._count(sql),
                {number: left_of(sql, number) for number in shown},
                slots_lacking(sql, [ring.ring for ring in rings]),
            )
        )
        now = trio.current_time()
        states = self._membership.states(now)
        cells = [self._cell(cell, states, now, left.get(number)) for number, cell in known.items()]
        return {
            "swarm": self._name,
            "outlook": tell_outlook(self._outlook(states, counts, now)),
            **tell_look(self._membership.look),
            "store": self._history.tell(),
            "journal": self._journal(),
            "role": "active",
            "coordinators": [str(each) for each in self._standbys.addresses()],
            "standbys": self._standbys.tell(now),
            "active": self._others.tell(now),
            "redundancy": str(self._placement.redundancy),
            "written_as": str(self._placement.written),
            "fallback_segments": [
                {"storage_class": name, "redundancy": str(redundancy), "segments": segments}
                for (name, redundancy), segments in counts.fallback_segments.items()
            ],
            "classes": tell_classes(self._placement, counts.buckets),
            "following": tell_following(
                counts.misplaced_pages, counts.class_scans, self._membership.look
            ),
            "lifecycle": asdict(counts.lifecycle),
            "notifications": asdict(counts.notifications),
            "cells": cells,
            "most_cells_offline": self._membership.is_cut_off,
            "availability_target": TARGET,
            "owners": [
                {"owner": owner, **_availability(found)}
                for owner, found in islice(
                    self._owners(self._watched()).items(), limits.MAX_OWNERS_SHOWN
                )
            ],
            "rings": [
                {
                    "ring": ring.ring,
                    "k": ring.redundancy.k,
                    "n": ring.redundancy.n,
                    "quorum": ring.redundancy.quorum,
                    "cells": [self._membership.cells[cell].cell_id.hex() for cell in ring.cells],
                    "state": self._ring_state(ring, states),
                    "missing_slots": lacking.get(ring.ring, ()),
                }
                for ring in rings
            ],
            "rings_total": len(self._membership.rings),
            "gateways": self.gateways.tell(now),
            "writable": not self.unwritable(),
            "reason": self.unwritable(),
            "coordinator": {
                "store_writable": not self._store.read_only_reason,
                "reason": self._store.read_only_reason,
                "free_bytes": self._store.free_bytes,
            },
            "space": {
                **space_of([cell.facts for cell in self._membership.cells.values()]),
                "logical_bytes": counts.logical_bytes,
            },
            "missing": {
                "shards": counts.missing_shards,
                "segments_at_risk": counts.segments_at_risk,
                "segments_lost": counts.segments_lost,
                "suspect_shards": counts.suspect_shards,
                "silent_shards": self._silent_shards(states),
                "lost_shards": self._lost_shards(),
            },
            "clocks": self._clocks(),
            "queued_deletes": counts.queued_deletes,
            "objects": counts.objects,
            "tenants": counts.tenants,
        }

    def _measure_losses(
        self,
        metrics: CoordinatorMetrics,
        states: Mapping[int, CellState],
        lacking: Mapping[int, Collection[int]],
    ) -> None:
        """Set what would be left after a loss, of the rings that status shows and their cells."""
        members = self._membership
        rings = [
            PlacedRing(
                ring.redundancy.k,
                ring.redundancy.quorum,
                tuple(map(str, ring.cells)),
                ring.open,
                frozenset(lacking.get(ring.ring, ())),
            )
            for ring in self._shown_rings()
        ]
        named = {cell for ring in self._shown_rings() for cell in ring.cells}
        placed = {
            str(number): PlacedCell(cell.site, cell.owner, states[number])
            for number in named
            for cell in (members.cells[number],)
        }
        metrics.loss_margin.clear()
        if not rings:
            return
        losses = LossTable(placed, rings, self._placement.redundancy)
        for after, found in (
            ("nothing", [losses.of_nothing()]),
            ("box", losses.of_boxes()),
            ("site", losses.of_sites()),
        ):
            least = min((each.margin for each in found), default=losses.of_nothing().margin)
            metrics.loss_margin.labels(after).set(least)

    async def health(self) -> dict[str, Any]:
        """Return the coordinator's health in a few numbers."""
        if not self._store.damage:
            await self._store.read(schema.look)
        now = trio.current_time()
        states = Counter(state.value for state in self._membership.states(now).values())
        return {
            "ok": not self._store.read_only_reason and self._history.standing is Standing.CURRENT,
            "role": "coordinator",
            "store": self._history.tell(),
            "journal": self._journal(),
            "cells": dict(sorted(states.items())),
            "writable": not self.unwritable(),
            "reason": self._store.read_only_reason or self.unwritable(),
            "free_bytes": self._store.free_bytes,
            "damage": self._store.damage,
        }

    async def measure(self, metrics: CoordinatorMetrics) -> None:
        """Bring the gauges up to date; those of a damaged store stay as they were."""
        metrics.store_damaged.set(bool(self._store.damage))
        metrics.store_writable.set(not self._store.read_only_reason)
        if self._store.damage:
            return
        shown = [ring.ring for ring in self._shown_rings()]
        counts, lacking = await self._store.read(
            lambda sql: (self._count(sql), slots_lacking(sql, shown))
        )
        now = trio.current_time()
        states = self._membership.states(now)
        by_state = Counter(states.values())
        for state in CellState:
            metrics.cells.labels(state.value).set(by_state[state])
        by_trust = Counter(self._membership.trust(cell)[0] for cell in self._watched())
        for trust in Trust:
            metrics.cells_by_trust.labels(trust.value).set(by_trust[trust])
        rings = Counter(self._ring_state(ring, states) for ring in self._membership.rings.values())
        metrics.rings.clear()
        for ring_state, number in rings.items():
            metrics.rings.labels(ring_state).set(number)
        for standing in Standing:
            metrics.store_standing.labels(standing.value).set(standing is self._history.standing)
        self._measure_availability(metrics)
        metrics.most_cells_offline.set(self._membership.is_cut_off)
        self._measure_standbys(metrics, now)
        self._measure_losses(metrics, states, lacking)
        advised = Counter(hazard.advice for hazard in self._membership.hazards.values())
        for advice in Advice:
            metrics.failing_disks.labels(advice.value).set(advised[advice])
        measure_outlook(metrics, self._outlook(states, counts, now), self._membership, states)
        metrics.missing_shards.set(counts.missing_shards)
        metrics.suspect_shards.set(counts.suspect_shards)
        metrics.silent_shards.set(self._silent_shards(states))
        metrics.lost_shards.set(self._lost_shards())
        space = space_of([cell.facts for cell in self._membership.cells.values()])
        metrics.cell_free_bytes.set(space["free_bytes"])
        gateways = Counter(each["state"] for each in self.gateways.tell(now))
        for gateway_state in ("alive", "silent"):
            metrics.gateways.labels(gateway_state).set(gateways[gateway_state])
        metrics.writable.set(not self.unwritable())
        metrics.store_free_bytes.set(self._store.free_bytes)
        metrics.lost_segments.set(counts.segments_lost)
        placed = self._placement.classes
        metrics.class_fallen_back.set(any(each.has_fallen_back for each in placed))
        metrics.classes_not_writable.set(
            sum(
                not each.can_be_written
                for each in placed
                if each.storage_class.number in {STANDARD, *counts.classes_in_use}
            )
        )
        metrics.fallback_segments.set(sum(counts.fallback_segments.values()))
        metrics.misplaced_pages.set(counts.misplaced_pages)
        metrics.lifecycle_buckets.set(counts.lifecycle.buckets)
        metrics.lifecycle_oldest_run.set(counts.lifecycle.oldest_ms / 1000)
        told = counts.notifications
        metrics.notifications_waiting.set(told.waiting)
        metrics.notifications_oldest.set(told.oldest_ms / 1000)
        metrics.notifications_full.set(told.full)
        metrics.notifications_lost.set(told.dropped + told.given_up)
        metrics.queued_deletes.set(counts.queued_deletes)
        clocks = self._clocks()
        metrics.clocks_off.set(clocks["cells_off"])
        metrics.most_clock_skew_s.set(max(clocks["most_ahead_s"], clocks["most_behind_s"]))
        metrics.leases.set(len(self._leases))
        metrics.objects.set(counts.objects)
        metrics.logical_bytes.set(counts.logical_bytes)
        metrics.store_bytes.set(counts.store_bytes)

    def _measure_standbys(self, metrics: CoordinatorMetrics, now: float) -> None:
        standbys = self._standbys.tell(now)
        following = [each["behind"] for each in standbys if each["follows"]]
        metrics.standbys.labels("following").set(len(following))
        metrics.standbys.labels("silent").set(len(standbys) - len(following))
        metrics.standby_behind.set(min(following, default=0))
        metrics.standby_wanted.set(self._journal()["lease"]["enforced"])

    def _measure_availability(self, metrics: CoordinatorMetrics) -> None:
        """Only cells that were ever silent, and others of their owners, can be below the target."""
        members = self._membership
        watched = self._watched()
        silent = [cell for cell in watched if cell.cell in members.absences.by_cell]
        found = [members.availability(cell) for cell in silent]
        concerned = {cell.owner for cell in silent}
        owners = self._owners(cell for cell in watched if cell.owner in concerned)
        metrics.cells_below_target.set(sum(each.is_below_target for each in found))
        metrics.owners_below_target.set(sum(each.is_below_target for each in owners.values()))
        metrics.least_availability.set(min((each.ratio for each in found), default=1.0))
