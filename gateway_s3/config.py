"""The gateway's configuration: parsed once, then passed on as values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from common import limits
from common.errors import BadConfig
from common.ids import PEER_ID_BYTES, PeerId
from common.ports import Address
from common.reasons import ConfigFault
from gateway_s3.auth.sigv2 import SignatureV2

_REGION: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_DOMAIN: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?(:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """Everything an operator can say about a gateway.

    ``data``: the daemon's own directory. ``s3`` and ``http``: where to listen for S3, and for
    metrics and health (None: nowhere). ``coordinator``: addresses to try; ``coordinator_id``: the
    key they must have. ``tenants``: the directory of tenant key files; a relative path lies in
    ``data``. ``domains``: host names under which a bucket may stand as the first label.
    ``signature_v2``: where AWS Signature V2 is accepted (``off``, ``presigned`` URLs, ``all``).
    ``drain_notice_s``: how long a gateway that is to stop says so in ``/readyz`` before it stops
    listening.
    ``tls_certificate`` and ``tls_key``: PEM files of the certificate (with its chain) and its
    private key, for TLS at ``s3``; without ``tls_key`` the key is in the same file; relative paths
    lie in ``data``; they are read again when they change.
    ``log``: the file of its log lines, rotated by size (None: standard error).
    """

    data: str
    s3: Address
    coordinator: tuple[Address, ...]
    coordinator_id: PeerId
    http: Address | None = None
    tenants: str = "tenants"
    region: str = "us-east-1"
    domains: tuple[str, ...] = ()
    buffer_budget_bytes: int = limits.GATEWAY_BUFFER_BUDGET_BYTES
    signature_v2: SignatureV2 = SignatureV2.PRESIGNED
    drain_notice_s: int = 0
    log: str | None = None
    tls_certificate: str | None = None
    tls_key: str | None = None

    @property
    def tls_files(self) -> tuple[Path, Path] | None:
        """The files of ``tls_certificate`` and its key; None: no TLS."""
        if self.tls_certificate is None:
            return None
        data = Path(self.data)
        return data / self.tls_certificate, data / (self.tls_key or self.tls_certificate)

    @property
    def log_path(self) -> Path | None:
        """The file of ``log``."""
        return None if self.log is None else Path(self.log)

    @classmethod
    def parse(cls, mapping: Mapping[str, Any]) -> GatewayConfig:
        """Check a parsed TOML table.

        Raises:
            BadConfig: ``unknown_key``, ``missing_key`` or ``bad_value``, each with ``key``.
        """
        for key in mapping:
            if key not in cls.__dataclass_fields__:
                raise BadConfig(ConfigFault.UNKNOWN_KEY, key=key)
        given: dict[str, Any] = {
            "data": _text(mapping, "data"),
            "s3": _address(mapping, "s3", _need(mapping, "s3")),
            "coordinator": _addresses(mapping, "coordinator"),
            "coordinator_id": _peer_id(mapping, "coordinator_id"),
        }
        if mapping.get("http") is not None:
            given["http"] = _address(mapping, "http", mapping["http"])
        for key in ("tenants", "log", "tls_certificate", "tls_key"):
            if key in mapping:
                given[key] = _text(mapping, key)
        if "tls_key" in given and "tls_certificate" not in given:
            raise BadConfig(ConfigFault.MISSING_KEY, key="tls_certificate")
        if "region" in mapping:
            given["region"] = _matching(_text(mapping, "region"), "region", _REGION)
        if "domains" in mapping:
            given["domains"] = _domains(mapping["domains"])
        if "buffer_budget_bytes" in mapping:
            given["buffer_budget_bytes"] = _budget(mapping["buffer_budget_bytes"])
        if "signature_v2" in mapping:
            given["signature_v2"] = _signature_v2(mapping["signature_v2"])
        if "drain_notice_s" in mapping:
            given["drain_notice_s"] = _seconds(mapping["drain_notice_s"])
        return cls(**given)


def _need(mapping: Mapping[str, Any], key: str) -> Any:
    if key not in mapping:
        raise BadConfig(ConfigFault.MISSING_KEY, key=key)
    return mapping[key]


def _text(mapping: Mapping[str, Any], key: str) -> str:
    value = _need(mapping, key)
    if not isinstance(value, str) or not value or "\0" in value:
        raise BadConfig(ConfigFault.BAD_VALUE, key=key, wanted="a text")
    return value


def _matching(value: str, key: str, pattern: re.Pattern[str]) -> str:
    if pattern.fullmatch(value) is None:
        raise BadConfig(ConfigFault.BAD_VALUE, key=key, value=value)
    return value


def _address(mapping: Mapping[str, Any], key: str, value: Any) -> Address:
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


def _addresses(mapping: Mapping[str, Any], key: str) -> tuple[Address, ...]:
    value = _need(mapping, key)
    each = [value] if isinstance(value, str | Address) else value
    if not isinstance(each, list | tuple) or not 1 <= len(each) <= 64:
        raise BadConfig(ConfigFault.BAD_VALUE, key=key, wanted="one to 64 addresses")
    return tuple(_address(mapping, key, item) for item in each)


def _peer_id(mapping: Mapping[str, Any], key: str) -> PeerId:
    value = _need(mapping, key)
    if isinstance(value, bytes) and len(value) == PEER_ID_BYTES:
        return PeerId(value)
    try:
        raw = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        raw = b""
    if len(raw) != PEER_ID_BYTES:
        raise BadConfig(ConfigFault.BAD_VALUE, key=key, wanted="64 hex digits")
    return PeerId(raw)


def _domains(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise BadConfig(ConfigFault.BAD_VALUE, key="domains", wanted="a list of host names")
    # Hosts are compared without their port.
    return tuple(_matching(each.lower(), "domains", _DOMAIN).partition(":")[0] for each in value)


def _budget(value: Any) -> int:
    if type(value) is not int or not 16 * limits.STRIPE_SEALED_BYTES <= value <= 1 << 40:
        raise BadConfig(
            ConfigFault.BAD_VALUE, key="buffer_budget_bytes", wanted="16 MiB or more, in bytes"
        )
    return value


def _signature_v2(value: Any) -> SignatureV2:
    if isinstance(value, SignatureV2):
        return value
    try:
        return SignatureV2(value)
    except ValueError:
        raise BadConfig(
            ConfigFault.BAD_VALUE, key="signature_v2", wanted="off, presigned or all"
        ) from None


def _seconds(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= limits.MAX_DRAIN_NOTICE_S:
        raise BadConfig(
            ConfigFault.BAD_VALUE,
            key="drain_notice_s",
            wanted=f"whole seconds, 0 to {limits.MAX_DRAIN_NOTICE_S}",
        )
    return value
