"""Headers that say when an object expires, and when an upload in parts is aborted.

Source: Amazon S3 API Reference, ``x-amz-expiration`` of PutObject, GetObject, HeadObject;
``x-amz-abort-date`` of CreateMultipartUpload, ListParts; User Guide, "Expiring objects".
"""

from __future__ import annotations

from urllib.parse import quote

from common import limits
from common.format.configurations import unpack_tags
from common.format.objects import ObjectMetadata
from common.http.records import Headers
from gateway.lifecycle import NO_TAGS
from gateway_s3.backend import Backend, Call
from gateway_s3.handlers.answers import http_date


def expiration_header(
    backend: Backend, call: Call, metadata: ObjectMetadata, size: int, tags: bytes
) -> Headers:
    """The header of the current version of the call's key; none where no rule expires it.

    Args:
        tags: packed, or empty.
    """
    lifecycle = call.bucket.lifecycle
    if lifecycle is None:
        return []
    given = unpack_tags(tags).as_mapping() if tags and lifecycle.asks_tags else NO_TAGS
    found = lifecycle.end_of(
        call.route.key, size, given, metadata.modified_ms, backend.lifecycle_day_ms
    )
    if found is None:
        return []
    date, rule_id = _shown(*found)
    return [(b"x-amz-expiration", b'expiry-date="%b", rule-id="%b"' % (date, rule_id))]


def abort_headers(backend: Backend, call: Call, begun_ms: int) -> Headers:
    """The headers of an upload in parts of the call's key that say when it is aborted; none where
    no rule aborts it.

    Args:
        begun_ms: unix milliseconds.
    """
    lifecycle = call.bucket.lifecycle
    if lifecycle is None:
        return []
    found = lifecycle.abort_of(call.route.key, begun_ms, backend.lifecycle_day_ms)
    if found is None:
        return []
    date, rule_id = _shown(*found)
    return [(b"x-amz-abort-date", date), (b"x-amz-abort-rule-id", rule_id)]


def _shown(end_ms: int, rule_id: str) -> tuple[bytes, bytes]:
    """A date, and the id of a rule, which may have any characters."""
    date = http_date(min(end_ms, limits.MAX_DATE_MS) // 1000)
    return date, quote(rule_id, safe="").encode("ascii")
