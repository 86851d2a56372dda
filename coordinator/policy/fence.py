"""Geo-fences: the sites that may hold the data of a storage class.

Pure. Source: docs/placement.md, "Storage classes".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol, TypeAlias, TypeVar

Fence: TypeAlias = frozenset[str]
"""The sites; none: all of them, also cells that name no site."""
EVERYWHERE: Final[Fence] = frozenset()


class Placed(Protocol):
    """A cell that is on a site."""

    @property
    def site(self) -> str:
        """The name of the site."""


P = TypeVar("P", bound=Placed)


def admits(fence: Fence, site: str) -> bool:
    """Return whether a cell on a site may hold what is within a fence."""
    return not fence or site in fence


def encloses(fence: Fence, other: Fence) -> bool:
    """Return whether all that is within the other fence is within this one, too."""
    return not fence or (bool(other) and other <= fence)


def within(fence: Fence, cells: Iterable[P]) -> list[P]:
    """Return those of some cells that may hold what is within a fence."""
    return [cell for cell in cells if not fence or cell.site in fence]
