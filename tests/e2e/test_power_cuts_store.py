"""Power cuts under a process with a real store, on a disk that may err: a transaction that
returned is there for ever.

ALVEARY_POWER_CUTS and ALVEARY_POWER_SEED as in test_power_cuts.py; a quarter as many cuts.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Final

import pytest
import trio
from power_disk import ROOT, PowerDisk
from power_fuse import why_not
from power_store import NAME, value_of
from power_strace import come_true

from common.system.sqlite import SqliteStores

CUTS: Final = max(6, int(os.environ.get("ALVEARY_POWER_CUTS", "12")) // 4)
SEED: Final = int(os.environ.get("ALVEARY_POWER_SEED", "1"))
CUTS_OF_A_MEDIUM: Final = 10
LIFE_LIMIT_S: Final = 30.0
CHANGES: Final = (200, 3000)
"""Of the small transactions of a life; of all of it, about."""
SYNCS: Final = 20


class Rows:
    """A store on a medium, one power cut after another."""

    def __init__(self, place: Path, seed: int) -> None:
        (place / "medium").mkdir(parents=True)
        self.counts: Counter[str] = Counter()
        self._disk = PowerDisk(place / "medium")
        self._place = place
        self._chance = random.Random(seed)
        self._acknowledged: set[int] = set()
        self._begun: set[int] = set()

    async def run(self, cuts: int) -> None:
        """Live and die so many times, and look after each."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._disk.run)
            for number in range(cuts):
                await self._live(number)
            await self._disk.end()
            nursery.cancel_scope.cancel()

    async def _live(self, number: int) -> None:
        chance = self._chance
        await self._disk.mount()
        cut_at = 1 + chance.randrange(chance.choice(CHANGES))
        await self._disk.cut_at(cut_at, done=chance.random() < 0.5)
        fault = None
        if chance.random() < 0.5:
            fault = ("sync", 1 + chance.randrange(SYNCS), "EIO", chance.random() < 0.5)
            await self._disk.fail_at(*fault)
        process = self._start(number * 1000)
        try:
            await come_true(lambda: self._is_over(process), LIFE_LIMIT_S)
            assert self._is_over(process), "neither done nor cut"
            if not self._disk.frozen_at:
                await self._disk.freeze()
        finally:
            process.kill()
            seed = chance.randrange(1 << 32)
            with trio.CancelScope(shield=True):
                facts = await self._disk.cut(seed)
                await trio.to_thread.run_sync(process.wait)
        self.counts["cuts"] += 1
        self.counts["at rest"] += not self._disk.frozen_at
        self.counts["errors"] += facts["failed"]
        self._take_in((self._place / "said").read_text())
        there = await self._rows()
        story = f"{self._place.name}, cut {number}, {cut_at=}, {fault=}, {seed=}"
        lost = self._acknowledged - there
        assert not lost, f"{story}: acknowledged and lost: {sorted(lost)}"
        assert there <= self._begun, f"{story}: never written: {sorted(there - self._begun)}"
        # What survived the first look must survive all others.
        self._acknowledged |= there
        self._begun = set(there)

    def _is_over(self, process: subprocess.Popen[bytes]) -> bool:
        return bool(self._disk.frozen_at) or process.poll() is not None

    def _start(self, first: int) -> subprocess.Popen[bytes]:
        script = str(Path(__file__).with_name("power_store.py"))
        with (self._place / "said").open("wb") as said:
            return subprocess.Popen(
                [sys.executable, script, str(self._disk.place), str(first)],
                stdout=said,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )

    def _take_in(self, said: str) -> None:
        for line in said.splitlines():
            match json.loads(line):
                case {"begun": row}:
                    self._begun.add(row)
                case {"row": row, "refused": ""}:
                    self._acknowledged.add(row)
                    self.counts["acknowledged"] += 1
                case {"row": _, "refused": _}:
                    self.counts["refused"] += 1
                case {"not_opened": _}:
                    self.counts["not opened"] += 1

    async def _rows(self) -> set[int]:
        """All rows of a copy of what is left, each whole."""
        copied = self._place / "copy"
        shutil.rmtree(copied, ignore_errors=True)
        await self._disk.mount()
        await trio.to_thread.run_sync(shutil.copytree, self._disk.place, copied)
        await self._disk.freeze()
        await self._disk.cut(0)
        if not (copied / NAME).exists():
            return set()
        store = await SqliteStores(copied).open(NAME)
        try:
            found = await store.read(
                lambda sql: (
                    list(sql.execute("SELECT number, value FROM rows"))
                    if list(sql.execute("SELECT 1 FROM sqlite_master WHERE name = 'rows'"))
                    else []
                )
            )
        finally:
            await store.close()
        for number, value in found:
            assert value == value_of(number), f"row {number} is damaged"
        return {number for number, _ in found}


@pytest.mark.timeout(120 + CUTS * 10)
async def test_rows_that_were_acknowledged_survive_power_cuts(tmp_path: Path) -> None:
    (tmp_path / "try").mkdir()
    if reason := why_not(tmp_path / "try"):
        pytest.skip(reason)
    counts: Counter[str] = Counter()
    for number in range(0, CUTS, CUTS_OF_A_MEDIUM):
        rows = Rows(tmp_path / f"medium-{number}", SEED * 1000 + number)
        await rows.run(min(CUTS_OF_A_MEDIUM, CUTS - number))
        counts.update(rows.counts)
        shutil.rmtree(tmp_path / f"medium-{number}")
    print(json.dumps({"series": "power cuts under a store", **counts}))
    assert counts["cuts"] == CUTS
    assert counts["acknowledged"] > CUTS
