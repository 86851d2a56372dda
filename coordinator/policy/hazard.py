"""The probability that a cell's disk is lost within the next 30 days, and the reasons in words.

Pure. A history of days goes in. The rates at which disks with such counts fail are published ones;
where nothing is published the assumption is named in docs/prediction.md.

Source: docs/prediction.md; Backblaze, "Hard Drive SMART Stats" (2014); Pinheiro, Weber, Barroso,
    "Failure Trends in a Large Disk Drive Population" (FAST 2007).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import StrEnum
from itertools import pairwise
from math import expm1
from typing import Final

from common.data_classes import dataclass
from common.disk_facts import UNKNOWN, DiskFacts

HORIZON_DAYS: Final = 30
DAYS_PER_YEAR: Final = 365.0
RECENT_DAYS: Final = 30
"""A count that grew in these last days is a fresh error."""
WEEK_DAYS: Final = 7
BASE_PER_YEAR: Final = 0.025
"""Failures of a disk without any sign, a year."""
FEWER_ABOVE: Final = 0.025
"""Probability of loss from which a cell gets fewer new shards: a rate of 0.3 a year."""
DRAIN_ABOVE: Final = 0.075
"""Probability of loss from which an operator is advised to drain: a rate of 0.95 a year."""
FEWER_WEIGHT: Final = 0.25
"""Share of new shards that a cell gets whose disk is likely to fail."""
FAILING_PER_YEAR: Final = 4.0
"""Assumed of a disk that says of itself that it fails."""
WORN_PER_YEAR: Final = 0.4
SPARE_PER_YEAR: Final = 2.0
MEDIA_ERRORS_PER_YEAR: Final = 0.4
BAD_SHARDS_PER_YEAR: Final = 1.0
"""Of a disk on which shards rotted lately: as after a first read error of its own."""
SLOW_PER_YEAR: Final = 0.4
SLOW_RATIO: Final = 3.0
VERY_SLOW_PER_YEAR: Final = 1.0
VERY_SLOW_RATIO: Final = 10.0
SLOW_FROM_US: Final = 20_000
"""Quicker ones hinder nobody, however they have changed."""
HOT_CELSIUS: Final = 60
AWAY_PER_YEAR: Final = 0.5
AWAY_DROP: Final = 0.3

FIRST_ERROR: Final = {"reallocated": 14, "pending": 16, "uncorrectable": 39, "reported": 39}
"""Ratio by which a disk whose count rose for the first time is more likely to fail within 60 days
(Pinheiro et al., 3.5: scan errors 39, reallocations 14, probational counts 16)."""


NO_FIGURES: Final = DiskFacts()


@dataclass(frozen=True, slots=True)
class DiskDay:
    """The figures of a cell on one day; ``UNKNOWN`` where there are none.

    ``day``: a number that grows by one each day. ``bad_shards``: those of volumes that were gone at
    a start of the cell, counted since it joined. ``up_percent``: of the day.
    """

    day: int
    disk: DiskFacts = NO_FIGURES
    bad_shards: int = UNKNOWN
    up_percent: float = UNKNOWN


class Advice(StrEnum):
    """The use to make of a cell."""

    NONE = "none"
    FEWER = "fewer"
    """Fewer new shards."""
    DRAIN = "drain"
    """Move its shards elsewhere while they can be read."""


@dataclass(frozen=True, slots=True)
class Hazard:
    """The hazard of a cell. ``per_year``: rate of loss. ``reasons``: in words, the worst first;
    empty where nothing is known that makes it worse than another."""

    per_year: float
    reasons: tuple[str, ...] = ()

    @property
    def loss(self) -> float:
        """The probability of loss within ``HORIZON_DAYS``."""
        return -expm1(-self.per_year * HORIZON_DAYS / DAYS_PER_YEAR)

    @property
    def advice(self) -> Advice:
        """The use to make of the cell."""
        if self.loss >= DRAIN_ABOVE:
            return Advice.DRAIN
        return Advice.FEWER if self.loss >= FEWER_ABOVE else Advice.NONE

    @property
    def weight(self) -> float:
        """The share of new shards that it gets, 0 to 1."""
        return {Advice.NONE: 1.0, Advice.FEWER: FEWER_WEIGHT, Advice.DRAIN: 0.0}[self.advice]

    def offered_bytes(self, free_bytes: int, least_bytes: int) -> int:
        """Return the free space that placement should see: less of it, so that the cell gets fewer
        new shards, but enough that it can be written to where there is no other.

        Args:
            free_bytes: of the cell.
            least_bytes: with less a cell counts as full.
        """
        return max(min(free_bytes, least_bytes), int(free_bytes * self.weight))


def next_drain(
    hazards: Mapping[int, Hazard], draining: Collection[int], able: Collection[int]
) -> int | None:
    """Return the cell to drain without being asked, or None.

    One at a time: what looks like many failing disks is more likely a mistake, and moving them all
    at once would take the bandwidth that each needs. The most likely to fail goes first.

    Args:
        hazards: by cell.
        draining: cells that leave already.
        able: cells whose shards can be read now, and that nothing else was decided of.
    """
    if draining:
        return None
    failing = {cell for cell, hazard in hazards.items() if hazard.advice is Advice.DRAIN}
    return max(
        sorted(failing.intersection(able)), key=lambda cell: hazards[cell].loss, default=None
    )


@dataclass(frozen=True, slots=True)
class _Counter:
    """A count of SMART: failures a year by its value (``at`` or more: ``per_year``), rounded and
    made monotonic."""

    name: str
    words: str
    at: tuple[int, ...]
    per_year: tuple[float, ...]

    def rate(self, value: int) -> float:
        """Return the failures a year of disks with this value."""
        position = bisect_right(self.at, value) - 1
        return self.per_year[position] if position >= 0 else BASE_PER_YEAR


COUNTERS: Final = (
    _Counter(
        "reallocated",
        "reallocated sectors",
        (4, 16, 70, 260, 1100, 4500),
        (0.075, 0.24, 0.36, 0.57, 1.5, 2.0),
    ),
    _Counter(
        "reported",
        "reported uncorrectable errors",
        (1, 3, 11, 20, 35, 65),
        (0.3, 0.4, 0.53, 0.84, 1.4, 1.6),
    ),
    _Counter("timeouts", "command timeouts", (100,), (0.1,)),
    _Counter(
        "pending",
        "sectors waiting for reallocation",
        (1, 2, 16, 40, 100, 250),
        (0.34, 0.64, 0.96, 1.65, 2.5, 3.3),
    ),
    _Counter("uncorrectable", "uncorrectable sectors", (1,), (0.8,)),
)
"""Failures a year by raw value, of the population that Backblaze published."""


def estimate_hazard(days: Sequence[DiskDay]) -> Hazard:
    """Return the hazard of a cell from its history.

    The signs of a failing disk come together, so that the worst of them counts, not their product.

    Args:
        days: of one cell, in order of time; may have gaps. Empty: nothing is known.
    """
    if not days:
        return Hazard(BASE_PER_YEAR)
    found = [sign for each in _SIGNS for sign in each(days)]
    found.sort(key=lambda sign: -sign[0])
    worst = max((rate for rate, _ in found), default=0.0)
    reasons = tuple(words for rate, words in found if rate > BASE_PER_YEAR)
    return Hazard(max(BASE_PER_YEAR, worst), reasons)


_Sign = tuple[float, str]
"""A rate of failures a year, and its reason."""


def _figure(day: DiskDay, name: str) -> int:
    return int(getattr(day if name == "bad_shards" else day.disk, name))


def _before(days: Sequence[DiskDay], name: str, age_days: int) -> tuple[int, int] | None:
    """Return the age of the last known value that is at least so old, else of the first one, and
    that value."""
    last = days[-1].day
    known = [(last - each.day, _figure(each, name)) for each in days]
    known = [(age, value) for age, value in known if value != UNKNOWN and age > 0]
    old = [each for each in known if each[0] >= age_days]
    if old:
        return old[-1]
    return known[0] if known else None


def _age(days: int) -> str:
    if days == WEEK_DAYS:
        return "a week"
    return "a day" if days == 1 else f"{days} days"


def _counts(days: Sequence[DiskDay]) -> list[_Sign]:
    found = []
    for counter in COUNTERS:
        now = _figure(days[-1], counter.name)
        if now <= 0:
            continue
        rate, words = counter.rate(now), f"{now} {counter.words}"
        recent = _before(days, counter.name, RECENT_DAYS)
        if recent is not None and now > recent[1]:
            ratio = FIRST_ERROR.get(counter.name, 1)
            rate = max(rate, BASE_PER_YEAR * ratio)
            week = _before(days, counter.name, WEEK_DAYS)
            age, value = week if week is not None and week[1] < now else recent
            words = f"{counter.words} rose from {value} to {now} in {_age(age)}"
        found.append((rate, words))
    return found


def _own_verdict(days: Sequence[DiskDay]) -> list[_Sign]:
    if days[-1].disk.passed == 0:
        return [(FAILING_PER_YEAR, "the disk reports that it is failing")]
    return []


def _flash(days: Sequence[DiskDay]) -> list[_Sign]:
    now = days[-1].disk
    found: list[_Sign] = []
    if now.spare != UNKNOWN and now.spare < now.spare_threshold:
        words = f"{now.spare} % of spare blocks left, {now.spare_threshold} % is the least"
        found.append((SPARE_PER_YEAR, words))
    if now.percentage_used >= 100:
        found.append((WORN_PER_YEAR, f"{now.percentage_used} % of its rated writes are used"))
    recent = _before(days, "media_errors", RECENT_DAYS)
    if recent is not None and now.media_errors > recent[1]:
        words = f"media errors rose from {recent[1]} to {now.media_errors} in {_age(recent[0])}"
        found.append((MEDIA_ERRORS_PER_YEAR, words))
    return found


def _rot(days: Sequence[DiskDay]) -> list[_Sign]:
    now, recent = days[-1].bad_shards, _before(days, "bad_shards", RECENT_DAYS)
    found = []
    if recent is not None and now > recent[1]:
        words = f"{now - recent[1]} shards were lost in {_age(recent[0])}"
        found.append((BAD_SHARDS_PER_YEAR, words))
    rotted, since = _rotted(days)
    if rotted:
        found.append((BAD_SHARDS_PER_YEAR, f"{rotted} shards rotted in {_age(since)}"))
    return found


def _rotted(days: Sequence[DiskDay]) -> tuple[int, int]:
    """Return how many shards rotted lately, and in how many days. Each start of the cell begins its
    count again."""
    last = days[-1].day
    known = [(last - each.day, each.disk.rotten) for each in days if each.disk.rotten != UNKNOWN]
    rotted, since = 0, 0
    for (age, before), (_, after) in pairwise(known):
        grown = after - before if after >= before else after
        if grown and age <= RECENT_DAYS:
            rotted, since = rotted + grown, max(since, age)
    return rotted, since


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return ordered[len(ordered) // 2]


def _speed(days: Sequence[DiskDay]) -> list[_Sign]:
    found = []
    for name, words in (("sync_us", "writes"), ("read_us", "reads")):
        last = days[-1].day
        known = [(last - each.day, _figure(each, name)) for each in days]
        week = [value for age, value in known if value >= 0 and age < WEEK_DAYS]
        before = [(value, age) for age, value in known if value >= 0 and age >= WEEK_DAYS]
        if len(week) < 3 or len(before) < WEEK_DAYS:
            continue
        now, then = _median(week), max(1, _median([value for value, _ in before]))
        if now < SLOW_FROM_US or now < SLOW_RATIO * then:
            continue
        rate = VERY_SLOW_PER_YEAR if now >= VERY_SLOW_RATIO * then else SLOW_PER_YEAR
        weeks = max(1, round(_median([age for _, age in before]) / WEEK_DAYS))
        ago = "a week ago" if weeks == 1 else f"{weeks} weeks ago"
        took = f"{_milliseconds(now)}, {_milliseconds(then)} then"
        found.append((rate, f"{words} take {now / then:.0f} times as long as {ago} ({took})"))
    return found


def _milliseconds(microseconds: float) -> str:
    value = microseconds / 1000
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def _presence(days: Sequence[DiskDay]) -> list[_Sign]:
    last = days[-1].day
    week = [d.up_percent for d in days if d.up_percent >= 0 and d.day > last - WEEK_DAYS]
    before = [d.up_percent for d in days if d.up_percent >= 0 and d.day <= last - WEEK_DAYS]
    if len(week) < 3 or len(before) < WEEK_DAYS:
        return []
    now, then = sum(week) / len(week), sum(before) / len(before)
    if now > then - 100 * AWAY_DROP:
        return []
    return [(AWAY_PER_YEAR, f"it is up {now:.0f} % of the time, and was {then:.0f} %")]


def _heat(days: Sequence[DiskDay]) -> list[_Sign]:
    # Published ratios of heat are small; it is a reason to look, not one to move data.
    if days[-1].disk.temperature < HOT_CELSIUS:
        return []
    return [(2 * BASE_PER_YEAR, f"{days[-1].disk.temperature} degrees Celsius")]


_SIGNS: Final[tuple[Callable[[Sequence[DiskDay]], list[_Sign]], ...]] = (
    _own_verdict,
    _counts,
    _flash,
    _rot,
    _speed,
    _presence,
    _heat,
)
