"""Temporary credentials: given out at the gateway's own endpoint, as AWS's STS gives them.

Nothing is stored: what a temporary key is, and when it ends, stands in its token, which any gateway
of the tenant opens (common/format/session.py).

Source: docs/decisions/0053-rosters-and-sessions.md; docs/s3-compatibility.md, "Temporary
credentials".
"""

from __future__ import annotations

import hashlib
from base64 import b32encode, b64encode
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

from common import limits
from common.data_classes import dataclass
from common.errors import AlvearyError, Corrupt, Refused
from common.format.session import SESSION_VERSION, SessionRecord, seal_session
from common.http.body import read_body
from common.http.records import HttpRequest, HttpResponse
from common.rpc.fair_queue import Visit, cost_of
from gateway.access.permissions import ASSUME_ROLE
from gateway.access.policy import Effect
from gateway.access.policy_document import parse_user_policy
from gateway.principals import KeyHolder, account_of
from gateway_s3 import errors
from gateway_s3.auth.access_keys import AccessKeys, Credential
from gateway_s3.auth.circumstances import RequestCircumstances, arn_of, role_arn, user_id_of
from gateway_s3.auth.sigv4 import (
    Unsigned,
    Verified,
    check_time,
    derive_signing_key,
    parse_service_authorization,
    verify,
)
from gateway_s3.backend import Backend
from gateway_s3.errors import ErrorCode, S3Error
from gateway_s3.request import sts
from gateway_s3.request.condition_keys import check_condition
from gateway_s3.request.query import Query
from gateway_s3.request.sts import StsRequest, duration_of, parse_sts
from gateway_s3.translation import from_error
from gateway_s3.turns import REFUSAL_PAUSE_S, is_share_used
from gateway_s3.xml.read import Tree
from gateway_s3.xml.sts import CONTENT_TYPE, Credentials, answer, error_answer

TEMPORARY: Final = "ASIA"
"""The beginning of temporary access key ids."""
_USER_SESSION_S: Final = 12 * 3600
_OTHER_SESSION_S: Final = 3600

_CODES: Final[Mapping[ErrorCode, ErrorCode]] = {
    errors.CONTENT_SHA256_MISMATCH: sts.SIGNATURE_DOES_NOT_MATCH,
    errors.EXPIRED_TOKEN: sts.EXPIRED_TOKEN,
    errors.INVALID_ACCESS_KEY_ID: sts.INVALID_CLIENT_TOKEN_ID,
    errors.INVALID_TOKEN: sts.INVALID_CLIENT_TOKEN_ID,
    errors.REQUEST_TIME_TOO_SKEWED: sts.REQUEST_EXPIRED,
    errors.SIGNATURE_DOES_NOT_MATCH: sts.SIGNATURE_DOES_NOT_MATCH,
    errors.SLOW_DOWN: sts.THROTTLING,
}
"""The codes of STS for errors of S3's signatures."""


@dataclass(frozen=True, slots=True)
class ProvenRequest:
    """A request that was proven. ``credential``, ``principal``: of who signed it. ``now``: Unix
    seconds."""

    backend: Backend
    keys: AccessKeys
    request: HttpRequest
    form: StsRequest
    credential: Credential
    principal: KeyHolder
    verified: Verified
    now: float


Act: TypeAlias = Callable[[ProvenRequest], Awaitable[tuple[Tree, ...]]]


async def answer_sts(
    backend: Backend, keys: AccessKeys, request: HttpRequest, visit: Visit, request_id: str
) -> tuple[str, HttpResponse]:
    """Answer a request for temporary credentials, or about them.

    Returns:
        The action, and the answer.

    Raises:
        S3Error: see :func:`sts_error`; Unavailable: no coordinator can say who the signer is.
    """
    body = await read_body(request, limits.MAX_STS_BODY_BYTES)
    if body is None:
        raise S3Error(sts.VALIDATION_ERROR, "The request is too large.")
    digest = hashlib.sha256(body).hexdigest()
    claim = parse_service_authorization(request, digest, region=backend.region, service=sts.SERVICE)
    now = backend.clock.now()
    check_time(claim, now)
    credential = await keys.signer(claim.access_key_id, claim.token, now)
    key = derive_signing_key(credential.secret, claim.date, claim.region, sts.SERVICE)
    verified = verify(claim, key, now)
    await visit.enter(("tenant", credential.tenant.tenant_id), cost_of(len(body)))
    form = parse_sts(body)
    principal, now = credential.holder(), backend.clock.now()
    asked = ProvenRequest(backend, keys, request, form, credential, principal, verified, now)
    content = answer(form.action, await _ACTS[form.action](asked), request_id)
    return form.action, HttpResponse(200, _headers(request_id), content)


def refuse_sts(error: AlvearyError, request_id: str) -> HttpResponse:
    """Return the answer to a request that was refused."""
    told = sts_error(error)
    response = HttpResponse(told.status, _headers(request_id), error_answer(told, request_id))
    if is_share_used(error):
        response.pause_s = REFUSAL_PAUSE_S
    return response


def sts_error(error: AlvearyError) -> S3Error:
    """Return the error in the words of STS."""
    if isinstance(error, Unsigned):
        return S3Error(sts.MISSING_TOKEN)
    told = from_error(error)
    if told.status >= 500 and told.code is not errors.SLOW_DOWN:
        return S3Error(sts.SERVICE_UNAVAILABLE)
    if told.code in _OWN:
        return told
    code = _CODES.get(told.code, sts.INCOMPLETE_SIGNATURE)
    keeps = code is sts.INCOMPLETE_SIGNATURE
    return S3Error(code, told.message if keeps else None)


_OWN: Final = frozenset({each for each in vars(sts).values() if isinstance(each, ErrorCode)})


def _headers(request_id: str) -> list[tuple[bytes, bytes]]:
    return [(b"content-type", CONTENT_TYPE), (b"x-amzn-requestid", request_id.encode("ascii"))]


async def _identity(asked: ProvenRequest) -> tuple[Tree, ...]:
    caller = asked.principal.caller
    account = account_of(asked.credential.tenant)
    arn = arn_of(caller)
    if caller.role is not None:
        arn = _session_arn(account, caller.role, caller.session)
    assert arn is not None, "it proved a key"
    return Tree("Arn", arn), Tree("UserId", user_id_of(caller)), Tree("Account", account)


async def _session_token(asked: ProvenRequest) -> tuple[Tree, ...]:
    _check_lasting(asked)
    usual_s, most_s = _USER_SESSION_S, limits.MAX_SESSION_S
    if asked.principal.caller.is_account:
        usual_s, most_s = _OTHER_SESSION_S, limits.MAX_ACCOUNT_SESSION_S
    duration_s = duration_of(asked.form.duration_s, usual_s, most_s)
    made = _make(asked, duration_s, asked.credential.roster_revision)
    return (made.tree(),)


async def _assume_role(asked: ProvenRequest) -> tuple[Tree, ...]:
    _check_lasting(asked)
    form = asked.form
    duration_s = duration_of(form.duration_s, _OTHER_SESSION_S, limits.MAX_ROLE_SESSION_S)
    account = account_of(asked.credential.tenant)
    arn = role_arn(form.account, form.role)
    denied = S3Error(
        sts.ACCESS_DENIED,
        f"User: {arn_of(asked.principal.caller)} is not authorized to perform: {ASSUME_ROLE} on "
        f"resource: {arn}",
    )
    if form.account != account or not _may_assume(asked, arn):
        raise denied
    try:
        role, revision = await asked.keys.role(asked.credential, form.role)
    except (Corrupt, Refused) as error:
        asked.backend.log.error("role_not_authentic", reason=error.reason)
        raise denied from error
    if role is None:
        raise denied
    made = _make(asked, duration_s, revision)
    named = (
        Tree("AssumedRoleId", f"{account}:{form.role}:{form.session}"),
        Tree("Arn", _session_arn(account, form.role, form.session)),
    )
    used = 100 * len(form.policy) // limits.MAX_SESSION_POLICY_BYTES
    return made.tree(), Tree("AssumedRoleUser", "", named), Tree("PackedPolicySize", str(used))


def _check_lasting(asked: ProvenRequest) -> None:
    """Refuse to prolong temporary credentials by others. Raises S3Error AccessDenied."""
    if asked.credential.session is not None:
        raise S3Error(
            sts.ACCESS_DENIED, f"Cannot call {asked.form.action} with session credentials"
        )


def _may_assume(asked: ProvenRequest, arn: str) -> bool:
    """Return whether the caller's policies allow it; a key of the tenant's own may."""
    principal = asked.principal
    if principal.policy is None:
        return True
    facts = RequestCircumstances(
        asked.request,
        Query(b""),
        principal,
        asked.verified,
        asked.now,
        asked.backend.region,
        operation=sts.ASSUME_ROLE,
    )
    return principal.policy.judge(principal.caller, ASSUME_ROLE, arn, facts) is Effect.ALLOW


def _make(asked: ProvenRequest, duration_s: int, revision: int) -> Credentials:
    """Make credentials of the session that a request asks for.

    Raises:
        S3Error: MalformedPolicyDocument.
    """
    form, entropy = asked.form, asked.backend.entropy
    if form.policy:
        try:
            parse_user_policy(form.policy, check_condition)
        except Refused as error:
            raise S3Error(sts.MALFORMED_POLICY, str(error.fields["detail"])) from error
    access_key_id = TEMPORARY + b32encode(entropy(10)).decode("ascii")
    secret = b64encode(entropy(30)).decode("ascii")
    issued_s = int(asked.now)
    record = SessionRecord(
        SESSION_VERSION,
        secret,
        asked.credential.access_key_id,
        issued_s,
        issued_s + duration_s,
        form.role,
        form.session,
        form.policy,
        revision,
    )
    token = seal_session(asked.credential.tenant, access_key_id, record, entropy)
    return Credentials(access_key_id, secret, token, record.expires_s)


def _session_arn(account: str, role: str, session: str) -> str:
    return f"arn:aws:sts::{account}:assumed-role/{role}/{session}"


_ACTS: Final[Mapping[str, Act]] = {
    sts.GET_CALLER_IDENTITY: _identity,
    sts.GET_SESSION: _session_token,
    sts.ASSUME_ROLE: _assume_role,
}
assert _ACTS.keys() == sts.ACTIONS
