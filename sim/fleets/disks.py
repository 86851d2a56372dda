"""Traces of disks made from published failure statistics, and what predictions are worth on them.

The traces are made up: each disk has a history of SMART counts of which only the margins are
published. They show what a rule does with such counts, and cannot show that the counts are so.

Source: docs/prediction.md, "Evaluation".
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from typing import Final

from common.data_classes import dataclass
from common.disk_facts import UNKNOWN, DiskFacts
from coordinator.policy.hazard import Advice, DiskDay, estimate_hazard

DAYS: Final = 365
KEPT_DAYS: Final = 31
"""Days of a disk that a coordinator keeps, and a prediction sees."""
USUAL_SYNC_US: Final = 15_000
"""Of a hard disk."""
FIELDS: Final = ("reallocated", "reported", "timeouts", "pending", "uncorrectable")


@dataclass(frozen=True, slots=True)
class DiskPopulation:
    """The published margins, and what had to be assumed.

    ``fails``: share of the disks that fail in a year. ``shows``: share of these that have a count
    above zero before. ``marked``: share of the others that has one, too. ``marked_grow``: share of
    those whose counts grow all the same. ``lead_days``: assumed: mean time from the first sign to
    the failure. ``slows``: assumed: share of the failing disks that become slow before.
    ``fail_slow``: share of the others that become slow in a year and stay so. ``laden``: assumed:
    share of the others that are slow for some weeks of a year, by load.
    """

    fails: float = 0.014
    shows: float = 0.767
    marked: float = 0.042
    marked_grow: float = 0.2
    lead_days: float = 30.0
    slows: float = 0.25
    fail_slow: float = 304 / 248_000 * 12 / 10
    laden: float = 0.05


BACKBLAZE: Final = DiskPopulation()
GOOGLE: Final = DiskPopulation(fails=0.05, shows=0.44, marked=0.09)
"""Of Pinheiro et al.: most disks that failed had shown nothing."""


@dataclass(frozen=True, slots=True)
class DiskTrace:
    """A year of one disk. ``fails_on``: its last day, or None. ``changes``: the days on which its
    figures changed, in order; before the first one they are zero. ``slow``: by day, how many times
    as long as usual a sync takes, where that is more than once."""

    fails_on: int | None
    changes: tuple[tuple[int, DiskFacts], ...]
    slow: Mapping[int, float] = field(default_factory=dict)


def disk_traces(population: DiskPopulation, disks: int, seed: int) -> Iterator[DiskTrace]:
    """Make traces of disks.

    Args:
        population: the statistics to follow.
        disks: how many.
        seed: decides everything.
    """
    chance = random.Random(seed)
    for _ in range(disks):
        if chance.random() < population.fails:
            fails_on = chance.randrange(1, DAYS)
            shows = chance.random() < population.shows
            signs = _signs(population, fails_on, chance) if shows else ()
            yield DiskTrace(fails_on, signs, _slows(population, fails_on, chance))
        else:
            marks = _marks(population, chance) if chance.random() < population.marked else ()
            yield DiskTrace(None, marks, _is_slow(population, chance))


def _figures(values: dict[str, float]) -> DiskFacts:
    return DiskFacts(passed=1, **{name: int(values.get(name, 0)) for name in FIELDS})


def _signs(
    population: DiskPopulation, fails_on: int, chance: random.Random
) -> tuple[tuple[int, DiskFacts], ...]:
    """A failing disk: some counts begin, and grow faster and faster."""
    begins = fails_on - 1 - int(chance.expovariate(1 / population.lead_days))
    names = chance.sample(FIELDS, chance.choice((1, 1, 2, 2, 3)))
    values = dict.fromkeys(names, 1.0)
    growth = 1 + chance.random() * 0.3
    changes = []
    for day in range(begins, fails_on):
        values = {name: value * growth + (chance.random() < 0.2) for name, value in values.items()}
        changes.append((day, _figures(values)))
    return _within(changes)


def _marks(population: DiskPopulation, chance: random.Random) -> tuple[tuple[int, DiskFacts], ...]:
    """A disk that lives on with counts above zero; some of them grow for a while."""
    name = chance.choice(FIELDS)
    value = 1 + chance.expovariate(1 / 6)
    begins = chance.randrange(-3 * DAYS, DAYS)
    changes = [(begins, _figures({name: value}))]
    if chance.random() < population.marked_grow:
        for _ in range(chance.randrange(1, 5)):
            begins += chance.randrange(1, 60)
            value += 1 + chance.expovariate(1 / 4)
            changes.append((begins, _figures({name: value})))
    return _within(changes)


def _slows(population: DiskPopulation, fails_on: int, chance: random.Random) -> Mapping[int, float]:
    """A failing disk: some need ever more tries, from a while before on."""
    if chance.random() >= population.slows:
        return {}
    begins = fails_on - 1 - int(chance.expovariate(1 / population.lead_days))
    growth = 1 + chance.random() * 0.3
    grown = {day: min(1000.0, growth ** (day - begins)) for day in range(begins, fails_on)}
    return {day: ratio * chance.lognormvariate(0, 0.3) for day, ratio in grown.items() if day >= 0}


def _is_slow(population: DiskPopulation, chance: random.Random) -> Mapping[int, float]:
    """A disk that lives on: it may become slow for good, or for some weeks."""
    begins = chance.randrange(DAYS)
    if chance.random() < population.fail_slow:
        ends, ratio = DAYS, 2 + chance.expovariate(1 / 10)
    elif chance.random() < population.laden:
        ends, ratio = begins + chance.randrange(5, 40), 1 + chance.expovariate(1 / 2)
    else:
        return {}
    return {day: ratio * chance.lognormvariate(0, 0.3) for day in range(begins, min(DAYS, ends))}


def _within(changes: Sequence[tuple[int, DiskFacts]]) -> tuple[tuple[int, DiskFacts], ...]:
    """Changes from day 0 on; what was before is what there is on day 0."""
    before = [each for each in changes if each[0] <= 0]
    first = [(0, before[-1][1])] if before else []
    return (*first, *(each for each in changes if 0 < each[0] < DAYS))


Rule = Callable[[Sequence[DiskDay]], bool]
"""Says whether a disk with such a history is to be drained."""


def never(_days: Sequence[DiskDay]) -> bool:
    """Do nothing."""
    return False


def any_count(days: Sequence[DiskDay]) -> bool:
    """The fixed threshold: any of the five counts above zero."""
    return any(getattr(days[-1].disk, name) > 0 for name in FIELDS)


def many_reallocated(days: Sequence[DiskDay]) -> bool:
    """A fixed threshold that waits: 50 sectors reallocated, or any uncorrectable."""
    disk = days[-1].disk
    return disk.reallocated >= 50 or disk.uncorrectable > 0 or disk.reported > 0


def by_counts(days: Sequence[DiskDay]) -> bool:
    """The product's rule without a look at times."""
    untimed = [replace(day, disk=replace(day.disk, sync_us=UNKNOWN)) for day in days]
    return estimate_hazard(untimed).advice is Advice.DRAIN


def by_hazard(days: Sequence[DiskDay]) -> bool:
    """The product's rule."""
    return estimate_hazard(days).advice is Advice.DRAIN


def first_alarm(trace: DiskTrace, rule: Rule) -> int | None:
    """Return the first day on which a rule drains a disk, or None."""
    if not trace.changes and not trace.slow:
        healthy = [DiskDay(day, _figures({})) for day in range(KEPT_DAYS)]
        return 0 if rule(healthy) else None
    changes = dict(trace.changes)
    disk = _figures({})
    days: list[DiskDay] = []
    for day in range(trace.fails_on if trace.fails_on is not None else DAYS):
        disk = changes.get(day, disk)
        timed = replace(disk, sync_us=int(USUAL_SYNC_US * max(1.0, trace.slow.get(day, 1.0))))
        days = [*days[-KEPT_DAYS + 1 :], DiskDay(day, timed)]
        if rule(days):
            return day
    return None


@dataclass(frozen=True, slots=True)
class Worth:
    """The worth of a rule on some traces.

    ``precision``: of the disks that it drained, the share that failed within 60 days. ``recall``:
    of the disks that failed, the share that it drained before. ``saved``: of the data on disks that
    failed, the share that had left them by then. ``needless``: disks drained that did not fail, of
    100 in a year.
    """

    drained: int
    failed: int
    precision: float
    recall: float
    saved: float
    needless: float


HORIZON_DAYS: Final = 60
DRAIN_DAYS: Final = 7.4
"""4 TB at 50 Mbit/s."""


def worth(rule: Rule, traces: Sequence[DiskTrace], *, drain_days: float = DRAIN_DAYS) -> Worth:
    """Return what a rule is worth.

    Args:
        rule: when to drain.
        traces: of disks.
        drain_days: time until all data has left a disk that is drained.
    """
    alarms = [first_alarm(trace, rule) for trace in traces]
    drained = [(trace, at) for trace, at in zip(traces, alarms, strict=True) if at is not None]
    failed = sum(trace.fails_on is not None for trace in traces)
    leads = [trace.fails_on - at for trace, at in drained if trace.fails_on is not None]
    right = sum(lead <= HORIZON_DAYS for lead in leads)
    return Worth(
        len(drained),
        failed,
        right / len(drained) if drained else 0.0,
        len(leads) / failed if failed else 0.0,
        sum(min(1.0, lead / drain_days) for lead in leads) / failed if failed else 0.0,
        100 * (len(drained) - len(leads)) / len(traces),
    )


RULES: Final[dict[str, Rule]] = {
    "nothing": never,
    "any count": any_count,
    "50 or uncorrectable": many_reallocated,
    "hazard, counts alone": by_counts,
    "hazard": by_hazard,
}


def evaluate(disks: int, seed: int) -> dict[str, dict[str, Worth]]:
    """Return what each rule is worth in each population.

    Args:
        disks: in each.
        seed: of the traces.
    """
    populations = {
        "Backblaze": BACKBLAZE,
        "Google": GOOGLE,
        "Backblaze, signs a week before": replace(BACKBLAZE, lead_days=7.0),
    }
    found = {}
    for name, population in populations.items():
        traces = list(disk_traces(population, disks, seed))
        found[name] = {rule: worth(RULES[rule], traces) for rule in RULES}
    return found
