"""A hollow cell: it commits to audits as if it had none of its shards, and then answers with the
right units and digests, as one that fetches single units from others could.

Source: docs/decisions/0033-audit.md.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from cell.rounds.audit import AuditRound
from cell.storage.shards import ShardKey
from common.crypto.freshness import FreshDigests
from common.ids import PeerId
from sim.cluster import Cluster, SimDaemon
from sim.options import Options
from sim.replacing import replaced

OFTEN: Final = {
    "audit_interval_s": 10,
    "audit_traffic_ppm": 1_000_000_000,
    "audit_suspend_failures": 60,
}
"""So often that minutes see many audits; and nobody is suspended, since a suspended cell fills
nothing."""


class HollowCell:
    """One of the cells of a swarm, drawn from the seed."""

    def __init__(self, chance: random.Random, options: Options) -> None:
        self._chance = chance
        self._cell: SimDaemon | None = None
        options.overrides["coordinator"] |= OFTEN

    def choose(self, cluster: Cluster) -> None:
        """Choose the cell."""
        self._cell = self._chance.choice(cluster.cells)
        self._cell.node.is_rotten = (
            True  # what it failed about is missing, and no loss of a healthy one
        )

    @property
    def cell_id(self) -> PeerId:
        """The key of the cell."""
        assert self._cell is not None
        return PeerId(self._cell.serving.peer_id)

    def _is_in(self, store: Any) -> bool:
        serving = None if self._cell is None else self._cell.serving
        return serving is not None and serving.store is store

    @contextmanager
    def committing(self) -> Iterator[None]:
        """Have the cell commit as it does, inside the ``with``."""
        read = AuditRound._read

        async def invent(audit: Any, key: ShardKey, nonce: bytes) -> tuple[bytes, bytes]:
            root, leaves = await read(audit, key, nonce)
            entry = await audit._store.index.find(key)
            if entry is None or not self._is_in(audit._store):
                return root, leaves
            fresh = FreshDigests(nonce)
            invented = fresh.leaf(b"nothing") * (-(-entry.shard_bytes // entry.unit_bytes))
            return fresh.root(*key, entry.unit_bytes, entry.shard_bytes, invented), invented

        with replaced(AuditRound, "_read", invent):
            yield
