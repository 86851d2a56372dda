"""A connection to PostgreSQL that survives its server, in one thread: batches run, retried, their
outcome found out.

A batch is one SERIALIZABLE transaction. What it wrote becomes durable with its COMMIT, or not at
all, and its caller learns which of the two:

- PostgreSQL turns a transaction away that saw something which another one was changing. It is run
  again; from the second time on nothing else is written meanwhile, so it comes through.
- A connection that is lost before COMMIT was sent has committed nothing: another one runs it again.
- After COMMIT was sent its outcome is unknown. Each connection has a row in ``connections``, in
  which a batch writes its number before COMMIT is sent, and so holds the row. Another connection
  waits for the row: once it has that, the batch has ended, and its number stands there if it was
  committed.

Source: docs/decisions/0050-postgresql.md; postgresql.org/docs/15: transaction-iso.html,
"Serializable Isolation Level"; sql-lock.html.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, cast

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import ExecStatus

from common.errors import AlvearyError, BadConfig, Corrupt, OutcomeUnknown, Refused, Unavailable
from common.ports import Entropy
from common.reasons import ConfigFault, Damage, Outage, Refusal, Uncertainty
from common.system.lanes import Results, Work
from common.system.postgres_sql import Connection, PostgresSql, Prepared, Translate, adapt

PATIENCE_S: Final = 20.0
"""Time for which a batch is tried on, while PostgreSQL restarts or another takes its place."""
CONNECT_TIMEOUT_S: Final = 3
FIRST_PAUSE_S: Final = 0.01
LONGEST_PAUSE_S: Final = 0.5
TRIES: Final = 20
"""A batch that was turned away so often fails."""
TOGETHER: Final = 2
"""So often a batch is tried beside others; then it has the store for itself."""
IDLE_IN_TRANSACTION_S: Final = 2
"""A process that stops inside a transaction holds rows up that others wait for: then PostgreSQL
ends its connection. Far more than any step between two statements takes."""
LOCK_TIMEOUT_S: Final = 3
"""Longer than IDLE_IN_TRANSACTION_S: what is still waited for then is held by a process that
PostgreSQL counts no time for, or that works."""
STATEMENT_TIMEOUT_S: Final = 60
CONNECTION_ID_BYTES: Final = 16
_FORGOTTEN_AFTER: Final = "7 days"
_LOCKED: Final = "55P03"  # lock_not_available
_AGAIN: Final = frozenset(
    {
        "40001",  # serialization_failure
        "40P01",  # deadlock_detected
        _LOCKED,
        "23505",  # unique_violation: by a row that the transaction could not see
        "42P07",  # duplicate_table: two that make the tables of an empty store
        "42710",  # duplicate_object
        "42P06",  # duplicate_schema
    }
)
# What it warns of is answered here: a pipeline that was lost.
logging.getLogger("psycopg").setLevel(logging.CRITICAL)
_DAMAGED: Final = frozenset({"XX001", "XX002"})
_TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS turns (turn BIGINT)",
    "CREATE TABLE IF NOT EXISTS connections (connection BYTEA PRIMARY KEY, number BIGINT NOT NULL,"
    " begun TIMESTAMPTZ NOT NULL DEFAULT now(),"
    " pid INTEGER NOT NULL DEFAULT pg_backend_pid())",
)
# Those of the same store which PostgreSQL waits for inside a transaction. state_change: when the
# last message of the client came in whole.
_END_SILENT: Final = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid IN"
    " (SELECT pid FROM connections) AND datname = current_database() AND usename = current_user"
    " AND pid <> pg_backend_pid() AND xact_start IS NOT NULL AND wait_event_type = 'Client'"
    f" AND state_change < clock_timestamp() - interval '{IDLE_IN_TRANSACTION_S} s'"
)
_END: Final = "UPDATE connections SET number = %s WHERE connection = %s"


class _LostError(Exception):
    """The connection is gone. ``may_be_committed``: COMMIT was sent."""

    def __init__(self, error: BaseException, *, may_be_committed: bool) -> None:
        super().__init__(str(error))
        self.may_be_committed = may_be_committed


class _PartlyDoneError(Exception):
    """One of several functions failed after it had written: each is to have a transaction."""


def mapped(error: BaseException) -> BaseException:
    """Return what a caller gets to see of an error."""
    if not isinstance(error, psycopg.Error):
        return error
    if error.sqlstate in _DAMAGED:
        return Corrupt(Damage.STORE_CORRUPT, detail=str(error))
    if isinstance(error, psycopg.DataError) and error.sqlstate in (None, "22021"):
        return Refused(Refusal.BAD_VALUE, what="a character that the store does not take")
    return Unavailable(Outage.STORE_FAILED, detail=str(error).strip())


def _is_lost(connection: Connection, error: psycopg.Error) -> bool:
    if connection.closed or connection.broken:
        return True
    severity = error.diag.severity_nonlocalized
    return severity in ("FATAL", "PANIC") or (
        isinstance(error, psycopg.OperationalError) and error.sqlstate is None
    )


class PostgresSession:
    """The connection of one lane. All methods are called in its thread.

    Args:
        url: of the database.
        schema: all tables lie in it.
        translate: see :data:`common.system.postgres_sql.Translate`.
        entropy: for ids of connections.
        patience_s: for one batch.
    """

    def __init__(
        self,
        url: str,
        schema: str,
        translate: Translate,
        entropy: Entropy,
        *,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._url = url
        self._schema = schema
        self._translate = translate
        self._entropy = entropy
        self._patience_s = patience_s
        self._connection: Connection | None = None
        self._id = b""
        self._number = 0
        self._is_down = False
        self._prepared = Prepared()

    # --- connections ------------------------------------------------------------------------

    def open(self) -> None:
        """Connect, and make what a session needs in the schema.

        Raises:
            BadConfig: ``bad_store``: no such database, or one that does not keep what it commits.
            psycopg.Error: it cannot be reached.
        """
        connection = self._plain()
        try:
            _check_durable(connection)
            for _ in range(TRIES):
                try:
                    self._make_tables(connection)
                    break
                except psycopg.Error as error:
                    if error.sqlstate not in _AGAIN:
                        raise
            self._register(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def _make_tables(self, connection: Connection) -> None:
        connection.execute(cast(Any, f'CREATE SCHEMA IF NOT EXISTS "{self._schema}"'))
        for statement in _TABLES:
            connection.execute(cast(Any, statement))
        connection.execute(
            "DELETE FROM connections WHERE begun < now() - %s::interval"
            " AND pid NOT IN (SELECT pid FROM pg_stat_activity)",
            (_FORGOTTEN_AFTER,),
        )

    def _plain(self) -> Connection:
        """Connect. What commits on it is durable when it says so."""
        given = conninfo_to_dict(self._url)
        settings = {
            "search_path": f'"{self._schema}"',
            "synchronous_commit": "on",
            "default_transaction_isolation": "read committed",
            "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_S}s",
            "lock_timeout": f"{LOCK_TIMEOUT_S}s",
            "statement_timeout": f"{STATEMENT_TIMEOUT_S}s",
            # A sequential scan is a read of the whole table to the detection of conflicts.
            "enable_seqscan": "off",
            "jit": "off",
        }
        options = " ".join(f"-c {name}={_escaped(value)}" for name, value in settings.items())
        usual: dict[str, Any] = {
            "connect_timeout": CONNECT_TIMEOUT_S,
            "target_session_attrs": "read-write",
            "application_name": "alveary",
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
        }
        wanted = {name: value for name, value in usual.items() if name not in given}
        wanted["options"] = f"{given.get('options') or ''} {options}".strip()
        connection = Connection.connect(self._url, autocommit=True, **wanted)
        adapt(connection)
        return connection

    def _register(self, connection: Connection) -> None:
        new = self._entropy(CONNECTION_ID_BYTES)
        connection.execute("INSERT INTO connections (connection, number) VALUES (%s, 0)", (new,))
        self._id, self._number = new, 0
        self._prepared = Prepared()

    def _connected(self) -> Connection:
        if self._prepared.is_over:
            self._drop()
        if self._connection is None or self._connection.closed:
            connection = self._plain()
            try:
                self._register(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()

    def close(self) -> None:
        """Disconnect."""
        if self._connection is not None and not self._connection.closed:
            with suppress(psycopg.Error):
                self._connection.execute(
                    "DELETE FROM connections WHERE connection = %s", (self._id,)
                )
        self._drop()

    # --- batches ----------------------------------------------------------------------------

    def write_batch(self, works: Sequence[Work]) -> Results:
        """Run all works in one transaction, or, where one of several fails, in one for each.

        Raises:
            Unavailable: ``store_failed``: nothing is committed.
            OutcomeUnknown: ``store_unknown``.
        """
        return self._batch(self._write, works)

    def read_batch(self, works: Sequence[Work]) -> Results:
        """Run all works on one state of the database, which no order of the commits before
        contradicts."""
        return self._batch(self._read, works)

    def _batch(self, run: Callable[..., None], works: Sequence[Work]) -> Results:
        try:
            return self._persistently(run, works)
        except (_PartlyDoneError, psycopg.Error) as error:
            if len(works) == 1:
                raise mapped(error) from error
        results: Results = []
        for work in works:
            try:
                results += self._batch(run, [work])
            except AlvearyError as error:
                results.append((None, error))
        return results

    def _persistently(self, run: Callable[..., None], works: Sequence[Work]) -> Results:
        """Run a batch, again while it is turned away or its connection is lost.

        Raises:
            psycopg.Error: PostgreSQL does not take it, or was not reached; it is not committed.
            OutcomeUnknown: ``store_unknown``.
        """
        until = time.monotonic() + (0.0 if self._is_down else self._patience_s)
        pause_s = FIRST_PAUSE_S
        tries = 0
        while True:
            results: Results = []
            try:
                connection = self._connected()
                run(connection, works, results, alone=tries >= TOGETHER)
            except _LostError as error:
                self._drop()
                last: BaseException = error.__cause__ or error
                if error.may_be_committed and self._was_committed():
                    return results
            except psycopg.Error as error:
                if self._connection is not None and error.sqlstate not in _AGAIN:
                    raise
                tries += self._connection is not None
                last = error
                if error.sqlstate == _LOCKED:
                    self._end_silent()
            else:
                self._is_down = False
                return results
            if tries >= TRIES or time.monotonic() + pause_s >= until:
                self._is_down = self._connection is None
                raise last
            # Chance parts those that met: it decides nothing else, and is repeated by no test.
            time.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311  # no secret
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _write(
        self, connection: Connection, works: Sequence[Work], results: Results, *, alone: bool
    ) -> None:
        is_sent = False
        try:
            with connection.pipeline() as pipeline:
                connection.execute("BEGIN ISOLATION LEVEL SERIALIZABLE", prepare=False)
                # Unlike all else LOCK TABLE comes before the transaction's state of the database.
                mode = "EXCLUSIVE" if alone else "ROW EXCLUSIVE"
                connection.execute(cast(Any, f"LOCK TABLE turns IN {mode} MODE"))
                sql = PostgresSql(connection, pipeline, self._translate, self._prepared)
                for work in works:
                    sql.has_written, had = False, sql.has_written
                    try:
                        results.append((work(sql), None))
                    except psycopg.Error:
                        raise
                    except Exception as error:
                        if sql.has_written:
                            if len(works) > 1:
                                raise _PartlyDoneError from error
                            raise
                        results.append((None, error))
                    sql.has_written |= had
                if sql.has_written:
                    connection.execute(_END, (self._number + 1, self._id))
                    pipeline.sync()  # from here on the row is held: a later look at it waits
                    self._number += 1
                    is_sent = True
                end = connection.execute("COMMIT", prepare=False)
                pipeline.sync()
            if end.statusmessage != "COMMIT":
                raise psycopg.errors.InFailedSqlTransaction("rolled back instead of committed")
        except psycopg.Error as error:
            if _is_lost(connection, error):
                raise _LostError(error, may_be_committed=is_sent) from error
            self._roll_back(connection)
            raise
        except BaseException as error:
            self._roll_back(connection)
            if len(works) == 1 and isinstance(error, Exception):
                results.append((None, error))
                return
            raise

    def _read(
        self, connection: Connection, works: Sequence[Work], results: Results, *, alone: bool
    ) -> None:
        del alone  # what only reads is in nobody's way
        try:
            with connection.pipeline() as pipeline:
                connection.execute("BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY")
                sql = PostgresSql(connection, pipeline, self._translate, self._prepared)
                for work in works:
                    try:
                        results.append((work(sql), None))
                    except psycopg.Error:
                        raise
                    except Exception as error:
                        results.append((None, error))
                connection.execute("COMMIT", prepare=False)
        except psycopg.Error as error:
            if _is_lost(connection, error):
                raise _LostError(error, may_be_committed=False) from error
            self._roll_back(connection)
            raise

    def _roll_back(self, connection: Connection) -> None:
        # Past psycopg, which would forget all that is prepared.
        if connection.pgconn.exec_(b"ROLLBACK").status != ExecStatus.COMMAND_OK:
            self._drop()

    # --- unknown outcomes -------------------------------------------------------------------

    def _was_committed(self) -> bool:
        """Find out whether the last batch was committed; wait until it has ended.

        Raises:
            OutcomeUnknown: ``store_unknown``: nobody could be asked in time.
        """
        until = time.monotonic() + self._patience_s
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                with self._plain() as other:
                    row = other.execute(
                        "SELECT number FROM connections WHERE connection = %s FOR UPDATE",
                        (self._id,),
                    ).fetchone()
                if row is not None:
                    return bool(row[0] == self._number)
                detail = "the database has not the connection's row: it is another, or an older one"
                raise OutcomeUnknown(Uncertainty.STORE_UNKNOWN, detail=detail)
            except psycopg.Error as error:
                if time.monotonic() + pause_s >= until:
                    raise OutcomeUnknown(
                        Uncertainty.STORE_UNKNOWN, detail=str(error).strip()
                    ) from error
                if error.sqlstate == _LOCKED:
                    self._end_silent()
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _end_silent(self) -> None:
        """End the connections of processes that stopped in the middle of what they sent. What is
        long leaves in pieces, and PostgreSQL 15 counts no time for the rest of a pipeline."""
        with suppress(psycopg.Error), self._plain() as other:
            other.execute(cast(Any, _END_SILENT))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(" ", "\\ ")


def _check_durable(connection: Connection) -> None:
    """Raise BadConfig ``bad_store`` of a server that loses commits at a power failure, or has too
    old a version."""
    for setting in ("fsync", "full_page_writes"):
        row = connection.execute("SELECT current_setting(%s)", (setting,)).fetchone()
        if row is None or row[0] != "on":
            raise BadConfig(
                ConfigFault.BAD_STORE,
                message=f"PostgreSQL runs with {setting} = off: what it commits may be lost",
            )
    if connection.info.server_version < 15_00_00:
        raise BadConfig(ConfigFault.BAD_STORE, message="PostgreSQL 15 or later is needed")
