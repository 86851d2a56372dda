"""The rules of a bucket about access, read once from each revision of its settings.

Source: docs/decisions/0039-bucket-policies.md; docs/object-format.md, "Documents".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from common.errors import Corrupt, Refused
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
BLOCK_ALL: Final = PublicAccess(CONFIGURATION_VERSION, True, True, True, True, True)
"""The limits of a bucket whose owner never set any, as on AWS since April 2023."""
BLOCK_NOTHING: Final = PublicAccess(CONFIGURATION_VERSION, False, False, False, False, False)
"""The limits of a bucket whose owner removed them."""


@dataclass(frozen=True, slots=True)
class AccessRules:
    """Rules of a bucket beside its owner's right. ``is_public``: the policy is. ``is_readable``:
    False where a document is of a version that this gateway cannot read: then nothing is allowed
    but to read, set and remove the policy."""

    policy: Policy | None = None
    limits: PublicAccess = BLOCK_ALL
    is_public: bool = False
    is_readable: bool = True

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
    policy_body = settings.document(POLICY)
    limits_body = settings.document(PUBLIC_ACCESS)
    if policy_body is None and limits_body is None:
        return NO_RULES
    try:
        limits = BLOCK_ALL if limits_body is None else unpack_public_access(limits_body)
        if policy_body is None:
            return AccessRules(limits=limits)
        policy = parse_policy(unpack_policy(policy_body).text, bucket)
    except (Corrupt, Refused):
        return _UNREADABLE
    return AccessRules(policy, limits, is_public(policy))
