"""Nobody waits long because somebody else is greedy.

How long the others wait is compared with what the same run showed while nobody was greedy: the
slowest of a hundred may wait thrice as long and a second, no more, and each must be answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sim.history import Wait

TIMES: Final = 3.0
MORE_S: Final = 1.0


def p99_s(seconds: Sequence[float]) -> float:
    """The wait that one of a hundred exceeds; the longest of fewer."""
    ordered = sorted(seconds)
    return ordered[max(0, -(-len(ordered) * 99 // 100) - 1)] if ordered else 0.0


def check_waits(waits: Sequence[Wait], spans: Sequence[tuple[float, float]]) -> list[str]:
    """Violations, readable.

    Args:
        spans: when somebody was greedy.
    """
    busy: list[Wait] = []
    quiet: list[Wait] = []
    for wait in waits:
        meets = any(
            begin <= wait.start_s + wait.seconds and wait.start_s <= end for begin, end in spans
        )
        (busy if meets else quiet).append(wait)
    violations = []
    unanswered = sum(not each.is_answered for each in busy)
    if unanswered:
        violations.append(f"{unanswered} of {len(busy)} were not answered beside a greedy caller")
    bound_s = TIMES * p99_s([each.seconds for each in quiet]) + MORE_S
    found_s = p99_s([each.seconds for each in busy])
    if found_s > bound_s:
        violations.append(
            f"p99 of {len(busy)} waits beside a greedy caller is {found_s:.2f} s,"
            f" more than {bound_s:.2f} s"
        )
    return violations
