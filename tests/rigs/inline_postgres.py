"""A store on a real PostgreSQL whose statements run in the event loop's own thread.

So time can be simulated around it: nothing else happens while PostgreSQL works.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import psycopg
import trio

from common.errors import Unavailable
from common.ports import CommitGate, Sql
from common.reasons import Outage
from common.system.postgres import schema_of
from common.system.postgres_session import PostgresSession, mapped
from common.system.postgres_sql import remembered
from coordinator.store.dialect import to_postgres
from sim.world import EPOCH_S

T = TypeVar("T")


def _at_simulated_time(text: str) -> str:
    return to_postgres(text).replace("clock_timestamp()", f"to_timestamp({EPOCH_S})")


class InlinePostgresStore:
    """A store of one schema."""

    def __init__(self, session: PostgresSession) -> None:
        self._session = session
        self._is_closed = False

    async def transact(self, work: Callable[[Sql], T]) -> T:
        """See :class:`common.ports.Store`."""
        return await self._run(self._session.write_batch, work)

    async def read(self, work: Callable[[Sql], T]) -> T:
        """See :class:`common.ports.Store`."""
        return await self._run(self._session.read_batch, work)

    async def _run(self, run: Callable[..., Any], work: Callable[[Sql], T]) -> T:
        await trio.lowlevel.checkpoint()
        if self._is_closed:
            raise Unavailable(Outage.STORE_CLOSED)
        ((value, error),) = run([work])
        if error is not None:
            raise mapped(error)
        result: T = value
        return result

    async def sync(self) -> None:
        """See :class:`common.ports.SyncedStore`."""
        await trio.lowlevel.checkpoint()

    async def check(self) -> None:
        """See :class:`common.ports.Store`."""
        await trio.lowlevel.checkpoint()

    async def close(self) -> None:
        """See :class:`common.ports.Store`."""
        await trio.lowlevel.checkpoint()
        self._is_closed = True
        self._session.close()


class InlinePostgresStores:
    """The stores of one daemon, in one database."""

    is_shared: Final = True

    def __init__(self, url: str) -> None:
        self.url = url
        self._translate = remembered(_at_simulated_time)

    async def open(
        self, name: str, *, durable: bool = True, gate: CommitGate | None = None
    ) -> InlinePostgresStore:
        """See :class:`common.ports.Stores`."""
        del durable
        assert gate is None
        await trio.lowlevel.checkpoint()
        session = PostgresSession(self.url, schema_of(name), self._translate, os.urandom)
        session.open()
        return InlinePostgresStore(session)

    async def copy(self, name: str, target: str, look: Callable[[Sql], T]) -> T:
        """Nothing here copies it."""
        raise NotImplementedError

    async def put(self, name: str, source: str) -> None:
        """Nothing here puts one back."""
        raise NotImplementedError

    async def discard(self, name: str) -> None:
        """Nothing here discards it."""
        raise NotImplementedError

    def sql(self, name: str, statement: str, parameters: Sequence[Any]) -> list[Any]:
        """Run a statement of a test's own."""
        with psycopg.connect(self.url, options=f"-c search_path={schema_of(name)}") as connection:
            cursor = connection.execute(to_postgres(statement).encode(), parameters)
            rows = cursor.fetchall() if cursor.description is not None else []
            return [tuple(int(v) if isinstance(v, bool) else v for v in row) for row in rows]
