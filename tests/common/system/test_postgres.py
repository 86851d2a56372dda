"""The store on PostgreSQL when connections break, processes meet, and outcomes are unknown."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import pytest
import trio
from cutting_proxy import Cut, CuttingProxy, cutting_proxy
from postgres_server import PostgresServer, running_server, why_not

from common.errors import BadConfig, OutcomeUnknown, Refused, Unavailable
from common.ports import Sql
from common.system.postgres import PostgresStores, schema_of
from common.system.postgres_session import PostgresSession
from coordinator.store import dialect
from coordinator.store.dialect import to_postgres
from coordinator.store.schema import migrate, next_number


def session(url: str, patience_s: float = 20.0) -> PostgresSession:
    made = PostgresSession(url, "store", to_postgres, os.urandom, patience_s=patience_s)
    made.open()
    return made


def run(on: PostgresSession, work: Callable[[Sql], Any]) -> Any:
    ((value, error),) = on.write_batch([work])
    if error is not None:
        raise error
    return value


def create(sql: Sql) -> None:
    sql.execute("CREATE TABLE counted (name TEXT PRIMARY KEY, value INTEGER NOT NULL)")
    sql.execute("INSERT INTO counted VALUES ('one', 0), ('two', 0)")


def count_up(sql: Sql) -> int:
    """Read, decide, write: what two may not do at once."""
    (value,) = sql.execute("SELECT value FROM counted WHERE name = 'one'").fetchone()
    sql.execute("UPDATE counted SET value = ? WHERE name = 'one'", (value + 1,))
    number: int = value + 1
    return number


def value(sql: Sql) -> int:
    found: int = sql.execute("SELECT value FROM counted WHERE name = 'one'").fetchone()[0]
    return found


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.new_database()


@contextmanager
def through_proxy(postgres: PostgresServer, url: str) -> Iterator[tuple[CuttingProxy, str]]:
    with cutting_proxy(postgres.port) as proxy:
        yield proxy, url.replace(f":{postgres.port}/", f":{proxy.port}/")


@pytest.mark.parametrize("cut", [Cut.ANSWER_LOST, Cut.NOT_SENT, Cut.SLOW, Cut.LATE])
def test_a_commit_whose_answer_is_lost_is_carried_out_once(
    cut: Cut, postgres: PostgresServer, url: str
) -> None:
    with through_proxy(postgres, url) as (proxy, cut_url):
        on = session(cut_url)
        run(on, create)
        for expected in range(1, 3):
            proxy.cut = cut
            assert run(on, count_up) == expected
            assert proxy.cuts == expected
        proxy.let_late_ones_through()
        ((found, _),) = on.read_batch([value])
        assert found == 2
        on.close()


def test_an_outcome_that_cannot_be_found_out_is_said_to_be_unknown(
    postgres: PostgresServer, url: str
) -> None:
    with through_proxy(postgres, url) as (proxy, cut_url):
        on = session(cut_url, patience_s=0.3)
        run(on, create)

        def work(sql: Sql) -> None:
            count_up(sql)
            proxy.refuse()  # nobody can be asked afterwards

        proxy.cut = Cut.ANSWER_LOST
        with pytest.raises(OutcomeUnknown, match="store_unknown"):
            run(on, work)
        with pytest.raises(Unavailable, match="store_failed"):
            run(on, count_up)


def test_a_batch_whose_connection_is_cut_before_its_commit_is_run_again(
    postgres: PostgresServer, url: str
) -> None:
    on = session(url)
    run(on, create)
    tries = []

    def work(sql: Sql) -> int:
        found = count_up(sql)
        if len(tries) < 3:
            tries.append(None)
            postgres.cut_connections(url.rpartition("/")[2])
        return found

    assert run(on, work) == 1
    assert len(tries) == 3
    assert on.read_batch([value])[0][0] == 1
    on.close()


def test_two_that_read_decide_and_write_at_once_do_it_one_after_the_other(url: str) -> None:
    first = session(url)
    run(first, create)
    seen: list[int] = []
    failures: list[BaseException] = []

    def work() -> None:
        try:
            on = session(url)
            seen.extend(run(on, count_up) for _ in range(50))
            on.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not failures
    assert sorted(seen) == list(range(1, 201))
    first.close()


def test_what_two_may_not_decide_by_each_others_rows_is_decided_once(url: str) -> None:
    """Write skew: snapshots alone would let both through."""
    one, other = session(url), session(url)
    run(one, create)
    meet = threading.Barrier(2)

    def take(name: str) -> Callable[[Sql], bool]:
        tries = []

        def work(sql: Sql) -> bool:
            taken = sql.execute("SELECT sum(value) FROM counted").fetchone()[0]
            if not tries:
                tries.append(None)
                meet.wait(10)
            if taken == 0:
                sql.execute("UPDATE counted SET value = 1 WHERE name = ?", (name,))
            return bool(taken == 0)

        return work

    won: list[bool] = []
    thread = threading.Thread(target=lambda: won.append(run(one, take("one"))))
    thread.start()
    won.append(run(other, take("two")))
    thread.join()
    assert sorted(won) == [False, True]
    one.close()
    other.close()


@pytest.mark.parametrize("looks", [True, False], ids=["answered", "unanswered"])
def test_a_process_that_stops_inside_a_transaction_holds_nobody_up(looks: bool, url: str) -> None:
    stopped, other = session(url), session(url)
    run(other, create)
    goes_on = threading.Event()
    has_written = threading.Event()

    def work(sql: Sql) -> int:
        update = sql.execute("UPDATE counted SET value = value + 1 WHERE name = 'one' RETURNING 1")
        if looks:
            update.fetchone()
        if not has_written.is_set():
            has_written.set()
            goes_on.wait(30)
        return value(sql)

    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(run(stopped, work)))
    thread.start()
    has_written.wait(10)
    assert run(other, count_up) == 1  # once PostgreSQL has given the other one up
    goes_on.set()
    thread.join()
    assert found == [2]
    stopped.close()
    other.close()


@pytest.mark.parametrize("leads", [True, False], ids=["writes", "reads"])
def test_a_process_that_stops_while_it_sends_a_batch_holds_nobody_up(
    leads: bool, postgres: PostgresServer, url: str
) -> None:
    """What is long leaves in several pieces: those before the stop are carried out, and PostgreSQL
    counts no time while it waits for the others."""
    other = session(url)
    run(other, create)
    run(other, lambda sql: sql.execute("CREATE TABLE kept (body BLOB NOT NULL)") and None)
    long = b"x" * 20_000 + b"here" + b"x" * 20_000

    def work(sql: Sql) -> int:
        if leads:
            sql.execute("UPDATE counted SET value = value + 1 WHERE name = 'one'")
        else:
            sql.execute("SELECT 1 FROM counted")
        sql.execute("INSERT INTO kept VALUES (?)", (long,))
        return value(sql)

    def alter(sql: Sql) -> None:
        sql.execute("ALTER TABLE counted ADD COLUMN more INTEGER NOT NULL DEFAULT 0")

    found: list[int] = []
    with through_proxy(postgres, url) as (proxy, stopping_url):
        stopped = session(stopping_url)
        proxy.stops_at = b"here"
        thread = threading.Thread(target=lambda: found.append(run(stopped, work)))
        thread.start()
        assert proxy.has_stopped.wait(10)
        assert run(other, count_up if leads else alter) == (1 if leads else None)
        proxy.goes_on.set()
        thread.join()
        assert found == [2 if leads else 0]
        stopped.close()
    other.close()


def test_of_several_functions_only_the_one_that_fails_is_taken_back(url: str) -> None:
    on = session(url)
    run(on, create)

    def refused(sql: Sql) -> None:
        count_up(sql)
        raise Refused.received("no")

    results = on.write_batch([count_up, refused, count_up])
    assert [each for each, _ in results] == [1, None, 2]
    assert isinstance(results[1][1], Refused)
    nonsense = on.write_batch([count_up, lambda sql: sql.execute("SELECT x FROM y").fetchone()])
    assert nonsense[0] == (3, None)
    assert isinstance(nonsense[1][1], Unavailable)
    assert on.read_batch([value])[0][0] == 3
    on.close()


def test_a_failed_statement_that_nobody_looked_at_fails_the_transaction(url: str) -> None:
    on = session(url)
    run(on, create)

    def work(sql: Sql) -> None:
        count_up(sql)
        sql.execute("INSERT INTO nowhere VALUES (1)")

    with pytest.raises(Unavailable, match="nowhere"):
        run(on, work)
    assert on.read_batch([value])[0][0] == 0
    on.close()


def test_what_was_skipped_after_a_failure_is_not_taken_for_prepared(url: str) -> None:
    on = session(url)
    run(on, create)

    def work(sql: Sql) -> None:
        sql.execute("INSERT INTO nowhere VALUES (1)")  # fails, and nobody looks
        count_up(sql)

    for number in range(10):
        assert run(on, count_up) == number + 1
        with pytest.raises(Unavailable, match="nowhere"):
            run(on, work)
    on.close()


def test_text_that_postgresql_does_not_take_is_refused(url: str) -> None:
    on = session(url)
    run(on, create)

    def work(sql: Sql) -> None:
        sql.execute("INSERT INTO counted VALUES (?, 1)", ("a\x00b",))

    with pytest.raises(Refused, match="bad_value"):
        run(on, work)
    on.close()


async def test_an_open_store_is_refused_to_a_server_that_loses_commits() -> None:
    if reason := why_not():
        pytest.skip(reason)
    with running_server(fsync="off") as server:
        stores = PostgresStores(server.url(), to_postgres, os.urandom)
        with pytest.raises(BadConfig, match="bad_store"):
            await stores.open("coordinator.sqlite")


def test_a_name_that_is_none_of_a_schema_is_refused() -> None:
    assert schema_of("coordinator.sqlite") == "coordinator"
    with pytest.raises(BadConfig, match="bad_store"):
        schema_of('a"b.sqlite')


def test_below_the_horizon_nothing_comes_any_more(url: str) -> None:
    on = session(url)
    run(on, migrate)
    stop = threading.Event()
    failures: list[BaseException] = []

    def write() -> None:
        try:
            mine = session(url)

            def work(sql: Sql) -> None:
                for _ in range(3):
                    number = next_number(sql, "sequence")
                    sql.execute(
                        "INSERT INTO dropped (owner, kind, bucket) VALUES (?, 0, 0)", (number,)
                    )
                    time.sleep(0.002)

            while not stop.is_set():
                run(mine, work)
            mine.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write) for _ in range(3)]
    for each in threads:
        each.start()
    seen: dict[int, set[int]] = {}
    last = 0
    for _ in range(300):
        horizon = on.read_batch([dialect.horizon])[0][0]
        assert horizon >= 0
        last = max(last, horizon)
        seen[horizon] = on.read_batch([below(horizon)])[0][0]
    stop.set()
    for each in threads:
        each.join()
    assert not failures
    assert last > 10, "the horizon moves"
    for horizon, numbers in seen.items():
        assert on.read_batch([below(horizon)])[0][0] == numbers
    on.close()


def below(horizon: int) -> Callable[[Sql], set[int]]:
    def work(sql: Sql) -> set[int]:
        rows = sql.execute("SELECT owner FROM dropped WHERE owner <= ?", (horizon,))
        return {row[0] for row in rows}

    return work


async def test_a_killed_postgresql_loses_nothing_acknowledged_and_does_nothing_twice() -> None:
    if reason := why_not():
        pytest.skip(reason)
    with running_server() as server:
        url = server.new_database()
        stores = PostgresStores(url, to_postgres, os.urandom)
        store = await stores.open("coordinator.sqlite")
        await store.transact(
            lambda sql: sql.execute("CREATE TABLE rows (number INTEGER PRIMARY KEY)") and None
        )
        acknowledged: set[int] = set()
        unknown: set[int] = set()
        asked = 0
        is_over = False

        def put(number: int) -> Callable[[Sql], None]:
            # A second time would be a unique violation.
            return lambda sql: sql.execute("INSERT INTO rows VALUES (?)", (number,)) and None

        async def write() -> None:
            nonlocal asked
            while not is_over:
                asked += 1
                number = asked
                try:
                    await store.transact(put(number))
                    acknowledged.add(number)
                except OutcomeUnknown:
                    unknown.add(number)
                except Unavailable:
                    await trio.sleep(0.05)

        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(write)
            for end in (server.kill, server.crash):
                for _ in range(3):
                    await trio.sleep(0.2)
                    with suppress(psycopg.Error):
                        await trio.to_thread.run_sync(server.cut_connections)
                before = len(acknowledged)
                await trio.to_thread.run_sync(end)
                await trio.sleep(0.3)
                await trio.to_thread.run_sync(server.start)
                with trio.fail_after(20):
                    while len(acknowledged) < before + 50:  # noqa: ASYNC110 - nothing says so
                        await trio.sleep(0.05)
            is_over = True
        there = await store.read(
            lambda sql: {row[0] for row in sql.execute("SELECT number FROM rows")}
        )
        await store.close()
    assert len(acknowledged) >= 100
    assert acknowledged <= there
    assert there <= acknowledged | unknown
