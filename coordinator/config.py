"""The coordinator's configuration: parsed once, then passed on as values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from common import limits
from common.errors import BadConfig
from common.ports import Address
from common.reasons import ConfigFault
from coordinator.policy.placement import Redundancy, default_quorum

_SWARM: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LISTEN: Final = Address("0.0.0.0", 7400)  # noqa: S104  # cells and gateways are elsewhere
_HTTP: Final = Address("127.0.0.1", 7480)
_REDUNDANCY: Final = re.compile(r"([0-9]{1,2})/([0-9]{1,2})")


@dataclass(frozen=True, slots=True)
class CoordinatorConfig:
    """Everything an operator can say about a coordinator.

    ``data``: the daemon's own directory. ``listen``: the native protocol. ``http``: the
    operators' API, metrics and health. ``advertise``: the address that join tokens and zeroconf
    name (``listen`` when absent). ``swarm``: its name. ``redundancy``: k/n of new objects.
    ``write_quorum``: shards that must be durable, k..n. ``heartbeat_interval_s``: at most 30, so
    that no cell's connection is idle for so long that it is closed. ``cell_timeout_s``: silence
    after which a cell counts as gone. (Both are longer in a swarm of more cells than can be heard
    so often.) ``write_lease_ttl_s``: silence after which a gateway's uncommitted segments are
    garbage. ``inherited_lease_grace_s``: how long after a start nothing that was written under a
    lease of an earlier start is called garbage. ``delete_grace_s``: how long a replaced or deleted
    version can be read on. ``max_buckets_per_tenant``, ``max_uploads_per_tenant``: how many
    buckets, and uploads in progress, each tenant may have.
    ``discovery``: announce the coordinator on the LAN. ``log``: the file of its log lines,
    rotated by size (None: standard error).
    """

    data: str
    listen: Address = _LISTEN
    http: Address = _HTTP
    advertise: Address | None = None
    swarm: str = "alveary"
    redundancy: str = "4/6"
    write_quorum: int | None = None
    heartbeat_interval_s: int = 5
    cell_timeout_s: int = 15
    write_lease_ttl_s: int = int(limits.WRITE_LEASE_TTL_S)
    inherited_lease_grace_s: int = limits.INHERITED_LEASE_GRACE_S
    delete_grace_s: int = 60
    max_buckets_per_tenant: int = limits.MAX_BUCKETS_PER_TENANT
    max_uploads_per_tenant: int = limits.MAX_UPLOADS_PER_TENANT
    discovery: bool = True
    log: str | None = None

    @property
    def log_path(self) -> Path | None:
        """The file of ``log``."""
        return None if self.log is None else Path(self.log)

    @classmethod
    def parse(cls, mapping: Mapping[str, Any]) -> CoordinatorConfig:
        """Check a parsed TOML table.

        Raises:
            BadConfig: ``unknown_key``, ``missing_key`` or ``bad_value``, each with ``key``.
        """
        for key in mapping:
            if key not in cls.__dataclass_fields__:
                raise BadConfig(ConfigFault.UNKNOWN_KEY, key=key)
        given: dict[str, Any] = {"data": _text(mapping, "data")}
        for key in ("listen", "http", "advertise"):
            if mapping.get(key) is not None:
                given[key] = _address(key, mapping[key])
        for key in ("swarm", "redundancy", "log"):
            if key in mapping:
                given[key] = _text(mapping, key)
        for key, least, most in (
            ("heartbeat_interval_s", 1, 30),
            ("cell_timeout_s", 1, 86400),
            ("write_lease_ttl_s", 1, 86400),
            ("inherited_lease_grace_s", 0, 365 * 86400),
            ("delete_grace_s", 0, 30 * 86400),
            ("max_buckets_per_tenant", 1, 1_000_000),
            ("max_uploads_per_tenant", 1, 10_000_000),
            ("write_quorum", 1, limits.MAX_SLOTS),
        ):
            if mapping.get(key) is not None:
                given[key] = _whole(key, mapping[key], least, most)
        if "discovery" in mapping:
            value = mapping["discovery"]
            if value not in (True, False, "true", "false"):
                raise BadConfig(ConfigFault.BAD_VALUE, key="discovery", wanted="true or false")
            given["discovery"] = value in (True, "true")
        config = cls(**given)
        if _SWARM.fullmatch(config.swarm) is None:
            raise BadConfig(
                ConfigFault.BAD_VALUE, key="swarm", wanted="lower-case letters, digits, dashes"
            )
        if config.cell_timeout_s < 2 * config.heartbeat_interval_s:
            raise BadConfig(
                ConfigFault.BAD_VALUE,
                key="cell_timeout_s",
                wanted="at least two heartbeat intervals",
            )
        config.redundancy_class()
        return config

    def redundancy_class(self) -> Redundancy:
        """k, n and the write quorum.

        Raises:
            BadConfig: ``bad_value``.
        """
        match = _REDUNDANCY.fullmatch(self.redundancy)
        k, n = (int(match[1]), int(match[2])) if match is not None else (0, 0)
        if not 1 <= k <= n <= limits.MAX_SLOTS:
            raise BadConfig(ConfigFault.BAD_VALUE, key="redundancy", wanted="k/n, such as 4/6")
        quorum = default_quorum(k, n) if self.write_quorum is None else self.write_quorum
        if not k <= quorum <= n:
            raise BadConfig(ConfigFault.BAD_VALUE, key="write_quorum", wanted=f"{k} to {n}")
        return Redundancy(k, n, quorum)


def _text(mapping: Mapping[str, Any], key: str) -> str:
    if key not in mapping:
        raise BadConfig(ConfigFault.MISSING_KEY, key=key)
    value = mapping[key]
    if not isinstance(value, str) or not value or "\0" in value:
        raise BadConfig(ConfigFault.BAD_VALUE, key=key, wanted="a text")
    return value


def _whole(key: str, value: Any, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise BadConfig(ConfigFault.BAD_VALUE, key=key, wanted=f"a whole number, {least} to {most}")
    return value


def _address(key: str, value: Any) -> Address:
    if isinstance(value, Address):
        return value
    host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise BadConfig(ConfigFault.BAD_VALUE, key=key, wanted="host:port")
    return Address(host, int(port))
