"""The scenarios: the kinds of runs, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from common.data_classes import dataclass
from sim.faults import KINDS


@dataclass(frozen=True, slots=True)
class Scenario:
    """The kind of a run: its shape, its faults and how long clients work under them."""

    name: str
    minutes: float = 20.0
    cells: int = 12
    redundancy: str = "4/6"
    clients: int = 3
    kinds: tuple[str, ...] = KINDS
    """Faults that may be drawn; empty: none."""
    pause_s: float = 0.0
    """Mean pause between two faults; 0: drawn from the seed."""
    is_dense: bool = False
    """Clients never rest, and pause for seconds at most."""
    liar: float = 0.0
    """Share of the runs whose coordinator lies (:mod:`sim.liar`)."""
    greedy: float = 0.0
    """Share of the runs with a greedy caller (:mod:`sim.greedy`)."""
    older_store: float = 0.0
    """Share of the runs in which an older store comes back (:mod:`sim.older_store`)."""
    versions: float = 0.0
    """Share of the runs whose clients keep versions, and lock some
    (:mod:`sim.workloads_versions`, :mod:`sim.workloads_locks`)."""
    rules: float = 0.0
    """Share of the runs, of those without versions, whose clients set lifecycle rules, share with
    others and have named keys (:mod:`sim.workloads_lifecycle`, :mod:`sim.workloads_access`,
    :mod:`sim.workloads_keys`)."""
    loses_coordinator: bool = False
    """The coordinator loses its disk, and is recovered from its journal
    (:mod:`sim.lost_coordinator`)."""
    keeps_journal: bool = False
    """The coordinator keeps a journal on cells, as it does by default."""
    takes_over: bool = False
    """Standbys follow the coordinator, and take over (:mod:`sim.takeovers`)."""
    departures: float = 0.0
    """Share of the runs in which cells go (:mod:`sim.departures`)."""
    has_hollow: bool = False
    """A cell answers audits that has not what it is asked about (:mod:`sim.hollow`)."""
    changes_class: bool = False
    """An operator changes the storage class of the clients' bucket (:mod:`sim.class_changes`)."""
    is_flapping: bool = False
    """Cells that go come back before they are lost, and nothing may be moved."""
    is_restless: bool = False
    """Cells go one soon after the other, and are lost soon, unless they are flapping."""

    @property
    def needed_and_slots(self) -> tuple[int, int]:
        """k and n of the redundancy class."""
        k, n = self.redundancy.split("/")
        return int(k), int(n)


CRASH_KINDS: Final = ("kill", "power_cut", "blackout")
NETWORK_KINDS: Final = ("partition", "one_way_partition", "slow_node", "cut_connections")
JOURNAL_KINDS: Final = ("kill", "power_cut", "partition", "cut_connections", "store_error")
TAKEOVER_KINDS: Final = (
    "kill",
    "power_cut",
    "partition",
    "one_way_partition",
    "cut_connections",
    "store_error",
    "clock_step",
    "slow_disk",
)
DISK_KINDS: Final = (
    "power_cut",
    "blackout",
    "slow_disk",
    "stalled_disk",
    "sync_error",
    "write_error",
    "store_error",
    "full_disk",
    "rot",
    "read_error",
    "lies",
)


def _small(name: str, kinds: tuple[str, ...], pause_s: float = 0.0) -> Scenario:
    """A run of minutes in which much happens."""
    return Scenario(name, minutes=3, cells=6, kinds=kinds, pause_s=pause_s, is_dense=True)


SCENARIOS: Final[Mapping[str, Scenario]] = {
    each.name: each
    for each in (
        Scenario("everything", liar=0.2, departures=0.5, versions=0.5, rules=0.5),
        Scenario(
            "journaled", liar=0.2, departures=0.5, versions=0.5, rules=0.5, keeps_journal=True
        ),
        Scenario("calm", kinds=(), minutes=5, cells=6, is_dense=True),
        Scenario("idle", kinds=(), clients=0),
        Scenario("crashes", kinds=CRASH_KINDS),
        Scenario("network", kinds=NETWORK_KINDS),
        Scenario("disks", kinds=DISK_KINDS),
        Scenario("clocks", kinds=("clock_step", "kill")),
        _small("small", KINDS),
        _small("crashes-small", CRASH_KINDS, 4.0),
        _small("network-small", NETWORK_KINDS, 2.0),
        _small("disks-small", DISK_KINDS, 2.0),
        _small("cuts-small", ("cut_connections",), 1.0),
        _small("liars-small", ("lies",), 5.0),
        replace(_small("versions", KINDS), versions=1.0, departures=0.3, cells=9),
        replace(_small("lifecycle", KINDS), rules=1.0),
        replace(_small("lifecycle-calm", ()), minutes=2, rules=1.0),
        replace(_small("lifecycle-clocks", ("clock_step", "kill"), 3.0), rules=1.0),
        Scenario("three-boxes", minutes=10, cells=3, redundancy="2/3"),
        replace(_small("journaled-boxes", KINDS), cells=3, redundancy="2/3", keeps_journal=True),
        replace(_small("journaled-small", KINDS), keeps_journal=True),
        replace(_small("liars", ()), minutes=1, liar=1.0),
        replace(_small("greedy", ()), minutes=1, greedy=1.0),
        replace(_small("older-store", ()), minutes=2, older_store=1.0),
        replace(
            _small("journal", JOURNAL_KINDS, 5.0),
            minutes=2,
            cells=8,
            keeps_journal=True,
            loses_coordinator=True,
        ),
        replace(
            _small("takeover", TAKEOVER_KINDS, 8.0),
            minutes=2,
            cells=8,
            keeps_journal=True,
            takes_over=True,
        ),
        replace(
            _small("takeover-calm", ()), minutes=2, cells=6, keeps_journal=True, takes_over=True
        ),
        replace(_small("churn", KINDS), minutes=8, cells=10, departures=1.0),
        replace(_small("churn-small", ()), minutes=5, cells=9, departures=1.0),
        replace(_small("hollow", ()), minutes=2, has_hollow=True),
        replace(_small("classes", KINDS), minutes=3, cells=9, changes_class=True),
        replace(_small("classes-calm", ()), minutes=2, cells=8, changes_class=True),
        replace(
            _small("moves", ()), minutes=2, cells=10, clients=2, departures=1.0, is_restless=True
        ),
        replace(
            _small("moves-lies", ("lies",), 5.0),
            minutes=2,
            cells=10,
            clients=2,
            departures=1.0,
            is_restless=True,
        ),
        replace(
            _small("flapping", ()),
            minutes=5,
            cells=9,
            departures=1.0,
            is_flapping=True,
            is_restless=True,
        ),
    )
}
