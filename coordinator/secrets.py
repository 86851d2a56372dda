"""The files that a coordinator keeps beside its store: its key, the swarm's secret, the operator's
access.

Source: docs/operations.md, "Operator access".
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import field
from typing import Final

from common.crypto.identity import PRIVATE_KEY_BYTES, KeyPair
from common.data_classes import dataclass
from common.errors import BadConfig
from common.ids import PeerId
from common.ports import Disk, Entropy
from common.reasons import ConfigFault
from common.state_files import read_whole, write_whole

IDENTITY_NAME: Final = "identity.key"
SECRET_NAME: Final = "swarm.secret"  # noqa: S105 - a file name
OPERATOR_NAME: Final = "operator.json"
BEGUN_NAME: Final = "store.begun"
"""There once it was served from this directory: an empty store there is a lost one."""
SECRET_BYTES: Final = 32
TOKEN_BYTES: Final = 24


@dataclass(frozen=True, slots=True)
class Keys:
    """The secrets of a swarm's coordinators.

    ``swarm_secret``: order keys derive from it. ``operator_token``: its bearer is the operator.
    """

    identity: KeyPair
    swarm_secret: bytes = field(repr=False)
    operator_token: str = field(repr=False)

    @property
    def swarm_id(self) -> bytes:
        """16 bytes that name the swarm and reveal nothing of its secret."""
        return hashlib.sha256(b"alveary swarm id\0" + self.swarm_secret).digest()[:16]


async def _kept_secret(disk: Disk, name: str, length: int, entropy: Entropy) -> bytes:
    """Hex digits in a file, made at the first start.

    Raises:
        BadConfig: ``bad_secret_file``: it is damaged, and must be restored from a copy.
    """
    text = await read_whole(disk, name)
    if text is None:
        secret = entropy(length)
        await write_whole(disk, name, secret.hex().encode("ascii") + b"\n")
        return secret
    try:
        secret = bytes.fromhex(text.decode("ascii").strip())
    except (UnicodeDecodeError, ValueError) as error:
        raise BadConfig(ConfigFault.BAD_SECRET_FILE, file=name) from error
    if len(secret) != length:
        raise BadConfig(ConfigFault.BAD_SECRET_FILE, file=name)
    return secret


async def load_keys(disk: Disk, entropy: Entropy) -> Keys:
    """The coordinator's keys; made, durably, at the first start.

    Raises:
        BadConfig: ``bad_secret_file``.
        Unavailable: new ones could not be made durable.
    """
    private_key = await _kept_secret(disk, IDENTITY_NAME, PRIVATE_KEY_BYTES, entropy)
    swarm_secret = await _kept_secret(disk, SECRET_NAME, SECRET_BYTES, entropy)
    token = await _operator_token(disk)
    return Keys(
        KeyPair.from_private(private_key), swarm_secret, token or entropy(TOKEN_BYTES).hex()
    )


async def replace_keys(disk: Disk, entropy: Entropy) -> PeerId:
    """Replace the coordinator's key, the swarm's secret and the operator's token, durably.

    The coordinator must not run. Repeat a call that was cut short: what it had replaced is replaced
    once more, and nobody has heard of that yet.

    Returns:
        The id of the new key: cells and gateways must be given it before they talk to it.

    Raises:
        BadConfig: ``no_such_coordinator``: the directory has no keys.
        Unavailable: the new ones could not be made durable.
    """
    if await read_whole(disk, IDENTITY_NAME) is None:
        raise BadConfig(ConfigFault.NO_SUCH_COORDINATOR, file=IDENTITY_NAME)
    private_key, secret = entropy(PRIVATE_KEY_BYTES), entropy(SECRET_BYTES)
    url = ""
    with suppress(ValueError, KeyError, TypeError):
        url = str(json.loads(await read_whole(disk, OPERATOR_NAME) or b"{}")["url"])
    identity = KeyPair.from_private(private_key)
    await write_whole(disk, SECRET_NAME, secret.hex().encode("ascii") + b"\n")
    await write_operator_file(disk, Keys(identity, secret, entropy(TOKEN_BYTES).hex()), url)
    await write_whole(disk, IDENTITY_NAME, private_key.hex().encode("ascii") + b"\n")
    return identity.peer_id


async def check_store_is_there(disk: Disk, *, is_empty: bool) -> None:
    """Refuse to serve an empty store where there was one.

    Args:
        is_empty: no coordinator was ever started on the store.

    Raises:
        BadConfig: ``store_missing``.
    """
    if is_empty and await read_whole(disk, BEGUN_NAME) is not None:
        raise BadConfig(
            ConfigFault.STORE_MISSING,
            message="the store of this coordinator is gone, and with it every object: put"
            " coordinator.sqlite back from a backup; to begin an empty swarm with these keys all"
            f" the same, remove the file {BEGUN_NAME}",
        )


async def note_store_begun(disk: Disk) -> None:
    """Remember, beside the store, that there is one. Raises as
    :func:`common.state_files.write_whole`."""
    if await read_whole(disk, BEGUN_NAME) is None:
        await write_whole(disk, BEGUN_NAME, b"")


async def _operator_token(disk: Disk) -> str | None:
    text = await read_whole(disk, OPERATOR_NAME)
    if text is None:
        return None
    try:
        return str(json.loads(text)["token"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadConfig(ConfigFault.BAD_SECRET_FILE, file=OPERATOR_NAME) from error


async def write_operator_file(disk: Disk, keys: Keys, url: str) -> None:
    """Write the file by which the operator's tools on this machine find the API and its token;
    leave an equal file alone.

    Raises:
        Unavailable: ``no_space``, ``write_error``, ``sync_failed``.
    """
    content = (json.dumps({"url": url, "token": keys.operator_token}) + "\n").encode()
    if await read_whole(disk, OPERATOR_NAME) != content:
        await write_whole(disk, OPERATOR_NAME, content)
