"""The files that a coordinator keeps beside its store: its key, the swarm's key and secret, the
operator's access.

Source: docs/operations.md, "Operator access".
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import field
from typing import Final

from common.charter_book import FILE_NAME as CHARTER_NAME
from common.charter_book import CharterBook
from common.crypto.charter import founded, swarm_key_id_of
from common.crypto.identity import PRIVATE_KEY_BYTES, KeyPair
from common.data_classes import dataclass
from common.errors import BadConfig
from common.ids import PeerId
from common.ports import Disk, Entropy, Log
from common.reasons import ConfigFault
from common.state_files import read_whole, write_whole

IDENTITY_NAME: Final = "identity.key"
SWARM_KEY_NAME: Final = "swarm.key"
"""The private key that signs charters, as long as it is not kept elsewhere."""
SECRET_NAME: Final = "swarm.secret"  # noqa: S105 - a file name
OPERATOR_NAME: Final = "operator.json"
BEGUN_NAME: Final = "store.begun"
"""There once it was served from this directory: an empty store there is a lost one."""
FIRST_NAME: Final = "coordinator"
"""The name in the charter of the coordinator that a swarm begins with."""
SECRET_BYTES: Final = 32
TOKEN_BYTES: Final = 24


@dataclass(frozen=True, slots=True)
class Keys:
    """The secrets of a coordinator.

    ``identity``: its own key. ``swarm_secret``: shared by the coordinators of a swarm; order keys
    derive from it. ``operator_token``: its bearer is the operator. ``charters``: which keys the
    swarm's coordinators prove.
    """

    identity: KeyPair
    swarm_secret: bytes = field(repr=False)
    operator_token: str = field(repr=False)
    charters: CharterBook = field(repr=False)

    @property
    def swarm_id(self) -> bytes:
        """16 bytes that name the swarm and reveal nothing of its secret."""
        return hashlib.sha256(b"alveary swarm id\0" + self.swarm_secret).digest()[:16]

    @property
    def swarm_key_id(self) -> PeerId:
        """The id of the swarm's key, which cells, gateways and invitations pin."""
        return self.charters.swarm_key_id

    def check_not_revoked(self) -> None:
        """Raise BadConfig ``coordinator_revoked`` if the charter does not name this coordinator."""
        if not self.charters.names(self.identity.peer_id):
            raise BadConfig(
                ConfigFault.COORDINATOR_REVOKED,
                message="the swarm's charter does not name this coordinator's key any more: cells"
                " and gateways refuse it; `alveary coordinator add` or `replace` makes a file for a"
                " directory of a new one",
                revision=self.charters.revision,
            )


async def _kept_secret(disk: Disk, name: str, length: int, entropy: Entropy) -> bytes:
    """Hex digits in a file, made where there is none.

    Raises:
        BadConfig: ``bad_secret_file``: it is damaged, and must be restored from a copy.
    """
    text = await read_whole(disk, name)
    if text is None:
        secret = entropy(length)
        await write_secret(disk, name, secret)
        return secret
    try:
        secret = bytes.fromhex(text.decode("ascii").strip())
    except (UnicodeDecodeError, ValueError) as error:
        raise BadConfig(ConfigFault.BAD_SECRET_FILE, file=name) from error
    if len(secret) != length:
        raise BadConfig(ConfigFault.BAD_SECRET_FILE, file=name)
    return secret


async def load_keys(disk: Disk, entropy: Entropy, log: Log) -> Keys:
    """The coordinator's keys; made, durably, at the first start: that of a swarm of its own.

    Raises:
        BadConfig: ``bad_secret_file``.
        Unavailable: new ones could not be made durable.
    """
    if await read_whole(disk, IDENTITY_NAME) is None:
        await _found(disk, entropy)
    private_key = await _kept_secret(disk, IDENTITY_NAME, PRIVATE_KEY_BYTES, entropy)
    swarm_secret = await _kept_secret(disk, SECRET_NAME, SECRET_BYTES, entropy)
    token = await _operator_token(disk) or entropy(TOKEN_BYTES).hex()
    identity = KeyPair.from_private(private_key)
    data = await read_whole(disk, CHARTER_NAME)
    # Without a charter the coordinator's key is the swarm's.
    swarm_key_id = identity.peer_id if data is None else swarm_key_id_of(data)
    charters = await CharterBook.load(disk, log, swarm_key_id)
    if data is not None and charters.charter is None:
        raise BadConfig(ConfigFault.BAD_SECRET_FILE, file=CHARTER_NAME)
    return Keys(identity, swarm_secret, token, charters)


async def _found(disk: Disk, entropy: Entropy) -> None:
    """Make the key of a swarm, that of its first coordinator, and the charter that names it. The
    coordinator's key is written last: until it is there, all of this is made again."""
    identity, swarm_key = KeyPair.generate(entropy), KeyPair.generate(entropy)
    charter = founded(swarm_key, FIRST_NAME, identity.public_key)
    await write_secret(disk, SWARM_KEY_NAME, swarm_key.private_key)
    await write_whole(disk, CHARTER_NAME, charter.data)
    await write_secret(disk, IDENTITY_NAME, identity.private_key)


async def write_secret(disk: Disk, name: str, secret: bytes) -> None:
    """Write a file of hex digits. Raises as :func:`common.state_files.write_whole`."""
    await write_whole(disk, name, secret.hex().encode("ascii") + b"\n")


async def replace_keys(disk: Disk, entropy: Entropy) -> PeerId:
    """Replace the swarm's key, the coordinator's own, the swarm's secret and the operator's token,
    durably; the new charter names no other coordinator.

    The coordinator must not run. Repeat a call that was cut short: what it had replaced is replaced
    once more, and nobody has heard of that yet.

    Returns:
        The id of the swarm's new key: cells and gateways must be given it before they talk to the
        coordinator.

    Raises:
        BadConfig: ``no_such_coordinator``: the directory has no keys.
        Unavailable: the new ones could not be made durable.
    """
    if await read_whole(disk, IDENTITY_NAME) is None:
        raise BadConfig(ConfigFault.NO_SUCH_COORDINATOR, file=IDENTITY_NAME)
    url = ""
    with suppress(ValueError, KeyError, TypeError):
        url = str(json.loads(await read_whole(disk, OPERATOR_NAME) or b"{}")["url"])
    await write_secret(disk, SECRET_NAME, entropy(SECRET_BYTES))
    await write_operator_file(disk, entropy(TOKEN_BYTES).hex(), url)
    await _found(disk, entropy)
    return swarm_key_id_of(await read_whole(disk, CHARTER_NAME) or b"")


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


async def write_operator_file(disk: Disk, token: str, url: str) -> None:
    """Write the file by which the operator's tools on this machine find the API and its token;
    leave an equal file alone.

    Raises:
        Unavailable: ``no_space``, ``write_error``, ``sync_failed``.
    """
    content = (json.dumps({"url": url, "token": token}) + "\n").encode()
    if await read_whole(disk, OPERATOR_NAME) != content:
        await write_whole(disk, OPERATOR_NAME, content)
