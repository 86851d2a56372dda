"""Every operation of S3: how it is distinguished from the others, and whether it is implemented.

The table drives the router and docs/s3-compatibility.md. An operation that is not implemented has
its row all the same, so that its request is answered 501 and never mistaken for another: a
``PUT ?acl`` that fell through to PutObject would destroy the object.

Source: Amazon S3 API Reference, "Actions".
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from common.data_classes import dataclass
from gateway.authorization import Action


class Scope(Enum):
    """The kind of resource that a request's path names."""

    SERVICE = "service"
    BUCKET = "bucket"
    OBJECT = "object"


@dataclass(frozen=True, slots=True)
class Operation:
    """A row of the table.

    ``selectors``: query parameters that must be there; ``name=value`` where the value counts.
    ``header``: a header that must be there. Of rows that fit a request, the one with the most
    selectors and headers is meant. ``parameters``: further query parameters that it understands.
    ``required``: those of them that must be there. ``action``: what must be allowed; an operation
    without one is not implemented. ``answer``: for the documentation: what it says
    when all is well, or 501.
    """

    name: str
    scope: Scope
    method: str
    selectors: tuple[str, ...] = ()
    header: bytes | None = None
    action: Action | None = None
    parameters: frozenset[str] = frozenset()
    answer: int = 501
    note: str = ""
    required: frozenset[str] = frozenset()

    @property
    def implemented(self) -> bool:
        """Return whether it has a handler."""
        return self.action is not None

    @property
    def is_form(self) -> bool:
        """Return whether its fields, and not its headers, prove the caller and name the object."""
        return self.name == "PostObject"

    @property
    def is_preflight(self) -> bool:
        """Return whether it is a browser's question about a request that is still to come: it
        proves nothing and has no handler."""
        return self.method == "OPTIONS"

    @property
    def weight(self) -> int:
        """The specificity of the row: of rows that fit, the heaviest is meant."""
        return len(self.selectors) + (self.header is not None) + len(self.required)


def _yes(
    name: str,
    scope: Scope,
    method: str,
    action: Action,
    *selectors: str,
    header: bytes | None = None,
    parameters: str = "",
    answer: int = 200,
    note: str = "",
    required: str = "",
) -> Operation:
    return Operation(
        name,
        scope,
        method,
        selectors,
        header,
        action,
        frozenset(f"{parameters} {required}".split()),
        answer,
        note,
        frozenset(required.split()),
    )


def _preflight(name: str, scope: Scope, answer: int, note: str) -> Operation:
    return Operation(name, scope, "OPTIONS", answer=answer, note=note)


def _no(name: str, scope: Scope, method: str, *selectors: str, note: str = "") -> Operation:
    return Operation(name, scope, method, selectors, note=note)


_RESPONSE = (
    "response-cache-control response-content-disposition response-content-encoding "
    "response-content-language response-content-type response-expires"
)
_SERVICE, _BUCKET, _OBJECT = Scope.SERVICE, Scope.BUCKET, Scope.OBJECT

_IMPLEMENTED = (
    _yes(
        "ListBuckets",
        _SERVICE,
        "GET",
        Action.LIST_BUCKETS,
        parameters="prefix continuation-token max-buckets bucket-region",
    ),
    _yes("CreateBucket", _BUCKET, "PUT", Action.CREATE_BUCKET),
    _yes("HeadBucket", _BUCKET, "HEAD", Action.READ_BUCKET),
    _yes(
        "DeleteBucket",
        _BUCKET,
        "DELETE",
        Action.DELETE_BUCKET,
        answer=204,
        note="drops uploads in progress",
    ),
    _yes("GetBucketLocation", _BUCKET, "GET", Action.READ_BUCKET, "location"),
    _yes(
        "GetBucketVersioning",
        _BUCKET,
        "GET",
        Action.READ_BUCKET_SETTINGS,
        "versioning",
    ),
    _yes(
        "PutBucketVersioning",
        _BUCKET,
        "PUT",
        Action.WRITE_BUCKET_SETTINGS,
        "versioning",
        note="`MfaDelete` is not implemented",
    ),
    _yes(
        "ListObjects",
        _BUCKET,
        "GET",
        Action.LIST_OBJECTS,
        parameters="prefix delimiter encoding-type marker max-keys",
    ),
    _yes(
        "ListObjectsV2",
        _BUCKET,
        "GET",
        Action.LIST_OBJECTS,
        "list-type=2",
        parameters="prefix delimiter encoding-type continuation-token start-after fetch-owner "
        "max-keys",
    ),
    _yes(
        "ListMultipartUploads",
        _BUCKET,
        "GET",
        Action.LIST_UPLOADS,
        "uploads",
        parameters="prefix delimiter encoding-type key-marker upload-id-marker max-uploads",
    ),
    _yes(
        "ListObjectVersions",
        _BUCKET,
        "GET",
        Action.LIST_OBJECT_VERSIONS,
        "versions",
        parameters="prefix delimiter encoding-type key-marker version-id-marker max-keys",
    ),
    _yes("DeleteObjects", _BUCKET, "POST", Action.DELETE_BATCH, "delete"),
    _yes("PostObject", _BUCKET, "POST", Action.WRITE_OBJECT, answer=204, note="see Forms"),
    _yes("PutObject", _OBJECT, "PUT", Action.WRITE_OBJECT),
    _yes("CopyObject", _OBJECT, "PUT", Action.WRITE_OBJECT, header=b"x-amz-copy-source"),
    _yes("RenameObject", _OBJECT, "PUT", Action.WRITE_OBJECT, "renameObject", note="see Renaming"),
    _yes(
        "GetObject",
        _OBJECT,
        "GET",
        Action.READ_OBJECT,
        parameters="versionId partNumber " + _RESPONSE,
    ),
    _yes(
        "HeadObject",
        _OBJECT,
        "HEAD",
        Action.READ_OBJECT,
        parameters="versionId partNumber " + _RESPONSE,
    ),
    _yes(
        "GetObjectAttributes",
        _OBJECT,
        "GET",
        Action.READ_OBJECT,
        "attributes",
        parameters="versionId",
    ),
    _yes(
        "DeleteObject", _OBJECT, "DELETE", Action.DELETE_OBJECT, parameters="versionId", answer=204
    ),
    _yes("CreateMultipartUpload", _OBJECT, "POST", Action.WRITE_OBJECT, "uploads"),
    _yes("UploadPart", _OBJECT, "PUT", Action.WRITE_OBJECT, "uploadId", "partNumber"),
    _yes(
        "UploadPartCopy",
        _OBJECT,
        "PUT",
        Action.WRITE_OBJECT,
        "uploadId",
        "partNumber",
        header=b"x-amz-copy-source",
    ),
    _yes("CompleteMultipartUpload", _OBJECT, "POST", Action.WRITE_OBJECT, "uploadId"),
    _yes("AbortMultipartUpload", _OBJECT, "DELETE", Action.ABORT_UPLOAD, "uploadId", answer=204),
    _yes(
        "ListParts",
        _OBJECT,
        "GET",
        Action.LIST_PARTS,
        "uploadId",
        parameters="encoding-type part-number-marker max-parts",
    ),
)

# (names that begin with Get, Put, Delete; the query parameter) of what a bucket can be configured
# with; "GPD" says which of the three there are.
_BUCKET_SETTINGS = (
    ("BucketAbac", "abac", "GP"),
    ("BucketAccelerateConfiguration", "accelerate", "GP"),
    ("BucketAcl", "acl", "GP"),
    ("BucketAnalyticsConfiguration", "analytics", "GPD"),
    ("BucketCors", "cors", "GPD"),
    ("BucketEncryption", "encryption", "GPD"),
    ("BucketIntelligentTieringConfiguration", "intelligent-tiering", "GPD"),
    ("BucketInventoryConfiguration", "inventory", "GPD"),
    ("BucketLifecycle", "lifecycle", "GPD"),
    ("BucketLifecycleConfiguration", "lifecycle", "GP"),
    ("BucketLogging", "logging", "GP"),
    ("BucketMetadataConfiguration", "metadataConfiguration", "GD"),
    ("BucketMetadataTableConfiguration", "metadataTable", "GD"),
    ("BucketMetricsConfiguration", "metrics", "GPD"),
    ("BucketNotification", "notification", "GP"),
    ("BucketNotificationConfiguration", "notification", "GP"),
    ("BucketOwnershipControls", "ownershipControls", "GPD"),
    ("BucketPolicy", "policy", "GPD"),
    ("BucketPolicyStatus", "policyStatus", "G"),
    ("BucketReplication", "replication", "GPD"),
    ("BucketRequestPayment", "requestPayment", "GP"),
    ("BucketTagging", "tagging", "GPD"),
    ("BucketWebsite", "website", "GPD"),
    ("ObjectLockConfiguration", "object-lock", "GP"),
    ("PublicAccessBlock", "publicAccessBlock", "GPD"),
)
_OBJECT_SETTINGS = (
    ("ObjectAcl", "acl", "GP"),
    ("ObjectAnnotation", "annotation", "GPD"),
    ("ObjectLegalHold", "legal-hold", "GP"),
    ("ObjectRetention", "retention", "GP"),
    ("ObjectTagging", "tagging", "GPD"),
    ("ObjectTorrent", "torrent", "G"),
)
_METHODS = {"G": ("Get", "GET"), "P": ("Put", "PUT"), "D": ("Delete", "DELETE")}
_CONFIGURED: Mapping[str, tuple[int, str]] = {
    "DeleteBucketCors": (204, ""),
    "DeleteBucketLifecycle": (204, ""),
    "DeleteBucketOwnershipControls": (204, "leaves ObjectWriter"),
    "DeleteBucketPolicy": (204, ""),
    "DeleteBucketTagging": (204, ""),
    "DeleteBucketWebsite": (204, ""),
    "DeleteObjectTagging": (204, ""),
    "DeletePublicAccessBlock": (204, ""),
    "GetBucketAcl": (200, "see Access control lists"),
    "GetBucketCors": (200, ""),
    "GetBucketLifecycle": (200, "as GetBucketLifecycleConfiguration"),
    "GetBucketLifecycleConfiguration": (200, ""),
    "GetBucketLogging": (200, "see Access logs"),
    "GetBucketNotification": (200, "as GetBucketNotificationConfiguration"),
    "GetBucketNotificationConfiguration": (200, "see Event notifications"),
    "GetBucketOwnershipControls": (200, "BucketOwnerEnforced until another is set"),
    "GetBucketPolicy": (200, ""),
    "GetBucketPolicyStatus": (200, ""),
    "GetBucketTagging": (200, ""),
    "GetBucketWebsite": (200, ""),
    "GetObjectAcl": (200, "see Access control lists"),
    "GetObjectLegalHold": (200, "see Locks"),
    "GetObjectLockConfiguration": (200, "see Locks"),
    "GetObjectRetention": (200, "see Locks"),
    "GetObjectTagging": (200, ""),
    "GetPublicAccessBlock": (200, "all four are true until one is set"),
    "PutBucketAcl": (200, "see Access control lists"),
    "PutBucketCors": (200, ""),
    "PutBucketLifecycle": (200, "as PutBucketLifecycleConfiguration"),
    "PutBucketLifecycleConfiguration": (200, "see Lifecycle"),
    "PutBucketLogging": (200, "see Access logs"),
    "PutBucketNotification": (200, "as PutBucketNotificationConfiguration"),
    "PutBucketNotificationConfiguration": (200, "to webhooks; see Event notifications"),
    "PutBucketOwnershipControls": (200, ""),
    "PutBucketPolicy": (204, ""),
    "PutBucketTagging": (204, ""),
    "PutBucketWebsite": (200, "see Websites"),
    "PutObjectAcl": (200, "see Access control lists"),
    "PutObjectLegalHold": (200, "see Locks"),
    "PutObjectLockConfiguration": (200, "see Locks"),
    "PutObjectRetention": (200, "see Locks"),
    "PutObjectTagging": (200, ""),
    "PutPublicAccessBlock": (200, ""),
}
"""Status and note of operations on configurations that can be set."""
_NEVER_SET: Mapping[str, tuple[int, str]] = {
    "GetBucketAbac": (200, "always: `Disabled`"),
    "GetBucketAccelerateConfiguration": (200, "always: empty"),
    "GetBucketAnalyticsConfiguration": (404, "always: NoSuchConfiguration"),
    "GetBucketEncryption": (200, ""),
    "GetBucketIntelligentTieringConfiguration": (404, "always: NoSuchConfiguration"),
    "GetBucketInventoryConfiguration": (404, "always: NoSuchConfiguration"),
    "GetBucketMetricsConfiguration": (404, "always: NoSuchConfiguration"),
    "GetBucketReplication": (404, "always: ReplicationConfigurationNotFoundError"),
    "GetBucketRequestPayment": (200, "always: BucketOwner"),
    "DeleteBucketAnalyticsConfiguration": (404, "always: NoSuchConfiguration"),
    "DeleteBucketEncryption": (204, "AES256 again"),
    "DeleteBucketIntelligentTieringConfiguration": (404, "always: NoSuchConfiguration"),
    "DeleteBucketInventoryConfiguration": (404, "always: NoSuchConfiguration"),
    "DeleteBucketMetricsConfiguration": (404, "always: NoSuchConfiguration"),
    "DeleteBucketReplication": (204, "there is none"),
    "PutBucketEncryption": (200, "AES256, aws:kms with named keys"),
    "PutBucketRequestPayment": (200, "only BucketOwner; else 501"),
}
"""Status and note of operations on configurations that were never set (handlers/unset.py)."""
_BY_ID = frozenset({"analytics", "intelligent-tiering", "inventory", "metrics"})
"""Configurations of which a bucket may have many, each with an ``id``."""
_ACCESS: Final = frozenset(
    {"acl", "ownershipControls", "policy", "policyStatus", "publicAccessBlock"}
)
"""Configurations that say who may do what."""
_SETTING_ACTIONS: Final[Mapping[tuple[Scope, bool, bool], Action]] = {
    (Scope.BUCKET, False, True): Action.READ_BUCKET_SETTINGS,
    (Scope.BUCKET, False, False): Action.WRITE_BUCKET_SETTINGS,
    (Scope.BUCKET, True, True): Action.READ_BUCKET_ACCESS,
    (Scope.BUCKET, True, False): Action.WRITE_BUCKET_ACCESS,
    (Scope.OBJECT, False, True): Action.READ_OBJECT_SETTINGS,
    (Scope.OBJECT, False, False): Action.WRITE_OBJECT_SETTINGS,
    (Scope.OBJECT, True, True): Action.READ_OBJECT_ACCESS,
    (Scope.OBJECT, True, False): Action.WRITE_OBJECT_ACCESS,
}
"""By scope, whether it is about access, and whether it is read."""


def _settings(scope: Scope, rows: tuple[tuple[str, str, str], ...]) -> tuple[Operation, ...]:
    return tuple(
        _setting(_METHODS[letter][0] + name, scope, _METHODS[letter][1], selector)
        for name, selector, letters in rows
        for letter in letters
    )


def _setting(name: str, scope: Scope, method: str, selector: str) -> Operation:
    answer, note = _CONFIGURED.get(name) or _NEVER_SET.get(name) or (501, "")
    if answer == 501:
        return _no(name, scope, method, selector)
    return _yes(
        name,
        scope,
        method,
        _SETTING_ACTIONS[scope, selector in _ACCESS, method == "GET"],
        selector,
        parameters="versionId" if scope is Scope.OBJECT else "",
        required="id" if selector in _BY_ID else "",
        answer=answer,
        note=note,
    )


def _list_of_settings(name: str, selector: str) -> Operation:
    return _yes(
        name,
        _BUCKET,
        "GET",
        Action.READ_BUCKET_SETTINGS,
        selector,
        parameters="continuation-token",
        note="always: none",
    )


_SETTINGS = (
    *_settings(_BUCKET, _BUCKET_SETTINGS),
    *_settings(_OBJECT, _OBJECT_SETTINGS),
    _list_of_settings("ListBucketAnalyticsConfigurations", "analytics"),
    _list_of_settings("ListBucketIntelligentTieringConfigurations", "intelligent-tiering"),
    _list_of_settings("ListBucketInventoryConfigurations", "inventory"),
    _list_of_settings("ListBucketMetricsConfigurations", "metrics"),
)
_NOT_IMPLEMENTED = (
    _no("CreateBucketMetadataConfiguration", _BUCKET, "POST", "metadataConfiguration"),
    _no("CreateBucketMetadataTableConfiguration", _BUCKET, "POST", "metadataTable"),
    _no("CreateSession", _BUCKET, "GET", "session"),
    _no(
        "UpdateBucketMetadataAnnotationTableConfiguration",
        _BUCKET,
        "PUT",
        "metadataAnnotationTable",
    ),
    _no(
        "UpdateBucketMetadataInventoryTableConfiguration",
        _BUCKET,
        "PUT",
        "metadataInventoryTable",
    ),
    _no("UpdateBucketMetadataJournalTableConfiguration", _BUCKET, "PUT", "metadataJournalTable"),
    _no("ListObjectAnnotations", _OBJECT, "GET", "annotation"),
    _no("RestoreObject", _OBJECT, "POST", "restore"),
    _no("SelectObjectContent", _OBJECT, "POST", "select", "select-type=2"),
    _no("UpdateObjectEncryption", _OBJECT, "PUT", "encryption"),
    _no("ListDirectoryBuckets", _SERVICE, "GET", "x-id=ListDirectoryBuckets"),
    _no("WriteGetObjectResponse", _SERVICE, "POST", "x-id=WriteGetObjectResponse"),
)
_PREFLIGHTS = (
    _preflight("CorsPreflightService", _SERVICE, 403, "always: AccessForbidden"),
    _preflight("CorsPreflightBucket", _BUCKET, 200, "not signed; see Tags and CORS"),
    _preflight("CorsPreflightObject", _OBJECT, 200, "not signed; see Tags and CORS"),
)
PREFLIGHT_OF: Final[Mapping[Scope, str]] = {each.scope: each.name for each in _PREFLIGHTS}
"""The operation of a preflight request about a kind of resource."""

OPERATIONS: Final[tuple[Operation, ...]] = (
    *_IMPLEMENTED,
    *_SETTINGS,
    *_PREFLIGHTS,
    *_NOT_IMPLEMENTED,
)
BY_NAME: Final[Mapping[str, Operation]] = {each.name: each for each in OPERATIONS}
assert len(BY_NAME) == len(OPERATIONS), "two rows have one name"

_PLAIN: Final = frozenset({"partNumber", "list-type", "select-type", "x-id"})
SUBRESOURCES: Final = frozenset(
    selector
    for operation in OPERATIONS
    for selector in (each.partition("=")[0] for each in operation.selectors)
    if selector not in _PLAIN
)
"""Query parameters that make a request be about something else than the bucket or object."""
