"""The volume files of a cell: which there are, their open files, and where the next record goes.

Source: docs/shard-format.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from cell.storage.shards import VolumeFacts
from common import limits
from common.errors import AlvearyError, NotFound, Unavailable
from common.format.volume import (
    VOLUME_HEAD_BYTES,
    VOLUME_KEY_BYTES,
    pack_head,
    unpack_head,
)
from common.ports import Disk, Entropy, File, Log
from common.reasons import Outage

DIRECTORY: Final = "volumes"
SUFFIX: Final = ".vol"


def volume_path(number: int) -> str:
    """The path of a volume in the cell's data directory."""
    return f"{DIRECTORY}/{number:08d}{SUFFIX}"


def volume_number(name: str) -> int | None:
    """The number in a file name; None if it is not a volume's."""
    stem = name.removesuffix(SUFFIX)
    if stem == name or not stem.isascii() or not stem.isdigit():
        return None
    return int(stem) if name == volume_path(int(stem)).removeprefix(f"{DIRECTORY}/") else None


class Growing:
    """A volume that records are written to: the active one, or one with unfinished uploads.

    Args:
        facts: kept true by this object and the index.
        key: of the volume.
    """

    def __init__(self, facts: VolumeFacts, key: bytes) -> None:
        self.facts = facts
        self.number = facts.number
        self.key = key
        self.end = facts.end_bytes
        self.has_failed = False
        """A sync or the repair of a broken write failed: nothing more is written."""
        self._unfinished: dict[int, int] = {}

    def reserve(self, length: int) -> int:
        """Give the next ``length`` bytes to a record and return its offset."""
        offset = self.end
        self.end += length
        self.facts.end_bytes = self.end
        self._unfinished[offset] = length
        return offset

    def length_of(self, offset: int) -> int:
        """Bytes of an unfinished record."""
        return self._unfinished[offset]

    def finished(self, offset: int) -> None:
        """Note that the record there is durable, or will never be one."""
        del self._unfinished[offset]

    def give_back(self, offset: int) -> bool:
        """Take the room of an unfinished record back, if nothing was written behind it.

        Returns:
            Whether it could be; if not, its header must say that it is void.
        """
        length = self._unfinished[offset]
        if offset + length != self.end:
            return False
        self.finished(offset)
        self.end = self.facts.end_bytes = offset
        return True

    @property
    def is_resting(self) -> bool:
        """Return whether all its records are finished."""
        return not self._unfinished

    @property
    def durable_below(self) -> int:
        """Every record that begins below is finished and durable."""
        return next(iter(self._unfinished), self.end)


class _Handle:
    __slots__ = ("file", "users")

    def __init__(self, file: File) -> None:
        self.file = file
        self.users = 0


class Volumes:
    """All volumes of a cell.

    Args:
        facts: by number; the index's.
        highest: the highest number in use.
    """

    def __init__(
        self,
        disk: Disk,
        entropy: Entropy,
        log: Log,
        facts: dict[int, VolumeFacts],
        highest: int,
    ) -> None:
        self.facts = facts
        self.growing: dict[int, Growing] = {}
        self._disk = disk
        self._entropy = entropy
        self._log = log
        self._handles: dict[int, _Handle] = {}
        self._highest = highest

    @property
    def used_bytes(self) -> int:
        """Bytes of all volume files."""
        return sum(each.end_bytes for each in self.facts.values())

    @asynccontextmanager
    async def opened(self, number: int) -> AsyncIterator[File]:
        """The open file of a volume, for as long as the block lasts.

        Raises:
            NotFound: ``no_such_file``: compaction removed it.
        """
        handle = self._handles.get(number)
        if handle is None:
            file = await self._disk.open(volume_path(number))
            handle = self._handles.get(number)
            if handle is None:
                handle = self._handles[number] = _Handle(file)
            else:
                await file.close()
        else:
            del self._handles[number]  # to the end: the first is closed first
            self._handles[number] = handle
        handle.users += 1
        try:
            yield handle.file
        finally:
            handle.users -= 1
            if len(self._handles) > limits.MAX_OPEN_VOLUMES:
                await self._close_one()

    async def _close_one(self) -> None:
        for number, handle in self._handles.items():
            if not handle.users:
                del self._handles[number]
                await handle.file.close()
                return

    @property
    def highest(self) -> int:
        """The highest number of a volume that is there."""
        return max(self.facts, default=0)

    @property
    def highest_known(self) -> int:
        """The highest number that a volume ever had, as far as files and index show."""
        return self._highest

    async def begin(self) -> Growing:
        """Make the next volume and the record of its name durable.

        Raises:
            Unavailable: ``no_space``, ``write_error``, ``sync_failed``. The number is used up.
        """
        self._highest += 1
        number = self._highest
        path = volume_path(number)
        key = self._entropy(VOLUME_KEY_BYTES)
        try:
            file = await self._disk.open(path, create=True)
        except NotFound as error:  # somebody removed the directory
            raise Unavailable(Outage.WRITE_ERROR, path=path) from error
        try:
            await file.write(0, [pack_head(number, key)])
            await file.sync()
            await self._disk.sync_directory(DIRECTORY)
        except Unavailable:
            await file.close()
            await self._drop_stillborn(path)
            raise
        self._handles[number] = _Handle(file)
        facts = self.facts[number] = VolumeFacts(number)
        growing = self.growing[number] = Growing(facts, key)
        return growing

    async def _drop_stillborn(self, path: str) -> None:
        """Best effort: a volume without a head is removed at the next start, too."""
        try:
            await self._disk.unlink(path)
        except AlvearyError as error:
            self._log.warning("volume_not_removed", path=path, error=str(error))

    async def key_of(self, number: int) -> bytes:
        """The key of a volume.

        Raises:
            Corrupt: ``bad_volume_head``, ``read_error``.
            NotFound: ``no_such_file``.
        """
        growing = self.growing.get(number)
        if growing is not None:
            return growing.key
        async with self.opened(number) as file:
            return unpack_head(await file.read(0, VOLUME_HEAD_BYTES), volume=number)

    async def remove(self, number: int) -> None:
        """Delete a volume's file durably. Those who read it now may finish.

        Raises:
            Unavailable: ``write_error``, ``sync_failed``.
        """
        await self._disk.unlink(volume_path(number))
        await self._disk.sync_directory(DIRECTORY)
        handle = self._handles.pop(number, None)
        if handle is not None and not handle.users:
            await handle.file.close()

    async def close(self) -> None:
        """Close all files."""
        while self._handles:
            _, handle = self._handles.popitem()
            await handle.file.close()
