"""The named keys of tenants, as this gateway knows them: never for longer than a second.

All gateways of a tenant read one ring, which the coordinator keeps sealed. It decides how new what
it shows is; but it shows this gateway nothing older than it did before.

Source: docs/crypto.md, "Named keys".
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from common import limits
from common.crypto.keys import TenantKey
from common.data_classes import dataclass
from common.errors import Corrupt
from common.format.key_ring import KeyRing, open_key_ring
from common.ids import TenantId
from common.reasons import Damage
from common.wire.messages.base import Request
from common.wire.messages.key_rings import KeyRingGet, SealedKeyRing


@dataclass(frozen=True, slots=True)
class _Known:
    ring: KeyRing
    revision: int
    until: float


class KeyRings:
    """Finds the key rings of tenants.

    Args:
        call: asks a coordinator.
    """

    def __init__(self, call: Callable[[Request], Awaitable[Any]]) -> None:
        self._call = call
        self._known: OrderedDict[TenantId, _Known] = OrderedDict()
        self._revisions: dict[TenantId, int] = {}
        """The newest that was seen of each; as many as there are key files."""
        self._asking: dict[TenantId, trio.Lock] = {}

    async def of(self, owner: TenantKey) -> KeyRing:
        """Return the key ring of a tenant, as it was at most KEY_RING_AGE_S ago.

        Raises:
            Corrupt: ``record_not_authentic``; ``key_ring_is_old``: the coordinator showed a newer
                one before.
            Unavailable: no coordinator answers.
        """
        known = self._known.get(owner.tenant_id)
        if known is not None and trio.current_time() < known.until:
            return known.ring
        async with self._asking.setdefault(owner.tenant_id, trio.Lock()):
            known = self._known.get(owner.tenant_id)
            if known is not None and trio.current_time() < known.until:
                return known.ring
            return await self._ask(owner, known)

    async def _ask(self, owner: TenantKey, known: _Known | None) -> KeyRing:
        asked = trio.current_time()
        reply: SealedKeyRing = await self._call(KeyRingGet(owner.tenant_id))
        if reply.revision < self._revisions.get(owner.tenant_id, 0):
            self._known.pop(owner.tenant_id, None)
            raise Corrupt(Damage.KEY_RING_IS_OLD, revision=reply.revision)
        if known is not None and known.revision == reply.revision:
            ring = known.ring
        else:
            ring = open_key_ring(owner, reply.revision, reply.sealed)
        self._revisions[owner.tenant_id] = reply.revision
        self._known[owner.tenant_id] = _Known(ring, reply.revision, asked + limits.KEY_RING_AGE_S)
        self._known.move_to_end(owner.tenant_id)
        if len(self._known) > limits.MAX_KEY_RINGS_REMEMBERED:
            self._known.popitem(last=False)
        return ring
