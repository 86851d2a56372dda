"""Storage classes: how redundantly data is kept, and on which sites.

Pure. Source: docs/placement.md, "Storage classes".
"""

from __future__ import annotations

import re
from typing import Final

from common import limits
from common.data_classes import dataclass
from common.wire.messages.base import STANDARD_CLASS
from coordinator.policy.fence import EVERYWHERE, Fence
from coordinator.policy.placement import Redundancy, default_quorum

STANDARD: Final = 0
"""The number of the class that is configured, which buckets have that name no other."""
_REDUNDANCY: Final = re.compile(r"([0-9]{1,2})/([0-9]{1,2})")


@dataclass(frozen=True, slots=True)
class StorageClass:
    """A storage class. ``fence``: the sites that may hold its data."""

    number: int
    name: str
    redundancy: Redundancy
    fence: Fence = EVERYWHERE


def standard(redundancy: Redundancy) -> StorageClass:
    """Return the class that is configured."""
    return StorageClass(STANDARD, STANDARD_CLASS, redundancy)


def redundancy_of(text: str, quorum: int | None = None) -> Redundancy | None:
    """Return the redundancy that ``k/n`` says; None where there is no such.

    Args:
        text: as operators write it.
        quorum: of writes, k to n; None: the usual one.
    """
    match = _REDUNDANCY.fullmatch(text)
    k, n = (int(match[1]), int(match[2])) if match is not None else (0, 0)
    if not 1 <= k <= n <= limits.MAX_SLOTS:
        return None
    wanted = default_quorum(k, n) if quorum is None else quorum
    return Redundancy(k, n, wanted) if k <= wanted <= n else None
