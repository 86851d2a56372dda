"""``alveary cell status``: a cell's disk use to the byte, its owner's limits, and how it stands.

It reads the data directory, so it works while the daemon runs and while it does not; what only the
daemon knows it asks at the ``http`` address, where there is one.

Source: docs/operations.md, "What a cell takes of a disk".
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click
import httpx
from prometheus_client.parser import text_string_to_metric_families

from cell.config import CellConfig
from cell.storage.index_tables import is_prepared, load_volumes
from cell.storage.journal import DIRECTORY as JOURNAL_DIRECTORY
from cell.storage.recovery import INDEX_NAME
from cell.storage.shards import VolumeFacts
from cell.storage.volumes import DIRECTORY, volume_number
from cli.daemons import CONFIG_NAME, config_class, read_config
from cli.join import default_data
from cli.report import human_bytes, print_result, table
from common.config import with_paths
from common.data_classes import dataclass
from common.errors import BadConfig
from common.format.volume import VOLUME_HEAD_BYTES
from common.ports import Address
from common.reasons import ConfigFault
from common.words import human_duration

BLOCK_BYTES: Final = 512
"""Of ``st_blocks``, whatever the file system's blocks are."""
ASK_TIMEOUT_S: Final = 3.0
_WORK: Final = {
    "alveary_cell_filled_bytes_total": "filled_bytes",
    "alveary_cell_scrubbed_bytes_total": "scrubbed_bytes",
}


@dataclass(frozen=True, slots=True)
class DiskUse:
    """The parts of what a data directory takes of its file system; ``total_bytes`` is their sum,
    and what ``du`` says.

    ``shard_bytes``: of shards that are held. ``record_bytes``: headers, leaves and padding of their
    records, and tombstones. ``dead_bytes``: of records that compaction will free.
    ``unindexed_bytes``: of volumes that the index on the disk does not know yet; negative while it
    knows of more than is there. ``rounding_bytes``: blocks that files do not fill; negative where
    files have holes.
    """

    shard_bytes: int
    record_bytes: int
    volume_head_bytes: int
    dead_bytes: int
    unindexed_bytes: int
    index_bytes: int
    log_bytes: int
    journal_bytes: int
    state_bytes: int
    directory_bytes: int
    rounding_bytes: int
    total_bytes: int


def _files(directory: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield each file and directory below one, and itself; what vanishes meanwhile is left out."""
    pending = [directory]
    while pending:
        path = pending.pop()
        try:
            yield path, path.lstat()
            if path.is_dir() and not path.is_symlink():
                pending += path.iterdir()
        except FileNotFoundError:
            continue


def _indexed(data: Path) -> dict[int, VolumeFacts]:
    """Return what the index on the disk says of volumes; nothing where it cannot be read."""
    path = (data / INDEX_NAME).absolute()
    for how in ("mode=ro", "immutable=1"):  # the second where nothing may be written beside it
        try:
            with closing(sqlite3.connect(f"{path.as_uri()}?{how}", uri=True)) as sql:
                found = load_volumes(sql) if is_prepared(sql) else []
                return {each.number: each for each in found}
        except sqlite3.Error:
            continue
    return {}


def disk_use(data: Path, log: Path | None = None) -> DiskUse:
    """Return what a cell's directory takes.

    Args:
        data: the directory.
        log: the log file; its older parts have its name and a number behind it.
    """
    known = _indexed(data)
    sizes = dict.fromkeys(("volumes", "index", "log", "journal", "state", "directory"), 0)
    heads = shards = records = dead = blocks = 0
    for path, found in _files(data):
        blocks += found.st_blocks * BLOCK_BYTES
        kind = _kind(path, data, log)
        sizes[kind] += found.st_size
        if kind != "volumes":
            continue
        facts = known.get(volume_number(path.name) or 0)
        if facts is not None:
            heads += VOLUME_HEAD_BYTES
            shards += facts.shard_bytes
            records += facts.live_bytes - facts.shard_bytes
            dead += facts.dead_bytes
    return DiskUse(
        shard_bytes=shards,
        record_bytes=records,
        volume_head_bytes=heads,
        dead_bytes=dead,
        unindexed_bytes=sizes["volumes"] - heads - shards - records - dead,
        index_bytes=sizes["index"],
        log_bytes=sizes["log"],
        journal_bytes=sizes["journal"],
        state_bytes=sizes["state"],
        directory_bytes=sizes["directory"],
        rounding_bytes=blocks - sum(sizes.values()),
        total_bytes=blocks,
    )


def _kind(path: Path, data: Path, log: Path | None) -> str:
    if path.is_dir():
        return "directory"
    if path.parent == data / DIRECTORY and volume_number(path.name) is not None:
        return "volumes"
    if path.parent == data and path.name.startswith(INDEX_NAME):
        return "index"
    if log is not None and path.parent == log.parent and path.name.startswith(log.name):
        return "log"
    if path.parent == data / JOURNAL_DIRECTORY:
        return "journal"
    return "state"


def _ask(http: Address | None) -> dict[str, Any]:
    """Return what the running daemon says; empty where it says nothing."""
    if http is None:
        return {}
    try:
        with httpx.Client(base_url=f"http://{http}", timeout=ASK_TIMEOUT_S) as client:
            answer = client.get("/healthz").json()
            families = list(text_string_to_metric_families(client.get("/metrics").text))
    except (httpx.HTTPError, ValueError):
        return {}
    if not isinstance(answer, dict):
        return {}
    work = dict.fromkeys(_WORK.values(), 0)
    for family in families:
        for sample in family.samples:
            if sample.name in _WORK:
                work[_WORK[sample.name]] += int(sample.value)
    return {**answer, **work}


def _lines(data: Path, use: DiskUse, config: CellConfig, answer: dict[str, Any]) -> list[str]:
    rows = [
        ("shards that are held", use.shard_bytes),
        ("headers, leaves and tombstones of records", use.record_bytes),
        ("heads of volumes", use.volume_head_bytes),
        ("deleted, until compaction frees it", use.dead_bytes),
        ("being written, or not in the index yet", use.unindexed_bytes),
        ("index", use.index_bytes),
        ("log", use.log_bytes),
        ("the coordinator's journal", use.journal_bytes),
        ("state files", use.state_bytes),
        ("directories", use.directory_bytes),
        ("rounded up to blocks", use.rounding_bytes),
        ("total, as du counts", use.total_bytes),
    ]
    medium = os.statvfs(data)
    free = medium.f_bavail * medium.f_frsize
    capacity = "all there is" if config.capacity is None else human_bytes(config.capacity)
    lines = [
        f"cell at {data}",
        "",
        table(["BYTES", "", "FOR"], [[f"{size:,}", _short(size), what] for what, size in rows]),
        "",
        f"limits   capacity {capacity}, reserve {human_bytes(config.reserve_bytes)};"
        f" the file system has {human_bytes(free)} free",
        *_owner_rules(config),
        f"repair   at most {human_bytes(config.repair_bandwidth)} a second"
        + (
            f"; since the start {human_bytes(answer['filled_bytes'])} were rebuilt and"
            f" {human_bytes(answer['scrubbed_bytes'])} read to check them"
            if answer
            else ""
        ),
    ]
    return [*lines, *_standing(config, answer)]


def _owner_rules(config: CellConfig) -> list[str]:
    limits = [
        f"{what} {human_bytes(size)}{per}"
        for what, size, per in (
            ("up", config.bandwidth_up, " a second"),
            ("down", config.bandwidth_down, " a second"),
            ("in 30 days", config.monthly_transit, ""),
        )
        if size is not None
    ]
    return [f"network  at most {', '.join(limits)}"] if limits else []


def _short(size: int) -> str:
    return human_bytes(size) if size >= 0 else f"-{human_bytes(-size)}"


def _standing(config: CellConfig, answer: dict[str, Any]) -> list[str]:
    if not answer:
        why = "no `http` address is configured" if config.http is None else "it does not answer"
        return [f"standing not known: {why}"]
    since_s = float(answer.get("seconds_since_heartbeat", -1))
    heard = f"heard {human_duration(since_s)} ago" if since_s >= 0 else "not heard yet"
    parts = [f"coordinator {heard}"]
    if answer.get("trust"):
        reason = answer.get("trust_reason")
        parts.append(f"trust: {answer['trust']}" + (f" ({reason})" if reason else ""))
    parts.append(
        "takes shards" if answer.get("writable") else f"takes none: {answer.get('reason')}"
    )
    if answer.get("lost_shards"):
        parts.append(f"LOST {answer['lost_shards']} shards")
    return [f"standing {', '.join(parts)}"]


@click.command()
@click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), help="The cell's directory."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def cell_status(data: Path | None, as_json: bool) -> None:
    """Explain to the byte what this machine's cell takes of the disk, its limits, and how it
    stands."""
    data = data or default_data("cell")
    path = data / CONFIG_NAME
    if not path.exists():
        raise BadConfig(
            ConfigFault.BAD_FLAGS, message=f"{data} is not a cell's directory: no {CONFIG_NAME}"
        )
    file = with_paths(config_class("cell"), read_config(path), path.parent.absolute())
    config = CellConfig.parse({"data": str(data), **file})
    use = disk_use(data, config.log_path)
    answer = _ask(config.http)
    result = {
        "data": str(data),
        "disk": asdict(use),
        "capacity_bytes": config.capacity,
        "reserve_bytes": config.reserve_bytes,
        "repair_bytes_per_s": config.repair_bandwidth,
        "daemon": answer or None,
    }
    print_result(result, as_json=as_json, text="\n".join(_lines(data, use, config, answer)))
