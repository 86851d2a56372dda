"""The Disk port on a real directory.

A hop to a thread and back costs 50-100 microseconds of CPU, more than most operations themselves.
So what hardly ever waits is done where it is: reads that the page cache can answer (the kernel
says so: ``RWF_NOWAIT``) and writes of up to a unit, which only copy into the page cache.
Everything else, which may wait for the medium, runs in a thread.

Source: docs/shard-format.md, "Writing"; preadv2(2); fsync(2).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import trio

from common import limits
from common.errors import AlvearyError, BadConfig, Corrupt, NotFound, Unavailable
from common.limits import KIB
from common.ports import Buffer, Space
from common.reasons import Absence, ConfigFault, Damage, Outage
from common.system.workers import ThreadWorkers

T = TypeVar("T")

INLINE_READ_BYTES: Final = 256 * KIB
"""Largest read tried in place: a copy of 50 microseconds, less than the hop it saves."""
INLINE_WRITE_BYTES: Final = 260 * KIB
"""Largest write done in place: one unit of 4/6 with its padding. The copy takes 30 microseconds; in
a thread it costs four times the CPU. The kernel may make a writer wait that is far ahead of the
medium; then everything waits, as it must."""
MEDIUM_BYTES: Final = 8
LOCK_NAME: Final = "lock"
_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_READ_ONLY: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_NOT_HERE: Final = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})


def _write_failure(error: OSError, path: str) -> AlvearyError:
    reason = Outage.NO_SPACE if error.errno in _NO_SPACE else Outage.WRITE_ERROR
    return Unavailable(reason, path=path, error=os.strerror(error.errno or 0))


def _write_all(descriptor: int, offset: int, parts: Sequence[Buffer]) -> None:
    """Write everything, with as many pwritev calls as it takes."""
    rest = [memoryview(part).cast("B") for part in parts if len(part)]
    while rest:
        written = os.pwritev(descriptor, rest[: limits.MAX_DISK_PARTS_PER_CALL], offset)
        offset += written
        done = 0
        while done < len(rest) and written >= len(rest[done]):
            written -= len(rest[done])
            done += 1
        del rest[:done]
        if written:
            rest[0] = rest[0][written:]


def _read_all(descriptor: int, offset: int, length: int) -> bytes:
    """pread until ``length`` bytes or the end of the file."""
    data = os.pread(descriptor, length, offset)
    if len(data) == length or not data:
        return data
    pieces = [data]
    got = len(data)
    while got < length:
        data = os.pread(descriptor, length - got, offset + got)
        if not data:
            break
        pieces.append(data)
        got += len(data)
    return b"".join(pieces)


class RealFile:
    """An open file: a :class:`common.ports.File`."""

    def __init__(self, descriptor: int, path: str, workers: ThreadWorkers) -> None:
        self._descriptor = descriptor
        self._path = path
        self._workers = workers
        self._can_try = True
        self._closer = weakref.finalize(self, os.close, descriptor)

    async def read(self, offset: int, length: int) -> bytes:
        """See :class:`common.ports.File`."""
        assert offset >= 0
        assert length >= 0
        if length <= INLINE_READ_BYTES and self._can_try:
            cached = self._read_cached(offset, length)
            if cached is not None:
                return cached
        try:
            return await self._workers.run(partial(_read_all, self._descriptor, offset, length))
        except OSError as error:
            raise Corrupt(
                Damage.READ_ERROR,
                path=self._path,
                offset=offset,
                error=os.strerror(error.errno or 0),
            ) from error

    def _read_cached(self, offset: int, length: int) -> bytes | None:
        """The bytes if the page cache has them all; None if a thread must read (and will meet
        again whatever error there was)."""
        buffer = bytearray(length)
        try:
            got = os.preadv(self._descriptor, [buffer], offset, os.RWF_NOWAIT)
        except BlockingIOError:
            return None
        except OSError as error:
            self._can_try = error.errno not in _NOT_HERE
            return None
        return bytes(buffer) if got == length else None

    async def write(self, offset: int, parts: Sequence[Buffer]) -> None:
        """See :class:`common.ports.File`."""
        assert offset >= 0
        write = partial(_write_all, self._descriptor, offset, parts)
        try:
            if sum(map(len, parts)) <= INLINE_WRITE_BYTES:
                write()
            else:
                await self._workers.run(write)
        except OSError as error:
            raise _write_failure(error, self._path) from error

    async def sync(self) -> None:
        """See :class:`common.ports.File`."""
        try:
            await self._workers.run(partial(os.fdatasync, self._descriptor))
        except OSError as error:
            raise Unavailable(
                Outage.SYNC_FAILED, path=self._path, error=os.strerror(error.errno or 0)
            ) from error

    async def begin_writeback(self, offset: int, length: int) -> None:
        """See :class:`common.ports.File`. The pages leave the cache once they are written."""
        begin = partial(os.posix_fadvise, self._descriptor, offset, length, os.POSIX_FADV_DONTNEED)
        with suppress(OSError):
            await self._workers.run(begin)

    async def size(self) -> int:
        """See :class:`common.ports.File`."""
        await trio.lowlevel.checkpoint()
        return os.fstat(self._descriptor).st_size

    async def truncate(self, length: int) -> None:
        """See :class:`common.ports.File`."""
        try:
            await self._workers.run(partial(os.ftruncate, self._descriptor, length))
        except OSError as error:
            raise _write_failure(error, self._path) from error

    async def close(self) -> None:
        """Close; may be called again."""
        self._closer()
        await trio.lowlevel.checkpoint()


def medium_of(root: Path) -> bytes:
    """Name the file system of a directory: the same for all directories on it, and different from
    those of other machines. Not the same after a restart of the machine; empty where the kernel
    does not report its boot id."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    except OSError:
        return b""
    return hashlib.sha256(boot + str(root.stat().st_dev).encode()).digest()[:MEDIUM_BYTES]


class RealDisk:
    """The directory of one daemon: a :class:`common.ports.Disk`.

    Args:
        root: exists. Everything in it is made for this user alone (0600 and 0700). Any user who may
            not share it with another process holds it first (:func:`hold_directory`).
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._workers = ThreadWorkers(limits.MAX_DISK_THREADS, "disk")
        self._medium: bytes | None = None

    def _path(self, path: str) -> str:
        """The real path of a relative one; never outside the root."""
        if "\0" in path or any(part in {"", ".", ".."} for part in path.split("/")):
            raise AssertionError(f"path leaves the tree: {path!r}")
        return os.path.join(self._root, path)

    def _directory(self, path: str) -> str:
        return str(self._root) if path in {"", "."} else self._path(path)

    async def _change(self, path: str, work: Callable[[], T]) -> T:
        try:
            return await self._workers.run(work)
        except FileNotFoundError as error:
            raise NotFound(Absence.NO_SUCH_FILE, path=path) from error
        except OSError as error:
            raise _write_failure(error, path) from error

    async def open(self, path: str, *, create: bool = False) -> RealFile:
        """See :class:`common.ports.Disk`. A symbolic link in the last place is not followed. What
        may only be read is opened to be read: each write fails."""
        real = self._path(path)
        descriptor = await self._change(path, partial(_open_file, real, create))
        return RealFile(descriptor, path, self._workers)

    async def names(self, path: str) -> list[str]:
        """See :class:`common.ports.Disk`."""
        real = self._directory(path)
        try:
            names = await self._workers.run(partial(os.listdir, real))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise Corrupt(
                Damage.READ_ERROR, path=path, error=os.strerror(error.errno or 0)
            ) from error
        return sorted(names)

    async def make_directory(self, path: str) -> None:
        """See :class:`common.ports.Disk`."""
        real = self._directory(path)
        await self._change(path, partial(os.makedirs, real, 0o700, exist_ok=True))

    async def rename(self, source: str, target: str) -> None:
        """See :class:`common.ports.Disk`."""
        await self._change(source, partial(os.replace, self._path(source), self._path(target)))

    async def unlink(self, path: str) -> None:
        """See :class:`common.ports.Disk`."""
        await self._change(path, partial(os.unlink, self._path(path)))

    async def sync_directory(self, path: str) -> None:
        """See :class:`common.ports.Disk`."""
        try:
            await self._workers.run(partial(_sync_directory, self._directory(path)))
        except OSError as error:
            raise Unavailable(
                Outage.SYNC_FAILED, path=path, error=os.strerror(error.errno or 0)
            ) from error

    async def space(self) -> Space:
        """See :class:`common.ports.Disk`."""
        await trio.lowlevel.checkpoint()
        facts = os.statvfs(self._root)
        # As df: what root alone may use counts neither as free nor as part of the whole.
        if self._medium is None:
            self._medium = medium_of(self._root)
        usable = facts.f_blocks - (facts.f_bfree - facts.f_bavail)
        return Space(usable * facts.f_frsize, facts.f_bavail * facts.f_frsize, self._medium)


def _open_file(path: str, create: bool) -> int:
    flags = os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, os.O_RDWR | flags | (os.O_CREAT if create else 0), 0o600)
    except OSError as error:
        if create or error.errno not in _READ_ONLY:
            raise
        return os.open(path, os.O_RDONLY | flags)


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_lock(path: Path) -> int:
    """Open a lock file for flock(2), making it if need be.

    On a read-only file system the file as it is will do: flock needs no right to write. Where
    there is none, nobody can have locked it, and its directory is locked instead.

    Args:
        path: of the lock file; its directory exists.

    Returns:
        A descriptor; closing it releases the lock.

    Raises:
        OSError: it cannot be opened.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def note_holder(descriptor: int) -> None:
    """Write this process's id into a lock that it holds. It is for people and for `alveary status`:
    a medium that cannot take it stops nobody."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


@contextmanager
def hold_directory(root: Path, *, shared: bool = False) -> Iterator[None]:
    """Have a data directory for this process alone, for as long as the block lasts. The kernel
    gives it back when the process ends in any way. Its lock names the process, for people.

    Args:
        root: made (0700) if absent.
        shared: have it together with others that share it.

    Raises:
        BadConfig: ``data_in_use``: another process works in it; ``bad_data_directory``: it cannot
            be opened.
    """
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = open_lock(root / LOCK_NAME)
    except OSError as error:
        raise BadConfig(ConfigFault.BAD_DATA_DIRECTORY, data=str(root), error=str(error)) from error
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            raise BadConfig(ConfigFault.DATA_IN_USE, data=str(root)) from error
        note_holder(descriptor)
        yield
    finally:
        os.close(descriptor)
