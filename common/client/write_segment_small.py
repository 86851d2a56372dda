"""Writing a small segment: every shard in one request.

Source: docs/data-path.md, "Writing".
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import outcome
import trio

from common import limits
from common.client.grants import Grant, home_roots
from common.client.policy.put_plan import PutQuorum, Verdict
from common.client.resources import Resources
from common.crypto.digest import shard_root
from common.erasure.geometry import Geometry
from common.erasure.stripe import EncodedStripe
from common.errors import AlvearyError, Refused
from common.wire.messages.base import Reply
from common.wire.messages.cell import ShardPut
from common.wire.messages.writing import NewSegment

assert limits.SMALL_OBJECT_BYTES + 4096 <= limits.MAX_FRAME_PAYLOAD_BYTES, (
    "a shard at k = 1 fits a request"
)


class WholeWrite:
    """One try at writing all shards of a small segment; slots that fail are lost, down to the
    quorum.

    Args:
        encoded: the segment's stripes, in order.
    """

    def __init__(
        self, resources: Resources, grant: Grant, geometry: Geometry, encoded: list[EncodedStripe]
    ) -> None:
        now = trio.current_time()
        suspects = resources.health.suspects(grant.cells, now)
        self._resources = resources
        self._grant = grant
        self._geometry = geometry
        self._encoded = encoded
        self._quorum = PutQuorum(grant.n, grant.quorum, suspects=suspects, sent_at=now)
        self._calls: dict[int, Callable[[], None]] = {}
        """By slot that has not answered, how to give its call up."""
        self._changed = trio.lowlevel.ParkingLot()
        self._roots = [
            shard_root(
                geometry.unit_bytes,
                geometry.shard_bytes,
                b"".join([stripe.leaves[slot] for stripe in encoded]),
            )
            for slot in range(grant.n)
        ]

    async def run(self) -> NewSegment | None:
        """Write; None when the quorum is lost."""
        grant, geometry, quorum = self._grant, self._geometry, self._quorum
        try:
            for slot in range(grant.n):
                self._put(slot)
            while True:
                verdict, deadline = quorum.verdict(trio.current_time())
                if verdict is not Verdict.WAIT:
                    break
                if deadline is None:
                    await self._changed.park()
                else:
                    with trio.move_on_at(deadline):
                        await self._changed.park()
        finally:
            for give_up in self._calls.values():
                give_up()
        if verdict is Verdict.LOST:
            return None
        now = trio.current_time()
        for slot in quorum.live():
            cell = grant.cells[slot]
            self._resources.health.was_cut(cell, now - quorum.sent_at, now)
            self._resources.log.warning("shard_missed", cell=cell, slot=slot, error="straggler")
        return NewSegment(
            grant.segment_id,
            grant.ring,
            grant.revision,
            geometry.segment_bytes,
            geometry.unit_bytes,
            geometry.shard_bytes,
            b"".join(self._roots),
            quorum.durable_mask(),
            *home_roots(grant, geometry.segment_bytes, [e.home_leaves for e in self._encoded]),
        )

    def _put(self, slot: int) -> None:
        grant, resources = self._grant, self._resources
        if not grant.orders[slot]:
            self._quorum.slot_is_lost(slot)
            return
        request = ShardPut(grant.orders[slot], self._geometry.unit_bytes, self._roots[slot])
        payload = [stripe.units[slot] for stripe in self._encoded]
        try:
            self._calls[slot] = resources.pool.begin(
                grant.addresses[slot],
                grant.cells[slot],
                request,
                payload,
                partial(self._answered, slot),
            )
        except AlvearyError as error:
            self._failed(slot, error)

    def _answered(self, slot: int, result: outcome.Outcome[tuple[Reply, memoryview]]) -> None:
        del self._calls[slot]
        try:
            result.unwrap()
        except AlvearyError as error:
            self._failed(slot, error)
        else:
            self._resources.health.answered(self._grant.cells[slot])
            self._quorum.slot_is_durable(slot, trio.current_time())
        if self._quorum.verdict(trio.current_time())[0] is not Verdict.WAIT or (
            self._quorum.quorum_at is not None
        ):
            self._changed.unpark_all()

    def _failed(self, slot: int, error: AlvearyError) -> None:
        resources, cell = self._resources, self._grant.cells[slot]
        if not isinstance(error, Refused):
            resources.health.failed(cell, trio.current_time())
        resources.log.warning("shard_missed", cell=cell, slot=slot, error=str(error))
        self._quorum.slot_is_lost(slot)
