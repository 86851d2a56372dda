"""What locks allow, case by case."""

from __future__ import annotations

import pytest

from common.errors import Refused
from common.limits import MAX_DATE_MS
from common.wire import messages as m
from coordinator.policy import locks

NOW = 1_000
LATER = 2_000
FREE, GOVERNED, COMPLIANT = m.NO_LOCK, m.Lock(m.GOVERNANCE, LATER), m.Lock(m.COMPLIANCE, LATER)
HELD = m.Lock(hold=m.HOLD_ON)


@pytest.mark.parametrize(
    ("lock", "now_ms", "plainly", "by_bypass"),
    [
        (FREE, NOW, True, True),
        (GOVERNED, NOW, False, True),
        (COMPLIANT, NOW, False, False),
        (GOVERNED, LATER - 1, False, True),
        (COMPLIANT, LATER - 1, False, False),
        (GOVERNED, LATER, True, True),
        (COMPLIANT, LATER, True, True),
        (HELD, NOW, False, False),
        (m.Lock(m.GOVERNANCE, LATER, m.HOLD_ON), NOW, False, False),
        (m.Lock(m.COMPLIANCE, NOW, m.HOLD_ON), LATER, False, False),
        (m.Lock(hold=m.HOLD_OFF), NOW, True, True),
    ],
)
def test_a_lock_says_whether_its_version_may_be_deleted(
    lock: m.Lock, now_ms: int, plainly: bool, by_bypass: bool
) -> None:
    assert locks.may_delete(lock, now_ms, bypass=False) == plainly
    assert locks.may_delete(lock, now_ms, bypass=True) == by_bypass


@pytest.mark.parametrize(
    ("lock", "new", "plainly", "by_bypass"),
    [
        (FREE, GOVERNED, True, True),
        (FREE, COMPLIANT, True, True),
        (FREE, FREE, True, True),
        (HELD, COMPLIANT, True, True),
        (m.Lock(m.COMPLIANCE, NOW), FREE, True, True),
        (GOVERNED, GOVERNED, True, True),
        (GOVERNED, m.Lock(m.GOVERNANCE, LATER + 1), True, True),
        (GOVERNED, m.Lock(m.GOVERNANCE, LATER - 1), False, True),
        (GOVERNED, m.Lock(m.COMPLIANCE, LATER + 1), False, True),
        (GOVERNED, FREE, False, True),
        (COMPLIANT, COMPLIANT, True, True),
        (COMPLIANT, m.Lock(m.COMPLIANCE, LATER + 1), True, True),
        (COMPLIANT, m.Lock(m.COMPLIANCE, LATER - 1), False, False),
        (COMPLIANT, m.Lock(m.GOVERNANCE, LATER + 1), False, False),
        (COMPLIANT, FREE, False, False),
    ],
)
def test_a_retention_in_force_is_extended_and_else_kept(
    lock: m.Lock, new: m.Lock, plainly: bool, by_bypass: bool
) -> None:
    assert locks.may_retain(lock, new, NOW, bypass=False) == plainly
    assert locks.may_retain(lock, new, NOW, bypass=True) == by_bypass


@pytest.mark.parametrize(
    "lock",
    [
        m.Lock(3, LATER),
        m.Lock(m.GOVERNANCE, 0),
        m.Lock(m.NO_RETENTION, LATER),
        m.Lock(m.COMPLIANCE, MAX_DATE_MS + 1),
        m.Lock(hold=3),
    ],
)
def test_a_lock_that_says_nothing_is_refused(lock: m.Lock) -> None:
    with pytest.raises(Refused, match="bad_value"):
        locks.check_lock(lock)


@pytest.mark.parametrize(
    "default",
    [
        m.DefaultRetention(3, 1),
        m.DefaultRetention(m.GOVERNANCE),
        m.DefaultRetention(m.GOVERNANCE, 1, 1),
        m.DefaultRetention(m.NO_RETENTION, 1),
        m.DefaultRetention(m.COMPLIANCE, 36_501),
        m.DefaultRetention(m.COMPLIANCE, 0, 101),
    ],
)
def test_a_default_retention_that_says_nothing_is_refused(default: m.DefaultRetention) -> None:
    with pytest.raises(Refused, match="bad_value"):
        locks.check_default(default)


def test_a_new_version_has_the_retention_of_its_writer_or_else_of_its_bucket() -> None:
    day = 86_400_000
    default = m.DefaultRetention(m.GOVERNANCE, days=2)
    assert locks.of_new_version(HELD, default, NOW) == m.Lock(
        m.GOVERNANCE, NOW + 2 * day, m.HOLD_ON
    )
    assert locks.of_new_version(COMPLIANT, default, NOW) == COMPLIANT
    assert locks.of_new_version(FREE, m.DefaultRetention(), NOW) == FREE
    yearly = m.DefaultRetention(m.COMPLIANCE, years=1)
    assert locks.of_new_version(FREE, yearly, NOW).until_ms == NOW + 365 * day
