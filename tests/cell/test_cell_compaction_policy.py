"""Which volume is compacted."""

from cell.storage.compaction_policy import (
    RETIRED_BYTES_WORTH_IT,
    SPARE_BYTES,
    CompactionPlan,
    VolumeView,
    plan,
)
from common.limits import GIB, MIB


def volume(number, live_mib, *, size_mib=256, is_closed=True, is_active=False, is_excluded=False):
    return VolumeView(number, size_mib * MIB, live_mib * MIB, is_closed, is_active, is_excluded)


def choose(*volumes, capacity=100 * GIB, free=50 * GIB, medium=50 * GIB):
    return plan(volumes, capacity_bytes=capacity, free_bytes=free, medium_free_bytes=medium)


def test_a_volume_is_worth_it_when_more_than_half_of_it_is_dead():
    assert choose(volume(1, 128), volume(2, 129)) == CompactionPlan()
    assert choose(volume(1, 127)) == CompactionPlan(volume=1)


def test_the_deadest_comes_first_and_the_oldest_of_equals():
    assert choose(volume(1, 100), volume(2, 10), volume(3, 10)) == CompactionPlan(volume=2)


def test_scarce_space_makes_less_worth_it():
    assert choose(volume(1, 200), free=1 * GIB) == CompactionPlan(volume=1)
    assert choose(volume(1, 240), free=1 * GIB) == CompactionPlan()


def test_what_cannot_be_copied_is_left_alone_and_what_is_all_dead_never_is():
    assert choose(volume(1, 100), volume(2, 0), medium=0) == CompactionPlan(volume=2)
    assert choose(volume(1, 100), medium=100 * MIB) == CompactionPlan()
    assert choose(volume(1, 100), medium=100 * MIB + SPARE_BYTES) == CompactionPlan(volume=1)


def test_volumes_that_are_written_or_excluded_are_left_alone():
    assert choose(volume(1, 0, is_closed=False)) == CompactionPlan()
    assert choose(volume(1, 0, is_excluded=True)) == CompactionPlan()
    assert choose() == CompactionPlan()
    assert choose(volume(1, 0, size_mib=0)) == CompactionPlan()


def test_a_dead_active_volume_is_retired_when_it_matters():
    active = volume(9, 1, size_mib=20, is_closed=False, is_active=True)
    assert choose(active) == CompactionPlan(retire=True)
    assert choose(active, *[volume(n, 256) for n in range(1, 9)]) == CompactionPlan()
    assert choose(active, volume(1, 256), volume(2, 256), free=1 * GIB) == CompactionPlan(
        retire=True
    )


def test_a_full_cell_does_not_begin_and_remove_volumes_for_ever():
    """A new volume begins with a record of nothing: that alone must not make it worth removing."""
    fresh = VolumeView(9, 64, 0, is_closed=False, is_active=True)
    assert choose(fresh, free=0) == CompactionPlan()
    half_dead = VolumeView(9, 2 * RETIRED_BYTES_WORTH_IT, RETIRED_BYTES_WORTH_IT, False, True)
    assert choose(half_dead, free=0) == CompactionPlan(retire=True)
