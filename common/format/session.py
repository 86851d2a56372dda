"""Session tokens: what a gateway gives out with temporary credentials, and any other gateway of the
tenant can check without asking anybody.

A token is ``tenant id | sealed record`` in Base64 for URLs. The record is bound to the temporary
access key id, so a token is of use with that one only, and holds the secret: nothing is stored.

Source: docs/manifest-format.md, "Session tokens"; docs/decisions/0053-rosters-and-sessions.md.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import field
from typing import Annotated, Final

from common import limits
from common.crypto.keys import TenantKey
from common.data_classes import dataclass
from common.errors import Corrupt
from common.format.roster import PolicyName
from common.format.versioned import unpack_opened
from common.ids import TENANT_ID_BYTES, TenantId
from common.ports import Entropy
from common.reasons import Damage
from common.wire.records import Max, Record

SESSION_VERSION: Final = 1
_SESSION: Final = "session"


@dataclass(frozen=True, slots=True)
class SessionRecord(Record):
    """Temporary credentials. ``parent``: the access key that they were given to, which revokes them
    when it is revoked. ``issued_s``, ``expires_s``: Unix seconds. ``role``: that was assumed, for a
    session called ``name``; empty: none. ``policy``: the JSON document that limits the session;
    empty: none. ``roster_revision``: of the tenant's roster, as the gateway knew it."""

    version: int
    secret: Annotated[str, Max(128)] = field(repr=False)
    parent: Annotated[str, Max(limits.MAX_ACCESS_KEY_ID_CHARACTERS)]
    issued_s: int
    expires_s: int
    role: PolicyName
    name: Annotated[str, Max(limits.MAX_USER_NAME_CHARACTERS)]
    policy: Annotated[bytes, Max(limits.MAX_SESSION_POLICY_BYTES)]
    roster_revision: int


def seal_session(
    tenant: TenantKey, access_key_id: str, record: SessionRecord, entropy: Entropy
) -> str:
    """Return the token of a session.

    Args:
        access_key_id: the temporary one.
    """
    sealed = tenant.seal(_SESSION, _context(access_key_id), record.pack(), entropy)
    return _encoded(tenant.tenant_id + sealed)


def tenant_of_token(token: str) -> TenantId:
    """Return the tenant that a token says it is of.

    Raises:
        Corrupt: ``record_not_authentic``.
    """
    return TenantId(_decoded(token)[:TENANT_ID_BYTES])


def open_session(tenant: TenantKey, access_key_id: str, token: str) -> SessionRecord:
    """Open the token of a session of a tenant.

    Raises:
        Corrupt: ``record_not_authentic``: it is not of this tenant and access key id, or was
            changed; ``record_not_understood``.
    """
    content = _decoded(token)
    if content[:TENANT_ID_BYTES] != tenant.tenant_id:
        raise Corrupt(Damage.RECORD_NOT_AUTHENTIC, purpose=_SESSION)
    plaintext = tenant.open(_SESSION, _context(access_key_id), content[TENANT_ID_BYTES:])
    return unpack_opened(SessionRecord, SESSION_VERSION, plaintext)


def _context(access_key_id: str) -> tuple[bytes, ...]:
    return (access_key_id.encode(),)


def _encoded(content: bytes) -> str:
    return urlsafe_b64encode(content).decode("ascii")


def _decoded(token: str) -> bytes:
    try:
        content = urlsafe_b64decode(token)
    except ValueError:
        raise Corrupt(Damage.RECORD_NOT_AUTHENTIC, purpose=_SESSION) from None
    # Letters that mean nothing, and bits that are left over: each session has one token.
    spelling = _encoded(content).encode("ascii")
    if len(content) <= TENANT_ID_BYTES or not hmac.compare_digest(spelling, token.encode("utf-8")):
        raise Corrupt(Damage.RECORD_NOT_AUTHENTIC, purpose=_SESSION)
    return content
