"""Freed memory is kept, up to a bound."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

_CHILD = """
import resource, sys
from common.system.memory import keep_freed_memory
if int(sys.argv[1]):
    keep_freed_memory(int(sys.argv[1]))
def cycle():
    for _ in range(100):
        buffers = [bytearray(1 << 20) for _ in range(4)]
        del buffers
cycle()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
cycle()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(kept_bytes: int) -> int:
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(kept_bytes)], capture_output=True, check=True, text=True
    )
    return int(done.stdout)


def test_buffers_that_come_and_go_cost_no_page_faults() -> None:
    if _faults(0) < 100 * resource.getpagesize() // 4096:
        pytest.skip("this C library keeps freed memory by itself")
    assert _faults(16 << 20) < 100


_LONG_LIVED = """
import gc, weakref
from common.system.memory import spare_long_lived
class Node:
    pass
def ring():
    first, second = Node(), Node()
    first.other, second.other = second, first
    return weakref.ref(first)
kept = [Node() for _ in range(10_000)]
spare_long_lived()
spared = gc.get_freeze_count()
later = ring()
gc.collect()
print(spared >= 10_000, len(gc.get_objects()) < 10_000, later() is None)
"""


def test_what_lives_long_is_spared_and_what_comes_later_is_collected() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LONG_LIVED], capture_output=True, check=True, text=True
    )
    assert done.stdout.split() == ["True"] * 3
