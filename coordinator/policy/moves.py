"""Moves of slots: which slot of a ring goes from which cell to which.

Pure: snapshots go in, moves come out.

Source: docs/decisions/0031-repair.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class MoveReason(StrEnum):
    """The cause of a move, by which it is decided what becomes of it when the source returns."""

    LOST = "lost"
    """The source is lost or was removed: a source that returns is taken back where that is less."""
    DRAIN = "drain"
    """The source is leaving."""
    EVEN = "even"
    """The source is fuller than others, or its ring is crowded on one site."""


@dataclass(frozen=True, slots=True)
class Move:
    """One slot to be moved: ``target`` becomes its holder, ``source`` was."""

    ring: int
    slot: int
    source: int
    target: int
    reason: MoveReason


@dataclass(frozen=True, slots=True)
class FormerHolder:
    """The former holder of a slot, which may have the shards that the holder still misses."""

    cell: int
    reason: MoveReason


@dataclass(frozen=True, slots=True)
class HeldRing:
    """A ring as moves see it: the holder of each slot, and by slot the source of a move that is
    not finished."""

    ring: int
    k: int
    cells: tuple[int, ...]
    sources: Mapping[int, FormerHolder] = field(default_factory=dict)
