"""Settings of every folder's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings
from postgres_server import PostgresServer, running_server, why_not
from thoroughness import quick_or

# How long an example takes says how busy the machine is.
settings.register_profile("quick", deadline=None)
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile(quick_or("quick", "thorough"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server, of this process's tests; each makes databases of its own."""
    if reason := why_not():
        pytest.skip(reason)
    with running_server() as server:
        yield server
