"""The cell's composition root: the real world, the service, signals and the ready line."""

from __future__ import annotations

import signal
from pathlib import Path

import trio

from cell.config import CellConfig
from cell.service import RunningCell, serve
from common.system.disk import hold_directory
from common.system.process import say_ready
from common.system.world import open_world


def run(config: CellConfig) -> int:
    """Run a cell until SIGTERM or SIGINT.

    Returns:
        The exit code: 0 after a clean stop.

    Raises:
        BadConfig: ``data_in_use``, or a value that cannot be used on this machine.
        Refused: the swarm does not take the cell.
    """
    with hold_directory(Path(config.data)):
        trio.run(_run, config)
    return 0


def _facts(serving: RunningCell) -> dict[str, object]:
    return {
        "role": "cell",
        "native": str(serving.native),
        "http": None if serving.http is None else str(serving.http),
        "peer_id": serving.peer_id.hex(),
    }


async def _run(config: CellConfig) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with (
            open_world(Path(config.data), "cell", log_path=config.log_path) as world,
            trio.open_nursery() as nursery,
        ):

            async def start() -> None:
                serving = await nursery.start(serve, world, config)
                say_ready(world.log, _facts(serving))

            nursery.start_soon(start)
            async for _ in signals:
                nursery.cancel_scope.cancel()
                break
