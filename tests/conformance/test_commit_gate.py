"""What every store promises of a gate that its commits pass, and of a copy that takes its place:
asked of the real one and of the simulated one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path

import pytest
import trio

from common.errors import AlvearyError, Refused, Unavailable
from common.ports import Sql, SqlStatement, Store, Stores
from common.reasons import Outage
from common.recording import run
from common.system.sqlite import SqliteStores
from sim.world import SimWorld

NAME = "a.sqlite"


@pytest.fixture(params=["real", "simulated"])
def make_stores(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Stores]:
    if request.param == "real":
        return lambda: SqliteStores(tmp_path)
    return cache(lambda: SimWorld(seed=1).node("node").world.stores)


class Gate:
    """A gate that keeps what comes to it, and lets it pass when it is told to.

    ``lets_pass``: at once. ``refuses``: to seal.
    """

    def __init__(self) -> None:
        self.is_closed = True
        self.lets_pass = True
        self.refuses = False
        self.commits: list[tuple[list[SqlStatement], int]] = []
        self.ended: list[bool] = []
        self.waiting: list[Callable[[AlvearyError | None], None]] = []
        self.came = trio.Event()

    def seal(self, sql: Sql, statements: Sequence[SqlStatement], changes: int) -> object:
        if self.refuses:
            raise Unavailable(Outage.JOURNAL_UNSETTLED)
        self.commits.append((list(statements), changes))
        number = len(self.commits)
        self.write(sql, number)
        return number

    def write(self, sql: Sql, sealed: object) -> None:
        sql.execute("UPDATE place SET number = ?", (sealed,))

    def submit(self, sealed: object, done: Callable[[AlvearyError | None], None]) -> None:
        if self.lets_pass:
            done(None)
            return
        self.waiting.append(done)
        self.came.set()

    def settled(self, sealed: object, *, is_committed: bool) -> None:
        self.ended.append(is_committed)


def create(sql: Sql) -> None:
    sql.execute("CREATE TABLE rows (number INTEGER PRIMARY KEY)")
    sql.execute("CREATE TABLE place (number INTEGER NOT NULL)")
    sql.execute("INSERT INTO place (number) VALUES (0)")


def put(number: int, sql: Sql) -> None:
    sql.execute("INSERT INTO rows (number) VALUES (?)", (number,))


def put_many(numbers: Sequence[int], sql: Sql) -> None:
    sql.executemany("INSERT INTO rows (number) VALUES (?)", ((each,) for each in numbers))


def put_and_refuse(number: int, sql: Sql) -> None:
    put(number, sql)
    raise Refused.received("bad_range")


def run_again(statements: Sequence[SqlStatement], sql: Sql) -> None:
    run(sql, statements)


def look(sql: Sql) -> tuple[list[int], int]:
    rows = [row[0] for row in sql.execute("SELECT number FROM rows ORDER BY number")]
    return rows, sql.execute("SELECT number FROM place").fetchone()[0]


async def open_gated(make_stores: Callable[[], Stores]) -> tuple[Store, Gate]:
    """A store with empty tables, all of whose commits pass a gate from now on."""
    gate = Gate()
    gate.is_closed = False
    store: Store = await make_stores().open(NAME, gate=gate)
    await store.transact(create)
    gate.is_closed = True
    return store, gate


async def test_what_passed_the_gate_is_there_and_makes_the_same_store_again(
    make_stores: Callable[[], Stores],
) -> None:
    store, gate = await open_gated(make_stores)
    assert gate.commits == []
    await store.transact(partial(put, 1))
    await store.transact(partial(put_many, [2, 3]))
    with pytest.raises(Refused):
        await store.transact(partial(put_and_refuse, 4))
    assert await store.transact(look) == await store.read(look) == ([1, 2, 3], 2)
    assert [changes for _, changes in gate.commits] == [1, 2]
    assert gate.ended == [True, True]
    await store.close()
    other = await make_stores().open("b.sqlite")
    await other.transact(create)
    for statements, _ in gate.commits:
        await other.transact(partial(run_again, statements))
    assert (await other.read(look))[0] == [1, 2, 3]
    await other.close()


async def test_of_functions_that_commit_together_only_those_that_count_come_to_the_gate(
    make_stores: Callable[[], Stores],
) -> None:
    store, gate = await open_gated(make_stores)
    refused = []

    async def refuse() -> None:
        try:
            await store.transact(partial(put_and_refuse, 2))
        except Refused as error:
            refused.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.transact, partial(put, 1))
        nursery.start_soon(refuse)
        nursery.start_soon(store.transact, partial(put, 3))
    assert len(refused) == 1
    sealed = [tuple(each.parameters) for statements, _ in gate.commits for each in statements]
    assert sorted(sealed) == [(1,), (3,)]
    assert sum(changes for _, changes in gate.commits) == 2, "what is rolled back is not counted"
    assert (await store.read(look))[0] == [1, 3]
    await store.close()


async def test_a_commit_at_the_gate_is_not_seen_and_counts_once_it_passes(
    make_stores: Callable[[], Stores],
) -> None:
    store, gate = await open_gated(make_stores)
    gate.lets_pass = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.transact, partial(put, 1))
        await gate.came.wait()
        assert await store.read(look) == ([], 0)
        assert gate.ended == []
        gate.waiting.pop()(None)
    assert await store.read(look) == ([1], 1)
    assert gate.ended == [True]
    await store.close()


async def test_a_commit_that_may_not_pass_never_was(make_stores: Callable[[], Stores]) -> None:
    store, gate = await open_gated(make_stores)
    gate.lets_pass = False
    failed = []

    async def fail() -> None:
        try:
            await store.transact(partial(put, 1))
        except Unavailable as error:
            failed.append(error.reason)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail)
        await gate.came.wait()
        gate.waiting.pop()(Unavailable(Outage.JOURNAL_UNSETTLED))
    gate.lets_pass, gate.refuses = True, True
    await fail()
    assert failed == [Outage.JOURNAL_UNSETTLED] * 2
    assert await store.transact(look) == ([], 0)
    assert gate.ended == []
    gate.refuses = False
    await store.transact(partial(put, 2))
    assert (await store.read(look))[0] == [2]
    await store.close()


async def test_a_copy_is_the_store_at_one_moment_and_takes_the_place_of_another(
    make_stores: Callable[[], Stores],
) -> None:
    stores = make_stores()
    store = await stores.open(NAME)
    await store.transact(create)
    await store.transact(partial(put, 1))
    for _ in range(2):  # what is there is overwritten
        assert await stores.copy(NAME, "copy", look) == ([1], 0)
    await store.transact(partial(put, 2))
    other = await stores.open("b.sqlite")
    await other.transact(create)
    await other.transact(partial(put, 9))
    await other.close()
    await stores.put("b.sqlite", "copy")
    other = await stores.open("b.sqlite")
    assert await other.read(look) == ([1], 0)
    assert await store.read(look) == ([1, 2], 0)
    for each in (store, other):
        await each.close()


async def test_a_copy_that_cannot_be_written_is_an_outage(tmp_path: Path) -> None:
    stores = SqliteStores(tmp_path)
    store = await stores.open(NAME)
    await store.transact(create)
    (tmp_path / "copy").mkdir()
    with pytest.raises(Unavailable, match="store_failed"):
        await stores.copy(NAME, "copy", look)
    with pytest.raises(Unavailable, match="store_failed"):
        await stores.put("b.sqlite", "none")
    await store.close()
