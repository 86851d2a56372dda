"""The counts of a coordinator. Labels are names of requests and states, so series are bounded.

Source: docs/operations.md, "Metrics and health".
"""

from __future__ import annotations

import math
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from common.rpc.fair_queue import FairQueue
from common.wire.messages.base import Request

_LATENCY_BUCKETS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 30)


class CoordinatorMetrics:
    """All series of one coordinator, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "alveary_coordinator_requests",
            "Native requests, by request and outcome",
            ("request", "outcome"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "alveary_coordinator_request_seconds",
            "Time to answer a native request",
            ("request",),
            buckets=_LATENCY_BUCKETS_S,
            registry=self.registry,
        )
        self.cells = Gauge(
            "alveary_cells", "Cells of the swarm, by state", ("state",), registry=self.registry
        )
        self.most_cells_offline = Gauge(
            "alveary_most_cells_offline",
            "1 while so many cells are offline that none of them is taken for lost",
            registry=self.registry,
        )
        self.cells_below_target = Gauge(
            "alveary_cells_below_availability_target",
            "Cells that were heard for less than 99.95 % of the last 30 days",
            registry=self.registry,
        )
        self.owners_below_target = Gauge(
            "alveary_owners_below_availability_target",
            "Owners whose cells together were heard for less than 99.95 % of the last 30 days",
            registry=self.registry,
        )
        self.least_availability = Gauge(
            "alveary_cell_availability_least_ratio",
            "Part of the last 30 days in which the cell that was silent longest was heard",
            registry=self.registry,
        )
        self.rings = Gauge("alveary_rings", "Rings, by state", ("state",), registry=self.registry)
        self.missing_shards = Gauge(
            "alveary_missing_shards",
            "Shards that their slots are known to lack",
            registry=self.registry,
        )
        self.suspect_shards = Gauge(
            "alveary_suspect_shards",
            "Shards that readers found bad or missing and that no cell has confirmed",
            registry=self.registry,
        )
        self.silent_shards = Gauge(
            "alveary_silent_shards",
            "Shards on cells that are suspect, offline, lost or in maintenance",
            registry=self.registry,
        )
        self.loss_margin = Gauge(
            "alveary_loss_margin",
            "Shards that every segment can lose beyond the loss of nothing, of the worst box, of "
            "the worst site; negative: something cannot be read then",
            ("after",),
            registry=self.registry,
        )
        self.bucket_margin = Gauge(
            "alveary_bucket_margin",
            "Shards that every segment of a bucket can lose beyond the loss of nothing, of its"
            " worst site; negative: something cannot be read then. The 50 buckets that are worst"
            " off, and (others)",
            ("bucket", "after"),
            registry=self.registry,
        )
        self.bucket_unreadable = Gauge(
            "alveary_bucket_segments_unreadable",
            "Segments of a bucket that cannot be read now, or if its worst site failed",
            ("bucket", "after"),
            registry=self.registry,
        )
        self.failing_disks = Gauge(
            "alveary_failing_disks",
            "Cells whose disks have signs of failing, by what is advised",
            ("advice",),
            registry=self.registry,
        )
        self.lost_shards = Gauge(
            "alveary_lost_shards",
            "Shards that cells held in volumes that were gone at their start",
            registry=self.registry,
        )
        self.cell_free_bytes = Gauge(
            "alveary_free_bytes",
            "What cells can still take; what they share of a file system once",
            registry=self.registry,
        )
        self.gateways = Gauge(
            "alveary_gateways", "Gateways, by state", ("state",), registry=self.registry
        )
        self.writable = Gauge(
            "alveary_writable", "1 if new data can be written", registry=self.registry
        )
        self.store_writable = Gauge(
            "alveary_coordinator_store_writable",
            "1 if the database can be written",
            registry=self.registry,
        )
        self.store_damaged = Gauge(
            "alveary_coordinator_store_damaged",
            "1 if the database was found to be damaged: nothing is answered from it",
            registry=self.registry,
        )
        self.store_free_bytes = Gauge(
            "alveary_coordinator_free_bytes",
            "Free bytes of the database's file system",
            registry=self.registry,
        )
        self.lost_segments = Gauge(
            "alveary_lost_segments",
            "Segments of which fewer shards are left than are needed to read them",
            registry=self.registry,
        )
        self.class_fallen_back = Gauge(
            "alveary_class_fallen_back",
            "1 while new segments of a storage class take another redundancy, since too few cells"
            " are left for its own",
            registry=self.registry,
        )
        self.misplaced_pages = Gauge(
            "alveary_misplaced_pages",
            "Pages of objects that may not be in the storage class of their bucket yet",
            registry=self.registry,
        )
        self.lifecycle_buckets = Gauge(
            "alveary_lifecycle_buckets",
            "Buckets with rules by which objects expire",
            registry=self.registry,
        )
        self.lifecycle_oldest_run = Gauge(
            "alveary_lifecycle_oldest_run_seconds",
            "When the least recent of the last runs over these buckets began, Unix time; 0: over"
            " one of them none by its present rules has ended",
            registry=self.registry,
        )
        self.notifications_waiting = Gauge(
            "alveary_notifications_waiting",
            "Notifications of events that gateways have not delivered yet",
            registry=self.registry,
        )
        self.notifications_oldest = Gauge(
            "alveary_notifications_oldest_seconds",
            "When the event came about whose notification waits longest, Unix time; 0: none waits",
            registry=self.registry,
        )
        self.notifications_full = Gauge(
            "alveary_notifications_full_tenants",
            "Tenants of which as many notifications wait as may: those of further events are"
            " dropped",
            registry=self.registry,
        )
        self.notifications_lost = Gauge(
            "alveary_notifications_lost",
            "Events of buckets that there are of which nobody was told: too many waited, or for"
            " too long",
            registry=self.registry,
        )
        self.classes_not_writable = Gauge(
            "alveary_classes_not_writable",
            "Storage classes of buckets in which nothing new can be written: too few cells",
            registry=self.registry,
        )
        self.fallback_segments = Gauge(
            "alveary_fallback_segments",
            "Segments in classes that stand in for the configured one",
            registry=self.registry,
        )
        self.least_margin = Gauge(
            "alveary_least_margin",
            "Shards that the segment with the fewest spares can lose now; negative: it cannot be"
            " read; NaN before the first look, and without data",
            registry=self.registry,
        )
        self.least_margin.set(math.nan)
        self.bare_segments = Gauge(
            "alveary_segments_without_margin",
            "Segments with missing shards that can be read, and not after one more loss",
            registry=self.registry,
        )
        self.unreadable_segments = Gauge(
            "alveary_segments_unreadable",
            "Segments with missing shards that cannot be read now; lost ones included",
            registry=self.registry,
        )
        self.slots_nowhere = Gauge(
            "alveary_slots_nowhere",
            "Slots of lost or leaving cells that have no cell to go to",
            registry=self.registry,
        )
        self.moving_slots = Gauge(
            "alveary_moving_slots",
            "Slots that have moved, and whose new holders still fill",
            registry=self.registry,
        )
        self.repair_pace = Gauge(
            "alveary_repair_shards_per_second",
            "Missing shards that were filled in a second, lately; 0 while none is, or not known",
            registry=self.registry,
        )
        self.repair_left_s = Gauge(
            "alveary_repair_left_seconds",
            "Time until no shard is missing, at the pace of the last quarter of an hour; -1: not"
            " known",
            registry=self.registry,
        )
        self.repair_stuck = Gauge(
            "alveary_repair_stuck",
            "1 while shards are missing and none was filled for a quarter of an hour",
            registry=self.registry,
        )
        self.drains_stuck = Gauge(
            "alveary_drains_stuck",
            "Cells that leave, and have had no shard moved for a quarter of an hour, or have slots"
            " without a place",
            registry=self.registry,
        )
        self.cells_resting = Gauge(
            "alveary_cells_resting",
            "Cells that are read-only for now by the rules of their hosts",
            registry=self.registry,
        )
        self.concerns = Gauge(
            "alveary_concerns",
            "Concerns of alveary status, by gravity",
            ("gravity",),
            registry=self.registry,
        )
        self.queued_deletes = Gauge(
            "alveary_queued_deletes", "Shards that cells have yet to delete", registry=self.registry
        )
        self.clocks_off = Gauge(
            "alveary_cells_clock_off",
            "Cells whose clock differs from the coordinator's by more than a minute",
            registry=self.registry,
        )
        self.most_clock_skew_s = Gauge(
            "alveary_cells_clock_skew_seconds",
            "The most that a cell's clock differs from the coordinator's",
            registry=self.registry,
        )
        self.leases = Gauge("alveary_write_leases", "Living write leases", registry=self.registry)
        self.objects = Gauge(
            "alveary_objects", "Objects, with versions that are kept", registry=self.registry
        )
        self.logical_bytes = Gauge(
            "alveary_logical_bytes",
            "Bytes of objects, with versions that are kept",
            registry=self.registry,
        )
        self.store_standing = Gauge(
            "alveary_coordinator_store_standing",
            "1 for what the store is by what its swarm has seen: current, forked or behind",
            ("standing",),
            registry=self.registry,
        )
        self.store_bytes = Gauge(
            "alveary_coordinator_store_bytes", "Size of the database", registry=self.registry
        )
        self.is_active = Gauge(
            "alveary_coordinator_active",
            "1 for the coordinator that serves, 0 for a standby",
            registry=self.registry,
        )
        self.standbys = Gauge(
            "alveary_standbys",
            "Standbys that follow this coordinator's journal, and those that did within an hour",
            ("state",),
            registry=self.registry,
        )
        self.standby_wanted = Gauge(
            "alveary_standby_wanted",
            "1 once a standby has followed: without its lease this coordinator answers nobody",
            registry=self.registry,
        )
        self.standby_behind = Gauge(
            "alveary_standby_behind_records",
            "Records of the journal that the standby lacks; of the active coordinator, that the"
            " closest standby lacks",
            registry=self.registry,
        )
        self.standby_behind_s = Gauge(
            "alveary_standby_behind_seconds",
            "Time since this standby last had everything in the journal",
            registry=self.registry,
        )
        self._requests_waiting = Gauge(
            "alveary_coordinator_requests_waiting",
            "Requests that wait for their turn beside those of other tenants",
            registry=self.registry,
        )
        self._turned_away = Gauge(
            "alveary_coordinator_requests_turned_away",
            "Requests beyond the share or the rate of their tenant, since the start",
            registry=self.registry,
        )
        self._audits = Counter(
            "alveary_coordinator_audits",
            "Audits of cells, by what they found; void: the shard was no longer the cell's",
            ("finding",),
            registry=self.registry,
        )
        self.cells_by_trust = Gauge(
            "alveary_cells_by_trust",
            "Cells of the swarm, by trust: good, warned, suspended",
            ("trust",),
            registry=self.registry,
        )
        self._children: dict[tuple[type[Request], str], tuple[Counter, Histogram]] = {}

    def watch(self, queue: FairQueue) -> None:
        """Show how many requests of tenants wait, and how many were turned away. Called again
        whenever the store was opened again."""
        self._requests_waiting.set_function(lambda: queue.waiting)
        self._turned_away.set_function(lambda: queue.turned_away)

    def count(self, request: type[Request], outcome: str, seconds: float) -> None:
        """Count an answered request."""
        found = self._children.get((request, outcome))
        if found is None:
            name = request.__name__
            found = (self._requests.labels(name, outcome), self._seconds.labels(name))
            self._children[request, outcome] = found
        found[0].inc()
        found[1].observe(seconds)

    def audited(self, finding: str) -> None:
        """Count an audit."""
        self._audits.labels(finding).inc()
