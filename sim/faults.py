"""The nemesis: draws faults from the seed, bounded by what must be recoverable."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

import httpx
import trio

from common.data_classes import dataclass
from sim.cluster import Cluster, SimDaemon
from sim.network import LinkModel
from sim.pace import Pulse, draw_log_uniform
from sim.world import SimWorld


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """The kinds of fault that may be drawn, and how dense. Drawn from the seed by
    :func:`draw_plan`."""

    pause_s: float
    kinds: tuple[str, ...]
    link: LinkModel
    aimed: float
    """Share of the faults that wait for a client's operation: a fault in idle time finds little."""
    rotten_cells: int
    """Cells whose disks may rot or fail to read, or that lie: at most quorum - k, since a segment
    may have been acknowledged by its quorum only, and rots before anybody has read it."""


KINDS: Final = (
    "kill",
    "power_cut",
    "partition",
    "one_way_partition",
    "slow_node",
    "slow_disk",
    "stalled_disk",
    "sync_error",
    "write_error",
    "store_error",
    "full_disk",
    "clock_step",
    "cut_connections",
    "rot",
    "read_error",
    "lies",
    "new_cell",
    "blackout",
)
POWER_KINDS: Final = frozenset({"power_cut", "blackout"})
MOST_NEW_CELLS: Final = 2
MOST_STEPS_AHEAD: Final = 60
SOON_S: Final = (0.001, 3.0)
"""After an operation began: while its bytes, its syncs or its commit are under way."""
WHILE_S: Final = (1.0, 120.0)
"""Of a fault that ends by itself: some outlast short write leases and every time-out."""
RESET_SHARE: Final = 0.4


def draw_plan(chance: random.Random, spare_slots: int) -> FaultPlan:
    """A plan for one run.

    Args:
        spare_slots: quorum - k of the redundancy class: how many cells may rot for good.
    """
    count = chance.randrange(3, len(KINDS) + 1)
    return FaultPlan(
        pause_s=chance.choice((2.0, 8.0, 30.0)),
        kinds=tuple(sorted(chance.sample(KINDS, count))),
        link=LinkModel(
            latency_s=chance.choice((0.0005, 0.01, 0.05)),
            jitter_s=chance.choice((0.0, 0.01, 0.2)),
            loss=chance.choice((0.0, 0.01, 0.1, 0.3)),
        ),
        aimed=chance.choice((0.5, 0.8, 1.0)),
        rotten_cells=chance.randrange(spare_slots + 1),
    )


def draw_calm_link(chance: random.Random) -> LinkModel:
    """A link without faults: slow or fast, but everything arrives."""
    return LinkModel(
        latency_s=chance.choice((0.0005, 0.01, 0.05)),
        bytes_per_s=chance.choice((0.0, 300_000.0, 5_000_000.0)),
    )


class Nemesis:
    """Carries out a plan on a cluster until :meth:`heal` is called."""

    def __init__(self, swarm: SimWorld, cluster: Cluster, plan: FaultPlan, pulse: Pulse) -> None:
        self._swarm = swarm
        self._cluster = cluster
        self._plan = plan
        self._pulse = pulse
        self._chance = swarm.random("faults")
        self.drawn: dict[str, int] = {}
        self._new_cells = 0
        self._is_over = False
        self._joining = trio.Lock()

    async def run(self) -> None:
        """Draw faults until cancelled (then :meth:`heal`)."""
        self._swarm.internet.model = self._plan.link
        while True:
            await self._wait()
            kind = self._chance.choice(self._plan.kinds)
            self.drawn[kind] = self.drawn.get(kind, 0) + 1
            strike: Callable[[], None] = getattr(self, f"_{kind}")
            strike()

    async def _wait(self) -> None:
        """Wait for the moment of the next fault: any moment, or soon after a client began an
        operation, or right after it was answered."""
        chance = self._chance
        await trio.sleep(chance.expovariate(1 / self._plan.pause_s))
        if chance.random() >= self._plan.aimed:
            return
        if chance.random() < 0.7:
            await self._pulse.wait_begin()
            await trio.sleep(draw_log_uniform(chance, *SOON_S))
        else:
            await self._pulse.wait_answer()

    async def heal(self) -> None:
        """End every fault that ends by itself in the world: links, disks, clocks, space; where the
        power may go, it perhaps goes everywhere first. On return no cell is about to join any
        more."""
        self._is_over = True
        if POWER_KINDS.intersection(self._plan.kinds) and self._chance.random() < 0.5:
            for daemon in self._cluster.daemons:
                daemon.crash(power=True)
        self._swarm.internet.heal()
        for daemon in self._cluster.daemons:
            node = daemon.node
            faults = node.platter.faults
            faults.read_error = faults.write_error = faults.sync_error = faults.latency_s = 0.0
            faults.stalled_until = 0.0
            node.platter.capacity_bytes = self._cluster.shape.cell_capacity_bytes
            node.clock_offset_s = 0.0
            node.cut_at_step = None
            for database in node.databases.values():
                database.fail_commits = 0.0
        async with self._joining:
            pass

    def _any(self) -> SimDaemon:
        return self._chance.choice(list(self._cluster.daemons))

    def _cell(self) -> SimDaemon:
        return self._chance.choice(self._cluster.cells)

    def _note(self, daemon: SimDaemon, event: str, **facts: object) -> None:
        daemon.node.note(f"fault: {event}", dict(facts))

    def _kill(self) -> None:
        self._any().crash(power=False)

    def _power_cut(self) -> None:
        """At once, or (better at finding things) just before one of the next I/O steps."""
        daemon = self._any()
        if self._chance.random() < 0.5:
            daemon.crash(power=True)
        else:
            node = daemon.node
            node.cut_at_step = node.steps + self._chance.randrange(1, MOST_STEPS_AHEAD)

    def _blackout(self) -> None:
        """Cut the power at several places at once, perhaps everywhere."""
        share = self._chance.choice((0.3, 0.6, 1.0))
        for daemon in self._cluster.daemons:
            if self._chance.random() < share:
                daemon.crash(power=True)

    def _for_a_while(self, undo: Callable[[], None]) -> None:
        seconds = draw_log_uniform(self._chance, *WHILE_S)

        async def later() -> None:
            await trio.sleep(seconds)
            undo()

        self._cluster.start_soon(later)

    def _perhaps_reset(self, daemon: SimDaemon, within_s: float) -> None:
        """Perhaps reset a machine whose disk hangs or errs, as an operator would."""
        if self._chance.random() >= RESET_SHARE:
            return
        seconds = self._chance.uniform(0, within_s)

        async def later() -> None:
            await trio.sleep(seconds)
            if not self._is_over:
                daemon.crash(power=True)

        self._cluster.start_soon(later)

    def _partition(self) -> None:
        self._part(both=True)

    def _one_way_partition(self) -> None:
        self._part(both=False)

    def _pair(self) -> list[SimDaemon]:
        """Two daemons; often a gateway and a coordinator, where everything is decided."""
        if self._chance.random() < 0.4:
            coordinator, *others = self._cluster.coordinators
            if others:
                coordinator = self._chance.choice([coordinator, *others])
            pair = [coordinator, self._chance.choice(self._cluster.gateways)]
            self._chance.shuffle(pair)
            return pair
        return self._chance.sample(list(self._cluster.daemons), 2)

    def _part(self, *, both: bool) -> None:
        first, second = self._pair()
        internet = self._swarm.internet
        pairs = [(first.node.name, second.node.name)]
        if both:
            pairs.append((second.node.name, first.node.name))
        for pair in pairs:
            internet.block(*pair)
        self._note(first, "partition", other=second.node.name, both=both)

        def unblock() -> None:
            for pair in pairs:
                internet.unblock(*pair)

        self._for_a_while(unblock)

    def _cut_connections(self) -> None:
        first, second = self._pair()
        self._note(first, "connections cut", other=second.node.name)
        self._swarm.internet.cut(first.node.name, second.node.name)

    def _slow_node(self) -> None:
        daemon, slow = self._any(), self._swarm.internet.slow_nodes
        slow[daemon.node.name] = self._chance.uniform(0.05, 3.0)
        self._note(daemon, "slow", seconds=slow[daemon.node.name])

        def speed_up() -> None:
            slow.pop(daemon.node.name, None)

        self._for_a_while(speed_up)

    def _slow_disk(self) -> None:
        daemon = self._cell()
        faults = daemon.node.platter.faults
        faults.latency_s = self._chance.uniform(0.01, 2.0)
        self._note(daemon, "slow disk", seconds=faults.latency_s)
        self._for_a_while(lambda: setattr(faults, "latency_s", 0.0))
        self._perhaps_reset(daemon, 5 * faults.latency_s)

    def _stalled_disk(self) -> None:
        daemon = self._cell()
        seconds = self._chance.uniform(1, 40)
        daemon.node.platter.faults.stalled_until = trio.current_time() + seconds
        self._note(daemon, "stalled disk", seconds=seconds)
        self._perhaps_reset(daemon, seconds)

    def _error(self, name: str, daemon: SimDaemon) -> None:
        faults = daemon.node.platter.faults
        setattr(faults, name, self._chance.choice((0.01, 0.2, 1.0)))
        self._note(daemon, name.replace("_", " "), probability=getattr(faults, name))
        self._for_a_while(lambda: setattr(faults, name, 0.0))

    def _sync_error(self) -> None:
        daemon = self._cell()
        self._error("sync_error", daemon)
        self._perhaps_reset(daemon, WHILE_S[0])

    def _write_error(self) -> None:
        self._error("write_error", self._cell())

    def _store_error(self) -> None:
        """Make the commits of a store fail: nothing is written, and the caller gets an error."""
        daemon = self._any()
        databases = list(daemon.node.databases.values())
        share = self._chance.choice((0.01, 0.2, 1.0))
        self._note(daemon, "store error", probability=share)
        for database in databases:
            database.fail_commits = share

        def end() -> None:
            for database in databases:
                database.fail_commits = 0.0

        self._for_a_while(end)

    def _rotten(self) -> SimDaemon | None:
        rotten = self._cluster.cells[: self._plan.rotten_cells]
        if not rotten:
            return None
        daemon = self._chance.choice(rotten)
        daemon.node.is_rotten = True
        return daemon

    def _read_error(self) -> None:
        daemon = self._rotten()
        if daemon is not None:
            self._error("read_error", daemon)

    def _rot(self) -> None:
        daemon = self._rotten()
        if daemon is None:
            return
        platter = daemon.node.platter
        paths = sorted(path for path, inode in platter.inodes.items() if len(inode.content) > 4096)
        if paths:
            path = self._chance.choice(paths)
            offset = self._chance.randrange(len(platter.inodes[path].content))
            platter.rot(path, offset)
            self._note(daemon, "rot", path=path, offset=offset)

    def _lies(self) -> None:
        """From now on, and also when all else is healed, a cell answers payloads that are wrong."""
        daemon = self._rotten()
        if daemon is not None:
            daemon.node.lies = self._chance.choice((0.1, 1.0))
            self._note(daemon, "lies", probability=daemon.node.lies)

    def _new_cell(self) -> None:
        """Let one more cell join. Until the invitation is answered anything may go wrong; then its
        operator tries again."""
        if self._new_cells < MOST_NEW_CELLS:
            self._new_cells += 1
            self._cluster.start_soon(self._join)

    async def _join(self) -> None:
        async with self._joining:
            number = len(self._cluster.cells)
            while len(self._cluster.cells) == number:
                try:
                    await self._cluster.add_cell(number)
                except (httpx.TransportError, AssertionError):
                    await trio.sleep(5)

    def _full_disk(self) -> None:
        daemon = self._cell()
        platter = daemon.node.platter
        platter.capacity_bytes = platter.used_bytes() + self._chance.randrange(100_000)
        self._note(daemon, "full disk")

        def empty() -> None:
            platter.capacity_bytes = self._cluster.shape.cell_capacity_bytes

        self._for_a_while(empty)

    def _clock_step(self) -> None:
        daemon = self._any()
        daemon.node.clock_offset_s = self._chance.choice((-3600.0, -60.0, 60.0, 3600.0))
        self._note(daemon, "clock step", seconds=daemon.node.clock_offset_s)
        self._for_a_while(lambda: setattr(daemon.node, "clock_offset_s", 0.0))
