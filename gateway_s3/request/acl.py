"""Access control lists that a request's headers ask for: canned ones, and grants one by one.

In a bucket where no list counts (``BucketOwnerEnforced``) the one list there is gives the owner
everything, and only what asks for it is accepted.

Source: Amazon S3 User Guide, "Access control list (ACL) overview", "Controlling ownership of
objects and disabling ACLs for your bucket"; docs/s3-compatibility.md, "Access control lists".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NoReturn

from common import limits
from common.data_classes import dataclass
from common.format.access_lists import AclGrant, AclPermission, Grantee, Ownership
from common.http.records import HttpRequest
from common.ids import TENANT_ID_BYTES
from gateway.access.lists import own_grants
from gateway_s3 import errors
from gateway_s3.errors import S3Error

CANNED: Final = b"x-amz-acl"
OWNERSHIP: Final = b"x-amz-object-ownership"
_BY_HEADER: Final[Mapping[bytes, AclPermission]] = {
    b"x-amz-grant-full-control": AclPermission.FULL_CONTROL,
    b"x-amz-grant-read": AclPermission.READ,
    b"x-amz-grant-read-acp": AclPermission.READ_ACP,
    b"x-amz-grant-write": AclPermission.WRITE,
    b"x-amz-grant-write-acp": AclPermission.WRITE_ACP,
}
GRANTS: Final = tuple(_BY_HEADER)
_GROUPS: Final = "http://acs.amazonaws.com/groups/"
GROUP_URIS: Final[Mapping[Grantee, str]] = {
    Grantee.EVERYONE: _GROUPS + "global/AllUsers",
    Grantee.AUTHENTICATED: _GROUPS + "global/AuthenticatedUsers",
    Grantee.LOG_DELIVERY: _GROUPS + "s3/LogDelivery",
}
_BY_URI: Final = {uri: grantee for grantee, uri in GROUP_URIS.items()}
OWNERSHIPS: Final[Mapping[str, Ownership]] = {
    "BucketOwnerEnforced": Ownership.BUCKET_OWNER,
    "BucketOwnerPreferred": Ownership.PREFERRED,
    "ObjectWriter": Ownership.WRITER,
}
FOR_BUCKET_OWNER: Final = "bucket-owner-full-control"
_OWNERS: Final = frozenset({"private", FOR_BUCKET_OWNER, "bucket-owner-read"})
"""Canned lists that give nobody but the bucket's owner anything, where that owns all."""
_TO_GROUPS: Final[Mapping[str, tuple[tuple[Grantee, AclPermission], ...]]] = {
    "authenticated-read": ((Grantee.AUTHENTICATED, AclPermission.READ),),
    "log-delivery-write": (
        (Grantee.LOG_DELIVERY, AclPermission.WRITE),
        (Grantee.LOG_DELIVERY, AclPermission.READ_ACP),
    ),
    "private": (),
    "public-read": ((Grantee.EVERYONE, AclPermission.READ),),
    "public-read-write": (
        (Grantee.EVERYONE, AclPermission.READ),
        (Grantee.EVERYONE, AclPermission.WRITE),
    ),
}
_TO_BUCKET_OWNER: Final[Mapping[str, AclPermission]] = {
    FOR_BUCKET_OWNER: AclPermission.FULL_CONTROL,
    "bucket-owner-read": AclPermission.READ,
}
CANNED_NAMES: Final = frozenset({*_TO_GROUPS, *_TO_BUCKET_OWNER, "aws-exec-read"})
"""The last gives a service that is none here something: it is not implemented."""
_GRANT: Final = re.compile(r'\s*(id|uri|emailaddress)\s*=\s*(?:"([^"]*)"|([^",\s]*))\s*', re.I)
_TO_ONE: Final = re.compile(rb'id="?([^",]*)"?')
_ACCOUNT: Final = re.compile(rf"[0-9a-f]{{{2 * TENANT_ID_BYTES}}}")
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


@dataclass(frozen=True, slots=True)
class AskedList:
    """A list that headers ask for. ``canned``: the name of one, or empty: then ``grants``, which
    are all that it has."""

    canned: str = ""
    grants: tuple[AclGrant, ...] = ()

    def of_object(self, owner: bytes, bucket_owner: bytes) -> tuple[AclGrant, ...]:
        """Return the grants of an object's list.

        Args:
            owner: the tenant that owns the object.
            bucket_owner: likewise, its bucket.

        Raises:
            S3Error: InvalidArgument: it is a list of buckets; NotImplemented.
        """
        if self.canned == "log-delivery-write":
            raise S3Error(
                errors.INVALID_ARGUMENT,
                ArgumentName=CANNED.decode("ascii"),
                ArgumentValue=self.canned,
            )
        permission = _TO_BUCKET_OWNER.get(self.canned)
        if permission is None or owner == bucket_owner:
            return self._granted_by(owner)
        return (*own_grants(owner), AclGrant(Grantee.ACCOUNT, bucket_owner, permission))

    def of_bucket(self, owner: bytes) -> tuple[AclGrant, ...]:
        """Return the grants of a bucket's list. Raises S3Error NotImplemented."""
        return self._granted_by(owner)

    def _granted_by(self, owner: bytes) -> tuple[AclGrant, ...]:
        if not self.canned:
            return self.grants
        if self.canned == "aws-exec-read":
            not_implemented(CANNED)
        to_groups = _TO_GROUPS.get(self.canned, ())
        return (
            *own_grants(owner),
            *[AclGrant(grantee, b"", permission) for grantee, permission in to_groups],
        )


def asked_list(request: HttpRequest) -> AskedList | None:
    """Return the list that the headers of a request ask for; None: they ask for none.

    Raises:
        S3Error: InvalidRequest: a canned list and grants; InvalidArgument: nobody can be granted
            that; MethodNotAllowed: grants by email.
    """
    canned = request.header(CANNED)
    given = [(name, request.header(name)) for name in GRANTS]
    grants = [(name, value) for name, value in given if value is not None]
    if canned is not None:
        if grants:
            _both()
        return AskedList(canned.decode("ascii", "replace"))
    if not grants:
        return None
    found: list[AclGrant] = []
    for name, value in grants:
        found += _grants(name.decode("ascii"), value.decode("utf-8", "replace"), _BY_HEADER[name])
    if len(found) > limits.MAX_ACL_GRANTS:
        too_many_grants()
    return AskedList("", tuple(dict.fromkeys(found)))


def _grants(header: str, text: str, permission: AclPermission) -> list[AclGrant]:
    found: list[AclGrant] = []
    at = 0
    while at < len(text) or not found:
        match = _GRANT.match(text, at)
        if match is None or (match.end() < len(text) and text[match.end()] != ","):
            raise S3Error(
                errors.INVALID_ARGUMENT,
                "Argument format not recognized",
                ArgumentName=header,
                ArgumentValue=text[:128],
            )
        value = match[3] if match[2] is None else match[2]
        found.append(grant_of(match[1].lower(), value, permission))
        if len(found) > limits.MAX_ACL_GRANTS:
            too_many_grants()
        at = match.end() + 1
    return found


def grant_of(kind: str, value: str, permission: AclPermission) -> AclGrant:
    """Return a grant.

    Args:
        kind: ``id``, ``uri`` or ``emailaddress``: what the value is.

    Raises:
        S3Error: InvalidArgument: it names nobody; MethodNotAllowed: an email, as on S3 since
            October 2025.
    """
    if kind == "emailaddress":
        raise S3Error(
            errors.METHOD_NOT_ALLOWED,
            "Grants to email addresses are no longer supported: name the account by its id.",
        )
    if kind == "uri":
        group = _BY_URI.get(value)
        if group is None:
            raise S3Error(
                errors.INVALID_ARGUMENT,
                "Invalid group uri",
                ArgumentName="uri",
                ArgumentValue=value[:128],
            )
        return AclGrant(group, b"", permission)
    if _ACCOUNT.fullmatch(value) is None:
        raise S3Error(
            errors.INVALID_ARGUMENT,
            "Invalid id",
            ArgumentName="CanonicalUser/ID",
            ArgumentValue=value[:128],
        )
    return AclGrant(Grantee.ACCOUNT, bytes.fromhex(value), permission)


def asked_ownership(request: HttpRequest) -> Ownership:
    """Return the ownership that a bucket is made with."""
    value = request.header(OWNERSHIP)
    # Other words were refused with the headers.
    return Ownership.BUCKET_OWNER if not value else OWNERSHIPS[value.decode("ascii")]


def has_acl_headers(request: HttpRequest) -> bool:
    """Return whether the headers of a request say which list it sets."""
    return any(request.header(name) is not None for name in (CANNED, *GRANTS))


def check_acl_headers(
    request: HttpRequest, operation: str, owner: str, *, uses_lists: bool
) -> None:
    """Refuse a request whose headers ask for a list that cannot be.

    Args:
        operation: the name of the one that it was routed to.
        owner: the account that owns the bucket, or will.
        uses_lists: lists count in the bucket, or will.

    Raises:
        S3Error: InvalidRequest: a canned list and grants; AccessControlListNotSupported,
            InvalidBucketAclWithObjectOwnership: another list than the owner's, where none counts;
            NotImplemented: of an operation that sets none.
    """
    canned = request.header(CANNED)
    grants = [name for name in GRANTS if request.header(name) is not None]
    if canned is None and not grants:
        return
    if canned is not None and grants:
        _both()
    can_set = operation in _SETTING or operation == "CreateBucket"
    if uses_lists and can_set:
        return
    if canned is not None and canned.decode("ascii", "replace") in _OWNERS:
        return
    if grants == [GRANTS[0]]:
        match = _TO_ONE.fullmatch(request.header(GRANTS[0]) or b"")
        if match is not None and match[1] == owner.encode("ascii"):
            return
    if operation == "CreateBucket":
        raise S3Error(errors.INVALID_BUCKET_ACL_WITH_OWNERSHIP)
    if can_set:
        raise S3Error(errors.ACL_NOT_SUPPORTED)
    not_implemented(grants[0] if grants else CANNED)


def too_many_grants() -> NoReturn:
    """Refuse a list. Raises S3Error MalformedACLError."""
    raise S3Error(
        errors.MALFORMED_ACL,
        f"An access control list can have {limits.MAX_ACL_GRANTS} grants at most.",
    )


def not_implemented(header: bytes) -> NoReturn:
    """Refuse a header. Raises S3Error NotImplemented."""
    raise S3Error(
        errors.NOT_IMPLEMENTED,
        "A header you provided implies functionality that is not implemented.",
        Header=header.decode("ascii"),
    )


def _both() -> NoReturn:
    raise S3Error(
        errors.INVALID_REQUEST, "Specifying both Canned ACLs and Header Grants is not allowed"
    )
