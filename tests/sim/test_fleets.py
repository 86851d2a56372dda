"""Fleets over years: against the exact chain, and against what must hold in each."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, replace
from math import comb

import pytest

from coordinator.policy.durability import HOURS_PER_YEAR, Repair, lazy_repair
from sim.fleets.engine import Fleet, simulate
from sim.fleets.figures import HOMES
from sim.fleets.options import FleetOptions, Mending, Shocks
from sim.fleets.report import estimate

RUNS = int(os.environ.get("ALVEARY_FLEET_RUNS", "12"))
FIRST_SEED = 1000
SIGMAS, SHARE = 3, 0.05


@dataclass(frozen=True)
class Chain:
    """A set of parameters under which rings are lost often enough to be counted."""

    k: int
    n: int
    threshold: int
    mttf_h: float
    repair_h: float
    years: float

    def exact(self) -> Repair:
        return lazy_repair(
            self.k,
            self.n,
            threshold=self.threshold,
            mttf_hours=self.mttf_h,
            repair_hours=self.repair_h,
        )

    def options(self) -> FleetOptions:
        mending = Mending(together=True, threshold=self.threshold, repair_h=self.repair_h)
        return FleetOptions(
            self.k,
            self.n,
            120,
            4,
            self.years,
            self.mttf_h,
            warm_up_years=(4 * self.repair_h + self.mttf_h / 4) / HOURS_PER_YEAR,
            draws_targets=True,
            mending=mending,
        )


CHAINS = [
    Chain(4, 6, 6, 2000, 300, 1.5),
    Chain(1, 3, 3, 1000, 300, 1.5),
    Chain(4, 6, 5, 3000, 300, 1.5),
    Chain(6, 9, 9, 1000, 120, 1.0),
    Chain(2, 4, 4, 2000, 400, 2.0),
    Chain(10, 16, 14, 1500, 150, 1.0),
]


@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: f"{chain.k}/{chain.n}")
def test_a_fleet_loses_as_many_rings_as_the_exact_chain_says(chain: Chain) -> None:
    runs = [simulate(chain.options(), seed) for seed in range(FIRST_SEED, FIRST_SEED + RUNS)]
    exact = chain.exact()
    lost = estimate([run.lost_per_ring_year for run in runs])
    assert abs(lost.mean - exact.loss_per_year) <= SIGMAS * lost.error
    assert abs(lost.mean / exact.loss_per_year - 1) <= SHARE
    expected = estimate([run.expected_per_ring_year for run in runs])
    assert abs(expected.mean - exact.loss_per_year) <= SIGMAS * expected.error
    assert abs(expected.mean / exact.loss_per_year - 1) <= SHARE


def test_the_planner_s_choice_of_cells_changes_nothing_where_failures_are_independent() -> None:
    chain = CHAINS[0]
    options = replace(chain.options(), draws_targets=False, cells=60, years=0.3)
    lost = estimate([simulate(options, seed).expected_per_ring_year for seed in range(8)])
    assert abs(lost.mean - chain.exact().loss_per_year) <= SIGMAS * lost.error
    assert lost.mean == pytest.approx(chain.exact().loss_per_year, rel=0.1)


SERVERS = FleetOptions(4, 6, 60, 5, 1, HOURS_PER_YEAR, replace_h=24, outages=4, outage_h=0.5)


def test_a_seed_decides_everything() -> None:
    short = replace(SERVERS, years=0.25)
    assert simulate(short, 1) == simulate(short, 1) != simulate(short, 2)


def test_rings_stay_on_cells_and_sites_of_their_own_through_years_of_moves() -> None:
    fleet = Fleet(SERVERS, 3)
    assert fleet.run().slots_moved > 1000
    shards = fleet.shards
    for first in range(0, len(shards.holder), 6):
        cells = shards.holder[first : first + 6]
        assert len(set(cells)) == 6
        on_site = Counter(fleet.site_of[cell] for cell in cells)
        assert max(on_site.values()) <= 2, "n - k"
    for slot, cell in enumerate(shards.holder):
        assert slot in shards.held[cell]
    assert shards.load == [len(held) for held in shards.held]
    lacks = Counter(shards.holder[slot] for slot, has in enumerate(shards.has) if not has)
    assert shards.unfilled == [lacks[cell] for cell in range(len(shards.load))]
    live = [sum(shards.there[first : first + 6]) for first in range(0, len(shards.holder), 6)]
    assert live == list(shards.there_of)


def test_no_slot_stays_on_a_dead_cell_though_rings_are_lost() -> None:
    for drawn in (True, False):
        fleet = Fleet(replace(SERVERS, k=1, n=2, mttf_h=500, years=0.3, draws_targets=drawn), 1)
        assert fleet.run().rings_lost > 10
        shards = fleet.shards
        stays = [slot for slot, cell in enumerate(shards.holder) if not shards.alive[cell]]
        lately = SERVERS.mending.lost_h + SERVERS.mending.round_h
        assert len(stays) < 40
        assert all(fleet.died_h[shards.holder[slot]] > shards.now - lately for slot in stays)


def test_cells_that_are_away_for_less_than_the_lost_time_move_no_byte() -> None:
    flapping = replace(SERVERS, mttf_h=1e9, mending=Mending(lost_h=1e6), outages=500)
    report = simulate(flapping, 1)
    assert (report.moved_bytes, report.slots_moved, report.cells_declared) == (0, 0, 0)
    assert report.unreadable > 0


def test_a_cell_that_returns_is_taken_back_and_its_slots_are_not_rebuilt() -> None:
    report = simulate(replace(SERVERS, mttf_h=1e9, outages=2, outage_h=2), 1)
    assert report.cells_declared > 50
    assert report.taken_back > 0.9 * report.slots_moved
    assert report.moved_per_stored < 3


def test_a_dead_cell_costs_k_reads_and_one_write_of_each_of_its_slots() -> None:
    quiet = replace(SERVERS, outages=0, years=1, mending=Mending(rate_bytes_per_s=1e9))
    report = simulate(quiet, 5)
    assert report.cells_died > 30
    slot_bytes = quiet.cells * quiet.cell_bytes / (report.rings * 6)
    rebuilt = report.moved_bytes / slot_bytes
    assert rebuilt == pytest.approx(report.slots_moved * 5, rel=0.03)


def test_less_bandwidth_leaves_rings_with_little_margin_for_longer() -> None:
    wide, narrow = (
        simulate(replace(SERVERS, mending=Mending(rate_bytes_per_s=rate)), 1) for rate in (4e7, 4e6)
    )
    assert narrow.at_margin_h[1] > 3 * wide.at_margin_h[1]
    assert narrow.longest_queue_h > wide.longest_queue_h
    hours = narrow.rings * SERVERS.years * HOURS_PER_YEAR
    assert sum(narrow.at_margin_h) == pytest.approx(hours, rel=1e-3)


def test_a_lost_site_takes_no_ring_that_is_spread_over_sites_as_it_should_be() -> None:
    shocks = Shocks(site_lost=1)
    options = replace(SERVERS, mttf_h=1e9, outages=0, shocks=shocks)
    fast = replace(options, mending=Mending(rate_bytes_per_s=1e12))
    spread = [simulate(fast, seed) for seed in range(3)]
    assert sum(run.cells_died for run in spread) > 100
    assert sum(run.rings_lost for run in spread) == 0
    drawn = [simulate(replace(fast, draws_targets=True), seed) for seed in range(3)]
    assert sum(run.rings_lost for run in drawn) > 0
    assert sum(run.expected_lost for run in drawn) == pytest.approx(
        sum(run.rings_lost for run in drawn), rel=0.1
    )


def test_a_ring_that_had_to_crowd_a_site_leaves_it_when_cells_are_there_again() -> None:
    options = FleetOptions(2, 4, 5, 2, 20.0, 1e9, replace_h=24, cell_bytes=1e11)
    shocks = Shocks(site_lost=1 / 4)
    fleet = Fleet(replace(options, shocks=shocks), 3)
    report = fleet.run()
    assert report.cells_died >= 4
    assert not report.rings_lost
    sites = [
        Counter(fleet.site_of[cell] for cell in fleet.shards.cells_of(first))
        for first in range(0, len(fleet.shards.holder), 4)
    ]
    assert {most for each in sites for most in each.values()} == {2}


def test_rings_are_expected_to_be_lost_by_a_bad_batch_as_often_as_they_are() -> None:
    shocks = Shocks(batches=3, batch_fails=4, batch_dies=0.7)
    options = replace(SERVERS, mttf_h=1e9, outages=0, shocks=shocks, draws_targets=True)
    runs = [simulate(options, seed) for seed in range(8)]
    assert sum(run.rings_lost for run in runs) > 100
    difference = estimate([run.rings_lost - run.expected_lost for run in runs])
    assert abs(difference.mean) <= SIGMAS * difference.error
    lost = sum(run.rings_lost for run in runs)
    assert lost == pytest.approx(sum(run.expected_lost for run in runs), rel=0.1)


def test_a_ring_that_lost_most_of_its_cells_begins_again_and_counts_once() -> None:
    shocks = Shocks(batches=3, batch_fails=4, batch_dies=0.7)
    crowded = replace(SERVERS, cells=20, mttf_h=1e9, outages=0, replace_h=200, shocks=shocks)
    runs = [Fleet(crowded, seed) for seed in range(20)]
    reports = [fleet.run() for fleet in runs]
    assert sum(report.rings_lost for report in reports) > 100
    difference = estimate([report.rings_lost - report.expected_lost for report in reports])
    assert abs(difference.mean) <= SIGMAS * difference.error
    for fleet in runs:
        shards = fleet.shards
        living = sum(shards.alive)
        assert living < 6 or min(shards.there_of) >= shards.k


def test_boxes_that_are_off_at_night_make_data_unreadable_as_often_as_chance_says() -> None:
    nights = replace(
        SERVERS, mttf_h=1e9, outages=0, diurnal=0.2, night_h=8, mending=Mending(lost_h=24)
    )
    nights = replace(nights, cells=400, years=0.1)
    found = estimate([1 - simulate(nights, seed).availability for seed in range(6)])
    night = sum(comb(6, off) * 0.2**off * 0.8 ** (6 - off) for off in range(3, 7))
    assert found.mean == pytest.approx(night * 8 / 24, rel=0.25)


def test_segments_are_lost_with_their_ring() -> None:
    options = replace(CHAINS[0].options(), years=0.2, segments=2000)
    report = simulate(options, 1)
    per_ring = 2000 / report.rings
    assert report.segments_lost == pytest.approx(report.rings_lost * per_ring, rel=0.3)
    assert report.segments_lost != report.rings_lost


def test_a_fleet_forgets_the_cells_that_are_gone() -> None:
    options = FleetOptions(2, 4, 60, 6, 4.0, HOURS_PER_YEAR / 2, replace_h=24)
    fleet = Fleet(options, 5)
    fleet.run()
    shards = fleet.shards
    gone = [cell for cell in range(len(shards.alive)) if not shards.alive[cell]]
    assert len(gone) > 300
    kept = [cell for cell in gone if shards.held[cell] or shards.feeds[cell]]
    assert len(kept) < 10
    forgotten = {id(shards.held[cell]) for cell in gone if cell not in kept}
    assert len(forgotten) < 40
    assert len(fleet._planner._known.keys() & set(gone) - set(kept)) < 60


def test_a_cell_that_goes_and_comes_is_counted_as_a_whole_count_would_be() -> None:
    options = replace(HOMES, cells=60, years=0.1, warm_up_years=0.0, outages=50, mttf_h=400)
    fleet = Fleet(options, 7)
    fleet.run()
    shards = fleet.shards
    before = bytes(shards.reachable), bytes(shards.there), bytes(shards.reachable_of)
    for cell in range(len(shards.alive)):
        shards.refresh_cell(cell)
    assert (bytes(shards.reachable), bytes(shards.there), bytes(shards.reachable_of)) == before
