"""Real processes and real clients only here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from e2e_swarm import QUICK, Swarm


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="module")
def make_swarm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Swarm]]:
    """Makes swarms (not started) that are gone when the module's tests are."""
    made: list[Swarm] = []

    def make(**options: Any) -> Swarm:
        swarm = Swarm(tmp_path_factory.mktemp("swarm") / "data", **options)
        swarm.configure("coordinator", **QUICK)
        made.append(swarm)
        return swarm

    yield make
    for swarm in made:
        swarm.destroy()


@pytest.fixture(scope="module")
def swarm(make_swarm: Callable[..., Swarm]) -> Swarm:
    """A running swarm of six cells, shared by the module's tests."""
    made = make_swarm()
    made.start()
    return made


@pytest.fixture
def s3(swarm: Swarm) -> Iterator[Any]:
    """A boto3 client of the module's swarm."""
    with closing(swarm.boto3()) as client:
        yield client
