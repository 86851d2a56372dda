"""S3's error codes, each with its status and message, and the error that carries one.

Source: Amazon S3 API Reference, "Error responses"; docs/s3-compatibility.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from common.data_classes import dataclass
from common.errors import AlvearyError


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """A row of the table: S3's word, the HTTP status, the message where none is given."""

    code: str
    status: int
    message: str


def _row(code: str, status: int, message: str) -> ErrorCode:
    return ErrorCode(code, status, message)


# --- who is asking ---------------------------------------------------------------------------
ACL_NOT_SUPPORTED: Final = _row(
    "AccessControlListNotSupported", 400, "The bucket does not allow ACLs"
)
ACCESS_DENIED: Final = _row("AccessDenied", 403, "Access Denied")
AUTHORIZATION_HEADER_MALFORMED: Final = _row(
    "AuthorizationHeaderMalformed", 400, "The authorization header that you provided is not valid."
)
AUTHORIZATION_QUERY_PARAMETERS_ERROR: Final = _row(
    "AuthorizationQueryParametersError", 400, "The authorization parameters are not valid."
)
INVALID_ACCESS_KEY_ID: Final = _row(
    "InvalidAccessKeyId",
    403,
    "The AWS Access Key Id you provided does not exist in our records.",
)
ACCESS_FORBIDDEN: Final = _row("AccessForbidden", 403, "Access Forbidden")
EXPIRED_TOKEN: Final = _row("ExpiredToken", 400, "The provided token has expired.")
INVALID_TOKEN: Final = _row(
    "InvalidToken", 400, "The provided token is malformed or otherwise not valid."
)
MISSING_SECURITY_HEADER: Final = _row(
    "MissingSecurityHeader", 400, "Your request is missing a required header."
)
REQUEST_TIME_TOO_SKEWED: Final = _row(
    "RequestTimeTooSkewed",
    403,
    "The difference between the request time and the current time is too large.",
)
SIGNATURE_DOES_NOT_MATCH: Final = _row(
    "SignatureDoesNotMatch",
    403,
    "The request signature we calculated does not match the signature you provided. "
    "Check your key and signing method.",
)
CONTENT_SHA256_MISMATCH: Final = _row(
    "XAmzContentSHA256Mismatch",
    400,
    "The provided 'x-amz-content-sha256' header does not match what was computed.",
)

INVALID_TARGET_BUCKET_FOR_LOGGING: Final = _row(
    "InvalidTargetBucketForLogging",
    400,
    "The target bucket for logging does not exist or is not owned by you.",
)

# --- what is asked ---------------------------------------------------------------------------
BAD_REQUEST: Final = _row("BadRequest", 400, "Bad Request")
BAD_DIGEST: Final = _row(
    "BadDigest",
    400,
    "The Content-MD5 or checksum value that you specified did not match what the server received.",
)
ENTITY_TOO_LARGE: Final = _row(
    "EntityTooLarge", 400, "Your proposed upload exceeds the maximum allowed object size."
)
ENTITY_TOO_SMALL: Final = _row(
    "EntityTooSmall",
    400,
    "Your proposed upload is smaller than the minimum allowed object size.",
)
HEADERS_TOO_LARGE: Final = _row(
    "RequestHeaderSectionTooLarge",
    400,
    "Your request header section exceeds the maximum allowed size.",
)
INCOMPLETE_BODY: Final = _row(
    "IncompleteBody",
    400,
    "You did not provide the number of bytes specified by the Content-Length HTTP header.",
)
INVALID_ARGUMENT: Final = _row("InvalidArgument", 400, "Invalid Argument")
INVALID_BUCKET_ACL_WITH_OWNERSHIP: Final = _row(
    "InvalidBucketAclWithObjectOwnership",
    400,
    "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
)
INVALID_BUCKET_ACL_WITH_BLOCK: Final = _row(
    "InvalidBucketAclWithBlockPublicAccessError",
    400,
    "Bucket cannot have public ACLs set with BlockPublicAccess enabled",
)
INVALID_BUCKET_NAME: Final = _row("InvalidBucketName", 400, "The specified bucket is not valid.")
INVALID_BUCKET_OWNER: Final = _row(
    "InvalidBucketOwnerAWSAccountID",
    400,
    "The value of the expected bucket owner parameter must be an AWS Account ID",
)
INVALID_CHUNK_SIZE: Final = _row(
    "InvalidChunkSizeError",
    403,
    "Only the last chunk is allowed to have a size less than 8192 bytes",
)
INVALID_DIGEST: Final = _row(
    "InvalidDigest", 400, "The Content-MD5 or checksum value that you specified is not valid."
)
INVALID_ENCRYPTION_ALGORITHM: Final = _row(
    "InvalidEncryptionAlgorithmError",
    400,
    "The encryption request that you specified is not valid. The valid value is AES256.",
)
KMS_DISABLED: Final = _row("KMS.DisabledException", 400, "The key is disabled.")
KMS_NOT_FOUND: Final = _row("KMS.NotFoundException", 400, "The key does not exist.")
INVALID_LOCATION_CONSTRAINT: Final = _row(
    "InvalidLocationConstraint", 400, "The specified location (Region) constraint is not valid."
)
INVALID_PART: Final = _row(
    "InvalidPart",
    400,
    "One or more of the specified parts could not be found. The part might not have been "
    "uploaded, or the specified entity tag might not have matched the part's entity tag.",
)
INVALID_PART_NUMBER: Final = _row(
    "InvalidPartNumber", 416, "The requested partnumber is not satisfiable"
)
INVALID_PART_ORDER: Final = _row(
    "InvalidPartOrder",
    400,
    "The list of parts was not in ascending order. Parts must be ordered by part number.",
)
INVALID_POLICY_DOCUMENT: Final = _row(
    "InvalidPolicyDocument",
    400,
    "The content of the form does not meet the conditions specified in the policy document.",
)
INVALID_RANGE: Final = _row("InvalidRange", 416, "The requested range is not satisfiable")
INVALID_REQUEST: Final = _row("InvalidRequest", 400, "Invalid Request")
INVALID_REDIRECT_LOCATION: Final = _row(
    "InvalidRedirectLocation",
    400,
    "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.",
)
INVALID_STORAGE_CLASS: Final = _row(
    "InvalidStorageClass", 400, "The storage class you specified is not valid."
)
INVALID_TAG: Final = _row("InvalidTag", 400, "The tag provided was not a valid tag.")
ILLEGAL_VERSIONING_CONFIGURATION: Final = _row(
    "IllegalVersioningConfigurationException",
    400,
    "The versioning configuration specified in the request is invalid.",
)
INVALID_URI: Final = _row("InvalidURI", 400, "Couldn't parse the specified URI.")
KEY_TOO_LONG: Final = _row("KeyTooLongError", 400, "Your key is too long")
MALFORMED_POST_REQUEST: Final = _row(
    "MalformedPOSTRequest",
    400,
    "The body of your POST request is not well-formed multipart/form-data.",
)
MALFORMED_POLICY: Final = _row("MalformedPolicy", 400, "Policy has invalid syntax.")
MALFORMED_TRAILER: Final = _row(
    "MalformedTrailerError",
    400,
    "The request contained trailing data that was not well-formed or did not conform to our "
    "published schema.",
)
MALFORMED_ACL: Final = _row(
    "MalformedACLError",
    400,
    "The XML you provided was not well-formed or did not validate against our published schema",
)
MALFORMED_XML: Final = _row(
    "MalformedXML",
    400,
    "The XML you provided was not well-formed or did not validate against our published schema",
)
MAX_MESSAGE_LENGTH_EXCEEDED: Final = _row(
    "MaxMessageLengthExceeded", 400, "Your request was too big."
)
MAX_POST_PRE_DATA_LENGTH_EXCEEDED: Final = _row(
    "MaxPostPreDataLengthExceeded",
    400,
    "Your POST request fields preceding the upload file were too large.",
)
METADATA_TOO_LARGE: Final = _row(
    "MetadataTooLarge",
    400,
    "Your metadata headers exceed the maximum allowed metadata size.",
)
METHOD_NOT_ALLOWED: Final = _row(
    "MethodNotAllowed", 405, "The specified method is not allowed against this resource."
)
MISSING_CONTENT_LENGTH: Final = _row(
    "MissingContentLength", 411, "You must provide the Content-Length HTTP header."
)
NOT_IMPLEMENTED: Final = _row(
    "NotImplemented",
    501,
    "A header or query you provided implies functionality that is not implemented.",
)
NOT_MODIFIED: Final = _row("NotModified", 304, "Not Modified")
PRECONDITION_FAILED: Final = _row(
    "PreconditionFailed", 412, "At least one of the pre-conditions you specified did not hold"
)
REQUEST_TIMEOUT: Final = _row(
    "RequestTimeout",
    400,
    "Your socket connection to the server was not read from or written to within the timeout "
    "period. Idle connections will be closed.",
)

# --- what is there ---------------------------------------------------------------------------
BUCKET_ALREADY_EXISTS: Final = _row(
    "BucketAlreadyExists",
    409,
    "The requested bucket name is not available. The bucket namespace is shared by all users of "
    "the system. Please select a different name and try again.",
)
BUCKET_ALREADY_OWNED_BY_YOU: Final = _row(
    "BucketAlreadyOwnedByYou",
    409,
    "Your previous request to create the named bucket succeeded and you already own it.",
)
BUCKET_NOT_EMPTY: Final = _row("BucketNotEmpty", 409, "The bucket you tried to delete is not empty")
CONDITIONAL_REQUEST_CONFLICT: Final = _row(
    "ConditionalRequestConflict",
    409,
    "The conditional request cannot succeed due to a conflicting operation against this resource.",
)
INVALID_BUCKET_STATE: Final = _row(
    "InvalidBucketState", 409, "The request is not valid with the current state of the bucket."
)
NO_SUCH_BUCKET_POLICY: Final = _row("NoSuchBucketPolicy", 404, "The bucket policy does not exist")
NO_SUCH_CONFIGURATION: Final = _row(
    "NoSuchConfiguration", 404, "The specified configuration does not exist."
)
NO_SUCH_CORS_CONFIGURATION: Final = _row(
    "NoSuchCORSConfiguration", 404, "The CORS configuration does not exist"
)
NO_SUCH_LIFECYCLE_CONFIGURATION: Final = _row(
    "NoSuchLifecycleConfiguration", 404, "The lifecycle configuration does not exist"
)
NO_SUCH_PUBLIC_ACCESS_BLOCK: Final = _row(
    "NoSuchPublicAccessBlockConfiguration",
    404,
    "The public access block configuration was not found",
)
NO_SUCH_TAG_SET: Final = _row("NoSuchTagSet", 404, "The TagSet does not exist")
OWNERSHIP_CONTROLS_NOT_FOUND: Final = _row(
    "OwnershipControlsNotFoundError", 404, "The bucket ownership controls were not found"
)
NO_SUCH_WEBSITE_CONFIGURATION: Final = _row(
    "NoSuchWebsiteConfiguration",
    404,
    "The specified bucket does not have a website configuration",
)
NO_SUCH_OBJECT_LOCK: Final = _row(
    "NoSuchObjectLockConfiguration",
    404,
    "The specified object does not have a ObjectLock configuration",
)
OBJECT_LOCK_CONFIGURATION_NOT_FOUND: Final = _row(
    "ObjectLockConfigurationNotFoundError",
    404,
    "Object Lock configuration does not exist for this bucket",
)
REPLICATION_CONFIGURATION_NOT_FOUND: Final = _row(
    "ReplicationConfigurationNotFoundError",
    404,
    "The replication configuration was not found",
)
NO_SUCH_BUCKET: Final = _row("NoSuchBucket", 404, "The specified bucket does not exist")
NO_SUCH_KEY: Final = _row("NoSuchKey", 404, "The specified key does not exist.")
NO_SUCH_UPLOAD: Final = _row(
    "NoSuchUpload",
    404,
    "The specified multipart upload does not exist. The upload ID may be invalid, or the upload "
    "may have been aborted or completed.",
)
NO_SUCH_VERSION: Final = _row("NoSuchVersion", 404, "The specified version does not exist.")
OPERATION_ABORTED: Final = _row(
    "OperationAborted",
    409,
    "A conflicting conditional operation is currently in progress against this resource. "
    "Please try again.",
)
QUOTA_EXCEEDED: Final = _row("QuotaExceeded", 403, "The quota of the bucket is exceeded.")
TOO_MANY_BUCKETS: Final = _row(
    "TooManyBuckets", 400, "You have attempted to create more buckets than allowed"
)

# --- what fails here -------------------------------------------------------------------------
INTERNAL_ERROR: Final = _row(
    "InternalError", 500, "We encountered an internal error. Please try again."
)
SERVICE_UNAVAILABLE: Final = _row("ServiceUnavailable", 503, "Service is unable to handle request.")
SLOW_DOWN: Final = _row("SlowDown", 503, "Please reduce your request rate.")

CODES: Final[Mapping[str, ErrorCode]] = {
    each.code: each for each in list(globals().values()) if isinstance(each, ErrorCode)
}


class S3Error(AlvearyError):
    """A request that gets one of S3's errors. Whether it may be repeated depends on the code, so it
    is no ``Refused`` and no ``Unavailable``.

    Args:
        code: a row of the table.
        message: for the client; the row's own where None.
        facts: elements that S3 puts beside the message (``Key=...``, ``BucketName=...``). Never a
            secret, a signature that we computed or a string to sign.
    """

    def __init__(self, code: ErrorCode, message: str | None = None, **facts: object) -> None:
        Exception.__init__(self, code.code)
        self.reason = code.code
        self.fields = facts
        self.code = code
        self.message = code.message if message is None else message
        self.headers: tuple[tuple[bytes, bytes], ...] = ()
        """Further headers of the answer."""

    def with_headers(self, headers: Iterable[tuple[bytes, bytes]]) -> S3Error:
        """Return this error, whose answer has these headers."""
        self.headers = tuple(headers)
        return self

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.code.status
