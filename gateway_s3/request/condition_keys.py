"""Condition keys: the facts that a policy of a bucket may ask about.

Source: AWS Service Authorization Reference, "Actions, resources, and condition keys for Amazon S3";
AWS IAM User Guide, "AWS global condition context keys".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.access.permissions import OF_BUCKETS, OF_OBJECTS, PREFIX
from gateway.access.policy import EXISTING_TAG, REQUEST_TAG
from gateway.access.policy_document import refuse

_KNOWN: Final = frozenset(
    [
        "aws:currenttime",
        "aws:epochtime",
        "aws:principalaccount",
        "aws:principalarn",
        "aws:principaltype",
        "aws:referer",
        "aws:requestedregion",
        "aws:resourceaccount",
        "aws:securetransport",
        "aws:sourceip",
        "aws:tokenissuetime",
        "aws:useragent",
        "aws:userid",
        "aws:username",
        "s3:authtype",
        "s3:delimiter",
        "s3:max-keys",
        "s3:prefix",
        "s3:resourceaccount",
        "s3:signatureage",
        "s3:signatureversion",
        "s3:versionid",
        "s3:x-amz-acl",
        "s3:x-amz-content-sha256",
        "s3:x-amz-copy-source",
        "s3:x-amz-grant-full-control",
        "s3:x-amz-grant-read",
        "s3:x-amz-grant-read-acp",
        "s3:x-amz-grant-write",
        "s3:x-amz-grant-write-acp",
        "s3:x-amz-metadata-directive",
        "s3:x-amz-object-ownership",
        "s3:x-amz-server-side-encryption",
        "s3:x-amz-server-side-encryption-aws-kms-key-id",
        "s3:x-amz-server-side-encryption-customer-algorithm",
        "s3:x-amz-storage-class",
        "s3:x-amz-website-redirect-location",
        "s3:requestobjecttagkeys",
        "s3:if-match",
        "s3:objectcreationoperation",
        "s3:if-none-match",
        "s3:object-lock-legal-hold",
        "s3:object-lock-mode",
        "s3:object-lock-remaining-retention-days",
        "s3:object-lock-retain-until-date",
    ]
)
"""Keys that a request of this gateway can have a value of."""
_ELSEWHERE: Final = frozenset(
    [
        "aws:calledvia",
        "aws:calledviafirst",
        "aws:calledvialast",
        "aws:federatedprovider",
        "aws:multifactorauthage",
        "aws:multifactorauthpresent",
        "aws:principalisawsservice",
        "aws:principalorgid",
        "aws:principalorgpaths",
        "aws:principalservicename",
        "aws:principalservicenameslist",
        "aws:resourceorgid",
        "aws:resourceorgpaths",
        "aws:sourceaccount",
        "aws:sourcearn",
        "aws:sourceidentity",
        "aws:sourceorgid",
        "aws:sourceorgpaths",
        "aws:sourceowner",
        "aws:sourcevpc",
        "aws:sourcevpce",
        "aws:viaawsservice",
        "aws:vpcsourceip",
        "s3:accessgrantsinstancearn",
        "s3:accesspointnetworkorigin",
        "s3:dataaccesspointaccount",
        "s3:dataaccesspointarn",
    ]
)
"""Keys of what does not exist here (networks, organizations, access points of AWS): no request has
a value of one, as none has on AWS that does not come that way."""
_TAGS: Final = (EXISTING_TAG, REQUEST_TAG, "aws:principaltag/")


def is_known(key: str) -> bool:
    """Return whether a policy may ask about a key.

    Args:
        key: as :func:`gateway.access.patterns.condition_key` has it.
    """
    if key in _KNOWN or key in _ELSEWHERE:
        return True
    return any(key.startswith(each) and len(key) > len(each) for each in _TAGS)


def _of(*names: str) -> frozenset[str]:
    return frozenset(PREFIX + name for name in names)


_OF_LISTINGS: Final = _of("ListBucket", "ListBucketVersions")
_OF_WRITES: Final = _of("PutObject")
_OF_ACLS: Final = _of(
    "CreateBucket", "PutBucketAcl", "PutObject", "PutObjectAcl", "PutObjectVersionAcl"
)
_LIMITED: Final[Mapping[str, frozenset[str]]] = {
    "s3:prefix": _OF_LISTINGS,
    "s3:delimiter": _OF_LISTINGS,
    "s3:max-keys": _OF_LISTINGS,
    "s3:versionid": frozenset(each for each in OF_OBJECTS if "Version" in each),
    "s3:x-amz-copy-source": _OF_WRITES,
    "s3:x-amz-metadata-directive": _OF_WRITES,
    "s3:x-amz-storage-class": _OF_WRITES,
    "s3:x-amz-server-side-encryption": _OF_WRITES,
    **{
        f"s3:x-amz-{name}": _OF_ACLS
        for name in (
            "acl",
            "grant-full-control",
            "grant-read",
            "grant-read-acp",
            "grant-write",
            "grant-write-acp",
        )
    },
}
"""The permissions that a key can be asked about with; any, where it is not here."""


def applies(key: str, permissions: frozenset[str]) -> bool:
    """Return whether a key can be asked about with one of these permissions at least."""
    if key.startswith("aws:"):
        return True
    if key.startswith((EXISTING_TAG, REQUEST_TAG)):
        return bool(permissions & OF_OBJECTS)
    limited = _LIMITED.get(key)
    return bool(permissions & (limited or OF_BUCKETS | OF_OBJECTS))


def check_condition(name: str, key: str, permissions: frozenset[str]) -> None:
    """Refuse a condition about something that no request has, or none with these permissions.

    Args:
        name: of the key, as written.
        key: as :func:`gateway.access.patterns.condition_key` has it.

    Raises:
        Refused: ``malformed_policy``.
    """
    if not is_known(key):
        refuse(f"Policy has an invalid condition key - {name[:128]}")
    if not applies(key, permissions):
        refuse("Conditions do not apply to combination of actions and resources in statement")
