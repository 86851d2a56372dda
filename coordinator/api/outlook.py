"""The outlook of a swarm for operators, as JSON and as metrics.

Source: docs/operations.md, "What is wrong, in words".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from itertools import islice
from typing import Any, Final

from common import limits
from common.reasons import Outage
from coordinator.membership import Membership
from coordinator.metrics import CoordinatorMetrics
from coordinator.policy.availability import of_owners
from coordinator.policy.bucket_margins import BucketMargin
from coordinator.policy.hazard import Advice
from coordinator.policy.health import AdminState, CellState
from coordinator.policy.outlook import Concern, Gravity, Look, Outlook, Seen, SeenCell, Work
from coordinator.policy.pace import Pace
from coordinator.policy.reputation import Trust
from coordinator.store.cells import Cell

_SHOWN_ID = 12
_OWNER_RULES: Final = frozenset({Outage.QUIET_HOURS.value, Outage.TRANSIT_USED.value})
"""Reasons of cells that are read-only because their hosts want it so."""


def seen_of(members: Membership, states: Mapping[int, CellState], now: float) -> Seen:
    """Return what is seen of the cells of a swarm; the caller adds the store and the class."""
    look = members.look
    lost_after_s = members.times.lost_after_s
    known = [cell for cell in members.cells.values() if not cell.is_removed]
    by_state: dict[CellState, list[Cell]] = {state: [] for state in CellState}
    for cell in known:
        by_state[states[cell.cell]].append(cell)

    def seen(cell: Cell, **more: Any) -> SeenCell:
        return SeenCell(
            cell.cell_id.hex()[:_SHOWN_ID],
            cell.site,
            cell.owner,
            states[cell.cell],
            now - cell.heard_at,
            **more,
        )

    def longest_first(cells: Iterable[Cell]) -> list[Cell]:
        return sorted(cells, key=lambda cell: cell.heard_at)

    silent = longest_first(by_state[CellState.OFFLINE]) + longest_first(by_state[CellState.SUSPECT])
    return Seen(
        known_cells=len(known),
        look=look,
        is_cut_off=members.is_cut_off,
        clocks_off=sum(cell.clock_is_off for cell in known),
        owners_below=_owners_below(members, known),
        lost=[
            seen(cell, work=None if look is None else look.lost.get(cell.cell))
            for cell in longest_first(by_state[CellState.LOST])
        ],
        offline=[
            seen(cell, left_s=max(0.0, cell.unexplained_since() + lost_after_s - now))
            for cell in silent
        ],
        leaving=[
            seen(
                members.cells[number],
                work=_work_of(members.drain_paces.get(number)),
                without_place=0 if look is None else look.nowhere.get(number, 0),
            )
            for number in islice(members.draining(), limits.MAX_DRAINS_SHOWN)
        ],
        resting=[
            seen(cell, left_s=cell.maintenance_until - now)
            for cell in by_state[CellState.MAINTENANCE]
        ],
        suspended=[
            seen(cell, remark=cell.decisions.suspended)
            for cell in known
            if AdminState.SUSPENDED in cell.admin
        ],
        warned=[
            seen(cell, remark=reason)
            for cell, (trust, reason) in zip(known, map(members.trust, known), strict=True)
            if trust is Trust.WARNED
        ],
        read_only=[
            seen(cell, remark=cell.facts.read_only_reason)
            for cell in by_state[CellState.READ_ONLY]
            if cell.facts.read_only_reason not in _OWNER_RULES
        ],
        host_rests=[
            seen(cell, remark=cell.facts.read_only_reason)
            for cell in by_state[CellState.READ_ONLY]
            if cell.facts.read_only_reason in _OWNER_RULES
        ],
        full=[seen(cell) for cell in by_state[CellState.FULL]],
        failing=[
            seen(members.cells[number], remark=hazard.reasons[0])
            for number, hazard in members.hazards.items()
            if hazard.advice is Advice.DRAIN
            and AdminState.DRAINING not in members.cells[number].admin
        ],
    )


def _owners_below(members: Membership, known: Iterable[Cell]) -> list[str]:
    """Only owners of cells that were ever silent can be below the target."""
    silent = {cell.owner for cell in known if cell.cell in members.absences.by_cell}
    found = of_owners(
        (cell.owner, members.availability(cell)) for cell in known if cell.owner in silent
    )
    return [owner or "(no name)" for owner, each in found.items() if each.is_below_target]


def _work_of(pace: Pace | None) -> Work | None:
    if pace is None or pace.left is None:
        return None
    return Work(pace.left, pace.per_s(), is_stuck=pace.is_stuck)


def tell_outlook(outlook: Outlook) -> dict[str, Any]:
    """Return the concerns, JSON-like, the gravest first."""
    return {
        "healthy": outlook.is_healthy,
        "headline": outlook.headline,
        "concerns": [_tell(each) for each in outlook.concerns],
    }


def _tell(concern: Concern) -> dict[str, Any]:
    return {
        "name": concern.name,
        "gravity": concern.gravity.value,
        "what": concern.what,
        "doing": concern.doing,
        "when": concern.when,
    }


def tell_look(look: Look | None) -> dict[str, Any]:
    """Return margins and repair, JSON-like; None before the first look."""
    if look is None:
        return {"margin": None, "repair": None, "buckets": None}
    margins, work = look.margins, look.missing
    return {
        "margin": {
            "least": margins.least,
            "segments_without": margins.bare,
            "segments_unreadable": margins.unreadable,
            "rings_without": margins.bare_rings,
            "rings_unreadable": margins.unreadable_rings,
        },
        "repair": {
            "missing_shards": work.left,
            "per_s": None if work.per_s is None else round(work.per_s, 3),
            "left_s": None if work.left_s is None else round(work.left_s),
            "is_stuck": work.is_stuck,
            "moving_slots": look.moves,
            "slots_nowhere": sum(look.nowhere.values()),
        },
        "buckets": [asdict(each) for each in look.buckets],
    }


def measure_outlook(
    metrics: CoordinatorMetrics,
    outlook: Outlook,
    members: Membership,
    states: Mapping[int, CellState],
) -> None:
    """Bring the gauges of margins, repair and concerns up to date."""
    metrics.cells_resting.set(
        sum(
            state is CellState.READ_ONLY
            and members.cells[number].facts.read_only_reason in _OWNER_RULES
            for number, state in states.items()
        )
    )
    for gravity in Gravity:
        metrics.concerns.labels(gravity.value).set(outlook.count(gravity))
    look = members.look
    if look is None:
        return
    _measure_buckets(metrics, look.buckets)
    margins, work = look.margins, look.missing
    metrics.least_margin.set(math.nan if margins.least is None else margins.least)
    metrics.bare_segments.set(margins.bare)
    metrics.unreadable_segments.set(margins.unreadable)
    metrics.slots_nowhere.set(sum(look.nowhere.values()))
    metrics.moving_slots.set(look.moves)
    metrics.repair_pace.set(work.per_s or 0.0)
    left_s = work.left_s if work.left else 0.0
    metrics.repair_left_s.set(-1.0 if left_s is None else left_s)
    metrics.repair_stuck.set(work.is_stuck)
    metrics.drains_stuck.set(
        sum(pace.is_stuck or number in look.nowhere for number, pace in members.drain_paces.items())
    )


def _measure_buckets(metrics: CoordinatorMetrics, buckets: Iterable[BucketMargin]) -> None:
    metrics.bucket_margin.clear()
    metrics.bucket_unreadable.clear()
    for each in buckets:
        for after, margin, unreadable in (
            ("nothing", each.margin, each.unreadable),
            ("site", each.after, each.unreadable_after),
        ):
            metrics.bucket_margin.labels(each.bucket, after).set(margin)
            metrics.bucket_unreadable.labels(each.bucket, after).set(unreadable)
