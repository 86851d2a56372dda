"""A cell's state of one connection.

Source: docs/protocol.md, "Room of uploads".
"""

from __future__ import annotations

from dataclasses import field
from typing import TypeAlias

import common.rpc.caller as rpc
from cell.storage.incoming import IncomingShard
from common.data_classes import dataclass


@dataclass(slots=True)
class CellSession:
    """``uploads``: those in progress, by the caller's numbers for them: they die with it.
    ``rescue_pass``: the one that was checked last and holds, or empty."""

    uploads: dict[int, IncomingShard] = field(default_factory=dict)
    rescue_pass: bytes = b""


Caller: TypeAlias = rpc.Caller[CellSession]
Handler: TypeAlias = rpc.Handler[CellSession]
