"""One try at writing one segment: n shards uploaded at once, unit by unit.

Source: docs/data-path.md, "Writing".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import trio

from common import limits
from common.client.grants import Grant, home_roots
from common.client.policy.put_plan import PutQuorum, Verdict, holding_back, stall_allowance_s
from common.client.resources import Resources, StripeHold
from common.crypto.digest import shard_root
from common.erasure.geometry import Geometry
from common.erasure.stripe import EncodedStripe
from common.errors import AlvearyError, Refused
from common.rpc.peer_connection import PeerConnection
from common.wire.messages.cell import ShardAbort, ShardAppend, ShardFinish, ShardOpen
from common.wire.messages.writing import NewSegment

STALL_TICK_S: Final = 0.05
"""Interval at which the slots are compared while the upload stands still."""
ABORT_TIMEOUT_S: Final = 2.0


class _Stripe:
    """A stripe that some slots have yet to take."""

    __slots__ = ("hold", "units", "wanted_by")

    def __init__(self, encoded: EncodedStripe, hold: StripeHold, wanted_by: set[int]) -> None:
        self.units = encoded.units
        self.hold = hold
        self.wanted_by = wanted_by


class SegmentUpload:
    """Uploads the shards of one segment. Start :meth:`run` in a nursery, :meth:`push` every
    stripe in order, then :meth:`wait_end`.

    Cells may come and go meanwhile: a slot that fails, or that alone holds the upload back, is
    dropped, down to the quorum.
    """

    def __init__(self, resources: Resources, grant: Grant, geometry: Geometry) -> None:
        now = trio.current_time()
        suspects = resources.health.suspects(grant.cells, now)
        self.grant = grant
        self.geometry = geometry
        self._resources = resources
        self._quorum = PutQuorum(grant.n, grant.quorum, suspects=suspects)
        self._leaves: list[list[bytes]] = [[] for _ in range(grant.n)]
        self._home_leaves: list[Sequence[bytes]] = []
        """Of each stripe."""
        self._window: dict[int, _Stripe] = {}
        self._sent = [0] * grant.n
        self._open_slots = 0
        self._scopes = [trio.CancelScope() for _ in range(grant.n)]
        self._stalled_s = [0.0] * grant.n
        self._begun_at = self._accounted_at = now
        self._blocked = 0
        self._ended = False
        self._segment: NewSegment | None = None
        self._reasons: list[str] = []
        self._ready = trio.lowlevel.ParkingLot()
        """Slots wait here for the next stripe."""
        self._room = trio.lowlevel.ParkingLot()
        """The producer waits here: for room in the window, for the quorum to open, for the end."""
        self._changed = trio.lowlevel.ParkingLot()
        """The supervisor waits here."""

    @property
    def is_lost(self) -> bool:
        """Return whether the quorum cannot be reached any more."""
        return self._ended and self._segment is None

    async def run(self) -> None:
        """Upload until the segment is durable or lost. Never raises an AlvearyError."""
        try:
            async with trio.open_nursery() as nursery:
                for slot in range(self.grant.n):
                    nursery.start_soon(self._upload, slot)
                verdict = await self._supervise()
                nursery.cancel_scope.cancel()
            if verdict is Verdict.DONE:
                self._segment = self._result()
                now = trio.current_time()
                for slot in self._quorum.live():
                    cell = self.grant.cells[slot]
                    self._resources.health.was_cut(cell, now - self._quorum.sent_at, now)
                    self._give_up(slot, "straggler")
            else:
                self._resources.log.warning(
                    "segment_lost",
                    segment=self.grant.segment_id,
                    durable=len(self._quorum.durable),
                    reasons=self._reasons,
                )
        finally:
            self._ended = True
            for stripe in self._window.values():
                stripe.hold.sent()
            self._window.clear()
            self._room.unpark_all()

    async def push(self, encoded: EncodedStripe, hold: StripeHold) -> None:
        """Hand over the next stripe; waits while the window is full. What a lost upload is given
        is dropped."""
        while len(self._window) >= limits.WRITE_WINDOW_STRIPES and not self._ended:
            with self.producer_waits():
                await self._room.park()
        for leaves, leaf in zip(self._leaves, encoded.leaves, strict=True):
            leaves.append(leaf)
        self._home_leaves.append(encoded.home_leaves)
        stripe = len(self._leaves[0]) - 1
        live = self._quorum.live()
        if self._ended or not live:
            hold.sent()
        else:
            self._window[stripe] = _Stripe(encoded, hold, set(live))
            self._ready.unpark_all()
        if stripe == self.geometry.stripes - 1:
            self._quorum.all_sent(trio.current_time())

    async def wait_open(self) -> bool:
        """Wait until the quorum of cells took the upload up; False when it is lost."""
        while self._open_slots < self.grant.quorum and not self._ended:
            with self.producer_waits():
                await self._room.park()
        return not self.is_lost

    async def wait_end(self) -> NewSegment | None:
        """Wait until the segment is durable at its quorum; None when it is lost."""
        while not self._ended:
            await self._room.park()
        return self._segment

    @contextmanager
    def producer_waits(self) -> Iterator[None]:
        """Account for a wait of the producer that ends when slots take stripes: slots that alone
        cause it are charged with it, and cut after a while."""
        self._account()
        self._blocked += 1
        self._changed.unpark_all()
        try:
            yield
        finally:
            self._account()
            self._blocked -= 1

    # --- inside ------------------------------------------------------------------------------

    async def _supervise(self) -> Verdict:
        while True:
            self._account()
            now = trio.current_time()
            verdict, deadline = self._quorum.verdict(now)
            if verdict is not Verdict.WAIT:
                return verdict
            if self._blocked:
                deadline = min(now + STALL_TICK_S, float("inf") if deadline is None else deadline)
            with trio.move_on_at(float("inf") if deadline is None else deadline):
                await self._changed.park()

    def _account(self) -> None:
        """Charge the time since the last look to the slots that hold the producer up."""
        now = trio.current_time()
        passed_s = now - self._accounted_at
        self._accounted_at = now
        if not self._blocked or not self._window or passed_s <= 0:
            return
        backlogs = dict.fromkeys(self._quorum.live(), 0)
        for stripe in self._window.values():
            for slot in stripe.wanted_by:
                backlogs[slot] += 1
        for slot in holding_back(backlogs, self.grant.quorum):
            self._stalled_s[slot] += passed_s
            suspect = slot in self._quorum.suspects
            if self._stalled_s[slot] >= stall_allowance_s(now - self._begun_at, suspect=suspect):
                self._resources.health.failed(self.grant.cells[slot], now)
                self._give_up(slot, "too_slow")

    async def _upload(self, slot: int) -> None:
        """Upload one shard, or give its slot up."""
        grant, geometry, resources = self.grant, self.geometry, self._resources
        cell = grant.cells[slot]
        connection: PeerConnection | None = None
        upload = 0
        if not grant.orders[slot]:
            self._give_up(slot, "cell_removed")
            return
        with self._scopes[slot] as scope:
            try:
                connection = await resources.pool.connection(grant.addresses[slot], cell, bulk=True)
                upload = next(resources.upload_numbers)
                order = grant.orders[slot]
                await connection.call(
                    ShardOpen(order, upload, geometry.unit_bytes, geometry.shard_bytes)
                )
                self._open_slots += 1
                self._room.unpark_all()
                async with trio.open_nursery() as lanes:
                    for _ in range(min(limits.APPENDS_IN_FLIGHT, geometry.stripes)):
                        lanes.start_soon(self._append, slot, connection, upload, scope)
                await connection.call(ShardFinish(upload, self._root(slot)))
                resources.health.answered(cell)
                self._quorum.slot_is_durable(slot, trio.current_time())
            except AlvearyError as error:
                self._failed(slot, error)
            finally:
                if upload and connection is not None and slot not in self._quorum.durable:
                    resources.background.start(_abort, connection, upload)
        if scope.cancelled_caught:
            self._give_up(slot, "cut")
        self._changed.unpark_all()

    async def _append(
        self, slot: int, connection: PeerConnection, upload: int, scope: trio.CancelScope
    ) -> None:
        """One of the lanes of a slot: send the slot's next unit until there are no more. Between
        taking a unit's number and the call there is no checkpoint, so the order holds."""
        try:
            while True:
                number = self._sent[slot]
                if number == self.geometry.stripes:
                    return
                stripe = self._window.get(number)
                if stripe is None:
                    await self._ready.park()
                    continue
                self._sent[slot] += 1
                await connection.call(ShardAppend(upload, number), (stripe.units[slot],))
                stripe.wanted_by.discard(slot)
                self._drop_if_taken(number, stripe)
                if self._sent[slot] == self.geometry.stripes:
                    self._ready.unpark_all()
        except AlvearyError as error:
            self._failed(slot, error)
            scope.cancel()

    def _failed(self, slot: int, error: AlvearyError) -> None:
        if not isinstance(error, Refused):
            self._resources.health.failed(self.grant.cells[slot], trio.current_time())
        self._give_up(slot, str(error))

    def _give_up(self, slot: int, reason: str) -> None:
        """Drop a slot, which will miss its shard. Nothing waits for it from here on."""
        if slot in self._quorum.lost or slot in self._quorum.durable:
            return
        self._quorum.slot_is_lost(slot)
        self._reasons.append(f"{slot}: {reason}")
        self._scopes[slot].cancel()
        for number, stripe in list(self._window.items()):
            stripe.wanted_by.discard(slot)
            self._drop_if_taken(number, stripe)
        self._changed.unpark_all()

    def _drop_if_taken(self, number: int, stripe: _Stripe) -> None:
        if not stripe.wanted_by and self._window.pop(number, None) is not None:
            stripe.hold.sent()
            self._room.unpark_all()

    def _root(self, slot: int) -> bytes:
        geometry = self.geometry
        leaves = b"".join(self._leaves[slot])
        return shard_root(geometry.unit_bytes, geometry.shard_bytes, leaves)

    def _result(self) -> NewSegment:
        geometry = self.geometry
        return NewSegment(
            self.grant.segment_id,
            self.grant.ring,
            self.grant.revision,
            geometry.segment_bytes,
            geometry.unit_bytes,
            geometry.shard_bytes,
            b"".join([self._root(slot) for slot in range(geometry.n)]),
            self._quorum.durable_mask(),
            *home_roots(self.grant, geometry.segment_bytes, self._home_leaves),
        )


async def _abort(connection: PeerConnection, upload: int) -> None:
    """Let the cell drop an unfinished upload now rather than with the connection."""
    try:
        if connection.is_open():
            await connection.call(ShardAbort(upload), timeout_s=ABORT_TIMEOUT_S)
    except AlvearyError:
        # Finished after all, or gone with its connection: either way nothing is left to abort.
        return
