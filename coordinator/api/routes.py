"""Routes of the operators' API: requests are routed by them, and the OpenAPI document is made of
them.

Source: docs/operations.md, "Operator access".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from common import limits
from common.data_classes import dataclass

Json: TypeAlias = dict[str, Any]
Work: TypeAlias = Callable[[Mapping[str, str], Json], Awaitable[Json | None]]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a request's body. ``kind``: a JSON type's name."""

    kind: str
    about: str
    required: bool = True


@dataclass(frozen=True, slots=True)
class ApiRoute:
    """One operation. ``path`` has ``{names}``; ``body`` its fields; ``success`` the status."""

    method: str
    path: str
    about: str
    work: Work
    body: Mapping[str, Field]
    success: int = 200
    max_body_bytes: int = limits.MAX_API_BODY_BYTES
    when_behind: bool = False
    """True if the route works on a store that is older than what its swarm has seen."""
