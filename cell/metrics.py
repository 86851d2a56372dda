"""A cell's metrics.

Source: docs/operations.md, "Metrics and health".
"""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from common.wire.messages.base import CellFacts

_FROM_FACTS: Final = (
    "capacity_bytes",
    "used_bytes",
    "free_bytes",
    "medium_free_bytes",
    "shards",
    "live_bytes",
    "lost_shards",
)


class CellMetrics:
    """The metrics of a cell. Counts are kept as plain numbers: a counter of the library costs more
    than the read that it counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._written_bytes = self._writes = 0
        self._read_bytes = self._reads = 0
        self._totals = {
            name: Counter(f"alveary_cell_{name}", text, registry=self.registry)
            for name, text in (
                ("writes", "Units and small shards taken."),
                ("written_bytes", "Bytes of units taken."),
                ("reads", "Ranges read."),
                ("read_bytes", "Bytes of units read."),
            )
        }
        self._gauges = {
            name: Gauge(f"alveary_cell_{name}", text, registry=self.registry)
            for name, text in (
                ("capacity_bytes", "The most that the cell may use."),
                ("used_bytes", "Bytes of volumes and index."),
                ("free_bytes", "What shards can still take."),
                ("medium_free_bytes", "Free bytes of the file system, the reserve included."),
                ("shards", "Shards held."),
                ("lost_shards", "Shards of volumes that were gone at a start, index and all."),
                ("live_bytes", "Bytes of shards held."),
                ("read_only", "1 if nothing can be written."),
                ("open_uploads", "Uploads in progress."),
                ("volumes_removed", "Volumes that compaction removed since the start."),
                ("clock_ahead_seconds", "How far the clock is ahead of the coordinator's."),
                ("seconds_since_heartbeat", "Since a coordinator last answered; -1: never."),
            )
        }

    def wrote(self, size: int) -> None:
        """Count bytes of units that were written."""
        self._writes += 1
        self._written_bytes += size

    def read(self, size: int) -> None:
        """Count bytes of units that were read."""
        self._reads += 1
        self._read_bytes += size

    def update(self, facts: CellFacts, **gauges: float) -> None:
        """Bring everything up to date, before it is shown."""
        for name, amount in (
            ("writes", self._writes),
            ("written_bytes", self._written_bytes),
            ("reads", self._reads),
            ("read_bytes", self._read_bytes),
        ):
            self._totals[name].inc(amount)
        self._writes = self._written_bytes = self._reads = self._read_bytes = 0
        for name in _FROM_FACTS:
            self._gauges[name].set(getattr(facts, name))
        self._gauges["read_only"].set(facts.read_only)
        for name, value in gauges.items():
            self._gauges[name].set(value)
