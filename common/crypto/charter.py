"""Charters: the coordinators of a swarm and the keys that they prove, signed by the swarm's key.

Cells, gateways and invitations pin the swarm's key. A coordinator proves a key of its own, and a
charter says whose it is. Each has a revision: a later one takes the place of all before it, so that
a key which is revoked in it, or not named any more, is nobody's.

Source: docs/charter-format.md.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Final

from common import limits
from common.crypto.identity import (
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    KeyPair,
    is_sound_key,
    peer_id_of,
    signature_holds,
)
from common.data_classes import dataclass
from common.errors import BadConfig, PeerViolation
from common.ids import PeerId
from common.reasons import ConfigFault, Violation
from common.wire.records import Max, Record, Size

CHARTER_VERSION: Final = 1
_SIGNED_AT: Final = 1 + PUBLIC_KEY_BYTES + SIGNATURE_BYTES
_DOMAIN: Final = b"alveary charter of coordinators v1\0"
_NAME: Final = re.compile(
    rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,{limits.MAX_COORDINATOR_NAME_CHARACTERS - 1}}}"
)


@dataclass(frozen=True, slots=True)
class CharteredCoordinator(Record):
    """A coordinator. ``number``: counts the keys of a swarm, from 1, and is never used again.
    ``name``: of one that is not revoked at a time."""

    number: int
    name: Annotated[str, Max(limits.MAX_COORDINATOR_NAME_CHARACTERS)]
    public_key: Annotated[bytes, Size(PUBLIC_KEY_BYTES)]
    is_revoked: bool = False

    @property
    def key_id(self) -> PeerId:
        """The peer id that it proves."""
        return peer_id_of(self.public_key)


@dataclass(frozen=True, slots=True)
class _Content(Record):
    revision: int
    coordinators: Annotated[tuple[CharteredCoordinator, ...], Max(limits.MAX_CHARTERED)]


@dataclass(frozen=True, slots=True)
class Charter:
    """A charter whose signature was checked. ``data``: as it is stored and sent."""

    revision: int
    coordinators: tuple[CharteredCoordinator, ...]
    data: bytes

    @property
    def living(self) -> tuple[CharteredCoordinator, ...]:
        """Those that are not revoked."""
        return tuple(each for each in self.coordinators if not each.is_revoked)

    def names(self, peer_id: PeerId) -> bool:
        """Return whether a peer is a coordinator of the swarm."""
        return any(each.key_id == peer_id for each in self.living)

    def name_of(self, peer_id: PeerId) -> str:
        """Return the name that a key has or had; empty: none."""
        return next((each.name for each in self.coordinators if each.key_id == peer_id), "")

    def is_later_than(self, other: Charter | None) -> bool:
        """Return whether this one counts where both are known: it has a later revision. Of two that
        were signed for one revision, the one whose bytes are greater counts, for everybody."""
        return other is None or (self.revision, self.data) > (other.revision, other.data)


def sign_charter(
    swarm_key: KeyPair, revision: int, coordinators: Sequence[CharteredCoordinator]
) -> Charter:
    """Sign a charter.

    Args:
        swarm_key: whose id cells and gateways pin.
        revision: beyond that of every charter that was signed before.
        coordinators: at least one of them is not revoked.
    """
    content = _Content(revision, tuple(coordinators))
    assert _is_sound(content)
    packed = content.pack()
    signature = swarm_key.sign(_DOMAIN + packed)
    data = bytes([CHARTER_VERSION]) + swarm_key.public_key + signature + packed
    assert len(data) <= limits.MAX_CHARTER_BYTES
    return Charter(revision, content.coordinators, data)


def read_charter(data: bytes, swarm_key_id: PeerId) -> Charter:
    """Read a charter that somebody shows.

    Args:
        swarm_key_id: the id that is pinned.

    Raises:
        PeerViolation: ``bad_charter``: it is none, or not signed by the swarm's key.
    """
    public_key = data[1 : 1 + PUBLIC_KEY_BYTES]
    signature, packed = data[1 + PUBLIC_KEY_BYTES : _SIGNED_AT], data[_SIGNED_AT:]
    if (
        not _SIGNED_AT < len(data) <= limits.MAX_CHARTER_BYTES
        or data[0] != CHARTER_VERSION
        or peer_id_of(public_key) != swarm_key_id
        or not signature_holds(public_key, _DOMAIN + packed, signature)
    ):
        raise PeerViolation(Violation.BAD_CHARTER)
    try:
        content = _Content.unpack(packed)
    except PeerViolation as error:
        raise PeerViolation(Violation.BAD_CHARTER) from error
    if not _is_sound(content):
        raise PeerViolation(Violation.BAD_CHARTER)
    return Charter(content.revision, content.coordinators, bytes(data))


def swarm_key_id_of(data: bytes) -> PeerId:
    """Return the id of the key that a charter says it is signed by: for who reads its own file."""
    return peer_id_of(data[1 : 1 + PUBLIC_KEY_BYTES])


def _is_sound(content: _Content) -> bool:
    found = content.coordinators
    living = [each.name for each in found if not each.is_revoked]
    return (
        content.revision > 0
        and 0 < len(living) <= limits.MAX_COORDINATORS
        and len(set(living)) == len(living)
        and len({each.number for each in found}) == len(found)
        and len({each.public_key for each in found}) == len(found)
        and all(is_sound_key(each.public_key) and _NAME.fullmatch(each.name) for each in found)
    )


# --- changes ------------------------------------------------------------------------------------


def founded(swarm_key: KeyPair, name: str, public_key: bytes) -> Charter:
    """Sign the first charter of a swarm, of one coordinator."""
    return sign_charter(swarm_key, 1, [CharteredCoordinator(1, name, public_key)])


def with_added(charter: Charter, name: str, public_key: bytes) -> list[CharteredCoordinator]:
    """Return the coordinators with one more. Raises BadConfig: ``bad_name``,
    ``coordinator_exists``, ``too_many_coordinators``."""
    if not _NAME.fullmatch(name):
        raise BadConfig(
            ConfigFault.BAD_NAME,
            message=f"a coordinator's name has 1 to {limits.MAX_COORDINATOR_NAME_CHARACTERS}"
            " letters, digits, dots, dashes and underscores",
        )
    if any(name == each.name for each in charter.living):
        raise BadConfig(
            ConfigFault.COORDINATOR_EXISTS, message=f"there is a coordinator {name} already"
        )
    if len(charter.living) == limits.MAX_COORDINATORS:
        raise BadConfig(
            ConfigFault.TOO_MANY_COORDINATORS,
            message=f"a swarm has at most {limits.MAX_COORDINATORS} coordinators: revoke one",
        )
    number = 1 + max(each.number for each in charter.coordinators)
    revoked = [each for each in charter.coordinators if each.is_revoked]
    room = limits.MAX_CHARTERED - len(charter.living) - 1
    dropped = revoked[: max(0, len(revoked) - room)]
    kept = [each for each in charter.coordinators if each not in dropped]
    return [*kept, CharteredCoordinator(number, name, public_key)]


def with_revoked(charter: Charter, name: str) -> list[CharteredCoordinator]:
    """Return the coordinators with the key of one revoked. Raises BadConfig:
    ``no_such_coordinator``; ``last_coordinator``: nobody would be left."""
    found = _revoked(charter, name)
    if len(charter.living) == 1:
        raise BadConfig(
            ConfigFault.LAST_COORDINATOR,
            message=f"{name} is the only coordinator: give it another key with `alveary coordinator"
            " replace`, or recover a new one",
        )
    return found


def with_replaced(charter: Charter, name: str, public_key: bytes) -> list[CharteredCoordinator]:
    """Return the coordinators with another key for one, and its own revoked. Raises BadConfig:
    ``no_such_coordinator``."""
    return with_added(
        replace(charter, coordinators=tuple(_revoked(charter, name))), name, public_key
    )


def _revoked(charter: Charter, name: str) -> list[CharteredCoordinator]:
    if not any(name == each.name for each in charter.living):
        raise BadConfig(
            ConfigFault.NO_SUCH_COORDINATOR, message=f"the charter names no coordinator {name}"
        )
    return [
        replace(each, is_revoked=True) if each.name == name else each
        for each in charter.coordinators
    ]
