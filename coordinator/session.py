"""A coordinator's state of one connection.

Source: docs/protocol.md, "Tenants", "Cells and coordinators".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import common.rpc.caller as rpc
from common.ids import TenantId
from common.wire.messages.base import Request
from coordinator.store.cells import Cell


@dataclass(slots=True)
class CoordinatorSession:
    """The tenants that the caller may act for, and the cell whose heartbeats it sent."""

    tenants: dict[TenantId, int] = field(default_factory=dict)
    """The tenants that the connection is open for, and their numbers in the store."""
    heartbeats_of: Cell | None = None
    """The cell whose heartbeats came on it."""


Caller: TypeAlias = rpc.Caller[CoordinatorSession]
Handler: TypeAlias = rpc.Handler[CoordinatorSession]
ByRequest: TypeAlias = Mapping[type[Request], Handler]
"""Handlers by the request that each answers."""
