"""The table of requests of a coordinator, put together from those of its handlers."""

from __future__ import annotations

from common.wire.messages import COORDINATOR_REQUESTS
from common.wire.messages.base import Request
from coordinator.session import ByRequest, Handler


def merged(*tables: ByRequest) -> ByRequest:
    """Return all tables as one; no request stands in two of them."""
    whole: dict[type[Request], Handler] = {}
    for table in tables:
        twice = whole.keys() & table.keys()
        assert not twice, f"answered twice: {_names(twice)}"
        whole.update(table)
    return whole


def check_complete(table: ByRequest) -> None:
    """Check that exactly the requests of a coordinator are answered."""
    missing, strange = COORDINATOR_REQUESTS - table.keys(), table.keys() - COORDINATOR_REQUESTS
    assert not missing, f"not answered: {_names(missing)}"
    assert not strange, f"not for a coordinator: {_names(strange)}"


def _names(requests: frozenset[type[Request]] | set[type[Request]]) -> list[str]:
    return sorted(each.__name__ for each in requests)
