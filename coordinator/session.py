"""A coordinator's state of one connection.

Source: docs/protocol.md, "Tenants", "Cells and coordinators".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TypeAlias

import common.rpc.caller as rpc
from common.data_classes import dataclass
from common.ids import TenantId
from common.wire.messages.base import Request
from coordinator.store.cells import Cell
from coordinator.store.missing import MissingRow


@dataclass(slots=True)
class Listed:
    """Missing shards of a cell, the most urgent last, as the store had them at a time."""

    rows: list[MissingRow] = field(default_factory=list)
    until: float = 0.0


@dataclass(slots=True)
class CoordinatorSession:
    """The tenants that the caller may act for, the cell whose heartbeats it sent, and what is to be
    named of the shards that it misses."""

    tenants: dict[TenantId, int] = field(default_factory=dict)
    """The tenants that the connection is open for, and their numbers in the store."""
    heartbeats_of: Cell | None = None
    """The cell whose heartbeats came on it."""
    listed: Listed = field(default_factory=Listed)


Caller: TypeAlias = rpc.Caller[CoordinatorSession]
Handler: TypeAlias = rpc.Handler[CoordinatorSession]
ByRequest: TypeAlias = Mapping[type[Request], Handler]
"""Handlers by the request that each answers."""
