"""The roster of a tenant: its users, their access keys, its named policies; one sealed record.

It is one record, and not one for each user and policy, so that nobody can answer with a user of
today and a policy of yesterday; and nobody who cannot open it learns how many there are.

Source: docs/manifest-format.md, "Roster"; docs/decisions/0053-rosters-and-sessions.md.
"""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

from common import limits
from common.crypto.keys import TenantKey
from common.data_classes import dataclass
from common.errors import Corrupt, Refused
from common.format.versioned import unpack_opened
from common.ports import Entropy
from common.reasons import Damage, Refusal
from common.wire.records import Max, Record

ROSTER_VERSION: Final = 1
_ROSTER: Final = "roster"

UserName: TypeAlias = Annotated[str, Max(limits.MAX_USER_NAME_CHARACTERS)]
PolicyName: TypeAlias = Annotated[str, Max(limits.MAX_POLICY_NAME_CHARACTERS)]


@dataclass(frozen=True, slots=True)
class RosterKey(Record):
    """An access key of a user. Its secret is in a record of its own. ``is_active``: False: it is
    refused until it is enabled again."""

    access_key_id: Annotated[str, Max(limits.MAX_ACCESS_KEY_ID_CHARACTERS)]
    created_ms: int
    is_active: bool


@dataclass(frozen=True, slots=True)
class RosterUser(Record):
    """A user. ``policies``: the names of those that are attached to it."""

    name: UserName
    created_ms: int
    policies: Annotated[tuple[PolicyName, ...], Max(limits.MAX_POLICIES_PER_USER)]
    keys: Annotated[tuple[RosterKey, ...], Max(limits.MAX_KEYS_PER_USER)]


@dataclass(frozen=True, slots=True)
class RosterPolicy(Record):
    """A named policy. ``text``: the JSON document. ``is_role``: it may be assumed as a role."""

    name: PolicyName
    changed_ms: int
    text: Annotated[bytes, Max(limits.MAX_NAMED_POLICY_BYTES)]
    is_role: bool


@dataclass(frozen=True, slots=True)
class Roster(Record):
    """The users and the named policies of a tenant, each with a name of its own among its like."""

    version: int
    users: Annotated[tuple[RosterUser, ...], Max(limits.MAX_ROSTER_USERS)]
    policies: Annotated[tuple[RosterPolicy, ...], Max(limits.MAX_ROSTER_POLICIES)]


EMPTY_ROSTER: Final = Roster(ROSTER_VERSION, (), ())
"""The roster of a tenant without users."""


def seal_roster(tenant: TenantKey, revision: int, roster: Roster, entropy: Entropy) -> bytes:
    """Seal the roster of a tenant as of this revision.

    Args:
        revision: greater than that of every earlier one.

    Raises:
        Refused: ``record_too_large``.
    """
    plaintext = roster.pack()
    if len(plaintext) > limits.MAX_ROSTER_BYTES:
        raise Refused(Refusal.RECORD_TOO_LARGE, purpose=_ROSTER, bytes=len(plaintext))
    return tenant.seal(_ROSTER, (revision.to_bytes(8, "big"),), plaintext, entropy)


def open_roster(tenant: TenantKey, revision: int, sealed: bytes) -> Roster:
    """Open what was sealed as the roster of a tenant as of this revision.

    Raises:
        Corrupt: ``record_not_authentic``, ``record_not_understood``.
    """
    if not 0 <= revision < 1 << 63:
        raise Corrupt(Damage.RECORD_NOT_AUTHENTIC, purpose=_ROSTER)
    plaintext = tenant.open(_ROSTER, (revision.to_bytes(8, "big"),), sealed)
    return unpack_opened(Roster, ROSTER_VERSION, plaintext)
