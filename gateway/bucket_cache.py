"""Bucket ids by name, remembered for seconds: every sealed record is bound to one.

A remembered id may be of a bucket that was deleted and created again meanwhile. That is safe:
commits name the id that their records are bound to, and are refused when it is no longer the
bucket's.

Source: docs/crypto.md, "Answers and questions".
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import trio

from common import limits
from common.crypto.keys import TenantKey
from common.errors import Corrupt, NotFound
from common.format.manifest import open_bucket_settings
from common.ids import BucketId, TenantId
from common.reasons import Absence, Damage
from common.wire.messages.base import Request
from common.wire.messages.buckets import BucketGet, BucketRecord
from common.wire.messages.multipart import PartsList, UploadGet
from common.wire.messages.objects import ObjectGet, ObjectsList
from gateway.names import is_bucket_name

BucketQuestion: TypeAlias = ObjectGet | ObjectsList | UploadGet | PartsList
"""Requests about a bucket's content; their replies have a ``bucket_id``."""
REMEMBERED_S: Final = 10.0


class BucketCache:
    """Finds bucket ids.

    Args:
        call: asks a coordinator.
    """

    def __init__(self, call: Callable[[Request], Awaitable[Any]]) -> None:
        self._call = call
        self._known: OrderedDict[tuple[TenantId, str], tuple[BucketId, float]] = OrderedDict()

    async def id_of(self, tenant: TenantKey, name: str) -> BucketId:
        """The id of the tenant's bucket of this name.

        Raises:
            NotFound: ``no_such_bucket``.
            Refused: ``not_owner``.
            Corrupt: ``record_not_authentic``: the coordinator's answer is of another bucket.
        """
        known = self._known.get((tenant.tenant_id, name))
        if known is not None and trio.current_time() < known[1]:
            return known[0]
        return (await self.record_of(tenant, name)).bucket_id

    async def record_of(self, tenant: TenantKey, name: str) -> BucketRecord:
        """The tenant's bucket of this name, as a coordinator knows it now. Raises as above."""
        self.forget(tenant, name)
        if not is_bucket_name(name):
            raise NotFound(Absence.NO_SUCH_BUCKET)
        record: BucketRecord = await self._call(BucketGet(tenant.tenant_id, name))
        open_bucket_settings(tenant, record.bucket_id, name, record.revision, record.settings)
        self.remember(tenant, name, record.bucket_id)
        return record

    async def ask(self, tenant: TenantKey, request: BucketQuestion) -> Any:
        """Ask about what is in a bucket, and refuse the answer of another bucket.

        A remembered id costs no call, and each answer that fits it lets it be remembered on.

        Args:
            tenant: the owner, and the request's.
            request: names the bucket.

        Returns:
            The reply; its ``bucket_id`` is the id that the bucket's sealed settings have.

        Raises:
            NotFound: ``no_such_bucket``, and what else is not there.
            Corrupt: ``answer_of_another_bucket``; and as :meth:`id_of`.
        """
        name = request.bucket
        known = await self.id_of(tenant, name)
        try:
            reply = await self._call(request)
        except NotFound as error:
            if error.reason == Absence.NO_SUCH_BUCKET:
                self.forget(tenant, name)
            raise
        if reply.bucket_id != known:
            # It may have been deleted and made again since it was remembered.
            known = (await self.record_of(tenant, name)).bucket_id
            if reply.bucket_id != known:
                raise Corrupt(Damage.ANSWER_OF_ANOTHER_BUCKET, bucket=name)
        self.remember(tenant, name, known)
        return reply

    def remember(self, tenant: TenantKey, name: str, bucket_id: BucketId) -> None:
        """Keep an id that the bucket's settings were just opened with, or that an answer or a
        commit just confirmed."""
        place = (tenant.tenant_id, name)
        self._known[place] = (bucket_id, trio.current_time() + REMEMBERED_S)
        self._known.move_to_end(place)
        if len(self._known) > limits.MAX_BUCKETS_REMEMBERED:
            self._known.popitem(last=False)

    def forget(self, tenant: TenantKey, name: str) -> bool:
        """Drop what is remembered; whether there was something."""
        return self._known.pop((tenant.tenant_id, name), None) is not None
