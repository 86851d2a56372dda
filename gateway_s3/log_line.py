"""One line of a server access log. Pure.

Source: Amazon S3 User Guide, "Amazon S3 server access log format".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote_from_bytes

from common import limits
from common.data_classes import dataclass

_NONE: Final = "-"
_MONTHS: Final = [
    "Jan",
    "Feb",
    "Mar",
    "Apr",
    "May",
    "Jun",
    "Jul",
    "Aug",
    "Sep",
    "Oct",
    "Nov",
    "Dec",
]
_SECRET: Final = re.compile(
    r"(?i)(^|[?&])(x-amz-signature|signature|x-amz-security-token|"
    r"x-amz-(?:copy-source-)?server-side-encryption-customer-key)=[^&]*"
)
"""Query parameters that prove something, and whose values no log gets."""
_UNSAFE: Final = re.compile(r'[\x00-\x1f"\\\x7f-\U0010ffff]')
_VERBS: Final[Mapping[str, str]] = {"CopyObject": "COPY", "UploadPartCopy": "COPY"}
_RESOURCES: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("ListObjects", "ListObjectsV2", "CreateBucket", "HeadBucket", "DeleteBucket"), "BUCKET"
    ),
    "ListObjectVersions": "BUCKETVERSIONS",
    "DeleteObjects": "MULTI_OBJECT_DELETE",
    "RenameObject": "RENAME_OBJECT",
    **dict.fromkeys(("CreateMultipartUpload", "ListMultipartUploads"), "UPLOADS"),
    **dict.fromkeys(("CompleteMultipartUpload", "AbortMultipartUpload", "ListParts"), "UPLOAD"),
    **dict.fromkeys(("UploadPart", "UploadPartCopy"), "PART"),
    "GetObjectAttributes": "OBJECT_ATTRIBUTES",
}
_OF_SELECTORS: Final[Mapping[str, str]] = {
    "policy": "BUCKETPOLICY",
    "logging": "LOGGING_STATUS",
    "object-lock": "OBJECT_LOCK_CONFIGURATION",
    "retention": "OBJECT_LOCK_RETENTION",
    "legal-hold": "OBJECT_LOCK_LEGALHOLD",
    "publicAccessBlock": "PUBLIC_ACCESS_BLOCK",
    "policyStatus": "POLICY_STATUS",
    "ownershipControls": "OWNERSHIP_CONTROLS",
    "requestPayment": "REQUEST_PAYMENT",
}
"""Words for the parameters that make a request be about something else than bucket or object, where
they are not that parameter itself."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """The facts of a line. Times in seconds; ``at_s``: unix. What is empty or None is not known, or
    does not apply. ``requester``: an account, or the ARN of a user. ``sent``: bytes of the body.
    ``turned_s``: from the request's head to the answer's head. ``acl``: it took an ACL."""

    owner: str
    bucket: str
    at_s: float
    address: str
    requester: str
    request_id: str
    operation: str
    key: bytes | None
    method: str
    target: bytes
    status: int
    code: str
    sent: int
    size: int | None
    took_s: float
    turned_s: float
    referrer: str
    agent: str
    version: str
    host_id: str
    signature: str
    authentication: str
    host: str
    acl: bool = False


def operation_of(name: str, method: str, selectors: tuple[str, ...], *, is_object: bool) -> str:
    """Return the word of an access log for an operation, such as ``REST.GET.OBJECT``."""
    resource = _RESOURCES.get(name)
    if resource is None:
        plain = [each.partition("=")[0] for each in selectors]
        own = [each for each in plain if each not in {"id", "x-id"}]
        resource = "OBJECT" if is_object else "BUCKET"
        if own:
            resource = _OF_SELECTORS.get(own[0], own[0].replace("-", "_").upper())
            if is_object and resource in {"TAGGING", "ACL"}:
                resource = {"TAGGING": "OBJECT_TAGGING", "ACL": "ACL"}[resource]
    return f"REST.{_VERBS.get(name, method)}.{resource}"


def _field(text: str) -> str:
    """A field without quotes: never with white space, and never empty."""
    safe = _UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", text).replace(" ", "%20")
    return safe[: limits.MAX_ACCESS_LOG_FIELD_CHARACTERS] or _NONE


def _quoted(text: str) -> str:
    safe = _UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", text)
    return f'"{safe[: limits.MAX_ACCESS_LOG_FIELD_CHARACTERS] or _NONE}"'


def _target(target: bytes) -> str:
    """The target of a request without what proves it."""
    path, mark, query = target.decode("latin-1").partition("?")
    return path + mark + _SECRET.sub(r"\1\2=REDACTED", query)


def _ms(seconds: float) -> str:
    return str(max(1, round(1000 * seconds)))


def format_line(line: LogLine) -> bytes:
    """Return a line of the log, with its end."""
    moment = datetime.fromtimestamp(line.at_s, UTC)
    stamp = f"{moment:%d}/{_MONTHS[moment.month - 1]}/{moment:%Y:%H:%M:%S} +0000"
    fields = (
        line.owner,
        line.bucket,
        f"[{stamp}]",
        _field(line.address),
        _field(line.requester),
        line.request_id,
        line.operation,
        _NONE if line.key is None else _field(quote_from_bytes(line.key)),
        _quoted(f"{line.method} {_target(line.target)} HTTP/1.1"),
        str(line.status),
        line.code or _NONE,
        str(line.sent) if line.sent else _NONE,
        _NONE if line.size is None else str(line.size),
        _ms(line.took_s),
        _ms(line.turned_s),
        _quoted(line.referrer),
        _quoted(line.agent),
        _field(line.version),
        line.host_id or _NONE,
        line.signature or _NONE,
        _NONE,  # the cipher suite is not known here
        line.authentication or _NONE,
        _field(line.host),
        _NONE,  # nor is the version of TLS
        _NONE,  # access points there are none
        "Yes" if line.acl else _NONE,
        _NONE,  # the region of the requester is S3's own
    )
    return (" ".join(fields) + "\n").encode("ascii", "replace")
