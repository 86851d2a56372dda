"""Nobody waits long because somebody else is greedy.

How long the others wait is compared with what the same run showed while nobody was greedy: the
slowest of a hundred may wait thrice as long and a second, no more, and each must be answered. A
wait that had begun before somebody was greedy counts by its parts: what had passed by then is a
quiet wait of at least that length, and only the rest can be the greedy caller's doing.
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
    busy_s: list[float] = []
    quiet_s: list[float] = []
    unanswered = 0
    for wait in waits:
        end_s = wait.start_s + wait.seconds
        met = [begin for begin, end in spans if begin <= end_s and wait.start_s <= end]
        if not met:
            quiet_s.append(wait.seconds)
            continue
        before_s = max(0.0, min(met) - wait.start_s)
        if before_s:
            quiet_s.append(before_s)
        busy_s.append(wait.seconds - before_s)
        unanswered += not wait.is_answered
    violations = []
    if unanswered:
        violations.append(f"{unanswered} of {len(busy_s)} were not answered beside a greedy caller")
    bound_s = TIMES * p99_s(quiet_s) + MORE_S
    found_s = p99_s(busy_s)
    if found_s > bound_s:
        violations.append(
            f"p99 of {len(busy_s)} waits beside a greedy caller is {found_s:.2f} s,"
            f" more than {bound_s:.2f} s"
        )
    return violations
