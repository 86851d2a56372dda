"""Places for new segments: kept in stock for small objects, fetched in batches for large ones.

Source: docs/data-path.md, "Grants".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import trio

from common import limits
from common.client.abandons import Granted
from common.client.coordinators import CoordinatorClient
from common.client.policy.put_plan import best_grant
from common.client.policy.slot_health import SlotHealth
from common.client.resources import Background
from common.crypto.digest import shard_root
from common.data_classes import dataclass
from common.erasure.geometry import Geometry
from common.errors import AlvearyError, PeerViolation, Refused, Unavailable
from common.ids import PeerId, SegmentId, TenantId, lease_of
from common.ports import Address, Log
from common.reasons import Outage, Refusal, Violation
from common.wire.messages.base import STANDARD_CLASS
from common.wire.messages.writing import Grants, SegmentGrant, WriteStart

LOOKS_AHEAD: Final = 8
"""Grants compared when one is chosen."""
ASKS_AGAIN: Final = 2
"""Batches asked for in the hope of better cells, before what there is is taken."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A place for one segment, checked. Slot i is the cell ``cells[i]`` at ``addresses[i]``."""

    segment_id: SegmentId
    ring: int
    revision: int
    k: int
    n: int
    quorum: int
    home_k: int
    home_n: int
    cells: tuple[PeerId, ...]
    addresses: tuple[Address, ...]
    orders: tuple[bytes, ...]
    good_until: float
    """Monotonic: from then on its orders are too old to begin with."""

    def geometry(self, segment_bytes: int) -> Geometry:
        """Return the cut of a segment of so many bytes: its stripes are those of its home class."""
        return Geometry.plan(self.k, self.n, segment_bytes, self.home_k)

    @property
    def is_at_home(self) -> bool:
        """Return whether the segment is written in its home class."""
        return (self.home_k, self.home_n) == (self.k, self.n)

    def home(self, segment_bytes: int) -> Geometry:
        """Return the cut of a segment of so many bytes in its home class."""
        return Geometry.plan(self.home_k, self.home_n, segment_bytes)

    @property
    def granted(self) -> Granted:
        """Return the proof to abandon it with."""
        slot = next((slot for slot, order in enumerate(self.orders) if order), 0)
        return Granted(self.segment_id, self.ring, self.orders[slot], self.cells[slot])


def home_roots(
    grant: Grant, segment_bytes: int, leaves: Sequence[Sequence[bytes]]
) -> tuple[int, bytes]:
    """Return what a commit says of a segment's home class: its k, and the roots of its shards.

    Args:
        leaves: of each stripe's units in the home class; not used where the segment is in it.
    """
    if grant.is_at_home:
        return 0, b""
    home = grant.home(segment_bytes)
    roots = [
        shard_root(home.unit_bytes, home.shard_bytes, b"".join([each[slot] for each in leaves]))
        for slot in range(home.n)
    ]
    return home.k, b"".join(roots)


class GrantedIds:
    """The segment ids granted lately, so that one granted twice is noticed.

    No key depends on it: the upload key and the number of the try make every segment key unique. A
    repeated id is a broken coordinator all the same, and two segments of one id cannot both live.

    Args:
        most: ids remembered for certain; up to twice as many are held.
    """

    def __init__(self, most: int = limits.SEGMENT_IDS_REMEMBERED) -> None:
        self._most = most
        self._newer: set[SegmentId] = set()
        self._older: set[SegmentId] = set()

    def add(self, grants: Sequence[SegmentGrant]) -> None:
        """Remember the ids of a reply.

        Raises:
            PeerViolation: ``segment_id_repeated``: one of them was granted before, or twice in this
                reply. None of the reply's ids is remembered.
        """
        ids = {grant.segment_id for grant in grants}
        if len(ids) != len(grants) or not (
            ids.isdisjoint(self._newer) and ids.isdisjoint(self._older)
        ):
            raise PeerViolation(Violation.SEGMENT_ID_REPEATED)
        if len(self._newer) + len(ids) > self._most:
            self._older, self._newer = self._newer, set()
        self._newer |= ids


def checked_grants(reply: Grants, asked: WriteStart, now: float) -> list[Grant]:
    """The grants of a reply: at least one, of the lease asked for, no more than asked for.

    Raises:
        PeerViolation: ``bad_grant``: figures that do not fit together or the question.
    """
    cells = [endpoint.cell_id for endpoint in reply.endpoints]
    if not 1 <= len(reply.grants) <= asked.count:
        raise PeerViolation(Violation.BAD_GRANT)
    addresses = [Address(endpoint.host, endpoint.port) for endpoint in reply.endpoints]
    # A third of the life is for the wait in stock, the rest for the upload.
    good_until = now + reply.expires_in_s / 3
    grants = []
    for each in reply.grants:
        places = each.cells
        if (
            not 1 <= each.k <= each.quorum <= each.n <= limits.MAX_SLOTS
            or not each.k <= each.home_k <= each.home_n <= limits.MAX_SLOTS
            or each.home_k % each.k
            or len(places) != each.n
            or len(set(places)) != each.n
            or len(each.orders) != each.n
            or max(places) >= len(cells)
            or lease_of(each.segment_id) != asked.lease
        ):
            raise PeerViolation(Violation.BAD_GRANT)
        grants.append(
            Grant(
                each.segment_id,
                each.ring,
                each.revision,
                each.k,
                each.n,
                each.quorum,
                each.home_k,
                each.home_n,
                tuple([cells[place] for place in places]),
                tuple([addresses[place] for place in places]),
                each.orders,
                good_until,
            )
        )
    return grants


class GrantPool:
    """Grants for small objects of each tenant in each storage class, refilled in the background.

    Args:
        coordinators: asked for grants, and for whether their lease lives.
        health: what is known of cells.
        log: refills that failed.
    """

    def __init__(self, coordinators: CoordinatorClient, health: SlotHealth, log: Log) -> None:
        self._coordinators = coordinators
        self._health = health
        self._log = log
        self._stocks: dict[tuple[TenantId, str], _Stock] = {}
        """By tenant and storage class."""
        self._granted = GrantedIds()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the refills until cancelled."""
        async with trio.open_nursery() as nursery:
            self._background = Background(nursery, self._log)
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._background.close()

    async def take_small(
        self, tenant_id: TenantId, storage_class: str = STANDARD_CLASS, *, fresh: bool = False
    ) -> Grant:
        """A grant for an object of up to SMALL_OBJECT_BYTES, nearly always without waiting.

        Args:
            tenant_id: the writer.
            storage_class: of the object, by its name.
            fresh: take none that is in stock, and drop those: one of them was of no use, perhaps
                because its orders count as expired.

        Raises:
            Unavailable: no coordinator, or ``no_ring``.
            PeerViolation: as :meth:`fetch`.
        """
        stock = tenant_id, storage_class
        held = self._stocks.get(stock)
        if held is None:
            held = self._stocks[stock] = _Stock()
        if fresh:
            held.grants.clear()
        asked = 0
        while True:
            self._tidy(held.grants)
            had = bool(held.grants)
            grant = self._choose(held.grants, anything=asked >= ASKS_AGAIN)
            if len(held.grants) < limits.MAX_STOCKED_GRANTS // 2 and held.refilled is None:
                self._begin_refill(stock, held)
            if grant is not None:
                return grant
            asked += had
            if held.refilled is not None:
                await held.refilled.wait()
                if held.error is not None:
                    raise held.error.again()

    def drop(self, tenant_id: TenantId) -> None:
        """Drop a tenant's stock: rings changed since its grants were given, so that what is written
        with them cannot be committed."""
        for (owner, _), held in self._stocks.items():
            if owner == tenant_id:
                held.grants.clear()

    async def fetch(
        self,
        tenant_id: TenantId,
        count: int,
        segment_bytes: int,
        storage_class: str = STANDARD_CLASS,
    ) -> list[Grant]:
        """Ask a coordinator for ``count`` grants (it may give fewer, but gives one) for segments
        of up to ``segment_bytes`` plaintext bytes in a storage class.

        Raises:
            Unavailable: no coordinator, or ``no_ring``.
            PeerViolation: ``bad_grant``, ``segment_id_repeated``: no coordinator gave grants that
                fit; the connections to those that gave others were dropped.
        """
        assert 1 <= count <= limits.MAX_SEGMENTS_PER_GRANT
        lease = await self._coordinators.lease.number()
        try:
            return await self._ask(
                WriteStart(tenant_id, lease, count, segment_bytes, storage_class)
            )
        except Refused as error:
            if error.reason != Refusal.LEASE_ENDED:
                raise
        self._coordinators.lease.has_ended(lease)
        lease = await self._coordinators.lease.number()
        return await self._ask(WriteStart(tenant_id, lease, count, segment_bytes, storage_class))

    async def _ask(self, request: WriteStart) -> list[Grant]:
        asked_at = trio.current_time()
        grants: list[Grant] = []

        def check(reply: Grants) -> None:
            nonlocal grants
            grants = checked_grants(reply, request, asked_at)
            self._granted.add(reply.grants)

        await self._coordinators.call(request, check=check)
        return grants

    def queue(
        self, tenant_id: TenantId, sizes: Sequence[int], storage_class: str = STANDARD_CLASS
    ) -> GrantQueue:
        """The grants of one large object, for segments of these sizes in bytes."""
        return GrantQueue(self, tenant_id, sizes, storage_class)

    def _begin_refill(self, stock: tuple[TenantId, str], held: _Stock) -> None:
        if not self._background.start(self._refill, stock, held):
            raise Unavailable(Outage.CLIENT_STOPS)
        held.refilled = trio.Event()

    async def _refill(self, stock: tuple[TenantId, str], held: _Stock) -> None:
        assert held.refilled is not None
        held.error = None
        try:
            count = min(limits.MAX_SEGMENTS_PER_GRANT, limits.MAX_STOCKED_GRANTS - len(held.grants))
            tenant_id, storage_class = stock
            held.grants += await self.fetch(
                tenant_id, count, limits.SMALL_OBJECT_BYTES, storage_class
            )
        except AlvearyError as error:
            held.error = error
            self._log.warning("no_grants", error=str(error))
        except Exception:
            held.error = Unavailable(Outage.INTERNAL_ERROR)
            raise
        finally:
            held.refilled.set()
            held.refilled = None

    def _tidy(self, grants: deque[Grant]) -> None:
        """Drop what is too old or of another lease."""
        while grants and not self.is_good(grants[0]):
            grants.popleft()

    def is_good(self, grant: Grant) -> bool:
        """Return whether a write may still begin with the grant."""
        if trio.current_time() >= grant.good_until:
            return False
        return self._coordinators.lease.is_current(lease_of(grant.segment_id))

    def _choose(self, grants: deque[Grant], *, anything: bool) -> Grant | None:
        """Take out the grant with the healthiest cells. Those that cannot reach their quorum are
        dropped, or with ``anything`` taken all the same: suspicion may be wrong."""
        now = trio.current_time()
        health = self._health
        if grants and health.suspects_none(now):
            return grants.popleft()
        while grants:
            seen = [grants[index] for index in range(min(LOOKS_AHEAD, len(grants)))]
            best = best_grant(
                [[health.penalty(cell, now) for cell in grant.cells] for grant in seen],
                [grant.quorum for grant in seen],
            )
            if best is not None:
                del grants[best]
                return seen[best]
            if anything:
                return grants.popleft()
            for _ in seen:
                grants.popleft()
        return None


class _Stock:
    """The grants held for one tenant in one storage class."""

    def __init__(self) -> None:
        self.grants: deque[Grant] = deque()
        self.refilled: trio.Event | None = None
        self.error: AlvearyError | None = None


class GrantQueue:
    """The grants of one large object, some segments ahead. Made by :meth:`GrantPool.queue`."""

    def __init__(
        self, pool: GrantPool, tenant_id: TenantId, sizes: Sequence[int], storage_class: str
    ) -> None:
        self._pool = pool
        self._tenant_id = tenant_id
        self._storage_class = storage_class
        self._sizes = sizes
        self._taken = 0
        self._grants: deque[Grant] = deque()

    async def take(self) -> Grant:
        """The grant of the next segment. Raises as :meth:`GrantPool.fetch`."""
        grant = await self._best(self._sizes[self._taken :])
        self._taken += 1
        return grant

    async def take_again(self) -> Grant:
        """Another grant for the segment last taken, whose upload was lost: none of those that
        were fetched with its own."""
        self._grants.clear()
        return await self._best(self._sizes[self._taken - 1 :])

    async def _best(self, ahead: Sequence[int]) -> Grant:
        pool = self._pool
        for asked in range(ASKS_AGAIN + 1):
            pool._tidy(self._grants)
            if not self._grants:
                count = min(limits.GRANTS_AHEAD, len(ahead))
                self._grants += await self._fetch(count, max(ahead[:count]))
            grant = pool._choose(self._grants, anything=asked == ASKS_AGAIN)
            if grant is not None:
                return grant
        return (await self._fetch(1, max(ahead[:1])))[0]

    async def _fetch(self, count: int, segment_bytes: int) -> list[Grant]:
        return await self._pool.fetch(self._tenant_id, count, segment_bytes, self._storage_class)
