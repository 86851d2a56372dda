"""The read policies."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common.client.policy.get_plan import group_stripes, slot_order
from common.limits import MAX_UNITS_PER_READ_BYTES, MIB


def test_data_slots_come_first_unless_slow_or_suspect() -> None:
    usable = [True] * 6
    assert slot_order(4, [0] * 6, usable) == [0, 1, 2, 3, 4, 5]
    assert slot_order(4, [0, 1, 0, 0, 0, 0], usable) == [0, 2, 3, 4, 5, 1]
    assert slot_order(4, [2, 1, 0, 0, 0, 0], usable) == [2, 3, 4, 5, 1, 0]
    assert slot_order(4, [0] * 6, [True, False, True, True, True, False]) == [0, 2, 3, 4]


@given(st.integers(0, 63), st.integers(1, 64), st.integers(64, MIB), st.integers(1, 8 * MIB))
def test_a_group_of_stripes_fits_one_read(
    stripe: int, count: int, unit_bytes: int, most: int
) -> None:
    group = group_stripes(stripe, stripe + count, unit_bytes, 4 * unit_bytes, most)
    assert 1 <= group <= count
    assert group == 1 or group * unit_bytes <= MAX_UNITS_PER_READ_BYTES
    assert group == 1 or group * 4 * unit_bytes <= most
