"""Audits: how many samples find a loss, what they may cost, and what an answer shows."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from common import limits
from common.crypto.digest import ShardDigests
from common.crypto.freshness import FreshDigests
from common.ids import SegmentId
from coordinator.policy.audit import (
    DRAW_BYTES,
    Finding,
    Opening,
    SampledShard,
    Sampler,
    Subject,
    commit_within_s,
    cost_bytes,
    drawn_units,
    interval_s,
    judge,
    samples_needed,
    units_opened,
)

KIB = 1024
DAY_S = 86400
SEGMENT = SegmentId(bytes(range(16)))
NONCE = bytes(range(100, 132))


def shard(units: int, unit_bytes: int = 64, last: int | None = None) -> tuple[Subject, list[bytes]]:
    chance = random.Random(units)
    data = [chance.randbytes(unit_bytes) for _ in range(units - 1)]
    data.append(chance.randbytes(unit_bytes if last is None else last))
    whole = b"".join(data)
    digests = ShardDigests.of(unit_bytes, len(whole), whole)
    return Subject(SEGMENT, 2, unit_bytes, len(whole), digests.root), data


def plain_leaves(subject: Subject, data: list[bytes]) -> bytes:
    return ShardDigests.of(subject.unit_bytes, subject.shard_bytes, b"".join(data)).leaves


def fresh(
    subject: Subject, data: list[bytes], nonce: bytes = NONCE, *, slot: int | None = None
) -> tuple[bytes, bytes]:
    """The fresh root and the fresh leaves of what a cell has."""
    digests = FreshDigests(nonce)
    leaves = b"".join(digests.leaf(unit) for unit in data)
    slot = subject.slot if slot is None else slot
    args = (subject.segment_id, slot, subject.unit_bytes, subject.shard_bytes)
    return digests.root(*args, leaves), leaves


def verdict(
    subject: Subject, commitment: bytes, units: tuple[int, ...], opening: Opening
) -> Finding:
    return judge(subject, nonce=NONCE, commitment=commitment, units=units, opening=opening)


# --- how many samples, and what they cost -------------------------------------------------------


def test_459_samples_find_a_hundredth_lost_with_probability_0_99() -> None:
    assert samples_needed(0.01, 0.99) == 459
    assert 1 - 0.99**459 >= 0.99 > 1 - 0.99**458
    assert samples_needed(0.5, 0.99) == 7


def test_a_cell_that_lost_a_hundredth_of_its_bytes_is_found_within_459_samples() -> None:
    """Shards of very different sizes, a hundredth of the bytes gone: once as whole shards, once as
    units here and there. Of 1,000 cells, at most 10 and what chance adds are not found."""
    chance = random.Random(9)
    sizes = [(64 * KIB, 64 * KIB * chance.randrange(1, 65)) for _ in range(60)]
    sizes += [(4 * KIB, 4 * KIB)] * 400
    shards = [
        SampledShard(SegmentId(number.to_bytes(16, "big")), 1, unit, size)
        for number, (unit, size) in enumerate(sizes)
    ]
    total = sum(each.shard_bytes for each in shards)
    every_unit = [
        (each.segment_id, unit, min(each.unit_bytes, each.shard_bytes - unit * each.unit_bytes))
        for each in shards
        for unit in range(-(-each.shard_bytes // each.unit_bytes))
    ]
    missed = 0
    cells = 1000
    for _ in range(cells):
        lost: set[tuple[SegmentId, int]] = set()
        lost_bytes = 0
        while lost_bytes < total / 100:
            segment, unit, size = chance.choice(every_unit)
            if (segment, unit) not in lost:
                lost.add((segment, unit))
                lost_bytes += size
        missed += not finds(shards, lost, chance)
    assert missed <= 22  # 10 are expected; more than 22 have a chance of 1 in 2,000


def finds(
    shards: list[SampledShard], lost: set[tuple[SegmentId, int]], chance: random.Random
) -> bool:
    sampler = Sampler(samples_needed(0.01, 0.99))
    sampler.take(shards, chance)
    for each in sampler.drawn:
        subject = Subject(each.segment_id, each.slot, each.unit_bytes, each.shard_bytes, bytes(32))
        # One unit for each sample, though several of a shard may be opened.
        for unit in drawn_units(subject, chance.randbytes(DRAW_BYTES)):
            if (each.segment_id, unit) in lost:
                return True
    return False


def test_shards_are_drawn_in_proportion_to_their_bytes_wherever_they_stand() -> None:
    chance = random.Random(4)
    small = [SampledShard(SegmentId(bytes([1, i]) + bytes(14)), 0, 10, 10) for i in range(100)]
    large = SampledShard(SEGMENT, 0, 1000, 1000)
    for pages in ([[large], small], [small, [large]], [small[:50], [large, *small[50:]]]):
        hits = 0
        for _ in range(50):
            sampler = Sampler(40)
            for page in pages:
                sampler.take(page, chance)
            assert sampler.total_bytes == 2000
            assert len(sampler.drawn) == 40
            hits += sampler.drawn.count(large)
        assert 900 <= hits <= 1100  # of 2,000


def test_a_sampler_of_nothing_draws_nothing() -> None:
    sampler = Sampler(3)
    sampler.take([], random.Random(1))
    assert (sampler.drawn, sampler.total_bytes) == ([], 0)


def test_units_are_drawn_by_their_bytes() -> None:
    subject, _ = shard(4, 100, last=1)
    chance = random.Random(2)
    drawn = [
        unit for _ in range(3000) for unit in drawn_units(subject, chance.randbytes(DRAW_BYTES))
    ]
    assert set(drawn) <= {0, 1, 2, 3}
    assert drawn.count(3) < 50
    assert all(abs(drawn.count(unit) - 1000) < 120 for unit in (0, 1, 2))


@pytest.mark.parametrize(
    ("unit_bytes", "shard_bytes", "opened"),
    [
        (262144, 16 << 20, 1),
        (1 << 20, 64 << 20, 1),
        (65536, 4 << 20, 4),
        (4096, 4096, 1),
        (16384, 32768, 2),
        (16384, 64 * 16384, 4),
    ],
)
def test_about_a_quarter_of_a_mebibyte_is_opened(
    unit_bytes: int, shard_bytes: int, opened: int
) -> None:
    assert units_opened(unit_bytes, shard_bytes) == opened


@pytest.mark.parametrize("stored_bytes", [50_000_000, 10**9, 10**11, 10**13])
@pytest.mark.parametrize(
    ("unit_bytes", "shard_bytes"),
    [(262144, 64 * 262144), (4096, 4096), (16384, 128 * 16384), (1 << 20, 64 << 20)],
)
def test_audits_move_less_than_a_thousandth_of_the_stored_bytes_in_a_day(
    stored_bytes: int, unit_bytes: int, shard_bytes: int
) -> None:
    cost = cost_bytes(unit_bytes, shard_bytes)
    pause_s = interval_s(cost, stored_bytes, traffic_ppm=500, least_s=600, cells=1)
    assert cost * DAY_S / pause_s <= stored_bytes / 1000
    assert pause_s >= 600


def test_a_cell_of_100_gb_has_its_459_samples_within_a_week() -> None:
    cost = cost_bytes(262144, 64 * 262144)
    pause_s = interval_s(cost, 10**11, traffic_ppm=500, least_s=600, cells=100)
    assert 459 * pause_s < 7 * DAY_S


def test_a_coordinator_asks_its_cells_no_more_often_than_it_can() -> None:
    pause_s = interval_s(1, 10**12, traffic_ppm=500, least_s=600, cells=100_000)
    assert 100_000 / pause_s <= limits.AUDITS_PER_S


def test_the_time_to_commit_grows_with_the_shard() -> None:
    assert commit_within_s(0) == limits.AUDIT_ANSWER_S
    assert commit_within_s(16 << 20) == limits.AUDIT_ANSWER_S + 2


# --- what an answer shows -----------------------------------------------------------------------


@pytest.mark.parametrize(("units", "last"), [(1, None), (1, 3), (5, None), (128, 1)])
def test_a_cell_that_holds_the_shard_passes(units: int, last: int | None) -> None:
    subject, data = shard(units, last=last)
    root, leaves = fresh(subject, data)
    asked = tuple(sorted({0, units // 2, units - 1}))
    opening = Opening(plain_leaves(subject, data), leaves, b"".join(data[unit] for unit in asked))
    assert verdict(subject, root, asked, opening) is Finding.PASSED


def test_a_cell_that_gets_single_units_from_others_fails_at_the_fresh_root() -> None:
    """It has every leaf and whatever unit it is asked for, and had none when it committed."""
    subject, data = shard(6)
    digests = FreshDigests(NONCE)
    invented = b"".join(digests.leaf(b"nothing") for _ in data)
    args = (subject.segment_id, subject.slot, subject.unit_bytes, subject.shard_bytes)
    root = digests.root(*args, invented)
    for unit in range(6):
        opening = Opening(plain_leaves(subject, data), invented, data[unit])
        assert verdict(subject, root, (unit,), opening) is Finding.NOT_HELD
        _, true_leaves = fresh(subject, data)
        late = replace(opening, fresh_leaves=true_leaves)
        assert verdict(subject, root, (unit,), late) is Finding.WRONG_FRESH_LEAVES


def test_a_cell_that_lacks_one_unit_is_found_when_that_one_is_drawn() -> None:
    subject, data = shard(6)
    root, leaves = fresh(subject, [*data[:4], b"invented", data[5]])
    for unit in range(6):
        opening = Opening(plain_leaves(subject, data), leaves, data[unit])
        expected = Finding.NOT_HELD if unit == 4 else Finding.PASSED
        assert verdict(subject, root, (unit,), opening) is expected


def test_an_answer_under_an_older_nonce_is_worth_nothing() -> None:
    subject, data = shard(3)
    root, leaves = fresh(subject, data, bytes(32))
    opening = Opening(plain_leaves(subject, data), leaves, data[1])
    assert verdict(subject, root, (1,), opening) is Finding.WRONG_FRESH_LEAVES


def test_an_answer_for_another_slot_is_worth_nothing() -> None:
    subject, data = shard(3)
    root, leaves = fresh(subject, data, slot=5)
    opening = Opening(plain_leaves(subject, data), leaves, data[1])
    assert verdict(subject, root, (1,), opening) is Finding.WRONG_FRESH_LEAVES


def test_wrong_units_and_wrong_leaves_are_found() -> None:
    subject, data = shard(4)
    root, leaves = fresh(subject, data)
    plain = plain_leaves(subject, data)
    other, other_data = shard(3)
    bad = bytes([data[2][0] ^ 1]) + data[2][1:]
    cases = [
        (Opening(plain, leaves, bad), Finding.WRONG_UNIT),
        (Opening(plain, leaves, data[1]), Finding.WRONG_UNIT),
        (Opening(plain, leaves, b""), Finding.WRONG_UNIT),
        (Opening(plain, leaves, data[2] + b"\0"), Finding.WRONG_UNIT),
        (Opening(plain, leaves, data[2][:-1]), Finding.WRONG_UNIT),
        (Opening(b"", leaves, data[2]), Finding.WRONG_LEAVES),
        (Opening(plain[:-1], leaves, data[2]), Finding.WRONG_LEAVES),
        (Opening(plain_leaves(other, other_data), leaves, data[2]), Finding.WRONG_LEAVES),
        (Opening(plain, leaves[:-32], data[2]), Finding.WRONG_FRESH_LEAVES),
        (Opening(plain, b"", data[2]), Finding.WRONG_FRESH_LEAVES),
    ]
    for opening, finding in cases:
        assert verdict(subject, root, (2,), opening) is finding


def test_any_bytes_give_a_finding_and_none_of_them_passes() -> None:
    subject, data = shard(4)
    root, leaves = fresh(subject, data)
    parts = [plain_leaves(subject, data), leaves, data[1] + data[3]]
    chance = random.Random(6)
    for _ in range(2000):
        changed = [bytearray(each) for each in parts]
        victim = changed[chance.randrange(3)]
        if chance.random() < 0.5:
            victim[chance.randrange(len(victim))] ^= 1 << chance.randrange(8)
        else:
            del victim[chance.randrange(len(victim)) :]
        opening = Opening(*map(bytes, changed))
        assert verdict(subject, root, (1, 3), opening) is not Finding.PASSED
    for _ in range(200):
        opening = Opening(*(chance.randbytes(chance.randrange(300)) for _ in range(3)))
        assert verdict(subject, chance.randbytes(32), (1, 3), opening) is not Finding.PASSED
