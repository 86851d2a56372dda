"""Rate limit for each log event: a policy of numbers, without clock or file.

Source: docs/operations.md, "Logs".
"""

from __future__ import annotations

from typing import TypeAlias

from common import limits

Kind: TypeAlias = tuple[str, str]
"""Level and event. Both are words of the code, so there are few."""


class LogRate:
    """A token bucket for each kind of line, and a count of the lines that it held back."""

    def __init__(self) -> None:
        self._tokens: dict[Kind, tuple[float, float]] = {}
        self._dropped: dict[Kind, int] = {}
        self._summary_at = -1.0

    def admit(self, kind: Kind, now: float) -> bool:
        """Return whether a line may be written; if not, it is counted as dropped.

        Args:
            kind: of the line.
            now: monotonic seconds.
        """
        tokens, updated_at = self._tokens.get(kind, (float(limits.LOG_BURST_LINES), now))
        tokens = min(limits.LOG_BURST_LINES, tokens + (now - updated_at) * limits.LOG_LINES_PER_S)
        is_admitted = tokens >= 1
        self._tokens[kind] = (tokens - is_admitted, now)
        if not is_admitted:
            self._dropped[kind] = self._dropped.get(kind, 0) + 1
        return is_admitted

    def take_dropped(self, kind: Kind) -> int:
        """Return how many lines of a kind were dropped since that was last asked."""
        return self._dropped.pop(kind, 0)

    def take_summary(self, now: float) -> list[tuple[Kind, int]]:
        """Return all counts of dropped lines when a summary is due, else nothing.

        Args:
            now: monotonic seconds; infinity for the last summary of all.
        """
        if not self._dropped or now < self._summary_at:
            return []
        self._summary_at = now + limits.LOG_SUMMARY_S
        dropped, self._dropped = self._dropped, {}
        return sorted(dropped.items())
