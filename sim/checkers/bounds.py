"""Queues and buffers are bounded, and empty at rest: what is held when a run has converged."""

from __future__ import annotations

import re
from typing import Final

from sim.cluster import Cluster
from sim.world import SimWorld

MAX_QUEUED_BYTES: Final = 4 * 1024 * 1024
MAX_PIPES_PER_NODE: Final = 200
_SAMPLE: Final = re.compile(r"^(\w+) ([0-9.e+]+)$", re.MULTILINE)


async def check_bounds(swarm: SimWorld, cluster: Cluster) -> list[str]:
    """Violations of the bounds, readable; empty when all hold."""
    violations = []
    queued = swarm.internet.queued_bytes()
    if queued > MAX_QUEUED_BYTES:
        violations.append(f"{queued} bytes are still queued in the network")
    for name in sorted(swarm.nodes):
        pipes = len(swarm.internet.pipes_of(name))
        if pipes > MAX_PIPES_PER_NODE:
            violations.append(f"{name} holds {pipes} open directions of connections")
    for daemon in cluster.gateways:
        name = daemon.node.name
        facts = dict(_SAMPLE.findall(await cluster.metrics(daemon)))
        running = float(facts["alveary_s3_requests_running"])
        if running:
            violations.append(f"{name} has {running:.0f} requests that never ended")
        free = float(facts["alveary_gateway_buffer_free_bytes"])
        held = daemon.config.buffer_budget_bytes - free
        if held:
            violations.append(f"{name} holds {held:.0f} bytes of its budget at rest")
    return violations
