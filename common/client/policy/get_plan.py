"""Which slots to ask for a stripe, when to hedge, and how a byte range lies over segments.

Pure. ``common/client/read_object.py`` carries it out.

Source: docs/data-path.md, "Reading".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from common.limits import MAX_EXTENTS_PER_PAGE, MAX_UNITS_PER_READ_BYTES
from common.wire.messages.writing import Extent, Page


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
    """How many stripes to fetch at once.

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
    fit = min(MAX_UNITS_PER_READ_BYTES // unit_bytes, most_bytes // sealed_bytes)
    return max(1, min(fit, stop - stripe))


@dataclass(frozen=True, slots=True)
class Run:
    """A run of consecutive object bytes inside one extent."""

    extent: Extent
    offset: int
    """First plaintext byte, counted in the segment."""
    length: int
    page: int
    """Number of the page that the extent stands in."""


def runs_of_page(page: Page, number: int, start: int, first: int, last: int) -> Iterator[Run]:
    """Cut the object's bytes ``first..last`` out of one page.

    Args:
        page: the page.
        number: its number.
        start: the object offset of its first byte.
        first: first byte wanted, inclusive, in the object.
        last: last byte wanted, inclusive.
    """
    at = start
    for extent in page.extents:
        begin = max(first, at)
        end = min(last + 1, at + extent.length)
        if begin < end:
            yield Run(extent, extent.offset + begin - at, end - begin, number)
        at += extent.length
        if at > last:
            return


def pages_of_extents(extents: Sequence[Extent]) -> tuple[Page, ...]:
    """Put extents into pages, MAX_EXTENTS_PER_PAGE each; no page for no extents."""
    return tuple(
        Page(tuple(extents[at : at + MAX_EXTENTS_PER_PAGE]))
        for at in range(0, len(extents), MAX_EXTENTS_PER_PAGE)
    )


def join_runs(runs: Sequence[Run]) -> list[Extent]:
    """The extents that hold exactly these runs, in order; neighbours that continue each other in
    one segment become one."""
    extents: list[Extent] = []
    for run in runs:
        new = replace(run.extent, offset=run.offset, length=run.length)
        old = extents[-1] if extents else None
        if (
            old is not None
            and old.segment_id == new.segment_id
            and old.commitment == new.commitment
            and old.number == new.number
            and old.offset + old.length == new.offset
        ):
            extents[-1] = replace(old, length=old.length + new.length)
        else:
            extents.append(new)
    return extents


def page_bytes(page: Page) -> int:
    """Plaintext bytes of a page."""
    return sum(extent.length for extent in page.extents)
