"""One simulated run: build the swarm, trouble it, heal it, demand that everything converges."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import field, replace
from typing import Final

import trio

from common.data_classes import dataclass
from sim.checkers.audits import check_audits
from sim.checkers.bounds import check_bounds
from sim.checkers.fences import not_followed, outside_of_fences
from sim.checkers.filling import FillWatch
from sim.checkers.gone import GoneWatch
from sim.checkers.linearizability import SearchTooLarge, is_linearizable, shrink
from sim.checkers.media import MediaWatch, check_media
from sim.checkers.ownership import check_ownership
from sim.checkers.sealing import SealWatch
from sim.checkers.tables import MOST_SHOWN, store_rows
from sim.checkers.waits import check_waits
from sim.checkers.witness import Witness
from sim.clients import Clients
from sim.cluster import Cluster, Shape
from sim.faults import KINDS, FaultPlan, Nemesis, draw_calm_link, draw_plan
from sim.guests import Guests
from sim.history import OperationHistory
from sim.hostile import Intruder
from sim.options import draw_options
from sim.pace import Pulse
from sim.replay import run_seeded
from sim.scenario import Scenario
from sim.trace import TraceEvent
from sim.workloads import BUCKET, Workload
from sim.world import SimWorld

CONVERGE_S: Final = 1200.0
"""Virtual time after healing within which everything must have converged: two write leases
(300 s), the delete grace and several rounds, with room."""
OVERDUE_EVERY_S: Final = 30.0
"""Interval at which it is looked for what is to expire: longer than a lifecycle day of a run."""
LOOK_EVERY_S: Final = 1.0
"""Interval of the checkers that watch a whole run: shorter than a cell takes to report a loss."""


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
    k, n = scenario.needed_and_slots
    plan = draw_plan(swarm.random("plan"), (n - k + 1) // 2)
    kinds = tuple(kind for kind in plan.kinds if kind in scenario.kinds) or scenario.kinds
    return replace(plan, pause_s=scenario.pause_s or plan.pause_s, kinds=kinds)


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
    guests = Guests(scenario, swarm, options)
    clients = Clients(scenario, seed, swarm, options, guests)
    try:
        with seals.watching(), guests.around_the_swarm(), ExitStack() as stack:
            async with Cluster(swarm, shape) as cluster:
                await guests.prepare(cluster)
                witness, media = Witness(cluster), MediaWatch(cluster)
                gone = GoneWatch(cluster)
                fills = FillWatch(cluster, is_calm=not scenario.kinds)
                stack.enter_context(fills.watching())

                async def watch() -> None:
                    while True:
                        if not guests.is_store_away:
                            witness.look()
                            gone.look()
                            if guests.departures is not None:
                                fills.look()
                        media.look()
                        await trio.sleep(LOOK_EVERY_S)

                workloads = await clients.come(cluster, history, pulse)
                cluster.start_soon(watch)
                await _trouble(scenario, swarm, cluster, workloads, pulse, report, guests)
                await _converge(cluster, workloads, report, guests)
                report.violations += outside_of_fences(cluster)
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


async def _trouble(
    scenario: Scenario,
    swarm: SimWorld,
    cluster: Cluster,
    workloads: Sequence[Workload],
    pulse: Pulse,
    report: Report,
    guests: Guests,
) -> None:
    """The phase of safety: clients work while faults strike and an intruder tries its luck."""
    until_s = trio.current_time() + scenario.minutes * 60
    plan = _draw_plan(scenario, swarm)
    if plan is None:
        swarm.internet.model = draw_calm_link(swarm.random("link"))
    guests.depart(scenario, cluster, plan)
    await guests.change_classes(scenario, cluster, BUCKET)
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
        if guests.class_changes is not None:
            faults.start_soon(guests.class_changes.run)
        if guests.lost is not None:
            faults.start_soon(guests.lost.run)
        if guests.takeovers is not None:
            faults.start_soon(guests.takeovers.run)
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
    if guests.lost is not None:
        swarm.internet.heal()
        await guests.lost.finish()
    if guests.takeovers is not None:
        guests.takeovers.heal()
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
    cluster: Cluster, workloads: Sequence[Workload], report: Report, guests: Guests
) -> None:
    """The phase of liveness: with all faults healed the swarm must come to rest, in time."""
    violations: list[str] = []
    with trio.move_on_after(CONVERGE_S) as scope:
        await cluster.wait_all_up()
        if guests.takeovers is not None:
            await guests.takeovers.wait_settled()
        await trio.sleep(30)
        for workload in {each.bucket: each for each in workloads}.values():
            await workload.read_all()
            for problem in workload.unread():
                report.violations.append(f"not readable after healing: {problem}")
        for workload in workloads:
            while violations := await workload.overdue():  # noqa: ASYNC110  # virtual time
                await trio.sleep(OVERDUE_EVERY_S)  # listings know no events either
        for workload in workloads:
            for silent in await workload.read_own():
                report.violations.append(f"not readable after healing: {silent}")
        while violations := await _unrest(cluster, had_older_store=guests.older is not None):
            if guests.older is not None:
                await guests.older.accept()
            await trio.sleep(10)  # stores know no events; a poll in virtual time costs nothing
    if guests.lost is not None and not scope.cancelled_caught:
        report.violations += await guests.lost.compare()
    if guests.takeovers is not None:
        report.violations += await guests.takeovers.violations()
    if scope.cancelled_caught:
        report.violations.append(f"did not converge within {CONVERGE_S:.0f} s of virtual time")
        report.violations += violations


async def _unrest(cluster: Cluster, *, had_older_store: bool) -> list[str]:
    """Return the reasons why the swarm is not at rest."""
    problems = [
        *await check_bounds(cluster.swarm, cluster),
        *await check_ownership(cluster, had_older_store=had_older_store),
    ]
    return problems or not_followed(cluster) or check_media(cluster)


def _moved(cluster: Cluster) -> list[str]:
    """Return that slots were moved, where no cell was away for long enough to be lost."""
    moved = store_rows(cluster, "SELECT coalesce(sum(revision), 0) FROM rings")
    return [f"{moved[0][0]} slots were moved for nothing"] if moved[0][0] else []


def _judge(history: OperationHistory, report: Report, guests: Guests) -> None:
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
