"""Spans: runs of an object's bytes."""

from __future__ import annotations

from typing import Final

from common.data_classes import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes ``first`` to ``last`` of an object, both included, counted from 0."""

    first: int
    last: int

    @property
    def length(self) -> int:
        """The number of bytes."""
        return self.last - self.first + 1


EVERYTHING: Final = Span(0, (1 << 62) - 1)
"""The whole of an object whose size is not yet known."""
