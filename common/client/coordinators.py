"""Client for the coordinators: failover, tenant authentication of connections, the write lease.

Source: docs/data-path.md, "Talking to coordinators".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any, Final
from weakref import WeakKeyDictionary

import trio

from common import limits
from common.client.policy.answers import check_answer
from common.crypto.keys import TenantKey
from common.errors import AlvearyError, OutcomeUnknown, PeerViolation, Refused, Unavailable
from common.ids import PeerId, TenantId, VersionId
from common.ports import Address, Log
from common.reasons import Refusal
from common.rpc.coordinators import Coordinator, Coordinators
from common.rpc.peer_connection import PeerConnection
from common.rpc.peers import PeerPool
from common.rpc.protocol.positions import Known
from common.wire.control import tenant_message
from common.wire.messages.base import Reply, Request, TenantRequest, TenantScope
from common.wire.messages.writing import Lease, LeaseRenew, TenantOpen

RENEW_AGAIN_S: Final = 1.0
"""After a renewal that no coordinator answered."""
COME_BACK_EVERY_S: Final = 5.0
"""Interval at which a gateway whose lease ended while no coordinator answered tries to open
another."""
LEASE_MARGIN_S: Final = 5.0
"""Treat the lease as expired this long before it expires, so that nothing is written under a
lease that the coordinator has already ended."""
TENANT_NOT_OPEN: Final = Refusal.TENANT_NOT_OPEN


class CoordinatorClient:
    """The coordinators of one swarm, for the tenants whose keys are at hand.

    Args:
        pool: running; connections come from it.
        coordinators: where each listens and which key it proves; at least one.
        tenants: keys by tenant id; may grow while it is used.
        log: when no coordinator answers.
    """

    def __init__(
        self,
        pool: PeerPool,
        coordinators: Sequence[tuple[Address, PeerId]],
        tenants: Mapping[TenantId, TenantKey],
        log: Log,
    ) -> None:
        self._pool = pool
        self._coordinators = Coordinators(
            pool,
            [Coordinator(*each) for each in coordinators],
            log,
            timeout_s=limits.CALL_TIMEOUT_S,
            is_patient=True,
        )
        self._tenants = tenants
        self._opened: WeakKeyDictionary[PeerConnection, set[TenantId]] = WeakKeyDictionary()
        """The tenants that each connection is open for."""
        self._known = Known()
        self._lease = 0
        self._lease_until = 0.0
        self._renew_at = 0.0
        self._renewing = trio.Lock()
        self._lease_dropped = trio.Event()
        self._is_cut = False
        """The lease was lost since no coordinator answered."""
        self._reading: dict[VersionId, list[float]] = {}
        self._reading_every_s = limits.READING_TOLD_EVERY_S
        self._reading_begun = trio.Event()

    async def call(
        self,
        request: Request,
        *,
        timeout_s: float | None = None,
        check: Callable[[Any], None] | None = None,
    ) -> Any:
        """Make a request of a live coordinator, on a connection that is open for the tenants which
        the request is for; see :meth:`common.rpc.coordinators.Coordinators.call`.

        Args:
            request: its ``tenant_id``, where it has one, is one of our tenants.
            timeout_s: for one try, at most; CALL_TIMEOUT_S if not given.
            check: as :func:`check_answer`, for what only the caller knows: raises PeerViolation
                when no honest coordinator could have given this reply.

        Returns:
            The reply, of the type ``request.reply`` (that is checked).

        Raises:
            Unavailable: no coordinator answered, or it says that it cannot now.
            OutcomeUnknown: the connection died under a request that must not be repeated blindly.
            PeerViolation: ``wrong_answer``, or what ``check`` raised: the last coordinator asked
                gave an answer to another question. Its connection was dropped.
            AlvearyError: what the coordinator answered.
        """
        reply = await self._coordinators.call(
            request,
            timeout_s=timeout_s,
            prepare=partial(self._open_tenants, request),
            ask=partial(self._ask, check),
        )
        position = getattr(reply, "position", b"")
        if position:
            self._known.note(position)
        return reply

    async def _ask(
        self,
        check: Callable[[Any], None] | None,
        connection: PeerConnection,
        request: Request,
        timeout_s: float,
    ) -> Reply:
        try:
            reply, _ = await connection.call(request, timeout_s=timeout_s)
        except Refused as error:
            if error.reason != TENANT_NOT_OPEN:
                raise
            self._opened.pop(connection, None)
            await self._open_all(connection)
            reply, _ = await connection.call(request, timeout_s=timeout_s)
        assert isinstance(reply, request.reply)
        try:
            check_answer(request, reply)
            if check is not None:
                check(reply)
        except PeerViolation as error:
            connection.reject(error)
            raise
        return reply

    async def _open_tenants(self, request: Request, connection: PeerConnection) -> None:
        """Open the tenants on the connection that a request is made for."""
        if isinstance(request, TenantRequest):
            await self._open_tenant(connection, request.tenant_id)
        elif request.tenant_scope is TenantScope.ALL:
            await self._open_all(connection)

    async def _open_tenant(self, connection: PeerConnection, tenant_id: TenantId) -> None:
        """Make the connection act for the tenant, once."""
        opened = self._opened.setdefault(connection, set())
        if tenant_id in opened:
            return
        tenant = self._tenants.get(tenant_id)
        if tenant is None:
            raise Refused(Refusal.NO_SUCH_TENANT)
        message = tenant_message(connection.channel, self._pool.peer_id, tenant_id)
        proof = tenant.prove(message)
        await connection.call(TenantOpen(tenant_id, proof, self._known.packed()))
        opened.add(tenant_id)

    async def _open_all(self, connection: PeerConnection) -> None:
        """Make the connection act for every tenant whose key is at hand: whose an access key is
        shows only in the answer."""
        if len(self._opened.get(connection, ())) == len(self._tenants):
            return
        for each in tuple(self._tenants):
            try:
                await self._open_tenant(connection, each)
            except Refused as error:
                if error.reason != Refusal.BAD_PROOF:
                    raise
                # The key file of a tenant that this swarm does not have must not stop the others.

    # --- the write lease ---------------------------------------------------------------------

    async def lease(self) -> int:
        """The number of a living write lease; opens one when there is none.

        Raises:
            Unavailable: no coordinator answered.
        """
        if self._lease and trio.current_time() < self._lease_until:
            return self._lease
        async with self._renewing:
            if not self._lease or trio.current_time() >= self._lease_until:
                await self._renew(0)
            return self._lease

    def is_current(self, lease: int) -> bool:
        """Return whether what was granted under this lease may still be committed, as far as known
        here."""
        return lease == self._lease and trio.current_time() < self._lease_until

    def lease_has_ended(self, lease: int) -> None:
        """Drop a lease that a coordinator says has ended: the next :meth:`lease` opens another."""
        if lease == self._lease:
            self._lease = 0
            self._lease_dropped.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the lease alive, and what is being read, until cancelled. The lease is renewed at a
        third of its life; one that ended is replaced when it is next needed."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_lease)
            nursery.start_soon(self._keep_reading)
            task_status.started()

    async def _keep_lease(self) -> None:
        while True:
            self._lease_dropped = trio.Event()
            now = trio.current_time()
            if self._lease and now >= self._renew_at:
                await self._keep_alive()
            elif self._lease:
                with trio.move_on_at(self._renew_at):
                    await self._lease_dropped.wait()
            elif self._is_cut:
                await self._come_back()
            else:
                await self._lease_dropped.wait()

    async def _come_back(self) -> None:
        """Open a lease as soon as a coordinator answers again, needed or not: it may run on an
        older store, and nobody else may be left to say so."""
        async with self._renewing:
            try:
                if not self._lease:
                    await self._renew(0)
                self._is_cut = False
            except (Unavailable, OutcomeUnknown):
                pass  # tried again below; who needs a lease meanwhile hears of it
            except AlvearyError:
                self._is_cut = False
        if self._is_cut:
            await trio.sleep(COME_BACK_EVERY_S)

    # --- what is being read ------------------------------------------------------------------

    @contextmanager
    def reading(self, version_id: VersionId) -> Iterator[None]:
        """Keep a version from being deleted, once it was read for some seconds, for as long as the
        block runs; more than MAX_VERSIONS_READ are not kept."""
        begun = self._reading.setdefault(version_id, [])
        now = trio.current_time()
        begun.append(now)
        self._reading_begun.set()
        try:
            yield
        finally:
            begun.remove(now)
            if not begun:
                del self._reading[version_id]

    async def _keep_reading(self) -> None:
        """Report at an interval the versions that long reads use. What is read for less than one
        interval ends well by the grace of deletion alone, which is longer than two."""
        while True:
            if not self._reading:
                self._reading_begun = trio.Event()
                await self._reading_begun.wait()
            every_s = self._reading_every_s
            await trio.sleep(every_s)
            oldest = min((begun[0] for begun in self._reading.values()), default=math.inf)
            if trio.current_time() - oldest < every_s:
                continue
            try:
                await self.lease()
            except AlvearyError:
                continue  # the next interval tries again; who writes hears of it
            await self._keep_alive()

    async def _keep_alive(self) -> None:
        async with self._renewing:
            lease = self._lease
            if not lease:
                return
            try:
                await self._renew(lease)
            except (Unavailable, OutcomeUnknown):
                self._renew_at = trio.current_time() + RENEW_AGAIN_S
                if trio.current_time() >= self._lease_until:
                    self._lease = 0
                    self._is_cut = True
            except AlvearyError:
                self._lease = 0

    async def _renew(self, lease: int) -> None:
        asked_at = trio.current_time()
        reply: Lease = await self.call(
            LeaseRenew(
                lease, self._known.packed(), tuple(islice(self._reading, limits.MAX_VERSIONS_READ))
            )
        )
        if reply.reading_every_s:
            self._reading_every_s = min(float(reply.reading_every_s), limits.READING_TOLD_EVERY_S)
        ttl_s = max(float(reply.ttl_s), 2 * LEASE_MARGIN_S)
        self._lease = reply.lease
        self._lease_until = asked_at + ttl_s - LEASE_MARGIN_S
        self._renew_at = asked_at + ttl_s / 3
        self._lease_dropped.set()
