"""Translation of each error of ours to the error of S3 that answers it.

What is unavailable or of unknown outcome is a 503, which clients repeat; what is corrupt beyond
repair or our own fault is a 500. Of refusals and of what does not exist every reason has its place
here: ``tests/gateway_s3/test_error_mapping.py`` compares the tables with the enumerations.

Source: docs/s3-compatibility.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Final

from common.data_classes import dataclass
from common.errors import AlvearyError, Corrupt, NotFound, OutcomeUnknown, Refused, Unavailable
from common.reasons import Absence, Damage, Outage, Reason, Refusal
from gateway_s3 import errors
from gateway_s3.errors import ErrorCode, S3Error


@dataclass(frozen=True, slots=True)
class _Answer:
    """S3's answer to a reason of ours. ``message`` and the ``facts`` (S3's elements) are templates
    over the error's fields. Where the error lacks a field, the code's own message is given, and the
    fact is left out: an error of a coordinator has fewer fields than one of this gateway."""

    code: ErrorCode
    message: str | None = None
    facts: Mapping[str, str] = field(default_factory=dict)

    def error(self, fields: Mapping[str, object]) -> S3Error:
        """The error to answer with."""
        facts = {name: _filled(template, fields) for name, template in self.facts.items()}
        message = None if self.message is None else _filled(self.message, fields)
        return S3Error(
            self.code, message, **{name: fact for name, fact in facts.items() if fact is not None}
        )


def _filled(template: str, fields: Mapping[str, object]) -> str | None:
    try:
        return template.format_map(fields)
    except KeyError:
        return None


REFUSED: Final[Mapping[str, ErrorCode | _Answer]] = {
    Refusal.ACCESS_DENIED: errors.ACCESS_DENIED,
    Refusal.BAD_CHUNK: errors.INVALID_REQUEST,
    Refusal.BAD_NAME: errors.INVALID_REQUEST,
    Refusal.BAD_PART_NUMBER: errors.INVALID_ARGUMENT,
    Refusal.BELOW_QUORUM: errors.SERVICE_UNAVAILABLE,
    Refusal.BODY_TIMEOUT: errors.REQUEST_TIMEOUT,
    Refusal.BODY_TOO_LARGE: errors.MAX_MESSAGE_LENGTH_EXCEEDED,
    Refusal.BODY_TOO_LONG: _Answer(errors.INCOMPLETE_BODY, "The body is longer than promised."),
    Refusal.BODY_TOO_SHORT: errors.INCOMPLETE_BODY,
    Refusal.BUCKET_EXISTS: errors.BUCKET_ALREADY_EXISTS,
    Refusal.BUCKET_HAS_LOCKS: _Answer(
        errors.INVALID_BUCKET_STATE,
        "An Object Lock configuration is present on this bucket, so the versioning state cannot be "
        "changed.",
    ),
    Refusal.BUCKET_NOT_EMPTY: errors.BUCKET_NOT_EMPTY,
    Refusal.BUCKET_OWNED: errors.BUCKET_ALREADY_OWNED_BY_YOU,
    Refusal.CANCELLED: errors.SERVICE_UNAVAILABLE,
    Refusal.CONDITION_FAILED: errors.PRECONDITION_FAILED,
    Refusal.ETAG_DIFFERS: _Answer(errors.PRECONDITION_FAILED, facts={"Condition": "If-Match"}),
    Refusal.LEASE_ENDED: errors.SERVICE_UNAVAILABLE,
    Refusal.MALFORMED_POLICY: _Answer(errors.MALFORMED_POLICY, "{detail}"),
    Refusal.NAMED_KEY_DISABLED: _Answer(errors.KMS_DISABLED, "Key '{key}' is disabled."),
    Refusal.NOT_OWNER: errors.ACCESS_DENIED,
    Refusal.NOT_VERSIONED: _Answer(
        errors.INVALID_BUCKET_STATE,
        "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration",
    ),
    Refusal.NO_LOCKS: _Answer(
        errors.INVALID_REQUEST, "Bucket is missing Object Lock Configuration"
    ),
    Refusal.NO_SUCH_TENANT: errors.ACCESS_DENIED,
    Refusal.MARKER_MISSING: errors.OPERATION_ABORTED,
    Refusal.OBJECT_EXISTS: _Answer(
        errors.PRECONDITION_FAILED, facts={"Condition": "If-None-Match"}
    ),
    Refusal.OBJECT_TOO_LARGE: _Answer(errors.ENTITY_TOO_LARGE, facts={"MaxSizeAllowed": "{most}"}),
    Refusal.PART_CHECKSUM_DIFFERS: _Answer(
        errors.BAD_DIGEST,
        "The {algorithm} you specified for part {part} did not match what we received.",
    ),
    Refusal.PART_CHECKSUM_MISSING: _Answer(
        errors.INVALID_REQUEST,
        "The upload was created using a {algorithm} checksum. The complete request must include "
        "the checksum for each part. It was missing for part {part} in the request.",
    ),
    Refusal.PART_TOO_SMALL: _Answer(
        errors.ENTITY_TOO_SMALL,
        facts={
            "ProposedSize": "{size}",
            "MinSizeAllowed": "{least}",
            "PartNumber": "{part}",
            "ETag": "{etag}",
        },
    ),
    Refusal.OBJECT_KEY_MISSING: _Answer(
        errors.INVALID_REQUEST,
        "The object was stored using a form of Server Side Encryption. The correct parameters must "
        "be provided to retrieve the object.",
    ),
    Refusal.OBJECT_KEY_NOT_NEEDED: _Answer(
        errors.INVALID_REQUEST, "The encryption parameters are not applicable to this object."
    ),
    Refusal.RECORD_TOO_LARGE: errors.METADATA_TOO_LARGE,
    Refusal.RETENTION_OVER: _Answer(
        errors.INVALID_ARGUMENT, "The retain until date must be in the future!"
    ),
    Refusal.SEGMENT_ABANDONED: errors.SERVICE_UNAVAILABLE,
    Refusal.SEGMENT_EXISTS: errors.OPERATION_ABORTED,
    Refusal.SETTINGS_CHANGED: errors.OPERATION_ABORTED,
    Refusal.SOURCE_CONDITION_FAILED: _Answer(
        errors.PRECONDITION_FAILED, facts={"Condition": "x-amz-copy-source-If-"}
    ),
    Refusal.TENANT_NOT_OPEN: errors.SERVICE_UNAVAILABLE,
    Refusal.TOO_LARGE: errors.ENTITY_TOO_LARGE,
    Refusal.QUOTA_EXCEEDED: errors.QUOTA_EXCEEDED,
    Refusal.TOO_MANY_BUCKETS: errors.TOO_MANY_BUCKETS,
    Refusal.TOO_MANY_CONNECTIONS: errors.SERVICE_UNAVAILABLE,
    Refusal.TOO_MANY_LEASES: errors.SERVICE_UNAVAILABLE,
    Refusal.TOO_MANY_TENANTS: errors.SERVICE_UNAVAILABLE,
    # S3 has no such limit and no code for it. Not one that clients repeat: it would not help.
    Refusal.TOO_MANY_UPLOADS: _Answer(
        errors.INVALID_REQUEST,
        "You have attempted to begin more multipart uploads than allowed. Complete or abort some "
        "of those in progress.",
    ),
    Refusal.UPLOAD_EXISTS: errors.OPERATION_ABORTED,
    Refusal.VERSION_EXISTS: errors.OPERATION_ABORTED,
    Refusal.VERSION_LOCKED: _Answer(
        errors.ACCESS_DENIED, "Access Denied because object protected by object lock."
    ),
    Refusal.WRONG_OBJECT_KEY: _Answer(
        errors.ACCESS_DENIED,
        "Requests specifying Server Side Encryption with Customer provided keys must provide the "
        "correct secret key.",
    ),
    Refusal.WRITE_CONFLICT: errors.CONDITIONAL_REQUEST_CONFLICT,
}

NOT_FOUND: Final[Mapping[str, ErrorCode | _Answer]] = {
    Absence.DELETE_MARKER: errors.NO_SUCH_KEY,
    Absence.NO_SUCH_ACCESS_KEY: errors.INVALID_ACCESS_KEY_ID,
    Absence.NO_SUCH_BUCKET: errors.NO_SUCH_BUCKET,
    Absence.NO_SUCH_NAMED_KEY: _Answer(errors.KMS_NOT_FOUND, "Key '{key}' does not exist"),
    Absence.NO_SUCH_OBJECT: errors.NO_SUCH_KEY,
    Absence.NO_SUCH_PART: _Answer(
        errors.INVALID_PART, facts={"PartNumber": "{part}", "ETag": "{etag}"}
    ),
    Absence.NO_SUCH_SEGMENT: errors.OPERATION_ABORTED,
    Absence.NO_SUCH_TENANT: errors.ACCESS_DENIED,
    Absence.NO_SUCH_UPLOAD: _Answer(errors.NO_SUCH_UPLOAD, facts={"UploadId": "{upload_id}"}),
    Absence.NO_SUCH_VERSION: errors.NO_SUCH_VERSION,
}

_DAMAGED: Final = "The object's data could not be read intact."
_DATA_LOST: Final = (
    "The object's data is lost: fewer shards of it are left than are needed to read it. "
    "A retry does not help."
)

UNAVAILABLE: Final[Mapping[str, ErrorCode | _Answer]] = {
    Outage.CLIENT_GONE: errors.REQUEST_TIMEOUT,
    Outage.TOO_BUSY: errors.SLOW_DOWN,
    Outage.SHARE_USED: errors.SLOW_DOWN,
}
"""The others are ServiceUnavailable."""

NOT_THE_CLIENTS: Final[frozenset[Reason]] = frozenset(
    {
        Absence.NO_SUCH_AUDIT,
        Absence.NO_SUCH_CELL,
        Absence.NO_SUCH_CLASS,
        Absence.NO_SUCH_FILE,
        Absence.NO_SUCH_INVITE,
        Absence.NO_SUCH_KEY,
        Absence.NO_SUCH_POLICY,
        Absence.NO_SUCH_ROSTER,
        Absence.NO_SUCH_SHARD,
        Absence.NO_SUCH_USER,
        Absence.NO_SUCH_USER_KEY,
        Refusal.AUDIT_ANSWERED,
        Refusal.AUDIT_LATE,
        Refusal.ACCESS_KEY_EXISTS,
        Refusal.AMBIGUOUS_CELL,
        Refusal.BAD_COUNT,
        Refusal.CLASS_EXISTS,
        Refusal.CLASS_IN_USE,
        Refusal.CLASS_NOT_WRITABLE,
        Refusal.BAD_JSON,
        Refusal.BAD_PAGES,
        Refusal.BAD_PROOF,
        Refusal.BAD_RANGE,
        Refusal.BAD_RINGS,
        Refusal.BAD_SEGMENT,
        Refusal.BAD_SEGMENT_SIZE,
        Refusal.BAD_SETTLE_REPLY,
        Refusal.BAD_SHAPE,
        Refusal.BAD_TOKEN,
        Refusal.CHARTER_CHANGED,
        Refusal.BAD_UNIT_LENGTH,
        Refusal.BAD_VALUE,
        Refusal.CELL_IS_NEEDED,
        Refusal.CELL_REMOVED,
        Refusal.JOURNAL_EPOCH,
        Refusal.KEY_RING_CHANGED,
        Refusal.KEY_RING_FULL,
        Refusal.NAMED_KEY_EXISTS,
        Refusal.JOURNAL_HELD,
        Refusal.JOURNAL_GAP,
        Refusal.NOT_ADVERTISED,
        Refusal.NOT_A_CELL,
        Refusal.NOT_A_COORDINATOR,
        Refusal.NOT_GRANTED,
        Refusal.NOT_LEADER,
        Refusal.NOT_LEASE_OWNER,
        Refusal.ORDER_EXCEEDED,
        Refusal.ORDER_EXPIRED,
        Refusal.ORDER_INVALID,
        Refusal.ORDER_NOT_YOURS,
        Refusal.ORDER_SUPERSEDED,
        Refusal.ORDER_WRONG_ACTION,
        Refusal.POLICY_ATTACHED,
        Refusal.PROOF_INVALID,
        Refusal.ROSTER_CHANGED,
        Refusal.ROSTER_FULL,
        Refusal.SHARD_EXISTS,
        Refusal.STRANGER,
        Refusal.TENANT_EXISTS,
        Refusal.TENANT_NOT_EMPTY,
        Refusal.TOO_MANY_ACCESS_KEYS,
        Refusal.TOO_MANY_CELLS,
        Refusal.TOO_MANY_CLASSES,
        Refusal.UNAUTHORIZED,
        Refusal.UNIT_OUT_OF_ORDER,
        Refusal.UNKNOWN_REQUEST,
        Refusal.UPLOAD_INCOMPLETE,
        Refusal.UPLOAD_NUMBER_TAKEN,
        Refusal.UPLOAD_OVER,
        Refusal.USER_EXISTS,
        Refusal.WRONG_VERSION,
    }
)
"""No request of a client leads to these: cells, joining, the operators' API and the protocol have
them. A gateway that meets one has a bug, or its coordinator has: InternalError, and a warning."""


def from_error(error: AlvearyError) -> S3Error:
    """Return the S3 error that answers a request which one of our errors ended.

    Fields of our error are shown only where the tables say so. A refusal whose reason this version
    does not know is an InternalError.
    """
    if isinstance(error, S3Error):
        return error
    answer: ErrorCode | _Answer = errors.INTERNAL_ERROR
    if isinstance(error, Refused):
        answer = REFUSED.get(error.reason, answer)
    elif isinstance(error, NotFound):
        answer = NOT_FOUND.get(error.reason, answer)
    elif isinstance(error, Unavailable):
        answer = UNAVAILABLE.get(error.reason, errors.SERVICE_UNAVAILABLE)
    elif isinstance(error, OutcomeUnknown):
        answer = errors.SERVICE_UNAVAILABLE
    elif isinstance(error, Corrupt):
        lost = error.reason == Damage.DATA_LOST
        answer = _Answer(errors.INTERNAL_ERROR, _DATA_LOST if lost else _DAMAGED)
    return S3Error(answer) if isinstance(answer, ErrorCode) else answer.error(error.fields)
