"""Configurations of a bucket: small documents inside its sealed settings, of which a coordinator
knows no more than how long all of them are together.

Source: docs/object-format.md; docs/decisions/0034-bucket-configurations.md.
"""

from __future__ import annotations

from collections.abc import Callable

from common import limits
from common.crypto.keys import RECORD_OVERHEAD_BYTES
from common.errors import NotFound, Refused
from common.reasons import Absence, Refusal
from gateway.object_service import ObjectService
from gateway.principals import Bucket


async def set_document(
    service: ObjectService,
    bucket: Bucket,
    kind: str,
    body: bytes | None,
    check: Callable[[Bucket], None] | None = None,
) -> None:
    """Set a bucket's document of a kind, or remove it (None); the other documents stay as they are,
    also when another gateway changes them at the same time.

    Args:
        bucket: as it was read; it is read again when it was changed since.
        check: gets the bucket whose settings are replaced, before each try; raises where it must
            not be done.

    Raises:
        NotFound: ``no_such_bucket``.
        Refused: ``too_large``: the document, or all of them together; ``settings_changed``: others
            came between at every try.
    """
    if body is not None and len(body) > limits.MAX_BUCKET_DOCUMENT_BYTES:
        raise Refused(Refusal.TOO_LARGE, document_bytes=len(body))
    for _ in range(limits.MAX_COMMIT_TRIES):
        if check is not None:
            check(bucket)
        settings = bucket.settings.with_document(kind, body)
        if settings == bucket.settings:
            return
        if len(settings.pack()) + RECORD_OVERHEAD_BYTES > limits.MAX_BUCKET_RECORD_BYTES:
            raise Refused(Refusal.TOO_LARGE, document_bytes=len(body or b""))
        try:
            await service.buckets.set_settings(bucket, settings, service.entropy)
        except Refused as error:
            if error.reason != Refusal.SETTINGS_CHANGED:
                raise
        else:
            return
        changed = await service.buckets.read(bucket.owner, bucket.name)
        if changed.bucket_id != bucket.bucket_id:
            raise NotFound(Absence.NO_SUCH_BUCKET)
        bucket = changed
    raise Refused(Refusal.SETTINGS_CHANGED)
