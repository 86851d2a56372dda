"""A swarm of real processes that loses a cell with its disk, and lets another one leave."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from e2e_repair import (
    Load,
    bad_shards,
    has_full_margin,
    operators_answer,
    rows_of,
    unreadable,
)
from e2e_swarm import BIN, QUICK, Swarm, clean_environment, wait_until

from common.limits import MIB

BUCKET = "repair"
LOST_AFTER_S = 8
OBJECTS = 12
OBJECT_BYTES = 2 * MIB
PATIENCE_S = 120


class Repaired:
    """A swarm of six cells at 2/4, single daemons of which are stopped and started again."""

    def __init__(self, swarm: Swarm) -> None:
        self.swarm = swarm
        self.coordinator = swarm.root / "coordinator"
        self.written: dict[str, str] = {}
        self._started: list[subprocess.Popen[bytes]] = []

    def start_again(self, name: str) -> None:
        """Start a daemon that was killed, on the directory that it had."""
        role = name.partition("-")[0]
        directory = self.swarm.root / name
        command = [str(BIN / "alveary"), role, "--config", str(directory / "config.toml")]
        command += ["--parent-pid", str(os.getpid())]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=clean_environment(self.swarm.home),
        )
        self._started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline(), f"{name} did not start"

    def kill(self, name: str) -> None:
        pid = next(
            (each.pid for each in self._started if each.poll() is None and name in each.args[3]),
            None,
        )
        if pid is None:
            self.swarm.kill(name)
        else:
            os.kill(pid, signal.SIGKILL)

    def write(self, s3: Any, prefix: str, count: int = OBJECTS) -> None:
        for number in range(count):
            name, body = f"{prefix}/{number}", random.randbytes(OBJECT_BYTES)
            s3.put_object(Bucket=BUCKET, Key=name, Body=body)
            self.written[name] = sha256(body).hexdigest()

    def cell_ids(self) -> dict[str, str]:
        """The ids of the cells by the names of their directories, while all have one address."""
        cells = operators_answer(self.coordinator, "/v1/status")["cells"]
        by_address = {each["address"]: each["cell_id"] for each in cells}
        return {
            path.name: by_address[address]
            for path in sorted(self.swarm.root.glob("cell-*"))
            if (address := _listen_of(path)) in by_address
        }

    def cell(self, cell_id: str) -> dict[str, Any]:
        return operators_answer(self.coordinator, f"/v1/cells/{cell_id}")

    def wait_full_margin(self, timeout_s: float = PATIENCE_S) -> None:
        wait_until(lambda: has_full_margin(self.coordinator), timeout_s, "full margin")

    def close(self) -> None:
        for process in self._started:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def _listen_of(cell: Path) -> str:
    import tomllib

    return str(tomllib.loads((cell / "config.toml").read_text())["listen"])


@pytest.fixture
def repaired(make_swarm: Callable[..., Swarm]) -> Iterator[Repaired]:
    swarm = make_swarm(cells=6, redundancy="2/4")
    swarm.configure("coordinator", **QUICK, lost_after_s=LOST_AFTER_S)
    for number in range(6):
        swarm.configure(f"cell-{number:02d}", repair_bandwidth=2 * MIB)
    swarm.start()
    made = Repaired(swarm)
    with closing(swarm.boto3()) as s3:
        s3.create_bucket(Bucket=BUCKET)
    yield made
    made.close()


@pytest.mark.timeout(400)
def test_cells_that_leave_or_are_wiped_cost_no_margin_in_the_end(
    repaired: Repaired,
) -> None:
    swarm = repaired.swarm
    ids = repaired.cell_ids()
    assert len(ids) == 6
    with closing(swarm.boto3()) as s3:
        repaired.write(s3, "first")
        leaves_while_the_coordinator_is_killed(repaired, ids["cell-01"])
        swarm.alveary("cell", "remove", ids["cell-01"], f"--data={swarm.root}")
        repaired.kill("cell-01")
        wiped_while_clients_go_on(repaired, "cell-02")
        # Of six cells two are gone, and the others have everything: two more may go.
        assert not unreadable(s3, BUCKET, repaired.written)
        repaired.kill("cell-03")
        repaired.kill("cell-04")
        assert not unreadable(s3, BUCKET, repaired.written)
    swarm.stop()
    repaired.close()
    shards, bad = bad_shards(
        repaired.coordinator, {cell_id: swarm.root / name for name, cell_id in ids.items()}
    )
    assert shards >= 4 * len(repaired.written)
    assert not bad


def leaves_while_the_coordinator_is_killed(repaired: Repaired, cell_id: str) -> None:
    """A drain ends, though the coordinator dies in the middle of it, and the cell is empty."""
    data = f"--data={repaired.swarm.root}"
    repaired.swarm.alveary("cell", "drain", cell_id, data)

    def leaving(what: str) -> int:
        return int(repaired.cell(cell_id)["leaving"][what])

    wait_until(lambda: leaving("moving_slots") > 0, PATIENCE_S, "some of it moves")
    repaired.kill("coordinator")
    repaired.start_again("coordinator")
    assert leaving("shards") > 0, "the kill came in the middle"
    wait_until(lambda: leaving("is_empty") == 1, PATIENCE_S, "the cell is empty")


def wiped_while_clients_go_on(repaired: Repaired, name: str) -> None:
    """A cell whose disk is gone is declared lost and its shards are rebuilt elsewhere."""
    cell_id = repaired.cell_ids()[name]

    def held() -> int:
        count: int = rows_of(
            repaired.coordinator,
            "SELECT count(*) FROM ring_slots JOIN cells USING (cell) JOIN segments USING (ring)"
            f" WHERE cell_id = x'{cell_id}'",
        )[0][0]
        return count

    assert held()
    with Load(repaired.swarm.boto3, BUCKET, threads=1) as load:
        repaired.kill(name)
        shutil.rmtree(repaired.swarm.root / name)
        wait_until(lambda: repaired.cell(cell_id)["state"] == "lost", PATIENCE_S, "declared lost")
        wait_until(lambda: not held(), PATIENCE_S, "its slots have other holders")
        repaired.wait_full_margin()
        load.wait_for(0, 5)
    failed = [each for each in load.since(0) if each.error]
    assert not failed, failed[:3]
    repaired.written |= load.written
    repaired.wait_full_margin()
