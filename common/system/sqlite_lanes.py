"""Lanes of a SQLite database: aiosqlite's connection and its thread, and how a batch is run.

Source: docs/placement.md, "Transactions"; docs/journal.md, "Order of a commit".
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import aiosqlite
import trio
import trio_asyncio

from common.errors import AlvearyError, Corrupt, Unavailable
from common.ports import CommitGate, SqlStatement
from common.reasons import Damage, Outage
from common.recording import RecordingSql
from common.system.lanes import BatchLane, Job, Results, Work

_FATAL: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_of(error: sqlite3.Error, codes: Sequence[int]) -> bool:
    """Return whether an error has one of these primary codes."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in codes


def mapped(error: sqlite3.Error) -> AlvearyError:
    """Return the error to raise for one of SQLite's."""
    if is_of(error, _FATAL):
        return Corrupt(Damage.STORE_CORRUPT, detail=str(error))
    return Unavailable(Outage.STORE_FAILED, detail=str(error))


def _of_caller(error: BaseException) -> BaseException:
    return mapped(error) if isinstance(error, sqlite3.Error) else error


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
                # As above.
                await trio_asyncio.aio_as_trio(function)()  # type: ignore[attr-defined,no-untyped-call]
            except sqlite3.Error as error:  # the loop would wrap it in a group
                failure = error
    if failure is not None:
        raise failure


def write_batch(connection: sqlite3.Connection, works: Sequence[Work]) -> Results:
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


def read_batch(connection: sqlite3.Connection, works: Sequence[Work]) -> Results:
    """Run all works on one state of the database, and leave it as it is."""
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
    """Run all works in one transaction, as :func:`write_batch` does, and leave it open if it
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
        changes = 0
        for work in works:
            recording = RecordingSql(connection)
            connection.execute("SAVEPOINT work")
            before = connection.total_changes  # counts what is rolled back, too
            try:
                results.append((work(recording), None))
                statements += recording.statements
                changes += connection.total_changes - before
            except Exception as error:
                if not connection.in_transaction:  # SQLite gave the whole transaction up
                    raise
                connection.execute("ROLLBACK TO work")
                results.append((None, error))
            connection.execute("RELEASE work")
        if statements:
            return _Passing(results, gate.seal(connection, statements, changes))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.rollback()
        raise
    return _Passing(results, None)


class Lane(BatchLane[sqlite3.Connection]):
    """A lane of SQLite.

    Args:
        connector: opens the connection, in the thread.
        run_batch: :func:`write_batch` or :func:`read_batch`.
    """

    def __init__(
        self,
        connector: Callable[[], sqlite3.Connection],
        run_batch: Callable[[sqlite3.Connection, Sequence[Work]], Results],
    ) -> None:
        super().__init__(_Connection(connector), run_batch, _of_caller)


class GatedLane(Lane):
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
        jobs = self._take()
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

    def _end(self, jobs: Sequence[Job], batch: _Passing, refusal: AlvearyError | None) -> None:
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
