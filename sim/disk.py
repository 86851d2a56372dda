"""The simulated disk: what was not synced may be lost, torn by sectors, or out of order.

The model of a power cut: every write since the last sync of its file survives whole, not at all,
or by sectors, each drawn by itself; the names of a directory survive up to a drawn point in the
order of their changes since the last sync of that directory. A killed process loses nothing that
was written (the kernel still has it). A sync that failed leaves what it was to sync in doubt: a
later sync says yes, but only what was written again is surely on the medium.

Source: shared understanding of POSIX durability in docs/simulation.md; ALICE (OSDI 2014).
"""

from __future__ import annotations

import posixpath
import random
from collections.abc import Sequence
from dataclasses import field
from typing import Final

import trio

from common.data_classes import dataclass
from common.errors import Corrupt, NotFound, Unavailable
from common.ports import Buffer, Space
from common.reasons import Absence, Damage, Outage
from sim.life import Life

SECTOR_BYTES: Final = 512
DEFAULT_CAPACITY_BYTES: Final = 4 * 1024**3
_GROWING: Final = frozenset({"write", "create"})
_CHANGING: Final = _GROWING | {"truncate", "rename", "unlink"}


@dataclass(slots=True)
class DiskFaults:
    """The current faults of a disk. All zero: a perfect disk."""

    read_error: float = 0.0
    """Probability that a read fails with EIO."""
    write_error: float = 0.0
    sync_error: float = 0.0
    latency_s: float = 0.0
    """Added to every operation, drawn up to this."""
    stalled_until: float = 0.0
    """Virtual time before which nothing is answered."""
    refuses: str = ""
    """``no_space`` or ``write_error``: every change is refused so, in files and in stores, as a
    full or a read-only file system does."""


@dataclass(slots=True)
class Undo:
    """The undo record of one unsynced write: the bytes it replaced, and the bytes it wrote."""

    offset: int
    old: bytes
    old_size: int
    new: bytes


@dataclass(slots=True)
class Inode:
    """A file's bytes, with the writes that are not durable yet."""

    content: bytearray = field(default_factory=bytearray)
    unsynced: list[Undo] = field(default_factory=list)
    doubtful: dict[int, bytes] = field(default_factory=dict)
    """Sectors whose sync failed, with what the medium may still have there: clean for the kernel,
    and synced again only once they are rewritten."""
    waiting_bytes: int = 0
    """Written since the last sync, and the medium was not let begin with it."""

    def touched(self) -> set[int]:
        """The sectors that unsynced writes touch."""
        return {
            sector
            for undo in self.unsynced
            for sector in range(
                undo.offset // SECTOR_BYTES,
                -(-(undo.offset + max(len(undo.new), len(undo.old))) // SECTOR_BYTES),
            )
        }

    def take_back(self) -> None:
        """Undo all unsynced writes."""
        for undo in reversed(self.unsynced):
            self.content[undo.offset : undo.offset + len(undo.new)] = undo.old
            del self.content[undo.old_size :]

    def fail_sync(self) -> None:
        """Fail a sync: what was to be synced is doubtful from now on."""
        now = bytes(self.content)
        touched = sorted(self.touched())
        self.take_back()
        before = bytes(self.content)
        self.content[:] = now
        self.unsynced = []
        for sector in touched:
            start = sector * SECTOR_BYTES
            old = before[start : start + SECTOR_BYTES]
            if old != now[start : start + SECTOR_BYTES]:
                self.doubtful.setdefault(sector, old)

    def sync(self) -> None:
        """Make everything written since the last sync durable."""
        if self.doubtful:
            for sector in self.touched():
                self.doubtful.pop(sector, None)
        self.unsynced = []


class Platter:
    """The medium: survives the lives of its node."""

    def __init__(self, chance: random.Random, capacity_bytes: int = DEFAULT_CAPACITY_BYTES) -> None:
        self.chance = chance
        self.capacity_bytes = capacity_bytes
        self.faults = DiskFaults()
        self.inodes: dict[str, Inode] = {}
        self.most_waited_bytes = 0
        """The most that a sync had to wait for."""
        self._durable: dict[str, Inode] = {}
        self._changes: list[tuple[str, dict[str, Inode | None]]] = []

    def used_bytes(self) -> int:
        return sum(len(inode.content) for inode in self.inodes.values())

    def change_names(self, directory: str, names: dict[str, Inode | None]) -> None:
        """Change directory entries (None removes); not durable before :meth:`sync_names`."""
        for path, inode in names.items():
            if inode is None:
                self.inodes.pop(path, None)
            else:
                self.inodes[path] = inode
        self._changes.append((directory, names))

    def sync_names(self, directory: str) -> None:
        """Make the changes of one directory durable."""
        kept = []
        for change in self._changes:
            if change[0] == directory:
                self._apply(change[1])
            else:
                kept.append(change)
        self._changes = kept

    def _apply(self, names: dict[str, Inode | None]) -> None:
        for path, inode in names.items():
            if inode is None:
                self._durable.pop(path, None)
            else:
                self._durable[path] = inode

    def wipe(self) -> None:
        """Lose everything."""
        self.inodes, self._durable, self._changes = {}, {}, []

    def wipe_directory(self, directory: str) -> None:
        """Lose every file of a directory, after a power cut."""
        for names in (self.inodes, self._durable):
            for path in [each for each in names if each.startswith(f"{directory}/")]:
                del names[path]

    def power_cut(self) -> None:
        """Lose what was not synced."""
        survive = self.chance.randrange(len(self._changes) + 1)
        for _, names in self._changes[:survive]:
            self._apply(names)
        self._changes = []
        # Those too whose last name is gone, if that is not durable: they are back.
        reachable = [*self.inodes.values(), *self._durable.values()]
        for inode in {id(inode): inode for inode in reachable}.values():
            self._tear(inode)
        self.inodes = dict(self._durable)

    def _tear(self, inode: Inode) -> None:
        inode.take_back()
        for undo in inode.unsynced:
            fate = self.chance.randrange(3)
            if fate == 0:
                continue
            for start in range(0, len(undo.new), SECTOR_BYTES):
                if fate == 1 or self.chance.randrange(2):
                    piece = undo.new[start : start + SECTOR_BYTES]
                    self._put(inode, undo.offset + start, piece)
        inode.unsynced = []
        for sector, old in sorted(inode.doubtful.items()):
            if self.chance.randrange(2) and sector * SECTOR_BYTES < len(inode.content):
                room = len(inode.content) - sector * SECTOR_BYTES
                self._put(inode, sector * SECTOR_BYTES, old.ljust(SECTOR_BYTES, b"\0")[:room])
        inode.doubtful = {}

    @staticmethod
    def _put(inode: Inode, offset: int, data: bytes) -> None:
        if len(inode.content) < offset:
            inode.content.extend(bytes(offset - len(inode.content)))
        inode.content[offset : offset + len(data)] = data

    def write(self, inode: Inode, offset: int, data: bytes) -> None:
        """Write, remembering how to take it back."""
        old = bytes(inode.content[offset : offset + len(data)])
        inode.unsynced.append(Undo(offset, old, len(inode.content), data))
        inode.waiting_bytes += len(data)
        self._put(inode, offset, data)

    def truncate(self, inode: Inode, length: int) -> None:
        """Cut or extend a file; like a write, not durable before the file is synced."""
        size = len(inode.content)
        if length < size:
            inode.unsynced.append(Undo(length, bytes(inode.content[length:]), size, b""))
            del inode.content[length:]
        elif length > size:
            self.write(inode, size, bytes(length - size))

    def rot(self, path: str, offset: int) -> None:
        """Flip one bit of a stored byte."""
        inode = self.inodes[path]
        inode.content[offset] ^= 1 << self.chance.randrange(8)


class SimFile:
    """An open simulated file: a :class:`common.ports.File`."""

    def __init__(self, disk: SimDisk, path: str, inode: Inode) -> None:
        self._disk = disk
        self._path = path
        self._inode = inode
        self._is_open = True

    async def read(self, offset: int, length: int) -> bytes:
        await self._disk.step("read", changes=False)
        assert self._is_open
        platter = self._disk.platter
        if platter.faults.read_error and platter.chance.random() < platter.faults.read_error:
            raise Corrupt(Damage.READ_ERROR, path=self._path)
        return bytes(memoryview(self._inode.content)[offset : offset + length])

    async def write(self, offset: int, parts: Sequence[Buffer]) -> None:
        data = b"".join(parts)
        await self._disk.step("write")
        assert self._is_open
        platter = self._disk.platter
        growth = max(0, offset + len(data) - len(self._inode.content))
        if growth > platter.capacity_bytes - platter.used_bytes():
            raise Unavailable(Outage.NO_SPACE, path=self._path)
        if platter.faults.write_error and platter.chance.random() < platter.faults.write_error:
            part = data[: platter.chance.randrange(len(data) + 1)]
            if part:
                platter.write(self._inode, offset, part)
            raise Unavailable(Outage.WRITE_ERROR, path=self._path)
        platter.write(self._inode, offset, data)
        self._disk.mark("write", len(data))

    async def sync(self) -> None:
        await self._disk.step("sync")
        assert self._is_open
        platter = self._disk.platter
        platter.most_waited_bytes = max(platter.most_waited_bytes, self._inode.waiting_bytes)
        self._inode.waiting_bytes = 0
        if platter.faults.sync_error and platter.chance.random() < platter.faults.sync_error:
            self._inode.fail_sync()
            raise Unavailable(Outage.SYNC_FAILED, path=self._path)
        self._inode.sync()

    async def begin_writeback(self, offset: int, length: int) -> None:
        await trio.lowlevel.checkpoint()
        self._inode.waiting_bytes = max(0, self._inode.waiting_bytes - length)
        self._disk.mark("writeback", length)

    async def size(self) -> int:
        await self._disk.step("size", changes=False)
        return len(self._inode.content)

    async def truncate(self, length: int) -> None:
        await self._disk.step("truncate")
        self._disk.platter.truncate(self._inode, length)

    async def close(self) -> None:
        self._is_open = False
        await trio.lowlevel.checkpoint()


class SimDisk:
    """The Disk port of one life of a node."""

    def __init__(self, node: Life, platter: Platter) -> None:
        self._node = node
        self._life = node.life
        self.platter = platter

    def mark(self, event: str, size: int) -> None:
        self._node.mark(event, size)

    async def step(self, event: str, *, changes: bool = True) -> None:
        """One operation: a point where the node may be dead, slow, stalled or lose its power."""
        await self._node.alive(self._life)
        faults = self.platter.faults
        now = trio.current_time()
        if faults.stalled_until > now:
            await trio.sleep_until(faults.stalled_until)
            await self._node.alive(self._life)
        if faults.refuses and event in (_GROWING if faults.refuses == "no_space" else _CHANGING):
            raise Unavailable(Outage(faults.refuses))
        latency_s = faults.latency_s + self._node.disk_latency_s
        if latency_s:
            latency_s *= self.platter.chance.random()
        if changes:
            await self._node.step(self._life, event, latency_s)
        elif latency_s:
            await trio.sleep(latency_s)
            await self._node.alive(self._life)

    @staticmethod
    def _clean(path: str) -> str:
        clean = posixpath.normpath(path)
        assert not clean.startswith(("/", "..")), f"path leaves the tree: {path!r}"
        return clean

    async def open(self, path: str, *, create: bool = False) -> SimFile:
        path = self._clean(path)
        inode = self.platter.inodes.get(path)
        if inode is None:
            if not create:
                await self.step("open", changes=False)
                raise NotFound(Absence.NO_SUCH_FILE, path=path)
            await self.step("create")
            inode = Inode()
            self.platter.change_names(posixpath.dirname(path), {path: inode})
        else:
            await self.step("open", changes=False)
        return SimFile(self, path, inode)

    async def names(self, path: str) -> list[str]:
        await self.step("names", changes=False)
        start = "" if self._clean(path) == "." else self._clean(path) + "/"
        below = {
            name[len(start) :].split("/")[0]
            for name in self.platter.inodes
            if name.startswith(start)
        }
        return sorted(below)

    async def make_directory(self, path: str) -> None:
        self._clean(path)
        await self.step("make_directory", changes=False)

    async def rename(self, source: str, target: str) -> None:
        source, target = self._clean(source), self._clean(target)
        await self.step("rename")
        inode = self.platter.inodes.get(source)
        if inode is None:
            raise NotFound(Absence.NO_SUCH_FILE, path=source)
        self.platter.change_names(posixpath.dirname(target), {source: None, target: inode})

    async def unlink(self, path: str) -> None:
        path = self._clean(path)
        await self.step("unlink")
        if path not in self.platter.inodes:
            raise NotFound(Absence.NO_SUCH_FILE, path=path)
        self.platter.change_names(posixpath.dirname(path), {path: None})

    async def sync_directory(self, path: str) -> None:
        directory = self._clean(path)
        await self.step("sync_directory")
        self.platter.sync_names("" if directory == "." else directory)

    async def space(self) -> Space:
        await self.step("space", changes=False)
        used = self.platter.used_bytes()
        return Space(self.platter.capacity_bytes, max(0, self.platter.capacity_bytes - used))
