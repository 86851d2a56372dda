"""A cell's identity: made at the first start, kept in its data directory."""

from __future__ import annotations

from typing import Final

from common.crypto.identity import PRIVATE_KEY_BYTES, KeyPair
from common.errors import BadConfig
from common.ports import Disk, Entropy
from common.reasons import ConfigFault
from common.state_files import read_whole, write_whole

NAME: Final = "identity.key"


async def load_identity(disk: Disk, entropy: Entropy) -> KeyPair:
    """The cell's key pair: 64 hex digits in ``identity.key``.

    Raises:
        BadConfig: ``bad_identity_key``: the file is damaged; without it nobody knows this cell.
        Unavailable: a new one could not be made durable.
    """
    text = await read_whole(disk, NAME, max_bytes=2 * PRIVATE_KEY_BYTES + 2)
    if text is None:
        identity = KeyPair.generate(entropy)
        await write_whole(disk, NAME, identity.private_key.hex().encode() + b"\n")
        return identity
    try:
        return KeyPair.from_private(bytes.fromhex(text.decode("ascii").strip()))
    except (UnicodeDecodeError, ValueError) as error:
        raise BadConfig(ConfigFault.BAD_IDENTITY_KEY, file=NAME) from error
