"""What every handler works with: the swarm behind it, and the call at hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from common.client.coordinators import Directory
from common.crypto.keys import TenantKey
from common.format.manifest import Manifest
from common.http.records import HttpRequest
from common.ids import BucketId, VersionId
from common.ports import Buffer, Entropy, Log, WallClock, Workers
from common.rpc.budget import ByteBudget
from common.wire.messages.objects import ObjectRecord
from common.wire.messages.writing import NewSegment, Page
from gateway_s3.auth.access_keys import Credential
from gateway_s3.auth.sigv4 import Verified
from gateway_s3.bucket_cache import BucketCache
from gateway_s3.ingest import HashBacklog
from gateway_s3.metrics import GatewayMetrics
from gateway_s3.names import NameCodec
from gateway_s3.request.query import Query
from gateway_s3.request.router import Route


class Written(Protocol):
    """What a write put into the swarm: not yet part of any object."""

    @property
    def size(self) -> int: ...
    @property
    def pages(self) -> tuple[Page, ...]: ...
    @property
    def segments(self) -> tuple[NewSegment, ...]: ...
    @property
    def keys(self) -> tuple[bytes, ...]: ...


class Swarm(Protocol):
    """The native client (``common.client.object_client.SwarmClient``)."""

    async def write(
        self,
        tenant: TenantKey,
        receive: Callable[[], Awaitable[Buffer]],
        size: int,
    ) -> Any: ...

    async def abandon(self, tenant: TenantKey, written: Any) -> None: ...

    def read(
        self,
        tenant: TenantKey,
        bucket: str,
        name: bytes,
        record: ObjectRecord,
        manifest: Manifest,
        first: int,
        last: int,
    ) -> AsyncIterator[Buffer]: ...

    async def copy_pages(
        self,
        tenant: TenantKey,
        bucket: str,
        name: bytes,
        record: ObjectRecord,
        manifest: Manifest,
        first: int,
        last: int,
    ) -> tuple[Page, ...]: ...


@dataclass(frozen=True, slots=True)
class Backend:
    """The parts of one gateway that handlers use."""

    directory: Directory
    swarm: Swarm
    buckets: BucketCache
    names: NameCodec
    workers: Workers
    entropy: Entropy
    clock: WallClock
    log: Log
    metrics: GatewayMetrics
    region: str
    budget: ByteBudget
    """Of all streams of the process; the native client's."""
    gathered: ByteBudget
    """Counts what of bodies has arrived and has no room in the budget yet."""
    domains: tuple[str, ...] = ()
    backlog: HashBacklog = field(default_factory=HashBacklog)

    def now_ms(self) -> int:
        """The gateway's time, unix milliseconds: what is sealed as the time something was made."""
        return int(self.clock.now() * 1000)

    def new_version(self) -> VersionId:
        """A fresh id for a version or a try at a part."""
        return VersionId(self.entropy(16))

    def new_upload(self) -> VersionId:
        """A fresh id for an upload. It begins with the time: uploads of one key are listed in the
        order of their ids, and by S3's rules in the order of their beginnings."""
        return VersionId(self.now_ms().to_bytes(6, "big") + self.entropy(10))

    def new_bucket(self) -> BucketId:
        """A fresh bucket id."""
        return BucketId(self.entropy(16))


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
