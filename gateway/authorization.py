"""Authorization: whether a principal may do something to a bucket or an object. Pure.

Every request of every protocol passes :func:`authorize` between the proof of its principal and its
handler. Today's rule: a bucket's owner may do everything, others nothing.

Source: docs/decisions/0021-authorization.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from common.errors import Refused
from common.reasons import Refusal
from gateway.principals import Anonymous, Bucket, ForeignBucket, Principal


class Action(Enum):
    """The actions that can be allowed or denied, in no protocol's words."""

    LIST_BUCKETS = "list_buckets"
    """Of the asking tenant."""
    CREATE_BUCKET = "create_bucket"
    DELETE_BUCKET = "delete_bucket"
    READ_BUCKET = "read_bucket"
    """Its existence and its place."""
    READ_BUCKET_SETTINGS = "read_bucket_settings"
    WRITE_BUCKET_SETTINGS = "write_bucket_settings"
    READ_BUCKET_ACCESS = "read_bucket_access"
    """The rights on it: access control lists, policies and what limits them."""
    WRITE_BUCKET_ACCESS = "write_bucket_access"
    LIST_OBJECTS = "list_objects"
    LIST_OBJECT_VERSIONS = "list_object_versions"
    LIST_UPLOADS = "list_uploads"
    DELETE_BATCH = "delete_batch"
    """Send a list of objects to delete; each of them is a DELETE_OBJECT of its own."""
    READ_OBJECT = "read_object"
    """Bytes and metadata; also as the source of a copy."""
    READ_OBJECT_VERSION = "read_object_version"
    """Likewise, of a version that is named."""
    WRITE_OBJECT = "write_object"
    """Whole, in parts or by copying."""
    DELETE_OBJECT = "delete_object"
    DELETE_OBJECT_VERSION = "delete_object_version"
    """A version that is named, for good."""
    LIST_PARTS = "list_parts"
    ABORT_UPLOAD = "abort_upload"
    READ_OBJECT_SETTINGS = "read_object_settings"
    WRITE_OBJECT_SETTINGS = "write_object_settings"
    READ_OBJECT_ACCESS = "read_object_access"
    WRITE_OBJECT_ACCESS = "write_object_access"


OF_A_VERSION: Final[Mapping[Action, Action]] = {
    Action.READ_OBJECT: Action.READ_OBJECT_VERSION,
    Action.DELETE_OBJECT: Action.DELETE_OBJECT_VERSION,
}
"""The actions on an object that are others where a version of it is named."""
OF_TENANT: Final = frozenset({Action.LIST_BUCKETS, Action.CREATE_BUCKET})
"""Actions on what the calling tenant has or gets: no bucket's owner could decide."""


class Denial(Enum):
    """The reason of a denial."""

    ANONYMOUS = "anonymous"
    """The caller proved no identity."""
    NOT_OWNER = "not_owner"


@dataclass(frozen=True, slots=True)
class Allow:
    """It may be done."""


@dataclass(frozen=True, slots=True)
class Deny:
    """It must not be done."""

    denial: Denial


Verdict: TypeAlias = Allow | Deny


def authorize(
    principal: Principal,
    action: Action,
    bucket: Bucket | ForeignBucket | None,
    key: bytes | None = None,
) -> Verdict:
    """Decide whether the principal may do this.

    Args:
        bucket: that it would be done to; None for actions :data:`OF_TENANT` only.
        key: the object's, where it would be done to an object.
    """
    if isinstance(principal, Anonymous):
        return Deny(Denial.ANONYMOUS)
    if bucket is None:
        assert action in OF_TENANT, "a bucket's owner decides"
        return Allow()
    if isinstance(bucket, ForeignBucket):
        return Deny(Denial.NOT_OWNER)
    if bucket.owner.tenant_id != principal.tenant.tenant_id:
        return Deny(Denial.NOT_OWNER)
    return Allow()


def check(verdict: Verdict) -> None:
    """Return if the verdict allows.

    Raises:
        Refused: ``access_denied``.
    """
    if isinstance(verdict, Deny):
        raise Refused(Refusal.ACCESS_DENIED, denial=verdict.denial.value)
