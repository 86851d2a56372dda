"""Places for the connections of a coordinator, as many as its machine allows.

Source: docs/operations.md, "Many cells".
"""

from __future__ import annotations

from common import limits
from common.data_classes import dataclass


@dataclass(frozen=True, slots=True)
class ConnectionPlaces:
    """Places for connections: ``native`` of cells and gateways, ``http`` of operators and probes.
    Neither can use up the other's."""

    native: int
    http: int

    def needed(self, cells: int) -> int:
        """Return how many native places so many cells need beside those of strangers."""
        return cells + limits.MAX_STRANGERS


def connection_places(open_files: int) -> ConnectionPlaces:
    """Return the places that a machine allows.

    Args:
        open_files: files and connections that the process may have open; MIN_OPEN_FILES at least.
    """
    spare = open_files - limits.KEPT_OPEN_FILES
    http = min(limits.MAX_HTTP_CONNECTIONS, spare // 4)
    return ConnectionPlaces(min(limits.MAX_CONNECTIONS_PER_COORDINATOR, spare - http), http)
