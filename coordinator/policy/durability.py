"""Durability formulas: the probability that data is lost, and the traffic that repair costs.

Pure. Each formula is a function of its own, as it was published; the calculator of ``alveary
durability`` uses :func:`lazy_repair`, the others are there to compare with what others publish.
All of them take failures to be independent.

Source: docs/durability.md, "Formulas".
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, exp, expm1, fsum, inf, lgamma, log, log1p, log10
from typing import Final

from common.data_classes import dataclass

DAYS_PER_YEAR: Final = 365.0
HOURS_PER_YEAR: Final = 24 * DAYS_PER_YEAR
SECONDS_PER_YEAR: Final = 3600 * HOURS_PER_YEAR


def nines(loss: float) -> float:
    """Return a probability of loss as nines: 0.001 is 3.

    Args:
        loss: 0 to 1; 0 is infinitely many nines.
    """
    return -log10(loss) if loss > 0 else inf


def probability_of_rate(rate_per_year: float) -> float:
    """Return the probability that an event of this rate happens within a year."""
    return -expm1(-rate_per_year)


def _binomial(n: int, i: int, p: float) -> float:
    return float(comb(n, i) * p**i * (1 - p) ** (n - i))


def window_loss(k: int, n: int, *, failures_per_year: float, replacement_days: float) -> float:
    """Return the probability that more than n - k shards fail within one replacement time.

    Args:
        k: shards that give the data back.
        n: shards.
        failures_per_year: of one shard (the annual failure rate, 0.01 for 1 %).
        replacement_days: until a failed shard is replaced.

    Source: Backblaze, "Cloud storage durability" (2018).
    """
    p = -expm1(-failures_per_year * replacement_days / DAYS_PER_YEAR)
    return fsum(_binomial(n, i, p) for i in range(n - k + 1, n + 1))


def window_annual_loss(
    k: int, n: int, *, failures_per_year: float, replacement_days: float
) -> float:
    """Return the yearly probability of loss: a year is so many replacement times, one after the
    other (:func:`window_loss`)."""
    loss = window_loss(k, n, failures_per_year=failures_per_year, replacement_days=replacement_days)
    return -expm1(DAYS_PER_YEAR / replacement_days * log1p(-loss))


def poisson_durability(k: int, n: int, *, losses_per_piece: float = 0.1) -> float:
    """Return the probability that a segment outlives a period in which nothing is repaired.

    Args:
        k: pieces that give the data back.
        n: pieces.
        losses_per_piece: expected in the period; 0.1 a month in the source.

    Source: Storj, "A decentralized cloud storage network framework" (2018), 3.4.
    """
    mean = losses_per_piece * n
    term = exp(-mean)
    terms = [term]
    for i in range(1, n - k + 1):
        term *= mean / i
        terms.append(term)
    return fsum(terms)


def eager_mttdl_days(
    k: int, n: int, *, mttf_days: float, repair_days: float, parallel: bool = True
) -> float:
    """Return the mean time to data loss where repair begins with the first failed shard.

    Args:
        k: shards that give the data back.
        n: shards.
        mttf_days: mean time to failure of the cell of a shard.
        repair_days: mean time to rebuild one shard.
        parallel: failed shards are rebuilt at the same time, instead of one after the other.

    Source: a Markov chain over the failed shards; Sathiamoorthy et al., "XORing Elephants"
        (VLDB 2013), 4.
    """
    step = mttf_days / n
    total = step
    for failed in range(1, n - k + 1):
        repairs_per_day = (failed if parallel else 1) / repair_days
        step = (1 + repairs_per_day * step) * mttf_days / (n - failed)
        total += step
    return total


@dataclass(frozen=True, slots=True)
class Repair:
    """The result of the exact chain for one segment (or one ring: its segments share its fate)."""

    k: int
    n: int
    threshold: int
    loss_per_year: float
    """The rate of losses: 0.001 is one in a thousand years."""
    repairs_per_year: float

    @property
    def annual_loss(self) -> float:
        """The probability that it is lost within a year."""
        return probability_of_rate(self.loss_per_year)

    @property
    def moved_per_stored(self) -> float:
        """Bytes that repair reads and writes in a year for each byte of user data: k shards are
        read and the missing ones written, each 1/k of the data."""
        shards = self.k + self.n - self.threshold + 1
        return self.repairs_per_year * shards / self.k

    @property
    def moved_per_kept(self) -> float:
        """The same for each byte that cells keep, parity included."""
        return self.moved_per_stored * self.k / self.n


def lazy_repair(
    k: int, n: int, *, threshold: int, mttf_hours: float, repair_hours: float
) -> Repair:
    """Return yearly loss and repairs where repair begins with less than ``threshold`` live shards.

    Exact: from n live shards down to k - 1 each step is either another failure or the repair of
    all that is missing; the chain begins again after a repair.

    Args:
        k: shards that give the data back.
        n: shards.
        threshold: k to n. n: as soon as one is declared lost; k: never.
        mttf_hours: mean time to failure of the cell of a shard.
        repair_hours: mean time from the failure to the repair: detection and transfer.
    """
    reach, years = 1.0, 0.0
    for live in range(n, k - 1, -1):
        repair = HOURS_PER_YEAR / repair_hours if live < threshold else 0.0
        failure = live * HOURS_PER_YEAR / mttf_hours
        years += reach / (failure + repair)
        reach *= failure / (failure + repair)
    return Repair(k, n, threshold, reach / years, (1 - reach) / years)


@dataclass(frozen=True, slots=True)
class LazyEstimate:
    """Loss and repair traffic of lazy repair, by the published approximation."""

    loss: float
    """The loss rate as the source tabulates it."""
    moved_per_month: float
    """Bytes that repair moves in a month for each byte of user data."""


def lazy_estimate(
    k: int, n: int, *, threshold: int, mttf_months: float, repair_hours: float
) -> LazyEstimate:
    """Return the published approximation of lazy repair, only to compare with published tables.

    Args:
        k, n, threshold, repair_hours: as of :func:`lazy_repair`.
        mttf_months: of 30.44 days.

    Source: Giroire, Monteiro, Pérennes, "Peer-to-peer storage systems: a practical guideline to be
        lazy" (GLOBECOM 2010), as Storj's white paper (2018) tabulates it.
    """
    month_hours = 30.44 * 24
    spread = log(n / threshold)
    ratio = log(repair_hours / (mttf_months * month_hours))
    exponent = lgamma(threshold + 1) - lgamma(k) + (threshold - k + 2) * ratio
    return LazyEstimate(
        exp(exponent) / ((threshold + 1) * spread),
        (n - threshold + k) / (mttf_months * k * spread),
    )


def share_matrix(
    k: int,
    n: int,
    *,
    threshold: int,
    lifetime_s: float,
    step_s: float,
    steps: int,
    check_every_s: float | None,
) -> tuple[float, ...]:
    """Return the probability of each number of live shares, 0 to n, after so many steps.

    Args:
        k: shares that give the file back; with fewer it is dead.
        n: shares.
        threshold: a check that finds fewer (and at least k) brings back all n.
        lifetime_s: mean lifetime of the server of a share.
        step_s: time that passes in a step.
        steps: how many.
        check_every_s: time between two checks; None: nothing is ever repaired.

    Source: Tahoe-LAFS, ``provisioning/reliability.py``. Its matrix drops files that have no share
        left; here they stay dead.
    """
    survives = exp(-step_s / lifetime_s)
    rows = [[_binomial(start, end, survives) for end in range(start + 1)] for start in range(n + 1)]
    state = [0.0] * n + [1.0]
    checked_s = 0.0
    for step in range(steps):
        state = [
            fsum(state[start] * rows[start][end] for start in range(end, n + 1))
            for end in range(n + 1)
        ]
        now_s = step * step_s
        if check_every_s is not None and now_s - checked_s >= check_every_s:
            checked_s = now_s
            repaired = fsum(state[k:threshold])
            state[k:threshold] = [0.0] * (threshold - k)
            state[n] += repaired
    return tuple(state)


def survivors(reliabilities: Sequence[float]) -> tuple[float, ...]:
    """Return the probability of each number of survivors among servers of these reliabilities.

    Source: Tahoe-LAFS, ``util/statistics.py``: a convolution.
    """
    counts = [1.0]
    for reliability in reliabilities:
        counts = [
            (counts[i] * (1 - reliability) if i < len(counts) else 0.0)
            + (counts[i - 1] * reliability if i else 0.0)
            for i in range(len(counts) + 1)
        ]
    return tuple(counts)


def greatest_k(reliabilities: Sequence[float], *, loss: float) -> int:
    """Return the greatest k whose probability of loss on these servers is at most ``loss``."""
    lost = 0.0
    for k, probability in enumerate(survivors(reliabilities)):
        lost += probability
        if lost > loss:
            return k
    return len(reliabilities)


def mean_repair_bytes(reliabilities: Sequence[float], k: int, *, file_bytes: int) -> float:
    """Return the mean of the bytes that one check moves: the file is read, and each lost share, 1/k
    of it, written; nothing where no share is lost, or too many."""
    alive = survivors(reliabilities)
    n = len(reliabilities)
    return fsum(
        alive[n - lost] * (file_bytes + lost * file_bytes / k) for lost in range(1, n - k + 1)
    )


def static_unavailability(*, machines: int, down: int, fragments: int, needed: int) -> float:
    """Return the probability that too many of the machines with a fragment are down.

    Args:
        machines: all there are.
        down: of them, any.
        fragments: each on a machine of its own.
        needed: fragments that give the data back.

    Source: Weatherspoon and Kubiatowicz, "Erasure coding vs. replication" (IPTPS 2002).
    """
    bad = sum(
        comb(down, i) * comb(machines - down, fragments - i)
        for i in range(fragments - needed + 1, fragments + 1)
    )
    return bad / comb(machines, fragments)


def bandwidth_bits_per_s(*, kept_bytes: float, moved_per_kept: float) -> float:
    """Return the mean bandwidth of a cell, in and out together, that repair takes.

    Args:
        kept_bytes: of the cell, parity included.
        moved_per_kept: bytes moved in a year for each byte kept.
    """
    return 8 * kept_bytes * moved_per_kept / SECONDS_PER_YEAR


def replication_moved_per_kept(*, mttf_years: float) -> float:
    """Return the least that replication moves in a year for each byte kept: what a cell holds is
    read elsewhere and written elsewhere once in the cell's life. Codes that mend several shards of
    a segment at once move less than that, those that mend one at a time more.

    Source: Blake and Rodrigues, "High availability, scalable storage, dynamic peer networks: pick
        two" (HotOS 2003).
    """
    return 2 / mttf_years
