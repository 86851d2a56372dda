"""Small files beside a daemon's data: keys, marks, secrets. Each is read and written whole.

After any crash such a file is there whole, as it was before or as it is after: it is written under
another name, made durable, and takes the place of the old one in one step.
"""

from __future__ import annotations

from typing import Final

from common import limits
from common.errors import NotFound
from common.ports import Disk

DRAFT_SUFFIX: Final = ".new"


async def read_whole(
    disk: Disk, name: str, *, max_bytes: int = limits.MAX_STATE_FILE_BYTES
) -> bytes | None:
    """Return a file's bytes, at most ``max_bytes`` of them; None when there is no such file.

    Raises:
        Corrupt: ``read_error``.
    """
    try:
        file = await disk.open(name)
    except NotFound:
        return None
    try:
        return await file.read(0, max_bytes)
    finally:
        await file.close()


async def write_whole(disk: Disk, name: str, data: bytes) -> None:
    """Write a file of the top directory durably.

    Raises:
        Unavailable: ``no_space``, ``write_error``, ``sync_failed``; the old file is still there.
    """
    draft = name + DRAFT_SUFFIX
    file = await disk.open(draft, create=True)
    try:
        await file.truncate(0)
        await file.write(0, [data])
        await file.sync()
    finally:
        await file.close()
    await disk.rename(draft, name)
    await disk.sync_directory(".")
