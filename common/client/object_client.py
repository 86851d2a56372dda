"""The native client: writes and reads objects on a swarm.

Source: docs/data-path.md.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from itertools import count

import trio

from common import limits
from common.client.abandons import Abandons
from common.client.coordinators import CoordinatorClient
from common.client.fetch_units import Report
from common.client.grants import GrantPool
from common.client.locate import Version
from common.client.policy.slot_health import SlotHealth
from common.client.read_object import copy_pages, read_object
from common.client.reports import Reports
from common.client.resources import Background, Resources
from common.client.write_object import Written, write_object
from common.crypto.keys import KEY_BYTES, TenantKey
from common.format.manifest import Manifest
from common.ports import Buffer, Chance, Entropy, Log, Workers
from common.rpc.budget import ByteBudget
from common.rpc.peers import PeerPool
from common.tasks import go_on
from common.wire.messages.base import STANDARD_CLASS
from common.wire.messages.objects import ObjectRecord
from common.wire.messages.writing import Page, SegmentPlace

__all__ = ["SwarmClient", "Written"]


class SwarmClient:
    """Writes and reads objects' bytes. Commits, listings and the like go to the coordinators.

    Args:
        coordinators: running; finds a live one and keeps the write lease.
        pool: running; connections to cells.
        workers: for sealing, encoding and hashing.
        entropy: upload keys.
        chance: jitter of retries.
        log: lost segments, bad shards.
        budget_bytes: of all streams together; at least GATEWAY_BUFFER_BUDGET_BYTES / 4.
    """

    def __init__(
        self,
        *,
        coordinators: CoordinatorClient,
        pool: PeerPool,
        workers: Workers,
        entropy: Entropy,
        chance: Chance,
        log: Log,
        budget_bytes: int,
    ) -> None:
        self._coordinators = coordinators
        self._pool = pool
        self._workers = workers
        self._entropy = entropy
        self._chance = chance
        self._log = log
        self._health = SlotHealth()
        self._budget = ByteBudget(budget_bytes)
        self._gathered = ByteBudget(budget_bytes // limits.GATHERED_PER_BUDGET)
        self._grant_pool = GrantPool(coordinators, self._health, log)
        self._reports = Reports(coordinators, log)
        self._abandons = Abandons(coordinators, log)
        self._running: Resources | None = None

    @property
    def budget(self) -> ByteBudget:
        """The byte budget of all streams, shared by tenant and direction."""
        return self._budget

    @property
    def gathered(self) -> ByteBudget:
        """The count of bytes of bodies that have arrived and have no room in the budget yet."""
        return self._gathered

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the background work until cancelled; nothing is written or read before this has
        started or after it has ended."""
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._grant_pool.run)
                nursery.start_soon(go_on, "reports", self._reports.run, self._log)
                nursery.start_soon(go_on, "abandons", self._abandons.run, self._log)
                background = Background(nursery, self._log)
                self._running = Resources(
                    pool=self._pool,
                    health=self._health,
                    workers=self._workers,
                    budget=self._budget,
                    gathered=self._gathered,
                    log=self._log,
                    upload_numbers=count(1),
                    background=background,
                    abandons=self._abandons,
                    chance=self._chance,
                )
                task_status.started()
                try:
                    await trio.sleep_forever()
                finally:
                    background.close()
        finally:
            self._running = None

    async def write(
        self,
        tenant: TenantKey,
        receive: Callable[[], Awaitable[Buffer]],
        size: int,
        storage_class: str = STANDARD_CLASS,
    ) -> Written:
        """Write ``size`` bytes to rings; every segment is durable at its quorum on return.

        Args:
            tenant: their owner.
            receive: gives the next chunk, empty at the end. Chunks are given away: they must not
                be changed later. Exactly ``size`` bytes are taken and nothing is asked beyond.
            size: 0..MAX_SINGLE_PUT_BYTES.
            storage_class: the name of the class of their segments.

        Returns:
            What to commit, or to :meth:`abandon`. Its upload key was drawn for this write.

        Raises:
            Unavailable: ``write_quorum_lost``, ``no_ring``, ``too_busy`` (no room in memory for
                BUDGET_WAIT_S), or no coordinator. Everything was aborted and abandoned; the whole
                write may be tried again.
            PeerViolation: ``bad_grant``, ``segment_id_repeated``: likewise.
            Refused: ``body_too_short``: likewise.
            Exception: what ``receive`` raises: likewise.
        """
        assert 0 <= size <= limits.MAX_SINGLE_PUT_BYTES
        upload_key = self._entropy(KEY_BYTES)
        return await write_object(
            self._resources(),
            self._coordinators,
            self._grant_pool,
            tenant,
            receive,
            size,
            upload_key,
            storage_class,
        )

    async def abandon(self, tenant: TenantKey, written: Written) -> None:
        """Abandon what was written and will not be committed: the report to a coordinator is
        retried in the background; if this gateway ends before, its write lease ends too."""
        self._abandons.add(tenant.tenant_id, written.granted)
        await trio.lowlevel.checkpoint_if_cancelled()

    def forget_places(self, tenant: TenantKey) -> None:
        """Forget the places granted for the tenant's next small objects: a commit was refused with
        ``below_quorum``, since slots of its rings moved after the grant, and others in stock are as
        old."""
        self._grant_pool.drop(tenant.tenant_id)

    def read(
        self,
        tenant: TenantKey,
        bucket: str,
        name: bytes,
        record: ObjectRecord,
        manifest: Manifest,
        first: int,
        last: int,
    ) -> AsyncGenerator[Buffer, None]:
        """Read plaintext bytes ``first..last`` of a version. Close it (``aclosing``) when it is
        left before its end.

        Args:
            tenant: the owner.
            bucket: of the version, to look up more of it.
            name: likewise.
            record: got just now with ``want_places`` and this first and last.
            manifest: opened from ``record.sealed``.
            first: 0 <= first <= size.
            last: first - 1 <= last < size.

        Returns:
            An async generator of chunks, in order; each may be used until the next is asked for.

        Raises:
            Unavailable: ``too_few_shards``: too many cells are away.
            Corrupt: ``manifest_page_mismatch``, ``stripe_not_authentic``: not what was written;
                ``data_lost``: fewer shards are left than are needed, so no retry helps.
            NotFound: the version was deleted and its grace has ended.
        """
        assert 0 <= first <= last + 1 <= manifest.size
        version = Version(tenant, bucket, name, record, manifest)
        return read_object(
            self._resources(), self._coordinators, self._report_of(tenant), version, first, last
        )

    async def copy_pages(
        self,
        tenant: TenantKey,
        bucket: str,
        name: bytes,
        record: ObjectRecord,
        manifest: Manifest,
        first: int,
        last: int,
    ) -> tuple[Page, ...]:
        """The pages of a new object (or part) that shares bytes ``first..last`` of this one. No
        data is moved. Arguments and errors are as in :meth:`read`; the new manifest must list
        the source's keys."""
        assert 0 <= first <= last + 1 <= manifest.size
        version = Version(tenant, bucket, name, record, manifest)
        return await copy_pages(
            self._resources(), self._coordinators, self._report_of(tenant), version, first, last
        )

    def _resources(self) -> Resources:
        assert self._running is not None, "SwarmClient.run must be running"
        return self._running

    def _report_of(self, tenant: TenantKey) -> Report:
        def report(place: SegmentPlace, slot: int, reason: str) -> None:
            self._reports.add(tenant.tenant_id, place.segment_id, slot, reason)

        return report
