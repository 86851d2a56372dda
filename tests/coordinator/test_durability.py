"""Each formula gives the figures that were published for it, and those that others computed."""

from __future__ import annotations

import random

import pytest

from coordinator.policy.durability import (
    DAYS_PER_YEAR,
    HOURS_PER_YEAR,
    bandwidth_bits_per_s,
    eager_mttdl_days,
    greatest_k,
    lazy_estimate,
    lazy_repair,
    mean_repair_bytes,
    nines,
    poisson_durability,
    probability_of_rate,
    replication_moved_per_kept,
    share_matrix,
    static_unavailability,
    survivors,
    window_annual_loss,
    window_loss,
)


def digits(value: float, count: int) -> str:
    """A number to so many significant digits."""
    return f"{value:.{count - 1}e}"


def test_the_window_formula_gives_the_published_figures() -> None:
    published = {"failures_per_year": 0.00405, "replacement_days": 6.5}
    assert digits(window_loss(17, 20, **published), 5) == "1.3096e-13"
    assert digits(window_annual_loss(17, 20, **published), 4) == "7.354e-12"
    other = window_annual_loss(4, 6, failures_per_year=0.10, replacement_days=1)
    assert digits(other, 5) == "1.4997e-07"


POISSON = {
    (2, 4): "99.207366813274616",
    (4, 8): "99.858868985411326",
    (8, 16): "99.995462406878260",
    (16, 32): "99.999994620652776",
    (20, 40): "99.999999807694154",
    (32, 64): "99.999999999990544",
    (1, 3): "99.640050681691051",
    (1, 10): "99.999988857452166",
    (4, 6): "97.688471224736705",
    (4, 12): "99.999514117129605",
    (20, 30): "99.970766304935266",
    (20, 50): "99.999999999999548",
    (100, 150): "99.999999999973570",
}


@pytest.mark.parametrize(("k", "n"), POISSON)
def test_the_poisson_formula_gives_the_published_figures(k: int, n: int) -> None:
    # Published with 17 digits: as many as a double has are compared.
    assert 100 * poisson_durability(k, n) == pytest.approx(float(POISSON[k, n]), rel=1e-14)


def test_the_markov_chain_gives_the_published_row_for_replication() -> None:
    # 30 PiB in blocks of 256 MiB, three copies; 1 Gibit/s; a node lives for four years.
    groups = 30 * 2**50 / (3 * 256 * 2**20)
    repair_days = 256 * 2**23 / 2**30 / 86400
    stripe = eager_mttdl_days(1, 3, mttf_days=1460, repair_days=repair_days, parallel=False)
    assert digits(stripe / groups, 5) == "2.3079e+10"


@pytest.mark.parametrize(
    ("k", "n", "parallel", "years"),
    [
        (6, 9, True, "2.489e+07"),
        (10, 14, True, "1.836e+09"),
        (10, 16, True, "4.897e+14"),
        (10, 16, False, "6.84e+11"),
    ],
)
def test_the_markov_chain_gives_the_known_values(
    k: int, n: int, parallel: bool, years: str
) -> None:
    days = eager_mttdl_days(k, n, mttf_days=1460, repair_days=1, parallel=parallel)
    assert digits(days / DAYS_PER_YEAR, len(years) - 5) == years


HOURS = (6, 12, 24, 72)
NINES = {
    (6, 4, 6): ("4.3/3.7/3.1/2.1", "6.1/5.5/4.9/3.9"),
    (12, 8, 12): ("7.7/6.5/5.3/3.5", "10.7/9.5/8.3/6.4"),
    (16, 10, 16): ("11.3/9.5/7.7/5.1", "15.4/13.6/11.9/9.0"),
    (16, 10, 15): ("9.6/8.1/6.6/4.4", "13.2/11.7/10.2/7.8"),
    (16, 10, 14): ("7.7/6.6/5.4/3.6", "10.7/9.5/8.3/6.5"),
    (20, 10, 15): ("10.0/8.5/7.0/4.8", "13.6/12.1/10.6/8.3"),
    (30, 20, 26): ("10.2/8.4/6.7/4.1", "14.4/12.6/10.8/8.0"),
    (30, 20, 28): ("13.4/11.1/8.8/5.4", "18.8/16.4/14.0/10.3"),
}


@pytest.mark.parametrize(("n", "k", "threshold"), NINES)
def test_lazy_repair_gives_the_known_nines(n: int, k: int, threshold: int) -> None:
    for mttf_years, expected in zip((1, 4), NINES[n, k, threshold], strict=True):
        mttf_hours = mttf_years * HOURS_PER_YEAR
        found = [
            lazy_repair(k, n, threshold=threshold, mttf_hours=mttf_hours, repair_hours=hours)
            for hours in HOURS
        ]
        assert "/".join(f"{nines(each.loss_per_year):.1f}" for each in found) == expected


def test_lazy_repair_gives_the_values_of_the_simulations() -> None:
    month_hours = 30.44 * 24
    wide = lazy_repair(30, 60, threshold=35, mttf_hours=month_hours, repair_hours=12)
    assert digits(wide.loss_per_year, 3) == "1.00e-01"
    assert wide.loss_per_year == pytest.approx(0.0995, rel=0.01)
    small = lazy_repair(4, 6, threshold=6, mttf_hours=HOURS_PER_YEAR, repair_hours=24)
    assert digits(small.loss_per_year, 3) == "8.65e-04"


def test_lazy_repair_agrees_with_throwing_dice() -> None:
    k, n, threshold, mttf_hours, repair_hours = 4, 6, 5, 1000.0, 200.0
    chance = random.Random(7)
    losses = repairs = 0
    hours = 0.0
    live = n
    while losses < 2000:
        failure = live / mttf_hours
        repair = 1 / repair_hours if live < threshold else 0.0
        hours += chance.expovariate(failure + repair)
        if chance.random() < failure / (failure + repair):
            live -= 1
        else:
            live = n
            repairs += 1
        if live < k:
            losses += 1
            live = n
    exact = lazy_repair(k, n, threshold=threshold, mttf_hours=mttf_hours, repair_hours=repair_hours)
    years = hours / HOURS_PER_YEAR
    assert losses / years == pytest.approx(exact.loss_per_year, rel=3 / 2000**0.5)
    assert repairs / years == pytest.approx(exact.repairs_per_year, rel=3 / 2000**0.5)


def test_eager_repair_is_lazy_repair_that_mends_all_at_once() -> None:
    # With one parity shard there is one failed shard to mend, so both chains are the same.
    lazy = lazy_repair(4, 5, threshold=5, mttf_hours=8760, repair_hours=24)
    eager = eager_mttdl_days(4, 5, mttf_days=365, repair_days=1)
    assert 1 / lazy.loss_per_year == pytest.approx(eager / DAYS_PER_YEAR, rel=1e-12)


GIROIRE = [
    (1, 20, 40, 35, "9.36", 8),
    (6, 20, 40, 30, "0.87", 17),
    (12, 20, 40, 25, "0.31", 13),
    (1, 30, 60, 35, "3.40", 4),
    (6, 30, 70, 40, "0.60", 15),
    (12, 30, 80, 45, "0.31", 25),
    (1, 40, 80, 60, "5.21", 4),
    (6, 40, 120, 50, "0.52", 14),
    (12, 40, 120, 45, "0.24", 11),
]


@pytest.mark.parametrize(("months", "k", "n", "threshold", "moved", "published"), GIROIRE)
def test_the_estimate_gives_the_published_rows(
    months: int, k: int, n: int, threshold: int, moved: str, published: int
) -> None:
    found = lazy_estimate(k, n, threshold=threshold, mttf_months=months, repair_hours=11.9)
    assert f"{found.moved_per_month:.2f}" == moved
    assert abs(int(nines(found.loss)) - published) <= 1


def test_the_share_matrix_gives_the_published_values() -> None:
    year_s = 365 * 86400
    steps = len(range(0, 5 * year_s + 100_000, 100_000))

    def dead(steps: int, check_every_s: float | None) -> tuple[float, ...]:
        return share_matrix(
            3,
            10,
            threshold=7,
            lifetime_s=8 * year_s,
            step_s=100_000,
            steps=steps,
            check_every_s=check_every_s,
        )[:3]

    for check_every_s, published in ((None, 0.033591004555395272), (31 * 86400, 3.2983995819e-8)):
        before, last = dead(steps - 1, check_every_s), dead(steps, check_every_s)
        # The source's matrix drops what had no share left before the last step.
        assert sum(last) - before[0] == pytest.approx(published, rel=1e-10)
        assert sum(last) > published


def test_servers_of_several_reliabilities_give_the_published_values() -> None:
    assert greatest_k([0.9] * 10 + [0.8] * 10, loss=1e-4) == 10
    assert sum(survivors([0.9] * 10 + [0.8] * 10)) == pytest.approx(1, rel=1e-12)
    assert survivors([0.9] * 2) == pytest.approx((0.01, 0.18, 0.81))
    assert f"{mean_repair_bytes([0.9] * 5, 3, file_bytes=1000):.2f}" == "558.90"


def test_static_availability_gives_the_published_values() -> None:
    two_copies = static_unavailability(machines=10**6, down=10**5, fragments=2, needed=1)
    assert f"{1 - two_copies:.2f}" == "0.99"
    coded = static_unavailability(machines=10**6, down=10**5, fragments=32, needed=16)
    assert digits(coded, 4) == "1.281e-09"


@pytest.mark.parametrize(
    ("k", "n", "threshold", "megabits"),
    [(10, 16, 14, "1.4"), (10, 20, 15, "0.66"), (20, 60, 35, "0.35")],
)
def test_repair_takes_the_known_bandwidth(k: int, n: int, threshold: int, megabits: str) -> None:
    moved = lazy_estimate(k, n, threshold=threshold, mttf_months=48, repair_hours=24)
    per_year = 12 * moved.moved_per_month * k / n
    for years, factor in ((4, 1), (1, 4)):
        bits = bandwidth_bits_per_s(kept_bytes=4e12, moved_per_kept=per_year * 4 / years)
        assert f"{bits / factor / 1e6:.{len(megabits) - 2}f}" == megabits


def test_replication_moves_the_bound() -> None:
    copies = lazy_repair(1, 3, threshold=3, mttf_hours=4 * HOURS_PER_YEAR, repair_hours=1)
    bound = replication_moved_per_kept(mttf_years=4)
    assert copies.moved_per_kept == pytest.approx(bound, rel=1e-3)
    single = lazy_repair(4, 6, threshold=6, mttf_hours=4 * HOURS_PER_YEAR, repair_hours=1)
    assert single.moved_per_kept > bound


def test_rates_and_probabilities() -> None:
    assert nines(0.001) == pytest.approx(3)
    assert nines(0.0) == float("inf")
    assert probability_of_rate(1e-20) == 1e-20
    assert probability_of_rate(1e9) == 1.0


def test_repair_traffic_is_k_shards_read_and_the_missing_ones_written() -> None:
    repair = lazy_repair(4, 6, threshold=6, mttf_hours=HOURS_PER_YEAR, repair_hours=1)
    assert repair.moved_per_stored == pytest.approx(repair.repairs_per_year * 5 / 4)
    assert repair.moved_per_kept == pytest.approx(repair.moved_per_stored * 4 / 6)
    # Six cells that live for a year and are mended at once: nearly six repairs a year.
    assert repair.repairs_per_year == pytest.approx(6, rel=0.01)
