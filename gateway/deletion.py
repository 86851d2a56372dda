"""Deleting objects.

Source: docs/protocol.md; docs/s3-compatibility.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from common.wire.messages.objects import (
    Condition,
    Deleted,
    DeleteItem,
    DeleteResult,
    ObjectsDelete,
)
from gateway.conditions import WriteCondition
from gateway.object_service import ObjectService
from gateway.principals import Bucket
from gateway.writing import under_condition


async def delete_object(
    service: ObjectService, bucket: Bucket, name: bytes, wanted: WriteCondition
) -> None:
    """Delete an object; nothing happens when there is none of that name.

    Args:
        name: as stored.
        wanted: what must be there.

    Raises:
        NotFound: ``no_such_bucket``; and as :func:`gateway.writing.under_condition`.
        Refused: likewise.
    """

    async def attempt(decided: Condition) -> None:
        items = [DeleteItem(name, condition=decided)]
        (result,) = await delete_objects(service, bucket, items)
        if result.failure is not None:
            raise result.failure.error()

    await under_condition(service, bucket, name, wanted, attempt)


async def delete_objects(
    service: ObjectService, bucket: Bucket, items: Sequence[DeleteItem]
) -> tuple[DeleteResult, ...]:
    """Delete up to MAX_LIST_ENTRIES objects, each under its own condition.

    Returns:
        One result for each item, in order.

    Raises:
        NotFound: ``no_such_bucket``.
    """
    reply: Deleted = await service.coordinators.call(
        ObjectsDelete(bucket.owner.tenant_id, bucket.name, tuple(items))
    )
    return reply.results
