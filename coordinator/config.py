"""The coordinator's configuration: parsed once, then passed on as values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from common import config, limits
from common.config import bad_value, key
from common.data_classes import dataclass
from common.ports import Address
from coordinator.policy.placement import Redundancy
from coordinator.policy.reputation import WINDOW, Thresholds
from coordinator.policy.storage_classes import redundancy_of

_SWARM: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LISTEN: Final = Address("0.0.0.0", 7400)  # noqa: S104  # cells and gateways are elsewhere
_HTTP: Final = Address("127.0.0.1", 7480)
_REDUNDANCY: Final = re.compile(r"([0-9]{1,2})/([0-9]{1,2})")
LOST_AFTER_S: Final = 900
"""Longer than a restart with its updates, shorter than another cell of the ring takes to fail."""
SQLITE: Final = "sqlite"
_STORE: Final = re.compile(r"sqlite|postgres(ql)?://[^\s]+")
_REDUNDANCY_WANTED: Final = "k/n, such as 4/6"


class JournalUse(StrEnum):
    """The use of a journal on cells."""

    ON = "on"
    OFF = "off"
    OFF_WITHOUT_STANDBYS = "off_without_standbys"
    """As off, where a standby has followed: each is stopped for good."""


@dataclass(frozen=True, slots=True)
class CoordinatorConfig:
    """Everything an operator can say about a coordinator.

    ``heartbeat_interval_s`` is at most 30, so that no cell's connection is idle for so long that it
    is closed; it and ``cell_timeout_s`` are longer in a swarm of more cells than can be heard so
    often.
    """

    data: str = field(metadata=key(config.path, "The daemon's own directory.", is_path=True))
    listen: Address = field(
        default=_LISTEN,
        metadata=key(config.address, f"HOST:PORT for the native protocol ({_LISTEN})."),
    )
    http: Address = field(
        default=_HTTP,
        metadata=key(
            config.address, f"HOST:PORT for the operators' API, metrics and health ({_HTTP})."
        ),
    )
    advertise: Address | None = field(
        default=None,
        metadata=key(
            config.address, "HOST:PORT that join tokens and announcements name (--listen)."
        ),
    )
    swarm: str = field(
        default="alveary",
        metadata=key(
            config.matching(_SWARM, "lower-case letters, digits, dashes"), "The swarm's name."
        ),
    )
    redundancy: str = field(
        default="4/6",
        metadata=key(
            config.matching(_REDUNDANCY, _REDUNDANCY_WANTED),
            "K/N of new objects: any K of N shards give the data back (4/6).",
        ),
    )
    write_quorum: int | None = field(
        default=None,
        metadata=key(
            config.whole_number(1, limits.MAX_SLOTS),
            "Durable shards that a write waits for, K to N.",
        ),
    )
    drain_failing_disks: bool = field(
        default=False,
        metadata=key(
            config.boolean,
            "Drain cells whose disks are likely to fail, one at a time, without being asked.",
        ),
    )
    heartbeat_interval_s: int = field(
        default=5,
        metadata=key(config.whole_number(1, 30), "Seconds between two heartbeats of a cell."),
    )
    cell_timeout_s: int = field(
        default=15,
        metadata=key(
            config.whole_number(1, 86400), "Seconds of silence after which a cell is offline."
        ),
    )
    lost_after_s: int = field(
        default=LOST_AFTER_S,
        metadata=key(
            config.whole_number(1, 365 * 86400),
            "Seconds of silence after which a cell is lost and its data moves to others (900;"
            " 14400 for boxes at homes).",
        ),
    )
    write_lease_ttl_s: int = field(
        default=int(limits.WRITE_LEASE_TTL_S),
        metadata=key(
            config.whole_number(1, 86400),
            "Seconds of silence after which a gateway's uncommitted segments are garbage.",
        ),
    )
    inherited_lease_grace_s: int = field(
        default=limits.INHERITED_LEASE_GRACE_S,
        metadata=key(
            config.whole_number(0, 365 * 86400),
            "Seconds after a start before anything written under a lease of an earlier start may"
            " be garbage.",
        ),
    )
    delete_grace_s: int = field(
        default=60,
        metadata=key(
            config.whole_number(0, 30 * 86400),
            "Seconds for which a replaced or deleted version can be read on.",
        ),
    )
    max_buckets_per_tenant: int = field(
        default=limits.MAX_BUCKETS_PER_TENANT,
        metadata=key(config.whole_number(1, 1_000_000), "Buckets that each tenant may have."),
    )
    max_uploads_per_tenant: int = field(
        default=limits.MAX_UPLOADS_PER_TENANT,
        metadata=key(
            config.whole_number(1, 10_000_000), "Uploads in progress that each tenant may have."
        ),
    )
    tenant_requests_per_s: int | None = field(
        default=None,
        metadata=key(
            config.whole_number(1, limits.MAX_TENANT_REQUESTS_PER_S),
            "Requests of all gateways of one tenant in a second (no limit).",
        ),
    )
    audit_interval_s: int = field(
        default=600,
        metadata=key(
            config.whole_number(1, 30 * 86400), "Seconds at least between two audits of a cell."
        ),
    )
    audit_traffic_ppm: int = field(
        default=500,
        metadata=key(
            config.whole_number(0, 1_000_000_000),
            "Millionths of what a cell should hold that its audits may move in a day; 0: no"
            " audits.",
        ),
    )
    audit_suspend_failures: int = field(
        default=3,
        metadata=key(
            config.whole_number(2, WINDOW),
            "Failures among a cell's last 60 audits that suspend it; before, it is warned.",
        ),
    )
    audit_recover_passes: int = field(
        default=30,
        metadata=key(
            config.whole_number(1, WINDOW),
            "Audits in a row that a cell passes to be trusted again.",
        ),
    )
    discovery: bool = field(
        default=True,
        metadata=key(config.boolean, "true or false: announce the coordinator on the LAN (true)."),
    )
    store: str = field(
        default=SQLITE,
        repr=False,
        metadata=key(
            config.matching(_STORE, "sqlite, or postgresql://USER@HOST/DATABASE"),
            "sqlite: a file in the directory; or the postgresql:// URL of a database, which several"
            " coordinators may share (sqlite). Better without a password: libpq reads ~/.pgpass.",
        ),
    )
    journal: JournalUse = field(
        default=JournalUse.ON,
        metadata=key(
            config.one_of(JournalUse),
            "on: each commit is on most of three or five cells before it counts, so that a lost"
            " disk of the coordinator is recovered from them; off; off_without_standbys: off, and"
            " each standby that followed is stopped for good (on).",
        ),
    )
    standby: bool = field(
        default=False,
        metadata=key(
            config.boolean,
            "In an empty directory: follow the active coordinator and take over when it is gone,"
            " with the recovery.json that `alveary coordinator add` made.",
        ),
    )
    log: str | None = field(
        default=None,
        metadata=key(
            config.path, "A file for log lines, rotated by size (standard error).", is_path=True
        ),
    )

    @property
    def has_postgres(self) -> bool:
        """Return whether the store is PostgreSQL's."""
        return self.store != SQLITE

    @property
    def place(self) -> Address | None:
        """The address under which others reach this coordinator; None: it is not known."""
        place = self.advertise or self.listen
        place = Address(place.host, place.port or self.listen.port)
        return None if place.is_wildcard or not place.port else place

    @property
    def log_path(self) -> Path | None:
        """The file of ``log``."""
        return None if self.log is None else Path(self.log)

    @classmethod
    def parse(cls, table: Mapping[str, Any]) -> CoordinatorConfig:
        """Check a parsed TOML table. Raises as :func:`common.config.parse`."""
        parsed = config.parse(cls, table)
        if parsed.cell_timeout_s < 2 * parsed.heartbeat_interval_s:
            bad_value("cell_timeout_s", "at least two heartbeat intervals")
        if parsed.lost_after_s < parsed.cell_timeout_s:
            bad_value("lost_after_s", "at least cell_timeout_s")
        if parsed.has_postgres:
            if parsed.standby:
                bad_value("standby", "false: coordinators on PostgreSQL are all active")
            if table.get("journal") is None:
                parsed = replace(parsed, journal=JournalUse.OFF)
            if parsed.journal is JournalUse.ON:
                bad_value("journal", "off: PostgreSQL keeps its own, and its own backups")
        if parsed.standby and table.get("journal") is None:
            parsed = replace(parsed, journal=JournalUse.ON)
        if parsed.standby and parsed.journal is not JournalUse.ON:
            bad_value("standby", "a journal: it is what a standby follows")
        parsed.redundancy_class()
        return parsed

    def audit_rules(self) -> Thresholds:
        """Return what follows from audits."""
        return Thresholds(self.audit_suspend_failures, self.audit_recover_passes)

    def redundancy_class(self) -> Redundancy:
        """k, n and the write quorum.

        Raises:
            BadConfig: ``bad_value``.
        """
        usual = redundancy_of(self.redundancy)
        if usual is None:
            bad_value("redundancy", _REDUNDANCY_WANTED)
        found = redundancy_of(self.redundancy, self.write_quorum)
        if found is None:
            bad_value("write_quorum", f"{usual.k} to {usual.n}")
        return found
