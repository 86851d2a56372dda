"""Limits on the room that may be reserved for units that have not come yet.

Source: docs/protocol.md, "Room of uploads".
"""

from __future__ import annotations

from common import limits


def may_reserve(wanted: int, *, own: int, total: int, free: int) -> bool:
    """Return whether a caller may have more room reserved. All figures are bytes.

    One upload is always allowed, so that a cell that is nearly full still takes what fits.

    Args:
        wanted: what the new upload needs.
        own: reserved for this caller's other uploads, and not yet filled.
        total: the same of all callers.
        free: what the cell can still take, beside what is reserved.
    """
    room = free + total
    if own and own + wanted > min(room // 2, limits.MAX_UNFILLED_BYTES_PER_CALLER):
        return False
    return not total or total + wanted <= room * 3 // 4
