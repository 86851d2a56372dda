"""A cell of five sites is wiped while clients go on: `make repair-test MIB=1024`, where MIB is
about what the cell holds."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
from e2e_repair import Load, bad_shards, has_full_margin, rows_of, unreadable
from e2e_sites import CELL_PORT, Sites, why_no_sites
from e2e_swarm import QUICK, wait_until

from bench.machine import cpu_seconds
from common.limits import GIB, MIB

BUCKET = "rebuild"
CELL_MIB = int(os.environ.get("ALVEARY_REPAIR_TEST_MIB", "256"))
CELLS, K, N = 7, 4, 6
OBJECT_BYTES = 32 * MIB
LOST_AFTER_S = 10
BASELINE_S = 20.0
PATIENCE_S = 60 + 4 * CELL_MIB

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_no_sites()), reason=why_no_sites()),
]


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[Sites]:
    made = Sites(tmp_path, 5, 1, f"{K}/{N}", **QUICK, lost_after_s=LOST_AFTER_S)
    try:
        made.start()
        for number in (5, 6):
            made.add_cell(f"cell-{number}", number - 5, CELL_PORT + 1)
        yield made
    finally:
        made.destroy()


@pytest.mark.timeout(600 + 12 * CELL_MIB)
def test_a_wiped_cell_is_rebuilt_while_clients_go_on_and_any_two_others_may_go_then(
    sites: Sites,
) -> None:
    coordinator = sites.root / "coordinator"
    wait_until(lambda: len(alive_cells(sites)) == CELLS, 60, "every cell is heard")
    written = {}
    with closing(sites.boto3()) as s3:
        s3.create_bucket(Bucket=BUCKET)
        for number in range(max(1, CELL_MIB * MIB * CELLS * K // N // OBJECT_BYTES)):
            name, body = f"large/{number}", random.randbytes(OBJECT_BYTES)
            s3.put_object(Bucket=BUCKET, Key=name, Body=body)
            written[name] = sha256(body).hexdigest()
        held = held_bytes(coordinator, sites.ids["cell-2"])
        with Load(sites.boto3, BUCKET) as load:
            begun = time.monotonic()
            time.sleep(BASELINE_S)
            before = cpu_of(sites)
            time.sleep(BASELINE_S)
            idle_cpu_per_s = (cpu_of(sites) - before) / BASELINE_S
            killed_at = time.monotonic()
            sites.kill("cell-2")
            shutil.rmtree(sites.root / "cell-2")
            wait_until(lambda: bool(count(coordinator, "sources")), PATIENCE_S, "declared lost")
            lost_at, before = time.monotonic(), cpu_of(sites)
            wait_until(
                lambda: (
                    not held_bytes(coordinator, sites.ids["cell-2"])
                    and has_full_margin(coordinator)
                ),
                PATIENCE_S,
                "full margin",
            )
            rebuilt_at = time.monotonic()
            cpu = cpu_of(sites) - before - idle_cpu_per_s * (rebuilt_at - lost_at)
            load.wait_for(killed_at, 5)
        failed = [each for each in load.since(0) if each.error]
        written |= load.written
        wait_until(lambda: has_full_margin(coordinator), PATIENCE_S, "full margin of the newest")
        took = rebuilt_at - lost_at
        print(
            f"\nrebuilt {held / MIB:.0f} MiB in {took:.0f} s: {held / 1e6 / took:.1f} MB/s,"
            f" {cpu / (held / GIB):.1f} CPU-s/GiB; 10 GB: {10e9 / (held / took) / 60:.1f} min;"
            f" lost after {lost_at - killed_at:.0f} s"
            f"\np99 ms before: {load.p99_ms(begun, killed_at)},"
            f" during: {load.p99_ms(lost_at, rebuilt_at)};"
            f" {len(failed)} of {len(load.since(0))} requests failed"
        )
        assert not failed, failed[:3]
        gone = random.sample([name for name in sites.ids if name != "cell-2"], N - K)
        sites.kill(*gone)
        assert not unreadable(s3, BUCKET, written), f"without {gone}"
    sites.kill(*list(sites.running))
    shards, bad = bad_shards(
        coordinator, {cell_id: sites.root / name for name, cell_id in sites.ids.items()}
    )
    assert shards >= N * len(written)
    assert not bad
    assert spread(coordinator), "no ring has a cell twice"


def alive_cells(sites: Sites) -> list[str]:
    """The cells that are alive."""
    cells = sites.operator("status")["cells"]
    return [each["cell_id"] for each in cells if each["state"] == "alive"]


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
