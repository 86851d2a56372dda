"""The Stores and Store ports on SQLite: aiosqlite's threads, driven from trio by trio-asyncio.

Every hop to a database thread costs about a quarter of a millisecond, more than most transactions
themselves. So nothing hops statement by statement: callers queue whole functions, and all that
wait when the thread is free go over together, in one BEGIN..COMMIT with one fsync. Readers have a
connection and a thread of their own (write-ahead log), so they never wait for an fsync.

A file that can only be read, on a full or a read-only medium, is opened to be read: its writing
lane refuses what writes, and tries again to open the file for writing.

Source: docs/placement.md, "Transactions"; sqlite.org/wal.html, "Read-Only Databases" and "Use of
WAL Without Shared-Memory".
"""

from __future__ import annotations

import os
import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import aiosqlite
import trio
import trio_asyncio

from common import limits
from common.errors import AlvearyError, Corrupt, Unavailable
from common.ports import CommitGate, Sql, SqlStatement
from common.reasons import Damage, Outage
from common.recording import RecordingSql
from common.system.sqlite_backup import copy_at_once, sync_directory, sync_file

T = TypeVar("T")
Work = Callable[[Sql], Any]

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
_FATAL = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _mapped(error: sqlite3.Error) -> AlvearyError:
    if _is_of(error, _FATAL):
        return Corrupt(Damage.STORE_CORRUPT, detail=str(error))
    return Unavailable(Outage.STORE_FAILED, detail=str(error))


class _Connection(aiosqlite.Connection):
    """An aiosqlite connection that runs whole functions in its thread: one hop each."""

    def __init__(self, connector: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connector, iter_chunk_size=64)
        self._thread.daemon = True  # a crash of the daemon must not wait for its databases

    def submit(
        self, work: Callable[[sqlite3.Connection], None], done: Callable[[], object]
    ) -> None:
        """Queue ``work``, which does not raise, for the thread; ``done`` is then called in trio.

        The answer goes straight to trio: through an asyncio future it would take twice as long.
        """
        token = trio.lowlevel.current_trio_token()

        def run() -> None:
            work(self._conn)
            token.run_sync_soon(done)

        self._tx.put_nowait((None, run))

    async def open(self) -> None:
        """Start the thread and connect."""

        async def start() -> None:
            try:
                await self
            except BaseException:
                self._thread.join()  # it is ending; it must not outlive the loop it reports to
                raise

        await _in_asyncio(start)

    async def shut(self) -> None:
        """Close, and end the thread."""
        await _in_asyncio(self.close)


async def _in_asyncio(function: Callable[[], Awaitable[None]]) -> None:
    failure: sqlite3.Error | None = None
    with trio.CancelScope(shield=True):
        # trio_asyncio has no types, and does not say what it exports.
        async with trio_asyncio.open_loop():  # type: ignore[attr-defined]
            try:
                await trio_asyncio.aio_as_trio(function)()  # type: ignore[attr-defined,no-untyped-call]
            except sqlite3.Error as error:  # the loop would wrap it in a group
                failure = error
    if failure is not None:
        raise failure


class _Job:
    __slots__ = ("done", "error", "value", "work")

    def __init__(self, work: Work) -> None:
        self.work = work
        self.done = trio.Event()
        self.value: Any = None
        self.error: BaseException | None = None

    def finish(self, value: Any, error: BaseException | None) -> None:
        self.value = value
        self.error = error
        self.done.set()


Results = list[tuple[Any, BaseException | None]]


def _write_batch(connection: sqlite3.Connection, works: Sequence[Work]) -> Results:
    """Run all works in one transaction, each in its savepoint; one alone needs none.

    Raises:
        sqlite3.Error: the transaction as a whole failed; it is rolled back.
    """
    results: Results = []
    try:
        if connection.in_transaction:  # an earlier rollback failed
            connection.rollback()
        connection.execute("BEGIN IMMEDIATE")
        if len(works) == 1:
            results.append((works[0](connection), None))
            works = ()
        for work in works:
            connection.execute("SAVEPOINT work")
            try:
                results.append((work(connection), None))
            except Exception as error:
                if not connection.in_transaction:  # SQLite gave the whole transaction up
                    raise
                connection.execute("ROLLBACK TO work")
                results.append((None, error))
            connection.execute("RELEASE work")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.rollback()
        raise
    return results


def _read_batch(connection: sqlite3.Connection, works: Sequence[Work]) -> Results:
    results: Results = []
    connection.execute("BEGIN")
    try:
        for work in works:
            try:
                results.append((work(connection), None))
            except Exception as error:
                results.append((None, error))
    finally:
        if connection.in_transaction:
            connection.rollback()
    return results


class _Passing:
    """A batch that has run and is not committed yet. ``sealed``: None: it changed nothing."""

    __slots__ = ("results", "sealed")

    def __init__(self, results: Results, sealed: object | None) -> None:
        self.results = results
        self.sealed = sealed


def _begin_batch(
    connection: sqlite3.Connection, works: Sequence[Work], gate: CommitGate
) -> _Passing:
    """Run all works in one transaction, as :func:`_write_batch` does, and leave it open if it
    changed anything.

    Raises:
        sqlite3.Error: the transaction as a whole failed; it is rolled back.
        AlvearyError: the gate does not take it; it is rolled back.
    """
    results: Results = []
    statements: list[SqlStatement] = []
    try:
        if connection.in_transaction:  # an earlier rollback failed
            connection.rollback()
        connection.execute("BEGIN IMMEDIATE")
        before = connection.total_changes
        for work in works:
            recording = RecordingSql(connection)
            connection.execute("SAVEPOINT work")
            try:
                results.append((work(recording), None))
                statements += recording.statements
            except Exception as error:
                if not connection.in_transaction:  # SQLite gave the whole transaction up
                    raise
                connection.execute("ROLLBACK TO work")
                results.append((None, error))
            connection.execute("RELEASE work")
        if statements:
            changes = connection.total_changes - before
            return _Passing(results, gate.seal(connection, statements, changes))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.rollback()
        raise
    return _Passing(results, None)


class _Lane:
    """One connection, its thread and the queue of functions that wait for it."""

    def __init__(
        self,
        connector: Callable[[], sqlite3.Connection],
        run_batch: Callable[[sqlite3.Connection, Sequence[Work]], Results],
    ) -> None:
        self._run_batch = run_batch
        self._connection = _Connection(connector)
        self._queue: deque[_Job] = deque()
        self._under_way: list[_Job] = []
        self._idle = trio.Event()
        self._closing = False

    async def open(self) -> None:
        await self._connection.open()

    async def run(self, work: Callable[[Sql], T]) -> T:
        """Run ``work`` with the next batch and return what it returns."""
        if self._closing:
            raise Unavailable(Outage.STORE_CLOSED)
        if len(self._queue) >= limits.MAX_TRANSACTIONS_QUEUED:
            raise Unavailable(Outage.STORE_BUSY)
        job = _Job(work)
        self._queue.append(job)
        if not self._under_way and len(self._queue) == 1:
            # Every other task that is ready in this tick of the loop joins the first batch.
            await trio.lowlevel.cancel_shielded_checkpoint()
            self._carry()
        try:
            await job.done.wait()
        except trio.Cancelled:
            with suppress(ValueError):  # already under way: it will be carried out
                self._queue.remove(job)
            raise
        if job.error is not None:
            if isinstance(job.error, sqlite3.Error):
                raise _mapped(job.error) from job.error
            raise job.error
        return cast(T, job.value)

    def _carry(self) -> None:
        """Hand the longest waiting functions to the thread, which is free."""
        count = min(len(self._queue), limits.MAX_TRANSACTIONS_PER_COMMIT)
        jobs = [self._queue.popleft() for _ in range(count)]
        self._under_way = jobs
        works = [job.work for job in jobs]
        run_batch = self._run_batch
        outcome: list[Results] = []

        def carry(plain: sqlite3.Connection) -> None:
            try:
                outcome.append(run_batch(plain, works))
            except BaseException as error:
                outcome.append([(None, error)] * len(works))

        def carried() -> None:
            self._finish(jobs, outcome[0])

        self._connection.submit(carry, carried)

    def _finish(self, jobs: Sequence[_Job], results: Results) -> None:
        """Answer the callers, and go on with those that wait."""
        self._under_way = []
        for job, (value, error) in zip(jobs, results, strict=True):
            job.finish(value, error)
        if self._queue:
            self._carry()
        elif self._closing:
            self._idle.set()

    async def close(self) -> None:
        """Finish what is queued and close. May be called again."""
        if self._closing:
            return
        self._closing = True
        with trio.CancelScope(shield=True):
            if self._queue or self._under_way:
                await self._idle.wait()
            await self._connection.shut()


class _GatedLane(_Lane):
    """A writing lane whose commits pass a gate: the transaction stays open meanwhile."""

    def __init__(
        self,
        connector: Callable[[], sqlite3.Connection],
        run_batch: Callable[[sqlite3.Connection, Sequence[Work]], Results],
        gate: CommitGate,
    ) -> None:
        super().__init__(connector, run_batch)
        self._gate = gate

    def _carry(self) -> None:
        if not self._gate.is_closed:
            super()._carry()
            return
        count = min(len(self._queue), limits.MAX_TRANSACTIONS_PER_COMMIT)
        jobs = [self._queue.popleft() for _ in range(count)]
        self._under_way = jobs
        works = [job.work for job in jobs]
        begun: list[_Passing] = []

        def begin(plain: sqlite3.Connection) -> None:
            try:
                begun.append(_begin_batch(plain, works, self._gate))
            except BaseException as error:
                begun.append(_Passing([(None, error)] * len(works), None))

        def has_begun() -> None:
            (batch,) = begun
            if batch.sealed is None:
                self._finish(jobs, batch.results)
            else:
                self._gate.submit(batch.sealed, partial(self._end, jobs, batch))

        self._connection.submit(begin, has_begun)

    def _end(self, jobs: Sequence[_Job], batch: _Passing, refusal: AlvearyError | None) -> None:
        """Commit a batch that may pass; roll back one that may not."""
        failed: list[BaseException] = []

        def end(plain: sqlite3.Connection) -> None:
            try:
                plain.execute("COMMIT" if refusal is None else "ROLLBACK")
            except BaseException as error:
                failed.append(error)
                with suppress(sqlite3.Error):
                    plain.rollback()

        def has_ended() -> None:
            error = refusal or (failed[0] if failed else None)
            if refusal is None:
                self._gate.settled(batch.sealed, is_committed=not failed)
            self._finish(
                jobs, batch.results if error is None else [(None, error)] * len(batch.results)
            )

        self._connection.submit(end, has_ended)


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

    def _lanes(self) -> tuple[_Lane, _Lane]:
        connect = partial(_connect, self._path, self._durable)
        return (
            _Lane(connect, _write_batch)
            if self._gate is None
            else _GatedLane(connect, _write_batch, self._gate),
            _Lane(partial(_connect_reader, self._path, self._durable), _read_batch),
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
            if not _is_of(error, _NOT_WRITABLE) or not self._path.exists():
                raise
            self._writes = _Lane(partial(_connect_to_read, self._path), _write_batch)
            self._reads = _Lane(partial(_connect_to_read, self._path), _read_batch)
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
        await _run_apart(_Lane(partial(_connect, self._path, True), _write_batch), _touch)

    async def check(self) -> None:
        """See :class:`common.ports.Store`."""
        # A connection of its own: it reads the medium, not what others have cached, and nobody
        # waits for it.
        await _run_apart(_Lane(partial(_connect_checker, self._path), _read_batch), _whole_check)

    async def close(self) -> None:
        """Finish what is queued and close. May be called again."""
        await self._reads.close()
        await self._writes.close()


async def _open_lanes(writes: _Lane, reads: _Lane) -> None:
    await writes.open()
    try:
        await reads.open()
    except BaseException:
        await writes.close()
        raise


async def _run_apart(lane: _Lane, work: Work) -> None:
    """Run one function in a lane that is opened for it."""
    try:
        await lane.open()
    except sqlite3.Error as error:
        raise _mapped(error) from error
    try:
        await lane.run(work)
    finally:
        await lane.close()


def _is_of(error: sqlite3.Error, codes: Sequence[int]) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in codes


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
            raise _mapped(error) from error
        return store

    async def copy(self, name: str, target: str, look: Callable[[Sql], T]) -> T:
        """See :class:`common.ports.Stores`."""
        path = self._path(target)

        def copy() -> T:
            try:
                path.unlink(missing_ok=True)
                return copy_at_once(self._path(name), path, look)
            except sqlite3.Error as error:
                raise _mapped(error) from error
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
