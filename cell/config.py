"""A cell's configuration: parsed once, then passed on as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from cell.owner_rules_policy import QuietHours, quiet_hours
from common import config, limits
from common.config import key
from common.data_classes import dataclass
from common.ids import PeerId
from common.ports import Address

DEFAULT_LISTEN: Final = Address("0.0.0.0", 7420)  # noqa: S104  (a cell is there to be reached)


class SmartUse(StrEnum):
    """The use of smartctl."""

    AUTO = "auto"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class CellConfig:
    """Everything an owner can say about a cell. ``coordinator`` and ``coordinator_id`` come from
    the token when absent; the token is needed until the cell has joined."""

    data: str = field(metadata=key(config.path, "The daemon's own directory.", is_path=True))
    listen: Address = field(
        default=DEFAULT_LISTEN,
        metadata=key(config.address, f"HOST:PORT for the native protocol ({DEFAULT_LISTEN})."),
    )
    http: Address | None = field(
        default=None,
        metadata=key(config.address, "HOST:PORT for metrics and health (nowhere)."),
    )
    advertise: Address | None = field(
        default=None,
        metadata=key(config.address, "HOST:PORT under which others reach this daemon (--listen)."),
    )
    coordinator: tuple[Address, ...] = field(
        default=(),
        metadata=key(config.addresses(), "HOST:PORT of a coordinator; may be repeated."),
    )
    coordinator_id: PeerId | None = field(
        default=None,
        metadata=key(config.peer_id, "The id of the swarm's key, 64 hex digits."),
    )
    token: str | None = field(
        default=None,
        metadata=key(
            config.any_string,
            "The join token; - reads it from standard input, @FILE from a file.",
            is_secret=True,
        ),
    )
    capacity: int | None = field(
        default=None,
        metadata=key(
            config.size(limits.MIN_CELL_CAPACITY_BYTES, limits.MAX_CELL_BYTES),
            "The most this cell may use, such as 500GB (all there is).",
        ),
    )
    reserve_bytes: int = field(
        default=limits.CELL_RESERVE_BYTES,
        metadata=key(
            config.size(0, limits.MAX_CELL_BYTES),
            "Free space of the file system that the cell never touches.",
        ),
    )
    site: str = field(default="", metadata=key(config.label, "Failure domain (site, room, rack)."))
    owner: str = field(default="", metadata=key(config.label, "The owner of this cell."))
    settle_after_s: int = field(
        default=60,
        metadata=key(
            config.whole_number(0, 86400),
            "Age in seconds at which the cell asks about a shard that nobody claimed.",
        ),
    )
    repair_bandwidth: int = field(
        default=64 * limits.MIB,
        metadata=key(
            config.size(limits.MIN_REPAIR_BYTES_PER_S, limits.MAX_REPAIR_BYTES_PER_S),
            "The most that filling, checking and serving rebuilds may move in a second (64MiB).",
        ),
    )
    bandwidth_up: int | None = field(
        default=None,
        metadata=key(
            config.size(limits.MIN_BANDWIDTH_UP_BYTES_PER_S, limits.MAX_REPAIR_BYTES_PER_S),
            "The most of shards that the cell sends in a second, readers included (no limit).",
        ),
    )
    bandwidth_down: int | None = field(
        default=None,
        metadata=key(
            config.size(limits.MIN_BANDWIDTH_DOWN_BYTES_PER_S, limits.MAX_REPAIR_BYTES_PER_S),
            "The most of shards that the cell receives in a second, writers included (no limit).",
        ),
    )
    monthly_transit: int | None = field(
        default=None,
        metadata=key(
            config.size(limits.MIN_MONTHLY_TRANSIT_BYTES, limits.MAX_CELL_BYTES),
            "The most of shards to be moved in any 30 days, both ways, such as 2TB (no limit).",
        ),
    )
    quiet_hours: QuietHours = field(
        default=QuietHours(),
        metadata=key(
            quiet_hours,
            "Times of day without repair and new shards, such as 22:00-06:00, local time (none).",
        ),
    )
    compare_every_s: int = field(
        default=86400,
        metadata=key(
            config.whole_number(60, 365 * 86400),
            "Seconds between comparisons of what the cell holds with what it should hold.",
        ),
    )
    scrub_days: int = field(
        default=30,
        metadata=key(
            config.whole_number(1, 3650), "Days in which every shard is read whole and checked."
        ),
    )
    volume_bytes: int = field(
        default=limits.VOLUME_BYTES,
        metadata=key(
            config.size(limits.MIN_VOLUME_BYTES, 1 << 40),
            "Size at which a new volume file is begun.",
        ),
    )
    smart: SmartUse = field(
        default=SmartUse.AUTO,
        metadata=key(
            config.one_of(SmartUse),
            "Whether the disk's own reports are read with smartctl: auto (where it is), or off.",
        ),
    )
    log: str | None = field(
        default=None,
        metadata=key(
            config.path, "A file for log lines, rotated by size (standard error).", is_path=True
        ),
    )

    @property
    def log_path(self) -> Path | None:
        """The file of ``log``."""
        return None if self.log is None else Path(self.log)

    @classmethod
    def parse(cls, table: Mapping[str, Any]) -> CellConfig:
        """Check a parsed TOML table. Raises as :func:`common.config.parse`."""
        return config.parse(cls, table)
