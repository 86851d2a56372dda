"""The coordinator's composition root."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from common.system import daemon
from coordinator.config import CoordinatorConfig
from coordinator.service import RunningCoordinator, serve


def run(config: CoordinatorConfig) -> int:
    """Run a coordinator until SIGTERM or SIGINT.

    Returns:
        The exit code: 0 after a clean stop.

    Raises:
        BadConfig: ``data_in_use``, or a value that cannot be used on this machine.
    """
    return daemon.run(
        daemon.Daemon(
            role="coordinator",
            data=Path(config.data),
            log_path=config.log_path,
            serve=partial(serve, config=config),
            facts=_facts,
        )
    )


def _facts(serving: RunningCoordinator) -> dict[str, object]:
    return {
        "native": str(serving.native),
        "http": str(serving.http),
        "peer_id": serving.peer_id.hex(),
    }
