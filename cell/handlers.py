"""Handlers of a cell's requests: orders are checked here, and uploads belong to their connection.

Source: docs/protocol.md, "Messages".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final

import trio

from cell.background_turns import BackgroundTurns
from cell.metrics import CellMetrics
from cell.order_epoch import SeenEpoch
from cell.owner_rules import OwnerRules
from cell.rescuers import Rescuers
from cell.session import Caller, Handler
from cell.storage.incoming import IncomingShard
from cell.storage.room_policy import may_reserve
from cell.storage.shard_store import ShardStore
from cell.storage.shards import ShardKey
from common import limits
from common.crypto.orders import Order, OrderAction, check, claimed_action, opened
from common.crypto.rescue import is_rescue_order
from common.errors import NotFound, Refused, Unavailable
from common.ids import PeerId
from common.reasons import Absence, Outage, Refusal
from common.rpc.caller import Answer
from common.wire.messages.base import Done, Request
from common.wire.messages.cell import (
    CellFactsGet,
    ShardAbort,
    ShardAppend,
    ShardFinish,
    ShardOpen,
    ShardPut,
    ShardRead,
    ShardUnits,
)

UPLOAD_IDLE_S: Final = 120.0
"""An upload that nobody goes on with for so long is dropped."""


class Handlers:
    """Answers the requests of callers.

    Args:
        order_time: seconds, by which orders expire.
        order_key: the key of orders; None as long as the coordinator has not sent it.
        seen_epoch: orders of earlier coordinators are refused.
        background: hears of readers and writers, and lets reads for rebuilds wait.
        owner_rules: hear of all bytes of shards, and let callers wait for the line.
        rescuers: may read without an order.
    """

    def __init__(
        self,
        store: ShardStore,
        order_time: Callable[[], float],
        order_key: Callable[[], bytes | None],
        seen_epoch: SeenEpoch,
        metrics: CellMetrics,
        background: BackgroundTurns,
        owner_rules: OwnerRules,
        rescuers: Rescuers,
    ) -> None:
        self._store = store
        self._order_time = order_time
        self._order_key = order_key
        self._seen_epoch = seen_epoch
        self._metrics = metrics
        self._background = background
        self._owner_rules = owner_rules
        self._rescuers = rescuers
        self._all: dict[IncomingShard, tuple[dict[int, IncomingShard], int, PeerId]] = {}
        self._of_caller: dict[PeerId, dict[IncomingShard, None]] = {}
        self._begun = trio.Event()

    def by_request(self) -> Mapping[type[Request], Handler]:
        """For :class:`common.rpc.server.PeerServer`."""
        return {
            ShardPut: self.put,
            ShardOpen: self.open,
            ShardAppend: self.append,
            ShardFinish: self.finish,
            ShardAbort: self.abort,
            ShardRead: self.read,
            CellFactsGet: self.facts,
        }

    def recognise(self, caller: Caller, request: Request) -> None:
        """Introduce a caller that shows an order which a coordinator gave it, be it expired, or a
        rescue pass."""
        if not isinstance(request, ShardPut | ShardOpen | ShardRead):
            return
        key = self._order_key()
        with suppress(Refused):  # the handler says why
            if is_rescue_order(request.order):
                self._rescuers.shard(caller, request.order)
                return
            if key is None:
                return
            opened(key, request.order, caller=caller.peer_id)
            caller.introduce(caller.peer_id)

    def turn(self, caller: Caller, request: ShardRead) -> Awaitable[None] | None:
        """Return what a read has to wait for before it is carried out: each, until the line is
        free, where that is limited; one for a rebuild, until readers and writers leave time for it.
        """
        is_for_rebuild = claimed_action(request.order) == OrderAction.REBUILD
        if not (is_for_rebuild or self._owner_rules.limits_up):
            return None
        return self._turn_to_read(caller, request, is_for_rebuild=is_for_rebuild)

    async def _turn_to_read(
        self, caller: Caller, request: ShardRead, *, is_for_rebuild: bool
    ) -> None:
        action = OrderAction.REBUILD if is_for_rebuild else OrderAction.GET
        _, key = self._check_read(caller, request.order, action)
        if is_for_rebuild:
            self._owner_rules.check_repair()
        entry = await self._store.index.find(key)
        if entry is None:
            return
        at_most = min(request.count * entry.unit_bytes, limits.MAX_UNITS_PER_READ_BYTES)
        wanted = min(at_most, entry.shard_bytes)
        if is_for_rebuild:
            await self._background.turn_to_read(wanted)
        await self._owner_rules.wait_up(wanted)

    def _check(self, caller: Caller, order: bytes, *actions: OrderAction) -> tuple[Order, ShardKey]:
        key = self._order_key()
        if key is None:
            raise Unavailable(Outage.NOT_READY)
        now = self._order_time()
        checked = check(
            key,
            order,
            actions=actions,
            caller=caller.peer_id,
            now=now,
            seen_epoch=self._seen_epoch.epoch,
        )
        return checked, (checked.segment_id, checked.slot)

    def _check_read(
        self, caller: Caller, order: bytes, *actions: OrderAction
    ) -> tuple[OrderAction, ShardKey]:
        if is_rescue_order(order):
            return OrderAction.GET, self._rescuers.shard(caller, order)
        checked, key = self._check(caller, order, *actions)
        return checked.action, key

    async def put(self, caller: Caller, request: ShardPut, payload: memoryview) -> Answer:
        """Store a whole shard."""
        order, key = self._check(caller, request.order, OrderAction.PUT)
        if len(payload) > order.shard_bytes:
            raise Refused(Refusal.ORDER_EXCEEDED, most=order.shard_bytes)
        self._background.served()
        await self._take(payload)
        await self._store.put(key, request.unit_bytes, request.root, payload)
        self._metrics.wrote(len(payload))
        return Done()

    async def open(self, caller: Caller, request: ShardOpen, payload: memoryview) -> Answer:
        """Begin an upload."""
        order, key = self._check(caller, request.order, OrderAction.PUT)
        if request.shard_bytes > order.shard_bytes:
            raise Refused(Refusal.ORDER_EXCEEDED, most=order.shard_bytes)
        uploads = caller.session.uploads
        if request.upload in uploads:
            raise Refused(Refusal.UPLOAD_NUMBER_TAKEN, upload=request.upload)
        self._check_room(caller.peer_id, len(uploads), request.shard_bytes)
        upload = await self._store.begin_upload(key, request.unit_bytes, request.shard_bytes)
        uploads[request.upload] = upload
        self._all[upload] = (uploads, request.upload, caller.peer_id)
        self._of_caller.setdefault(caller.peer_id, {})[upload] = None
        self._begun.set()
        return Done()

    def _check_room(self, caller: PeerId, on_connection: int, shard_bytes: int) -> None:
        """Check that a caller may have one more upload.

        Raises:
            Unavailable: ``too_many_uploads``, ``too_much_reserved``.
        """
        own = self._of_caller.get(caller, {})
        if (
            len(self._all) >= limits.MAX_UPLOADS
            or len(own) >= limits.MAX_UPLOADS_PER_CALLER
            or on_connection >= limits.MAX_UPLOADS_PER_CONNECTION
        ):
            raise Unavailable(Outage.TOO_MANY_UPLOADS)
        if not may_reserve(
            shard_bytes,
            own=sum(upload.unfilled_bytes for upload in own),
            total=sum(upload.unfilled_bytes for upload in self._all),
            free=self._store.space.free_bytes,
        ):
            raise Unavailable(Outage.TOO_MUCH_RESERVED)

    async def append(self, caller: Caller, request: ShardAppend, payload: memoryview) -> Answer:
        """Take the next unit of an upload; if that fails, the upload is over."""
        upload = self._upload(caller, request.upload)
        self._background.served()
        is_taken = False
        try:
            await self._take(payload)
            await upload.append(request.unit, payload)
            is_taken = True
        finally:
            if not is_taken:
                self._drop(upload)
        self._metrics.wrote(len(payload))
        return Done()

    async def finish(self, caller: Caller, request: ShardFinish, payload: memoryview) -> Answer:
        """End an upload: the shard is durable, or nothing of it is kept."""
        upload = self._upload(caller, request.upload)
        try:
            await upload.finish(request.root)
        finally:
            self._drop(upload)
        return Done()

    async def abort(self, caller: Caller, request: ShardAbort, payload: memoryview) -> Answer:
        """Drop an upload; fine if there is none."""
        upload = caller.session.uploads.get(request.upload)
        if upload is not None:
            self._drop(upload)
        return Done()

    async def read(self, caller: Caller, request: ShardRead, payload: memoryview) -> Answer:
        """Read units."""
        action, key = self._check_read(caller, request.order, OrderAction.GET, OrderAction.REBUILD)
        if action is OrderAction.GET:
            self._background.served()
        entry, data, leaves = await self._store.read(
            key, request.first, request.count, want_leaves=request.want_leaves
        )
        self._metrics.read(len(data))
        self._owner_rules.moved(len(data) + len(leaves))
        return ShardUnits(entry.shard_bytes, entry.unit_bytes, leaves), [data]

    async def facts(self, caller: Caller, request: CellFactsGet, payload: memoryview) -> Answer:
        """Return the cell's facts. They are not secret, so any caller that has proved a key may
        ask."""
        return self._owner_rules.tell(await self._store.facts())

    async def _take(self, payload: memoryview) -> None:
        """Count bytes that a writer has sent, and let the line have its time for them.

        Raises:
            Unavailable: ``too_busy``.
        """
        self._owner_rules.moved(len(payload))
        await self._owner_rules.wait_down(len(payload))

    def _upload(self, caller: Caller, number: int) -> IncomingShard:
        upload = caller.session.uploads.get(number)
        if upload is None:
            raise NotFound(Absence.NO_SUCH_UPLOAD, upload=number)
        return upload

    def _drop(self, upload: IncomingShard) -> None:
        upload.abort()
        known = self._all.pop(upload, None)
        if known is not None:
            uploads, number, caller = known
            del uploads[number]
            own = self._of_caller[caller]
            del own[upload]
            if not own:
                del self._of_caller[caller]

    async def end_session(self, caller: Caller) -> None:
        """Drop the uploads of a connection that has ended."""
        for upload in list(caller.session.uploads.values()):
            self._drop(upload)

    async def run(self) -> None:
        """Drop uploads that nobody goes on with, until cancelled."""
        while True:
            if not self._all:
                self._begun = trio.Event()
                await self._begun.wait()
            await trio.sleep(UPLOAD_IDLE_S / 4)
            now = trio.current_time()
            for upload in list(self._all):
                if not upload.is_busy and now - upload.last_used > UPLOAD_IDLE_S:
                    self._drop(upload)

    @property
    def open_uploads(self) -> int:
        """The number of open uploads."""
        return len(self._all)
