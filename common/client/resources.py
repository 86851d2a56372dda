"""The resources that all streams of one process share.

Source: docs/data-path.md, "Memory".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import trio

from common.client.abandons import Abandons
from common.client.fetch_units import FetchContext, Report
from common.client.policy.slot_health import SlotHealth
from common.data_classes import dataclass
from common.ids import TenantId
from common.ports import Chance, Log, Workers
from common.rpc.budget import ByteBudget, Share
from common.rpc.peers import PeerPool
from common.tasks import log_fault


class Background:
    """Tasks that outlive the stream that begins them, each of them for seconds at most.

    Args:
        nursery: theirs.
        log: gets what none of them foresaw; it ends that task and no other.
    """

    def __init__(self, nursery: trio.Nursery, log: Log) -> None:
        self._nursery: trio.Nursery | None = nursery
        self._log = log

    def start(self, work: Callable[..., Awaitable[Any]], *args: object) -> bool:
        """Begin a task; False, and nothing is begun, while the client stops."""
        if self._nursery is None:
            return False
        self._nursery.start_soon(self._run, work, args)
        return True

    async def _run(self, work: Callable[..., Awaitable[Any]], args: tuple[object, ...]) -> None:
        try:
            await work(*args)
        except Exception as error:
            log_fault(self._log, "background_broke", error)

    def close(self) -> None:
        """Begin no more. To be called before the nursery can end."""
        self._nursery = None


@dataclass(slots=True)
class Resources:
    """Shared by all writes and reads of a :class:`common.client.object_client.SwarmClient`."""

    pool: PeerPool
    health: SlotHealth
    workers: Workers
    budget: ByteBudget
    """Shared by tenant, and apart for writes and reads: neither leaves the other without room."""
    gathered: ByteBudget
    """Counts what of bodies has arrived and has no room in ``budget`` yet; nobody waits for it."""
    log: Log
    upload_numbers: Iterator[int]
    """Numbers of uploads to cells, never the same twice."""
    background: Background
    abandons: Abandons
    chance: Chance

    def fetching(self, report: Report) -> FetchContext:
        """Return the part of this that a reader needs to fetch units."""
        return FetchContext(self.pool, self.health, self.workers, report)

    def writes_of(self, tenant_id: TenantId) -> Share:
        """The share of the budget that a tenant's writes have."""
        return self.budget.share((tenant_id, "write"))

    def reads_of(self, tenant_id: TenantId) -> Share:
        """The share of the budget that a tenant's reads have."""
        return self.budget.share((tenant_id, "read"))


class StripeHold:
    """The budget that one stripe holds: its plaintext, kept to be replayed while ``kept``, and its
    units, until all slots took them. Everything was taken at once; this only gives back."""

    __slots__ = ("_budget", "_kept", "_plain_bytes", "_sending", "_unit_bytes")

    def __init__(self, budget: Share, plain_bytes: int, unit_bytes: int) -> None:
        self._budget = budget
        self._plain_bytes = plain_bytes
        self._unit_bytes = unit_bytes
        self._kept = True
        self._sending = True

    def encoded(self) -> None:
        """Free the room of the plaintext, which is not needed any more. Idempotent."""
        if self._kept:
            self._kept = False
            self._budget.give(self._plain_bytes + (0 if self._sending else self._unit_bytes))

    def sent(self) -> None:
        """Free the room of the units, which no slot needs any more. While the plaintext is kept,
        the units' room is kept too, so that a replay takes nothing again."""
        if self._sending:
            self._sending = False
            if not self._kept:
                self._budget.give(self._unit_bytes)

    def send_again(self) -> None:
        """Hold the units again, for a replay of the kept plaintext."""
        assert self._kept, "only what is kept can be replayed"
        self._sending = True
