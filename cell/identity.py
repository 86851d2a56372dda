"""A cell's identity: made at the first start, kept in its data directory."""

from __future__ import annotations

from typing import Final

from common.crypto.identity import PRIVATE_KEY_BYTES, KeyPair
from common.errors import BadConfig, NotFound
from common.ports import Disk, Entropy
from common.reasons import ConfigFault

NAME: Final = "identity.key"
_NEW_NAME: Final = "identity.key.new"


async def write_whole(disk: Disk, name: str, new_name: str, data: bytes) -> None:
    """Write a small file so that after any crash it is there whole, or not at all.

    Raises:
        Unavailable: ``no_space``, ``write_error``, ``sync_failed``.
    """
    file = await disk.open(new_name, create=True)
    try:
        await file.truncate(0)
        await file.write(0, [data])
        await file.sync()
    finally:
        await file.close()
    await disk.rename(new_name, name)
    await disk.sync_directory(".")


async def load_identity(disk: Disk, entropy: Entropy) -> KeyPair:
    """The cell's key pair: 64 hex digits in ``identity.key``.

    Raises:
        BadConfig: ``bad_identity_key``: the file is damaged; without it nobody knows this cell.
        Unavailable: a new one could not be made durable.
    """
    try:
        file = await disk.open(NAME)
    except NotFound:
        identity = KeyPair.generate(entropy)
        await write_whole(disk, NAME, _NEW_NAME, identity.private_key.hex().encode() + b"\n")
        return identity
    try:
        text = await file.read(0, 2 * PRIVATE_KEY_BYTES + 2)
    finally:
        await file.close()
    try:
        return KeyPair.from_private(bytes.fromhex(text.decode("ascii").strip()))
    except (UnicodeDecodeError, ValueError) as error:
        raise BadConfig(ConfigFault.BAD_IDENTITY_KEY, file=NAME) from error
