"""AWS Signature Version 2: what a request claims, and whether the claim holds.

It is here for presigned URLs: boto3, aws-cli 1, s3fs and s3cmd make them so by default. It signs
less than Version 4: the method, ``content-md5``, ``content-type``, the date or expiry, every
``x-amz-`` header, the path and the parameters that name a sub-resource or override a header of the
answer. Not the host, the body or other parameters. What would let an unsigned part change what is
asked for is refused: a sub-resource that is not among the signed parameters, a chunked body.

Two steps, both pure, as in :mod:`gateway_s3.auth.sigv4`.

Source: Amazon S3 Developer Guide, "Signing and authenticating REST requests" (Version 2);
botocore, ``HmacV1Auth`` (the parameters that are signed).
"""

from __future__ import annotations

import base64
import hmac
from dataclasses import field
from enum import Enum
from typing import Final

from common import limits
from common.data_classes import dataclass
from common.http.records import HttpRequest
from gateway_s3 import errors
from gateway_s3.auth.sigv4 import (
    ACCESS_KEY_ID,
    HeaderValues,
    Payload,
    Verified,
    check_skew,
    iso_time,
    parse_payload,
    session_token,
    signing_time,
    two_mechanisms,
)
from gateway_s3.errors import S3Error
from gateway_s3.request.numbers import parse_number
from gateway_s3.request.operations import SUBRESOURCES
from gateway_s3.request.query import Query, decode_percent

_SIGNED_PARAMETERS: Final = frozenset(
    b"accelerate acl analytics cors defaultObjectAcl delete inventory lifecycle location logging "
    b"metrics notification object-lock partNumber policy replication requestPayment "
    b"response-cache-control response-content-disposition response-content-encoding "
    b"response-content-language response-content-type response-expires restore select select-type "
    b"storageClass tagging torrent uploadId uploads versionId versioning versions website".split()
)
"""Parameters that are part of the canonicalized resource."""
_V4_PARTS: Final = (b"x-amz-signature", b"x-amz-algorithm", b"x-amz-credential")


class SignatureV2(Enum):
    """The requests that may use Signature Version 2 (``signature_v2`` in the gateway's
    configuration)."""

    OFF = "off"
    PRESIGNED = "presigned"
    ALL = "all"


class Form(Enum):
    """The place of a Version 2 signature in a request."""

    HEADER = "header"
    QUERY = "query"


@dataclass(frozen=True, slots=True)
class ClaimV2:
    """The unproven claim of a request that is signed with Version 2.

    ``signed_at``: Unix seconds, of a header; ``expires_at``: Unix seconds, of a presigned URL; one
    of them is None. ``candidates``: the strings to sign that say what this request says; several
    where signers differ in how they write a bucket's path or a parameter without a value.
    ``token``: that a temporary key comes with.
    """

    access_key_id: str
    signature: str
    timestamp: str
    signed_at: float | None
    expires_at: int | None
    candidates: tuple[bytes, ...] = field(repr=False)
    payload: Payload
    payload_sha256: bytes | None
    token: str | None = field(default=None, repr=False)


def form_of(request: HttpRequest, query: Query) -> Form | None:
    """Return where a request has its Version 2 signature; None: it has none, or is one for
    :mod:`gateway_s3.auth.sigv4` to judge.

    Raises:
        S3Error: InvalidArgument: credentials in two places.
    """
    authorization = request.header(b"authorization")
    if authorization and not authorization.startswith(b"AWS "):
        return None
    in_v4_query = any(name.lower() in _V4_PARTS for name, _ in query)
    in_query = "AWSAccessKeyId" in query or "Signature" in query
    if authorization:
        if in_query or in_v4_query:
            raise two_mechanisms()
        return Form.HEADER
    return Form.QUERY if in_query and not in_v4_query else None


def accepted(form: Form, allowed: SignatureV2, old_signatures: bool) -> bool:
    """Return whether a request may be signed so.

    Args:
        allowed: by the gateway.
        old_signatures: its access key may sign headers so.
    """
    if allowed is SignatureV2.PRESIGNED:
        return form is Form.QUERY or old_signatures
    return allowed is SignatureV2.ALL


def parse_v2(request: HttpRequest, query: Query, form: Form, bucket_of_host: str) -> ClaimV2:
    """Read who claims to have signed a request, and what exactly.

    Args:
        request: with the headers that its query stands for (``presigned.lift_headers``); its body
            is not touched.
        query: of the request.
        form: from :func:`form_of`.
        bucket_of_host: the bucket that its host names; empty where the path names it.

    Raises:
        S3Error: AccessDenied (no valid time, or a sub-resource that is not signed),
            InvalidArgument, InvalidRequest, InvalidToken, InvalidURI.
    """
    headers = HeaderValues(request)
    token = session_token(headers, query, in_query=form is Form.QUERY)
    for name, _ in query:
        text = name.decode("utf-8", "replace")
        if text in SUBRESOURCES and name not in _SIGNED_PARAMETERS:
            raise S3Error(
                errors.ACCESS_DENIED,
                f"Signature Version 2 does not sign the parameter {text}. "
                "Please use AWS4-HMAC-SHA256.",
            )
    expires_at: int | None = None
    signed_at: float | None = None
    if form is Form.QUERY:
        access_key_id, signature = _needed(query, "AWSAccessKeyId"), _needed(query, "Signature")
        timestamp = _needed(query, "Expires")
        expires_at = parse_number(timestamp)
        if expires_at is None:
            raise S3Error(errors.ACCESS_DENIED, "Invalid date (should be seconds since epoch)")
        date = timestamp
    else:
        access_key_id, signature = _credential(headers.get("authorization") or "")
        timestamp, signed_at = signing_time(headers, any_form=True)
        # With x-amz-date, which is signed among the headers of its kind, the date stays empty.
        date = "" if "x-amz-date" in headers.values else headers.get("date") or ""
    if ACCESS_KEY_ID.fullmatch(access_key_id) is None:
        raise S3Error(errors.INVALID_ACCESS_KEY_ID)
    payload, sha256 = parse_payload(headers.get("x-amz-content-sha256") or Payload.UNSIGNED.value)
    if payload.is_chunked:
        raise S3Error(
            errors.INVALID_REQUEST, "Signature Version 2 cannot be used with a chunked body."
        )
    return ClaimV2(
        access_key_id=access_key_id,
        signature=signature,
        timestamp=timestamp,
        signed_at=signed_at,
        expires_at=expires_at,
        candidates=_strings_to_sign(request, query, headers, date, bucket_of_host),
        payload=payload,
        payload_sha256=sha256,
        token=token,
    )


def verify_v2(claim: ClaimV2, secret: str, now: float) -> Verified:
    """Hold a claim against the clock and the secret.

    Args:
        claim: from :func:`parse_v2`.
        secret: of the claim's access key.
        now: Unix seconds.

    Raises:
        S3Error: RequestTimeTooSkewed; AccessDenied: a URL that is valid no more, or for longer
            than MAX_SIGNATURE_V2_AHEAD_S from now; SignatureDoesNotMatch.
    """
    check_time_v2(claim, now)
    given = claim.signature.encode("utf-8")
    holds = False
    for candidate in claim.candidates:
        digest = hmac.digest(secret.encode("utf-8"), candidate, "sha1")
        holds |= hmac.compare_digest(base64.b64encode(digest), given)
    if not holds:
        raise S3Error(errors.SIGNATURE_DOES_NOT_MATCH, AWSAccessKeyId=claim.access_key_id)
    return Verified(
        access_key_id=claim.access_key_id,
        payload=claim.payload,
        payload_sha256=claim.payload_sha256,
        signing_key=b"",
        seed_signature="",
        timestamp=claim.timestamp,
        scope="",
        presigned=claim.expires_at is not None,
    )


def check_time_v2(claim: ClaimV2, now: float) -> None:
    """Hold a claim against the clock alone, before anybody is asked for its key.

    Args:
        now: Unix seconds.

    Raises:
        S3Error: RequestTimeTooSkewed; AccessDenied: a URL that is valid no more, or for longer
            than MAX_SIGNATURE_V2_AHEAD_S from now.
    """
    if claim.expires_at is not None:
        _check_expiry(claim.expires_at, now)
    if claim.signed_at is not None:
        check_skew(claim.timestamp, claim.signed_at, now)


def _check_expiry(expires_at: int, now: float) -> None:
    if now > expires_at:
        raise S3Error(
            errors.ACCESS_DENIED,
            "Request has expired",
            Expires=iso_time(expires_at),
            ServerTime=iso_time(now),
        )
    if expires_at - now > limits.MAX_SIGNATURE_V2_AHEAD_S + limits.MAX_CLOCK_SKEW_S:
        raise S3Error(
            errors.ACCESS_DENIED,
            f"Expires must be less than {limits.MAX_SIGNATURE_V2_AHEAD_S} seconds in the future",
            ServerTime=iso_time(now),
        )


def _needed(query: Query, name: str) -> str:
    value = query.get(name)
    if not value:
        raise S3Error(
            errors.ACCESS_DENIED,
            "Query-string authentication requires the Signature, Expires and AWSAccessKeyId "
            "parameters",
        )
    return value


def _credential(authorization: str) -> tuple[str, str]:
    """The access key id and signature of an ``authorization`` header."""
    access_key_id, colon, signature = authorization.removeprefix("AWS ").strip().partition(":")
    if not colon or not signature:
        raise S3Error(
            errors.INVALID_ARGUMENT,
            "AWS authorization header is invalid. Expected AwsAccessKeyId:signature",
            ArgumentName="Authorization",
        )
    return access_key_id, signature


def _strings_to_sign(
    request: HttpRequest, query: Query, headers: HeaderValues, date: str, bucket_of_host: str
) -> tuple[bytes, ...]:
    amz = {
        name.encode("latin-1"): b",".join(value.strip() for value in values)
        for name, values in headers.values.items()
        if name.startswith("x-amz-")
    }
    # Those that bind nothing (presigned.binds_nothing) are signed all the same.
    for name, value in query:
        if name.lower().startswith(b"x-amz-"):
            amz.setdefault(name.lower(), value.strip())
    head = b"\n".join(
        [
            request.method.encode("ascii"),
            (headers.get("content-md5") or "").encode("latin-1"),
            (headers.get("content-type") or "").encode("latin-1"),
            date.encode("utf-8"),
            *(name + b":" + amz[name] for name in sorted(amz)),
        ]
    )
    parameters = _signed_parameters(request.query)
    written = {
        b"&".join(name + (b"" if value is None else b"=" + value) for name, value in parameters),
        b"&".join(name + (b"=" + value if value else b"") for name, value in parameters),
    }
    return tuple(
        head + b"\n" + path + (b"?" + each if each else b"")
        for path in _paths(request.path, bucket_of_host)
        for each in sorted(written)
    )


def _paths(sent: bytes, bucket_of_host: str) -> tuple[bytes, ...]:
    """The paths that may be signed for the one that was sent. That of a bucket is signed with or
    without a slash at its end, whichever was sent (botocore sends none and signs one)."""
    if bucket_of_host:
        return (b"/" + bucket_of_host.encode("utf-8") + sent,)
    if sent.count(b"/") == 1 and sent != b"/":
        return sent, sent + b"/"
    if sent.count(b"/") == 2 and sent[-1:] == b"/":
        return sent, sent[:-1]
    return (sent,)


def _signed_parameters(raw: bytes) -> list[tuple[bytes, bytes | None]]:
    """The parameters that are signed, sorted, decoded; None: no value, and no ``=`` either."""
    found: list[tuple[bytes, bytes | None]] = []
    for each in raw.split(b"&"):
        raw_name, equals, raw_value = each.partition(b"=")
        name = decode_percent(raw_name.replace(b"+", b" "))
        if name in _SIGNED_PARAMETERS:
            value = decode_percent(raw_value.replace(b"+", b" "))
            if any(
                piece.partition(b"=")[0] in _SIGNED_PARAMETERS for piece in value.split(b"&")[1:]
            ):
                # Signed decoded, it reads as one value and the next parameter.
                raise S3Error(
                    errors.ACCESS_DENIED, "A signed parameter holds the name of another one."
                )
            found.append((name, value if equals else None))
    return sorted(found, key=lambda pair: pair[0])
