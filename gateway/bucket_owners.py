"""Owners of buckets, for callers that are not: whose bucket a request is about.

Any caller can make up names, so the look-ups of names that are not known are limited, and what a
flood of them fills holds nothing that anybody else needs: names without an owner are remembered
apart, and owners that were known, and callers that proved a key, have look-ups of their own.

Source: docs/decisions/0034-bucket-configurations.md.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import field
from enum import Enum
from typing import Any, Final, TypeVar

import trio

from common import limits
from common.crypto.keys import TenantKey
from common.data_classes import dataclass
from common.errors import NotFound, OutcomeUnknown, Refused, Unavailable
from common.ids import TenantId
from common.reasons import Absence, Outage, Refusal
from common.wire.messages.base import Request
from common.wire.messages.buckets import BucketOwner, BucketOwnerGet
from gateway.bucket_cache import BucketCache
from gateway.names import is_bucket_name
from gateway.principals import Bucket, ForeignBucket, KeyHolder, Principal

T = TypeVar("T")

OWNER_REMEMBERED_S: Final = 10.0
"""Also that a bucket has no owner here: one that is made meanwhile is found after that time."""


class _Asker(Enum):
    """For whom, or about what, an owner is looked up: each kind has places of its own."""

    ANYONE = "anyone"
    KEY_HOLDER = "key holder"
    OF_KNOWN = "of known"
    """Any caller: the bucket had an owner when it was last looked up."""


@dataclass(slots=True)
class _Asking:
    """A question that runs, for all who ask about its name meanwhile. No ``failure``: it was
    answered, or the asking task was cancelled."""

    done: trio.Event = field(default_factory=trio.Event)
    failure: Unavailable | OutcomeUnknown | None = None


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
        self._known: OrderedDict[str, tuple[TenantId, float]] = OrderedDict()
        """Owners, and until when they count without asking. One that was found stays known for
        longer: that it is asked for again needs no place among the names that nobody knows."""
        self._nobodys: OrderedDict[str, float] = OrderedDict()
        self._asking: dict[str, _Asking] = {}
        self._looking: dict[_Asker, int] = dict.fromkeys(_Asker, 0)

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
                and known[0] != principal.tenant.tenant_id
                and trio.current_time() < known[1]
            )
            if not is_anothers:
                own = await self._buckets.seen_by(principal, name, fresh=fresh)
                if isinstance(own, Bucket):
                    return own
        asker = _Asker.KEY_HOLDER if isinstance(principal, KeyHolder) else _Asker.ANYONE
        found = await self._find(name, asker, fresh=fresh)
        if found is not None:
            return found
        if isinstance(principal, KeyHolder):
            return ForeignBucket(name)
        raise NotFound(Absence.NO_SUCH_BUCKET)

    async def find(self, name: str, *, fresh: bool = False) -> Bucket | None:
        """Return the bucket of a name, whichever tenant's it is, for a caller that proved nothing;
        None if no tenant whose key this gateway holds has one.

        Args:
            fresh: as a coordinator knows it now.

        Raises:
            Unavailable: no coordinator answers; ``too_busy``: too many names are looked up at once.
            Corrupt: as :meth:`gateway.bucket_cache.BucketCache.find`.
        """
        return await self._find(name, _Asker.ANYONE, fresh=fresh)

    async def _find(self, name: str, asker: _Asker, *, fresh: bool) -> Bucket | None:
        if not is_bucket_name(name):
            return None
        for _ in range(2):
            tenant_id = await self._owner(name, asker)
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

    async def _owner(self, name: str, asker: _Asker) -> TenantId | None:
        while True:
            now = trio.current_time()
            known = self._known.get(name)
            if known is not None:
                if now < known[1]:
                    return known[0]
                asker = _Asker.OF_KNOWN
            elif now < self._nobodys.get(name, now):
                return None
            running = self._asking.get(name)
            if running is None:
                break
            await running.done.wait()
            if running.failure is not None:
                # Not once more for each: they would wait for one failure after the other.
                raise running.failure.again()
        if self._looking[asker] >= limits.MAX_OWNER_LOOKUPS:
            raise Unavailable(Outage.TOO_BUSY)
        self._looking[asker] += 1
        asking = self._asking[name] = _Asking()
        try:
            reply: BucketOwner = await self._call(BucketOwnerGet(name))
            tenant_id: TenantId | None = reply.tenant_id
        except NotFound as error:
            if error.reason != Absence.NO_SUCH_BUCKET:
                raise
            tenant_id = None
        except (Unavailable, OutcomeUnknown) as error:
            asking.failure = error
            raise
        finally:
            self._looking[asker] -= 1
            del self._asking[name]
            asking.done.set()
        until = trio.current_time() + OWNER_REMEMBERED_S
        if tenant_id is None:
            self._known.pop(name, None)
            _remember(self._nobodys, name, until)
        else:
            self._nobodys.pop(name, None)
            _remember(self._known, name, (tenant_id, until))
        return tenant_id


def _remember(names: OrderedDict[str, T], name: str, value: T) -> None:
    names[name] = value
    names.move_to_end(name)
    if len(names) > limits.MAX_BUCKETS_REMEMBERED:
        names.popitem(last=False)
