"""Documents about access to buckets, read and written.

Source: Amazon S3 API Reference, PutPublicAccessBlock, GetBucketPolicyStatus.
"""

from __future__ import annotations

from typing import Final

from common.format.configurations import CONFIGURATION_VERSION, PublicAccess
from gateway_s3 import errors
from gateway_s3.errors import S3Error
from gateway_s3.xml.read import Tree, parse_children

_PUBLIC_ACCESS: Final = "PublicAccessBlockConfiguration"
_LIMITS: Final = (
    "BlockPublicAcls",
    "IgnorePublicAcls",
    "BlockPublicPolicy",
    "RestrictPublicBuckets",
)
"""In the order of the fields of PublicAccess."""


def parse_public_access(data: bytes) -> PublicAccess:
    """Read a PublicAccessBlockConfiguration document; what it does not name is false.

    Raises:
        S3Error: MalformedXML.
    """
    found: dict[str, bool] = {}
    for element in parse_children(data, _PUBLIC_ACCESS, len(_LIMITS), 1):
        text = element.text.strip().lower()
        if element.name not in _LIMITS or element.name in found or text not in {"true", "false"}:
            raise S3Error(errors.MALFORMED_XML)
        found[element.name] = text == "true"
    return PublicAccess(CONFIGURATION_VERSION, True, *[found.get(name, False) for name in _LIMITS])


def public_access_tree(limits: PublicAccess) -> Tree:
    """The PublicAccessBlockConfiguration document of limits."""
    values = (
        limits.block_acls,
        limits.ignore_acls,
        limits.block_policy,
        limits.restrict_buckets,
    )
    rows = [_flag(name, value) for name, value in zip(_LIMITS, values, strict=True)]
    return Tree(_PUBLIC_ACCESS, "", tuple(rows))


def policy_status_tree(is_public: bool) -> Tree:
    """The PolicyStatus document."""
    return Tree("PolicyStatus", "", (_flag("IsPublic", is_public),))


def _flag(name: str, value: bool) -> Tree:
    return Tree(name, "true" if value else "false")
