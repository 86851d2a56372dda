"""The cell's composition root."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from cell.config import CellConfig
from cell.service import RunningCell, serve
from common.system import daemon


def run(config: CellConfig) -> int:
    """Run a cell until SIGTERM or SIGINT; then let it write what it has not written.

    Returns:
        The exit code: 0 after a clean stop.

    Raises:
        BadConfig: ``data_in_use``, or a value that cannot be used on this machine.
        Refused: the swarm does not take the cell.
    """
    return daemon.run(
        daemon.Daemon(
            role="cell",
            data=Path(config.data),
            log_path=config.log_path,
            serve=partial(serve, config=config),
            facts=_facts,
            drain=RunningCell.end,
        )
    )


def _facts(serving: RunningCell) -> dict[str, object]:
    return {
        "native": str(serving.native),
        "http": None if serving.http is None else str(serving.http),
        "peer_id": serving.peer_id.hex(),
    }
