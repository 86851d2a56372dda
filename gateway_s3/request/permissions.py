"""Permissions that a policy must give for each operation.

Source: Amazon S3 User Guide, "Required permissions for Amazon S3 API operations".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from common.http.records import HttpRequest
from gateway.access.permissions import ALL, OF_OBJECTS
from gateway.authorization import PERMISSIONS, Action
from gateway_s3.request.acl import OWNERSHIP, has_acl_headers
from gateway_s3.request.locks import HOLD, MODE, asks_bypass, asks_locks
from gateway_s3.request.operations import OPERATIONS, Operation
from gateway_s3.request.query import Query

_RENAMED: Final[Mapping[str, str]] = {
    "DeleteBucketAnalyticsConfiguration": "PutAnalyticsConfiguration",
    "DeleteBucketCors": "PutBucketCORS",
    "DeleteBucketEncryption": "PutEncryptionConfiguration",
    "DeleteBucketIntelligentTieringConfiguration": "PutIntelligentTieringConfiguration",
    "DeleteBucketInventoryConfiguration": "PutInventoryConfiguration",
    "DeleteBucketLifecycle": "PutLifecycleConfiguration",
    "DeleteBucketMetricsConfiguration": "PutMetricsConfiguration",
    "DeleteBucketOwnershipControls": "PutBucketOwnershipControls",
    "DeleteBucketReplication": "PutReplicationConfiguration",
    "DeleteBucketTagging": "PutBucketTagging",
    "DeletePublicAccessBlock": "PutBucketPublicAccessBlock",
    "GetBucketAccelerateConfiguration": "GetAccelerateConfiguration",
    "GetBucketAnalyticsConfiguration": "GetAnalyticsConfiguration",
    "GetBucketCors": "GetBucketCORS",
    "GetBucketEncryption": "GetEncryptionConfiguration",
    "GetBucketIntelligentTieringConfiguration": "GetIntelligentTieringConfiguration",
    "GetBucketInventoryConfiguration": "GetInventoryConfiguration",
    "GetBucketLifecycle": "GetLifecycleConfiguration",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "GetBucketMetricsConfiguration": "GetMetricsConfiguration",
    "GetBucketNotificationConfiguration": "GetBucketNotification",
    "GetBucketReplication": "GetReplicationConfiguration",
    "GetObjectLockConfiguration": "GetBucketObjectLockConfiguration",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
    "ListBucketAnalyticsConfigurations": "GetAnalyticsConfiguration",
    "ListBucketIntelligentTieringConfigurations": "GetIntelligentTieringConfiguration",
    "ListBucketInventoryConfigurations": "GetInventoryConfiguration",
    "ListBucketMetricsConfigurations": "GetMetricsConfiguration",
    "ListObjectVersions": "ListBucketVersions",
    "PutBucketAccelerateConfiguration": "PutAccelerateConfiguration",
    "PutBucketAnalyticsConfiguration": "PutAnalyticsConfiguration",
    "PutBucketCors": "PutBucketCORS",
    "PutBucketEncryption": "PutEncryptionConfiguration",
    "PutBucketIntelligentTieringConfiguration": "PutIntelligentTieringConfiguration",
    "PutBucketInventoryConfiguration": "PutInventoryConfiguration",
    "PutBucketLifecycle": "PutLifecycleConfiguration",
    "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
    "PutBucketMetricsConfiguration": "PutMetricsConfiguration",
    "PutBucketNotificationConfiguration": "PutBucketNotification",
    "PutBucketReplication": "PutReplicationConfiguration",
    "PutObjectLockConfiguration": "PutBucketObjectLockConfiguration",
    "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
}
"""Operations whose permission has another name than their own or that of their action."""
BYPASS: Final = "s3:BypassGovernanceRetention"
_OF_HEADERS: Final[Mapping[bytes, str]] = {
    b"x-amz-acl": "s3:PutObjectAcl",
    HOLD: "s3:PutObjectLegalHold",
    MODE: "s3:PutObjectRetention",
    b"x-amz-tagging": "s3:PutObjectTagging",
    **{
        b"x-amz-grant-" + name: "s3:PutObjectAcl"
        for name in (b"full-control", b"read", b"read-acp", b"write", b"write-acp")
    },
}
"""Headers that ask for more than the operation does by itself."""
_WITH_HEADERS: Final = frozenset({"PutObject", "PostObject", "CopyObject", "CreateMultipartUpload"})
_WITH_BYPASS: Final = frozenset({"DeleteObject", "PutObjectRetention"})
_WITH_CONDITION: Final = frozenset(
    {"PutObject", "CopyObject", "RenameObject", "CompleteMultipartUpload", "DeleteObject"}
)
"""Operations whose condition on an ETag shows something of the object, so it must be readable."""
_ALSO: Final[Mapping[str, tuple[str, ...]]] = {
    "GetObjectAttributes": ("s3:GetObject",),
    "RenameObject": ("s3:PutObject",),
}
"""Operations that need a further permission."""


def _permission(operation: Operation) -> str | None:
    action = operation.action
    if action is None or action is Action.DELETE_BATCH:
        return None
    for name in (_RENAMED.get(operation.name, operation.name), PERMISSIONS.get(action)):
        if name is not None and (whole := name if ":" in name else "s3:" + name) in ALL:
            return whole
    raise AssertionError(f"{operation.name} has no permission")


_PERMISSIONS: Final = {each.name: _permission(each) for each in OPERATIONS}


def of_version(permission: str) -> str:
    """Return the permission for a version that is named, where that is another than for the
    current one."""
    for verb in ("s3:Get", "s3:Put", "s3:Delete"):
        versioned = f"{verb}ObjectVersion{permission.removeprefix(verb + 'Object')}"
        if permission.startswith(verb + "Object") and versioned in OF_OBJECTS:
            return versioned
    return permission


def permissions_of(
    operation: Operation, query: Query, request: HttpRequest
) -> tuple[str | None, ...]:
    """Return the permissions that a request needs, all of them. None: no policy decides: a list of
    deletions needs a permission for each object."""
    name = operation.name
    permission = _PERMISSIONS[name]
    if permission is None:
        return (None,)
    if query.pairs and query.get("versionId") is not None:
        permission = of_version(permission)
        needed = [permission, *map(of_version, _ALSO.get(name, ()))]
    else:
        needed = [permission, *_ALSO.get(name, ())]
    if name in _WITH_HEADERS:
        needed += [
            further
            for header, further in _OF_HEADERS.items()
            if request.header(header) and further not in needed
        ]
    elif name in _WITH_BYPASS and asks_bypass(request):
        needed.append(BYPASS)
    elif name == "CreateBucket":
        if asks_locks(request):
            needed += ["s3:PutBucketObjectLockConfiguration", "s3:PutBucketVersioning"]
        if request.header(OWNERSHIP):
            needed.append("s3:PutBucketOwnershipControls")
        if has_acl_headers(request):
            needed.append("s3:PutBucketAcl")
    if name in _WITH_CONDITION and (request.header(b"if-match") or b"*") != b"*":
        needed.append("s3:GetObject" if permission == _PERMISSIONS[name] else "s3:GetObjectVersion")
    return tuple(needed)
