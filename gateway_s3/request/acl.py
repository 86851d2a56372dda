"""Access control lists that a request's headers ask for. Buckets have none: their owner owns all
that is in them (``BucketOwnerEnforced``), so the one list there is gives the owner everything.

Source: Amazon S3 User Guide, "Controlling ownership of objects and disabling ACLs for your bucket";
docs/s3-compatibility.md, "Who may do what".
"""

from __future__ import annotations

import re
from typing import Final

from common.http.records import HttpRequest
from gateway_s3 import errors
from gateway_s3.errors import S3Error

CANNED: Final = b"x-amz-acl"
GRANTS: Final = tuple(
    b"x-amz-grant-" + name
    for name in (b"full-control", b"read", b"read-acp", b"write", b"write-acp")
)
_OWNERS: Final = frozenset({b"private", b"bucket-owner-full-control", b"bucket-owner-read"})
"""Canned lists that give nobody but the owner anything."""
_TO_ONE: Final = re.compile(rb'id="?([^",]*)"?')
_SETTING: Final = frozenset(
    {
        "PutBucketAcl",
        "PutObjectAcl",
        "PutObject",
        "PostObject",
        "CopyObject",
        "CreateMultipartUpload",
    }
)
"""Operations that can set a list, beside CreateBucket."""


def has_acl_headers(request: HttpRequest) -> bool:
    """Return whether the headers of a request say which list it sets."""
    return any(request.header(name) is not None for name in (CANNED, *GRANTS))


def check_acl_headers(request: HttpRequest, operation: str, owner: str) -> None:
    """Refuse a request whose headers give anybody but the owner something.

    Args:
        operation: the name of the one that it was routed to.
        owner: the account that owns the bucket, or will.

    Raises:
        S3Error: InvalidRequest: a canned list and grants; AccessControlListNotSupported,
            InvalidBucketAclWithObjectOwnership: another list than the owner's; NotImplemented: of
            an operation that sets none.
    """
    canned = request.header(CANNED)
    grants = [name for name in GRANTS if request.header(name) is not None]
    if canned is not None and grants:
        raise S3Error(
            errors.INVALID_REQUEST,
            "Specifying both Canned ACLs and Header Grants is not allowed",
        )
    if not grants and (canned is None or canned in _OWNERS):
        return
    if grants == [GRANTS[0]]:
        match = _TO_ONE.fullmatch(request.header(GRANTS[0]) or b"")
        if match is not None and match[1] == owner.encode("ascii"):
            return
    if operation == "CreateBucket":
        raise S3Error(errors.INVALID_BUCKET_ACL_WITH_OWNERSHIP)
    if operation in _SETTING:
        raise S3Error(errors.ACL_NOT_SUPPORTED)
    raise S3Error(
        errors.NOT_IMPLEMENTED,
        "A header you provided implies functionality that is not implemented.",
        Header=(grants[0] if grants else CANNED).decode("ascii"),
    )
