"""The join token: all that a host types to make a machine a cell of a swarm.

``alv1-`` and, in lower-case base32 without padding, a :class:`JoinToken` record followed by its
CRC-32. The checksum finds typing errors; what a forger lacks is the secret.

Source: docs/operations.md, "Joining".
"""

from __future__ import annotations

import base64
import binascii
import zlib
from dataclasses import dataclass
from typing import Annotated, Final

from common.errors import BadConfig, PeerViolation
from common.wire.messages import Id16, Label, Peer
from common.wire.records import Max, Record

PREFIX: Final = "alv1-"
MAX_TOKEN_CHARACTERS: Final = 4096
_CHECK_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class TokenAddress(Record):
    """Where a coordinator can be reached."""

    host: Label
    port: int


@dataclass(frozen=True, slots=True)
class JoinToken(Record):
    """What a cell needs to join.

    ``swarm``: the swarm's name, by which zeroconf finds its coordinators when ``coordinators`` is
    empty. ``coordinator_id``: the key they must have. ``secret``: what the coordinator knows the
    invitation by.
    """

    version: int
    swarm: Label
    coordinators: Annotated[tuple[TokenAddress, ...], Max(16)]
    coordinator_id: Peer
    secret: Id16


TOKEN_VERSION: Final = 1


def encode_token(token: JoinToken) -> str:
    """The token as text: one word of lower-case letters, digits and a dash."""
    data = token.pack()
    data += zlib.crc32(data).to_bytes(_CHECK_BYTES, "big")
    return PREFIX + base64.b32encode(data).decode("ascii").rstrip("=").lower()


def decode_token(text: str) -> JoinToken:
    """The token that ``text`` says; case and surrounding white space do not matter.

    Raises:
        BadConfig: ``bad_token``: not a whole token of a version known here.
    """
    word = text.strip().lower()
    if not word.startswith(PREFIX) or len(word) > MAX_TOKEN_CHARACTERS or not word.isascii():
        raise BadConfig("bad_token", message="a join token begins with alv1-")
    letters = word[len(PREFIX) :].upper()
    try:
        data = base64.b32decode(letters + "=" * (-len(letters) % 8))
    except (binascii.Error, ValueError) as error:
        raise BadConfig("bad_token", message="the join token is damaged") from error
    body, check = data[:-_CHECK_BYTES], data[-_CHECK_BYTES:]
    if zlib.crc32(body).to_bytes(_CHECK_BYTES, "big") != check:
        raise BadConfig("bad_token", message="the join token is damaged or cut")
    try:
        token = JoinToken.unpack(body)
    except PeerViolation as error:
        raise BadConfig("bad_token", message="the join token is damaged") from error
    if token.version != TOKEN_VERSION:
        raise BadConfig("bad_token", message="the join token is of a newer version")
    return token
