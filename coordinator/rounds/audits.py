"""Audits: the draw of the shards that cells are asked about, and the questions left unanswered.

Source: docs/repair.md, "Audits".
"""

from __future__ import annotations

from typing import Final

from coordinator.audits import Auditor

AUDITS_S: Final = 1.0


class AuditsRound:
    """Draws shards, and notes what was not answered."""

    def __init__(self, auditor: Auditor) -> None:
        self._auditor = auditor

    async def run(self) -> None:
        """Wait until heartbeats have shown that there is something to do, and do it."""
        await self._auditor.work()
