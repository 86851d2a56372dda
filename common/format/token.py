"""The join token: all that a person types to make a machine a cell or a gateway of a swarm.

``alv1-`` and, in lower-case base32 without padding, a :class:`JoinToken` record followed by its
CRC-32. The checksum finds typing errors; what a forger lacks is the secret of a cell's token. A
gateway's token has none: it gives no permission, it says where the coordinators are and which key
is theirs.

Source: docs/protocol.md, "Join tokens"; docs/operations.md, "Joining".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from typing import Annotated, Final

from common import limits
from common.data_classes import dataclass
from common.errors import BadConfig, PeerViolation
from common.reasons import ConfigFault
from common.wire.messages.base import Label, Peer
from common.wire.records import Max, Record

PREFIX: Final = "alv1-"
ROLE_CELL: Final = "cell"
ROLE_GATEWAY: Final = "gateway"
SECRET_BYTES: Final = 16
INVITE_ID_BYTES: Final = 8
_CHECK_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class TokenAddress(Record):
    """The address of a coordinator."""

    host: Label
    port: int


@dataclass(frozen=True, slots=True)
class JoinToken(Record):
    """The token with which a cell or a gateway joins.

    ``role``: ``cell`` or ``gateway``. ``swarm``: the swarm's name, by which zeroconf finds its
    coordinators when ``coordinators`` is empty. ``coordinator_id``: the key they must have.
    ``secret``: what the coordinator knows a cell's invitation by, 16 bytes; empty for a gateway,
    which proves its tenants' keys instead.
    """

    version: int
    role: Label
    swarm: Label
    coordinators: Annotated[tuple[TokenAddress, ...], Max(16)]
    coordinator_id: Peer
    secret: Annotated[bytes, Max(SECRET_BYTES)]


TOKEN_VERSION: Final = 1


def invite_id_of(secret: bytes) -> str:
    """Return the name of the invitation with this secret: 16 hex digits that let nobody in."""
    return hashlib.sha256(secret).digest()[:INVITE_ID_BYTES].hex()


def encode_token(token: JoinToken) -> str:
    """The token as text: one word of lower-case letters, digits and a dash."""
    data = token.pack()
    data += zlib.crc32(data).to_bytes(_CHECK_BYTES, "big")
    return PREFIX + base64.b32encode(data).decode("ascii").rstrip("=").lower()


def decode_token(text: str, role: str) -> JoinToken:
    """Return the token that ``text`` says; case and surrounding white space do not matter.

    Args:
        role: that it must be for: ``cell`` or ``gateway``.

    Raises:
        BadConfig: ``bad_token``: not a whole token of a version known here; ``wrong_token``: it is
            for the other role.
    """
    word = text.strip().lower()
    if not word.startswith(PREFIX) or len(word) > limits.MAX_TOKEN_CHARACTERS or not word.isascii():
        raise BadConfig(ConfigFault.BAD_TOKEN, message="a join token begins with alv1-")
    letters = word[len(PREFIX) :].upper()
    try:
        data = base64.b32decode(letters + "=" * (-len(letters) % 8))
    except (binascii.Error, ValueError) as error:
        raise BadConfig(ConfigFault.BAD_TOKEN, message="the join token is damaged") from error
    body, check = data[:-_CHECK_BYTES], data[-_CHECK_BYTES:]
    if zlib.crc32(body).to_bytes(_CHECK_BYTES, "big") != check:
        raise BadConfig(ConfigFault.BAD_TOKEN, message="the join token is damaged or cut")
    try:
        token = JoinToken.unpack(body)
    except PeerViolation as error:
        raise BadConfig(ConfigFault.BAD_TOKEN, message="the join token is damaged") from error
    if token.version != TOKEN_VERSION:
        raise BadConfig(ConfigFault.BAD_TOKEN, message="the join token is of a newer version")
    if token.role != role:
        raise BadConfig(
            ConfigFault.WRONG_TOKEN, message=f"this token is for a {token.role}, not a {role}"
        )
    if len(token.secret) != (SECRET_BYTES if role == ROLE_CELL else 0):
        raise BadConfig(ConfigFault.BAD_TOKEN, message="the join token is damaged")
    return token
