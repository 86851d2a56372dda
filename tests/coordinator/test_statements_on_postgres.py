"""PostgreSQL takes every statement of the store, as far as its text stands in the source: also once
a coordinator of a later version has expanded the tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from postgres_server import PostgresServer
from store_statements import LEAST, additions, statements

from coordinator.store.dialect import to_postgres
from coordinator.store.schema import STEPS


@pytest.fixture(scope="module", params=["as they are", "expanded"])
def connection(
    postgres: PostgresServer, request: pytest.FixtureRequest
) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    with psycopg.connect(postgres.new_database()) as made:
        for step in STEPS:
            for statement in step.statements:
                made.execute(to_postgres(statement).replace("%%", "%").encode())
        if request.param == "expanded":
            tables = made.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            for statement in additions([each for (each,) in tables.fetchall()]):
                made.execute(statement.encode())
        yield made


def test_postgresql_takes_every_statement(
    connection: psycopg.Connection[tuple[Any, ...]],
) -> None:
    refused = {}
    count = 0
    for where, text in statements():
        count += 1
        said = to_postgres(text)
        for number in range(1, said.count("%s") + 1):
            said = said.replace("%s", f"${number}", 1)
        said = said.replace("%%", "%")
        try:
            with connection.transaction():
                connection.execute(f"PREPARE one AS {said}".encode())
                connection.execute("DEALLOCATE one")
        except psycopg.Error as error:
            refused[where] = str(error)
    assert not refused, refused
    assert count >= LEAST
