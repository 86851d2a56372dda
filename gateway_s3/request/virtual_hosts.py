"""Requests of clients that put the bucket into the host name where that is not set up.

Taken by its path, ``PUT /key`` of such a client makes a bucket of the key's name, and ``DELETE
/key`` removes one. So what cannot be about a bucket is refused, and the refusal says why.

Source: Amazon S3 User Guide, "Virtual hosting of buckets"; docs/s3-compatibility.md, "Buckets in
host names".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from common import limits
from common.http.records import HttpRequest
from gateway.names import is_bucket_name
from gateway_s3 import errors
from gateway_s3.errors import S3Error
from gateway_s3.request.operations import BY_NAME, Operation, Scope
from gateway_s3.request.query import Query

NOT_SET_UP: Final = (
    "Virtual hosts (a bucket in the host name) are not set up for this host name. Have the client "
    "use path style, or name the domain in the gateway's `domains`."
)
_IPV4: Final = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
_OF_OBJECTS: Final = (
    b"content-disposition",
    b"content-encoding",
    b"content-language",
    b"content-range",
    b"expires",
    b"range",
    b"x-amz-checksum-",
    b"x-amz-decoded-content-length",
    b"x-amz-meta-",
    b"x-amz-metadata-directive",
    b"x-amz-object-lock-",
    b"x-amz-sdk-checksum-algorithm",
    b"x-amz-server-side-encryption",
    b"x-amz-storage-class",
    b"x-amz-tagging",
    b"x-amz-trailer",
    b"x-amz-website-redirect-location",
    b"x-amz-write-offset-bytes",
)
"""Headers, or how they begin, that mean something with an object and nothing with a bucket that is
made or removed."""
_OF_LISTINGS: Final = ("list-type", "delimiter", "marker", "max-keys", "start-after", "fetch-owner")
_GUARDED: Final = frozenset({"CreateBucket", "DeleteBucket"})


def check_style(request: HttpRequest, operation: Operation, query: Query, *, by_host: bool) -> None:
    """Refuse a request whose own words say that its path names a key, and not a bucket.

    Args:
        operation: what it is by its method, path and parameters.
        by_host: the bucket is in the host name, by one that is set up.

    Raises:
        S3Error: InvalidRequest.
    """
    if operation.scope is Scope.OBJECT or (operation.scope is Scope.BUCKET and by_host):
        return
    meant = BY_NAME.get(query.get("x-id") or "")
    if meant is not None and meant.scope is not operation.scope:
        raise S3Error(errors.INVALID_REQUEST, f"This is not {meant.name}. {NOT_SET_UP}")
    if operation.scope is Scope.SERVICE:
        for name in _OF_LISTINGS:
            if name in query:
                said = f"Buckets are not listed by {name}."
                raise S3Error(errors.INVALID_REQUEST, f"{said} {NOT_SET_UP}")
    if operation.name in _GUARDED:
        for header, _ in request.headers:
            if header.startswith(_OF_OBJECTS):
                said = f"The header {header.decode('latin-1')[:64]} is not one of a bucket."
                raise S3Error(errors.INVALID_REQUEST, f"{said} {NOT_SET_UP}")


def buckets_of_host(host: bytes, domains: Sequence[str]) -> list[str]:
    """The buckets that a host name may name for a client that believes in virtual hosts.

    Args:
        host: the ``host`` header.
        domains: names that are set up: as themselves they name no bucket.
    """
    name = host.decode("latin-1").lower()
    head, colon, port = name.rpartition(":")
    if colon and (port.isdigit() or not port):
        name = head
    name = name.removesuffix(".")
    if name in domains or name.startswith("[") or _IPV4.fullmatch(name):
        return []
    labels = name.split(".")
    found = [
        ".".join(labels[:count])
        for count in range(1, min(len(labels), limits.MAX_BUCKET_LABELS + 1))
    ]
    return [each for each in found if is_bucket_name(each)]
