"""PostgreSQL takes every statement of the store, as far as its text stands in the source."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from postgres_server import PostgresServer

from coordinator.store.dialect import to_postgres
from coordinator.store.schema import MIGRATIONS

STORE: Final = Path(__file__).parents[2] / "coordinator" / "store"
LEAST: Final = 200
"""Statements whose text is known; of the others only a run says anything."""
ENGINES_OWN: Final = re.compile(r"PRAGMA|total_changes|pg_|nextval|regclass|store_version|_numbers")


def statements() -> Iterator[tuple[str, str]]:
    for path in sorted(STORE.glob("*.py")):
        module = importlib.import_module(f"coordinator.store.{path.stem}")
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in {"execute", "executemany"}
            ):
                text = _text(node.args[0], vars(module))
                if text is not None and not ENGINES_OWN.search(text):
                    yield f"{path.name}:{node.lineno}", text


def _text(node: ast.expr, names: dict[str, Any]) -> str | None:
    try:
        found = eval(compile(ast.Expression(node), "statement", "eval"), names, {})
    except (NameError, TypeError, AttributeError):  # a part of it is chosen in the function
        return None
    return found if isinstance(found, str) and "<function" not in found else None


@pytest.fixture(scope="module")
def connection(postgres: PostgresServer) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    with psycopg.connect(postgres.new_database()) as made:
        for migration in MIGRATIONS:
            for statement in migration:
                made.execute(to_postgres(statement).replace("%%", "%").encode())
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
