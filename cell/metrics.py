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
                ("rests", "1 while the owner's rules allow neither new shards nor repair."),
                ("transit_bytes", "Bytes of shards sent and received in the last 30 days."),
                ("open_uploads", "Uploads in progress."),
                ("volumes_removed", "Volumes that compaction removed since the start."),
                ("clock_ahead_seconds", "How far the clock is ahead of the coordinator's."),
                ("waiting_to_fill", "Missing shards, as a coordinator last counted them."),
                ("scrub_part", "Part of the shards that this pass of the scrub has read."),
                (
                    "scrub_began_seconds",
                    "When this pass of the scrub began, Unix time; 0: none has yet.",
                ),
                ("seconds_since_heartbeat", "Since a coordinator last answered; -1: never."),
            )
        }

        self.waiting_to_fill = 0
        """Missing shards of this cell, as a coordinator last counted them."""
        self.scrub_part = 0.0
        """The part of the shards that this pass of the scrub has read."""
        self.scrub_began_s = 0.0
        """The Unix time at which this pass of the scrub began."""
        self._scrubbed_bytes = self._counter("scrubbed_bytes", "Bytes of shards read whole.")
        self._scrub_bad = self._counter("scrub_bad", "Shards that a scrub found bad.")
        self._filled_bytes = self._counter("filled_bytes", "Bytes of missing shards filled.", "how")
        self._filled_shards = self._counter("filled_shards", "Missing shards filled.")
        self._passed_over = self._counter("passed_over", "Missing shards left for later.")
        self._suspects_lost = self._counter("suspects_lost", "Suspects that were bad or not here.")
        self._compare_pages = self._counter("compare_pages", "Pages compared with a coordinator.")
        self._compare_lost = self._counter("compare_lost", "Shards that a comparison missed.")
        self._audits = self._counter("audits", "Audits answered, by what they found.", "finding")
        self._compare_garbage = self._counter("compare_garbage", "Shards a comparison deleted.")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"alveary_cell_{name}", text, labels, registry=self.registry)

    def filled(self, copied_bytes: int, computed_bytes: int) -> None:
        """Count a missing shard that is here now."""
        self._filled_shards.inc()
        self._filled_bytes.labels("copied").inc(copied_bytes)
        self._filled_bytes.labels("computed").inc(computed_bytes)

    def audited(self, finding: str) -> None:
        """Count an audit that was answered."""
        self._audits.labels(finding).inc()

    def scrubbed(self, size: int, *, is_bad: bool) -> None:
        """Count a shard that was read whole."""
        self._scrubbed_bytes.inc(size)
        self._scrub_bad.inc(is_bad)

    def passed_over(self) -> None:
        """Count a missing shard that could not be filled now."""
        self._passed_over.inc()

    def suspect_lost(self) -> None:
        """Count a suspect that was bad, or not here."""
        self._suspects_lost.inc()

    def compared_page(self, *, lost: int = 0, garbage: int = 0) -> None:
        """Count a page of a comparison, and what it found."""
        self._compare_pages.inc()
        self._compare_lost.inc(lost)
        self._compare_garbage.inc(garbage)

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
        self._gauges["waiting_to_fill"].set(self.waiting_to_fill)
        self._gauges["scrub_part"].set(self.scrub_part)
        self._gauges["scrub_began_seconds"].set(self.scrub_began_s)
        self._gauges["read_only"].set(facts.read_only)
        for name, value in gauges.items():
            self._gauges[name].set(value)
