"""Queues and buffers stay bounded: what is still on its way when a run has come to rest."""

from __future__ import annotations

from typing import Final

from sim.world import SimSwarm

MAX_QUEUED_BYTES: Final = 4 * 1024 * 1024
MAX_PIPES_PER_NODE: Final = 200


def check_bounds(swarm: SimSwarm) -> list[str]:
    """Violations of the bounds, readable; empty when all hold."""
    violations = []
    queued = swarm.internet.queued_bytes()
    if queued > MAX_QUEUED_BYTES:
        violations.append(f"{queued} bytes are still queued in the network")
    for name in sorted(swarm.nodes):
        pipes = len(swarm.internet.pipes_of(name))
        if pipes > MAX_PIPES_PER_NODE:
            violations.append(f"{name} holds {pipes} open directions of connections")
    return violations
