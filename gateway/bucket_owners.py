"""Owners of buckets, for callers that are not: whose bucket a request is about.

Any caller can make up names, so the look-ups of names that are not known are limited.

Source: docs/decisions/0034-bucket-configurations.md.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from common import limits
from common.crypto.keys import TenantKey
from common.errors import NotFound, Refused, Unavailable
from common.ids import TenantId
from common.reasons import Absence, Outage, Refusal
from common.wire.messages.base import Request
from common.wire.messages.buckets import BucketOwner, BucketOwnerGet
from gateway.bucket_cache import BucketCache
from gateway.names import is_bucket_name
from gateway.principals import Bucket, ForeignBucket, KeyHolder, Principal

OWNER_REMEMBERED_S: Final = 10.0
"""Also that a bucket has no owner here: one that is made meanwhile is found after that time."""


class BucketOwners:
    """Finds buckets by name alone.

    Args:
        call: asks a coordinator.
        tenant_key: the key of a tenant; None when this gateway does not hold it.
    """

    def __init__(
        self,
        call: Callable[[Request], Awaitable[Any]],
        buckets: BucketCache,
        tenant_key: Callable[[TenantId], TenantKey | None],
    ) -> None:
        self._call = call
        self._buckets = buckets
        self._tenant_key = tenant_key
        self._known: OrderedDict[str, tuple[TenantId | None, float]] = OrderedDict()
        self._looking = 0

    async def seen_by(
        self, principal: Principal, name: str, *, fresh: bool = False
    ) -> Bucket | ForeignBucket:
        """Return the bucket of this name as far as this gateway can know of it: the principal's
        own, or that of any other tenant whose key it holds. What a principal may do to another's is
        decided by the rules that lie in its settings.

        Args:
            fresh: as a coordinator knows it now.

        Raises:
            NotFound: ``no_such_bucket``.
            Unavailable, Corrupt: as :meth:`find`.
        """
        if isinstance(principal, KeyHolder):
            known = self._known.get(name)
            is_anothers = (
                known is not None
                and known[0] not in {None, principal.tenant.tenant_id}
                and trio.current_time() < known[1]
            )
            if not is_anothers:
                own = await self._buckets.seen_by(principal, name, fresh=fresh)
                if isinstance(own, Bucket):
                    return own
        found = await self.find(name, fresh=fresh)
        if found is not None:
            return found
        if isinstance(principal, KeyHolder):
            return ForeignBucket(name)
        raise NotFound(Absence.NO_SUCH_BUCKET)

    async def find(self, name: str, *, fresh: bool = False) -> Bucket | None:
        """Return the bucket of a name, whichever tenant's it is; None if no tenant whose key this
        gateway holds has one.

        Args:
            fresh: as a coordinator knows it now.

        Raises:
            Unavailable: no coordinator answers; ``too_busy``: too many names are looked up at once.
            Corrupt: as :meth:`gateway.bucket_cache.BucketCache.find`.
        """
        if not is_bucket_name(name):
            return None
        for _ in range(2):
            tenant_id = await self._owner(name)
            owner = None if tenant_id is None else self._tenant_key(tenant_id)
            if owner is None:
                return None
            try:
                look_up = self._buckets.read if fresh else self._buckets.find
                return await look_up(owner, name)
            except NotFound:
                self._known.pop(name, None)
            except Refused as error:
                if error.reason != Refusal.NOT_OWNER:
                    raise
                self._known.pop(name, None)
        return None

    async def _owner(self, name: str) -> TenantId | None:
        known = self._known.get(name)
        if known is not None and trio.current_time() < known[1]:
            return known[0]
        if self._looking >= limits.MAX_OWNER_LOOKUPS:
            raise Unavailable(Outage.TOO_BUSY)
        self._looking += 1
        try:
            reply: BucketOwner = await self._call(BucketOwnerGet(name))
            tenant_id: TenantId | None = reply.tenant_id
        except NotFound as error:
            if error.reason != Absence.NO_SUCH_BUCKET:
                raise
            tenant_id = None
        finally:
            self._looking -= 1
        self._known[name] = (tenant_id, trio.current_time() + OWNER_REMEMBERED_S)
        self._known.move_to_end(name)
        if len(self._known) > limits.MAX_BUCKETS_REMEMBERED:
            self._known.popitem(last=False)
        return tenant_id
