"""A cell's configuration: parsed once, then passed on as values."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from common import limits
from common.errors import BadConfig
from common.ids import PEER_ID_BYTES, PeerId
from common.ports import Address
from common.reasons import ConfigFault

_SIZE: Final = re.compile(r"([0-9]{1,15})(\.[0-9]{1,3})?\s*([kmgtp]?)(i?)b?", re.IGNORECASE)
_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
DEFAULT_LISTEN: Final = Address("0.0.0.0", 7420)  # noqa: S104  (a cell is there to be reached)


@dataclass(frozen=True, slots=True)
class CellConfig:
    """Everything a host can say about a cell.

    ``data``: the cell's own directory. ``listen``: the native protocol. ``http``: metrics and
    health (None: nowhere). ``advertise``: the address that is sent to others (``listen`` when
    absent). ``coordinator``: addresses to try; ``coordinator_id``: the key they must have; both
    come from the token when absent. ``token``: the join token; needed until the cell has joined.
    ``capacity``: the most bytes that the cell may use (None: all there is). ``reserve_bytes``:
    free space of the file system that it never touches. ``site``: the place that can fail as one;
    ``host``: who owns the cell. ``settle_after_s``: age at which a shard that nobody claimed is
    asked about. ``volume_bytes``: size at which a new volume file is begun. ``log``: the file of
    its log lines, rotated by size (None: standard error).
    """

    data: str
    listen: Address = DEFAULT_LISTEN
    http: Address | None = None
    advertise: Address | None = None
    coordinator: tuple[Address, ...] = ()
    coordinator_id: PeerId | None = None
    token: str | None = None
    capacity: int | None = None
    reserve_bytes: int = limits.CELL_RESERVE_BYTES
    site: str = ""
    host: str = ""
    settle_after_s: int = 60
    volume_bytes: int = limits.VOLUME_BYTES
    log: str | None = None

    @property
    def log_path(self) -> Path | None:
        """The file of ``log``."""
        return None if self.log is None else Path(self.log)

    @classmethod
    def parse(cls, mapping: Mapping[str, Any]) -> CellConfig:
        """Check a parsed TOML table.

        Raises:
            BadConfig: ``unknown_key``, ``missing_key`` or ``bad_value``, each with ``key``.
        """
        for key in mapping:
            if key not in _PARSERS:
                raise BadConfig(ConfigFault.UNKNOWN_KEY, key=key)
        if "data" not in mapping:
            raise BadConfig(ConfigFault.MISSING_KEY, key="data")
        given = {
            key: _PARSERS[key](key, value) for key, value in mapping.items() if value is not None
        }
        return cls(**given)


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or "\0" in value or len(value) > 4096:
        raise BadConfig(ConfigFault.BAD_VALUE, key=key, wanted="a text")
    return value


def _directory(key: str, value: Any) -> str:
    if not _text(key, value):
        raise BadConfig(ConfigFault.BAD_VALUE, key=key, wanted="a directory")
    return str(value)


def _label(key: str, value: Any) -> str:
    if len(_text(key, value)) > 255:
        raise BadConfig(ConfigFault.BAD_VALUE, key=key, wanted="at most 255 characters")
    return str(value)


def _whole(key: str, value: Any, *, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise BadConfig(ConfigFault.BAD_VALUE, key=key, wanted=f"a whole number, {least} to {most}")
    return value


def _size(key: str, value: Any, *, least: int, most: int) -> int:
    """Bytes: a whole number, or a text such as ``500GB``, ``1.5TiB``."""
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        if match is None:
            raise BadConfig(ConfigFault.BAD_VALUE, key=key, wanted="a size such as 500GB or 2TiB")
        whole, part, power, binary = match.groups()
        factor = (1024 if binary else 1000) ** _POWERS[power.lower()]
        value = int(whole) * factor + int(float(part or 0) * factor)
    return _whole(key, value, least=least, most=most)


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


def _addresses(key: str, value: Any) -> tuple[Address, ...]:
    each = [value] if isinstance(value, str | Address) else value
    if not isinstance(each, list | tuple) or len(each) > limits.MAX_COORDINATOR_ADDRESSES:
        raise BadConfig(
            ConfigFault.BAD_VALUE,
            key=key,
            wanted=f"at most {limits.MAX_COORDINATOR_ADDRESSES} addresses",
        )
    return tuple(_address(key, item) for item in each)


def _peer_id(key: str, value: Any) -> PeerId:
    if isinstance(value, bytes) and len(value) == PEER_ID_BYTES:
        return PeerId(value)
    try:
        raw = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        raw = b""
    if len(raw) != PEER_ID_BYTES:
        raise BadConfig(ConfigFault.BAD_VALUE, key=key, wanted="64 hex digits")
    return PeerId(raw)


_PARSERS: Final[Mapping[str, Callable[[str, Any], Any]]] = {
    "data": _directory,
    "log": _directory,
    "listen": _address,
    "http": _address,
    "advertise": _address,
    "coordinator": _addresses,
    "coordinator_id": _peer_id,
    "token": _text,
    "capacity": partial(_size, least=limits.MIN_CELL_CAPACITY_BYTES, most=1 << 60),
    "reserve_bytes": partial(_size, least=0, most=1 << 60),
    "site": _label,
    "host": _label,
    "settle_after_s": partial(_whole, least=0, most=86400),
    "volume_bytes": partial(_size, least=limits.MIN_VOLUME_BYTES, most=1 << 40),
}
assert set(_PARSERS) == set(CellConfig.__dataclass_fields__)
