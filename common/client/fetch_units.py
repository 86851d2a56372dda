"""Fetching units of one segment: from the best k slots, hedged, checked, replaced when bad.

Nothing here needs a key: units are checked against the roots that the coordinator committed. So
any daemon with orders can fetch: a gateway to open the stripes, a cell to rebuild what is missing.

Source: docs/data-path.md, "Reading"; docs/decisions/0024-keyless-fetching.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeAlias, TypeVar

import outcome
import trio

from common import limits
from common.client.policy.get_plan import slot_order
from common.client.policy.slot_health import SlotHealth
from common.crypto.digest import ShardDigests
from common.data_classes import dataclass
from common.erasure.geometry import Geometry
from common.errors import AlvearyError, Corrupt, NotFound, PeerViolation, Refused, Unavailable
from common.ids import DIGEST_BYTES, PeerId
from common.ports import Address, Workers
from common.reasons import Damage, Outage, Violation
from common.rpc.peer_connection import OnAnswer
from common.rpc.peers import PeerPool
from common.wire.messages.base import Endpoint, Reply
from common.wire.messages.cell import ShardRead, ShardUnits
from common.wire.messages.writing import SegmentPlace

T = TypeVar("T")
Report: TypeAlias = Callable[[SegmentPlace, int, str], None]
"""``report(place, slot, reason)``: a shard is bad or missing. Must not wait."""
Stripe: TypeAlias = dict[int, memoryview]
"""Checked units of one stripe, by slot: k of them."""


@dataclass(frozen=True, slots=True)
class FetchContext:
    """The parts of its process that fetching needs.

    ``pool``: running; connections to cells. ``health``: what this process has seen of them.
    ``workers``: for hashing and for what is done with the units. ``report``: gets bad and missing
    shards. ``least_patience_s``: with a slot that does not answer, before a spare is asked too:
    more for work that nobody waits for, and which should not be done twice.
    """

    pool: PeerPool
    health: SlotHealth
    workers: Workers
    report: Report
    least_patience_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Units:
    """Units of one slot for a run of stripes, joined. ``digests``: of its whole shard, belonging
    to its root; None where the shard is one unit, which needs none."""

    data: memoryview
    digests: ShardDigests | None


class ShardFetcher:
    """Fetches k checked units of each stripe of one segment.

    Args:
        context: shared by all fetchers of a process or a tenant.
        place: where the segment lies; checked here.
        endpoints: the table that the place's cells index.

    Raises:
        PeerViolation: ``bad_geometry``, ``bad_place``: no such segment can exist.
    """

    def __init__(
        self, context: FetchContext, place: SegmentPlace, endpoints: Sequence[Endpoint]
    ) -> None:
        geometry = Geometry.of(
            place.k, place.n, place.segment_bytes, place.unit_bytes, place.shard_bytes
        )
        if (
            len(place.roots) != place.n * DIGEST_BYTES
            or len(place.cells) != place.n
            or len(place.orders) != place.n
            or max(place.cells) >= len(endpoints)
        ):
            raise PeerViolation(Violation.BAD_PLACE)
        self.geometry: Final = geometry
        self._context = context
        self._place = place
        self._cells: list[PeerId] = [endpoints[cell].cell_id for cell in place.cells]
        self._addresses = [
            Address(endpoints[cell].host, endpoints[cell].port) for cell in place.cells
        ]
        self._digests: dict[int, ShardDigests] = {}
        self._bad = [not order for order in place.orders]
        self._left = place.n - sum(self._bad)

    async def fetch(self, first: int, count: int, work: Callable[[Sequence[Stripe]], T]) -> T:
        """Fetch ``count`` stripes from ``first`` on and return what ``work`` makes of them.

        Args:
            first: number of the first stripe.
            count: how many stripes.
            work: gets the stripes in order. It runs in the call that checked them, in a worker
                where they are large, so that no stripe costs a second change of threads.

        Raises:
            Unavailable: ``too_few_shards``: fewer than k good ones can be reached.
            Corrupt: ``data_lost``: the coordinator knows that fewer than k are left.
            Exception: what ``work`` raises.
        """
        if self._left < self.geometry.k:
            raise Corrupt(Damage.DATA_LOST, left=self._left)
        good: dict[int, _Units] = {}
        while True:
            await self._fill(first, count, good)
            checked = partial(self._check_and_work, first, count, dict(good), work)
            if count * self.geometry.unit_bytes * self.geometry.k <= limits.INLINE_STRIPE_BYTES:
                result = checked()
            else:
                result = await self._context.workers.run(checked)
            if not isinstance(result, _Bad):
                return result
            for slot in result.slots:
                del good[slot]
                self._is_bad(slot, "leaf_mismatch")

    async def fetch_slot(self, slot: int, first: int, count: int) -> memoryview:
        """Fetch units of one slot, checked like those of any other.

        Args:
            slot: one that the place has an order for.
            first: number of the first stripe.
            count: how many stripes.

        Raises:
            AlvearyError: the slot did not give them. It may be asked again, or left out.
        """
        asked_at = trio.current_time()
        request = self._request(slot, first, count)
        bulk = count * self.geometry.unit_bytes > limits.INLINE_STRIPE_BYTES
        try:
            reply, payload = await self._context.pool.call(
                self._addresses[slot], self._cells[slot], request, bulk=bulk
            )
            units = self.accept(slot, first, count, reply, payload)
            holds = partial(self._holds, slot, first, count, units)
            if not (await self._context.workers.run(holds) if bulk else holds()):
                raise Corrupt(Damage.LEAF_MISMATCH)
        except AlvearyError as error:
            self.failed(slot, error)
            raise
        self.answered(slot, trio.current_time() - asked_at)
        return units.data

    def leave_out(self, slot: int) -> None:
        """Ask this slot for nothing any more."""
        self._bad[slot] = True

    def _check_and_work(
        self,
        first: int,
        count: int,
        good: dict[int, _Units],
        work: Callable[[Sequence[Stripe]], T],
    ) -> T | _Bad:
        """All CPU work of a run of stripes. Changes nothing here; may run in a worker."""
        bad = [slot for slot, units in good.items() if not self._holds(slot, first, count, units)]
        if bad:
            return _Bad(bad)
        sizes = [self.geometry.unit_bytes_of(stripe) for stripe in range(first, first + count)]
        stripes: list[Stripe] = [{} for _ in sizes]
        for slot, units in good.items():
            data, at = units.data, 0
            for stripe, size in zip(stripes, sizes, strict=True):
                stripe[slot] = data[at : at + size]
                at += size
        return work(stripes)

    def _holds(self, slot: int, first: int, count: int, units: _Units) -> bool:
        """Return whether a slot's units are what its root promises."""
        digests = units.digests
        if digests is None:
            geometry = self.geometry
            whole = ShardDigests.of(geometry.unit_bytes, geometry.shard_bytes, units.data)
            return whole.belong_to(self._root(slot))
        return digests.hold(first, count, units.data)

    # --- slots -------------------------------------------------------------------------------

    async def _fill(self, first: int, count: int, good: dict[int, _Units]) -> None:
        """Fill ``good`` up to k slots."""
        missing = self.geometry.k - len(good)
        if missing <= 0:
            return
        health, now = self._context.health, trio.current_time()
        penalties = [health.penalty(cell, now) for cell in self._cells]
        usable = [not bad and slot not in good for slot, bad in enumerate(self._bad)]
        order = slot_order(self.geometry.k, penalties, usable)
        if len(order) >= missing:
            await _Race(self, first, count, good, order).run()
        if len(good) < self.geometry.k:
            raise Unavailable(Outage.TOO_FEW_SHARDS, good=len(good), needed=self.geometry.k)

    def ask(self, slot: int, first: int, count: int, answer: OnAnswer) -> Callable[[], None]:
        """Ask one slot; see :meth:`common.rpc.peers.PeerPool.begin`."""
        return self._context.pool.begin(
            self._addresses[slot],
            self._cells[slot],
            self._request(slot, first, count),
            (),
            answer,
            bulk=count * self.geometry.unit_bytes > limits.INLINE_STRIPE_BYTES,
        )

    def _request(self, slot: int, first: int, count: int) -> ShardRead:
        want_leaves = self.geometry.stripes > 1 and slot not in self._digests
        return ShardRead(self._place.orders[slot], first, count, want_leaves)

    def accept(
        self, slot: int, first: int, count: int, reply: Reply, payload: memoryview
    ) -> _Units:
        """Take a slot's answer, once it has the right shape and its leaves belong to its root.

        Raises:
            Corrupt: ``wrong_length``, ``root_mismatch``.
        """
        geometry = self.geometry
        assert isinstance(reply, ShardUnits)
        end = min(geometry.shard_bytes, (first + count) * geometry.unit_bytes)
        if len(payload) != end - first * geometry.unit_bytes:
            raise Corrupt(Damage.WRONG_LENGTH)
        digests = self._digests.get(slot)
        if digests is None and geometry.stripes > 1:
            digests = ShardDigests(geometry.unit_bytes, geometry.shard_bytes, reply.leaves)
            if not digests.belong_to(self._root(slot)):
                raise Corrupt(Damage.ROOT_MISMATCH)
            self._digests[slot] = digests
        return _Units(payload, digests)

    def _root(self, slot: int) -> bytes:
        return self._place.roots[slot * DIGEST_BYTES : (slot + 1) * DIGEST_BYTES]

    def answered(self, slot: int, latency_s: float) -> None:
        """Note that a slot gave what was asked."""
        self._context.health.succeeded(self._cells[slot], latency_s)

    def late(self, slot: int, waited_s: float) -> None:
        """Note that a slot had not answered when others were asked in its stead."""
        self._context.health.was_late(self._cells[slot], waited_s, trio.current_time())

    def patience_s(self, slot: int) -> float:
        """Return the time to wait for a slot before a spare is asked too."""
        patience_s = self._context.health.hedge_after_s(self._cells[slot])
        return max(patience_s, self._context.least_patience_s)

    def failed(self, slot: int, error: AlvearyError) -> None:
        """Note that a slot did not give what was asked, as far as the error says something."""
        if isinstance(error, Corrupt | NotFound):
            self._is_bad(slot, error.reason)
        elif isinstance(error, Refused):
            self._bad[slot] = True
        else:
            self._context.health.failed(self._cells[slot], trio.current_time())

    def _is_bad(self, slot: int, reason: str) -> None:
        """Never ask this slot for this segment again, and report it."""
        self._bad[slot] = True
        self._digests.pop(slot, None)
        self._context.report(self._place, slot, reason)


@dataclass(frozen=True, slots=True)
class _Bad:
    """Slots whose units are not what their roots promise."""

    slots: list[int]


class _Race:
    """Asks the first slots of an order, a spare for each that fails or is late, until k are in."""

    def __init__(
        self,
        fetcher: ShardFetcher,
        first: int,
        count: int,
        good: dict[int, _Units],
        order: list[int],
    ) -> None:
        self._fetcher = fetcher
        self._first = first
        self._count = count
        self._good = good
        self._spares = order[::-1]
        self._needed = fetcher.geometry.k
        self._hedge_at: dict[int, float] = {}
        self._asked_at: dict[int, float] = {}
        self._calls: dict[int, Callable[[], None]] = {}
        """By slot that has not answered, how to give its call up."""
        self._changed = trio.lowlevel.ParkingLot()

    async def run(self) -> None:
        try:
            while len(self._good) < self._needed:
                now = trio.current_time()
                self._hedge_at = {slot: at for slot, at in self._hedge_at.items() if at > now}
                # A late slot does not count any more; a spare is asked in its stead.
                while len(self._good) + len(self._hedge_at) < self._needed and self._spares:
                    self._ask_next()
                if not self._asked_at:
                    break
                with trio.move_on_at(min(self._hedge_at.values(), default=float("inf"))):
                    await self._changed.park()
        finally:
            for give_up in self._calls.values():
                give_up()
        now = trio.current_time()
        for slot, asked_at in self._asked_at.items():
            if slot not in self._hedge_at:
                self._fetcher.late(slot, now - asked_at)

    def _ask_next(self) -> None:
        slot = self._spares.pop()
        fetcher, now = self._fetcher, trio.current_time()
        answer = partial(self._answered, slot)
        try:
            self._calls[slot] = fetcher.ask(slot, self._first, self._count, answer)
        except AlvearyError as error:
            fetcher.failed(slot, error)
        else:
            self._asked_at[slot] = now
            self._hedge_at[slot] = now + fetcher.patience_s(slot)

    def _answered(self, slot: int, result: outcome.Outcome[tuple[Reply, memoryview]]) -> None:
        del self._calls[slot]
        fetcher = self._fetcher
        has_failed = False
        try:
            units = fetcher.accept(slot, self._first, self._count, *result.unwrap())
        except AlvearyError as error:
            has_failed = True
            fetcher.failed(slot, error)
        else:
            if len(self._good) < self._needed:
                self._good[slot] = units
            fetcher.answered(slot, trio.current_time() - self._asked_at[slot])
        del self._asked_at[slot]
        self._hedge_at.pop(slot, None)
        # As long as others are still to answer, one more good slot changes no decision.
        if has_failed or len(self._good) >= self._needed or not self._asked_at:
            self._changed.unpark_all()
