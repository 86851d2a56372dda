"""What each bucket has left now, and if a site fails: by counts of segments on rings."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.policy.bucket_margins import OTHERS, BucketMargin, OnRing, bucket_margins, worst_of
from coordinator.policy.moves import HeldRing

SITES = {cell: f"site-{cell % 3}" for cell in range(9)}
RINGS = {
    1: HeldRing(1, 4, (0, 1, 2, 3, 4, 5)),
    2: HeldRing(2, 2, (0, 3, 6, 1)),
    3: HeldRing(3, 1, (0, 1, 2)),
}


def test_a_bucket_survives_a_site_as_its_worst_ring_does() -> None:
    found = bucket_margins([OnRing("a", 1, 10), OnRing("b", 1, 2), OnRing("b", 3, 1)], RINGS, SITES)
    assert found == [
        BucketMargin("a", 10, 2, 0, "site-0", 0, 0),
        BucketMargin("b", 3, 2, 0, "site-0", 0, 0),
    ]
    (crowded,) = bucket_margins([OnRing("c", 2, 7), OnRing("c", 3, 5)], RINGS, SITES)
    assert crowded == BucketMargin("c", 12, 2, 0, "site-0", -1, 7)


def test_cells_that_are_silent_and_shards_that_are_missing_count_as_lost() -> None:
    silent = {cell: site for cell, site in SITES.items() if cell not in (0, 1)}
    (found,) = bucket_margins([OnRing("a", 1, 10)], RINGS, silent)
    assert (found.margin, found.after, found.unreadable_after) == (0, -2, 10)
    (lacking,) = bucket_margins([OnRing("a", 1, 10, 0b111)], RINGS, SITES)
    assert (lacking.margin, lacking.unreadable) == (-1, 10)
    assert bucket_margins([OnRing("a", 99, 10)], RINGS, SITES) == []


def test_the_worst_off_are_named_and_the_others_stand_together() -> None:
    on_rings = [OnRing(f"b{number}", 1 + number % 3, number + 1) for number in range(9)]
    found = bucket_margins(on_rings, RINGS, SITES)
    assert [each.after for each in found] == sorted(each.after for each in found)
    few = worst_of(found, 4)
    assert few[:4] == found[:4]
    assert few[4].bucket == OTHERS
    assert (few[4].buckets, sum(each.segments for each in few)) == (5, 45)
    assert few[4].after == min(each.after for each in found[4:])
    assert worst_of(found, 9) == found


@given(st.randoms(use_true_random=False), st.integers(1, 12))
def test_a_loss_is_what_counting_shard_by_shard_says(chance: random.Random, cells: int) -> None:
    sites = {cell: chance.choice("xyz") for cell in range(cells) if chance.random() < 0.9}
    rings = {}
    on_rings = []
    for number in range(4):
        n = chance.randint(1, cells)
        members = tuple(chance.sample(range(cells), n))
        rings[number] = HeldRing(number, chance.randint(1, n), members)
        on_rings.append(OnRing("b", number, chance.randint(1, 5), chance.getrandbits(n) & 1))

    def margin(each: OnRing, gone: str) -> int:
        ring = rings[each.ring]
        kept = [
            cell
            for slot, cell in enumerate(ring.cells)
            if sites.get(cell, gone) != gone and not each.lacks >> slot & 1
        ]
        return len(kept) - ring.k

    (found,) = bucket_margins(on_rings, rings, sites)
    assert found.margin == min(margin(each, "") for each in on_rings)
    after = {site: min(margin(each, site) for each in on_rings) for site in {"", *sites.values()}}
    assert found.after == min(after.values())
    assert found.after == after[found.site]
    assert found.unreadable_after == sum(
        each.segments for each in on_rings if margin(each, found.site) < 0
    )


@pytest.mark.parametrize("rings", [1000])
def test_many_buckets_on_many_rings_are_counted_without_a_look_at_segments(rings: int) -> None:
    held = {n: HeldRing(n, 4, tuple((n + each) % 9 for each in range(6))) for n in range(rings)}
    on_rings = [OnRing(f"b{n % 100}", n, 10**9) for n in range(rings)]
    assert len(bucket_margins(on_rings, held, SITES)) == 100


def test_the_work_grows_with_the_rings_and_not_with_the_sites_of_each() -> None:
    looked_up = 0

    class Name(str):
        def __hash__(self) -> int:
            nonlocal looked_up
            looked_up += 1
            return super().__hash__()

    count = 500
    sites: dict[int, str] = {cell: Name(f"site-{cell}") for cell in range(count)}
    held = {n: HeldRing(n, 2, tuple((n + each) % count for each in range(4))) for n in range(count)}
    (found,) = bucket_margins([OnRing("b", n, 1) for n in held], held, sites)
    assert (found.margin, found.after) == (2, 1)
    assert looked_up <= 10 * sum(len(ring.cells) for ring in held.values())
