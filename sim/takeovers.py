"""Standbys follow the coordinator's journal and take over, while coordinators die, sleep, and are
cut off.

The active one is troubled most, and now and then its standbys, too. At the end one coordinator is
active, and the others have its store.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from common.known_coordinators import FILE_NAME
from coordinator.journal.recovery_file import RECOVERY_NAME
from coordinator.journaled_store import STORE_NAME
from sim.checkers.tables import MOST_SHOWN, differences
from sim.cluster import Cluster, SimDaemon
from sim.pace import draw_log_uniform
from sim.world import SimWorld

BETWEEN_S: Final = (2.0, 30.0)
WHILE_S: Final = (1.0, 45.0)
ACTIVE_SHARE: Final = 0.8
"""Of the troubles that are the active coordinator's."""
STEPS_S: Final = (-7200.0, -30.0, 30.0, 7200.0)
TAKEN_OVER_WITHIN_S: Final = 15.0
"""Time for a standby to be active after the active one was last heard, where nothing else is
wrong."""
AWAY_S: Final = (20.0, 60.0)
"""Long enough for a standby to take over."""
CALM_S: Final = 40.0
"""Time in which everybody follows again before the next trouble of a calm run."""


class Takeovers:
    """Troubles coordinators until the scenario is over.

    Args:
        is_calm: nothing else is wrong, so that a take-over has to be done in time.
    """

    def __init__(self, swarm: SimWorld, *, is_calm: bool) -> None:
        self.counts: dict[str, int] = {}
        self._swarm = swarm
        self._chance = swarm.random("takeovers")
        self._is_calm = is_calm
        self._standbys = self._chance.choice((1, 1, 2))
        self._cluster: Cluster
        self._found: list[str] = []
        self._undo: list[Callable[[], None]] = []

    async def come(self, cluster: Cluster) -> None:
        """Add the standbys, once there is a journal, and wait until they follow."""
        self._cluster = cluster
        node = cluster.store_node
        while RECOVERY_NAME not in node.platter.inodes:  # noqa: ASYNC110 - virtual time
            await trio.sleep(1)
        for number in range(self._standbys):
            await cluster.add_standby(number)
        while not await self._all_follow() or not self._all_know():  # noqa: ASYNC110 - virtual time
            await trio.sleep(1)

    def _all_know(self) -> bool:
        """Return whether cells and gateways know of the last standby."""
        name = f"standby-{self._standbys - 1}".encode()
        for each in (*self._cluster.cells, *self._cluster.gateways):
            inode = each.node.platter.inodes.get(FILE_NAME)
            if inode is None or name not in inode.content:
                return False
        return True

    async def _all_follow(self) -> bool:
        status = await self._cluster.operate("GET", "/v1/status")
        following = [each for each in status["standbys"] if each["follows"]]
        is_enforced = status["journal"]["lease"]["enforced"]
        return is_enforced and len(following) == self._standbys

    async def run(self) -> None:
        """Trouble a coordinator now and then, until cancelled."""
        if self._is_calm:
            await self._run_calmly()
        while True:
            await trio.sleep(self._chance.uniform(*BETWEEN_S))
            victim = self._cluster.active
            if victim is None or self._chance.random() >= ACTIVE_SHARE:
                victim = self._chance.choice(self._cluster.coordinators)
            trouble = self._chance.choice(
                (self._kill, self._keep_down, self._pause, self._cut_off, self._step_clock)
            )
            trouble(victim, draw_log_uniform(self._chance, *WHILE_S))

    async def _run_calmly(self) -> None:
        """One trouble at a time, each long enough; a standby has to be active in time."""
        while True:
            await trio.sleep(self._chance.uniform(*BETWEEN_S))
            victim = self._cluster.active
            if victim is None:
                self._found.append("no coordinator is active, and nothing is wrong")
                return
            trouble = self._chance.choice((self._keep_down, self._pause, self._cut_off))
            away_s = self._chance.uniform(*AWAY_S)
            began = trio.current_time()
            trouble(victim, away_s)
            with trio.move_on_after(TAKEN_OVER_WITHIN_S) as scope:
                while self._cluster.active in (None, victim):  # noqa: ASYNC110 - virtual time
                    await trio.sleep(0.1)
            if scope.cancelled_caught:
                self._found.append(
                    f"nobody has taken over from {victim.node.name} in"
                    f" {TAKEN_OVER_WITHIN_S:.0f} s at {self._swarm.virtual_s():.0f} s"
                )
            else:
                self._count("taken over in time")
            await trio.sleep(max(0.0, began + away_s + CALM_S - trio.current_time()))

    # --- troubles -------------------------------------------------------------------------------

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def _later(self, seconds: float, undo: Callable[[], None]) -> None:
        self._undo.append(undo)

        async def wait() -> None:
            await trio.sleep(seconds)
            undo()

        self._cluster.start_soon(wait)

    def _kill(self, victim: SimDaemon, _: float) -> None:
        self._count("a coordinator killed")
        victim.crash(power=self._chance.random() < 0.5)

    def _keep_down(self, victim: SimDaemon, seconds: float) -> None:
        self._count("a coordinator away")
        victim.stay_down()
        victim.crash(power=self._chance.random() < 0.5)
        self._later(seconds, victim.come_back)

    def _pause(self, victim: SimDaemon, seconds: float) -> None:
        self._count("a coordinator asleep")
        victim.node.pause()
        self._later(seconds, victim.node.resume)

    def _cut_off(self, victim: SimDaemon, seconds: float) -> None:
        """From all others, or but for clients' gateways, or from some; both ways, or one way."""
        self._count("a coordinator cut off")
        others: list[SimDaemon] = [
            each
            for each in (*self._cluster.cells, *self._cluster.coordinators)
            if each is not victim
        ]
        if self._is_calm or self._chance.random() < 0.5:
            others += self._cluster.gateways
        if not self._is_calm and self._chance.random() < 0.3:
            others = self._chance.sample(others, len(others) * 2 // 3)
        mine = victim.node.name
        names = [each.node.name for each in others]
        pairs = [(mine, name) for name in names] + [(name, mine) for name in names]
        way = "both" if self._is_calm else self._chance.choice(("both", "both", "out", "in"))
        if way != "both":
            pairs = [pair for pair in pairs if (pair[0] == mine) == (way == "out")]
        internet = self._swarm.internet
        victim.node.note("fault: cut off", {"way": way, "others": len(others)})
        for pair in pairs:
            internet.block(*pair)

        def unblock() -> None:
            for pair in pairs:
                internet.unblock(*pair)

        self._later(seconds, unblock)

    def _step_clock(self, victim: SimDaemon, seconds: float) -> None:
        self._count("a coordinator's clock stepped")
        node = victim.node
        node.clock_offset_s = self._chance.choice(STEPS_S)
        self._later(seconds, lambda: setattr(node, "clock_offset_s", 0.0))

    def heal(self) -> None:
        """End everything that was begun."""
        self._swarm.internet.heal()
        for undo in self._undo:
            undo()

    # --- afterwards -----------------------------------------------------------------------------

    async def wait_settled(self) -> None:
        """Wait until one coordinator is active."""
        while self._cluster.active is None:  # noqa: ASYNC110 - virtual time
            await trio.sleep(0.5)

    async def violations(self) -> list[str]:
        """Return what is wrong at the end: all but one follow, and have what the active one has."""
        found = list(self._found)
        active = self._cluster.active
        if active is None:
            return [*found, "no coordinator is active at the end"]
        for each in self._cluster.coordinators:
            if each is not active and each.serving.role.is_active:
                found.append(f"{each.node.name} is active beside {active.node.name}")
        with trio.move_on_after(60):
            while not await self._all_follow():  # noqa: ASYNC110 - virtual time
                await trio.sleep(1)
        if not await self._all_follow():
            found.append("a standby does not follow at the end")
        self._count_epochs()
        for each in self._cluster.coordinators:
            if each is not active:
                found += await self._compared(active, each)
        return found[:MOST_SHOWN]

    def _count_epochs(self) -> None:
        connection = self._cluster.store_node.databases[STORE_NAME].connection
        self.counts["epochs"] = connection.execute("SELECT epoch FROM journal").fetchone()[0]

    async def _compared(self, active: SimDaemon, other: SimDaemon) -> list[str]:
        mine, theirs = (each.node.databases[STORE_NAME].connection for each in (active, other))
        where = "SELECT sequence FROM journal"
        for _ in range(200):
            if mine.execute(where).fetchone() == theirs.execute(where).fetchone():
                return [f"{other.node.name}: {each}" for each in differences(mine, theirs)]
            await trio.sleep(0.1)
        return [f"{other.node.name} stays behind"]
