"""Headers that the query of a presigned URL stands for.

Some SDKs sign headers by moving them to the query. Ignored there, ``x-amz-acl`` or
``x-amz-tagging`` would be lost, so each becomes the header that it stands for, by the rules that
hold for headers. Nothing in the query may make room for a header that nobody signed.

Source: Amazon S3 API Reference, "Authenticating requests: using query parameters"; AWS SDK for
JavaScript v3, ``S3RequestPresigner`` (hoists headers).
"""

from __future__ import annotations

import re
from typing import Final

from common.http.records import HttpRequest
from gateway_s3 import errors
from gateway_s3.errors import S3Error
from gateway_s3.request.customer_keys import SECRETS
from gateway_s3.request.headers import check_value
from gateway_s3.request.query import Query

_SIGNING: Final = frozenset(
    {
        b"X-Amz-Algorithm",
        b"X-Amz-Credential",
        b"X-Amz-Date",
        b"X-Amz-Expires",
        b"X-Amz-SignedHeaders",
        b"X-Amz-Signature",
        b"X-Amz-Content-Sha256",
        b"X-Amz-Security-Token",
    }
)
"""Parameters of presigned URLs, which mean nothing to the operation."""
_SIGNING_LOWERED: Final = frozenset(name.lower() for name in _SIGNING)
_CREDENTIALS: Final = frozenset({b"x-amz-algorithm", b"x-amz-credential", b"x-amz-signature"})
"""A query with one of them claims to be signed, and is refused where the others are missing."""
_CHECKSUM_SETTINGS: Final = frozenset(
    {b"x-amz-checksum-algorithm", b"x-amz-checksum-mode", b"x-amz-checksum-type"}
)
_V2_HEADERS: Final = frozenset({b"content-md5", b"content-type"})
"""Other headers that botocore moves to the query of a Signature V2 URL, and signs as headers."""
_TOKEN: Final = re.compile(rb"[a-z0-9!#$%&'*+.^_`|~-]+")


def is_v2(query: Query) -> bool:
    """Return whether a query claims to be that of a URL presigned with Signature V2: it is refused
    as such where a part is missing."""
    return "Signature" in query or "AWSAccessKeyId" in query


def binds_nothing(name: bytes) -> bool:
    """Return whether a parameter is the checksum of a body in a query.

    SDKs compute it when they sign, before there is a body (the JavaScript SDK v3 by default), so
    it says nothing of the body that comes. As a signed header it is checked.

    Args:
        name: in lower case.
    """
    return name.startswith((b"x-amz-checksum-", b"x-amz-sdk-checksum-")) and (
        name not in _CHECKSUM_SETTINGS
    )


def lift_headers(request: HttpRequest, query: Query) -> None:
    """Add the headers that the parameters of a presigned URL stand for to the request's.

    Raises:
        S3Error: NotImplemented: the URL is not presigned, or the parameter is one of the
            signature's own in other letters; InvalidArgument: a name or value that no header may
            have, or the header is there too and says anything else, in any of its lines.
    """
    v2 = is_v2(query)
    presigned = v2 or any(name.lower() in _CREDENTIALS for name, _ in query)
    for raw_name, raw_value in query:
        name = raw_name.lower()
        if not name.startswith(b"x-amz-"):
            if not v2 or name not in _V2_HEADERS:
                continue
        elif raw_name in _SIGNING or (v2 and name == b"x-amz-security-token"):
            continue
        elif not presigned or name in _SIGNING_LOWERED:
            raise S3Error(errors.NOT_IMPLEMENTED, Parameter=name.decode("latin-1")[:255])
        if _TOKEN.fullmatch(name) is None:
            raise S3Error(
                errors.INVALID_ARGUMENT,
                "A parameter that stands for a header has a name that no header may have.",
                ArgumentName=name.decode("latin-1")[:255],
            )
        if name in SECRETS:
            raise S3Error(
                errors.INVALID_ARGUMENT,
                "A customer's key must be given as a header, not in a URL, which is logged.",
                ArgumentName=name.decode("ascii"),
            )
        value = check_value(name, raw_value.strip(b" \t"))
        if binds_nothing(name):
            continue
        lines = request.all(name)
        if not lines:
            request.add(name, value)
        elif list(lines) != [value]:
            raise S3Error(
                errors.INVALID_ARGUMENT,
                "A header is given more than once.",
                ArgumentName=name.decode("latin-1")[:255],
            )
