"""The Stores and Store ports on PostgreSQL: psycopg's connections, each in a thread of its own.

One connection writes: whatever waits for it goes into one transaction, so that a process never
meets itself. A few read. A store's name is the name of its schema.

Source: docs/placement.md, "Transactions"; docs/decisions/0050-postgresql.md.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar, cast

import psycopg
import trio

from common.errors import BadConfig, Corrupt, Unavailable
from common.ports import CommitGate, Entropy, Sql
from common.reasons import ConfigFault, Damage, Outage
from common.system.lanes import BatchLane
from common.system.postgres_session import PATIENCE_S, PostgresSession, mapped
from common.system.postgres_sql import Translate, remembered

T = TypeVar("T")
READERS: Final = 2
"""Connections that read: one answers while the other waits for the network."""


class _Thread:
    """A session and its thread."""

    def __init__(self, session: PostgresSession) -> None:
        self._session = session
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        # A crash of the daemon must not wait for its database.
        self._thread = threading.Thread(target=self._run, name="postgresql", daemon=True)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call()

    async def open(self) -> None:
        """Start the thread and connect. Raises as :meth:`PostgresSession.open`."""
        self._thread.start()
        try:
            await self._wait(self._session.open)
        except BaseException:
            self._calls.put(None)
            raise

    def submit(self, work: Callable[[PostgresSession], None], done: Callable[[], object]) -> None:
        """See :class:`common.system.lanes.DatabaseThread`."""
        token = trio.lowlevel.current_trio_token()

        def run() -> None:
            work(self._session)
            token.run_sync_soon(done)

        self._calls.put(run)

    async def shut(self) -> None:
        """Disconnect, and end the thread."""
        await self._wait(self._session.close)
        self._calls.put(None)

    async def _wait(self, work: Callable[[], None]) -> None:
        """Run something in the thread."""
        failures: list[BaseException] = []
        done = trio.Event()

        def guarded(_: PostgresSession) -> None:
            try:
                work()
            except BaseException as error:
                failures.append(error)

        with trio.CancelScope(shield=True):
            self.submit(guarded, done.set)
            await done.wait()
        if failures:
            raise failures[0]


class PostgresStore:
    """One schema of a database: a lane that writes, and some that read."""

    def __init__(self, session: Callable[[], PostgresSession]) -> None:
        self._writes = BatchLane(_Thread(session()), PostgresSession.write_batch, mapped)
        self._reads = [
            BatchLane(_Thread(session()), PostgresSession.read_batch, mapped)
            for _ in range(READERS)
        ]
        self._damaged_before = 0

    async def open(self) -> None:
        """Open all connections.

        Raises:
            BadConfig: ``bad_store``.
            psycopg.Error: the database cannot be reached.
        """
        opened: list[BatchLane[PostgresSession]] = []
        try:
            for lane in (self._writes, *self._reads):
                await lane.open()
                opened.append(lane)
            self._damaged_before = await self.read(_damaged_pages)
        except BaseException:
            for lane in opened:
                await lane.close()
            raise

    async def transact(self, work: Callable[[Sql], T]) -> T:
        """See :class:`common.ports.Store`. ``work`` may run several times, the last time with
        effect."""
        return await self._writes.run(work)

    async def read(self, work: Callable[[Sql], T]) -> T:
        """See :class:`common.ports.Store`."""
        return await min(self._reads, key=lambda lane: lane.waiting).run(work)

    async def sync(self) -> None:
        """See :class:`common.ports.SyncedStore`: all that is acknowledged is durable."""
        await trio.lowlevel.checkpoint()

    async def check(self) -> None:
        """See :class:`common.ports.Store`. PostgreSQL checks each page that it reads, and counts
        those that failed: whether it has found any since the store was opened. Nothing is read."""
        if await self.read(_damaged_pages) > self._damaged_before:
            raise Corrupt(Damage.STORE_CORRUPT, detail="PostgreSQL counts pages that are damaged")

    async def close(self) -> None:
        """Finish what is queued and close. May be called again."""
        for lane in (*self._reads, self._writes):
            await lane.close()


def _damaged_pages(sql: Sql) -> int:
    (found,) = sql.execute(
        "SELECT coalesce(sum(checksum_failures), 0) FROM pg_stat_database"
        " WHERE datname = current_database()"
    ).fetchone()
    return int(found)


class PostgresStores:
    """The stores of one daemon, all in one database.

    Args:
        url: such as ``postgresql://user@host/database``.
        translate: returns a statement in PostgreSQL's words.
        entropy: for ids of connections.
        patience_s: for one transaction, while PostgreSQL cannot be reached.
    """

    is_shared: Final = True

    def __init__(
        self,
        url: str,
        translate: Translate,
        entropy: Entropy,
        *,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._url = url
        self._translate = remembered(translate)
        self._entropy = entropy
        self._patience_s = patience_s

    async def open(
        self, name: str, *, durable: bool = True, gate: CommitGate | None = None
    ) -> PostgresStore:
        """See :class:`common.ports.Stores`. Everything is durable.

        Raises:
            BadConfig: ``bad_store``: it cannot be used.
        """
        del durable
        assert gate is None, "PostgreSQL keeps its own journal"
        session = partial(
            PostgresSession,
            self._url,
            schema_of(name),
            self._translate,
            self._entropy,
            patience_s=self._patience_s,
        )
        store = PostgresStore(session)
        try:
            await store.open()
        except psycopg.Error as error:
            raise mapped(error) from error
        return store

    async def copy(self, name: str, target: str, look: Callable[[Sql], T]) -> T:
        """Refuse: copies of PostgreSQL are made with its own tools."""
        del name, target, look
        await trio.lowlevel.checkpoint()
        raise Unavailable(Outage.STORE_FAILED, detail="PostgreSQL is copied with its own tools")

    async def put(self, name: str, source: str) -> None:
        """Refuse, as :meth:`copy`."""
        await self.copy(name, source, lambda _: None)

    async def discard(self, name: str) -> None:
        """See :class:`common.ports.Stores`."""

        def drop() -> None:
            with psycopg.connect(self._url, autocommit=True) as connection:
                connection.execute(cast(Any, f'DROP SCHEMA IF EXISTS "{schema_of(name)}" CASCADE'))

        try:
            await trio.to_thread.run_sync(drop)
        except psycopg.Error as error:
            raise mapped(error) from error


def schema_of(name: str) -> str:
    """Return the schema of a store.

    Raises:
        BadConfig: ``bad_store``: it cannot be one's name.
    """
    schema = name.partition(".")[0].replace("-", "_")
    if not schema.isidentifier():
        raise BadConfig(ConfigFault.BAD_STORE, message=f"{schema!r} cannot name a schema")
    return schema
