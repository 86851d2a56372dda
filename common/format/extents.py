"""Geometry of objects: how bytes lie over segments, extents and pages. Pure arithmetic.

Source: docs/manifest-format.md, "Geometry".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from common import limits
from common.data_classes import dataclass
from common.wire.messages.writing import Extent, Page


def segment_sizes(size: int) -> list[int]:
    """Cut an object of ``size`` bytes into segments: the plaintext bytes of each, full ones and a
    rest."""
    full, rest = divmod(size, limits.SEGMENT_BYTES)
    return [limits.SEGMENT_BYTES] * full + ([rest] if rest else [])


def pages_of_extents(extents: Sequence[Extent]) -> tuple[Page, ...]:
    """Put extents into pages, MAX_EXTENTS_PER_PAGE each; no page for no extents."""
    return tuple(
        Page(tuple(extents[at : at + limits.MAX_EXTENTS_PER_PAGE]))
        for at in range(0, len(extents), limits.MAX_EXTENTS_PER_PAGE)
    )


def page_bytes(page: Page) -> int:
    """Return the plaintext bytes of a page."""
    return sum(extent.length for extent in page.extents)


@dataclass(frozen=True, slots=True)
class ExtentRun:
    """A run of consecutive object bytes inside one extent."""

    extent: Extent
    offset: int
    """First plaintext byte, counted in the segment."""
    length: int
    page: int
    """Number of the page that the extent stands in."""


def runs_of_page(page: Page, number: int, start: int, first: int, last: int) -> Iterator[ExtentRun]:
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
            yield ExtentRun(extent, extent.offset + begin - at, end - begin, number)
        at += extent.length
        if at > last:
            return


def join_runs(runs: Sequence[ExtentRun]) -> list[Extent]:
    """Return the extents that hold exactly these runs, in order, with neighbours that continue each
    other in one segment joined."""
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
