"""Buckets by name, remembered for seconds: every sealed record is bound to the id of one.

A remembered bucket may have been deleted and created again meanwhile. That is safe: commits name
the id that their records are bound to, and are refused when it is no longer the bucket's. Its
settings are never older than REMEMBERED_S: only an answer that names their revision lets them be
remembered on, from the moment at which its question was asked.

Source: docs/crypto.md, "Answers and questions"; docs/decisions/0021-authorization.md.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final, TypeAlias

import trio

from common import limits
from common.crypto.keys import TenantKey
from common.data_classes import dataclass
from common.errors import Corrupt, NotFound, Refused
from common.format.manifest import open_bucket_settings, seal_bucket_settings
from common.format.objects import BucketSettings, unpack_bucket
from common.ids import TenantId
from common.ports import Entropy
from common.reasons import Absence, Damage, Refusal
from common.wire.messages.base import Request
from common.wire.messages.buckets import (
    BucketGet,
    BucketLocksSet,
    BucketRecord,
    BucketSettingsSet,
    BucketVersioningSet,
)
from common.wire.messages.locks import DefaultRetention
from common.wire.messages.multipart import PartsList, UploadGet
from common.wire.messages.objects import ObjectGet, ObjectsList, VersionsList
from gateway.lifecycle import LIFECYCLE
from gateway.names import is_bucket_name
from gateway.principals import Anonymous, Bucket, ForeignBucket, Principal

BucketQuestion: TypeAlias = ObjectGet | ObjectsList | VersionsList | UploadGet | PartsList
"""Requests about a bucket's content; their replies have a ``bucket_id`` and the revision of its
settings."""
_BUCKET_BYTES: Final = 512
"""Memory of a remembered bucket without documents, about."""
REMEMBERED_S: Final = 10.0
"""The age that remembered settings have at most: what one gateway sets, all others obey by then."""
CLASS_REMEMBERED_S: Final = 60.0
"""The age that a remembered storage class has at most, and names that lead to one: operators change
them, and no revision counts that. What is written in the former class of the bucket meanwhile
follows later."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A remembered bucket. ``until``: it may be used, by the monotonic clock; ``at_most_until``:
    the same however often its settings are confirmed."""

    bucket: Bucket
    until: float
    at_most_until: float
    bytes: int


class BucketCache:
    """Finds buckets.

    Args:
        call: asks a coordinator.
    """

    def __init__(self, call: Callable[[Request], Awaitable[Any]]) -> None:
        self._call = call
        self._known: OrderedDict[tuple[TenantId, str], _Known] = OrderedDict()
        self._bytes = 0

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
        if known is not None and trio.current_time() < known.until:
            return known.bucket
        return await self.read(owner, name)

    async def read(self, owner: TenantKey, name: str) -> Bucket:
        """Return the tenant's bucket of this name, as a coordinator knows it now.

        Raises as :meth:`find`.
        """
        self.forget(owner, name)
        if not is_bucket_name(name):
            raise NotFound(Absence.NO_SUCH_BUCKET)
        asked = trio.current_time()
        record: BucketRecord = await self._call(BucketGet(owner.tenant_id, name))
        bucket = _opened(owner, record)
        self.remember(bucket, asked)
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
        asked = trio.current_time()
        record: BucketRecord = await self._call(
            BucketSettingsSet(
                owner.tenant_id,
                name,
                bucket_id,
                bucket.revision,
                sealed,
                settings.document(LIFECYCLE) is not None,
            )
        )
        changed = _opened(owner, record)
        self.remember(changed, asked)
        return changed

    async def set_versioning(self, bucket: Bucket, versioning: int) -> None:
        """Enable or suspend the versioning of a bucket.

        Raises:
            NotFound: ``no_such_bucket``: it was deleted, and perhaps made again.
        """
        self.forget(bucket.owner, bucket.name)
        asked = trio.current_time()
        record: BucketRecord = await self._call(
            BucketVersioningSet(bucket.owner.tenant_id, bucket.name, bucket.bucket_id, versioning)
        )
        self.remember(_opened(bucket.owner, record), asked)

    async def set_locks(self, bucket: Bucket, default: DefaultRetention) -> None:
        """Let the versions of a bucket be locked, and set the retention that new ones get.

        Raises:
            NotFound: ``no_such_bucket``: it was deleted, and perhaps made again.
            Refused: ``not_versioned``.
        """
        self.forget(bucket.owner, bucket.name)
        asked = trio.current_time()
        record: BucketRecord = await self._call(
            BucketLocksSet(bucket.owner.tenant_id, bucket.name, bucket.bucket_id, default)
        )
        self.remember(_opened(bucket.owner, record), asked)

    async def ask(self, bucket: Bucket, request: BucketQuestion) -> Any:
        """Ask about what is in a bucket, and refuse the answer of another bucket.

        A remembered id costs no call, and each answer that fits it and the revision of its settings
        lets it be remembered on.

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
        asked = trio.current_time()
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
        self.confirm(known, reply.bucket_revision, asked)
        return reply

    def remember(self, bucket: Bucket, asked: float) -> None:
        """Keep a bucket whose settings were just opened.

        Args:
            asked: when they were asked for, by the monotonic clock: they were right after that.
        """
        place = (bucket.owner.tenant_id, bucket.name)
        held = self._known.get(place)
        if (
            held is not None
            and held.bucket.bucket_id == bucket.bucket_id
            and held.bucket.revision > bucket.revision
        ):
            return  # It was set while the answer was under way.
        self._drop(place)
        size = _BUCKET_BYTES + sum(len(each.body) for each in bucket.settings.documents)
        self._known[place] = _Known(bucket, asked + REMEMBERED_S, asked + CLASS_REMEMBERED_S, size)
        self._bytes += size
        while len(self._known) > limits.MAX_BUCKETS_REMEMBERED or (
            self._bytes > limits.MAX_REMEMBERED_BUCKET_BYTES and len(self._known) > 1
        ):
            self._drop(next(iter(self._known)))

    def confirm(self, bucket: Bucket, revision: int, asked: float) -> None:
        """Remember a bucket on whose id an answer or a commit fits, if its settings are still those
        that the store has.

        Args:
            revision: of the store's settings, as the answer says; 0: it does not say.
            asked: when the answer was asked for, by the monotonic clock.
        """
        place = (bucket.owner.tenant_id, bucket.name)
        held = self._known.get(place)
        if held is None:
            if revision == bucket.revision:
                self.remember(bucket, asked)
        elif held.bucket.bucket_id != bucket.bucket_id or revision > held.bucket.revision:
            self._drop(place)
        elif revision == held.bucket.revision:
            confirmed = min(asked + REMEMBERED_S, held.at_most_until)
            self._known[place] = replace(held, until=max(held.until, confirmed))
            self._known.move_to_end(place)

    def forget(self, owner: TenantKey, name: str) -> bool:
        """Drop what is remembered of a bucket; whether there was something."""
        return self._drop((owner.tenant_id, name))

    def _drop(self, place: tuple[TenantId, str]) -> bool:
        held = self._known.pop(place, None)
        if held is None:
            return False
        self._bytes -= held.bytes
        return True


def _opened(owner: TenantKey, record: BucketRecord) -> Bucket:
    """The bucket of a record. Raises Corrupt: its settings are not the owner's of this bucket."""
    settings = open_bucket_settings(
        owner, record.bucket_id, record.name, record.revision, record.settings
    )
    return Bucket(
        record.name,
        owner,
        record.bucket_id,
        unpack_bucket(settings),
        record.revision,
        record.storage_class,
        record.versioning,
        record.default_retention,
        record.class_names,
    )
