"""A quantile of durations over about a day, in bounded memory."""

from __future__ import annotations

import random

import pytest

from cell.disk_times_policy import BUCKETS, HALF_LIFE_S, DecayedQuantile

DAY_S = 86_400.0


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_quantile_is_right_within_a_tenth(share: float) -> None:
    chance = random.Random(1)
    durations = [chance.lognormvariate(-5, 1) for _ in range(5000)]
    quantile = DecayedQuantile(share)
    for duration in durations:
        quantile.add(duration, 7.0)
    exact = sorted(durations)[int(share * len(durations))]
    found = quantile.microseconds(7.0)
    assert found is not None
    assert found / 1e6 == pytest.approx(exact, rel=0.12)


def test_nothing_is_known_of_few_operations() -> None:
    quantile = DecayedQuantile(0.5)
    assert quantile.microseconds(0.0) is None
    for _ in range(29):
        quantile.add(0.01, 0.0)
    assert quantile.microseconds(0.0) is None
    for _ in range(10):
        quantile.add(0.01, 0.0)
    assert quantile.microseconds(0.0) == pytest.approx(10_000, rel=0.1)


def test_what_was_long_ago_counts_for_little_and_is_unknown_at_last() -> None:
    quantile = DecayedQuantile(0.5)
    for second in range(1000):
        quantile.add(0.001, second)
    for second in range(200):
        quantile.add(0.1, DAY_S + second)
    assert quantile.microseconds(DAY_S + 200) == pytest.approx(100_000, rel=0.1)
    assert quantile.microseconds(DAY_S + 20 * HALF_LIFE_S) is None


def test_years_of_operations_need_no_more_memory() -> None:
    quantile = DecayedQuantile(0.5)
    for hour in range(5 * 365 * 24):
        quantile.add(0.005, 3600.0 * hour)
        quantile.add(0.005, 3600.0 * hour)
    quantile_weights = quantile._weights
    assert len(quantile_weights) == BUCKETS
    assert max(quantile_weights) < 1e14
    for _ in range(50):
        quantile.add(0.005, 3600.0 * 5 * 365 * 24)
    assert quantile.microseconds(3600.0 * 5 * 365 * 24) == pytest.approx(5_000, rel=0.1)


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 1e-5, 100.0, 1e9])
def test_durations_of_any_size_have_a_bucket(seconds: float) -> None:
    quantile = DecayedQuantile(0.5)
    for _ in range(100):
        quantile.add(seconds, 0.0)
    found = quantile.microseconds(0.0)
    assert found is not None
    assert 10 <= found <= 100e6
