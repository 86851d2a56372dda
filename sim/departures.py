"""Cells that go: for a while, for good with all that they hold, or because they are drained; and
cells that come back without what they held.

The faults of the nemesis all end; what goes here for good has to be rebuilt by the swarm. So a cell
is destroyed only while every committed segment has k good shards elsewhere, and not soon after
another one: a write that is under way counts on at most quorum - k losses.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import httpx
import trio

from cell.storage.index_tables import BAD
from sim.checkers.tables import cell_id_of, has_index, index_rows, store_rows
from sim.cluster import Cluster, SimDaemon
from sim.pace import draw_log_uniform
from sim.world import SimWorld

KINDS: Final = ("away", "destroyed", "drained")
FLAPPING: Final = ("away",)
LOSSES: Final = frozenset({"destroyed", "emptied"})
RESTLESS: Final = ("away", "away", "drained", "destroyed", "emptied", "emptied")
PAUSE_S: Final = (10.0, 120.0)
SHORT_PAUSE_S: Final = (2.0, 20.0)
BETWEEN_LOSSES_S: Final = 180.0
"""Longer than a write that is under way, with all its retries."""
FEWEST_SHORT_OF: Final = 2
"""So many cells more than a ring has slots stay: one to go to, and one that may be away."""


class Departures:
    """Lets cells go until cancelled (then :meth:`heal`).

    Args:
        slots: n of the redundancy class.
        needed: k of it.
        kinds: of departure.
        longest_s: of an absence.
        pause_s: between two departures, from and to.
        first_loss_s: no shards are lost for good before that time.
    """

    def __init__(
        self,
        swarm: SimWorld,
        cluster: Cluster,
        *,
        slots: int,
        needed: int,
        kinds: tuple[str, ...] = KINDS,
        longest_s: float,
        pause_s: tuple[float, float] = PAUSE_S,
        first_loss_s: float = 0.0,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._cluster = cluster
        self._slots = slots
        self._needed = needed
        self._kinds = kinds
        self._longest_s = longest_s
        self._pause_s = pause_s
        self._chance = swarm.random("departures")
        self._last_loss_s = first_loss_s - BETWEEN_LOSSES_S

    async def run(self) -> None:
        """Let cells go, one after another."""
        chance = self._chance
        while True:
            await trio.sleep(draw_log_uniform(chance, *self._pause_s))
            kind = chance.choice(self._kinds)
            staying = [each for each in self._cluster.cells if each.is_up and not each.leaves]
            if len(staying) < self._slots + FEWEST_SHORT_OF:
                continue
            daemon = chance.choice(staying)
            if kind == "away":
                self._away(daemon)
            elif kind in LOSSES:
                self._lose(kind, daemon)
            else:
                await self._drain(daemon)

    def heal(self) -> None:
        """Let all cells that are away come back."""
        for daemon in self._cluster.cells:
            daemon.down_until_s = 0.0

    def _count(self, kind: str, daemon: SimDaemon, **facts: object) -> None:
        self.counts[f"cell {kind}"] += 1
        daemon.node.note(f"departure: {kind}", dict(facts))

    def _away(self, daemon: SimDaemon) -> None:
        seconds = draw_log_uniform(self._chance, 5.0, self._longest_s)
        self._count("away", daemon, seconds=seconds)
        daemon.down_until_s = trio.current_time() + seconds
        daemon.crash(power=self._chance.random() < 0.5)

    def _lose(self, kind: str, daemon: SimDaemon) -> None:
        now = trio.current_time()
        if now - self._last_loss_s < BETWEEN_LOSSES_S or not self._can_lose(daemon):
            return
        self._last_loss_s = now
        self._count(kind, daemon)
        if kind == "destroyed":
            daemon.destroy()
        else:
            daemon.empty()

    def _can_lose(self, daemon: SimDaemon) -> bool:
        """Return whether every segment has k good shards on other cells that are whole."""
        good: Counter[bytes] = Counter()
        for each in self._cluster.cells:
            node = each.node
            if each is daemon or node.is_rotten or not has_index(node):
                continue
            cell_id = cell_id_of(each)
            held = set(
                index_rows(node, f"SELECT segment_id, slot FROM shards WHERE state <> {BAD}")
            )
            for table in ("ring_slots", "sources"):
                good.update(
                    segment
                    for segment, slot in store_rows(
                        self._cluster,
                        f"SELECT s.segment_id, r.slot FROM segments s JOIN {table} r"
                        " ON r.ring = s.ring JOIN cells c ON c.cell = r.cell"
                        " WHERE c.cell_id = ?",
                        cell_id,
                    )
                    if (segment, slot) in held
                )
        segments = store_rows(self._cluster, "SELECT segment_id FROM segments")
        return all(good[segment] >= self._needed for (segment,) in segments)

    async def _drain(self, daemon: SimDaemon) -> None:
        path = f"/v1/cells/{cell_id_of(daemon).hex()}/drain"
        try:
            await self._cluster.operate("POST", path)
        except (httpx.TransportError, AssertionError):
            return  # the coordinator is away, or does not know the cell yet
        daemon.is_draining = True
        self._count("drained", daemon)
