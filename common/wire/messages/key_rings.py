"""Messages about the named keys of a tenant.

Source: docs/protocol.md, "Messages".
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from common import limits
from common.data_classes import dataclass
from common.wire.messages.base import Idempotency, Reply, TenantRequest
from common.wire.records import Max


@dataclass(frozen=True, slots=True)
class SealedKeyRing(Reply):
    """The key ring of a tenant, sealed under its key. ``revision``: counts its changes; 0 and
    nothing: the tenant has none."""

    revision: int
    sealed: Annotated[bytes, Max(limits.MAX_KEY_RING_BYTES)]


@dataclass(frozen=True, slots=True)
class KeyRingGet(TenantRequest):
    """The tenant's key ring as it is now."""

    code: ClassVar[int] = 100
    reply: ClassVar[type[Reply]] = SealedKeyRing
    idempotency: ClassVar[Idempotency] = Idempotency.ASKS
