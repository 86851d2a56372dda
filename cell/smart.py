"""The figures of ``smartctl --json`` that foretell the loss of a disk.

Pure. The output is foreign: bounded, of any shape, with any value.

Source: docs/prediction.md, "Reports of cells"; smartmontools, ``smartctl(8)``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from common import limits
from common.disk_facts import DiskFacts

_NAMES: Final = {
    5: "reallocated",
    187: "reported",
    188: "timeouts",
    197: "pending",
    198: "uncorrectable",
}
"""The attributes of ATA disks that are read, by their number."""


def _number(value: object, most: int = limits.MAX_DISK_FIGURE) -> int | None:
    """Return a whole number from 0 to ``most`` (more counts as so much), else None."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return None
    return min(value, most)


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def parse_smart(output: bytes) -> DiskFacts | None:
    """Return what a disk reports.

    Args:
        output: of ``smartctl --json --health --attributes``.

    Returns:
        None where it is not such output, or without any figure of a disk (no SMART, no permission,
        a disk behind a controller that hides it).
    """
    if len(output) > limits.MAX_SMART_BYTES:
        return None
    try:
        told = json.loads(output)
    except (ValueError, RecursionError):
        return None
    told = _table(told)
    found: dict[str, int] = {}
    passed = _table(told.get("smart_status")).get("passed")
    if isinstance(passed, bool):
        found["passed"] = int(passed)
    temperature = _number(_table(told.get("temperature")).get("current"), 200)
    _ata(_table(told.get("ata_smart_attributes")).get("table"), found)
    _nvme(_table(told.get("nvme_smart_health_information_log")), found)
    if not found:
        return None
    if temperature is not None:
        found["temperature"] = temperature
    return DiskFacts(**found)


def _ata(table: object, found: dict[str, int]) -> None:
    for each in table[: limits.MAX_SMART_ATTRIBUTES] if isinstance(table, list) else ():
        row = _table(each)
        number = row.get("id")
        name = _NAMES.get(number) if isinstance(number, int) else None
        raw = _table(row.get("raw"))
        value = _number(raw.get("value"), (1 << 64) - 1)
        if name is None or value is None:
            continue
        if number == 188:
            # Three counts of 16 bits on some disks; the lowest is that of all timeouts.
            value &= 0xFFFF
        found[name] = min(value, limits.MAX_DISK_FIGURE)


def _nvme(log: Mapping[str, Any], found: dict[str, int]) -> None:
    for key, name in (
        ("media_errors", "media_errors"),
        ("percentage_used", "percentage_used"),
        ("available_spare", "spare"),
        ("available_spare_threshold", "spare_threshold"),
    ):
        value = _number(log.get(key))
        if value is not None:
            found[name] = value
