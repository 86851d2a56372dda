"""This version works on a store that a later one has expanded: it takes no notice of columns that
it does not know."""

from __future__ import annotations

import sqlite3

import trio
from store_statements import LEAST, additions, statements
from trio.testing import MockClock

from coordinator.journaled_store import STORE_NAME
from coordinator.store.schema import SCHEMA_VERSION, migrate
from sim.cluster import Cluster, Shape
from sim.stores import connect_in_memory
from sim.world import SimWorld

TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'"


def expand_all(sql: sqlite3.Connection) -> None:
    for statement in additions([name for (name,) in sql.execute(TABLES).fetchall()]):
        sql.execute(statement)
    sql.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")


def test_sqlite_takes_every_statement_on_tables_with_more_columns() -> None:
    sql = connect_in_memory()
    migrate(sql)
    expand_all(sql)
    refused = {}
    count = 0
    for where, text in statements():
        if "::" in text:  # PostgreSQL's own
            continue
        count += 1
        try:
            sql.execute(f"EXPLAIN {text}", [None] * text.count("?"))
        except sqlite3.Error as error:
            refused[where] = str(error)
    assert not refused, refused
    assert count >= LEAST


async def test_a_swarm_is_served_from_tables_with_more_columns(autojump_clock: MockClock) -> None:
    shape = Shape(cells=3, redundancy="2/3", overrides={"coordinator": {"journal": "off"}})
    async with Cluster(SimWorld(1), shape) as cluster:
        client = cluster.client()
        assert (await client.request("PUT", "/bucket")).status_code == 200
        assert (await client.request("PUT", "/bucket/before", None, b"1")).status_code == 200
        coordinator = cluster.coordinators[0]
        coordinator.stay_down()
        coordinator.crash(power=False)
        expand_all(cluster.store_node.databases[STORE_NAME].connection)
        coordinator.come_back()
        with trio.fail_after(120):
            while (await client.request("PUT", "/bucket/after", None, b"2")).status_code != 200:  # noqa: ASYNC110 - virtual time
                await trio.sleep(1)
        for name, body in (("before", b"1"), ("after", b"2")):
            answer = await client.request("GET", f"/bucket/{name}")
            assert (answer.status_code, answer.content) == (200, body)
        versioned = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
        for method, path, query, body, status in (
            ("PUT", "/other", None, b"", 200),
            ("PUT", "/other", {"versioning": ""}, versioned, 200),
            ("PUT", "/other/name", None, b"3", 200),
            ("PUT", "/other/name", None, b"4", 200),
            ("DELETE", "/other/name", None, b"", 204),
            ("GET", "/other", {"versions": ""}, b"", 200),
            ("GET", "/bucket", {"list-type": "2"}, b"", 200),
            ("DELETE", "/bucket/before", None, b"", 204),
            ("GET", "/bucket/before", None, b"", 404),
        ):
            answer = await client.request(method, path, query, body)
            assert answer.status_code == status, (method, path, answer.content)
        await cluster.operate("POST", "/v1/invites", {"site": "s", "owner": "o"})
