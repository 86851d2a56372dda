"""A store is expanded beside coordinators of the version before, and contracted after them."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import Any, Final, TypeVar

import pytest
import trio
from postgres_server import PostgresServer
from trio.testing import MockClock

from cli.report import EXIT_BAD_CONFIG, exit_code_of
from common.errors import BadConfig
from common.ports import Address, Sql
from common.system.postgres_session import PostgresSession
from coordinator.config import CoordinatorConfig, JournalUse
from coordinator.journaled_store import STORE_NAME
from coordinator.service import serve
from coordinator.shared_store import BEAT_S, FORGOTTEN_AFTER_S
from coordinator.store import coordinators, dialect, schema
from coordinator.store.dialect import to_postgres
from coordinator.store.schema import SCHEMA_VERSION, check_version, migrate
from coordinator.store.steps import contract, expand
from sim.replacing import replaced
from sim.stores import SimStores
from sim.world import SimWorld

T = TypeVar("T")
NEXT: Final = (
    *schema.STEPS,
    expand(
        "ALTER TABLE tenants ADD COLUMN remark TEXT NOT NULL DEFAULT ''",
        "CREATE TABLE news (number INTEGER PRIMARY KEY, text TEXT NOT NULL)",
        "INSERT INTO news (number, text) SELECT tenant, name FROM tenants",
    ),
    contract("DROP INDEX evidence_by_cell", "DROP INDEX suspects_by_slot"),
)
OLD, NEW, SWARM = b"o" * 16, b"n" * 16, b"s" * 16
CONFIG: Final = CoordinatorConfig(
    data="/",
    listen=Address("coordinator", 7000),
    http=Address("coordinator", 7001),
    journal=JournalUse.OFF,
    discovery=False,
)
Transact = Callable[[Callable[[Sql], T]], T]


@contextmanager
def next_version() -> Iterator[None]:
    with replaced(schema, "STEPS", NEXT), replaced(schema, "SCHEMA_VERSION", len(NEXT)):
        yield


@contextmanager
def on_sqlite() -> Iterator[Transact[Any]]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:

        def transact(work: Callable[[Sql], T]) -> T:
            connection.execute("BEGIN IMMEDIATE")
            try:
                found = work(connection)
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
            return found

        yield transact


@contextmanager
def on_postgres(url: str) -> Iterator[Transact[Any]]:
    session = PostgresSession(url, "coordinator", to_postgres, os.urandom)
    session.open()

    def transact(work: Callable[[Sql], T]) -> Any:
        ((value, error),) = session.write_batch([work])
        if error is not None:
            raise error
        return value

    yield transact
    session.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def transact(request: pytest.FixtureRequest) -> Iterator[Transact[Any]]:
    if request.param == "sqlite":
        made = on_sqlite()
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        made = on_postgres(server.new_database())
    with made as found:
        yield found


class CrashError(Exception):
    pass


class CrashingSql:
    """Statements of which one is the last."""

    def __init__(self, sql: Sql, left: int) -> None:
        self._sql = sql
        self.left = left
        if hasattr(sql, "engine"):
            self.engine = sql.engine

    def execute(self, text: str, parameters: Sequence[Any] = (), /) -> Any:
        if not self.left:
            raise CrashError
        self.left -= 1
        return self._sql.execute(text, parameters)


def versions(sql: Sql) -> tuple[int, int]:
    return dialect.version(sql), schema.counter_value(sql, "least_version")


def begin(run_id: bytes) -> Callable[[Sql], None]:
    return lambda sql: coordinators.begin(sql, run_id, SWARM, None)


def add_tenant(sql: Sql) -> None:
    sql.execute(
        "INSERT INTO tenants (tenant_id, name, proof_key, created_ms) VALUES (?, ?, ?, 0)",
        (b"t" * 16, "tenant", b""),
    )


def test_a_store_is_expanded_at_once_and_contracted_when_the_last_older_one_is_gone(
    transact: Transact[Any],
) -> None:
    transact(migrate)
    transact(begin(OLD))
    transact(add_tenant)
    with next_version():
        assert transact(migrate) == SCHEMA_VERSION
        transact(begin(NEW))
        assert transact(versions) == (len(NEXT), 0)
        assert transact(lambda sql: sql.execute("SELECT text FROM news").fetchall()) == [
            ("tenant",)
        ]
        assert not transact(schema.is_to_contract)
        assert transact(schema.contract) == 0
    # The older one goes on, and may be started again.
    assert transact(migrate) == len(NEXT)
    transact(lambda sql: coordinators.beat(sql, OLD, None))
    transact(begin(OLD))
    assert transact(versions) == (len(NEXT), 0)
    transact(lambda sql: coordinators.forget(sql, [OLD]))
    with next_version():
        assert transact(schema.is_to_contract)
        assert transact(schema.contract) == 1
        assert transact(schema.contract) == 0
        assert transact(migrate) == len(NEXT)
    assert transact(versions) == (len(NEXT), len(NEXT))
    for work in (migrate, begin(OLD), lambda sql: coordinators.beat(sql, OLD, None)):
        with pytest.raises(BadConfig, match="upgrade this coordinator"):
            transact(work)


def test_an_empty_store_is_made_as_one_that_was_brought_there_in_steps(
    transact: Transact[Any],
) -> None:
    with next_version():
        assert transact(migrate) == 0
        assert transact(versions) == (len(NEXT), len(NEXT))
        assert transact(migrate) == len(NEXT)


def test_a_migration_that_ends_between_any_two_statements_is_made_whole_later(
    transact: Transact[Any],
) -> None:
    transact(migrate)
    transact(add_tenant)
    for left in range(100):

        def work(sql: Sql, left: int = left) -> int:
            return migrate(CrashingSql(sql, left))

        with next_version():
            try:
                assert transact(work) == SCHEMA_VERSION
            except CrashError:
                assert transact(versions) == (SCHEMA_VERSION, 0)
            else:
                break
    assert left > len([text for step in NEXT[1:] for text in step.statements])
    with next_version():
        assert transact(versions) == (len(NEXT), len(NEXT))
        assert transact(lambda sql: sql.execute("SELECT text FROM news").fetchall()) == [
            ("tenant",)
        ]


def test_of_two_that_bring_a_store_to_their_version_at_once_one_does(
    postgres: PostgresServer,
) -> None:
    url = postgres.new_database()
    with on_postgres(url) as before:
        before(migrate)
    meet = threading.Barrier(2)
    found: list[int] = []
    failures: list[BaseException] = []

    def upgrade() -> None:
        has_met = False

        def work(sql: Sql) -> int:
            nonlocal has_met
            check_version(sql)
            if not has_met:
                has_met = True
                meet.wait(10)
            return migrate(sql)

        try:
            with on_postgres(url) as mine:
                found.append(mine(work))
        except BaseException as error:
            failures.append(error)

    with next_version():
        threads = [threading.Thread(target=upgrade) for _ in range(2)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert not failures
    assert sorted(found) == [SCHEMA_VERSION, len(NEXT)]


def test_one_that_starts_while_the_store_is_contracted_is_refused(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    has_contracted = False
    with on_postgres(url) as older, on_postgres(url) as newer:
        older(migrate)

        def start(sql: Sql) -> None:
            nonlocal has_contracted
            coordinators.begin(sql, OLD, SWARM, None)
            if not has_contracted:
                has_contracted = True
                with next_version():
                    newer(migrate)
                    assert newer(versions) == (len(NEXT), len(NEXT))

        with pytest.raises(BadConfig, match="upgrade this coordinator"):
            older(start)
    assert has_contracted


async def test_a_coordinator_that_slept_through_a_contraction_ends(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SimStores, "is_shared", True)
    node = SimWorld(1).node("coordinator")
    ended: list[BadConfig] = []

    async def run(*, task_status: trio.TaskStatus[Any]) -> None:
        try:
            await serve(node.world, CONFIG, task_status=task_status)
        except BadConfig as error:
            ended.append(error)

    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        sql = node.databases[STORE_NAME].connection
        with next_version():
            migrate(sql)
        await trio.sleep(3 * BEAT_S)
        assert not ended, "it only expanded: the older one is registered"
        with next_version():
            sql.execute("DELETE FROM coordinators")  # as of one that is silent for an hour
            assert schema.contract(sql) == 1
        with trio.fail_after(3 * BEAT_S):
            while not ended:  # noqa: ASYNC110 - virtual time
                await trio.sleep(0.1)
    assert ended[0].reason == "store_too_new"
    assert exit_code_of(ended[0]) == EXIT_BAD_CONFIG


async def test_the_last_older_coordinator_that_goes_has_the_store_contracted(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SimStores, "is_shared", True)
    node = SimWorld(1).node("coordinator")
    with next_version():
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(serve, node.world, CONFIG))
            sql = node.databases[STORE_NAME].connection
            sql.execute("UPDATE counters SET value = 0 WHERE name = 'least_version'")
            sql.execute("CREATE INDEX evidence_by_cell ON audit_evidence (cell, number)")
            sql.execute("CREATE INDEX suspects_by_slot ON suspect_shards (ring, slot, segment_id)")
            sql.execute(
                "INSERT INTO coordinators (run_id, swarm_id, host, port, version)"
                " SELECT ?, swarm_id, 'older', 1, ? FROM coordinators",
                (OLD, SCHEMA_VERSION),
            )
            await trio.sleep(FORGOTTEN_AFTER_S)
            assert versions(sql) == (len(NEXT), 0)
            await trio.sleep(3 * BEAT_S)
            assert versions(sql) == (len(NEXT), len(NEXT))
            nursery.cancel_scope.cancel()
