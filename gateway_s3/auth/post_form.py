"""Signatures of forms: what the fields of a form claim, and whether the claim holds. Pure.

A form is signed by its policy, as the client sends it, and the policy decides all other fields.

Source: Amazon S3 API Reference, "Authenticating requests in browser-based uploads using POST";
Developer Guide, "HTML forms (AWS signature version 2)".
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping
from dataclasses import field
from typing import Final

from common import limits
from common.data_classes import dataclass
from gateway_s3 import errors
from gateway_s3.auth.sigv4 import (
    ACCESS_KEY_ID,
    ALGORITHM,
    SERVICE,
    TERMINATION,
    derive_signing_key,
    parse_timestamp,
    two_mechanisms,
    unsupported_mechanism,
)
from gateway_s3.errors import S3Error

_V4: Final = {
    "x-amz-algorithm": "X-Amz-Algorithm",
    "x-amz-credential": "X-Amz-Credential",
    "x-amz-date": "X-Amz-Date",
    "x-amz-signature": "X-Amz-Signature",
}
_V2: Final = {"awsaccesskeyid": "AWSAccessKeyId", "signature": "Signature"}
_SESSION: Final = "x-amz-security-token"
SIGNING: Final = frozenset({*_V4, *_V2, "policy", _SESSION})
"""Fields that are of the signature and not of the object."""


@dataclass(frozen=True, slots=True)
class FormClaim:
    """The unproven claim of a form. ``date``, ``region``: of Version 4; empty: it is signed with
    Version 2. ``signed_at``: Unix seconds, of Version 4. ``token``: that a temporary key comes
    with."""

    access_key_id: str
    policy: str
    signature: str
    date: str = ""
    region: str = ""
    signed_at: float = 0.0
    token: str | None = field(default=None, repr=False)


def parse_form_claim(
    fields: Mapping[str, str], *, region: str, accepts_v2: bool
) -> FormClaim | None:
    """Read who claims to have signed a form; None: nobody.

    Args:
        fields: by their names in lower case.
        region: ours; a claim for another is refused.

    Raises:
        S3Error: InvalidArgument: a field is missing or says something impossible; InvalidRequest;
            InvalidToken.
    """
    token = fields.get(_SESSION)
    v4, v2 = (any(name in fields for name in names) for names in (_V4, _V2))
    if v4 and v2:
        raise two_mechanisms()
    if not v4 and not v2:
        if token is not None:
            raise S3Error(errors.INVALID_TOKEN)
        return None
    for name, shown in {**(_V4 if v4 else _V2), "policy": "Policy"}.items():
        if not fields.get(name):
            raise missing_field(shown)
    if v2:
        if not accepts_v2:
            raise unsupported_mechanism()
        return FormClaim(
            fields["awsaccesskeyid"], fields["policy"], fields["signature"], token=token
        )
    return _claim_v4(fields, region)


def missing_field(name: str) -> S3Error:
    """The error for a field that a form must have before its file."""
    return S3Error(
        errors.INVALID_ARGUMENT,
        f"Bucket POST must contain a field named '{name}'.  If it is specified, please check the "
        "order of the fields.",
        ArgumentName=name,
        ArgumentValue="",
    )


def _claim_v4(fields: Mapping[str, str], region: str) -> FormClaim:
    if fields["x-amz-algorithm"] != ALGORITHM:
        raise _wrong(fields, "x-amz-algorithm", f'X-Amz-Algorithm only supports "{ALGORITHM}"')
    timestamp = fields["x-amz-date"]
    signed_at = parse_timestamp(timestamp)
    if signed_at is None:
        raise _wrong(fields, "x-amz-date", "X-Amz-Date must be formated via ISO8601 Long format")
    parts = fields["x-amz-credential"].split("/")
    if len(parts) != 5 or (parts[0] and ACCESS_KEY_ID.fullmatch(parts[0]) is None):
        raise _wrong(
            fields,
            "x-amz-credential",
            'the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/'
            'aws4_request".',
        )
    access_key_id, date, claimed_region, service, termination = parts
    if not access_key_id:
        said = "a non-empty Access Key (AKID) must be provided in the credential."
        raise _wrong(fields, "x-amz-credential", said)
    if date != timestamp[:8]:
        said = "the Credential's date is not that of X-Amz-Date."
        raise _wrong(fields, "x-amz-credential", said)
    if claimed_region != region:
        said = f"the region '{claimed_region[:64]}' is wrong; expecting '{region}'"
        raise _wrong(fields, "x-amz-credential", said, Region=region)
    if service != SERVICE or termination != TERMINATION:
        said = f'incorrect service or terminal; expecting "{SERVICE}/{TERMINATION}".'
        raise _wrong(fields, "x-amz-credential", said)
    return FormClaim(
        access_key_id,
        fields["policy"],
        fields["x-amz-signature"],
        date,
        claimed_region,
        signed_at,
        fields.get(_SESSION),
    )


def _wrong(fields: Mapping[str, str], name: str, message: str, **facts: str) -> S3Error:
    return S3Error(
        errors.INVALID_ARGUMENT,
        message,
        ArgumentName=_V4[name],
        ArgumentValue=fields[name][:128],
        **facts,
    )


def check_form_time(claim: FormClaim, now: float) -> None:
    """Refuse a form that was signed in the future or longer ago than a signature is valid; its
    policy has an end of its own.

    Raises:
        S3Error: AccessDenied.
    """
    if not claim.date:
        return
    if now - claim.signed_at < -limits.MAX_CLOCK_SKEW_S:
        raise S3Error(errors.ACCESS_DENIED, "Request is not valid yet")
    if now - claim.signed_at > limits.MAX_PRESIGNED_LIFETIME_S:
        raise S3Error(errors.ACCESS_DENIED, "Request has expired")


def verify_form(claim: FormClaim, secret: str) -> None:
    """Hold a claim against the secret of its access key.

    Raises:
        S3Error: SignatureDoesNotMatch.
    """
    policy = claim.policy.encode("utf-8")
    if claim.date:
        key = derive_signing_key(secret, claim.date, claim.region)
        expected = hmac.digest(key, policy, "sha256").hex()
    else:
        expected = base64.b64encode(hmac.digest(secret.encode(), policy, "sha1")).decode("ascii")
    if not hmac.compare_digest(expected.encode("ascii"), claim.signature.encode("utf-8")):
        raise S3Error(errors.SIGNATURE_DOES_NOT_MATCH, AWSAccessKeyId=claim.access_key_id)
