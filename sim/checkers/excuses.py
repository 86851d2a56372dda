"""Answers that a history must not be judged by, because somebody else answers for them.

Freshness is the coordinator's word (docs/threat-model.md). Where a coordinator is known to have
shown an older state, a client that read at that very moment may have seen it; where an older store
was in charge, what it answered is void. All other answers stand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from sim.checkers.linearizability import UNKNOWN_END, RegisterEffect, RegisterOperation

READS = frozenset({RegisterEffect.GET, RegisterEffect.EXISTS})


def without_rollbacks(
    operations: Sequence[RegisterOperation], was_rolled_back: Callable[[float, float], bool]
) -> list[RegisterOperation]:
    """The operations whose answers do not come from an older state.

    Args:
        was_rolled_back: whether one was shown of this name between two times. Reads then say
            nothing, nor does a condition that did not hold: it was compared with what was shown.
            What was written, was.
    """
    return [
        each
        for each in operations
        if not (
            (each.kind in READS or not each.holds) and was_rolled_back(each.start_s, each.end_s)
        )
    ]


def without_reigns(
    operations: Sequence[RegisterOperation], reigns: Sequence[tuple[float, float]]
) -> list[RegisterOperation]:
    """The operations as the newer store knows them, after an older one was in charge for a while.

    Reads of that time say nothing, and writes that began and ended in it never were, also where
    their end was an error: they can only have come to the older store, and no connection to it
    outlives it. Of a write that reaches into that time, or out of it, nobody knows which store it
    came to.

    Args:
        reigns: from when to when an older store was in charge.
    """
    kept = []
    for each in operations:
        touched = [(begin, end) for begin, end in reigns if _meets(each, begin, end)]
        if not touched:
            kept.append(each)
            continue
        ended_s = min(each.end_s, each.given_up_s)
        is_inside = any(begin <= each.start_s and ended_s <= end for begin, end in touched)
        if each.kind not in READS and not is_inside:
            kept.append(replace(each, end_s=UNKNOWN_END))
    return kept


def _meets(operation: RegisterOperation, begin_s: float, end_s: float) -> bool:
    return operation.start_s <= end_s and operation.end_s >= begin_s
