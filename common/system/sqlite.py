"""The Stores and Store ports on SQLite: aiosqlite's threads, driven from trio by trio-asyncio.

Writers and readers have a lane each (:mod:`common.system.sqlite_lanes`) on a write-ahead log, so
readers never wait for an fsync.

A file that can only be read, on a full or a read-only medium, is opened to be read: its writing
lane refuses what writes, and tries again to open the file for writing.

Source: docs/placement.md, "Transactions"; sqlite.org/wal.html, "Read-Only Databases" and "Use of
WAL Without Shared-Memory".
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import trio

from common import limits
from common.errors import Corrupt, Unavailable
from common.ports import CommitGate, Sql
from common.reasons import Damage, Outage
from common.system.lanes import Work
from common.system.sqlite_backup import copy_at_once, sync_directory, sync_file
from common.system.sqlite_lanes import (
    GatedLane,
    Lane,
    is_of,
    mapped,
    read_batch,
    write_batch,
)

T = TypeVar("T")
CACHED_STATEMENTS: Final = 512
BUSY_TIMEOUT_MS: Final = 5000
CACHE_KIB: Final = 8 * 1024
TRY_TO_WRITE_AFTER_S: Final = 5.0
"""Least interval at which a read-only store is reopened for writing."""
_NOT_WRITABLE: Final = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PERM,
)


class SqliteStore:
    """One database file: a writing lane and a reading lane."""

    def __init__(self, path: Path, durable: bool, gate: CommitGate | None = None) -> None:
        self._path = path
        self._durable = durable
        self._gate = gate
        self._writes, self._reads = self._lanes()
        self._is_writable = True
        self._try_at = 0.0
        self._trying = trio.Lock()

    def _lanes(self) -> tuple[Lane, Lane]:
        connect = partial(_connect, self._path, self._durable)
        return (
            Lane(connect, write_batch)
            if self._gate is None
            else GatedLane(connect, write_batch, self._gate),
            Lane(partial(_connect_reader, self._path, self._durable), read_batch),
        )

    async def open(self, *, check: bool) -> None:
        """Open both connections (the first makes the file) and check the file. What cannot be
        written is opened to be read.

        Raises:
            sqlite3.Error: it cannot be opened.
            Corrupt: ``store_corrupt``.
        """
        try:
            await _open_lanes(self._writes, self._reads)
        except sqlite3.Error as error:
            if not is_of(error, _NOT_WRITABLE) or not self._path.exists():
                raise
            self._writes = Lane(partial(_connect_to_read, self._path), write_batch)
            self._reads = Lane(partial(_connect_to_read, self._path), read_batch)
            await _open_lanes(self._writes, self._reads)
            self._is_writable = False
            self._try_at = trio.current_time() + TRY_TO_WRITE_AFTER_S
        if check:
            try:
                await self._writes.run(_quick_check)
            except BaseException:
                await self.close()
                raise

    async def _try_to_write(self) -> None:
        """Open the file for writing, if that has not been tried just now."""
        async with self._trying:
            if self._is_writable or trio.current_time() < self._try_at:
                return
            self._try_at = trio.current_time() + TRY_TO_WRITE_AFTER_S
            writes, reads = self._lanes()
            try:
                await _open_lanes(writes, reads)
            except sqlite3.Error:
                return  # the transaction itself says so
            old = self._writes, self._reads
            self._writes, self._reads = writes, reads
            self._is_writable = True
            # Before the first write: a reader without shared memory does not notice any.
            for lane in old:
                await lane.close()

    async def transact(self, work: Callable[[Sql], T]) -> T:
        """See :class:`common.ports.Store`."""
        if not self._is_writable:
            await self._try_to_write()
        return await self._writes.run(work)

    async def read(self, work: Callable[[Sql], T]) -> T:
        """See :class:`common.ports.Store`."""
        return await self._reads.run(work)

    async def sync(self) -> None:
        """See :class:`common.ports.Store`."""
        if self._durable:
            return
        # A commit with synchronous=FULL syncs the write-ahead log, with all commits before it.
        await _run_apart(Lane(partial(_connect, self._path, True), write_batch), _touch)

    async def check(self) -> None:
        """See :class:`common.ports.Store`."""
        # A connection of its own: it reads the medium, not what others have cached, and nobody
        # waits for it.
        await _run_apart(Lane(partial(_connect_checker, self._path), read_batch), _whole_check)

    async def close(self) -> None:
        """Finish what is queued and close. May be called again."""
        await self._reads.close()
        await self._writes.close()


async def _open_lanes(writes: Lane, reads: Lane) -> None:
    await writes.open()
    try:
        await reads.open()
    except BaseException:
        await writes.close()
        raise


async def _run_apart(lane: Lane, work: Work) -> None:
    """Run one function in a lane that is opened for it."""
    try:
        await lane.open()
    except sqlite3.Error as error:
        raise mapped(error) from error
    try:
        await lane.run(work)
    finally:
        await lane.close()


def _connect(path: Path, durable: bool) -> sqlite3.Connection:
    if path.exists() and not os.access(path, os.W_OK):
        # SQLite would open it to be read, and keep it read-only, also when it can be written again.
        error = sqlite3.OperationalError(f"{path} cannot be written")
        error.sqlite_errorcode = sqlite3.SQLITE_READONLY
        raise error
    connection = sqlite3.connect(
        path, isolation_level=None, cached_statements=CACHED_STATEMENTS, timeout=5.0
    )
    try:
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        connection.execute("PRAGMA temp_store=MEMORY")
    except BaseException:
        connection.close()
        raise
    return connection


def _connect_reader(path: Path, durable: bool) -> sqlite3.Connection:
    connection = _connect(path, durable)
    connection.execute("PRAGMA query_only=ON")
    return connection


def _connect_to_read(path: Path) -> sqlite3.Connection:
    """A connection that needs nothing of the medium but to be read: neither shared memory nor
    locks. The daemon holds its directory, so nobody else writes."""
    # A write-ahead log must be read with its database. Where none is left, none may be made.
    has_log = path.with_name(path.name + "-wal").exists()
    how = "mode=ro&vfs=unix-none" if has_log else "immutable=1"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{how}",
        uri=True,
        isolation_level=None,
        cached_statements=CACHED_STATEMENTS,
    )
    try:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        connection.execute("PRAGMA temp_store=MEMORY")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _connect_checker(path: Path) -> sqlite3.Connection:
    if not os.access(path, os.W_OK):
        return _connect_to_read(path)
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    return connection


def _touch(sql: Sql) -> None:
    """Write what is there already: a transaction that writes nothing syncs nothing."""
    (version,) = sql.execute("PRAGMA user_version").fetchone()
    sql.execute(f"PRAGMA user_version = {int(version)}")


def _whole_check(sql: Sql) -> None:
    for (verdict,) in sql.execute("PRAGMA integrity_check(1)"):
        if verdict != "ok":
            raise Corrupt(Damage.STORE_CORRUPT, detail=verdict)


def _quick_check(sql: Sql) -> None:
    for (verdict,) in sql.execute("PRAGMA quick_check(1)"):
        if verdict != "ok":
            raise Corrupt(Damage.STORE_CORRUPT, detail=verdict)


class SqliteStores:
    """The databases of one daemon, all in one directory.

    Args:
        directory: exists.
    """

    is_shared: Final = False
    """The daemon holds its directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def open(
        self, name: str, *, durable: bool = True, gate: CommitGate | None = None
    ) -> SqliteStore:
        """See :class:`common.ports.Stores`."""
        path = self._path(name)
        check = path.exists() and path.stat().st_size <= limits.MAX_QUICK_CHECK_BYTES
        store = SqliteStore(path, durable, gate)
        try:
            await store.open(check=check)
        except sqlite3.Error as error:
            raise mapped(error) from error
        return store

    async def copy(self, name: str, target: str, look: Callable[[Sql], T]) -> T:
        """See :class:`common.ports.Stores`."""
        path = self._path(target)

        def copy() -> T:
            try:
                path.unlink(missing_ok=True)
                return copy_at_once(self._path(name), path, look)
            except sqlite3.Error as error:
                raise mapped(error) from error
            except OSError as error:
                raise Unavailable(Outage.STORE_FAILED, detail=str(error)) from error

        # Not in a lane's thread: it takes long, and nobody waits for it.
        return await trio.to_thread.run_sync(copy)

    async def put(self, name: str, source: str) -> None:
        """See :class:`common.ports.Stores`."""
        await trio.lowlevel.checkpoint()
        try:
            sync_file(self._path(source))
            for suffix in ("-wal", "-shm"):
                self._path(name + suffix).unlink(missing_ok=True)
            self._path(source).replace(self._path(name))
            sync_directory(self._directory)
        except OSError as error:
            raise Unavailable(Outage.STORE_FAILED, detail=str(error)) from error

    async def discard(self, name: str) -> None:
        """See :class:`common.ports.Stores`."""
        await trio.lowlevel.checkpoint()
        try:
            for suffix in ("-wal", "-shm", ""):
                self._path(name + suffix).unlink(missing_ok=True)
        except OSError as error:
            raise Unavailable(Outage.STORE_FAILED, detail=str(error)) from error

    def _path(self, name: str) -> Path:
        assert "/" not in name, "a store lies directly in the data directory"
        return self._directory / name
