"""Requests for temporary credentials: the form, read and checked. Pure.

Source: AWS Security Token Service API Reference, "Common parameters", "AssumeRole",
"GetSessionToken"; docs/s3-compatibility.md, "Temporary credentials".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from common import limits
from common.data_classes import dataclass
from common.http.records import HttpRequest
from gateway_s3.errors import ErrorCode, S3Error
from gateway_s3.request.numbers import parse_number
from gateway_s3.request.query import Query

SERVICE: Final = "sts"
VERSION: Final = "2011-06-15"

ACCESS_DENIED: Final = ErrorCode("AccessDenied", 403, "Access denied")
EXPIRED_TOKEN: Final = ErrorCode(
    "ExpiredToken", 403, "The security token included in the request is expired"
)
INCOMPLETE_SIGNATURE: Final = ErrorCode(
    "IncompleteSignature", 400, "The request signature does not conform to AWS standards."
)
INVALID_ACTION: Final = ErrorCode("InvalidAction", 400, "Could not find operation")
INVALID_CLIENT_TOKEN_ID: Final = ErrorCode(
    "InvalidClientTokenId", 403, "The security token included in the request is invalid."
)
MALFORMED_POLICY: Final = ErrorCode("MalformedPolicyDocument", 400, "Syntax errors in policy.")
MISSING_TOKEN: Final = ErrorCode(
    "MissingAuthenticationToken", 403, "Request is missing Authentication Token"
)
PACKED_POLICY_TOO_LARGE: Final = ErrorCode(
    "PackedPolicyTooLarge", 400, "The policy of the session is too large."
)
REQUEST_EXPIRED: Final = ErrorCode("RequestExpired", 400, "The clock is too far from the server's.")
SIGNATURE_DOES_NOT_MATCH: Final = ErrorCode(
    "SignatureDoesNotMatch",
    403,
    "The request signature we calculated does not match the signature you provided. Check your "
    "AWS Secret Access Key and signing method. Consult the service documentation for details.",
)
SERVICE_UNAVAILABLE: Final = ErrorCode(
    "ServiceUnavailable", 503, "The request has failed due to a temporary failure of the server."
)
THROTTLING: Final = ErrorCode("Throttling", 400, "Rate exceeded")
VALIDATION_ERROR: Final = ErrorCode("ValidationError", 400, "The request cannot be understood.")

GET_CALLER_IDENTITY: Final = "GetCallerIdentity"
GET_SESSION: Final = "GetSessionToken"
ASSUME_ROLE: Final = "AssumeRole"
_COMMON: Final = frozenset({"Action", "Version"})
_PARAMETERS: Final[Mapping[str, frozenset[str]]] = {
    GET_CALLER_IDENTITY: frozenset(),
    GET_SESSION: frozenset({"DurationSeconds", "Policy"}),
    ASSUME_ROLE: frozenset({"DurationSeconds", "Policy", "RoleArn", "RoleSessionName"}),
}
ACTIONS: Final = frozenset(_PARAMETERS)
_FORM: Final = b"application/x-www-form-urlencoded"
_ROLE: Final = re.compile(r"arn:aws:iam::([0-9a-f]{1,64}):role/([A-Za-z0-9+=,.@_-]{1,64})")
_SESSION: Final = re.compile(r"[A-Za-z0-9_+=,.@-]{2,64}")


@dataclass(frozen=True, slots=True)
class StsRequest:
    """A request. ``duration_s``: None: not said. ``policy``: of the session; empty: none.
    ``account``, ``role``, ``session``: of AssumeRole."""

    action: str
    duration_s: int | None = None
    policy: bytes = b""
    account: str = ""
    role: str = ""
    session: str = ""


def is_sts(request: HttpRequest) -> bool:
    """Return whether a request is one for temporary credentials: a form for the service itself,
    which S3 has none of."""
    if request.method != "POST" or request.path != b"/" or request.query:
        return False
    return (request.header(b"content-type") or b"").lower().startswith(_FORM)


def parse_sts(body: bytes) -> StsRequest:
    """Read the form of a request.

    Raises:
        S3Error: InvalidAction, ValidationError, AccessDenied: it wants to be proven by a device;
            PackedPolicyTooLarge.
    """
    try:
        form = Query(body)
        given = {name.decode("utf-8"): form.get(name.decode("ascii")) or "" for name, _ in form}
    except (S3Error, UnicodeDecodeError):
        raise S3Error(
            VALIDATION_ERROR, "The form is not UTF-8, or gives a parameter more than once."
        ) from None
    action, version = given.get("Action", ""), given.get("Version", "")
    known = _PARAMETERS.get(action)
    if known is None or version != VERSION:
        raise S3Error(
            INVALID_ACTION, f"Could not find operation {action[:64]} for version {version[:16]}"
        )
    for name in sorted(given):
        if name in {"SerialNumber", "TokenCode"}:
            raise S3Error(
                ACCESS_DENIED, "MultiFactorAuthentication failed: there are no MFA devices here."
            )
        if name not in known | _COMMON:
            raise S3Error(VALIDATION_ERROR, f"{name[:64]} is not supported here.")
    policy = given.get("Policy", "").encode("utf-8")
    if "Policy" in given and not policy:
        raise _invalid("policy", "", "a document")
    if len(policy) > limits.MAX_SESSION_POLICY_BYTES:
        raise S3Error(
            PACKED_POLICY_TOO_LARGE,
            f"The policy of a session has {limits.MAX_SESSION_POLICY_BYTES} bytes at most.",
        )
    made = StsRequest(action, _duration(given.get("DurationSeconds")), policy)
    if action != ASSUME_ROLE:
        return made
    match = _ROLE.fullmatch(given.get("RoleArn", ""))
    if match is None:
        raise _invalid("roleArn", given.get("RoleArn", ""), "arn:aws:iam::ACCOUNT:role/NAME")
    session = given.get("RoleSessionName", "")
    if _SESSION.fullmatch(session) is None:
        raise _invalid("roleSessionName", session, "[\\w+=,.@-]{2,64}")
    return StsRequest(action, made.duration_s, policy, match[1], match[2], session)


def _duration(text: str | None) -> int | None:
    if text is None:
        return None
    seconds = parse_number(text)
    if seconds is None:
        raise _invalid("durationSeconds", text, "a number")
    return seconds


def duration_of(asked_s: int | None, usual_s: int, most_s: int) -> int:
    """Return how long a session lasts.

    Args:
        asked_s: by its request; None: it did not say.

    Raises:
        S3Error: ValidationError: too short or too long.
    """
    if asked_s is None:
        return usual_s
    if asked_s < limits.MIN_SESSION_S:
        raise _invalid(
            "durationSeconds", str(asked_s), f"a value of {limits.MIN_SESSION_S} at least"
        )
    if asked_s > most_s:
        raise _invalid("durationSeconds", str(asked_s), f"a value of {most_s} at most")
    return asked_s


def _invalid(name: str, value: str, wanted: str) -> S3Error:
    return S3Error(
        VALIDATION_ERROR,
        f"1 validation error detected: Value '{value[:128]}' at '{name}' failed to satisfy "
        f"constraint: {wanted}",
    )
