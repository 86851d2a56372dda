"""Access control lists: what the grants of a bucket's and of an object's list give to whom. Pure.

Source: Amazon S3 User Guide, "Access control list (ACL) overview", "Mapping of ACL permissions and
access policy permissions"; docs/decisions/0052-access-lists.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final, TypeAlias

from common.data_classes import dataclass
from common.format.access_lists import AclGrant, AclPermission, Grantee

OF_BUCKET: Final[Mapping[str, AclPermission]] = {
    "s3:ListBucket": AclPermission.READ,
    "s3:ListBucketVersions": AclPermission.READ,
    "s3:ListBucketMultipartUploads": AclPermission.READ,
    "s3:PutObject": AclPermission.WRITE,
    "s3:DeleteObject": AclPermission.WRITE,
    "s3:GetBucketAcl": AclPermission.READ_ACP,
    "s3:PutBucketAcl": AclPermission.WRITE_ACP,
}
"""The permissions that a grant in a bucket's list gives, by what it must say."""
OF_OBJECT: Final[Mapping[str, AclPermission | None]] = {
    "s3:GetObject": AclPermission.READ,
    "s3:GetObjectVersion": AclPermission.READ,
    "s3:GetObjectAttributes": None,
    "s3:GetObjectVersionAttributes": None,
    "s3:GetObjectAcl": AclPermission.READ_ACP,
    "s3:GetObjectVersionAcl": AclPermission.READ_ACP,
    "s3:PutObjectAcl": AclPermission.WRITE_ACP,
    "s3:PutObjectVersionAcl": AclPermission.WRITE_ACP,
}
"""The permissions that the owner of an object decides about, and what a grant in the object's list
must say to give them; None: none does."""
OF_UPLOAD: Final = frozenset({"s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"})
"""The permissions that the account has that began an upload, beside the bucket's owner."""
PUBLIC: Final = frozenset({int(Grantee.EVERYONE), int(Grantee.AUTHENTICATED)})
"""The grantees that make a list public."""


class Given(Enum):
    """The part of a permission that a list gives a caller."""

    NOTHING = "nothing"
    TO_ACCOUNT = "to account"
    """To its account, which decides for its users."""
    TO_GROUP = "to group"
    """To a group that it belongs to."""


@dataclass(frozen=True, slots=True)
class JudgedObject:
    """An object in a bucket whose lists count. ``owner``: its account. ``grants``: of its list,
    beside its owner's right."""

    owner: str
    grants: tuple[AclGrant, ...] = ()


@dataclass(frozen=True, slots=True)
class JudgedUpload:
    """An upload in such a bucket. ``initiator``: the account that began it."""

    initiator: str


class NoObject(Enum):
    """The object that a request names is not there."""

    ABSENT = "absent"


ABSENT: Final = NoObject.ABSENT
Subject: TypeAlias = JudgedObject | JudgedUpload | NoObject
"""The object or upload that a request is about, as far as its owner or list matters."""


def granted(
    grants: tuple[AclGrant, ...],
    account: str | None,
    wanted: AclPermission,
    *,
    ignores_public: bool,
) -> Given:
    """Return what a list gives a caller.

    Args:
        account: of the caller; None: nobody was proven.
        ignores_public: grants to the public count for nothing.
    """
    groups = () if ignores_public else _groups(account)
    found = Given.NOTHING
    for grant in grants:
        if grant.permission not in (wanted, AclPermission.FULL_CONTROL):
            continue
        if grant.grantee in groups:
            return Given.TO_GROUP
        if grant.grantee == Grantee.ACCOUNT and grant.account.hex() == account:
            found = Given.TO_ACCOUNT
    return found


def _groups(account: str | None) -> tuple[Grantee, ...]:
    """Return the groups that a caller belongs to. Nobody who calls delivers logs."""
    if account is None:
        return (Grantee.EVERYONE,)
    return Grantee.EVERYONE, Grantee.AUTHENTICATED


def is_public_list(grants: tuple[AclGrant, ...]) -> bool:
    """Return whether a list gives the public anything."""
    return any(grant.grantee in PUBLIC for grant in grants)


def own_grants(owner: bytes) -> tuple[AclGrant, ...]:
    """Return the grants of a list that nobody set: the owner has full control.

    Args:
        owner: the id of a tenant.
    """
    return (AclGrant(Grantee.ACCOUNT, owner, AclPermission.FULL_CONTROL),)
