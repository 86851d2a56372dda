"""A cell of five sites is wiped while clients go on: `make repair-test MIB=10240`, where MIB is
about what the wiped cell holds."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import combinations, islice
from pathlib import Path
from typing import Final

import pytest
from e2e_contents import Contents
from e2e_repair import Load, bad_shards, has_full_margin, operators_answer, rows_of, unreadable
from e2e_sites import CELL_PORT, Sites, why_no_sites
from e2e_swarm import QUICK, wait_until

from bench.machine import cpu_seconds
from common.limits import GIB, MIB

BUCKET = "rebuild"
CELL_MIB = int(os.environ.get("ALVEARY_REPAIR_TEST_MIB", "256"))
OBJECT_BYTES = 32 * MIB
LOST_AFTER_S = 20
"""Longer than any pause that a disk makes which is being filled."""
BASELINE_S = 40.0
PATIENCE_S = 240 + CELL_MIB
READ_BYTES = GIB
"""Read without each choice of cells, where so much was written."""
READ_OBJECTS = 500
"""Of the clients' small objects, likewise."""
WIPED: Final = "cell-2"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_no_sites()), reason=why_no_sites()),
]


@dataclass(frozen=True)
class Layout:
    """Cells on five sites; ``mib``: about what each of them holds."""

    k: int
    n: int
    cells: int
    mib: int

    def __str__(self) -> str:
        return f"{self.k}of{self.n}-on-{self.cells}"

    @property
    def objects(self) -> int:
        return max(1, self.mib * MIB * self.cells * self.k // self.n // OBJECT_BYTES)


LAYOUTS = [Layout(4, 6, 7, min(CELL_MIB, 256)), Layout(2, 4, 5, CELL_MIB)]
"""The default class, and the one of which a cell of 10 GB takes the least space in all."""


@pytest.fixture(params=LAYOUTS, ids=str)
def layout(request: pytest.FixtureRequest) -> Layout:
    found: Layout = request.param
    return found


@pytest.fixture
def sites(tmp_path: Path, layout: Layout) -> Iterator[Sites]:
    needed = layout.cells * layout.mib * MIB * 105 // 100 + GIB
    free = shutil.disk_usage(tmp_path).free
    assert free > needed, f"{tmp_path} has {free / GIB:.0f} GiB free of {needed / GIB:.0f}"
    made = Sites(tmp_path, 5, 1, f"{layout.k}/{layout.n}", **QUICK, lost_after_s=LOST_AFTER_S)
    try:
        made.start()
        for number in range(5, layout.cells):
            made.add_cell(f"cell-{number}", number - 5, CELL_PORT + 1)
        yield made
    finally:
        made.destroy()
        for name in made.ids:  # What is kept of a test's directory is small.
            shutil.rmtree(made.root / name, ignore_errors=True)


@pytest.mark.timeout(1200 + 4 * CELL_MIB)
def test_a_wiped_cell_is_rebuilt_while_clients_go_on_and_any_two_others_may_go_then(
    sites: Sites, layout: Layout
) -> None:
    coordinator = sites.root / "coordinator"
    wait_until(lambda: len(alive_cells(sites)) == layout.cells, 60, "every cell is heard")
    with closing(sites.boto3()) as s3:
        s3.create_bucket(Bucket=BUCKET)
        large = Contents(s3, BUCKET, OBJECT_BYTES, seed=str(layout))
        names = [f"large/{number}" for number in range(layout.objects)]
        begun = time.monotonic()
        large.write(names)
        print(f"\n{layout}: filled at {rate(names, time.monotonic() - begun)}")
        with Load(sites.boto3, BUCKET) as load:
            rebuild(sites, load)
        failed = [each for each in load.since(0) if each.error]
        assert not failed, failed[:3]
        wait_until(lambda: has_full_margin(coordinator), PATIENCE_S, "full margin of the newest")
        assert spread(coordinator), "no ring has a cell twice"
        any_others_may_go(sites, layout, large, names, load.written)
    sites.kill(*list(sites.running))
    begun = time.monotonic()
    shards, bad = bad_shards(
        coordinator, {cell_id: sites.root / name for name, cell_id in sites.ids.items()}
    )
    print(f"{layout}: {shards} shards read whole in {time.monotonic() - begun:.0f} s")
    assert shards >= layout.n * (len(names) + len(load.written))
    assert not bad


def rebuild(sites: Sites, load: Load) -> None:
    """Wipe a cell, and wait until other cells have all that it held; print what that took."""
    coordinator, lost = sites.root / "coordinator", sites.ids[WIPED]
    time.sleep(BASELINE_S / 4)
    begun, before = time.monotonic(), cpu_of(sites)
    time.sleep(BASELINE_S)
    idle_cpu_per_s = (cpu_of(sites) - before) / BASELINE_S
    killed_at = time.monotonic()
    sites.kill(WIPED)
    shutil.rmtree(sites.root / WIPED)
    held = held_bytes(coordinator, lost)
    wait_until(lambda: bool(count(coordinator, "sources")), PATIENCE_S, "declared lost")
    lost_at, before = time.monotonic(), cpu_of(sites)
    wait_until(
        lambda: not held_bytes(coordinator, lost) and has_full_margin(coordinator),
        PATIENCE_S,
        "full margin",
    )
    rebuilt_at = time.monotonic()
    took = rebuilt_at - lost_at
    cpu = cpu_of(sites) - before - idle_cpu_per_s * took
    time.sleep(BASELINE_S)
    ended = time.monotonic()
    load.wait_for(killed_at, 5)
    print(
        f"rebuilt {held / MIB:.0f} MiB in {took:.0f} s: {held / 1e6 / took:.1f} MB/s,"
        f" {cpu / (held / GIB):.1f} CPU-s/GiB; 10 GB: {10e9 / (held / took) / 60:.1f} min;"
        f" lost after {lost_at - killed_at:.0f} s; {len(load.since(0))} requests"
    )
    for kind in ("put", "get"):
        alone = load.seconds(kind, begun, killed_at) + load.seconds(kind, rebuilt_at, ended)
        beside = load.seconds(kind, lost_at, rebuilt_at)
        print(
            f"{kind}: median and p99 alone {told(alone)}, beside the rebuild {told(beside)}:"
            f" {percentile(beside, 50) / percentile(alone, 50):.2f} and"
            f" {percentile(beside, 99) / percentile(alone, 99):.2f} times"
        )


def any_others_may_go(
    sites: Sites, layout: Layout, large: Contents, names: Sequence[str], small: dict[str, str]
) -> None:
    """Read without each choice of n-k cells: all, or of much a part, so that all is read once."""
    others = sorted(set(sites.ids) - {WIPED})
    choices = list(combinations(others, layout.n - layout.k))
    small_names = sorted(small)
    read = 0
    begun = time.monotonic()
    for number, gone in enumerate(choices):
        come_back(sites, [name for name in others if name not in gone])
        sites.kill(*(name for name in gone if name in sites.running))
        some = part(names, number, len(choices), READ_BYTES // OBJECT_BYTES)
        bad = large.unreadable(some)
        some_small = part(small_names, number, len(choices), READ_OBJECTS)
        bad += unreadable(large.s3, BUCKET, {name: small[name] for name in some_small})
        assert not bad, f"without {gone}: {len(bad)} of {len(some) + len(some_small)}: {bad[:3]}"
        read += len(some) + len(some_small)
    come_back(sites, others)
    print(
        f"{layout}: read {read} times an object of {len(names) + len(small)},"
        f" without each of {len(choices)} choices of {layout.n - layout.k} cells,"
        f" in {time.monotonic() - begun:.0f} s"
    )


def come_back(sites: Sites, names: Sequence[str]) -> None:
    """Start cells that do not run, and wait until all of them are heard."""
    for name in names:
        if name not in sites.running:
            number = int(name.removeprefix("cell-"))
            sites.run(name, 1 + number % 5, "cell", "--data", str(sites.root / name))
    wanted = {sites.ids[name] for name in names}
    wait_until(lambda: wanted <= set(alive_cells(sites)), 60, f"{names} are heard")


def part(names: Sequence[str], number: int, of: int, least: int) -> list[str]:
    """A part of names; ``of`` such parts are all names, and none is shorter than ``least``."""
    length = min(len(names), max(least, -(-len(names) // of)))
    first = number * len(names) // of
    return list(islice([*names, *names], first, first + length))


def alive_cells(sites: Sites) -> list[str]:
    """The cells that are alive."""
    cells = operators_answer(sites.root / "coordinator", "/v1/status")["cells"]
    return [each["cell_id"] for each in cells if each["state"] == "alive"]


def rate(names: Sequence[str], seconds: float) -> str:
    return f"{len(names) * OBJECT_BYTES / MIB / seconds:.0f} MiB/s"


def percentile(seconds: Sequence[float], percent: int) -> float:
    return sorted(seconds)[len(seconds) * percent // 100]


def told(seconds: Sequence[float]) -> str:
    ms = [1000 * percentile(seconds, percent) for percent in (50, 99)]
    return f"{ms[0]:.0f} and {ms[1]:.0f} ms (of {len(seconds)})"


def cpu_of(sites: Sites) -> float:
    return sum(cpu_seconds(process.pid) for process in sites.running.values())


def count(coordinator: Path, table: str) -> int:
    found: int = rows_of(coordinator, f"SELECT count(*) FROM {table}")[0][0]
    return found


def held_bytes(coordinator: Path, cell_id: str) -> int:
    """The bytes that a cell should hold."""
    found: int = rows_of(
        coordinator,
        "SELECT coalesce(sum(shard_bytes), 0) FROM ring_slots JOIN cells USING (cell)"
        f" JOIN segments USING (ring) WHERE cell_id = x'{cell_id}'",
    )[0][0]
    return found


def spread(coordinator: Path) -> bool:
    """Return whether every ring has as many cells as slots."""
    rows = rows_of(
        coordinator, "SELECT count(*), count(DISTINCT cell) FROM ring_slots GROUP BY ring"
    )
    return all(slots == cells for slots, cells in rows)
