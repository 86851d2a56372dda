"""What every Store promises, asked of the real one and of the simulated one."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from postgres_server import PostgresServer

from common.errors import Corrupt, Refused, Unavailable
from common.ports import Sql, Stores
from common.system.postgres import PostgresStores
from common.system.sqlite import SqliteStores
from coordinator.store.dialect import to_postgres
from sim.stores import SimStores
from sim.world import SimWorld


@pytest.fixture(params=["real", "simulated", "postgresql"])
def make_stores(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Stores]:
    if request.param == "real":
        return lambda: SqliteStores(tmp_path)
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        url = server.new_database()
        return lambda: PostgresStores(url, to_postgres, os.urandom)
    return lambda: SimWorld(seed=1).node("node").world.stores


def put(number: int) -> Callable[[Sql], int]:
    def work(sql: Sql) -> int:
        sql.execute("INSERT INTO rows (number) VALUES (?)", (number,))
        return number

    return work


def numbers(sql: Sql) -> list[int]:
    return [row[0] for row in sql.execute("SELECT number FROM rows ORDER BY number")]


def create(sql: Sql) -> None:
    sql.execute("CREATE TABLE rows (number INTEGER PRIMARY KEY)")


async def test_a_read_sees_every_transaction_acknowledged_before(
    make_stores: Callable[[], Stores],
) -> None:
    store = await make_stores().open("a.sqlite")
    await store.transact(create)
    for number in range(5):
        assert await store.transact(put(number)) == number
        assert await store.read(numbers) == list(range(number + 1))
    await store.close()


async def test_a_failing_transaction_takes_back_only_its_own_changes(
    make_stores: Callable[[], Stores],
) -> None:
    store = await make_stores().open("a.sqlite")
    await store.transact(create)
    refused: list[int] = []

    async def one(number: int) -> None:
        def work(sql: Sql) -> None:
            put(number)(sql)
            if number % 3 == 0:
                raise Refused.received("no")

        try:
            await store.transact(work)
        except Refused:
            refused.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(300):
            nursery.start_soon(one, number)
    assert sorted(refused) == list(range(0, 300, 3))
    assert await store.read(numbers) == [each for each in range(300) if each % 3]
    await store.close()


async def test_transactions_run_one_after_another(make_stores: Callable[[], Stores]) -> None:
    store = await make_stores().open("a.sqlite")
    await store.transact(create)
    await store.transact(put(0))

    def add(sql: Sql) -> int:
        number: int = numbers(sql)[0] + 1
        sql.execute("UPDATE rows SET number = ?", (number,))
        return number

    seen: list[int] = []

    async def one() -> None:
        seen.append(await store.transact(add))

    async with trio.open_nursery() as nursery:
        for _ in range(200):
            nursery.start_soon(one)
    assert sorted(seen) == list(range(1, 201))
    await store.close()


async def test_a_failed_statement_is_mapped(make_stores: Callable[[], Stores]) -> None:
    stores = make_stores()
    if isinstance(stores, SimStores):
        pytest.skip("the simulated store does not map our own mistakes")
    store = await stores.open("a.sqlite")
    with pytest.raises(Unavailable, match="store_failed"):
        await store.transact(lambda sql: sql.execute("SELECT nonsense FROM nowhere"))
    with pytest.raises(Unavailable, match="store_failed"):
        await store.read(lambda sql: sql.execute("CREATE TABLE no (a)"))
    await store.close()
    with pytest.raises(Unavailable, match="store_closed"):
        await store.read(lambda sql: None)


async def test_what_was_acknowledged_is_there_after_reopening(
    make_stores: Callable[[], Stores],
) -> None:
    stores = make_stores()
    for name, durable in (("a.sqlite", True), ("b.sqlite", False)):
        store = await stores.open(name, durable=durable)
        await store.transact(create)
        await store.transact(put(7))
        await store.close()
        store = await stores.open(name, durable=durable)
        assert await store.read(numbers) == [7]
        await store.close()


@pytest.mark.parametrize("durable", [True, False])
async def test_what_was_synced_is_there_beside_what_comes_later(
    durable: bool, make_stores: Callable[[], Stores]
) -> None:
    stores = make_stores()
    store = await stores.open("a.sqlite", durable=durable)
    await store.sync()
    await store.transact(create)
    await store.transact(put(7))
    await store.sync()
    await store.sync()
    await store.transact(put(8))
    assert await store.read(numbers) == [7, 8]
    await store.close()


async def test_a_discarded_store_is_new(make_stores: Callable[[], Stores]) -> None:
    stores = make_stores()
    store = await stores.open("a.sqlite")
    await store.transact(create)
    await store.close()
    await stores.discard("a.sqlite")
    await stores.discard("never-was.sqlite")
    store = await stores.open("a.sqlite")
    await store.transact(create)
    await store.close()


async def test_a_file_that_is_no_database_is_corrupt(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite").write_bytes(b"not a database" * 1000)
    with pytest.raises(Corrupt, match="store_corrupt"):
        await SqliteStores(tmp_path).open("a.sqlite")


async def test_a_damaged_page_is_corrupt_at_opening(tmp_path: Path) -> None:
    stores = SqliteStores(tmp_path)
    store = await stores.open("a.sqlite")
    await store.transact(create)
    await store.transact(
        lambda sql: (
            sql.executemany("INSERT INTO rows VALUES (?)", [(n,) for n in range(5000)]) and None
        )
    )
    await store.close()
    path = tmp_path / "a.sqlite"
    damaged = bytearray(path.read_bytes())
    damaged[8192:12288] = b"\xff" * 4096
    path.write_bytes(damaged)
    with pytest.raises(Corrupt, match="store_corrupt"):
        await stores.open("a.sqlite")


async def test_a_full_medium_fails_the_commit_and_keeps_what_was(tmp_path: Path) -> None:
    stores = SqliteStores(tmp_path)
    store = await stores.open("a.sqlite")

    def create_bounded(sql: Sql) -> None:
        sql.execute("CREATE TABLE blobs (number INTEGER PRIMARY KEY, data BLOB)")
        sql.execute("PRAGMA max_page_count=64")

    def fill(number: int, size: int) -> Callable[[Sql], None]:
        def work(sql: Sql) -> None:
            sql.execute("INSERT INTO blobs VALUES (?, ?)", (number, b"x" * size))

        return work

    await store.transact(create_bounded)
    await store.transact(fill(1, 1000))
    with pytest.raises(Unavailable, match="store_failed"):
        await store.transact(fill(2, 1_000_000))
    await store.transact(fill(3, 1000))
    found = await store.read(
        lambda sql: [row[0] for row in sql.execute("SELECT number FROM blobs ORDER BY 1")]
    )
    assert found == [1, 3]
    await store.close()


async def test_a_cancelled_waiter_leaves_the_store_usable(
    make_stores: Callable[[], Stores],
) -> None:
    store = await make_stores().open("a.sqlite")
    await store.transact(create)
    for number in range(20):
        with trio.move_on_after(0):
            await store.transact(put(number))
    await store.transact(put(100))
    found = await store.read(numbers)
    assert found[-1] == 100
    await store.close()


def test_the_sqlite_here_can_do_what_the_statements_use() -> None:
    assert sqlite3.sqlite_version_info >= (3, 35, 0)


@pytest.mark.fault("F14")
async def test_a_whole_store_passes_its_check_while_it_is_used(
    make_stores: Callable[[], Stores],
) -> None:
    store = await make_stores().open("a.sqlite")
    await store.transact(create)
    await store.transact(put(1))
    await store.check()
    await store.transact(put(2))
    assert await store.read(numbers) == [1, 2]
    await store.close()


@pytest.mark.fault("F14")
async def test_a_store_that_is_damaged_while_it_is_open_fails_its_check(tmp_path: Path) -> None:
    store = await SqliteStores(tmp_path).open("a.sqlite")
    await store.transact(create)
    for first in range(0, 3000, 1000):
        await store.transact(
            lambda sql, first=first: sql.executemany(
                "INSERT INTO rows VALUES (?)", [(number,) for number in range(first, first + 1000)]
            )
        )
    await store.transact(lambda sql: None)
    with sqlite3.connect(tmp_path / "a.sqlite") as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    other.close()
    path = tmp_path / "a.sqlite"
    content = bytearray(path.read_bytes())
    content[-4096:-4000] = b"\xa5" * 96
    with path.open("r+b") as file:
        file.write(content)
    with pytest.raises(Corrupt, match="store_corrupt"):
        await store.check()
    await store.close()
