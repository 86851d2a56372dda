"""The metrics of the gateway. Labels are names of operations and classes of status, nothing that a
client chooses, so the number of series is bounded.

Source: docs/operations.md, "Metrics and health".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from common.data_classes import dataclass

_LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)


@dataclass(slots=True)
class _Series:
    """The children of one operation, looked up once: finding them by label costs more than
    counting."""

    seconds: Histogram
    by_class: dict[int, Counter] = field(default_factory=dict)


class _Count(Collector):
    """A counter of Prometheus whose figure is kept elsewhere."""

    def __init__(self, name: str, what: str, read: Callable[[], int]) -> None:
        self._name = name
        self._what = what
        self._read = read

    def collect(self) -> Iterable[CounterMetricFamily]:
        """See :class:`prometheus_client.registry.Collector`."""
        yield CounterMetricFamily(self._name, self._what, value=self._read())


class GatewayMetrics:
    """All series of one gateway, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "alveary_s3_requests",
            "S3 requests answered, by operation and class of status",
            ("operation", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "alveary_s3_request_seconds",
            "Time from a request's head to its answer's head, by operation",
            ("operation",),
            buckets=_LATENCY_BUCKETS_S,
            registry=self.registry,
        )
        self.received_bytes = Counter(
            "alveary_s3_received_bytes", "Bytes of object bodies received", registry=self.registry
        )
        self.sent_bytes = Counter(
            "alveary_s3_sent_bytes", "Bytes of object bodies sent", registry=self.registry
        )
        self.copied_bytes = Counter(
            "alveary_s3_copied_bytes",
            "Bytes read to know a copy's checksum",
            registry=self.registry,
        )
        self.rewritten_bytes = Counter(
            "alveary_gateway_rewritten_bytes",
            "Bytes read to write them again in the storage class of their bucket",
            registry=self.registry,
        )
        self._expired = Counter(
            "alveary_gateway_expired",
            "Deletions by lifecycle rules, by what expired: current, noncurrent, marker or upload",
            ("what",),
            registry=self.registry,
        )
        self._kept = Counter(
            "alveary_gateway_expiry_refused",
            "Versions that were due by lifecycle rules and could not be deleted: they are locked",
            registry=self.registry,
        )
        self._led = Counter(
            "alveary_gateway_transitions",
            "Versions that lifecycle rules led to another storage class, by the name of the class",
            ("storage_class",),
            registry=self.registry,
        )
        self._runs = Counter(
            "alveary_gateway_lifecycle_runs",
            "Runs of lifecycle rules over a bucket, by outcome: ended, or failed for now",
            ("outcome",),
            registry=self.registry,
        )
        self._told = Counter(
            "alveary_gateway_notifications",
            "Notifications of events, by outcome: delivered, given_up, or tries that were refused"
            " by their receiver or failed to reach it",
            ("outcome",),
            registry=self.registry,
        )
        self._logged = Counter(
            "alveary_gateway_access_log_lines",
            "Lines of access logs, by outcome: written, or dropped for want of room or of a target",
            ("outcome",),
            registry=self.registry,
        )
        self._series: dict[str, _Series] = {}

    def expired(self, what: str) -> None:
        """See :class:`gateway.expiring.ExpiryCounts`."""
        self._expired.labels(what).inc()

    def kept(self) -> None:
        """See :class:`gateway.expiring.ExpiryCounts`."""
        self._kept.inc()

    def led(self, class_name: str) -> None:
        """See :class:`gateway.expiring.ExpiryCounts`."""
        self._led.labels(class_name).inc()

    def logged(self, outcome: str, lines: int) -> None:
        """See :class:`gateway.access_log.LineCounts`."""
        self._logged.labels(outcome).inc(lines)

    def told(self, outcome: str) -> None:
        """See :class:`gateway.notifying.DeliveryCounts`."""
        self._told.labels(outcome).inc()

    def ran(self, *, has_ended: bool) -> None:
        """See :class:`gateway.expiring.ExpiryCounts`."""
        self._runs.labels("ended" if has_ended else "failed").inc()

    def watch(self, name: str, what: str, read: Callable[[], float]) -> None:
        """Show a figure that is read whenever somebody looks."""
        Gauge(name, what, registry=self.registry).set_function(read)

    def watch_count(self, name: str, what: str, read: Callable[[], int]) -> None:
        """Show a count that is kept elsewhere and read whenever somebody looks."""
        self.registry.register(_Count(name, what, read))

    def count(self, operation: str, status: int, seconds: float) -> None:
        """Count one answered request.

        Args:
            operation: the name of an operation of the router, or ``none``.
            status: the HTTP status.
            seconds: until the head of the answer was ready.
        """
        series = self._series.get(operation)
        if series is None:
            series = self._series[operation] = _Series(self._seconds.labels(operation))
        counter = series.by_class.get(status // 100)
        if counter is None:
            counter = self._requests.labels(operation, f"{status // 100}xx")
            series.by_class[status // 100] = counter
        counter.inc()
        series.seconds.observe(seconds)
