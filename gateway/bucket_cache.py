"""Buckets by name, remembered for seconds: every sealed record is bound to the id of one.

A remembered bucket may have been deleted and created again meanwhile. That is safe: commits name
the id that their records are bound to, and are refused when it is no longer the bucket's. Its
settings are as old as its revision says: answers confirm the id, not the settings.

Source: docs/crypto.md, "Answers and questions"; docs/decisions/0021-authorization.md.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import trio

from common import limits
from common.crypto.keys import TenantKey
from common.errors import Corrupt, NotFound, Refused
from common.format.manifest import open_bucket_settings, seal_bucket_settings
from common.format.objects import BucketSettings, unpack_bucket
from common.ids import TenantId
from common.ports import Entropy
from common.reasons import Absence, Damage, Refusal
from common.wire.messages.base import Request
from common.wire.messages.buckets import BucketGet, BucketRecord, BucketSettingsSet
from common.wire.messages.multipart import PartsList, UploadGet
from common.wire.messages.objects import ObjectGet, ObjectsList
from gateway.names import is_bucket_name
from gateway.principals import Anonymous, Bucket, ForeignBucket, Principal

BucketQuestion: TypeAlias = ObjectGet | ObjectsList | UploadGet | PartsList
"""Requests about a bucket's content; their replies have a ``bucket_id``."""
REMEMBERED_S: Final = 10.0


class BucketCache:
    """Finds buckets.

    Args:
        call: asks a coordinator.
    """

    def __init__(self, call: Callable[[Request], Awaitable[Any]]) -> None:
        self._call = call
        self._known: OrderedDict[tuple[TenantId, str], tuple[Bucket, float]] = OrderedDict()

    async def seen_by(
        self, principal: Principal, name: str, *, fresh: bool = False
    ) -> Bucket | ForeignBucket:
        """Return the bucket of this name as far as the principal's tenant may know of it.

        An anonymous caller costs no call: nothing is allowed to one, whatever the bucket.

        Args:
            fresh: as a coordinator knows it now.

        Raises:
            NotFound: ``no_such_bucket``.
            Corrupt: as :meth:`find`.
        """
        if isinstance(principal, Anonymous):
            return ForeignBucket(name)
        look_up = self.read if fresh else self.find
        try:
            return await look_up(principal.tenant, name)
        except Refused as error:
            if error.reason != Refusal.NOT_OWNER:
                raise
            return ForeignBucket(name)

    async def find(self, owner: TenantKey, name: str) -> Bucket:
        """Return the tenant's bucket of this name.

        Raises:
            NotFound: ``no_such_bucket``.
            Refused: ``not_owner``.
            Corrupt: ``record_not_authentic``: the coordinator's answer is of another bucket.
        """
        known = self._known.get((owner.tenant_id, name))
        if known is not None and trio.current_time() < known[1]:
            return known[0]
        return await self.read(owner, name)

    async def read(self, owner: TenantKey, name: str) -> Bucket:
        """Return the tenant's bucket of this name, as a coordinator knows it now.

        Raises as :meth:`find`.
        """
        self.forget(owner, name)
        if not is_bucket_name(name):
            raise NotFound(Absence.NO_SUCH_BUCKET)
        record: BucketRecord = await self._call(BucketGet(owner.tenant_id, name))
        bucket = _opened(owner, record)
        self.remember(bucket)
        return bucket

    async def set_settings(
        self, bucket: Bucket, settings: BucketSettings, entropy: Entropy
    ) -> Bucket:
        """Replace the settings of a bucket unless they were changed since it was read.

        Raises:
            Refused: ``settings_changed``: read the bucket again and decide again.
            NotFound: ``no_such_bucket``: it was deleted, and perhaps made again.
        """
        owner, name, bucket_id = bucket.owner, bucket.name, bucket.bucket_id
        sealed = seal_bucket_settings(
            owner, bucket_id, name, bucket.revision + 1, settings.pack(), entropy
        )
        self.forget(owner, name)
        record: BucketRecord = await self._call(
            BucketSettingsSet(owner.tenant_id, name, bucket_id, bucket.revision, sealed)
        )
        changed = _opened(owner, record)
        self.remember(changed)
        return changed

    async def ask(self, bucket: Bucket, request: BucketQuestion) -> Any:
        """Ask about what is in a bucket, and refuse the answer of another bucket.

        A remembered id costs no call, and each answer that fits it lets it be remembered on.

        Args:
            request: names the bucket and its owner.

        Returns:
            The reply; its ``bucket_id`` is the id that the bucket's sealed settings have.

        Raises:
            NotFound: ``no_such_bucket``, and what else is not there.
            Corrupt: ``answer_of_another_bucket``; and as :meth:`find`.
        """
        owner, name = bucket.owner, bucket.name
        known = await self.find(owner, name)
        try:
            reply = await self._call(request)
        except NotFound as error:
            if error.reason == Absence.NO_SUCH_BUCKET:
                self.forget(owner, name)
            raise
        if reply.bucket_id != known.bucket_id:
            # It may have been deleted and made again since it was remembered.
            known = await self.read(owner, name)
            if reply.bucket_id != known.bucket_id:
                raise Corrupt(Damage.ANSWER_OF_ANOTHER_BUCKET, bucket=name)
        self.remember(known)
        return reply

    def remember(self, bucket: Bucket) -> None:
        """Keep a bucket whose settings were just opened, or whose id an answer or a commit just
        confirmed."""
        place = (bucket.owner.tenant_id, bucket.name)
        held = self._known.get(place, (bucket, 0.0))[0]
        if held.bucket_id == bucket.bucket_id and held.revision > bucket.revision:
            bucket = held  # It was set while an answer was under way that confirms the id.
        self._known[place] = (bucket, trio.current_time() + REMEMBERED_S)
        self._known.move_to_end(place)
        if len(self._known) > limits.MAX_BUCKETS_REMEMBERED:
            self._known.popitem(last=False)

    def forget(self, owner: TenantKey, name: str) -> bool:
        """Drop what is remembered of a bucket; whether there was something."""
        return self._known.pop((owner.tenant_id, name), None) is not None


def _opened(owner: TenantKey, record: BucketRecord) -> Bucket:
    """The bucket of a record. Raises Corrupt: its settings are not the owner's of this bucket."""
    settings = open_bucket_settings(
        owner, record.bucket_id, record.name, record.revision, record.settings
    )
    return Bucket(record.name, owner, record.bucket_id, unpack_bucket(settings), record.revision)
