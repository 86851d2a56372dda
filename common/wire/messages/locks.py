"""Locks, which keep versions from being deleted; in the clear, for coordinators decide by them.

Source: docs/protocol.md, "Messages"; docs/decisions/0043-locks.md.
"""

from __future__ import annotations

from typing import Final

from common.data_classes import dataclass
from common.wire.records import Record

NO_RETENTION: Final = 0
GOVERNANCE: Final = 1
"""Retention that a caller with the permission to bypass it can shorten and remove."""
COMPLIANCE: Final = 2
"""Retention that nobody can shorten or remove."""
HOLD_NEVER_SET: Final = 0
HOLD_OFF: Final = 1
HOLD_ON: Final = 2


@dataclass(frozen=True, slots=True)
class Lock(Record):
    """The lock of a version. ``mode``: NO_RETENTION, GOVERNANCE or COMPLIANCE; ``until_ms``: when
    the retention ends, unix milliseconds, or 0; ``hold``: the legal hold."""

    mode: int = NO_RETENTION
    until_ms: int = 0
    hold: int = HOLD_NEVER_SET


NO_LOCK: Final = Lock()


@dataclass(frozen=True, slots=True)
class DefaultRetention(Record):
    """The retention that a new version gets where its writer gives none: ``days`` or ``years`` from
    its commit on, one of which is 0. With NO_RETENTION both are."""

    mode: int = NO_RETENTION
    days: int = 0
    years: int = 0
