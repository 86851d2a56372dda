"""The rules of locks: which deletes and changes the lock of a version allows. Pure.

Source: Amazon S3 User Guide, "Locking objects with Object Lock"; docs/decisions/0043-locks.md.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from common import limits
from common.errors import Refused
from common.reasons import Refusal
from common.wire.messages.locks import (
    COMPLIANCE,
    GOVERNANCE,
    HOLD_NEVER_SET,
    HOLD_ON,
    NO_RETENTION,
    DefaultRetention,
    Lock,
)

DAY_MS: Final = 86_400_000
YEAR_DAYS: Final = 365
_MODES: Final = frozenset({GOVERNANCE, COMPLIANCE})


def is_retained(lock: Lock, now_ms: int) -> bool:
    """Return whether a retention is in force."""
    return lock.mode != NO_RETENTION and now_ms < lock.until_ms


def may_delete(lock: Lock, now_ms: int, *, bypass: bool = False) -> bool:
    """Return whether a version may be deleted, or its data exchanged.

    Args:
        now_ms: unix milliseconds.
        bypass: the caller may bypass GOVERNANCE, and asks for it.
    """
    if lock.hold == HOLD_ON:
        return False
    return not is_retained(lock, now_ms) or (bypass and lock.mode == GOVERNANCE)


def may_retain(lock: Lock, new: Lock, now_ms: int, *, bypass: bool) -> bool:
    """Return whether the retention of a version may be replaced by another one.

    Args:
        lock: as it is.
        new: as it would be; its hold does not matter.
        now_ms: unix milliseconds.
        bypass: as of :func:`may_delete`.
    """
    if not is_retained(lock, now_ms) or (bypass and lock.mode == GOVERNANCE):
        return True
    return new.mode == lock.mode and new.until_ms >= lock.until_ms


def check_lock(lock: Lock) -> None:
    """Refuse a lock that says nothing that can be meant.

    Raises:
        Refused: ``bad_value``.
    """
    has_retention = lock.mode in _MODES
    if not has_retention and lock.mode != NO_RETENTION:
        raise Refused(Refusal.BAD_VALUE, mode=lock.mode)
    if has_retention != (lock.until_ms > 0) or lock.until_ms > limits.MAX_DATE_MS:
        raise Refused(Refusal.BAD_VALUE, until_ms=lock.until_ms)
    if not HOLD_NEVER_SET <= lock.hold <= HOLD_ON:
        raise Refused(Refusal.BAD_VALUE, hold=lock.hold)


def check_default(default: DefaultRetention) -> None:
    """Refuse a default retention that says nothing that can be meant.

    Raises:
        Refused: ``bad_value``.
    """
    has_retention = default.mode in _MODES
    if not has_retention and default.mode != NO_RETENTION:
        raise Refused(Refusal.BAD_VALUE, mode=default.mode)
    periods = (default.days > 0) + (default.years > 0)
    if periods != has_retention:
        raise Refused(Refusal.BAD_VALUE, days=default.days, years=default.years)
    if default.days > limits.MAX_RETENTION_DAYS or default.years > limits.MAX_RETENTION_YEARS:
        raise Refused(Refusal.BAD_VALUE, days=default.days, years=default.years)


def of_new_version(lock: Lock, default: DefaultRetention, now_ms: int) -> Lock:
    """Return the lock of a version that is committed.

    Args:
        lock: that its writer gives it.
        default: of its bucket, which counts where the writer gives no retention.
        now_ms: the time of the commit, unix milliseconds.
    """
    if lock.mode != NO_RETENTION or default.mode == NO_RETENTION:
        return lock
    days = default.days + YEAR_DAYS * default.years
    return replace(lock, mode=default.mode, until_ms=now_ms + days * DAY_MS)
