"""The directory that objects are restored into.

Source: docs/rescue.md, "What is written".
"""

from __future__ import annotations

from typing import Protocol

from common.ports import Disk


class TargetTree(Disk, Protocol):
    """A directory whose files have times."""

    async def stat(self, path: str) -> tuple[int, int] | None:
        """Return size and time (Unix milliseconds) of a plain file; None where there is none."""

    async def set_time(self, path: str, modified_ms: int) -> None:
        """Set the time of a file. Raises Unavailable ``write_error``."""

    async def sync_all(self) -> None:
        """Make durable all that was written, names too."""
