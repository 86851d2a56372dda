"""The coordinator's tests, on the simulated store and on a real PostgreSQL."""

from __future__ import annotations

import os
from typing import Final

import coordinator_rig
import pytest
from inline_postgres import InlinePostgresStores
from postgres_server import PostgresServer

from coordinator import composition

ON_BOTH: Final = os.environ.get(
    "ON_POSTGRESQL", "test_coordinator_objects,test_coordinator_tenants"
).split(",")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.module.__name__ in ON_BOTH:
        metafunc.parametrize("engine", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture(autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if getattr(request, "param", "sqlite") == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        # Nobody else has it open, and tests wait for the grace that they set.
        monkeypatch.setattr(composition, "OVERLAP_S", 0)
        monkeypatch.setattr(
            coordinator_rig, "new_postgres", lambda: InlinePostgresStores(server.new_database())
        )
