"""Fetching stripes of one segment: from the best k slots, hedged, checked, replaced when bad.

Source: docs/data-path.md, "Reading".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import outcome
import trio

from common import limits
from common.client.policy.get_plan import slot_order
from common.client.resources import Resources
from common.crypto.digest import leaf, shard_root
from common.crypto.stream import StripeCipher
from common.erasure.code import make_code
from common.erasure.geometry import Geometry
from common.erasure.stripe import decode_stripe
from common.errors import AlvearyError, Corrupt, NotFound, PeerViolation, Refused, Unavailable
from common.ids import DIGEST_BYTES, PeerId
from common.ports import Address
from common.rpc.peers import Answer
from common.wire.messages.base import Endpoint, Reply
from common.wire.messages.cell import ShardRead, ShardUnits
from common.wire.messages.writing import SegmentPlace

EXPIRED_REASONS: Final = frozenset({"order_expired"})
Report = Callable[[SegmentPlace, int, str], None]
"""``report(place, slot, reason)``: a shard is bad or missing. Must not wait."""


@dataclass(frozen=True, slots=True)
class Units:
    """Units of one slot for a run of stripes, joined; ``leaves``: of its whole shard, checked
    against its root, empty where the shard is one unit."""

    data: memoryview
    leaves: bytes


class SegmentReader:
    """Reads stripes of one segment.

    Args:
        resources: shared.
        place: where it lies; checked here.
        endpoints: the table that the place's cells index.
        cipher: of the segment.
        report: told of bad and missing shards.

    Raises:
        PeerViolation: ``bad_geometry``, ``bad_place``: no such segment can exist.
    """

    def __init__(
        self,
        resources: Resources,
        place: SegmentPlace,
        endpoints: tuple[Endpoint, ...],
        cipher: StripeCipher,
        report: Report,
    ) -> None:
        geometry = Geometry.of(place.k, place.n, place.segment_bytes, place.unit_bytes)
        if (
            geometry.shard_bytes != place.shard_bytes
            or len(place.roots) != place.n * DIGEST_BYTES
            or len(place.cells) != place.n
            or len(place.orders) != place.n
            or max(place.cells) >= len(endpoints)
        ):
            raise PeerViolation("bad_place")
        self.geometry = geometry
        self._resources = resources
        self._place = place
        self._cipher = cipher
        self._report = report
        self._code = make_code(place.k, place.n)
        self._cells: list[PeerId] = [endpoints[cell].cell_id for cell in place.cells]
        self._addresses = [
            Address(endpoints[cell].host, endpoints[cell].port) for cell in place.cells
        ]
        self._leaves: dict[int, bytes] = {}
        self._is_gone = tuple(not order for order in place.orders)
        self._bad = list(self._is_gone)
        self.is_expired = False
        """A cell refused an order as too old: look the segment up again."""

    async def read(self, first: int, count: int) -> list[memoryview]:
        """The plaintext of ``count`` stripes from ``first`` on.

        Raises:
            Unavailable: ``too_few_shards``: fewer than k good ones can be reached.
            Corrupt: ``data_lost``: the coordinator knows that fewer than k are left;
                ``stripe_not_authentic``: all leaves hold and the seal does not.
        """
        if len(self._is_gone) - sum(self._is_gone) < self.geometry.k:
            raise Corrupt("data_lost", left=len(self._is_gone) - sum(self._is_gone))
        good: dict[int, Units] = {}
        while True:
            await self._fetch(first, count, good)
            bad, plain = await self._open(first, count, good)
            if not bad:
                return plain
            for slot in bad:
                del good[slot]
                self._is_bad(slot, "leaf_mismatch")

    # --- fetching ----------------------------------------------------------------------------

    async def _fetch(self, first: int, count: int, good: dict[int, Units]) -> None:
        """Fill ``good`` up to k slots."""
        health, now = self._resources.health, trio.current_time()
        penalties = [health.penalty(cell, now) for cell in self._cells]
        usable = [not bad and slot not in good for slot, bad in enumerate(self._bad)]
        order = slot_order(self.geometry.k, penalties, usable)
        missing = self.geometry.k - len(good)
        if missing <= 0:
            return
        if len(order) >= missing:
            await _Race(self, first, count, good, order).run()
        if len(good) < self.geometry.k:
            raise Unavailable("too_few_shards", good=len(good), needed=self.geometry.k)

    def ask(self, slot: int, first: int, count: int, answer: Answer) -> Callable[[], None]:
        """Ask one slot; see :meth:`common.rpc.peers.PeerPool.begin`."""
        geometry = self.geometry
        want_leaves = geometry.stripes > 1 and slot not in self._leaves
        request = ShardRead(self._place.orders[slot], first, count, want_leaves)
        return self._resources.pool.begin(
            self._addresses[slot],
            self._cells[slot],
            request,
            (),
            answer,
            bulk=count * geometry.unit_bytes > limits.INLINE_STRIPE_BYTES,
        )

    def checked(
        self, slot: int, first: int, count: int, reply: Reply, payload: memoryview
    ) -> Units:
        """What a slot answered: of the right shape, and its leaves belong to its root.

        Raises:
            Corrupt: it is not.
        """
        geometry = self.geometry
        assert isinstance(reply, ShardUnits)
        end = min(geometry.shard_bytes, (first + count) * geometry.unit_bytes)
        if len(payload) != end - first * geometry.unit_bytes:
            raise Corrupt("wrong_length")
        if geometry.stripes > 1 and slot not in self._leaves:
            if len(reply.leaves) != geometry.stripes * DIGEST_BYTES:
                raise Corrupt("wrong_leaves")
            root = shard_root(geometry.unit_bytes, geometry.shard_bytes, reply.leaves)
            if root != self._root(slot):
                raise Corrupt("root_mismatch")
            self._leaves[slot] = reply.leaves
        return Units(payload, self._leaves.get(slot, b""))

    def _root(self, slot: int) -> bytes:
        return self._place.roots[slot * DIGEST_BYTES : (slot + 1) * DIGEST_BYTES]

    def answered(self, slot: int, latency_s: float) -> None:
        """A slot gave what was asked."""
        self._resources.health.succeeded(self._cells[slot], latency_s)

    def late(self, slot: int, waited_s: float) -> None:
        """A slot had not answered when others were asked in its stead."""
        self._resources.health.was_late(self._cells[slot], waited_s, trio.current_time())

    def patience_s(self, slot: int) -> float:
        """How long to wait for a slot before a spare is asked too."""
        return self._resources.health.hedge_after_s(self._cells[slot])

    def failed(self, slot: int, error: AlvearyError) -> None:
        """A slot did not give what was asked: remember why, as far as it says something."""
        if isinstance(error, Corrupt | NotFound):
            self._is_bad(slot, error.reason)
        elif isinstance(error, Refused):
            self._bad[slot] = True
            self.is_expired |= error.reason in EXPIRED_REASONS
        else:
            self._resources.health.failed(self._cells[slot], trio.current_time())

    def _is_bad(self, slot: int, reason: str) -> None:
        """Never ask this slot for this segment again, and tell."""
        self._bad[slot] = True
        self._leaves.pop(slot, None)
        self._report(self._place, slot, reason)

    # --- opening -----------------------------------------------------------------------------

    async def _open(
        self, first: int, count: int, good: Mapping[int, Units]
    ) -> tuple[list[int], list[memoryview]]:
        units = dict(good)
        if count * self.geometry.unit_bytes * self.geometry.k <= limits.INLINE_STRIPE_BYTES:
            return self._check_and_decode(first, count, units)
        return await self._resources.workers.run(
            lambda: self._check_and_decode(first, count, units)
        )

    def _check_and_decode(
        self, first: int, count: int, good: Mapping[int, Units]
    ) -> tuple[list[int], list[memoryview]]:
        """All CPU work of a run of stripes: the slots whose leaves do not hold, or else the
        plaintext. Reads this object only; may run in a worker."""
        geometry = self.geometry
        bad: list[int] = []
        stripes: list[dict[int, memoryview]] = [{} for _ in range(count)]
        for slot, units in good.items():
            at = 0
            for index in range(count):
                stripe = first + index
                unit = units.data[at : at + geometry.unit_bytes_of(stripe)]
                at += len(unit)
                if not self._is_authentic(slot, stripe, unit, units.leaves):
                    bad.append(slot)
                    break
                stripes[index][slot] = unit
        if bad:
            return bad, []
        return [], [
            decode_stripe(self._cipher, self._code, geometry, first + index, stripe)
            for index, stripe in enumerate(stripes)
        ]

    def _is_authentic(self, slot: int, stripe: int, unit: memoryview, leaves: bytes) -> bool:
        digest = leaf(unit)
        if leaves:
            return digest == leaves[stripe * DIGEST_BYTES : (stripe + 1) * DIGEST_BYTES]
        geometry = self.geometry
        return shard_root(geometry.unit_bytes, geometry.shard_bytes, digest) == self._root(slot)


class _Race:
    """Asks the first slots of an order, a spare for each that fails or is late, until k are in."""

    def __init__(
        self,
        reader: SegmentReader,
        first: int,
        count: int,
        good: dict[int, Units],
        order: list[int],
    ) -> None:
        self._reader = reader
        self._first = first
        self._count = count
        self._good = good
        self._spares = order[::-1]
        self._needed = reader.geometry.k
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
                # Who is late does not count any more; a spare is asked in its stead.
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
                self._reader.late(slot, now - asked_at)

    def _ask_next(self) -> None:
        slot = self._spares.pop()
        reader, now = self._reader, trio.current_time()
        answer = partial(self._answered, slot)
        try:
            self._calls[slot] = reader.ask(slot, self._first, self._count, answer)
        except AlvearyError as error:
            reader.failed(slot, error)
        else:
            self._asked_at[slot] = now
            self._hedge_at[slot] = now + reader.patience_s(slot)

    def _answered(self, slot: int, result: outcome.Outcome[tuple[Reply, memoryview]]) -> None:
        del self._calls[slot]
        reader = self._reader
        has_failed = False
        try:
            units = reader.checked(slot, self._first, self._count, *result.unwrap())
        except AlvearyError as error:
            has_failed = True
            reader.failed(slot, error)
        else:
            if len(self._good) < self._needed:
                self._good[slot] = units
            reader.answered(slot, trio.current_time() - self._asked_at[slot])
        del self._asked_at[slot]
        self._hedge_at.pop(slot, None)
        # As long as others are still to answer, one more good slot changes no decision.
        if has_failed or len(self._good) >= self._needed or not self._asked_at:
            self._changed.unpark_all()
