"""Request headers that change what a request means, and what is done about each.

A header that asks for something we do not do must not be ignored: an object that its owner thinks
is locked, tagged or public would not be. Harmless values (the default, or what is true here anyway)
are accepted; the rest is 501 NotImplemented. Families of headers are refused by their prefix, so
that a new member of one is not ignored either.

Source: Amazon S3 API Reference, request headers of each action; docs/s3-compatibility.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from common.http.records import HttpRequest
from gateway_s3 import errors
from gateway_s3.errors import ErrorCode, S3Error
from gateway_s3.request import storage_classes
from gateway_s3.request.acl import CANNED, CANNED_NAMES, OWNERSHIP, OWNERSHIPS
from gateway_s3.request.customer_keys import NAMES as CUSTOMER_KEYS
from gateway_s3.request.customer_keys import PREFIX as CUSTOMER
from gateway_s3.request.encryption import AES256, BUCKET_KEY, KMS, METHOD, OF_NAMED_KEYS
from gateway_s3.request.locks import BYPASS, HOLD, MODE, OF_BUCKET, UNTIL
from gateway_s3.request.operations import BY_NAME

ANY: Final = frozenset({"*"})
_KMS: Final = KMS.encode()
_STANDARD: Final = storage_classes.STANDARD.encode()
_BOOLEANS: Final = frozenset({"true", "True", "TRUE", "false", "False", "FALSE"})

OF_RENAMES: Final = (
    b"x-amz-client-token",
    b"x-amz-rename-source",
    b"x-amz-rename-source-if-match",
    b"x-amz-rename-source-if-modified-since",
    b"x-amz-rename-source-if-none-match",
    b"x-amz-rename-source-if-unmodified-since",
)
ACCEPTED: Final[Mapping[bytes, frozenset[str]]] = {
    CANNED: CANNED_NAMES,
    b"x-amz-bucket-namespace": frozenset({"global"}),
    OF_BUCKET: _BOOLEANS,
    BYPASS: _BOOLEANS,
    b"x-amz-checksum-algorithm": ANY,
    b"x-amz-checksum-crc32": ANY,
    b"x-amz-checksum-crc32c": ANY,
    b"x-amz-checksum-crc64nvme": ANY,
    b"x-amz-checksum-mode": ANY,
    b"x-amz-checksum-sha1": ANY,
    b"x-amz-checksum-sha256": ANY,
    b"x-amz-checksum-type": ANY,
    b"x-amz-confirm-remove-self-bucket-access": frozenset({"true", "false"}),
    b"x-amz-copy-source": ANY,
    b"x-amz-copy-source-if-match": ANY,
    b"x-amz-copy-source-if-modified-since": ANY,
    b"x-amz-copy-source-if-none-match": ANY,
    b"x-amz-copy-source-if-unmodified-since": ANY,
    b"x-amz-copy-source-range": ANY,
    **dict.fromkeys(CUSTOMER_KEYS, ANY),
    b"x-amz-expected-bucket-owner": ANY,
    b"x-amz-max-parts": ANY,
    b"x-amz-grant-full-control": ANY,
    b"x-amz-grant-read": ANY,
    b"x-amz-grant-read-acp": ANY,
    b"x-amz-grant-write": ANY,
    b"x-amz-grant-write-acp": ANY,
    b"x-amz-metadata-directive": frozenset({"COPY", "REPLACE"}),
    b"x-amz-mp-object-size": ANY,
    b"x-amz-object-attributes": ANY,
    HOLD: ANY,
    MODE: ANY,
    UNTIL: ANY,
    OWNERSHIP: frozenset(OWNERSHIPS),
    b"x-amz-optional-object-attributes": ANY,
    b"x-amz-part-number-marker": ANY,
    **dict.fromkeys(OF_RENAMES, ANY),
    b"x-amz-request-payer": frozenset({"requester"}),
    b"x-amz-sdk-checksum-algorithm": ANY,
    METHOD: frozenset({AES256, KMS}),
    BUCKET_KEY: _BOOLEANS,
    **dict.fromkeys(OF_NAMED_KEYS, ANY),
    b"x-amz-skip-destination-validation": ANY,
    b"x-amz-source-expected-bucket-owner": ANY,
    storage_classes.HEADER: storage_classes.ACCEPTED,
    b"x-amz-tagging": ANY,
    b"x-amz-tagging-directive": frozenset({"COPY", "REPLACE"}),
    b"x-amz-transition-default-minimum-object-size": frozenset(
        {"all_storage_classes_128K", "varies_by_storage_class"}
    ),
    b"x-amz-website-redirect-location": ANY,
}
"""Headers of the refused families that are accepted, with the values that are. What an access
control list gives to whom is looked at once the bucket is known (request/acl.py)."""

REFUSED_FAMILIES: Final = (
    b"x-amz-acl",
    b"x-amz-bucket-",
    b"x-amz-bypass-",
    b"x-amz-checksum-",
    b"x-amz-client-token",
    b"x-amz-confirm-",
    b"x-amz-copy-source",
    b"x-amz-expected-bucket-owner",
    b"x-amz-grant-",
    b"x-amz-if-",
    b"x-amz-max-parts",
    b"x-amz-metadata-directive",
    b"x-amz-mfa",
    b"x-amz-mp-",
    b"x-amz-object-",
    b"x-amz-optional-object-attributes",
    b"x-amz-part-number-marker",
    b"x-amz-rename-",
    b"x-amz-request-payer",
    b"x-amz-sdk-checksum-",
    b"x-amz-server-side-encryption",
    b"x-amz-skip-destination-validation",
    b"x-amz-source-expected-bucket-owner",
    b"x-amz-storage-class",
    b"x-amz-tagging",
    b"x-amz-transition-",
    b"x-amz-website-",
    b"x-amz-write-offset-bytes",
)

_WRITES: Final = frozenset(
    {
        "CreateBucket",
        "DeleteBucket",
        "DeleteObjects",
        "AbortMultipartUpload",
        "PostObject",
        "PutObject",
        "CopyObject",
        "UploadPart",
        "UploadPartCopy",
        "CreateMultipartUpload",
        "CompleteMultipartUpload",
        "DeleteObject",
    }
)
_REFUSED_ON_WRITES: Final = (
    b"content-range",
    b"if-modified-since",
    b"if-range",
    b"if-unmodified-since",
)
"""Ignoring one of these would overwrite or delete what the client meant to protect."""

_SINGLE: Final = frozenset(
    {
        b"content-disposition",
        b"content-md5",
        b"content-type",
        b"expires",
        b"if-modified-since",
        b"if-range",
        b"if-unmodified-since",
        b"range",
    }
)
"""Headers with one value. Of two, one reader takes the first and the next one the last."""

_COPIES: Final = frozenset({"CopyObject", "UploadPartCopy"})
_MAKES: Final = frozenset({"PutObject", "CopyObject", "CreateMultipartUpload"})
_TAKES_CUSTOMER_KEYS: Final = frozenset(
    {
        "CompleteMultipartUpload",
        "CopyObject",
        "CreateMultipartUpload",
        "GetObject",
        "GetObjectAttributes",
        "HeadObject",
        "ListParts",
        "PutObject",
        "UploadPart",
        "UploadPartCopy",
    }
)
_EVERY: Final = frozenset(BY_NAME)
_MEANT_ON: Final[Mapping[bytes, frozenset[str]]] = {
    b"x-amz-max-parts": frozenset({"GetObjectAttributes"}),
    b"x-amz-object-attributes": frozenset({"GetObjectAttributes"}),
    b"x-amz-part-number-marker": frozenset({"GetObjectAttributes"}),
    b"x-amz-source-expected-bucket-owner": _COPIES,
    BYPASS: frozenset({"DeleteObject", "DeleteObjects", "PutObjectRetention"}),
    OF_BUCKET: frozenset({"CreateBucket"}),
    OWNERSHIP: frozenset({"CreateBucket"}),
    **dict.fromkeys((HOLD, MODE, UNTIL), _MAKES),
    **dict.fromkeys(OF_RENAMES, frozenset({"RenameObject"})),
    **dict.fromkeys(OF_NAMED_KEYS, _MAKES),
    **{name: _TAKES_CUSTOMER_KEYS for name in CUSTOMER_KEYS if name.startswith(CUSTOMER)},
    storage_classes.HEADER: _MAKES,
    b"x-amz-tagging": _MAKES,
    b"x-amz-transition-default-minimum-object-size": frozenset(
        {"PutBucketLifecycle", "PutBucketLifecycleConfiguration"}
    ),
    b"x-amz-website-redirect-location": _MAKES,
}
"""The operations on which a header means something, where it would be ignored on others."""
_CONDITIONAL: Final[Mapping[bytes, frozenset[str]]] = {
    b"if-match": frozenset({"PutObject", "CopyObject", "CompleteMultipartUpload", "DeleteObject"}),
    b"if-none-match": frozenset({"PutObject", "CopyObject", "CompleteMultipartUpload"}),
}
"""The writes on which a condition can be given; on other writes it is refused."""

_ENCRYPTIONS: Final = frozenset({"aws:kms:dsse", "aws:fsx"})
_WORDS: Final[Mapping[bytes, tuple[frozenset[str], ErrorCode]]] = {
    CANNED: (frozenset(), errors.INVALID_ARGUMENT),
    b"x-amz-metadata-directive": (frozenset(), errors.INVALID_ARGUMENT),
    OWNERSHIP: (frozenset(), errors.INVALID_ARGUMENT),
    METHOD: (_ENCRYPTIONS, errors.INVALID_ENCRYPTION_ALGORITHM),
    storage_classes.HEADER: (storage_classes.NOT_DONE, errors.INVALID_STORAGE_CLASS),
    b"x-amz-tagging-directive": (frozenset(), errors.INVALID_ARGUMENT),
    b"x-amz-transition-default-minimum-object-size": (frozenset(), errors.INVALID_ARGUMENT),
}
"""Headers whose values are words: those that S3 knows beyond the accepted ones, and what it says
to any other."""


LINES: Final = frozenset({b"x-amz-object-attributes", b"x-amz-optional-object-attributes"})
"""Lists of words, of which some clients (AWS's SDK for Go) send each word in a line of its own. The
lines mean the same as one line with commas, which is what is signed."""


def check_headers(request: HttpRequest, operation: str) -> None:
    """Refuse a request whose headers ask for what is not done here.

    Args:
        request: any.
        operation: the name of the operation it was routed to.

    Raises:
        S3Error: NotImplemented; InvalidArgument: a header given twice; InvalidArgument,
            InvalidStorageClass, InvalidEncryptionAlgorithmError: words that S3 does not know
            either.
    """
    seen: set[bytes] = set()
    writes = operation in _WRITES
    for name, value in request.headers:
        if name.startswith(b"x-amz-"):
            if name.startswith(REFUSED_FAMILIES):
                _check_value(name, value)
                if name == b"x-amz-copy-source-range" and operation == "CopyObject":
                    raise _refused(name)
                if operation not in _MEANT_ON.get(name, _EVERY) and not _says_nothing(name, value):
                    raise _refused(name)
                if name == METHOD and value == _KMS and operation not in _MAKES:
                    raise S3Error(
                        errors.INVALID_ARGUMENT,
                        "x-amz-server-side-encryption header is not supported for this operation.",
                        ArgumentName=METHOD.decode("ascii"),
                    )
                if name.startswith(b"x-amz-copy-source") and operation not in _COPIES:
                    raise S3Error(
                        errors.INVALID_ARGUMENT,
                        "You can only specify a copy source header for copy requests.",
                        ArgumentName=name.decode("ascii", "replace"),
                    )
                if name not in LINES:
                    _check_single(name, seen)
        else:
            if name in _SINGLE:
                _check_single(name, seen)
            if writes and (
                name in _REFUSED_ON_WRITES or operation not in _CONDITIONAL.get(name, _WRITES)
            ):
                raise _refused(name)


def _check_single(name: bytes, seen: set[bytes]) -> None:
    if name in seen:
        raise S3Error(
            errors.INVALID_ARGUMENT,
            "A header is given more than once.",
            ArgumentName=name.decode("ascii"),
        )
    seen.add(name)


def _says_nothing(name: bytes, value: bytes) -> bool:
    """Return whether a header asks for no more than what is without it."""
    return not value or (name == storage_classes.HEADER and value == _STANDARD)


def _refused(name: bytes) -> S3Error:
    return S3Error(
        errors.NOT_IMPLEMENTED,
        "A header you provided implies functionality that is not implemented.",
        Header=name.decode("ascii", "replace"),
    )


def _check_value(name: bytes, value: bytes) -> None:
    accepted = ACCEPTED.get(name)
    text = value.decode("ascii", "replace")
    if accepted is None:
        raise _refused(name)
    if accepted is ANY or text in accepted:
        return
    if name in _WORDS:
        known, unknown = _WORDS[name]
        if text not in known:
            raise S3Error(unknown, ArgumentName=name.decode("ascii"), ArgumentValue=text[:128])
    raise _refused(name)
