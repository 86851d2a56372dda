"""Authentication: the one gate that every request passes.

Source: docs/s3-compatibility.md, "Authentication"; docs/threat-model.md.
"""

from __future__ import annotations

from common.http.records import HttpRequest
from common.ports import WallClock
from gateway.principals import Anonymous, Principal
from gateway_s3.auth.access_keys import AccessKeys
from gateway_s3.auth.sigv2 import (
    SignatureV2,
    accepted,
    check_time_v2,
    form_of,
    parse_v2,
    verify_v2,
)
from gateway_s3.auth.sigv4 import (
    Unsigned,
    Verified,
    check_time,
    parse_authorization,
    unsigned,
    unsupported_mechanism,
    verify,
)
from gateway_s3.request.router import Route


async def authenticate(
    request: HttpRequest,
    routed: Route,
    *,
    keys: AccessKeys,
    clock: WallClock,
    region: str,
    signature_v2: SignatureV2,
) -> tuple[Principal, Verified]:
    """Prove who signed a request, without touching its body.

    Args:
        routed: what it asks for.
        region: ours; Signature V4 names it.
        signature_v2: where Signature V2 is accepted.

    Returns:
        The principal, and how the body must be verified against the signature.

    Raises:
        S3Error: it is signed, but not completely, by nobody we know, wrongly, or not for now.
        Unavailable: no coordinator can say who the signer is.
    """
    form = form_of(request, routed.query)
    if form is not None:
        if signature_v2 is SignatureV2.OFF:
            raise unsupported_mechanism()
        of_host = routed.bucket if routed.by_host else ""
        claim_v2 = parse_v2(request, routed.query, form, of_host)
        check_time_v2(claim_v2, clock.now())
        credential = await keys.signer(claim_v2.access_key_id, claim_v2.token, clock.now())
        if not accepted(form, signature_v2, credential.old_signatures):
            raise unsupported_mechanism()
        return credential.holder(), verify_v2(claim_v2, credential.secret, clock.now())
    try:
        claim = parse_authorization(request, region=region)
    except Unsigned:
        return Anonymous(), unsigned()
    # The cheapest check first: a client that invents keys needs at least a clock.
    check_time(claim, clock.now())
    credential = await keys.signer(claim.access_key_id, claim.token, clock.now())
    signing_key = credential.signing_key(claim.date, region)
    return credential.holder(), verify(claim, signing_key, clock.now())
