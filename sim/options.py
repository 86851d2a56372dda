"""Options that a seed decides besides its faults: limits and periods that make rare paths common.

A volume of 256 MiB is never compacted in a run of minutes; one of 256 KiB is, repeatedly.
"""

from __future__ import annotations

import random
from typing import Any

from common.data_classes import dataclass
from common.limits import KIB, MIB
from sim.pace import WorkloadPace, draw_pace


@dataclass(frozen=True, slots=True)
class Options:
    """Configuration of the services, by service, and how busy the clients are."""

    gateways: int
    disk_latency_s: float
    """Latency of a healthy disk: without it no operation is ever under way when a fault strikes."""
    pace: WorkloadPace
    overrides: dict[str, dict[str, Any]]


def draw_options(chance: random.Random, *, is_dense: bool) -> Options:
    """Draw the options of one run; ``is_dense`` as in :func:`sim.pace.draw_pace`."""
    heartbeat_s = 5 if is_dense else chance.choice((5, 10, 15))
    return Options(
        gateways=chance.choice((1, 1, 2)),
        disk_latency_s=chance.choice((0.0, 0.005, 0.05)),
        pace=draw_pace(chance, is_dense=is_dense),
        overrides={
            "cell": {
                "volume_bytes": chance.choice((256 * KIB, 1 * MIB, 4 * MIB, 256 * MIB)),
                "settle_after_s": chance.choice((1, 5, 20, 60)),
            },
            "coordinator": {
                "delete_grace_s": chance.choice((5, 20, 60)),
                "write_lease_ttl_s": chance.choice((12, 20, 60, 300)),
                "inherited_lease_grace_s": 120,
                "heartbeat_interval_s": heartbeat_s,
                "cell_timeout_s": 3 * heartbeat_s,
            },
        },
    )
