"""Statements of one transaction on PostgreSQL, several sent at once.

A statement whose answer nobody looks at costs no round trip: it waits here for the next one whose
answer is looked at, and what goes wrong with it shows there, or at the commit (libpq's pipeline
mode).

Source: postgresql.org/docs/15/libpq-pipeline-mode.html; psycopg.org, "Pipeline mode support".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final, cast

import psycopg
from psycopg.abc import PQGen
from psycopg.generators import send
from psycopg.types.numeric import Int8BinaryDumper, NumericBinaryLoader

from common.recording import only_reads

ENGINE: Final = "postgresql"
Translate = Callable[[str], str]
"""Returns a statement in PostgreSQL's words, its parameters as ``%s``."""
PREPARED_AFTER: Final = 3
NEVER: Final = 1 << 30
_OF_TABLES: Final = ("ALTER ", "CREATE ", "DROP ")


class _HeldBack(psycopg.Pipeline):
    """A pipeline that sends its statements together with the Sync after them.

    Psycopg would send each at once. A process that stops then, before the Sync, would keep its
    transaction open for as long as it is stopped: PostgreSQL counts no time while it waits for one.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._is_due = False

    def _enqueue_sync(self) -> None:
        super()._enqueue_sync()
        self._is_due = True

    def _communicate_gen(self) -> PQGen[None]:
        if self._is_due:
            self._is_due = False
            while self.command_queue:
                self.command_queue.popleft()()
            yield from send(self.pgconn)


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection whose pipelines hold statements back until a Sync."""

    @contextmanager
    def pipeline(self) -> Iterator[psycopg.Pipeline]:
        """See psycopg."""
        self._pipeline = _HeldBack(self)
        with super().pipeline() as pipeline:
            yield pipeline


class _WholeNumber(Int8BinaryDumper):
    """One type for all whole numbers and booleans, as the tables have one: a type that depends on
    the value would have each statement planned several times."""

    def dump(self, obj: Any) -> Any:
        """See psycopg."""
        return super().dump(int(obj))


class _Sum(NumericBinaryLoader):
    """A sum of whole numbers, which PostgreSQL makes a decimal number of."""

    def load(self, data: Any) -> Any:
        """See psycopg."""
        found = super().load(data)
        return int(found) if found == found.to_integral_value() else float(found)


def adapt(connection: Connection) -> None:
    """Have values mean what they mean to SQLite, and nothing prepared but by :class:`Prepared`."""
    connection.prepare_threshold = NEVER
    connection.prepared_max = NEVER
    for kind in (int, bool):
        connection.adapters.register_dumper(kind, _WholeNumber)
    connection.adapters.register_loader("numeric", _Sum)


class _Answer:
    """The answer to a statement, fetched when it is looked at: a cursor's look-alike."""

    __slots__ = ("_cursor", "_pipeline")

    def __init__(self, cursor: psycopg.Cursor[tuple[Any, ...]], pipeline: psycopg.Pipeline) -> None:
        self._cursor = cursor
        self._pipeline = pipeline

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the next row."""
        return self._answered().fetchone()

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return all rows that are left."""
        return self._answered().fetchall()

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self._answered().fetchall())

    @property
    def rowcount(self) -> int:
        """The number of rows that were changed, or found."""
        return self._answered().rowcount

    def _answered(self) -> psycopg.Cursor[tuple[Any, ...]]:
        # A cursor would fetch by itself, with a Flush: see _HeldBack.
        if self._cursor.pgresult is None:
            self._pipeline.sync()
        return self._cursor


class _Answers:
    """The answers to one statement that was run several times."""

    __slots__ = ("_each",)

    def __init__(self, each: list[_Answer]) -> None:
        self._each = each

    @property
    def rowcount(self) -> int:
        """The number of rows that were changed."""
        return sum(each.rowcount for each in self._each)


class Prepared:
    """The statements that one connection has planned for good.

    psycopg would prepare by itself, and in a pipeline it takes for prepared what PostgreSQL skipped
    since something before it had failed. So a statement is prepared between two Syncs.

    ``is_over``: nothing is prepared any more, and the connection is to be replaced. When tables
    change psycopg forgets what is prepared and has the server forget it, some statements later:
    those that were prepared in between would be missing from then on.
    """

    def __init__(self) -> None:
        self.is_over = False
        self._counts: Counter[Hashable] = Counter()

    def run(
        self,
        connection: Connection,
        pipeline: psycopg.Pipeline,
        text: str,
        parameters: Sequence[Any],
    ) -> psycopg.Cursor[tuple[Any, ...]]:
        """Run a statement, prepared once it has been run several times."""
        self.is_over |= text.startswith(_OF_TABLES)
        key = text, tuple(map(type, parameters))
        count = 0 if self.is_over else self._counts[key]
        if count == PREPARED_AFTER:
            pipeline.sync()
        # The texts are the store's own: psycopg would have them as literals.
        found = connection.execute(
            cast(Any, text), parameters, prepare=count >= PREPARED_AFTER, binary=True
        )
        if count <= PREPARED_AFTER:
            self._counts[key] = count + 1
        if count == PREPARED_AFTER:
            pipeline.sync()
        return found


class PostgresSql:
    """A :class:`common.ports.Sql` of PostgreSQL.

    ``has_written``: whether a statement was run that may change something.
    """

    __slots__ = ("_connection", "_pipeline", "_prepared", "_translate", "has_written")

    engine = ENGINE

    def __init__(
        self,
        connection: Connection,
        pipeline: psycopg.Pipeline,
        translate: Translate,
        prepared: Prepared,
    ) -> None:
        self._prepared = prepared
        self._connection = connection
        self._pipeline = pipeline
        self._translate = translate
        self.has_written = False

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> _Answer:
        """See :class:`common.ports.Sql`."""
        if not only_reads(sql):
            self.has_written = True
        return self._run(self._translate(sql), parameters)

    def executemany(self, sql: str, parameters: Any, /) -> _Answers:
        """See :class:`common.ports.Sql`."""
        self.has_written = True
        text = self._translate(sql)
        return _Answers([self._run(text, each) for each in parameters])

    def _run(self, text: str, parameters: Sequence[Any]) -> _Answer:
        found = self._prepared.run(self._connection, self._pipeline, text, parameters)
        return _Answer(found, self._pipeline)


def remembered(translate: Translate) -> Translate:
    """Return the same translation, remembered for each text."""
    return lru_cache(maxsize=2048)(translate)
