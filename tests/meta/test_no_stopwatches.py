"""Machines are noisy: tests count work, or let simulated time pass (docs/hacking.md)."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
STOPWATCH = re.compile(r"\b(perf_counter|process_time|thread_time|timeit|time\.monotonic)(_ns)?\b")


def test_no_test_times_real_work() -> None:
    timed = [
        str(path.relative_to(TESTS))
        for path in sorted(TESTS.rglob("*.py"))
        if TESTS / "e2e" not in path.parents
        and path != Path(__file__)
        and STOPWATCH.search(path.read_text("utf-8"))
    ]
    assert timed == [], "count work (rigs/counted_work.py) or simulate time"
