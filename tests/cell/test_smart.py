"""Output of smartctl, of disks as they are and as an enemy would write it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell.smart import parse_smart
from common import limits
from common.disk_facts import UNKNOWN, DiskFacts


def attribute(number: int, name: str, value: int, text: str = "") -> dict[str, Any]:
    return {
        "id": number,
        "name": name,
        "value": 100,
        "worst": 100,
        "thresh": 10,
        "when_failed": "",
        "flags": {"value": 50, "string": "-O--CK ", "prefailure": False},
        "raw": {"value": value, "string": text or str(value)},
    }


def output(status: int = 0, **parts: Any) -> bytes:
    told = {
        "json_format_version": [1, 0],
        "smartctl": {"version": [7, 3], "argv": ["smartctl"], "exit_status": status},
        **parts,
    }
    return json.dumps(told, indent=1).encode()


ATA = output(
    device={"name": "/dev/sda", "type": "sat", "protocol": "ATA"},
    smart_status={"passed": True},
    ata_smart_attributes={
        "revision": 10,
        "table": [
            attribute(1, "Raw_Read_Error_Rate", 199781349),
            attribute(5, "Reallocated_Sector_Ct", 31),
            attribute(9, "Power_On_Hours", 36055),
            attribute(187, "Reported_Uncorrect", 0),
            attribute(188, "Command_Timeout", 4295032853, "1 1 21"),
            attribute(194, "Temperature_Celsius", 167504969753, "25 (Min/Max 19/39)"),
            attribute(197, "Current_Pending_Sector", 8),
            attribute(198, "Offline_Uncorrectable", 2),
        ],
    },
    temperature={"current": 36},
)
FAILING = output(
    216,
    smart_status={"passed": False},
    ata_smart_attributes={"table": [attribute(5, "Reallocated_Sector_Ct", 1975)]},
)
NVME = output(
    device={"name": "/dev/nvme0", "type": "nvme", "protocol": "NVMe"},
    smart_status={"passed": True, "nvme": {"value": 0}},
    nvme_smart_health_information_log={
        "critical_warning": 0,
        "temperature": 41,
        "available_spare": 100,
        "available_spare_threshold": 10,
        "percentage_used": 3,
        "data_units_written": 7773431,
        "media_errors": 0,
        "num_err_log_entries": 12,
    },
    temperature={"current": 41},
)
NO_ACCESS = output(
    2,
    messages=[{"string": "Smartctl open device: /dev/sda failed: Permission denied"}],
)
NO_SMART = output(
    4, device={"name": "/dev/vda", "type": "scsi"}, smart_support={"available": False}
)


def test_counts_of_an_ata_disk_are_read() -> None:
    assert parse_smart(ATA) == DiskFacts(
        passed=1,
        reallocated=31,
        reported=0,
        timeouts=21,
        pending=8,
        uncorrectable=2,
        temperature=36,
    )


def test_a_disk_that_reports_that_it_fails_is_read_though_smartctl_exits_with_an_error() -> None:
    assert parse_smart(FAILING) == DiskFacts(passed=0, reallocated=1975)


def test_counts_of_an_nvme_disk_are_read() -> None:
    assert parse_smart(NVME) == DiskFacts(
        passed=1,
        media_errors=0,
        percentage_used=3,
        spare=100,
        spare_threshold=10,
        temperature=41,
    )


@pytest.mark.parametrize("told", [NO_ACCESS, NO_SMART, b"", b"smartctl: not found\n", b"[1, 2]"])
def test_no_figures_are_none(told: bytes) -> None:
    assert parse_smart(told) is None


@pytest.mark.parametrize(
    "told",
    [
        b'{"smart_status": ' * 100_000,
        b"[" * 500_000,
        b"\xff\xfe",
        b'{"temperature": {"current": 30}}',
        b" " * (limits.MAX_SMART_BYTES + 1),
        output(smart_status={"passed": "yes"}),
        output(smart_status=[True]),
        output(ata_smart_attributes={"table": [attribute(5, "x", -1), {"id": {}}, 5, None]}),
        output(ata_smart_attributes={"table": {"5": 1}}),
        output(nvme_smart_health_information_log={"media_errors": 1.5, "available_spare": True}),
        b'{"nvme_smart_health_information_log": {"media_errors": NaN}}',
    ],
    ids=range(11),
)
def test_what_is_no_figure_of_a_disk_is_none(told: bytes) -> None:
    assert parse_smart(told) is None


def test_counts_are_bounded() -> None:
    table = [attribute(5, "Reallocated_Sector_Ct", 1 << 200), attribute(197, "x", 1 << 40)]
    many = [attribute(250, "x", 1)] * limits.MAX_SMART_ATTRIBUTES
    found = parse_smart(output(ata_smart_attributes={"table": table + many}))
    assert found == DiskFacts(reallocated=limits.MAX_DISK_FIGURE, pending=limits.MAX_DISK_FIGURE)
    late = output(ata_smart_attributes={"table": many + table})
    assert parse_smart(late) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "id",
                    "raw",
                    "value",
                    "table",
                    "passed",
                    "current",
                    "media_errors",
                    "percentage_used",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
)


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "smart_status",
                "temperature",
                "ata_smart_attributes",
                "nvme_smart_health_information_log",
            ]
        ),
        JSON,
    )
)
def test_any_json_gives_figures_within_bounds_or_none(told: dict[str, Any]) -> None:
    found = parse_smart(json.dumps(told).encode())
    if found is not None:
        assert found != DiskFacts()
        assert all(value <= limits.MAX_DISK_FIGURE + 1 for value in found.pack())
        assert UNKNOWN not in found.pack()


@given(st.binary(max_size=200))
def test_any_bytes_give_none_or_figures(told: bytes) -> None:
    assert parse_smart(told) is None
