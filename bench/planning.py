"""``python -m bench.planning``: what the plan of moves costs in a large swarm.

Options: ``--cells``, ``--rings``. Times are those of the CPU, on one core. The segments of a swarm
are not among what a plan reads, so their number does not matter.
At last it is measured for how long the event loop stands still while a round of the coordinator
plans: with the plan made in the loop itself, and by a worker, as the product does it.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any, Final, TypeVar, cast

import trio

from bench import machine
from common.ids import PeerId
from common.limits import GIB
from common.system.clock import SystemClock
from common.system.log import LineLog
from common.system.memory import spare_long_lived
from common.system.workers import ThreadWorkers
from common.wire.messages.base import CellFacts
from coordinator.membership import Membership
from coordinator.placement import Placement
from coordinator.policy.evening import even_limit, plan_even
from coordinator.policy.health import Liveness, LivenessEvent
from coordinator.policy.history import Standing
from coordinator.policy.moves import (
    HeldRing,
    MovePlan,
    MoveReason,
    PlaceView,
    plan_moves,
    targets_of,
)
from coordinator.policy.placement import Redundancy, default_quorum
from coordinator.policy.targets import Surroundings
from coordinator.rounds.repair import RepairRound
from coordinator.store.cells import Cell
from coordinator.store.rings import Ring

T = TypeVar("T")

K: Final = 4
N: Final = 6
CHOICES_TIMED: Final = 1000
TICK_S: Final = 0.001
PLACES: Final = {
    "1,000 sites, an owner for ten cells": (1000, 10_000),
    "one site, one owner": (1, 1),
    "three sites, of which one has 1 % of the cells": (3, 0),
}
"""Numbers of sites and of owners; 0: cells own themselves."""
TERABYTE: Final = 1000 * GIB


def make_swarm(
    count: int, rings: int, sites: int, owners: int, chance: random.Random
) -> tuple[dict[int, PlaceView], list[HeldRing]]:
    """Cells of three sizes that are about half full, and rings of cells drawn by chance."""
    cells = {}
    for number in range(count):
        site = number % sites if sites != 3 else (0 if number % 100 == 0 else 1 + number % 2)
        capacity = chance.choice((1, 2, 4)) * TERABYTE
        cells[number] = PlaceView(
            number,
            f"site-{site}",
            f"owner-{number % owners}" if owners else "",
            capacity,
            int(capacity * chance.uniform(0.3, 0.7)),
            writable=True,
            readable=True,
        )
    return cells, [
        HeldRing(ring, K, tuple(chance.sample(range(count), N))) for ring in range(rings)
    ]


def lose(cells: dict[int, PlaceView], gone: range) -> dict[int, PlaceView]:
    """The same cells, of which some are lost."""
    return cells | {
        number: replace(
            cells[number], writable=False, readable=False, leaves=MoveReason.LOST
        )
        for number in gone
    }  # fmt: skip


def timed(what: str, plan: Callable[[], MovePlan]) -> None:
    """Print a row: the time of a plan, and its size."""
    begun = time.process_time()
    result = plan()
    seconds = time.process_time() - begun
    print(f"| {what} | {seconds:.2f} s | {len(result.moves)} | {len(result.nowhere)} |")


def time_choices(
    cells: dict[int, PlaceView], rings: list[HeldRing], chance: random.Random
) -> tuple[float, float]:
    """Milliseconds of the choice of one cell: the mean, and the longest."""
    targets = targets_of(cells, rings, chance)
    times = []
    for ring in rings[:CHOICES_TIMED]:
        begun = time.process_time()
        places = [(cells[cell].site, cells[cell].owner) for cell in ring.cells[1:]]
        targets.choose(Surroundings(places, ring.cells, N - K, N - K), GIB)
        times.append((time.process_time() - begun) * 1000)
    return sum(times) / len(times), max(times)


def measure(count: int, ring_count: int, sites: int, owners: int) -> None:
    """Print the figures of one swarm."""
    chance = random.Random(1)
    cells, rings = make_swarm(count, ring_count, sites, owners, chance)
    snapshot_mib, _ = machine.memory_mib(os.getpid())
    machine.reset_peak(os.getpid())
    slot_bytes = {ring.ring: 20 * GIB for ring in rings}
    print("| plan | CPU | moves | nowhere |\n| --- | ---: | ---: | ---: |")
    for what, gone in (
        ("nothing to do", range(0)),
        ("one cell lost", range(1)),
        ("a hundred cells lost, limit 1,000", range(100)),
        ("a tenth of the cells lost, limit 1,000", range(count // 10)),
    ):
        after = lose(cells, gone)
        timed(
            what,
            partial(plan_moves, rings, after, chance, limit=1000, slot_bytes=slot_bytes),
        )
    joined = cells | {
        number: replace(cells[0], cell=number, free_bytes=cells[0].capacity_bytes)
        for number in range(count, count * 11 // 10)
    }
    limit = even_limit(len(joined))
    timed(
        "evened out, a tenth of the cells new",
        lambda: plan_even(rings, joined, slot_bytes, chance, limit=limit),
    )
    mean, longest = time_choices(cells, rings, chance)
    print(f"\nThe choice of one cell: mean {mean:.2f} ms, longest {longest:.2f} ms.")
    _, peak_mib = machine.memory_mib(os.getpid())
    print(f"Memory: {snapshot_mib:.0f} MiB with cells and rings, at most {peak_mib:.0f} MiB.")


class InTheLoop:
    """Workers that are none: the event loop stands still while they work."""

    async def run(self, work: Callable[[], T]) -> T:
        """Run it."""
        return work()


class Nowhere:
    """A store, its leadership and its history, as far as a round asks them: nothing is kept, and no
    move is carried out."""

    standing = Standing.CURRENT

    async def wait(self) -> None:
        """Lead."""

    async def read(self, query: Callable[[Any], Any]) -> Any:
        """Know of no segment."""
        return {}

    async def transact(self, change: Callable[[Any], Any]) -> Any:
        """Change nothing."""
        return False


async def longest_stall(work: Callable[[], Awaitable[object]]) -> tuple[float, float, int]:
    """Seconds of the longest time in which another task did not run, of the whole work, and how
    often it ran."""
    longest, ticks = 0.0, 0

    async def tick() -> None:
        nonlocal longest, ticks
        while True:
            begun = time.perf_counter()
            await trio.sleep(TICK_S)
            longest = max(longest, time.perf_counter() - begun - TICK_S)
            ticks += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        await trio.sleep(10 * TICK_S)
        longest, ticks, begun = 0.0, 0, time.perf_counter()
        await work()
        await trio.sleep(2 * TICK_S)
        elapsed = time.perf_counter() - begun
        nursery.cancel_scope.cancel()
    return longest, elapsed, ticks


async def measure_stalls(count: int, ring_count: int) -> None:
    """Print how long a round of moves stops the event loop when a cell is lost."""
    chance = random.Random(1)
    views, held = make_swarm(count, ring_count, 1000, 10_000, chance)
    redundancy = Redundancy(K, N, default_quorum(K, N))
    now = trio.current_time()
    members = Membership(
        (
            Cell(
                cell=number,
                cell_id=PeerId(number.to_bytes(32, "big")),
                site=view.site,
                owner=view.owner,
                address_host="",
                address_port=0,
                facts=CellFacts(view.capacity_bytes, 0, view.free_bytes, 0, 0, False),
                heard_at=now,
                liveness=Liveness.ALIVE,
            )
            for number, view in views.items()
        ),
        (Ring(ring.ring, redundancy, ring.cells, True) for ring in held),
        5,
        3600,
        3600,
    )
    del views, held
    members.cells[0].sees(LivenessEvent.TIMED_OUT)
    members.cells[0].sees(LivenessEvent.LONG_SILENT)
    members.conclude(now)
    spare_long_lived()
    nowhere = Nowhere()
    placement = Placement(members, redundancy)
    parts = SimpleNamespace(
        store=nowhere,
        leadership=nowhere,
        history=nowhere,
        membership=members,
        placement=placement,
        queues=None,
    )
    threads = ThreadWorkers(2)
    print("\n| a round of moves, one cell lost | longest stall | whole | others ran |")
    print("| --- | ---: | ---: | ---: |")
    for what, workers in (("planned in the loop", InTheLoop()), ("by a worker", threads)):
        log = LineLog("bench", write=lambda line: None)
        world = SimpleNamespace(workers=workers, clock=SystemClock(), chance=chance, log=log)
        made = RepairRound(cast(Any, parts), cast(Any, world))
        made._even_at = math.inf
        longest, whole, ticks = await longest_stall(made.run)
        print(f"| {what} | {longest * 1000:.0f} ms | {whole:.2f} s | {ticks} times |")

    async def refresh() -> None:
        placement.refresh(trio.current_time())

    for what in ("first look at all cells, rings weighed", "look again"):
        longest, _, _ = await longest_stall(refresh)
        print(f"| {what} | {longest * 1000:.0f} ms | | |")
    threads.close()


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench.planning", description=__doc__)
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--rings", type=int, default=200_000)
    options = parser.parse_args()
    print(machine.describe(), file=sys.stderr)
    for places, (sites, owners) in PLACES.items():
        print(f"\n**{places}**\n", flush=True)
        measure(options.cells, options.rings, sites, owners)
    trio.run(measure_stalls, options.cells, options.rings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
