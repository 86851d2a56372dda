"""Who is asking: the one gate that every request passes, whatever it asks for.

Source: docs/s3-compatibility.md, "Authentication"; docs/threat-model.md.
"""

from __future__ import annotations

from common.http.records import Request
from common.ports import WallClock
from gateway_s3.access_keys import AccessKeys, Credential
from gateway_s3.sigv4 import Verified, check_time, parse_authorization, verify


async def authenticate(
    request: Request, *, keys: AccessKeys, clock: WallClock, region: str
) -> tuple[Credential, Verified]:
    """Prove who signed a request, without touching its body.

    Returns:
        The signer, and how the body must be held against the signature.

    Raises:
        S3Error: it is not signed, not completely, by nobody we know, wrongly, or not for now.
        Unavailable: no coordinator can say who the signer is.
    """
    claim = parse_authorization(request, region=region)
    # First what costs nothing: whoever invents keys needs at least a clock.
    check_time(claim, clock.now())
    credential = await keys.find(claim.access_key_id)
    return credential, verify(claim, credential.signing_key(claim.date, region), clock.now())
