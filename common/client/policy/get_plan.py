"""Choice of the slots to ask for a stripe, their order, and the number of stripes at once.

Pure. ``common/client/fetch_units.py`` and ``read_object.py`` carry it out.

Source: docs/data-path.md, "Reading".
"""

from __future__ import annotations

from collections.abc import Sequence

from common import limits


def slot_order(k: int, penalties: Sequence[int], usable: Sequence[bool]) -> list[int]:
    """The slots in the order to try them: first k at once, the rest as spares.

    Healthy before slow before suspect; among equals data slots first, because a stripe of the k
    data units needs no decoding.

    Args:
        k: data slots are 0..k-1.
        penalties: per slot, :meth:`SlotHealth.penalty`.
        usable: per slot, whether it holds a shard and there is an order for it.
    """
    slots = [slot for slot, good in enumerate(usable) if good]
    return sorted(slots, key=lambda slot: (penalties[slot], slot >= k, slot))


def group_stripes(
    stripe: int, stop: int, unit_bytes: int, sealed_bytes: int, most_bytes: int
) -> int:
    """Return the number of stripes to fetch at once.

    Args:
        stripe: the first.
        stop: one past the last stripe wanted.
        unit_bytes: of one full unit; a read of one slot carries at most
            MAX_UNITS_PER_READ_BYTES of them.
        sealed_bytes: of one full stripe.
        most_bytes: sealed bytes that the caller cares to hold for one group.

    Returns:
        At least 1.
    """
    fit = min(limits.MAX_UNITS_PER_READ_BYTES // unit_bytes, most_bytes // sealed_bytes)
    return max(1, min(fit, stop - stripe))
