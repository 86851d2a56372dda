"""Writes and syncs of a real store's process fail: a transaction that returned is there when the
store is opened again.

ALVEARY_IO_ERRORS=all tries every call (`make power-test`); else a sample.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from power_store import ALONE, LARGE, NAME, TOGETHER, value_of
from power_strace import WATCH, Fault, faults, injected, places, why_not, wrapper

from common.system.sqlite import SqliteStores

TRY_ALL: Final = os.environ.get("ALVEARY_IO_ERRORS") == "all"
SAMPLE: Final = 6
ROOT: Final = Path(__file__).parents[2]
ROWS: Final = ALONE + TOGETHER + LARGE + 1
ALL_OF: Final = 60
EVERY: Final = 97
FIRST: Final = 1000
"""Of the rows of the life with faults."""


@dataclass
class Life:
    """What a process said."""

    acknowledged: set[int] = field(default_factory=set)
    refused: dict[int, str] = field(default_factory=dict)
    not_opened: str = ""
    closed: bool = False
    code: int = 0


def live(directory: Path, first: int, trace: Path, options: list[str]) -> Life:
    """Run power_store.py to its end."""
    script = Path(__file__).with_name("power_store.py")
    done = subprocess.run(
        [*wrapper(trace, options), sys.executable, str(script), str(directory), str(first)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    life = Life(code=done.returncode)
    for line in done.stdout.splitlines():
        match json.loads(line):
            case {"row": row, "refused": ""}:
                life.acknowledged.add(row)
            case {"row": row, "refused": reason}:
                life.refused[row] = reason
            case {"not_opened": reason}:
                life.not_opened = reason
            case {"closed": _}:
                life.closed = True
    assert "Traceback" not in done.stderr, done.stderr
    return life


async def rows_in(directory: Path) -> set[int]:
    """Open as a daemon does and read all; every row must be whole."""
    store = await SqliteStores(directory).open(NAME)
    found = await store.read(lambda sql: list(sql.execute("SELECT number, value FROM rows")))
    await store.close()
    with closing(sqlite3.connect(directory / NAME)) as plain:
        assert plain.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    for number, value in found:
        assert value == value_of(number)
    return {number for number, _ in found}


@pytest.mark.timeout(3600 if TRY_ALL else 120)
async def test_a_store_whose_disk_errs_acknowledges_nothing_false(tmp_path: Path) -> None:
    if reason := why_not():
        pytest.skip(reason)
    trace, origin = tmp_path / "trace", tmp_path / "origin"
    origin.mkdir()
    before = live(origin, 0, trace, WATCH)
    assert len(before.acknowledged) == ROWS
    data = tmp_path / "data"
    shutil.copytree(origin, data)
    assert len(live(data, FIRST, trace, WATCH).acknowledged) == ROWS
    known = places(trace, data)
    assert {"pwrite64", "fdatasync"} <= set(known)
    known = {call: _thinned(numbers) for call, numbers in known.items()}
    everything = faults(known, onward=False) + faults(known, onward=True)
    if not TRY_ALL:
        everything = random.Random(1).sample(everything, SAMPLE)
    counts: Counter[str] = Counter()
    for fault in everything:
        shutil.rmtree(data)
        shutil.copytree(origin, data)
        life = live(data, FIRST, trace, fault.options())
        _judge(life, fault, before.acknowledged, await rows_in(data), counts)
        counts["faults"] += bool(injected(trace))
        counts["failed calls"] += injected(trace)
    print(json.dumps({"series": "store", **counts}))
    assert counts["faults"] > 0.8 * len(everything)


def _thinned(numbers: list[int]) -> list[int]:
    """Every write of the small transactions; of the large, which write thousands of pages one like
    the other, one in EVERY."""
    return numbers[:ALL_OF] + numbers[ALL_OF::EVERY]


def _judge(
    life: Life, fault: Fault, earlier: set[int], there: set[int], counts: Counter[str]
) -> None:
    lost = (earlier | life.acknowledged) - there
    assert not lost, f"{fault}: acknowledged and lost: {sorted(lost)}"
    assert there <= earlier | life.acknowledged | set(life.refused), f"{fault}: never written"
    # What was refused may be there all the same: after a failed sync its frames are in the log.
    assert set(life.refused.values()) <= {"store_failed", "store_unknown"}, f"{fault}: {life}"
    if life.not_opened:
        assert life.not_opened == "store_failed"
        assert life.code == 1
    else:
        assert life.closed
        assert len(life.acknowledged) + len(life.refused) == ROWS
    counts["acknowledged"] += len(life.acknowledged)
    counts["refused"] += len(life.refused)
    counts["refused and there"] += len(there & set(life.refused))
    counts["not opened"] += bool(life.not_opened)
