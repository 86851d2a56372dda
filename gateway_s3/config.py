"""The gateway's configuration: parsed once, then passed on as values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, Final

from common import config, limits
from common.config import key
from common.data_classes import dataclass
from common.errors import BadConfig
from common.ids import PeerId
from common.ports import Address
from common.reasons import ConfigFault
from gateway_s3.auth.sigv2 import SignatureV2

_REGION: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_DOMAIN: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?(:[0-9]{1,5})?")
_host_name: Final = config.matching(_DOMAIN, "host names")


def _domain(name: str, value: Any) -> str:
    """A host name, without its port: hosts are compared so."""
    lower = value.lower() if isinstance(value, str) else value
    return str(_host_name(name, lower)).partition(":")[0]


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """Everything an operator can say about a gateway. Relative paths lie in ``data``; the files of
    the certificate are read again when they change."""

    data: str = field(metadata=key(config.path, "The daemon's own directory.", is_path=True))
    s3: Address = field(metadata=key(config.address, "HOST:PORT for S3."))
    coordinator: tuple[Address, ...] = field(
        metadata=key(config.addresses(least=1), "HOST:PORT of a coordinator; may be repeated.")
    )
    coordinator_id: PeerId = field(
        metadata=key(config.peer_id, "The id of the swarm's key, 64 hex digits.")
    )
    http: Address | None = field(
        default=None,
        metadata=key(config.address, "HOST:PORT for metrics and health (nowhere)."),
    )
    tenants: str = field(
        default="tenants",
        metadata=key(config.path, "The directory of tenant key files.", is_path=True),
    )
    region: str = field(
        default="us-east-1",
        metadata=key(
            config.matching(_REGION, "lower-case letters, digits, dashes"),
            "The S3 region's name (us-east-1).",
        ),
    )
    domains: tuple[str, ...] = field(
        default=(),
        metadata=key(
            config.list_of(_domain, "a list of host names"),
            "A host name under which buckets are first labels; may be repeated.",
        ),
    )
    website_domains: tuple[str, ...] = field(
        default=(),
        metadata=key(
            config.list_of(_domain, "a list of host names"),
            "A host name under which buckets are websites; may be repeated.",
        ),
    )
    buffer_budget_bytes: int = field(
        default=limits.GATEWAY_BUFFER_BUDGET_BYTES,
        metadata=key(
            config.size(16 * limits.STRIPE_SEALED_BYTES, 1 << 40),
            "Memory for the data of all requests, 16MiB or more (64MiB).",
        ),
    )
    tenant_requests: int = field(
        default=limits.MAX_TENANT_S3_REQUESTS,
        metadata=key(
            config.whole_number(1, limits.MAX_TENANT_S3_REQUESTS),
            "Requests in flight of one tenant at most (448); fewer while others need places.",
        ),
    )
    tenant_requests_per_s: int | None = field(
        default=None,
        metadata=key(
            config.whole_number(1, limits.MAX_TENANT_REQUESTS_PER_S),
            "Requests of one tenant in a second (no limit).",
        ),
    )
    tenant_bytes_per_s: int | None = field(
        default=None,
        metadata=key(
            config.size(limits.MIN_TENANT_BYTES_PER_S, limits.MAX_TENANT_BYTES_PER_S),
            "Bytes of bodies of one tenant in a second, both ways, 1MiB or more (no limit).",
        ),
    )
    signature_v2: SignatureV2 = field(
        default=SignatureV2.PRESIGNED,
        metadata=key(
            config.one_of(SignatureV2),
            "Where AWS Signature V2 is accepted: off, presigned (URLs) or all.",
        ),
    )
    customer_keys_in_clear: bool = field(
        default=False,
        metadata=key(
            config.boolean,
            "true or false: accept customer keys (SSE-C) without TLS; behind a TLS proxy (false).",
        ),
    )
    lifecycle_day_s: int = field(
        default=limits.LIFECYCLE_DAY_S,
        metadata=key(
            config.whole_number(1, limits.LIFECYCLE_DAY_S),
            "Seconds that lifecycle rules take for a day; less than 86400 is for tests.",
        ),
    )
    webhooks: str = field(
        default="webhooks",
        metadata=key(
            config.path, "The directory of files that name receivers of events.", is_path=True
        ),
    )
    access_log_s: int = field(
        default=limits.ACCESS_LOG_S,
        metadata=key(
            config.whole_number(1, limits.MAX_ACCESS_LOG_S),
            "Seconds between two objects of a bucket's access log (300).",
        ),
    )
    drain_notice_s: int = field(
        default=0,
        metadata=key(
            config.whole_number(0, limits.MAX_DRAIN_NOTICE_S),
            "Seconds between saying in /readyz that it stops, and stopping.",
        ),
    )
    log: str | None = field(
        default=None,
        metadata=key(
            config.path, "A file for log lines, rotated by size (standard error).", is_path=True
        ),
    )
    tls_certificate: str | None = field(
        default=None,
        metadata=key(
            config.path,
            "A PEM file: the certificate for S3 over TLS, and its chain.",
            is_path=True,
        ),
    )
    tls_key: str | None = field(
        default=None,
        metadata=key(
            config.path,
            "A PEM file: the certificate's private key (in the same file).",
            is_path=True,
        ),
    )

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
    def parse(cls, table: Mapping[str, Any]) -> GatewayConfig:
        """Check a parsed TOML table. Raises as :func:`common.config.parse`."""
        parsed = config.parse(cls, table)
        if parsed.tls_key is not None and parsed.tls_certificate is None:
            raise BadConfig(ConfigFault.MISSING_KEY, key="tls_certificate")
        return parsed
