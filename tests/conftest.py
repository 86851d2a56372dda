"""Settings of every folder's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from postgres_server import PostgresServer, running_server, why_not
from thoroughness import quick_or

# How long an example takes says how busy the machine is.
settings.register_profile("quick", deadline=None)
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile(quick_or("quick", "thorough"))


LONG = ("e2e", "sim")
"""Folders whose files take long."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the files that take long first: else one process has some left when others are done."""
    root = Path(__file__).parent
    items.sort(key=lambda item: item.path.relative_to(root).parts[0] not in LONG)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server, of this process's tests; each makes databases of its own."""
    if reason := why_not():
        pytest.skip(reason)
    with running_server() as server:
        yield server
