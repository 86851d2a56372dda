"""An operator who gives the clients' bucket one storage class after the other."""

from __future__ import annotations

from collections import Counter
from typing import Final

import httpx
import trio

from sim.cluster import Cluster
from sim.world import SimWorld

CLASSES: Final = (
    {"name": "NEAR", "redundancy": "2/4", "sites": [f"site-{number}" for number in range(6)]},
    {"name": "WIDE", "redundancy": "3/6"},
)
"""Beside the one that is configured. Each cell is a site: NEAR leaves some of them out."""
PAUSE_S: Final = (4.0, 40.0)


class ClassChanges:
    """Changes the class of a bucket at random moments."""

    def __init__(self, swarm: SimWorld, cluster: Cluster, bucket: str) -> None:
        self.counts: Counter[str] = Counter()
        self._cluster = cluster
        self._bucket = bucket
        self._chance = swarm.random("class changes")

    async def prepare(self) -> None:
        """Make the classes."""
        for each in CLASSES:
            await self._cluster.operate("POST", "/v1/classes", each)

    async def run(self) -> None:
        """Change the class until cancelled."""
        while True:
            await trio.sleep(self._chance.uniform(*PAUSE_S))
            name = self._chance.choice(("STANDARD", *(str(each["name"]) for each in CLASSES)))
            path = f"/v1/buckets/{self._bucket}/class"
            try:
                answer = await self._cluster.operate("POST", path, {"storage_class": name})
            except (httpx.TransportError, AssertionError):
                continue  # the coordinator is away, or too few cells are there for the class
            if answer["changed"]:
                self.counts[f"class {name}"] += 1
