"""The guests of a run beside its faults, as its scenario has them and its seed draws them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Final

from common.limits import MIB
from sim.checkers.excuses import without_reigns, without_rollbacks
from sim.checkers.linearizability import RegisterOperation
from sim.checkers.tables import MOST_SHOWN
from sim.class_changes import ClassChanges
from sim.cluster import Cluster
from sim.departures import FLAPPING, LOSSES, PAUSE_S, RESTLESS, SHORT_PAUSE_S, Departures
from sim.departures import KINDS as DEPARTURES
from sim.faults import FaultPlan
from sim.greedy import Glutton
from sim.hollow import HollowCell
from sim.liar import Liar, lying
from sim.lost_coordinator import LostCoordinator
from sim.older_store import OlderStore
from sim.options import Options
from sim.scenario import Scenario
from sim.takeovers import Takeovers
from sim.world import SimWorld

GREEDY_BUDGET_BYTES: Final = 24 * MIB
"""Of gateways beside a greedy caller, so that a caller of few connections can be greedy."""


class Guests:
    """The guests of a run beside its faults: a coordinator that lies, a greedy caller, an older
    store. At most one of them, drawn from the seed. And cells that go, which is drawn apart."""

    def __init__(self, scenario: Scenario, swarm: SimWorld, options: Options) -> None:
        draw = swarm.random("guests").random()
        self.liar: Liar | None = None
        self.glutton: Glutton | None = None
        self.older: OlderStore | None = None
        self._swarm = swarm
        self._is_greedy = 0 <= draw - scenario.liar < scenario.greedy
        self.has_older = 0 <= draw - scenario.liar - scenario.greedy < scenario.older_store
        if draw < scenario.liar:
            self.liar = Liar(swarm, swarm.node("coordinator"))
        if self.has_older:
            ttl_s = swarm.random("guests lease").choice((12, 20))
            options.overrides["coordinator"]["write_lease_ttl_s"] = ttl_s
        if self._is_greedy:
            options.overrides["gateway"] = {"buffer_budget_bytes": GREEDY_BUDGET_BYTES}
        self._lease_ttl_s = options.overrides["coordinator"]["write_lease_ttl_s"]
        self.hollow: HollowCell | None = None
        if scenario.has_hollow:
            self.hollow = HollowCell(swarm.random("hollow"), options)
        self.class_changes: ClassChanges | None = None
        self.lost: LostCoordinator | None = None
        if scenario.keeps_journal:
            options.overrides["coordinator"]["journal"] = "on"
        if scenario.loses_coordinator:
            self.lost = LostCoordinator(swarm)
        self.takeovers: Takeovers | None = None
        if scenario.takes_over:
            self.takeovers = Takeovers(swarm, is_calm=not scenario.kinds)
        self.departures: Departures | None = None
        chance = swarm.random("repair")
        self._has_departures = chance.random() < scenario.departures
        timeout_s = options.overrides["coordinator"]["cell_timeout_s"]
        lost_after_s = chance.choice((5, 30, 120))
        if scenario.is_flapping or scenario.is_restless:
            lost_after_s = 120 if scenario.is_flapping else 5
        self._lost_after_s = timeout_s + lost_after_s
        options.overrides["coordinator"]["lost_after_s"] = self._lost_after_s
        options.overrides["cell"]["compare_every_s"] = chance.choice((60, 120, 300))

    async def change_classes(self, scenario: Scenario, cluster: Cluster, bucket: str) -> None:
        """Have an operator change the class of a bucket, if that happens in this run."""
        if scenario.changes_class:
            self.class_changes = ClassChanges(self._swarm, cluster, bucket)
            await self.class_changes.prepare()

    def depart(self, scenario: Scenario, cluster: Cluster, plan: FaultPlan | None) -> None:
        """Have cells go, if they do in this run."""
        if not self._has_departures:
            return
        k, n = scenario.needed_and_slots
        is_rotten = plan is not None and plan.rotten_cells > 0
        if scenario.is_flapping:
            kinds: tuple[str, ...] = FLAPPING
        else:
            every = RESTLESS if scenario.is_restless else DEPARTURES
            kinds = tuple(kind for kind in every if kind not in LOSSES or not is_rotten)
        # Not always the first departure, when little is stored that lasts.
        span_s = scenario.minutes * 60 if scenario.is_restless else 0.0
        first_loss_s = self._swarm.random("losses").uniform(0.0, span_s)
        self.departures = Departures(
            self._swarm,
            cluster,
            slots=n,
            needed=k,
            kinds=kinds,
            longest_s=self._lost_after_s * (0.5 if scenario.is_flapping else 3.0),
            pause_s=SHORT_PAUSE_S if scenario.is_restless else PAUSE_S,
            first_loss_s=first_loss_s,
        )

    @contextmanager
    def around_the_swarm(self) -> Iterator[None]:
        """Run the swarm inside what must exist before it does."""
        with ExitStack() as stack:
            if self.liar is not None:
                stack.enter_context(lying(self.liar))
            if self.hollow is not None:
                stack.enter_context(self.hollow.committing())
            if self.lost is not None:
                stack.enter_context(self.lost.lying())
            yield

    async def prepare(self, cluster: Cluster) -> None:
        """Come to the swarm."""
        if self._is_greedy:
            self.glutton = Glutton(self._swarm, cluster)
            await self.glutton.prepare()
        if self.hollow is not None:
            self.hollow.choose(cluster)
        if self.lost is not None:
            self.lost.come(cluster)
        if self.takeovers is not None:
            await self.takeovers.come(cluster)
        if self.has_older:
            self.older = OlderStore(self._swarm, cluster, self._lease_ttl_s)

    @property
    def is_store_away(self) -> bool:
        """Return whether the store that counts is not there now."""
        is_older = self.older is not None and self.older.is_in_charge
        return is_older or (self.lost is not None and self.lost.is_away)

    @property
    def only_watch(self) -> bool:
        """Return whether no guest makes a request fail."""
        return not (self.liar or self.older or self.departures or self.lost or self.takeovers)

    def findings(self) -> list[str]:
        """Return the forbidden actions of other nodes toward the guests."""
        return self.liar.findings[:MOST_SHOWN] if self.liar is not None else []

    def counts(self) -> dict[str, int]:
        """Return the actions of the guests, and how often each happened."""
        counts: dict[str, int] = {}
        if self.liar is not None:
            counts |= {f"lie: {what}": count for what, count in sorted(self.liar.told.items())}
        if self.glutton is not None:
            counts |= {f"greed: {what}": n for what, n in sorted(self.glutton.taken.items())}
        if self.older is not None:
            counts["an older store in charge"] = len(self.older.reigns)
        if self.class_changes is not None:
            counts |= dict(sorted(self.class_changes.counts.items()))
        if self.lost is not None:
            counts |= {"a disk lost": self.lost.losses, "a journal's lies": self.lost.lies}
        if self.takeovers is not None:
            counts |= dict(sorted(self.takeovers.counts.items()))
        if self.departures is not None:
            counts |= dict(sorted(self.departures.counts.items()))
        return counts

    def excused(
        self, place: str, operations: Sequence[RegisterOperation]
    ) -> Sequence[RegisterOperation]:
        """The operations on a name that its history is judged by."""
        if self.liar is not None:
            bucket, _, key = place.partition("/")
            excuses = partial(self.liar.excuses, bucket, key.encode())
            return without_rollbacks(operations, excuses)
        if self.older is not None:
            return without_reigns(operations, self.older.reigns)
        return operations
