"""The rules of a bucket about access, read once from each revision of its settings.

Source: docs/decisions/0039-bucket-policies.md; docs/object-format.md, "Documents".
"""

from __future__ import annotations

from typing import Final

from common.data_classes import dataclass
from common.errors import Corrupt, Refused
from common.format.access_lists import (
    AclGrant,
    Ownership,
    unpack_access_list,
    unpack_ownership,
)
from common.format.configurations import (
    CONFIGURATION_VERSION,
    PublicAccess,
    unpack_policy,
    unpack_public_access,
)
from common.format.objects import BucketSettings
from gateway.access.policy import Policy
from gateway.access.policy_document import parse_policy
from gateway.access.publicity import is_public

POLICY: Final = "policy"
"""The kind of the document with a bucket's policy."""
PUBLIC_ACCESS: Final = "public-access"
"""The kind of the document with a bucket's limits of public access."""
OWNERSHIP: Final = "ownership"
"""The kind of the document with the rule by which a bucket's objects have their owners."""
ACL: Final = "acl"
"""The kind of the document with a bucket's access control list."""
BLOCK_ALL: Final = PublicAccess(CONFIGURATION_VERSION, True, True, True, True, True)
"""The limits of a bucket whose owner never set any, as on AWS since April 2023."""
BLOCK_NOTHING: Final = PublicAccess(CONFIGURATION_VERSION, False, False, False, False, False)
"""The limits of a bucket whose owner removed them."""


@dataclass(frozen=True, slots=True)
class AccessRules:
    """Rules of a bucket beside its owner's right. ``is_public``: the policy is. ``is_readable``:
    False where a document is of a version that this gateway cannot read: then nothing is allowed
    but to read, set and remove the policy. ``ownership``: of its objects. ``grants``: of the
    bucket's access control list; None: it was never set, and gives nobody but the owner anything.
    """

    policy: Policy | None = None
    limits: PublicAccess = BLOCK_ALL
    is_public: bool = False
    is_readable: bool = True
    ownership: Ownership = Ownership.BUCKET_OWNER
    grants: tuple[AclGrant, ...] | None = None

    @property
    def uses_lists(self) -> bool:
        """Return whether access control lists count, of the bucket and of its objects."""
        return self.ownership is not Ownership.BUCKET_OWNER

    @property
    def asks_given_tags(self) -> bool:
        """Return whether a condition of the policy looks at the tags that a request gives."""
        return self.policy is not None and self.policy.asks_given_tags

    @property
    def asks_given_lock(self) -> bool:
        """Return whether a condition of the policy looks at the lock that a request gives."""
        return self.policy is not None and self.policy.asks_given_lock


NO_RULES: Final = AccessRules()
_UNREADABLE: Final = AccessRules(is_readable=False)


def rules_of(settings: BucketSettings, bucket: str) -> AccessRules:
    """Return the rules that a bucket's settings have."""
    if not settings.documents:
        return NO_RULES
    kinds = (POLICY, PUBLIC_ACCESS, OWNERSHIP, ACL)
    policy_body, limits_body, ownership_body, acl_body = map(settings.document, kinds)
    if policy_body is limits_body is ownership_body is acl_body is None:
        return NO_RULES
    try:
        return AccessRules(
            policy := _policy(policy_body, bucket),
            BLOCK_ALL if limits_body is None else unpack_public_access(limits_body),
            policy is not None and is_public(policy),
            ownership=_ownership(ownership_body),
            grants=None if acl_body is None else unpack_access_list(acl_body).grants,
        )
    except (Corrupt, Refused):
        return _UNREADABLE


def _policy(body: bytes | None, bucket: str) -> Policy | None:
    return None if body is None else parse_policy(unpack_policy(body).text, bucket)


def _ownership(body: bytes | None) -> Ownership:
    if body is None:
        return Ownership.BUCKET_OWNER
    ownership = unpack_ownership(body)
    return Ownership(ownership.rule) if ownership.is_set else Ownership.WRITER
