"""The gateway's configuration: what is wrong is said by its key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from common.errors import BadConfig
from common.ports import Address
from gateway_s3.auth.sigv2 import SignatureV2
from gateway_s3.config import GatewayConfig

GOOD: dict[str, Any] = {
    "data": "/var/lib/alveary",
    "s3": "127.0.0.1:9000",
    "coordinator": ["[::1]:7000", "c.example:7001"],
    "coordinator_id": "ab" * 32,
}


def test_a_good_table_becomes_values() -> None:
    config = GatewayConfig.parse(GOOD | {"http": "127.0.0.1:0", "domains": ["S3.Example.org"]})
    assert config.s3 == Address("127.0.0.1", 9000)
    assert config.coordinator == (Address("::1", 7000), Address("c.example", 7001))
    assert config.coordinator_id == bytes.fromhex("ab" * 32)
    assert config.domains == ("s3.example.org",)
    assert config.region == "us-east-1"
    assert config.tenants == "tenants"
    assert config.signature_v2 is SignatureV2.PRESIGNED
    assert GatewayConfig.parse(GOOD | {"signature_v2": "off"}).signature_v2 is SignatureV2.OFF
    ported = GatewayConfig.parse(GOOD | {"domains": ["s3.example.org:9000"]})
    assert ported.domains == ("s3.example.org",), "hosts are compared without their port"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("s3", "9000"),
        ("s3", "host:70000"),
        ("s3", "::1:9000"),
        ("http", 5),
        ("coordinator", []),
        ("coordinator", [5]),
        ("coordinator_id", "zz"),
        ("region", "Not A Region"),
        ("domains", "one"),
        ("website_domains", ["a b"]),
        ("domains", ["a b"]),
        ("buffer_budget_bytes", 5),
        ("buffer_budget_bytes", True),
        ("data", ""),
        ("tenants", 1),
        ("signature_v2", "v4"),
        ("signature_v2", True),
        ("colour", "red"),
    ],
)
def test_a_bad_value_or_key_is_named(key: str, value: Any) -> None:
    with pytest.raises(BadConfig) as caught:
        GatewayConfig.parse(GOOD | {key: value})
    assert caught.value.fields["key"] == key


@pytest.mark.parametrize("key", sorted(GOOD))
def test_a_missing_key_is_named(key: str) -> None:
    with pytest.raises(BadConfig) as caught:
        GatewayConfig.parse({name: value for name, value in GOOD.items() if name != key})
    assert caught.value.fields["key"] == key


@pytest.mark.fault("T")
def test_the_certificates_files_lie_in_data_unless_they_are_absolute() -> None:
    assert GatewayConfig.parse(GOOD).tls_files is None
    both = GatewayConfig.parse(GOOD | {"tls_certificate": "a.pem", "tls_key": "/etc/b.pem"})
    data = Path(GOOD["data"])
    assert both.tls_files == (data / "a.pem", Path("/etc/b.pem"))
    assert GatewayConfig.parse(GOOD | {"tls_certificate": "a"}).tls_files == (
        data / "a",
        data / "a",
    )
    with pytest.raises(BadConfig, match="missing_key"):
        GatewayConfig.parse(GOOD | {"tls_key": "b.pem"})
