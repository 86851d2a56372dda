"""Authorization: whether a principal may do something to a bucket or an object. Pure.

Every request of every protocol passes :func:`authorize` between the proof of its principal and its
handler. A statement of a policy that denies outweighs everything; then the bucket's owner may do
everything, its users what their own policies allow, and others what the bucket's policy allows.
Where access control lists count, they allow, too, and an object that is another tenant's than the
bucket's is read, and its list read and set, by what its own owner and list say.

Source: docs/decisions/0021-authorization.md, docs/decisions/0039-bucket-policies.md,
docs/decisions/0052-access-lists.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final, TypeAlias

from common.data_classes import dataclass
from common.errors import Refused
from common.format.access_lists import AclPermission
from common.reasons import Refusal
from gateway.access.lists import (
    OF_BUCKET,
    OF_OBJECT,
    OF_UPLOAD,
    Given,
    JudgedObject,
    JudgedUpload,
    NoObject,
    Subject,
    granted,
)
from gateway.access.patterns import NOTHING_KNOWN, Circumstances
from gateway.access.permissions import OWNERS_ALWAYS
from gateway.access.policy import Effect
from gateway.access.policy_document import ARN_PREFIX
from gateway.access.rules import NO_RULES
from gateway.principals import (
    Anonymous,
    Bucket,
    ForeignBucket,
    KeyHolder,
    Principal,
    account_of,
)


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


PERMISSIONS: Final[Mapping[Action, str]] = {
    Action.LIST_BUCKETS: "s3:ListAllMyBuckets",
    Action.CREATE_BUCKET: "s3:CreateBucket",
    Action.READ_BUCKET: "s3:ListBucket",
    Action.DELETE_BUCKET: "s3:DeleteBucket",
    Action.LIST_OBJECTS: "s3:ListBucket",
    Action.LIST_OBJECT_VERSIONS: "s3:ListBucketVersions",
    Action.LIST_UPLOADS: "s3:ListBucketMultipartUploads",
    Action.READ_OBJECT: "s3:GetObject",
    Action.READ_OBJECT_VERSION: "s3:GetObjectVersion",
    Action.WRITE_OBJECT: "s3:PutObject",
    Action.DELETE_OBJECT: "s3:DeleteObject",
    Action.DELETE_OBJECT_VERSION: "s3:DeleteObjectVersion",
    Action.LIST_PARTS: "s3:ListMultipartUploadParts",
    Action.ABORT_UPLOAD: "s3:AbortMultipartUpload",
}
"""The permission that a policy must give for an action, where the action has one only. Actions
about settings and rights have many, and their requests say which."""


class Denial(Enum):
    """The reason of a denial."""

    ANONYMOUS = "anonymous"
    """The caller proved no identity, and nothing allows it to such a one."""
    NOT_OWNER = "not_owner"
    """Nothing allows it to another tenant."""
    POLICY = "policy"
    """A statement of the policy denies it."""
    PUBLIC_POLICY = "public_policy"
    """The policy is public, and the bucket restricted to its owner while that is so."""
    OWNER_ONLY = "owner_only"
    """The policy allows it, but it is nothing that can be given to another tenant."""
    USER = "user"
    """Nothing allows it to the user."""
    USER_POLICY = "user_policy"
    """A statement of the user's own policy denies it."""
    SESSION = "session"
    """The policy of the session does not allow it, whatever else does."""
    UNREADABLE = "unreadable"
    """This gateway cannot read the bucket's rules."""


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
    circumstances: Circumstances = NOTHING_KNOWN,
    permission: str | None = None,
    new_bucket: str = "*",
    subject: Subject | None = None,
) -> Verdict:
    """Decide whether the principal may do this.

    Args:
        bucket: that it would be done to; None for actions :data:`OF_TENANT` only.
        key: the object's, where it would be done to an object.
        circumstances: the facts of the request that conditions look at.
        permission: that a policy must give; None: that of the action.
        new_bucket: the name of the bucket that would be made; ``*``: all of the tenant's are meant.
        subject: the object or upload that it would be done to, where lists count; None: none was
            looked up, so nobody is allowed what its owner decides.
    """
    verdict = _judge(principal, action, bucket, key, circumstances, permission, new_bucket, subject)
    bound = principal.bound
    if bound is None or isinstance(verdict, Deny) or action is Action.DELETE_BATCH:
        return verdict
    # A session's policy gives nothing: it only takes of what is allowed, by whomever.
    resource = ARN_PREFIX + new_bucket if bucket is None else _resource_of(bucket, key)
    needed = permission or PERMISSIONS[action]
    effect = bound.judge(principal.caller, needed, resource, circumstances)
    return verdict if effect is Effect.ALLOW else Deny(Denial.SESSION)


def _judge(
    principal: Principal,
    action: Action,
    bucket: Bucket | ForeignBucket | None,
    key: bytes | None,
    circumstances: Circumstances,
    permission: str | None,
    new_bucket: str,
    subject: Subject | None,
) -> Verdict:
    """Decide as :func:`authorize`, but for the policy of a session."""
    nothing = Deny(Denial.ANONYMOUS if isinstance(principal, Anonymous) else Denial.NOT_OWNER)
    if bucket is None:
        assert action in OF_TENANT, "a bucket's owner decides"
        if isinstance(principal, Anonymous):
            return nothing
        resource = ARN_PREFIX + new_bucket
        return _of_user(principal, permission or PERMISSIONS[action], resource, circumstances)
    if isinstance(bucket, ForeignBucket):
        return nothing
    is_owner = (
        isinstance(principal, KeyHolder) and principal.tenant.tenant_id == bucket.owner.tenant_id
    )
    rules = bucket.rules
    if rules is NO_RULES and principal.policy is None:
        return Allow() if is_owner else nothing
    if action is Action.DELETE_BATCH:
        # Each object of the list is decided about. Who could not delete any sends none.
        may_any = is_owner or rules.policy is not None or rules.uses_lists
        return Allow() if may_any else nothing
    needed = permission or PERMISSIONS[action]
    if is_owner and principal.policy is None and needed in OWNERS_ALWAYS:
        return Allow()
    if not rules.is_readable:
        return Deny(Denial.UNREADABLE)
    resource = _resource_of(bucket, key)
    given, is_anothers, is_unknown = Given.NOTHING, False, False
    if rules.uses_lists:
        given = _granted(principal, bucket, needed, subject)
        account = principal.caller.account
        if isinstance(subject, JudgedUpload) and needed in OF_UPLOAD:
            is_owner = is_owner or account == subject.initiator
        elif needed in OF_OBJECT:
            is_unknown = subject is None
            if isinstance(subject, JudgedObject):
                is_anothers = subject.owner != account_of(bucket.owner)
                is_owner = account == subject.owner
    effect = None
    if rules.policy is not None:
        effect = rules.policy.judge(
            principal.caller, needed, resource, circumstances, owned=is_owner
        )
    if effect is Effect.DENY:
        return Deny(Denial.POLICY)
    if is_unknown:
        return nothing
    if is_anothers:
        effect = None  # A bucket's owner can close what is another's, and not open it.
    own = (
        Allow()
        if isinstance(principal, Anonymous)
        else (_of_user(principal, needed, resource, circumstances))
    )
    if is_owner:
        # Within one account either policy is enough, unless the user's denies. An account that is
        # granted something decides itself what its users get of it; of a group each is a member.
        by_resource = effect is Effect.ALLOW or given is Given.TO_GROUP
        return Allow() if by_resource and own == Deny(Denial.USER) else own
    if given is Given.NOTHING:
        if effect is None:
            return nothing
        if rules.is_public and rules.limits.restrict_buckets:
            return Deny(Denial.PUBLIC_POLICY)
    return Deny(Denial.OWNER_ONLY) if needed in OWNERS_ALWAYS else own


def _granted(principal: Principal, bucket: Bucket, needed: str, subject: Subject | None) -> Given:
    """Return what the list that a permission is decided by gives the principal."""
    rules = bucket.rules
    wanted: AclPermission | None
    grants = rules.grants or ()
    if needed not in OF_OBJECT:
        wanted = OF_BUCKET.get(needed)
    elif isinstance(subject, JudgedObject):
        wanted, grants = OF_OBJECT[needed], subject.grants
    else:
        # That an object is not there is for those to know who may list the bucket.
        wanted = AclPermission.READ if isinstance(subject, NoObject) else None
    if wanted is None:
        return Given.NOTHING
    account = principal.caller.account
    return granted(grants, account, wanted, ignores_public=rules.limits.ignore_acls)


def _resource_of(bucket: Bucket | ForeignBucket, key: bytes | None) -> str:
    """Return the name of a bucket, or of an object in it, in the words of policies."""
    resource = ARN_PREFIX + bucket.name
    return resource if key is None else resource + "/" + key.decode("utf-8", "surrogateescape")


def _of_user(
    principal: KeyHolder, permission: str, resource: str, circumstances: Circumstances
) -> Verdict:
    """Decide what the principal's own policy says; the tenant's own keys have none and may all."""
    if principal.policy is None:
        return Allow()
    effect = principal.policy.judge(principal.caller, permission, resource, circumstances)
    if effect is Effect.DENY:
        return Deny(Denial.USER_POLICY)
    return Allow() if effect is Effect.ALLOW else Deny(Denial.USER)


def check(verdict: Verdict) -> None:
    """Return if the verdict allows.

    Raises:
        Refused: ``access_denied``.
    """
    if isinstance(verdict, Deny):
        raise Refused(Refusal.ACCESS_DENIED, denial=verdict.denial.value)
