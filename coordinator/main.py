"""The coordinator's composition root."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

from common.ports import Stores
from common.system import daemon
from common.system.clock import system_entropy
from coordinator.config import CoordinatorConfig
from coordinator.service import RunningCoordinator, serve
from coordinator.store.dialect import to_postgres

TURN_S: Final = 0.0005
"""While the event loop is busy, the store's thread waits for the interpreter after each statement,
by Python's own setting for 5 ms: some ten statements of a heartbeat that asks the store would take
as many times as long. A plan of moves, made by a worker, keeps the loop waiting in the same way."""


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
            turn_s=TURN_S,
            stores=_stores(config),
        )
    )


def _stores(config: CoordinatorConfig) -> Stores | None:
    """Return where the store is, if not in the directory."""
    if not config.has_postgres:
        return None
    from common.system.postgres import PostgresStores  # noqa: PLC0415 - SQLite needs no psycopg

    return PostgresStores(config.store, to_postgres, system_entropy)


def _facts(serving: RunningCoordinator) -> dict[str, object]:
    return {
        "native": str(serving.native),
        "http": str(serving.http),
        "peer_id": serving.peer_id.hex(),
        "coordinator_id": serving.swarm_key_id.hex(),
        "state": serving.role.name,
    }
