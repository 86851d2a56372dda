"""Simulated SQL stores: sqlite3 in memory, run inline.

A commit is one step: before it nothing is durable, after it everything is; the time that it takes
passes before that or after. A store that is not durable may lose its latest transactions in a
power cut, as ``synchronous=NORMAL`` may.
"""

from __future__ import annotations

import random
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

import trio

from common.errors import AlvearyError, Corrupt, OutcomeUnknown, Unavailable
from common.ports import CommitGate, Sql, SqlStatement
from common.reasons import Damage, Outage, Uncertainty
from common.recording import RecordingSql, run
from sim.disk import Platter, SimDisk
from sim.life import Life

T = TypeVar("T")
LOOK_AT_LIFE_S: Final = 5.0
SNAPSHOTS: Final = 3
SNAPSHOT_EVERY: Final = 4


class _Memory(sqlite3.Connection):
    """Closed with the last who knows it; from Python 3.13 on others warn then."""

    def __del__(self) -> None:
        self.close()


def connect_in_memory() -> sqlite3.Connection:
    """A new and empty database."""
    return sqlite3.connect(
        ":memory:",
        isolation_level=None,
        check_same_thread=False,
        cached_statements=512,
        factory=_Memory,
    )


class Database:
    """A database on a simulated medium: it survives the lives of its node."""

    def __init__(self, chance: random.Random, durable: bool) -> None:
        self.durable = durable
        self.connection = self._connect()
        self.fail_commits = 0.0
        self.turn_away = 0.0
        """The share of transactions that are run, rolled back and run again, as a shared store does
        with those that meet others."""
        self.lose_outcomes = 0.0
        """The share of transactions, carried out or not, whose outcome the caller does not learn:
        as where a shared store cannot be reached for long after a commit was sent."""
        self._chance = chance
        self._snapshots: deque[bytes] = deque([b""], maxlen=SNAPSHOTS)
        self._transactions = 0

    @staticmethod
    def _connect() -> sqlite3.Connection:
        connection = connect_in_memory()
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    def committed(self) -> None:
        self._transactions += 1
        if not self.durable and self._transactions % SNAPSHOT_EVERY == 0:
            self._snapshots.append(self.connection.serialize())

    def sync(self) -> None:
        """Make everything that is committed durable: no power cut returns to a state before."""
        (pages,) = self.connection.execute("PRAGMA page_count").fetchone()
        now = self.connection.serialize() if pages else b""
        self._snapshots = deque([now], maxlen=SNAPSHOTS)

    def copy(self) -> bytes:
        """All that is committed, as a copy of the database's file has it."""
        return self.connection.serialize()

    def put_in_place(self, content: bytes) -> None:
        """Make it what a copy is, while nobody has it open: its node's life has just ended."""
        self.connection.close()
        self.connection = self._connect()
        if content:
            self.connection.deserialize(content)
        self._snapshots = deque([content], maxlen=SNAPSHOTS)

    def power_cut(self) -> None:
        """Perhaps return to an earlier state, if the store is not durable."""
        if self.durable:
            return
        choice = self._chance.randrange(len(self._snapshots) + 1)
        if choice == len(self._snapshots):
            return
        self.put_in_place(self._snapshots[choice])


def _again(
    statements: Sequence[SqlStatement], changes: int, gate: CommitGate, sealed: object, sql: Sql
) -> None:
    """Run recorded statements, and hold them to what they did before."""
    assert isinstance(sql, sqlite3.Connection)
    before = sql.total_changes
    run(sql, statements)
    assert sql.total_changes - before == changes, "a replay changed other rows"
    gate.write(sql, sealed)


def _changes(connection: sqlite3.Connection) -> tuple[int, int]:
    schema: int = connection.execute("PRAGMA schema_version").fetchone()[0]
    return connection.total_changes, schema


def _run(work: Callable[[Sql], T], connection: sqlite3.Connection) -> T:
    try:
        return work(connection)
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_CORRUPT:
            raise
        raise Corrupt(Damage.STORE_CORRUPT, detail=str(error)) from error


class SimStore:
    """An open simulated store: a :class:`common.ports.Store`."""

    def __init__(
        self, node: Life, platter: Platter, database: Database, gate: CommitGate | None
    ) -> None:
        self._node = node
        self._life = node.life
        self._platter = platter
        self._database = database
        self._gate = gate
        self._at_gate = trio.Lock()

    async def transact(self, work: Callable[[Sql], T]) -> T:
        if self._gate is None:
            return await self._transact(work)
        async with self._at_gate:
            if self._gate.is_closed:
                return await self._pass(work, self._gate)
            return await self._transact(work)

    async def _pass(self, work: Callable[[Sql], T], gate: CommitGate) -> T:
        """Run ``work``, take it back while its commit waits at the gate (readers share this
        connection), and run its statements again: they must do the same."""
        await self._node.step(self._life, "transact")
        connection = self._database.connection
        recording = RecordingSql(connection)
        connection.execute("BEGIN IMMEDIATE")
        try:
            before = connection.total_changes
            result = _run(lambda _: work(recording), connection)
            if not recording.statements:
                connection.execute("COMMIT")
                return result
            changes = connection.total_changes - before
            sealed = gate.seal(connection, recording.statements, changes)
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        passed = trio.Event()
        refusals: list[AlvearyError] = []

        def done(refusal: AlvearyError | None) -> None:
            if refusal is not None:
                refusals.append(refusal)
            passed.set()

        gate.submit(sealed, done)
        with trio.CancelScope(shield=True):
            # As the product's: what is at the gate is carried out, whether or not anyone waits.
            await self._wait(passed)
            if refusals:
                raise refusals[0]
            await trio.sleep(self._node.disk_latency_s * self._platter.chance.random())
            self._check_life()
            is_committed = False
            try:
                self._commit(partial(_again, recording.statements, changes, gate, sealed))
                is_committed = True
            finally:
                gate.settled(sealed, is_committed=is_committed)
        await self._node.step(self._life, "committed")
        return result

    def _check_life(self) -> None:
        if self._node.life != self._life:
            raise Unavailable(Outage.STORE_CLOSED)

    async def _wait(self, passed: trio.Event) -> None:
        """Wait for the gate, as long as this life lasts."""
        while not passed.is_set():
            with trio.move_on_after(LOOK_AT_LIFE_S):
                await passed.wait()
            self._check_life()

    async def _transact(self, work: Callable[[Sql], T]) -> T:
        latency_s = self._node.disk_latency_s * self._platter.chance.random()
        is_late = self._platter.chance.random() < 0.5
        await self._node.step(self._life, "transact", 0.0 if is_late else latency_s)
        result = self._commit(work)
        await self._node.step(self._life, "committed", latency_s if is_late else 0.0)
        return result

    def _commit(self, work: Callable[[Sql], T]) -> T:
        database = self._database
        if database.fail_commits and self._node.chance.random() < database.fail_commits:
            raise Unavailable(Outage.STORE_FAILED)
        connection = database.connection
        chance = self._node.chance
        is_lost = bool(database.lose_outcomes) and chance.random() < database.lose_outcomes
        if is_lost and chance.random() < 0.5:
            raise OutcomeUnknown(Uncertainty.STORE_UNKNOWN)
        while database.turn_away and chance.random() < database.turn_away:
            connection.execute("BEGIN IMMEDIATE")
            try:
                with suppress(AlvearyError):
                    work(connection)
            finally:
                connection.execute("ROLLBACK")
        before = _changes(connection)
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = _run(work, connection)
            if self._platter.faults.refuses and _changes(connection) != before:
                raise Unavailable(Outage.STORE_FAILED)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        database.committed()
        if is_lost:
            raise OutcomeUnknown(Uncertainty.STORE_UNKNOWN)
        return result

    async def read(self, work: Callable[[Sql], T]) -> T:
        await trio.lowlevel.checkpoint()
        await self._node.alive(self._life)
        connection = self._database.connection
        before = connection.total_changes
        result = _run(work, connection)  # nothing runs beside it: a snapshot without a transaction
        assert connection.total_changes == before, "a read has written"
        return result

    async def sync(self) -> None:
        await self._node.step(self._life, "transact")
        database = self._database
        if database.fail_commits and self._node.chance.random() < database.fail_commits:
            raise Unavailable(Outage.STORE_FAILED)
        if self._platter.faults.refuses:
            raise Unavailable(Outage.STORE_FAILED)
        database.sync()
        await self._node.step(self._life, "committed")

    async def check(self) -> None:
        await trio.lowlevel.checkpoint()
        await self._node.alive(self._life)
        try:
            (verdict,) = self._database.connection.execute("PRAGMA integrity_check(1)").fetchone()
        except sqlite3.DatabaseError as error:
            raise Corrupt(Damage.STORE_CORRUPT, detail=str(error)) from error
        if verdict != "ok":
            raise Corrupt(Damage.STORE_CORRUPT, detail=verdict)

    async def close(self) -> None:
        await trio.lowlevel.checkpoint()


class SimStores:
    """The Stores port of one life of a node.

    ``is_shared``: set where several nodes are given one dictionary of databases.
    """

    is_shared = False

    def __init__(self, node: Life, platter: Platter, databases: dict[str, Database]) -> None:
        self._node = node
        self._life = node.life
        self._platter = platter
        self._databases = databases

    async def open(
        self, name: str, *, durable: bool = True, gate: CommitGate | None = None
    ) -> SimStore:
        await self._node.alive(self._life)
        if name not in self._databases:
            self._databases[name] = Database(self._platter.chance, durable)
        return SimStore(self._node, self._platter, self._databases[name], gate)

    async def copy(self, name: str, target: str, look: Callable[[Sql], T]) -> T:
        await self._node.alive(self._life)
        content = self._databases[name].copy()
        file = await SimDisk(self._node, self._platter).open(target, create=True)
        await file.truncate(0)
        await file.write(0, [content])
        await file.close()
        copy = connect_in_memory()
        copy.deserialize(content)
        return look(copy)

    async def put(self, name: str, source: str) -> None:
        await self._node.alive(self._life)
        disk = SimDisk(self._node, self._platter)
        file = await disk.open(source)
        content = await file.read(0, await file.size())
        await file.close()
        if name not in self._databases:
            self._databases[name] = Database(self._platter.chance, True)
        self._databases[name].put_in_place(content)
        await disk.unlink(source)

    async def discard(self, name: str) -> None:
        await self._node.alive(self._life)
        self._databases.pop(name, None)
