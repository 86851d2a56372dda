"""One simulated run: build the swarm, trouble it, heal it, demand that everything converges."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import trio

from common.limits import MIB
from sim.checkers.audits import check_audits
from sim.checkers.bounds import check_bounds
from sim.checkers.excuses import without_reigns, without_rollbacks
from sim.checkers.filling import FillWatch
from sim.checkers.gone import GoneWatch
from sim.checkers.linearizability import RegisterOperation, SearchTooLarge, is_linearizable, shrink
from sim.checkers.media import MediaWatch, check_media
from sim.checkers.ownership import check_ownership
from sim.checkers.sealing import SealWatch
from sim.checkers.tables import MOST_SHOWN, store_rows
from sim.checkers.waits import check_waits
from sim.checkers.witness import Witness
from sim.cluster import Cluster, Shape
from sim.departures import FLAPPING, LOSSES, PAUSE_S, RESTLESS, SHORT_PAUSE_S, Departures
from sim.departures import KINDS as DEPARTURES
from sim.faults import KINDS, FaultPlan, Nemesis, draw_calm_link, draw_plan
from sim.greedy import Glutton
from sim.history import OperationHistory
from sim.hollow import HollowCell
from sim.hostile import Intruder
from sim.liar import Liar, lying
from sim.older_store import OlderStore
from sim.options import Options, draw_options
from sim.pace import Pulse
from sim.replay import run_seeded
from sim.trace import TraceEvent
from sim.workloads import BUCKET, DEFAULT_MIX, Workload
from sim.workloads_parts import BLIND_MIX, PartsWorkload
from sim.world import SimWorld

CONVERGE_S: Final = 1200.0
"""Virtual time after healing within which everything must have converged: two write leases
(300 s), the delete grace and several rounds, with room."""
SECOND_BUCKET: Final = "comb"
GREEDY_BUDGET_BYTES: Final = 24 * MIB
"""Of gateways beside a greedy caller, so that a caller of few connections can be greedy."""
LOOK_EVERY_S: Final = 1.0
"""Interval of the checkers that watch a whole run: shorter than a cell takes to report a loss."""


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
    departures: float = 0.0
    """Share of the runs in which cells go (:mod:`sim.departures`)."""
    has_hollow: bool = False
    """A cell answers audits that has not what it is asked about (:mod:`sim.hollow`)."""
    is_flapping: bool = False
    """Cells that go come back before they are lost, and nothing may be moved."""
    is_restless: bool = False
    """Cells go one soon after the other, and are lost soon, unless they are flapping."""


CRASH_KINDS: Final = ("kill", "power_cut", "blackout")
NETWORK_KINDS: Final = ("partition", "one_way_partition", "slow_node", "cut_connections")
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
        Scenario("everything", liar=0.2, departures=0.5),
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
        Scenario("three-boxes", minutes=10, cells=3, redundancy="2/3"),
        replace(_small("liars", ()), minutes=1, liar=1.0),
        replace(_small("greedy", ()), minutes=1, greedy=1.0),
        replace(_small("older-store", ()), minutes=2, older_store=1.0),
        replace(_small("churn", KINDS), minutes=8, cells=10, departures=1.0),
        replace(_small("churn-small", ()), minutes=5, cells=9, departures=1.0),
        replace(_small("hollow", ()), minutes=2, has_hollow=True),
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


@dataclass(slots=True)
class Report:
    """The result of a run: what held and what did not. A run is good when ``violations`` is
    empty."""

    seed: int
    scenario: str
    minutes: float
    violations: list[str] = field(default_factory=list)
    digest: str = ""
    virtual_s: float = 0.0
    real_s: float = 0.0
    steps: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    events: list[TraceEvent] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return not self.violations


def run_scenario(scenario: Scenario, seed: int) -> Report:
    """Run one seed of a scenario from start to verdict.

    Raises:
        Nothing of the run's own: an exception inside it becomes a violation of the report.
    """
    report = Report(seed, scenario.name, scenario.minutes)
    began = time.perf_counter()

    async def main() -> None:
        await _run(scenario, seed, report)

    try:
        run_seeded(seed, main)
    except Exception as error:  # any exception of the product is the finding of the run
        report.violations.append(f"raised {_readable(error)}")
    report.real_s = time.perf_counter() - began
    return report


def _readable(error: BaseException, depth: int = 0) -> str:
    """An exception with its place, and those inside a group."""
    if isinstance(error, BaseExceptionGroup):
        inner = "; ".join(_readable(each, depth + 1) for each in error.exceptions[:4])
        return f"[{inner}]"
    place = ""
    traceback = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        place = f"{code.co_filename.rpartition('/')[2]}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return f"{type(error).__name__}: {error} at {place}"


def _draw_plan(scenario: Scenario, swarm: SimWorld) -> FaultPlan | None:
    if not scenario.kinds:
        return None
    # Not asked of the product: a wrong quorum must not excuse itself.
    k, n = (int(part) for part in scenario.redundancy.split("/"))
    plan = draw_plan(swarm.random("plan"), (n - k + 1) // 2)
    kinds = tuple(kind for kind in plan.kinds if kind in scenario.kinds) or scenario.kinds
    return replace(plan, pause_s=scenario.pause_s or plan.pause_s, kinds=kinds)


class _Guests:
    """The guests of a run beside its faults: a coordinator that lies, a greedy caller, an older
    store. At most one of them, drawn from the seed. And cells that go, which is drawn apart."""

    def __init__(self, scenario: Scenario, swarm: SimWorld, options: Options) -> None:
        draw = swarm.random("guests").random()
        self.liar: Liar | None = None
        self.glutton: Glutton | None = None
        self.older: OlderStore | None = None
        self._swarm = swarm
        self._is_greedy = 0 <= draw - scenario.liar < scenario.greedy
        self._has_older = 0 <= draw - scenario.liar - scenario.greedy < scenario.older_store
        if draw < scenario.liar:
            self.liar = Liar(swarm, swarm.node("coordinator"))
        if self._has_older:
            ttl_s = swarm.random("guests lease").choice((12, 20))
            options.overrides["coordinator"]["write_lease_ttl_s"] = ttl_s
        if self._is_greedy:
            options.overrides["gateway"] = {"buffer_budget_bytes": GREEDY_BUDGET_BYTES}
        self._lease_ttl_s = options.overrides["coordinator"]["write_lease_ttl_s"]
        self.hollow: HollowCell | None = None
        if scenario.has_hollow:
            self.hollow = HollowCell(swarm.random("hollow"), options)
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

    def depart(self, scenario: Scenario, cluster: Cluster, plan: FaultPlan | None) -> None:
        """Have cells go, if they do in this run."""
        if not self._has_departures:
            return
        k, n = (int(part) for part in scenario.redundancy.split("/"))
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
            yield

    async def prepare(self, cluster: Cluster) -> None:
        """Come to the swarm."""
        if self._is_greedy:
            self.glutton = Glutton(self._swarm, cluster)
            await self.glutton.prepare()
        if self.hollow is not None:
            self.hollow.choose(cluster)
        if self._has_older:
            self.older = OlderStore(self._swarm, cluster, self._lease_ttl_s)

    @property
    def only_watch(self) -> bool:
        """Return whether no guest makes a request fail."""
        return self.liar is None and self.older is None and self.departures is None

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


async def _run(scenario: Scenario, seed: int, report: Report) -> None:
    swarm = SimWorld(seed)
    history = OperationHistory()
    options = draw_options(swarm.random("options"), is_dense=scenario.is_dense)
    pulse = Pulse()
    swarm.disk_latency_s = options.disk_latency_s
    shape = Shape(
        cells=scenario.cells,
        redundancy=scenario.redundancy,
        gateways=options.gateways,
        overrides=options.overrides,
    )
    seals = SealWatch()
    guests = _Guests(scenario, swarm, options)
    try:
        with seals.watching(), guests.around_the_swarm(), ExitStack() as stack:
            async with Cluster(swarm, shape) as cluster:
                workloads = _workloads(scenario, seed, cluster, history, options, pulse, guests)
                await guests.prepare(cluster)
                witness, media = Witness(cluster), MediaWatch(cluster)
                gone = GoneWatch(cluster)
                fills = FillWatch(cluster, is_calm=not scenario.kinds)
                stack.enter_context(fills.watching())

                async def watch() -> None:
                    while True:
                        if guests.older is None or not guests.older.is_in_charge:
                            witness.look()
                            gone.look()
                            if guests.departures is not None:
                                fills.look()
                        media.look()
                        await trio.sleep(LOOK_EVERY_S)

                for workload in {each.bucket: each for each in workloads}.values():
                    await workload.make_bucket()
                cluster.start_soon(watch)
                await _trouble(scenario, swarm, cluster, workloads, pulse, report, guests)
                await _converge(cluster, workloads, report, guests)
                if scenario.is_flapping:
                    report.violations += _moved(cluster)
                if guests.hollow is not None:
                    report.violations += check_audits(cluster, guests.hollow.cell_id)[:MOST_SHOWN]
                report.violations += [
                    *witness.violations(),
                    *media.violations[:MOST_SHOWN],
                    *fills.violations(),
                    *gone.violations(),
                ]
        report.violations += [*seals.violations, *guests.findings()]
        _judge(history, report, guests)
    finally:
        report.violations += swarm.faults[:MOST_SHOWN]
        report.virtual_s = swarm.virtual_s()
        report.digest = swarm.trace.digest()
        report.steps = swarm.trace.count
        report.events = list(swarm.trace.events)
        report.counts = dict(sorted(history.counts.items()))


def _workloads(
    scenario: Scenario,
    seed: int,
    cluster: Cluster,
    history: OperationHistory,
    options: Options,
    pulse: Pulse,
    guests: _Guests,
) -> list[PartsWorkload]:
    """The clients; where a coordinator lies, in two buckets that have the same keys."""
    return [
        PartsWorkload(
            cluster.client(f"client-{number}", number % options.gateways),
            history,
            random.Random(f"{seed}/client-{number}"),
            options.pace,
            pulse,
            BLIND_MIX if guests.liar else DEFAULT_MIX,
            SECOND_BUCKET if guests.liar and number % 2 else BUCKET,
        )
        for number in range(max(1, scenario.clients))
    ]


async def _trouble(
    scenario: Scenario,
    swarm: SimWorld,
    cluster: Cluster,
    workloads: Sequence[Workload],
    pulse: Pulse,
    report: Report,
    guests: _Guests,
) -> None:
    """The phase of safety: clients work while faults strike and an intruder tries its luck."""
    until_s = trio.current_time() + scenario.minutes * 60
    plan = _draw_plan(scenario, swarm)
    if plan is None:
        swarm.internet.model = draw_calm_link(swarm.random("link"))
    guests.depart(scenario, cluster, plan)
    intruder = Intruder(swarm, cluster)
    await intruder.prepare()
    async with trio.open_nursery() as faults:
        if scenario.clients:
            faults.start_soon(intruder.run)
        if guests.liar is not None:
            faults.start_soon(guests.liar.run)
        if plan is not None:
            nemesis = Nemesis(swarm, cluster, plan, pulse)
            faults.start_soon(nemesis.run)
        if guests.departures is not None:
            faults.start_soon(guests.departures.run)
        if scenario.clients:
            async with trio.open_nursery() as nursery:
                for workload in workloads:
                    nursery.start_soon(workload.run, until_s)
                if guests.older is not None:
                    nursery.start_soon(guests.older.run)
                if guests.glutton is not None:
                    third_s = scenario.minutes * 20
                    await trio.sleep(third_s)
                    await guests.glutton.run(third_s)
        else:
            await trio.sleep_until(until_s)
        if plan is None and guests.only_watch:
            report.violations += workloads[0].unknowns()
        faults.cancel_scope.cancel()
    if guests.departures is not None:
        guests.departures.heal()
    report.violations += intruder.findings
    if plan is not None:
        await nemesis.heal()
        report.faults = dict(sorted(nemesis.drawn.items()))
    if guests.liar is not None or guests.older is not None:
        # Ids that a liar gave to one gateway under the lease of another, and leases whose numbers
        # an older store gave again, are pending as long as that other lives, and fill cells.
        for gateway in cluster.gateways:
            gateway.crash(power=False)
    report.faults |= guests.counts()


async def _converge(
    cluster: Cluster, workloads: Sequence[Workload], report: Report, guests: _Guests
) -> None:
    """The phase of liveness: with all faults healed the swarm must come to rest, in time."""
    violations: list[str] = []
    with trio.move_on_after(CONVERGE_S) as scope:
        await cluster.wait_all_up()
        await trio.sleep(30)
        for workload in {each.bucket: each for each in workloads}.values():
            await workload.read_all()
            for problem in workload.unread():
                report.violations.append(f"not readable after healing: {problem}")
        while violations := await _unrest(cluster, had_older_store=guests.older is not None):
            if guests.older is not None:
                await guests.older.accept()
            await trio.sleep(10)  # stores know no events; a poll in virtual time costs nothing
    if scope.cancelled_caught:
        report.violations.append(f"did not converge within {CONVERGE_S:.0f} s of virtual time")
        report.violations += violations


async def _unrest(cluster: Cluster, *, had_older_store: bool) -> list[str]:
    """Return the reasons why the swarm is not at rest."""
    problems = [
        *await check_bounds(cluster.swarm, cluster),
        *await check_ownership(cluster, had_older_store=had_older_store),
    ]
    return problems or check_media(cluster)


def _moved(cluster: Cluster) -> list[str]:
    """Return that slots were moved, where no cell was away for long enough to be lost."""
    moved = store_rows(cluster, "SELECT coalesce(sum(revision), 0) FROM rings")
    return [f"{moved[0][0]} slots were moved for nothing"] if moved[0][0] else []


def _judge(history: OperationHistory, report: Report, guests: _Guests) -> None:
    report.violations += [f"wrong bytes: {account}" for account in history.wrong_bytes[:MOST_SHOWN]]
    report.violations += history.names.violations[:MOST_SHOWN]
    if guests.glutton is not None and not report.faults.keys() & set(KINDS):
        report.violations += check_waits(history.waits, guests.glutton.spans)
    for key in sorted(history.operations):
        operations = guests.excused(key, history.operations[key])
        try:
            if is_linearizable(operations):
                continue
        except SearchTooLarge:
            report.violations.append(f"{key!r}: history of {len(operations)} too large to judge")
            continue
        tail = "\n    ".join(
            f"{each.kind.value} {each.value} [{each.start_s:.3f}, {each.end_s:.3f}]"
            f" expected={each.expected} holds={each.holds}"
            for each in shrink(operations)[-8:]
        )
        report.violations.append(f"{key!r} is not linearizable; it ends with\n    {tail}")
