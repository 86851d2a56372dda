"""Access control lists and the ownership of objects in a bucket: records that are sealed, so that
no coordinator or cell ever reads them.

Source: docs/object-format.md; docs/decisions/0052-access-lists.md.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Final

from common import limits
from common.data_classes import dataclass
from common.errors import Corrupt
from common.format.versioned import unpack_versioned
from common.ids import TENANT_ID_BYTES
from common.reasons import Damage
from common.wire.records import Max, Record

ACCESS_LIST_VERSION: Final = 1


class Grantee(IntEnum):
    """The kind of those that a grant is for."""

    ACCOUNT = 0
    """One tenant, and nobody else."""
    EVERYONE = 1
    """Anonymous callers, too."""
    AUTHENTICATED = 2
    """Every caller that proved an access key, of whatever tenant."""
    LOG_DELIVERY = 3
    """The writer of logs of requests: never the caller of one."""


class AclPermission(IntEnum):
    """The permission that a grant gives."""

    READ = 0
    WRITE = 1
    READ_ACP = 2
    WRITE_ACP = 3
    FULL_CONTROL = 4


class Ownership(IntEnum):
    """The rule by which objects of a bucket have their owners."""

    BUCKET_OWNER = 0
    """All are the bucket owner's, and no access control list counts."""
    PREFERRED = 1
    """As of WRITER, but those that are written for the bucket's owner are its own."""
    WRITER = 2
    """Each is its writer's, and access control lists count."""


@dataclass(frozen=True, slots=True)
class AclGrant(Record):
    """A grant. ``grantee``: a :class:`Grantee`. ``account``: the tenant's id, of ACCOUNT, else
    empty. ``permission``: a :class:`AclPermission`."""

    grantee: int
    account: Annotated[bytes, Max(TENANT_ID_BYTES)]
    permission: int


@dataclass(frozen=True, slots=True)
class AccessList(Record):
    """An access control list: its grants in the order in which they were given."""

    version: int
    grants: Annotated[tuple[AclGrant, ...], Max(limits.MAX_ACL_GRANTS)]


@dataclass(frozen=True, slots=True)
class BucketOwnership(Record):
    """The ownership of objects in a bucket. ``rule``: an :class:`Ownership`. ``is_set``: False
    where it was removed, which leaves WRITER."""

    version: int
    rule: int
    is_set: bool = True


_GRANTEES: Final = frozenset(map(int, Grantee))
_PERMISSIONS: Final = frozenset(map(int, AclPermission))
_RULES: Final = frozenset(map(int, Ownership))


def unpack_access_list(data: bytes) -> AccessList:
    """Read an access control list.

    Raises:
        Corrupt: ``bad_metadata``: authentic bytes that this version cannot read. A grant that it
            does not know is not passed over: the list that is shown would be another one.
    """
    unpacked = unpack_versioned(AccessList, ACCESS_LIST_VERSION, "access list", data)
    for grant in unpacked.grants:
        whole = TENANT_ID_BYTES if grant.grantee == Grantee.ACCOUNT else 0
        if (
            grant.grantee not in _GRANTEES
            or grant.permission not in _PERMISSIONS
            or len(grant.account) != whole
        ):
            raise Corrupt(Damage.BAD_METADATA, what="access list", version=unpacked.version)
    return unpacked


def unpack_ownership(data: bytes) -> BucketOwnership:
    """Read the ownership of objects in a bucket. Raises Corrupt ``bad_metadata``."""
    unpacked = unpack_versioned(BucketOwnership, ACCESS_LIST_VERSION, "ownership", data)
    if unpacked.rule not in _RULES:
        raise Corrupt(Damage.BAD_METADATA, what="ownership", version=unpacked.version)
    return unpacked
