"""Work that is counted instead of timed, so that a busy machine changes nothing."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any


@dataclass(frozen=True, slots=True)
class Work:
    """Python lines that ran, and bytes that were allocated meanwhile.

    What is copied to a new place is allocated there, so text that is joined piece by piece shows
    in ``allocated_bytes`` and a loop in a loop in ``lines``.
    """

    lines: int
    allocated_bytes: int

    def is_within(self, times: int, other: Work) -> bool:
        """Whether it is at most so many times another's, lines and bytes alike."""
        return (
            self.lines <= times * other.lines
            and self.allocated_bytes <= times * other.allocated_bytes
        )


def work_of(act: Callable[[], Any]) -> Work:
    """Count what ``act`` does in this thread."""
    lines = allocated = held = 0

    def on_event(_frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal lines, allocated, held
        lines += event == "line"
        now, peak = tracemalloc.get_traced_memory()
        allocated += max(peak - held, 0)
        tracemalloc.reset_peak()
        held = now
        return on_event

    before = sys.gettrace()
    tracemalloc.start()
    sys.settrace(on_event)
    try:
        act()
    finally:
        sys.settrace(before)
        tracemalloc.stop()
    return Work(lines, allocated)
