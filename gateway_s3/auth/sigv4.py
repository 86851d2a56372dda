"""AWS Signature Version 4: what a request claims, and whether the claim holds.

Two steps, both pure. :func:`parse_authorization` reads the claim without any secret: the signer,
the time, the scope, and the string to sign. :func:`verify` checks it with the signing key and the
clock. There is one way through both for headers and for presigned URLs, and no case without a
decision: what is not understood is refused.

The string to sign is made from the raw request, each part decoded and encoded again once, so that
``%2F`` stays different from ``/`` and what was signed is what the router and the handlers see.

Source: AWS, "Signing and authenticating REST requests (Signature Version 4)"; for chunks
"Transferring payload in multiple chunks".
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Final, NoReturn
from urllib.parse import quote_from_bytes

from common import limits
from common.data_classes import dataclass
from common.http.records import HttpRequest
from gateway_s3 import errors
from gateway_s3.errors import ErrorCode, S3Error
from gateway_s3.request.header_rules import LINES
from gateway_s3.request.numbers import parse_number
from gateway_s3.request.presigned import binds_nothing
from gateway_s3.request.query import Query, decode_percent

ALGORITHM: Final = "AWS4-HMAC-SHA256"
_ASYMMETRIC: Final = "AWS4-ECDSA-"
SERVICE: Final = "s3"
TERMINATION: Final = "aws4_request"
EMPTY_SHA256: Final = hashlib.sha256(b"").hexdigest()

_TIMESTAMP: Final = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z", re.ASCII)
_HEX64: Final = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
ACCESS_KEY_ID: Final = re.compile(r"[A-Za-z0-9._+=@-]{1,128}", re.ASCII)
_HEADER_NAME: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_PLAIN_PATH: Final = re.compile(rb"[A-Za-z0-9._~/-]*")
_WHITE: Final = re.compile(rb"[\t\n\v\f\r]")
_AUTHORIZATION_PARTS: Final = frozenset({"Credential", "SignedHeaders", "Signature"})
_PRESIGN_PARTS: Final = (
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
)
_TOKEN: Final = b"x-amz-security-token"
_V2_PARTS: Final = ("AWSAccessKeyId", "Signature")


class Payload(Enum):
    """The way that the body is bound to the signature."""

    HASHED = "hash"
    """Its SHA-256 is signed: the whole body must be hashed before it counts."""
    UNSIGNED = "UNSIGNED-PAYLOAD"
    SIGNED_CHUNKS = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    SIGNED_CHUNKS_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
    UNSIGNED_CHUNKS_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

    @property
    def is_chunked(self) -> bool:
        """Return whether the body is in aws-chunked form."""
        return self not in {Payload.HASHED, Payload.UNSIGNED}


@dataclass(frozen=True, slots=True)
class Claim:
    """The unproven claim of a request that is signed with Version 4.

    ``date``, ``region``: of the credential scope, already checked against the timestamp and our
    region. ``signed_at``: Unix seconds. ``expires_s``: of a presigned URL; None for a header.
    ``payload_sha256``: 32 bytes where ``payload`` is HASHED, else None. ``token``: that a temporary
    key comes with.
    """

    access_key_id: str
    date: str
    region: str
    timestamp: str
    signed_at: float
    expires_s: int | None
    payload: Payload
    payload_sha256: bytes | None
    canonical_request: bytes
    signature: str
    token: str | None = field(default=None, repr=False)
    service: str = SERVICE

    @property
    def scope(self) -> str:
        """The credential scope."""
        return f"{self.date}/{self.region}/{self.service}/{TERMINATION}"

    @property
    def string_to_sign(self) -> bytes:
        """The string that the signature must be of."""
        digest = hashlib.sha256(self.canonical_request).hexdigest()
        return f"{ALGORITHM}\n{self.timestamp}\n{self.scope}\n{digest}".encode("ascii")


@dataclass(frozen=True, slots=True)
class Verified:
    """A verified claim. The body is still to be verified against ``payload``:

    HASHED: SHA-256 of the whole body must be ``payload_sha256`` before anything is made of it;
    the chunked kinds: read it through :class:`gateway_s3.auth.chunked.ChunkDecoder`.
    ``signing_key`` is secret: never log it.
    """

    access_key_id: str
    payload: Payload
    payload_sha256: bytes | None
    signing_key: bytes = field(repr=False)
    seed_signature: str = field(repr=False)
    timestamp: str
    scope: str
    presigned: bool


class Unsigned(S3Error):
    """A request that nobody signed: AccessDenied unless an anonymous caller may do it."""

    def __init__(self) -> None:
        super().__init__(errors.ACCESS_DENIED)


def unsigned() -> Verified:
    """The verdict on an unsigned request: nothing vouches for its body."""
    return Verified("", Payload.UNSIGNED, None, b"", "", "", "", presigned=False)


def parse_authorization(request: HttpRequest, *, region: str) -> Claim:
    """Read who claims to have signed a request, and what exactly.

    Args:
        request: its body is not touched.
        region: ours; a claim for another is refused.

    Raises:
        Unsigned: nothing signed it.
        S3Error: AccessDenied (something in it is not signed), AuthorizationHeaderMalformed,
            AuthorizationQueryParametersError, InvalidRequest, InvalidArgument, InvalidToken,
            NotImplemented, InvalidURI.
    """
    query = Query(request.query)
    headers = HeaderValues(request)
    in_header = bool(headers.get("authorization"))
    in_query = _lowered(query, b"x-amz-signature", b"x-amz-algorithm", b"x-amz-credential")
    if in_header and (in_query or any(name in query for name in _V2_PARTS)):
        raise two_mechanisms()
    if in_header:
        return _parse_header(request, headers, query, region)
    if in_query:
        return _parse_presigned(request, headers, query, region)
    if any(name in query for name in _V2_PARTS):
        raise unsupported_mechanism()
    if session_token(headers, query, in_query=True) is not None:
        raise S3Error(errors.INVALID_TOKEN)
    raise Unsigned


def parse_service_authorization(
    request: HttpRequest, body_sha256: str, *, region: str, service: str
) -> Claim:
    """Read who claims to have signed a request to another service than S3, whose body is always
    signed, and what exactly.

    Args:
        body_sha256: of the whole body, in hex.
        region: ours; a claim for another is refused.

    Raises:
        Unsigned: no header signs it.
        S3Error: as :func:`parse_authorization`; XAmzContentSHA256Mismatch.
    """
    headers = HeaderValues(request)
    if not headers.get("authorization"):
        raise Unsigned
    declared = headers.get("x-amz-content-sha256")
    if declared is not None and declared != body_sha256:
        raise S3Error(errors.CONTENT_SHA256_MISMATCH)
    return _parse_header(request, headers, Query(request.query), region, service, body_sha256)


def session_token(headers: HeaderValues, query: Query, *, in_query: bool) -> str | None:
    """Return the token that a temporary key comes with; None: it is not temporary.

    Args:
        in_query: the signature is in the query, where the token may be, too.

    Raises:
        S3Error: InvalidArgument: there are two, or it is where the signature is not.
    """
    tokens = [value for name, value in query if name.lower() == _TOKEN]
    in_header = headers.get("x-amz-security-token")
    if not tokens:
        return in_header
    if not in_query or len(tokens) > 1 or in_header is not None:
        raise S3Error(
            errors.INVALID_ARGUMENT,
            "A security token must be given once, in the query of a presigned URL or in a header.",
            ArgumentName="X-Amz-Security-Token",
        )
    return tokens[0].decode("latin-1")


def derive_signing_key(secret: str, date: str, region: str, service: str = SERVICE) -> bytes:
    """The key that signs one day's requests to one region. Keep it as secret as the secret."""
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, TERMINATION):
        key = hmac.digest(key, part.encode("ascii"), "sha256")
    return key


def verify(claim: Claim, signing_key: bytes, now: float) -> Verified:
    """Hold a claim against the clock and the key.

    Args:
        claim: from :func:`parse_authorization`.
        signing_key: from :func:`derive_signing_key` for the claim's access key, date and region.
        now: Unix seconds.

    Raises:
        S3Error: RequestTimeTooSkewed, AccessDenied (a URL not valid yet or no more),
            SignatureDoesNotMatch.
    """
    check_time(claim, now)
    expected = hmac.digest(signing_key, claim.string_to_sign, "sha256").hex()
    if not hmac.compare_digest(expected.encode("ascii"), claim.signature.encode("utf-8")):
        raise S3Error(errors.SIGNATURE_DOES_NOT_MATCH, AWSAccessKeyId=claim.access_key_id)
    return Verified(
        access_key_id=claim.access_key_id,
        payload=claim.payload,
        payload_sha256=claim.payload_sha256,
        signing_key=signing_key,
        seed_signature=expected,
        timestamp=claim.timestamp,
        scope=claim.scope,
        presigned=claim.expires_s is not None,
    )


def check_time(claim: Claim, now: float) -> None:
    """Hold a claim against the clock alone, before anybody is asked for its key.

    Args:
        now: Unix seconds.

    Raises:
        S3Error: RequestTimeTooSkewed; AccessDenied (a URL not valid yet or no more).
    """
    if claim.expires_s is None:
        check_skew(claim.timestamp, claim.signed_at, now)
        return
    age = now - claim.signed_at
    if age < -limits.MAX_CLOCK_SKEW_S:
        raise S3Error(errors.ACCESS_DENIED, "Request is not valid yet")
    if age > claim.expires_s:
        raise S3Error(
            errors.ACCESS_DENIED,
            "Request has expired",
            **{
                "X-Amz-Expires": claim.expires_s,
                "Expires": iso_time(claim.signed_at + claim.expires_s),
                "ServerTime": iso_time(now),
            },
        )


def check_skew(timestamp: str, signed_at: float, now: float) -> None:
    """Refuse a request whose clock is too far from ours. Raises RequestTimeTooSkewed."""
    if abs(now - signed_at) > limits.MAX_CLOCK_SKEW_S:
        raise S3Error(
            errors.REQUEST_TIME_TOO_SKEWED,
            RequestTime=timestamp,
            ServerTime=iso_time(now),
            MaxAllowedSkewMilliseconds=limits.MAX_CLOCK_SKEW_S * 1000,
        )


def iso_time(seconds: float) -> str:
    """Unix seconds as errors say them."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class HeaderValues:
    """The headers as a signature sees them: all values of each, by its name.

    Raises:
        S3Error: InvalidArgument: one that two readers may read differently is there twice.
    """

    __slots__ = ("values",)

    def __init__(self, request: HttpRequest) -> None:
        self.values: dict[str, list[bytes]] = {}
        for raw_name, value in request.headers:
            self.values.setdefault(raw_name.decode("latin-1"), []).append(value)
        for name, values in self.values.items():
            if len(values) == 1:
                continue
            # Two readers of a repeated header may take different ones (s3s #176).
            if name in {"authorization", "date", "host"} or (
                name.startswith("x-amz-") and not _is_list(name)
            ):
                raise S3Error(
                    errors.INVALID_ARGUMENT,
                    "A header is given more than once.",
                    ArgumentName=name,
                )

    def get(self, name: str) -> str | None:
        values = self.values.get(name)
        return values[0].decode("latin-1") if values else None


def _is_list(name: str) -> bool:
    """Return whether the lines of an ``x-amz-`` header are read as one list, as they are signed."""
    return name.startswith("x-amz-meta-") or name.encode("latin-1") in LINES


def _lowered(query: Query, *names: bytes) -> bool:
    return any(key.lower() in names for key, _ in query)


def two_mechanisms() -> S3Error:
    """The error for credentials in two places."""
    return S3Error(
        errors.INVALID_ARGUMENT,
        "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, "
        "Signature query string parameter or the Authorization header should be specified",
        ArgumentName="Authorization",
    )


def unsupported_mechanism() -> S3Error:
    """The error for Signature Version 2 where it is not accepted."""
    return S3Error(
        errors.INVALID_REQUEST,
        "The authorization mechanism you have provided is not supported. "
        "Please use AWS4-HMAC-SHA256.",
    )


def _parse_header(
    request: HttpRequest,
    headers: HeaderValues,
    query: Query,
    region: str,
    service: str = SERVICE,
    body_sha256: str | None = None,
) -> Claim:
    """Read the claim of an ``authorization`` header.

    Args:
        body_sha256: of the body, where it is known; None: a header must say what signs the body.
    """
    value = headers.get("authorization") or ""
    mechanism, _, rest = value.partition(" ")
    if mechanism == "AWS":
        raise unsupported_mechanism()
    if mechanism.startswith(_ASYMMETRIC):
        raise S3Error(errors.NOT_IMPLEMENTED, Algorithm=mechanism[:64])
    if mechanism != ALGORITHM:
        raise S3Error(
            errors.INVALID_ARGUMENT, "Unsupported Authorization Type", ArgumentName="Authorization"
        )
    parts: dict[str, str] = {}
    for piece in rest.split(","):
        name, equals, part = piece.strip(" \t").partition("=")
        if not equals or name not in _AUTHORIZATION_PARTS or name in parts:
            _malformed(errors.AUTHORIZATION_HEADER_MALFORMED, "its parts are not as expected")
        parts[name] = part
    if len(parts) != len(_AUTHORIZATION_PARTS):
        _malformed(errors.AUTHORIZATION_HEADER_MALFORMED, "a part is missing")
    timestamp, signed_at = signing_time(headers)
    code = errors.AUTHORIZATION_HEADER_MALFORMED
    access_key_id, date = _scope(parts["Credential"], timestamp, region, code, service)
    signed = _signed_headers(parts["SignedHeaders"], headers, frozenset(), code)
    declared = headers.get("x-amz-content-sha256") if body_sha256 is None else body_sha256
    if declared is None:
        raise S3Error(
            errors.INVALID_REQUEST,
            "Missing required header for this request: x-amz-content-sha256",
        )
    payload, sha256 = parse_payload(declared)
    return Claim(
        access_key_id=access_key_id,
        date=date,
        region=region,
        timestamp=timestamp,
        signed_at=signed_at,
        expires_s=None,
        payload=payload,
        payload_sha256=sha256,
        canonical_request=_canonical_request(request, query, headers, signed, declared),
        signature=parts["Signature"],
        token=session_token(headers, query, in_query=False),
        service=service,
    )


def _parse_presigned(
    request: HttpRequest, headers: HeaderValues, query: Query, region: str
) -> Claim:
    code = errors.AUTHORIZATION_QUERY_PARAMETERS_ERROR
    parts: dict[str, str] = {}
    for name in _PRESIGN_PARTS:
        values = [value for key, value in query if key == name.encode("ascii")]
        if len(values) != 1:
            raise S3Error(
                code,
                "Query-string authentication version 4 requires the X-Amz-Algorithm, "
                "X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and "
                "X-Amz-Expires parameters, each once.",
            )
        parts[name] = values[0].decode("latin-1")
    if parts["X-Amz-Algorithm"] != ALGORITHM:
        if parts["X-Amz-Algorithm"].startswith(_ASYMMETRIC):
            raise S3Error(errors.NOT_IMPLEMENTED, Algorithm=parts["X-Amz-Algorithm"][:64])
        raise S3Error(code, 'X-Amz-Algorithm only supports "AWS4-HMAC-SHA256"')
    timestamp = parts["X-Amz-Date"]
    signed_at = parse_timestamp(timestamp)
    if signed_at is None:
        raise S3Error(
            code, "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\""
        )
    expires_s = parse_number(parts["X-Amz-Expires"])
    if expires_s is None or not 1 <= expires_s <= limits.MAX_PRESIGNED_LIFETIME_S:
        raise S3Error(code, "X-Amz-Expires must be between 1 and 604800 seconds")
    access_key_id, date = _scope(parts["X-Amz-Credential"], timestamp, region, code)
    lowered = (name.lower() for name, _ in query)
    in_query = frozenset(
        name.decode("latin-1")
        for name in lowered
        if name.startswith(b"x-amz-") and not binds_nothing(name)
    )
    signed = _signed_headers(parts["X-Amz-SignedHeaders"], headers, in_query, code)
    of_query = query.get("X-Amz-Content-Sha256")
    of_header = headers.get("x-amz-content-sha256")
    if of_query is not None and of_header is not None and of_query != of_header:
        raise S3Error(errors.INVALID_ARGUMENT, ArgumentName="x-amz-content-sha256")
    declared = of_query or of_header or Payload.UNSIGNED.value
    payload, sha256 = parse_payload(declared)
    if payload.is_chunked:
        raise S3Error(errors.INVALID_REQUEST, "A presigned URL cannot be used with signed chunks.")
    return Claim(
        access_key_id=access_key_id,
        date=date,
        region=region,
        timestamp=timestamp,
        signed_at=signed_at,
        expires_s=expires_s,
        payload=payload,
        payload_sha256=sha256,
        canonical_request=_canonical_request(request, query, headers, signed, declared),
        signature=parts["X-Amz-Signature"],
        token=session_token(headers, query, in_query=True),
    )


def _malformed(code: ErrorCode, what: str) -> NoReturn:
    if code is errors.AUTHORIZATION_HEADER_MALFORMED:
        raise S3Error(code, f"The authorization header is malformed; {what}.")
    raise S3Error(code, f"Error parsing the query parameters; {what}.")


def parse_timestamp(text: str) -> float | None:
    """Unix seconds of ``YYYYMMDDTHHMMSSZ``; None if it is none."""
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        return None
    try:
        year, month, day, hour, minute, second = map(int, match.groups())
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()
    except ValueError:
        return None


def signing_time(headers: HeaderValues, *, any_form: bool = False) -> tuple[str, float]:
    """The time a request was signed at: ``x-amz-date``, else ``date``; one of them is required.

    Args:
        any_form: also ``x-amz-date`` may be a date of HTTP, as Signature V2 has it.

    Returns:
        The time as V4 writes it, and in Unix seconds.

    Raises:
        S3Error: AccessDenied: there is none.
    """
    text = headers.get("x-amz-date")
    if text is None:
        text, any_form = headers.get("date") or "", True
    signed_at = parse_timestamp(text)
    if signed_at is not None:
        return text, signed_at
    if any_form:
        try:
            parsed = parsedate_to_datetime(text)
            parsed = parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
            return parsed.strftime("%Y%m%dT%H%M%SZ"), parsed.timestamp()
        except (ValueError, TypeError, OverflowError, IndexError):
            pass
    raise S3Error(
        errors.ACCESS_DENIED, "AWS authentication requires a valid Date or x-amz-date header"
    )


def _scope(
    credential: str, timestamp: str, region: str, code: ErrorCode, service: str = SERVICE
) -> tuple[str, str]:
    """The access key id and date of a credential for our region and service."""
    parts = credential.split("/")
    if len(parts) != 5 or ACCESS_KEY_ID.fullmatch(parts[0]) is None:
        _malformed(
            code,
            "the Credential is mal-formed; expecting "
            '"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request"',
        )
    access_key_id, date, claimed_region, claimed_service, termination = parts
    if date != timestamp[:8]:
        _malformed(code, "the Credential's date is not that of X-Amz-Date")
    if claimed_region != region:
        what = f"the region '{claimed_region[:64]}' is wrong; expecting '{region}'"
        if code is errors.AUTHORIZATION_HEADER_MALFORMED:
            raise S3Error(code, f"The authorization header is malformed; {what}", Region=region)
        raise S3Error(code, f"Error parsing the X-Amz-Credential parameter; {what}", Region=region)
    if claimed_service != service:
        _malformed(code, f"incorrect service; this endpoint belongs to '{service}'")
    if termination != TERMINATION:
        _malformed(code, f"incorrect terminal; it is '{TERMINATION}'")
    return access_key_id, date


def _signed_headers(
    listed: str, headers: HeaderValues, in_query: frozenset[str], code: ErrorCode
) -> list[str]:
    """The names of the signed headers, once it is sure that all that must be signed are.

    Args:
        listed: the names joined with ``;``.
        headers: of the request.
        in_query: lower-case ``x-amz-`` parameters of a presigned URL: signed with the query.
        code: for a list that is none.
    """
    names = listed.split(";")
    known = set(names)
    if len(known) != len(names) or not all(_HEADER_NAME.fullmatch(name) for name in names):
        _malformed(code, "SignedHeaders is not a list of lower-case header names")
    missing = [
        name
        for name in headers.values
        if name not in known
        and (name == "host" or (name.startswith("x-amz-") and name not in in_query))
    ]
    if missing or "host" not in known:
        raise S3Error(
            errors.ACCESS_DENIED,
            "There were headers present in the request which were not signed",
            HeadersNotSigned=", ".join(sorted(missing))[:1024] or "host",
        )
    for name in names:
        _check_means_what_is_signed(name, headers.values.get(name, []))
    return names


def _check_means_what_is_signed(name: str, values: list[bytes]) -> None:
    """Refuse a signed header that is verified as another value than it is used as: repeated lines
    are signed joined, and white space within a line is signed as one space.

    More than one space stays: clients sign values with them, and what they mean is the same.
    """
    joined = _is_list(name) or name in {"if-match", "if-none-match"}
    if (len(values) > 1 and not joined) or any(_WHITE.search(value) for value in values):
        raise S3Error(
            errors.INVALID_ARGUMENT,
            "A signed header is given more than once, or holds white space other than spaces.",
            ArgumentName=name,
        )


def parse_payload(declared: str) -> tuple[Payload, bytes | None]:
    """Parse ``x-amz-content-sha256``: the kind of payload, and the hash of a hashed one."""
    if _HEX64.fullmatch(declared) is not None:
        return Payload.HASHED, bytes.fromhex(declared)
    for kind in (
        Payload.UNSIGNED,
        Payload.SIGNED_CHUNKS,
        Payload.SIGNED_CHUNKS_TRAILER,
        Payload.UNSIGNED_CHUNKS_TRAILER,
    ):
        if declared == kind.value:
            return kind, None
    if declared.startswith("STREAMING-AWS4-ECDSA-"):
        raise S3Error(errors.NOT_IMPLEMENTED, Header="x-amz-content-sha256")
    raise S3Error(
        errors.INVALID_ARGUMENT,
        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, "
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a "
        "valid sha256 value.",
        ArgumentName="x-amz-content-sha256",
        ArgumentValue=declared[:128],
    )


def _canonical_request(
    request: HttpRequest, query: Query, headers: HeaderValues, signed: list[str], payload: str
) -> bytes:
    lines = [request.method.encode("ascii"), _canonical_path(request.path), _canonical_query(query)]
    for name in signed:
        values = headers.values.get(name)
        if values is None:
            # It was signed and then taken out on the way.
            raise S3Error(errors.SIGNATURE_DOES_NOT_MATCH)
        lines.append(
            name.encode("ascii") + b":" + b",".join(b" ".join(value.split()) for value in values)
        )
    lines += (b"", ";".join(signed).encode("ascii"), payload.encode("latin-1"))
    return b"\n".join(lines)


def _canonical_path(path: bytes) -> bytes:
    if _PLAIN_PATH.fullmatch(path) is not None:
        return path
    # Segment by segment: an encoded slash inside one stays an encoded slash.
    return "/".join(
        quote_from_bytes(decode_percent(segment), safe="") for segment in path.split(b"/")
    ).encode("ascii")


def _canonical_query(query: Query) -> bytes:
    pairs = sorted(
        (quote_from_bytes(name, safe=""), quote_from_bytes(value, safe=""))
        for name, value in query
        if name != b"X-Amz-Signature"
    )
    return "&".join([f"{name}={value}" for name, value in pairs]).encode("ascii")
