"""Access keys: who signs with which secret, kept for seconds so that most requests ask nobody.

Source: docs/threat-model.md, "A malicious gateway, or a stolen S3 secret";
docs/s3-compatibility.md, "Authentication".
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import trio

from common import limits
from common.crypto.keys import TenantKey
from common.errors import Corrupt, NotFound, OutcomeUnknown, Refused, Unavailable
from common.format.manifest import open_access_key, open_user_key
from common.ids import TenantId
from common.ports import Log
from common.wire.messages.writing import AccessKey
from gateway.access.policy import Policy
from gateway.access.policy_document import parse_user_policy
from gateway.principals import KeyHolder
from gateway_s3.auth.sigv4 import derive_signing_key
from gateway_s3.errors import INVALID_ACCESS_KEY_ID, SLOW_DOWN, S3Error

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
    Version 2. ``user``, ``policy``: as of a KeyHolder."""

    access_key_id: str
    secret: str = field(repr=False)
    tenant: TenantKey
    old_signatures: bool = False
    user: str | None = None
    policy: Policy | None = None
    _signing_keys: dict[tuple[str, str], bytes] = field(default_factory=dict, repr=False)

    def holder(self) -> KeyHolder:
        """Return the principal that proves it holds this key."""
        return KeyHolder(self.tenant, self.access_key_id, self.user, self.policy)

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


def _opened(tenant: TenantKey, access_key_id: str, sealed: bytes) -> Credential:
    """The credential in a record: the tenant's own, or a user's.

    Raises:
        Corrupt: it is not authentic as either.
        Refused: ``malformed_policy``: the user's.
    """
    try:
        opened = open_access_key(tenant, access_key_id, sealed)
    except Corrupt:
        of_user = open_user_key(tenant, access_key_id, sealed)
        policy = parse_user_policy(of_user.policy)
        return Credential(
            access_key_id,
            of_user.secret,
            tenant,
            of_user.old_signatures,
            of_user.user,
            policy,
        )
    return Credential(access_key_id, opened.secret, tenant, opened.old_signatures)


class AccessKeys:
    """Finds credentials by access key id.

    Args:
        ask: the coordinator's record of an access key (AccessKeyGet).
        tenant_key: the key of a tenant, None when this gateway does not hold it.
        more_tenants: looks for tenants that were added; whether there are some. A coordinator
            reveals nothing of a tenant whose key this gateway has not proven.
    """

    def __init__(
        self,
        ask: Callable[[str], Awaitable[AccessKey]],
        tenant_key: Callable[[TenantId], TenantKey | None],
        more_tenants: Callable[[], Awaitable[bool]],
        log: Log,
    ) -> None:
        self._ask = ask
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
            return _opened(tenant, access_key_id, record.sealed)
        except (Corrupt, Refused) as error:
            # A coordinator that answers with another's record must not let anyone in, and a policy
            # that cannot be read must not be passed over.
            self._log.error("access_key_not_authentic", reason=error.reason)
            return None

    async def _record(self, access_key_id: str) -> AccessKey | None:
        try:
            return await self._ask(access_key_id)
        except NotFound:
            return None
