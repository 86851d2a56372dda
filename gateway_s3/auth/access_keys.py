"""Access keys: who signs with which secret, kept for seconds so that most requests ask nobody.

A temporary key brings a token with all that is to be known of it but whether the key that it was
given to still is one: that is looked up as any key.

Source: docs/threat-model.md, "A malicious gateway, or a stolen S3 secret";
docs/s3-compatibility.md, "Authentication".
"""

from __future__ import annotations

import hmac
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import field
from typing import Final

import trio

from common import limits
from common.crypto.keys import TenantKey
from common.data_classes import dataclass
from common.errors import Corrupt, NotFound, OutcomeUnknown, Refused, Unavailable
from common.format.manifest import open_access_key, open_user_key
from common.format.session import SessionRecord, open_session, tenant_of_token
from common.ids import TenantId
from common.ports import Log
from common.wire.messages.writing import AccessKey
from gateway.access.policy import Policy
from gateway.access.policy_document import parse_user_policy
from gateway.principals import KeyHolder, Session
from gateway.rosters import Rosters
from gateway_s3.auth.sigv4 import derive_signing_key
from gateway_s3.errors import (
    EXPIRED_TOKEN,
    INVALID_ACCESS_KEY_ID,
    INVALID_TOKEN,
    SLOW_DOWN,
    S3Error,
)

FRESH_S: Final = 5.0
"""A known key is used for so long without asking: a revoked one works for no longer."""
STALE_S: Final = 30.0
"""While no coordinator answers, or one request asks, a known key is used for so long."""
REFRESH_PATIENCE_S: Final = 1.0
"""Time that the refreshing request waits for an answer while the known key may still be used."""
UNKNOWN_S: Final = 5.0
"""An id that nobody has is not asked for again for so long."""


@dataclass(frozen=True, slots=True)
class Credential:
    """An access key with its secret and its owner. ``old_signatures``: it may sign headers with
    Version 2. ``user``, ``policy``, ``session``: as of a KeyHolder. ``roster_revision``: of the
    roster that the tenant had at least when this was learned."""

    access_key_id: str
    secret: str = field(repr=False)
    tenant: TenantKey
    old_signatures: bool = False
    user: str | None = None
    policy: Policy | None = None
    session: Session | None = None
    roster_revision: int = 0
    _signing_keys: dict[tuple[str, str], bytes] = field(default_factory=dict, repr=False)

    def holder(self) -> KeyHolder:
        """Return the principal that proves it holds this key."""
        return KeyHolder(self.tenant, self.access_key_id, self.user, self.policy, self.session)

    def signing_key(self, date: str, region: str) -> bytes:
        """The key of one day and region, derived once. As secret as the secret."""
        key = self._signing_keys.get((date, region))
        if key is None:
            if len(self._signing_keys) >= limits.MAX_SIGNING_KEYS:
                self._signing_keys.clear()
            key = derive_signing_key(self.secret, date, region)
            self._signing_keys[date, region] = key
        return key


@dataclass(slots=True)
class _Known:
    credential: Credential
    learned_s: float
    asking: bool = False


@dataclass(slots=True)
class _Asking:
    """A question that runs. Neither ``credential`` nor ``failure``: the key is unknown, or the
    asking task was cancelled."""

    done: trio.Event = field(default_factory=trio.Event)
    credential: Credential | None = None
    failure: Unavailable | OutcomeUnknown | None = None


@dataclass(frozen=True, slots=True)
class _KnownSession:
    """A session whose token was opened. ``signing_keys``: as of its credential."""

    token: str
    record: SessionRecord
    tenant: TenantKey
    policy: Policy | None
    signing_keys: dict[tuple[str, str], bytes] = field(default_factory=dict, repr=False)

    def is_of(self, token: str) -> bool:
        """Return whether this is the token that was opened."""
        return hmac.compare_digest(self.token.encode("ascii"), token.encode("utf-8"))


class AccessKeys:
    """Finds credentials by access key id.

    Args:
        ask: the coordinator's record of an access key (AccessKeyGet).
        tenant_key: the key of a tenant, None when this gateway does not hold it.
        more_tenants: looks for tenants that were added; whether there are some. A coordinator
            reveals nothing of a tenant whose key this gateway has not proven.
        rosters: the users of tenants.
    """

    def __init__(
        self,
        ask: Callable[[str], Awaitable[AccessKey]],
        tenant_key: Callable[[TenantId], TenantKey | None],
        more_tenants: Callable[[], Awaitable[bool]],
        log: Log,
        rosters: Rosters,
    ) -> None:
        self._ask = ask
        self._rosters = rosters
        self._sessions: OrderedDict[str, _KnownSession] = OrderedDict()
        self._tenant_key = tenant_key
        self._more_tenants = more_tenants
        self._log = log
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._asking: dict[str, _Asking] = {}

    async def find(self, access_key_id: str) -> Credential:
        """The credential of this access key id.

        Raises:
            S3Error: InvalidAccessKeyId: unknown, revoked, or of a tenant that is not served here;
                SlowDown: too many unknown ids are asked for.
            Unavailable: no coordinator answers and nothing is remembered.
        """
        known = self._known.get(access_key_id)
        now = trio.current_time()
        if known is None:
            return await self._learn_first(access_key_id)
        age_s = now - known.learned_s
        if age_s < FRESH_S or (known.asking and age_s < STALE_S):
            return known.credential
        known.asking = True
        try:
            # Time that a request waits here is lacking where it cannot do without an answer.
            with trio.move_on_after(REFRESH_PATIENCE_S if age_s < STALE_S else math.inf):
                return await self._learn(access_key_id)
            return known.credential
        except (Unavailable, OutcomeUnknown):
            if age_s < STALE_S:
                return known.credential
            raise
        finally:
            known.asking = False

    async def signer(self, access_key_id: str, token: str | None, now: float) -> Credential:
        """The credential of this access key id, which is temporary if it comes with a token.

        Args:
            now: Unix seconds.

        Raises:
            S3Error: InvalidToken: it is not a token of this key, or its role is gone; ExpiredToken;
                as :meth:`find` of the key itself, or of that which a temporary one was given to.
            Unavailable: as :meth:`find`.
        """
        if token is None:
            return await self.find(access_key_id)
        known = self._sessions.get(access_key_id)
        if known is None or not known.is_of(token):
            known = await self._open_session(access_key_id, token)
        record = known.record
        if now >= record.expires_s:
            raise S3Error(EXPIRED_TOKEN)
        parent = await self.find(record.parent)
        if parent.tenant.tenant_id != known.tenant.tenant_id:
            raise S3Error(INVALID_TOKEN)
        self._sessions[access_key_id] = known
        self._sessions.move_to_end(access_key_id)
        if len(self._sessions) > limits.MAX_KNOWN_SESSIONS:
            self._sessions.popitem(last=False)
        user, policy = await self._rights(record, parent)
        return Credential(
            access_key_id,
            record.secret,
            parent.tenant,
            parent.old_signatures,
            user,
            policy,
            Session(record.issued_s, record.role or None, record.name, known.policy),
            parent.roster_revision,
            known.signing_keys,
        )

    async def role(self, credential: Credential, name: str) -> tuple[Policy | None, int]:
        """Return the policy of a role of a tenant, None without it, and the roster's revision.

        Args:
            credential: a key of the tenant.

        Raises:
            Corrupt: as :meth:`Rosters.find`; Refused: ``malformed_policy``.
            Unavailable: no coordinator answers.
        """
        roster = await self._rosters.find(credential.tenant, credential.roster_revision)
        return roster.role(name), roster.revision

    async def _open_session(self, access_key_id: str, token: str) -> _KnownSession:
        """Open a token. Raises S3Error InvalidToken."""
        try:
            if len(token) > limits.MAX_SESSION_TOKEN_CHARACTERS:
                raise S3Error(INVALID_TOKEN)
            tenant_id = tenant_of_token(token)
            tenant = self._tenant_key(tenant_id)
            if tenant is None and await self._more_tenants():
                tenant = self._tenant_key(tenant_id)
            if tenant is None:
                raise S3Error(INVALID_TOKEN)
            record = open_session(tenant, access_key_id, token)
            policy = parse_user_policy(record.policy) if record.policy else None
        except (Corrupt, Refused):
            raise S3Error(INVALID_TOKEN) from None
        return _KnownSession(token, record, tenant, policy)

    async def _rights(
        self, record: SessionRecord, parent: Credential
    ) -> tuple[str | None, Policy | None]:
        """Return the user of a session, and the policy of that one or of the role.

        Raises:
            S3Error: InvalidToken: there is no such role, or the roster does not name the key.
        """
        if not record.role and record.roster_revision <= parent.roster_revision:
            return parent.user, parent.policy
        revision = max(record.roster_revision, parent.roster_revision)
        try:
            roster = await self._rosters.find(parent.tenant, revision)
            if record.role:
                policy = roster.role(record.role)
                if policy is None:
                    raise S3Error(INVALID_TOKEN)
                return None, policy
            if parent.user is None:
                return None, None
            user = roster.user_of(parent.access_key_id)
            if user is None:
                raise S3Error(INVALID_TOKEN)
            return user.name, roster.policy_of(user)
        except (Corrupt, Refused) as error:
            self._log.error("session_not_authentic", reason=error.reason)
            raise S3Error(INVALID_TOKEN) from error

    async def _learn_first(self, access_key_id: str) -> Credential:
        """Ask for an id that is not known, once for all who wait for it."""
        while (running := self._asking.get(access_key_id)) is not None:
            await running.done.wait()
            if running.credential is not None:
                return running.credential
            if running.failure is not None:
                raise running.failure.again()
        self._check_unknown(access_key_id)
        if len(self._asking) >= limits.MAX_ACCESS_KEY_LOOKUPS:
            raise S3Error(SLOW_DOWN)
        asking = self._asking[access_key_id] = _Asking()
        try:
            asking.credential = await self._learn(access_key_id)
        except (Unavailable, OutcomeUnknown) as error:
            asking.failure = error
            raise
        finally:
            del self._asking[access_key_id]
            asking.done.set()
        return asking.credential

    def _check_unknown(self, access_key_id: str) -> None:
        now = trio.current_time()
        if now < self._unknown.get(access_key_id, now):
            raise S3Error(INVALID_ACCESS_KEY_ID)

    async def _learn(self, access_key_id: str) -> Credential:
        now = trio.current_time()
        credential = await self._fetch(access_key_id)
        if credential is None:
            self._known.pop(access_key_id, None)
            self._unknown[access_key_id] = trio.current_time() + UNKNOWN_S
            self._unknown.move_to_end(access_key_id)
            if len(self._unknown) > limits.MAX_UNKNOWN_ACCESS_KEYS:
                self._unknown.popitem(last=False)
            raise S3Error(INVALID_ACCESS_KEY_ID)
        self._known[access_key_id] = _Known(credential, now)
        self._known.move_to_end(access_key_id)
        if len(self._known) > limits.MAX_KNOWN_ACCESS_KEYS:
            self._known.popitem(last=False)
        return credential

    async def _fetch(self, access_key_id: str) -> Credential | None:
        if len(access_key_id) > limits.MAX_ACCESS_KEY_ID_CHARACTERS:
            return None
        record = await self._record(access_key_id)
        if record is None and await self._more_tenants():
            record = await self._record(access_key_id)
        if record is None:
            return None
        tenant = self._tenant_key(record.tenant_id)
        if tenant is None:
            self._log.warning("tenant_not_served", tenant_id=record.tenant_id)
            return None
        try:
            return await self._opened(tenant, access_key_id, record)
        except (Corrupt, Refused) as error:
            # A coordinator that answers with another's record must not let anyone in, and a policy
            # that cannot be read must not be passed over.
            self._log.error("access_key_not_authentic", reason=error.reason)
            return None

    async def _opened(
        self, tenant: TenantKey, access_key_id: str, record: AccessKey
    ) -> Credential | None:
        """The credential in a record: the tenant's own, or a user's; None: it is disabled, or the
        roster does not know it.

        Raises:
            Corrupt: it is not authentic as either; as :meth:`Rosters.find`.
            Refused: ``malformed_policy``: the user's.
            Unavailable: no coordinator answers.
        """
        revision = record.roster_revision
        self._rosters.note_answer(tenant.tenant_id, revision)
        try:
            own = open_access_key(tenant, access_key_id, record.sealed)
        except Corrupt:
            of_user = open_user_key(tenant, access_key_id, record.sealed)
        else:
            return Credential(
                access_key_id, own.secret, tenant, own.old_signatures, roster_revision=revision
            )
        roster = await self._rosters.find(tenant, revision)
        user = roster.user_of(access_key_id)
        if user is None:
            return None
        return Credential(
            access_key_id,
            of_user.secret,
            tenant,
            of_user.old_signatures,
            user.name,
            roster.policy_of(user),
            roster_revision=roster.revision,
        )

    async def _record(self, access_key_id: str) -> AccessKey | None:
        try:
            return await self._ask(access_key_id)
        except NotFound:
            return None
