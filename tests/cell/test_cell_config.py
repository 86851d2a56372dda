"""A cell's configuration is checked key by key."""

import pytest

from cell.config import CellConfig
from common.errors import BadConfig
from common.ports import Address


def test_only_the_directory_is_needed() -> None:
    config = CellConfig.parse({"data": "d"})
    assert config == CellConfig("d")
    assert config.listen == Address("0.0.0.0", 7420)


def test_every_key_is_taken() -> None:
    config = CellConfig.parse(
        {
            "data": "d",
            "listen": "127.0.0.1:0",
            "http": "[::1]:80",
            "advertise": "cell.example:7420",
            "coordinator": ["a:1", "b:2"],
            "coordinator_id": "ab" * 32,
            "token": "alv1-x",
            "capacity": "1.5TB",
            "reserve_bytes": 5,
            "site": "s",
            "owner": "h",
            "settle_after_s": 0,
            "volume_bytes": "64MiB",
            "bandwidth_up": "1.5MB",
            "bandwidth_down": "2MiB",
            "monthly_transit": "2TB",
            "quiet_hours": "22:00-06:00",
        }
    )
    assert config.http == Address("::1", 80)
    assert config.coordinator == (Address("a", 1), Address("b", 2))
    assert config.coordinator_id == b"\xab" * 32
    assert config.capacity == 1_500_000_000_000
    assert config.volume_bytes == 64 << 20
    assert (config.bandwidth_up, config.bandwidth_down) == (1_500_000, 2 << 20)
    assert config.monthly_transit == 2 * 10**12
    assert config.quiet_hours.spans == ((22 * 60, 6 * 60),)


@pytest.mark.parametrize(
    ("text", "size"),
    [("10GB", 10**10), ("10 GiB", 10 << 30), ("5g", 5 * 10**9), ("2000000", 2_000_000)],
)
def test_sizes_are_texts_or_numbers(text: str, size: int) -> None:
    assert CellConfig.parse({"data": "d", "capacity": text}).capacity == size
    assert CellConfig.parse({"data": "d", "capacity": size}).capacity == size


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data", ""),
        ("data", 5),
        ("listen", "nowhere"),
        ("listen", "a:70000"),
        ("listen", "::1:80"),
        ("coordinator", ["x"]),
        ("coordinator", ["a:1"] * 17),
        ("coordinator_id", "ab"),
        ("coordinator_id", "zz" * 32),
        ("token", 1),
        ("capacity", "lots"),
        ("capacity", "-5GB"),
        ("capacity", 10),
        ("capacity", True),
        ("reserve_bytes", -1),
        ("site", "x" * 256),
        ("settle_after_s", 1.5),
        ("volume_bytes", 1),
        ("bandwidth_up", 1000),
        ("bandwidth_down", 1000),
        ("monthly_transit", 1000),
        ("quiet_hours", "22"),
    ],
)
def test_a_bad_value_names_its_key(key: str, value: object) -> None:
    with pytest.raises(BadConfig) as raised:
        CellConfig.parse({"data": "d", key: value})
    assert raised.value.reason == "bad_value"
    assert raised.value.fields["key"] == key


def test_an_unknown_or_missing_key_is_named() -> None:
    with pytest.raises(BadConfig, match="unknown_key"):
        CellConfig.parse({"data": "d", "colour": "red"})
    with pytest.raises(BadConfig, match="missing_key"):
        CellConfig.parse({})
