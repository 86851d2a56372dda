"""The real world: every port of one daemon, on this machine's operating system.

Only a service's ``main.py`` (and the command line) uses it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from common import limits
from common.errors import BadConfig
from common.ports import Stores, World
from common.reasons import ConfigFault
from common.system.clock import SystemClock, system_chance, system_entropy
from common.system.discovery import ZeroconfDiscovery
from common.system.disk import RealDisk
from common.system.log import open_log
from common.system.memory import keep_freed_memory
from common.system.network import RealNetwork
from common.system.process import raise_open_files
from common.system.smart import SmartctlReports
from common.system.sqlite import SqliteStores
from common.system.workers import ThreadWorkers, core_count


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BadConfig(ConfigFault.BAD_DATA_DIRECTORY, data=str(path), error=str(error)) from error


@asynccontextmanager
async def open_world(
    data_directory: Path,
    service: str,
    *,
    log_path: Path | None = None,
    kept_memory_bytes: int = limits.KEPT_MEMORY_BYTES,
    stores: Stores | None = None,
) -> AsyncIterator[World]:
    """Every port of one daemon, for as long as the block lasts.

    Args:
        data_directory: where everything of this daemon lies; made (0700) if absent.
        service: the daemon's name, on its log lines.
        log_path: the file of its log lines, rotated by size; None: standard error.
        kept_memory_bytes: freed memory that the process keeps for its next buffers.
        stores: elsewhere; None: SQLite's files in the directory.

    Raises:
        BadConfig: ``bad_data_directory``: it cannot be made or is not a directory;
            ``too_few_open_files``.
    """
    _make_directory(data_directory)
    open_files = raise_open_files()
    log = open_log(service, log_path)
    keep_freed_memory(kept_memory_bytes)
    # One thread more than a core would idle; one alone would let a long job stop all others.
    workers = ThreadWorkers(max(2, core_count()))
    try:
        yield World(
            network=RealNetwork(),
            disk=RealDisk(data_directory),
            stores=SqliteStores(data_directory) if stores is None else stores,
            workers=workers,
            clock=SystemClock(),
            entropy=system_entropy,
            chance=system_chance(),
            discovery=ZeroconfDiscovery(),
            log=log,
            disk_reports=SmartctlReports(data_directory),
            open_files=open_files,
        )
    finally:
        workers.close()
        log.close()
