"""The object service of a gateway: what every use case, of whatever protocol, works with.

Source: docs/architecture.md, "Where things are".
"""

from __future__ import annotations

from dataclasses import field

from common.client.coordinators import CoordinatorClient
from common.client.object_client import SwarmClient
from common.data_classes import dataclass
from common.ids import BucketId, VersionId
from common.ports import Entropy, Log, WallClock, Workers
from common.rpc.budget import ByteBudget
from gateway.background import Signal
from gateway.bucket_cache import BucketCache
from gateway.bucket_owners import BucketOwners
from gateway.ingest import HashBacklog
from gateway.key_rings import KeyRings
from gateway.names import NameCodec


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectService:
    """The parts of one gateway that store and find objects.

    ``budget``: of all streams of the process; the native client's. ``gathered`` counts what of
    bodies has arrived and has no room in the budget yet. ``notified``: a notification waits.
    """

    coordinators: CoordinatorClient
    swarm: SwarmClient
    buckets: BucketCache
    owners: BucketOwners
    key_rings: KeyRings
    names: NameCodec
    workers: Workers
    entropy: Entropy
    clock: WallClock
    log: Log
    budget: ByteBudget
    gathered: ByteBudget
    backlog: HashBacklog = field(default_factory=HashBacklog)
    notified: Signal = field(default_factory=Signal)

    def now_ms(self) -> int:
        """The gateway's time, unix milliseconds: what is sealed as the time something was made."""
        return int(self.clock.now() * 1000)

    def new_version(self) -> VersionId:
        """A fresh id for a version or a try at a part."""
        return VersionId(self.entropy(16))

    def new_upload(self) -> VersionId:
        """A fresh id for an upload. It begins with the time: uploads of one key are listed in the
        order of their ids, and so in the order of their beginnings."""
        return VersionId(self.now_ms().to_bytes(6, "big") + self.entropy(10))

    def new_bucket(self) -> BucketId:
        """A fresh bucket id."""
        return BucketId(self.entropy(16))
