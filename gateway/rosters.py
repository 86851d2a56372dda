"""Rosters of tenants, as a gateway knows them: which user has an access key, and what may that one.

A gateway never goes back: it keeps the newest roster of each tenant that it ever saw, on its disk
too, and uses it whatever a coordinator answers. What it does not do is ask for one: the revision
comes with each access key, and a roster is fetched only when it is newer than the one known.

Source: docs/decisions/0053-rosters-and-sessions.md.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import trio

from common import limits
from common.crypto.keys import TenantKey
from common.errors import AlvearyError, Corrupt, NotFound
from common.format.roster import EMPTY_ROSTER, Roster, RosterUser, open_roster
from common.ids import TenantId
from common.ports import Disk, Log
from common.reasons import Damage
from common.state_files import read_whole, write_whole
from common.wire.messages.writing import RosterRecord
from gateway.access.policy import Policy, combined
from gateway.access.policy_document import parse_user_policy

FILE_PREFIX: Final = "roster-"
_REVISION_BYTES: Final = 8


class KnownRoster:
    """A roster, whose policies are parsed when they are first needed.

    Args:
        older: the roster that it replaces, whose parsed policies are used again where their text
            is the same.
    """

    def __init__(self, revision: int, roster: Roster, older: KnownRoster | None = None) -> None:
        self.revision = revision
        self._users = {key.access_key_id: user for user in roster.users for key in user.keys}
        self._disabled = frozenset(
            key.access_key_id for user in roster.users for key in user.keys if not key.is_active
        )
        self._policies = {each.name: each for each in roster.policies}
        self._parsed: dict[bytes, Policy] = {}
        if older is not None:
            texts = {each.text for each in roster.policies}
            self._parsed = {text: each for text, each in older._parsed.items() if text in texts}
        self._of_users: dict[str, Policy] = {}

    def user_of(self, access_key_id: str) -> RosterUser | None:
        """Return the user who has an access key; None: nobody has it, or it is disabled."""
        return None if access_key_id in self._disabled else self._users.get(access_key_id)

    def policy_of(self, user: RosterUser) -> Policy:
        """Return what the policies of a user say together.

        Raises:
            Corrupt: ``record_not_understood``: one of them is not there: it might deny something.
            Refused: ``malformed_policy``: one of them cannot be read.
        """
        policy = self._of_users.get(user.name)
        if policy is None:
            if not self._policies.keys() >= set(user.policies):
                raise Corrupt(Damage.RECORD_NOT_UNDERSTOOD, record="Roster")
            attached = [self._policies[name] for name in user.policies]
            policy = combined([self._policy(each.text) for each in attached])
            self._of_users[user.name] = policy
        return policy

    def role(self, name: str) -> Policy | None:
        """Return the policy of a role; None: there is no such role.

        Raises:
            Refused: ``malformed_policy``.
        """
        found = self._policies.get(name)
        return None if found is None or not found.is_role else self._policy(found.text)

    def _policy(self, text: bytes) -> Policy:
        policy = self._parsed.get(text)
        if policy is None:
            policy = self._parsed[text] = parse_user_policy(text)
        return policy


NO_ROSTER: Final = KnownRoster(0, EMPTY_ROSTER)
"""The roster of a tenant that never had one."""


class Rosters:
    """The newest roster of each tenant.

    Args:
        ask: a coordinator's record (RosterGet).
        disk: keeps the newest of each tenant, sealed as it came.
    """

    def __init__(
        self, ask: Callable[[TenantId], Awaitable[RosterRecord]], disk: Disk, log: Log
    ) -> None:
        self._ask = ask
        self._disk = disk
        self._log = log
        self._known: OrderedDict[TenantId, KnownRoster] = OrderedDict()
        self._newest: dict[TenantId, int] = {}
        """The revisions of the newest, also of those that are on the disk alone, or were not kept
        there."""
        self._reading: dict[TenantId, trio.Lock] = {}
        self._told: dict[TenantId, int] = {}

    @property
    def known(self) -> Mapping[TenantId, KnownRoster]:
        """The rosters in memory."""
        return self._known

    async def find(self, tenant: TenantKey, revision: int) -> KnownRoster:
        """Return the newest roster of a tenant, which has at least this revision.

        Raises:
            Corrupt: ``roster_too_old``: no coordinator has one that new, though somebody has seen
                it; ``record_not_authentic``, ``record_not_understood``.
            Unavailable: no coordinator answers.
        """
        known = self._known.get(tenant.tenant_id)
        if known is not None and known.revision >= revision:
            self._known.move_to_end(tenant.tenant_id)
            return known
        async with self._reading.setdefault(tenant.tenant_id, trio.Lock()):
            revision = max(revision, self._newest.get(tenant.tenant_id, 0))
            known = self._known.get(tenant.tenant_id)
            if known is None:
                known = await self._load(tenant)
            if known.revision < revision:
                known = await self._fetch(tenant, revision, known)
            self._known[tenant.tenant_id] = known
            self._newest[tenant.tenant_id] = known.revision
            self._known.move_to_end(tenant.tenant_id)
            if len(self._known) > limits.MAX_KNOWN_ROSTERS:
                self._known.popitem(last=False)
            return known

    def note_answer(self, tenant_id: TenantId, revision: int) -> None:
        """Log that a coordinator answers with an older roster than the one known, once for each:
        its store was restored from a backup, or it hides a change."""
        known = self._known.get(tenant_id)
        if known is None or revision >= known.revision or self._told.get(tenant_id) == revision:
            return
        self._told[tenant_id] = revision
        self._log.warning(
            "roster_older", tenant_id=tenant_id, revision=revision, known=known.revision
        )

    async def _fetch(self, tenant: TenantKey, revision: int, known: KnownRoster) -> KnownRoster:
        try:
            record = await self._ask(tenant.tenant_id)
        except NotFound:
            record = RosterRecord(0, b"")
        if record.revision < revision:
            raise Corrupt(
                Damage.ROSTER_TOO_OLD, revision=record.revision, expected_revision=revision
            )
        roster = open_roster(tenant, record.revision, record.sealed)
        content = record.revision.to_bytes(_REVISION_BYTES, "big") + record.sealed
        try:
            await write_whole(self._disk, _file(tenant.tenant_id), content)
        except AlvearyError as error:  # until the next start its revision is remembered
            self._log.warning("roster_not_kept", tenant_id=tenant.tenant_id, error=str(error))
        return KnownRoster(record.revision, roster, known)

    async def _load(self, tenant: TenantKey) -> KnownRoster:
        """Return the roster of an earlier life; none, where the file is gone or damaged."""
        most = _REVISION_BYTES + limits.MAX_SEALED_ROSTER_BYTES
        try:
            content = await read_whole(self._disk, _file(tenant.tenant_id), max_bytes=most)
            if not content:
                return NO_ROSTER
            revision = int.from_bytes(content[:_REVISION_BYTES], "big")
            roster = open_roster(tenant, revision, content[_REVISION_BYTES:])
        except AlvearyError as error:
            self._log.warning("roster_not_loaded", tenant_id=tenant.tenant_id, error=str(error))
            return NO_ROSTER
        return KnownRoster(revision, roster)


def _file(tenant_id: TenantId) -> str:
    return FILE_PREFIX + tenant_id.hex()
