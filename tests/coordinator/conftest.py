"""The coordinator's tests, on the simulated store and on a real PostgreSQL."""

from __future__ import annotations

import os
from typing import Final

import coordinator_rig
import pytest
from inline_postgres import InlinePostgresStores
from postgres_server import PostgresServer

ON_BOTH: Final = os.environ.get("ON_POSTGRESQL", "test_coordinator_objects").split(",")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.module.__name__ in ON_BOTH:
        metafunc.parametrize("engine", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture(autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if getattr(request, "param", "sqlite") == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        monkeypatch.setattr(
            coordinator_rig, "new_postgres", lambda: InlinePostgresStores(server.new_database())
        )
