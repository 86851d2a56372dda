"""Client for the coordinators: calls on behalf of tenants, and the write lease.

Source: docs/data-path.md, "Talking to coordinators".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final
from weakref import WeakKeyDictionary

from common import limits
from common.client.policy.answers import check_answer
from common.client.write_lease import WriteLease
from common.crypto.keys import TenantKey
from common.errors import PeerViolation, Refused
from common.ids import PeerId, TenantId
from common.ports import Address, Log
from common.reasons import Refusal
from common.rpc.coordinators import Coordinator, Coordinators
from common.rpc.peer_connection import PeerConnection
from common.rpc.peers import PeerPool
from common.rpc.protocol.positions import Known
from common.wire.control import tenant_message
from common.wire.messages.base import Reply, Request, TenantRequest, TenantScope
from common.wire.messages.writing import TenantOpen

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
        self._key_id = coordinators[0][1]
        self._tenants = tenants
        self._opened: WeakKeyDictionary[PeerConnection, set[TenantId]] = WeakKeyDictionary()
        """The tenants that each connection is open for."""
        self._known = Known()
        self.lease = WriteLease(self.call, self._known)
        """The write lease of this process; somebody runs it."""

    def learn(self, named: Sequence[Address]) -> None:
        """Take in where coordinators of the swarm take calls, beside those that are configured."""
        self._coordinators.learn([Coordinator(each, self._key_id) for each in named])

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

    def _open_tenants(self, request: Request, connection: PeerConnection) -> Awaitable[None] | None:
        """Open the tenants on the connection that a request is made for; None where they are."""
        if isinstance(request, TenantRequest):
            if request.tenant_id in self._opened.get(connection, ()):
                return None
            return self._open_tenant(connection, request.tenant_id)
        scope = request.tenant_scope
        if scope is TenantScope.ALL or (
            scope is TenantScope.ANY and not self._opened.get(connection)
        ):
            return self._open_all(connection)
        return None

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
