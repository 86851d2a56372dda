"""The hazard of a disk, in figures and in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from common.disk_facts import DiskFacts
from coordinator.policy.hazard import (
    BASE_PER_YEAR,
    COUNTERS,
    Advice,
    DiskDay,
    Hazard,
    estimate_hazard,
    next_drain,
)

GOOD = DiskFacts(
    passed=1, reallocated=0, reported=0, timeouts=0, pending=0, uncorrectable=0, temperature=35
)
FLASH = DiskFacts(
    passed=1, media_errors=0, percentage_used=10, spare=100, spare_threshold=10, temperature=40
)


def history(disk: DiskFacts, days: int = 31, **figures: float) -> list[DiskDay]:
    return [DiskDay(day, disk, bad_shards=0, **figures) for day in range(days)]


@pytest.mark.parametrize("days", [[], history(GOOD), history(FLASH), history(DiskFacts())])
def test_a_disk_without_signs_has_the_hazard_of_any(days: list[DiskDay]) -> None:
    hazard = estimate_hazard(days)
    assert hazard == Hazard(BASE_PER_YEAR)
    assert hazard.loss == pytest.approx(0.002, rel=0.05)
    assert (hazard.advice, hazard.weight) == (Advice.NONE, 1.0)


def test_a_count_that_rises_is_explained_in_words() -> None:
    days = history(replace(GOOD, reallocated=2))
    days[-1] = DiskDay(30, replace(GOOD, reallocated=31))
    hazard = estimate_hazard(days)
    assert hazard.reasons == ("reallocated sectors rose from 2 to 31 in a week",)
    assert hazard.advice is Advice.FEWER


def test_a_count_that_stands_still_is_less_of_a_sign_than_one_that_rises() -> None:
    for name in ("reallocated", "pending", "uncorrectable", "reported"):
        still = history(replace(GOOD, **{name: 2}))
        fresh = [*history(GOOD, 30), DiskDay(30, replace(GOOD, **{name: 2}))]
        old, new = estimate_hazard(still), estimate_hazard(fresh)
        assert new.per_year >= old.per_year
    still = history(replace(GOOD, reallocated=3))
    assert estimate_hazard(still).advice is Advice.NONE
    assert estimate_hazard(fresh).per_year == pytest.approx(39 * BASE_PER_YEAR)


@pytest.mark.parametrize("name", [counter.name for counter in COUNTERS])
def test_the_hazard_never_falls_while_a_count_rises(name: str) -> None:
    rates = [
        estimate_hazard(history(replace(GOOD, **{name: value}))).per_year for value in range(5000)
    ]
    assert rates == sorted(rates)
    assert rates[0] == BASE_PER_YEAR < rates[-1]


@pytest.mark.parametrize(
    ("name", "value", "per_year"),
    [
        ("reallocated", 0, 0.025),
        ("reallocated", 3, 0.025),
        ("reallocated", 40, 0.24),
        ("reallocated", 2000, 1.5),
        ("reported", 1, 0.3),
        ("reported", 40, 1.4),
        ("timeouts", 99, 0.025),
        ("timeouts", 100, 0.1),
        ("pending", 1, 0.34),
        ("pending", 300, 3.3),
        ("uncorrectable", 1, 0.8),
    ],
)
def test_the_published_rates_are_the_table_s(name: str, value: int, per_year: float) -> None:
    hazard = estimate_hazard(history(replace(GOOD, **{name: value})))
    assert hazard.per_year == pytest.approx(per_year)


def test_a_disk_that_reports_that_it_fails_is_drained() -> None:
    hazard = estimate_hazard(history(replace(GOOD, passed=0)))
    assert (hazard.advice, hazard.weight) == (Advice.DRAIN, 0.0)
    assert hazard.reasons == ("the disk reports that it is failing",)


def test_the_worst_sign_counts_and_stands_first() -> None:
    bad = replace(GOOD, passed=0, pending=300, reallocated=20, temperature=70)
    hazard = estimate_hazard(history(bad))
    assert hazard.per_year == 4.0
    assert [words.split()[0] for words in hazard.reasons] == ["the", "300", "20", "70"]


def test_flash_that_is_worn_or_has_no_spare_is_a_sign() -> None:
    assert estimate_hazard(history(replace(FLASH, percentage_used=100))).advice is Advice.FEWER
    spare = estimate_hazard(history(replace(FLASH, spare=9)))
    assert spare.advice is Advice.DRAIN
    assert spare.reasons == ("9 % of spare blocks left, 10 % is the least",)
    errors = [*history(FLASH, 20), DiskDay(20, replace(FLASH, media_errors=3))]
    assert estimate_hazard(errors).reasons == ("media errors rose from 0 to 3 in 20 days",)


def test_shards_that_rot_are_a_sign_without_any_figure_of_the_disk() -> None:
    days = [*history(DiskFacts(), 10), DiskDay(10, bad_shards=4)]
    hazard = estimate_hazard(days)
    assert (hazard.advice, hazard.reasons) == (Advice.DRAIN, ("4 shards were lost in 10 days",))
    old = [DiskDay(day, bad_shards=4) for day in range(31)]
    assert estimate_hazard(old).advice is Advice.NONE


def timed(day: int, **figures: int) -> DiskDay:
    return DiskDay(day, replace(GOOD, **figures))


@pytest.mark.parametrize(("figure", "words"), [("sync_us", "writes"), ("read_us", "reads")])
def test_a_disk_that_became_slow_is_explained_in_words(figure: str, words: str) -> None:
    before = [timed(day, **{figure: 20_000}) for day in range(24)]
    slow = [*before, *(timed(day, **{figure: 80_000}) for day in range(24, 31))]
    hazard = estimate_hazard(slow)
    assert hazard.reasons == (f"{words} take 4 times as long as 3 weeks ago (80 ms, 20 ms then)",)
    assert hazard.advice is Advice.FEWER
    very_slow = [*before, *(timed(day, **{figure: 250_000}) for day in range(24, 31))]
    assert estimate_hazard(very_slow).advice is Advice.DRAIN


def test_times_that_mean_little_are_no_sign() -> None:
    before = [timed(day, sync_us=900) for day in range(24)]
    quick = [*before, *(timed(day, sync_us=9_000) for day in range(24, 31))]
    assert estimate_hazard(quick).reasons == ()
    for_a_day = [*before, *(timed(day, sync_us=1_000) for day in range(24, 30))]
    assert estimate_hazard([*for_a_day, timed(30, sync_us=400_000)]).reasons == ()
    always = [timed(day, sync_us=400_000, read_us=90_000) for day in range(31)]
    assert estimate_hazard(always).reasons == ()
    unknown = [DiskDay(day, GOOD) for day in range(28)]
    late = [timed(day, sync_us=400_000) for day in range(28, 31)]
    assert estimate_hazard([*unknown, *late]).reasons == ()


def test_days_without_times_are_passed_over() -> None:
    days = [timed(day, sync_us=20_000) for day in range(0, 24, 3)]
    days += [timed(24, sync_us=100_000), DiskDay(25, GOOD), timed(26, sync_us=100_000)]
    days += [DiskDay(27, GOOD), timed(28, sync_us=100_000)]
    assert estimate_hazard(days).reasons == (
        "writes take 5 times as long as 3 weeks ago (100 ms, 20 ms then)",
    )


def test_a_cell_that_is_away_more_than_before_is_a_sign() -> None:
    away = [*history(GOOD, 24, up_percent=100.0)]
    away += [DiskDay(day, GOOD, up_percent=40.0) for day in range(24, 31)]
    assert estimate_hazard(away).reasons == ("it is up 40 % of the time, and was 100 %",)
    at_night = history(GOOD, 31, up_percent=60.0)
    assert estimate_hazard(at_night).advice is Advice.NONE


def test_heat_is_said_and_moves_nothing() -> None:
    hazard = estimate_hazard(history(replace(GOOD, temperature=65)))
    assert (hazard.reasons, hazard.advice) == (("65 degrees Celsius",), Advice.NONE)


def test_gaps_in_the_history_and_a_new_disk_are_no_signs() -> None:
    worn = replace(GOOD, reallocated=3)
    days = [DiskDay(0, GOOD), DiskDay(400, worn)]
    assert "400 days" in estimate_hazard(days).reasons[0]
    replaced = [DiskDay(0, replace(GOOD, reallocated=900)), DiskDay(1, GOOD)]
    assert estimate_hazard(replaced) == Hazard(BASE_PER_YEAR)
    unknown = [DiskDay(0, DiskFacts()), DiskDay(1, GOOD)]
    assert estimate_hazard(unknown) == Hazard(BASE_PER_YEAR)


def test_a_cell_with_a_bad_disk_offers_less_space_and_never_none() -> None:
    least = 32 << 20
    assert Hazard(0.025).offered_bytes(1 << 40, least) == 1 << 40
    assert Hazard(0.5).offered_bytes(1 << 40, least) == 1 << 38
    assert Hazard(4.0).offered_bytes(1 << 40, least) == least
    assert Hazard(4.0).offered_bytes(5, least) == 5
    assert Hazard(0.5).offered_bytes(0, least) == 0


def test_one_cell_at_a_time_is_drained_the_most_likely_to_fail_first() -> None:
    hazards = {1: Hazard(1.0), 2: Hazard(4.0), 3: Hazard(0.5), 4: Hazard(4.0)}
    assert next_drain(hazards, (), (1, 2, 3, 4)) == 2
    assert next_drain(hazards, (), (1, 3)) == 1
    assert next_drain(hazards, (), (3,)) is None
    assert next_drain(hazards, (9,), (1, 2, 3, 4)) is None
    assert next_drain({}, (), (1,)) is None


def test_shards_that_rotted_lately_are_counted_over_restarts_of_the_cell() -> None:
    counts = [0, 0, 2, 2, 0, 0, 1, 4, 0]
    days = [DiskDay(day, DiskFacts(rotten=count)) for day, count in enumerate(counts)]
    hazard = estimate_hazard(days)
    assert hazard.reasons == ("6 shards rotted in a week",)
    assert hazard.advice is Advice.DRAIN


def test_rot_that_is_long_ago_or_without_a_count_before_is_no_sign() -> None:
    always = [DiskDay(day, DiskFacts(rotten=7)) for day in range(31)]
    assert estimate_hazard(always).reasons == ()
    first = [DiskDay(0, DiskFacts()), DiskDay(1, DiskFacts(rotten=3))]
    assert estimate_hazard(first).reasons == ()
    old = [DiskDay(0, DiskFacts(rotten=0)), DiskDay(1, DiskFacts(rotten=3))]
    old += [DiskDay(day, DiskFacts(rotten=3)) for day in range(2, 40)]
    assert estimate_hazard(old).reasons == ()
