"""The order in which missing shards are filled: those of segments nearest to their loss first.

Pure.

Source: docs/decisions/0031-repair.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

from common.data_classes import dataclass

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Candidate(Generic[T]):
    """A missing shard that could be filled. ``spare``: shards of its segment that can be read now,
    beyond k. ``has_source``: the slot's former holder can be read and may have it."""

    shard: T
    spare: int
    has_source: bool


def rank(candidates: Iterable[Candidate[T]]) -> list[T]:
    """Return the shards that can be filled now, the most urgent last.

    Where fewer than k shards of a segment can be read, and none at the slot's source, the shard
    cannot be filled before others come back.
    """
    able = [each for each in candidates if each.spare >= 0 or each.has_source]
    able.sort(key=lambda each: each.spare, reverse=True)
    return [each.shard for each in able]


def bits(slots: Iterable[int]) -> int:
    """Return a set of slots as bits."""
    return sum(1 << slot for slot in slots)
