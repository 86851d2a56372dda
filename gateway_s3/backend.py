"""The two arguments of every handler: the object service, and the call at hand."""

from __future__ import annotations

from dataclasses import dataclass

from common.crypto.keys import TenantKey
from common.http.records import HttpRequest
from gateway.object_service import ObjectService
from gateway_s3.auth.access_keys import Credential
from gateway_s3.auth.sigv4 import Verified
from gateway_s3.metrics import GatewayMetrics
from gateway_s3.request.query import Query
from gateway_s3.request.router import Route


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend(ObjectService):
    """The object service of this gateway, and what S3 adds to it. ``domains``: host names under
    which a bucket may stand as the first label."""

    metrics: GatewayMetrics
    region: str
    domains: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Call:
    """One request, routed and proven. ``name``: the stored name of its key."""

    request: HttpRequest
    route: Route
    credential: Credential
    verified: Verified
    tenant: TenantKey
    bucket: str
    name: bytes
    request_id: str

    @property
    def query(self) -> Query:
        """The parameters of its URL."""
        return self.route.query
