"""The object that a call is about.

Source: docs/decisions/0052-access-lists.md.
"""

from __future__ import annotations

from gateway.objects import FoundObject, find_object
from gateway.spans import Span
from gateway_s3.backend import Backend, Call


async def find_called_object(
    backend: Backend, call: Call, *, span: Span | None = None
) -> FoundObject:
    """Return the object that a call is about: where access control lists count, the very version
    that was decided about.

    Args:
        span: also the places of these bytes, where it is looked up now.

    Raises:
        NotFound: no such bucket, object or version.
    """
    if call.looked_up is not None:
        return call.looked_up.object()
    return await find_object(backend, call.bucket, call.name, span=span, named=call.route.version)
