"""The common part of all messages: the types of their fields, requests and replies, and a cell's
facts.

Source: docs/protocol.md, "Messages".
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum
from typing import Annotated, ClassVar, Final, TypeAlias

from common import limits
from common.data_classes import dataclass
from common.ids import BucketId, PeerId, SegmentId, TenantId, VersionId
from common.wire.records import Max, Record, Size

Id16: TypeAlias = Annotated[bytes, Size(16)]

Digest: TypeAlias = Annotated[bytes, Size(32)]

Peer: TypeAlias = Annotated[PeerId, Size(32)]

Segment: TypeAlias = Annotated[SegmentId, Size(16)]

Tenant: TypeAlias = Annotated[TenantId, Size(16)]

Bucket: TypeAlias = Annotated[BucketId, Size(16)]

Version: TypeAlias = Annotated[VersionId, Size(16)]

Name: TypeAlias = Annotated[bytes, Max(limits.MAX_NAME_BYTES)]
"""An object name as the NameCodec gives it: opaque, ordered as bytes."""

Sealed: TypeAlias = Annotated[bytes, Max(limits.MAX_SEALED_RECORD_BYTES)]
"""Sealed under the tenant key; opaque to coordinator and cells."""

Summary: TypeAlias = Annotated[bytes, Max(limits.MAX_SUMMARY_BYTES)]
"""A small sealed record that listings carry."""

SealedTags: TypeAlias = Annotated[bytes, Max(limits.MAX_SEALED_TAGS_BYTES)]
"""The tags of a version, sealed apart from it, so that they change without it; empty: none."""

SealedAcl: TypeAlias = Annotated[bytes, Max(limits.MAX_SEALED_ACL_BYTES)]
"""The access control list of a version, sealed apart from it like its tags; empty: none was set."""

SealedClass: TypeAlias = Annotated[bytes, Max(limits.MAX_SEALED_CLASS_BYTES)]
"""The name of the class that a client asked for, sealed apart from the version like its tags;
empty: it asked for none."""

Token: TypeAlias = Annotated[bytes, Max(256)]

Label: TypeAlias = Annotated[str, Max(limits.MAX_LABEL_CHARACTERS)]
CharterBytes: TypeAlias = Annotated[bytes, Max(limits.MAX_CHARTER_BYTES)]

STANDARD_CLASS: Final = "STANDARD"
"""The name of the storage class that coordinators are configured with."""

OrderBytes: TypeAlias = Annotated[bytes, Max(128)]

PositionBytes: TypeAlias = Annotated[bytes, Max(128)]
"""A point of the history of the coordinator's store (docs/protocol.md, "Positions"); may be
empty."""

Positions: TypeAlias = Annotated[tuple[PositionBytes, ...], Max(limits.MAX_POSITIONS_KNOWN)]
"""The furthest that the caller was sent, for each run that it remembers."""

EpochMark: TypeAlias = Annotated[bytes, Max(64)]
"""The mark of an order epoch (docs/protocol.md, "Order epochs"); may be empty."""


Revision: TypeAlias = int
"""Of a bucket's settings, as the store has them now; 0: not said. A gateway that remembers settings
of another revision reads them again."""


class Reply(Record):
    """Base of replies."""

    __slots__ = ()


class Idempotency(Enum):
    """Possible actions of a caller that does not know whether its request was carried out."""

    ASKS = "asks"
    """It changes nothing: retry it, or abandon it."""
    REPEATABLE = "repeatable"
    """Made twice, it does no more than once: an id in it, or what it sets, shows that."""
    ONCE = "once"
    """A second one might do more: the caller has to look at the state first."""


class TenantScope(Enum):
    """The tenants that a connection must be open for when a request is made."""

    NONE = "-"
    NAMED = "one"
    """The tenant in the request."""
    ANY = "any"
    """Some tenant: the request is the caller's own, who shows that it acts for one."""
    ALL = "all"
    """Every tenant that the caller holds the key of: the reply shows which one is concerned."""


class Request(Record):
    """Base of requests: each message says everything that is known of it.

    Attributes:
        code: its number on the wire.
        reply: what answers it.
        idempotency: whether it may be made again.
        tenant_scope: the tenants that the connection must be open for.
    """

    __slots__ = ()
    code: ClassVar[int]
    reply: ClassVar[type[Reply]]
    idempotency: ClassVar[Idempotency]
    tenant_scope: ClassVar[TenantScope]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "code" in vars(cls):  # else the base of some messages
            missing = [name for name in _DECLARED if not hasattr(cls, name)]
            assert not missing, f"{cls.__name__} must declare {missing}"

    @property
    def lane(self) -> Hashable:
        """The lane of the request: those with equal lanes are carried out one after another, in the
        order in which they came on their connection. None: at the same time as any other."""
        return None


_DECLARED: Final = ("reply", "idempotency", "tenant_scope")


@dataclass(frozen=True, slots=True)
class TenantRequest(Request):
    """Base of requests on behalf of one tenant."""

    tenant_id: Tenant
    tenant_scope: ClassVar[TenantScope] = TenantScope.NAMED


@dataclass(frozen=True, slots=True)
class Done(Reply):
    """Nothing to say but that it is done (and durable, where that applies)."""


@dataclass(frozen=True, slots=True)
class Endpoint(Record):
    """The address of a cell."""

    cell_id: Peer
    host: Label
    port: int


@dataclass(frozen=True, slots=True)
class Ping(Request):
    """Is anyone there?"""

    code: ClassVar[int] = 1
    reply: ClassVar[type[Reply]] = Done
    idempotency: ClassVar[Idempotency] = Idempotency.ASKS
    tenant_scope: ClassVar[TenantScope] = TenantScope.NONE


@dataclass(frozen=True, slots=True)
class CharterShown(Reply):
    """The latest charter that the answerer has seen; empty: none."""

    charter: CharterBytes = b""


@dataclass(frozen=True, slots=True)
class CharterExchange(Request):
    """Show the latest charter that the caller has seen, and get that of the answerer: which
    coordinators the swarm has (docs/charter-format.md)."""

    charter: CharterBytes = b""
    code: ClassVar[int] = 2
    reply: ClassVar[type[Reply]] = CharterShown
    idempotency: ClassVar[Idempotency] = Idempotency.REPEATABLE
    tenant_scope: ClassVar[TenantScope] = TenantScope.NONE


@dataclass(frozen=True, slots=True)
class CellFacts(Reply):
    """The facts that a cell reports of itself."""

    capacity_bytes: int
    """The owner's limit on what this cell may use."""
    used_bytes: int
    """Bytes of the file system in volumes and index."""
    free_bytes: int
    """Bytes that it can still take: the lesser of what the limit and the file system leave."""
    shards: int
    live_bytes: int
    """Shard bytes of live shards."""
    read_only: bool
    read_only_reason: Label = ""
    medium: Annotated[bytes, Max(16)] = b""
    """Names the file system, so that what cells share of it is counted once; empty: unknown."""
    medium_total_bytes: int = 0
    medium_free_bytes: int = 0
    """Of the file system, the reserve that the cell leaves alone included."""
    lost_shards: int = 0
    """Held by volumes that were gone at a start, index and all; until an operator looked at it."""
    disk: Annotated[tuple[int, ...], Max(limits.MAX_DISK_FIGURES)] = ()
    """The reports of its disk, in the order of :class:`common.disk_facts.DiskFacts`, each figure
    one more than it is; 0, and what is missing, is unknown."""


@dataclass(frozen=True, slots=True)
class ShardName(Record):
    """One slot's shard of one segment."""

    segment_id: Segment
    slot: int
