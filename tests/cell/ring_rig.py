"""One ring of whole cells, and a coordinator that remembers in memory what a real one does of
segments, holders, sources, missing and suspected shards."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import trio
from cell_rig import root_of

from cell.config import CellConfig
from cell.service import RunningCell, serve
from common.crypto.identity import KeyPair
from common.crypto.orders import Order, OrderAction, cell_order_key, issue
from common.erasure.code import make_code
from common.erasure.geometry import Geometry
from common.errors import Unavailable
from common.format.token import JoinToken, TokenAddress, encode_token
from common.ids import SegmentId
from common.limits import CELL_BUFFER_BUDGET_BYTES, MAX_SLOTS
from common.ports import Address
from common.reasons import Outage
from common.rpc.peers import PeerPool
from common.rpc.server import PeerServer
from common.wire import messages as m
from common.wire.messages.membership import COMMITTED, GARBAGE, PENDING
from sim.http import SimTransport
from sim.world import SimNode, SimWorld

SECRET = b"swarm secret that nobody else has"
K, N = 4, 6
RUN = b"r" * 16

Key = tuple[SegmentId, int]


def segment_id(number: int) -> SegmentId:
    return SegmentId(number.to_bytes(16, "big"))


@dataclass
class Segment:
    """A committed segment, and what its shards must be."""

    segment_id: SegmentId
    geometry: Geometry
    shards: list[bytes]

    @property
    def roots(self) -> list[bytes]:
        return [root_of(shard, self.geometry.unit_bytes) for shard in self.shards]


def make_segment(number: int, size: int) -> Segment:
    geometry = Geometry.plan(K, N, size)
    code, chance = make_code(K, N), random.Random(number)
    shards = [b""] * N
    for stripe in range(geometry.stripes):
        unit = geometry.unit_bytes_of(stripe)
        sealed = memoryview(chance.randbytes(K * unit))
        units = [sealed[at : at + unit] for at in range(0, K * unit, unit)]
        for slot, each in enumerate([*units, *code.encode(sealed, unit)]):
            shards[slot] += bytes(each)
    return Segment(segment_id(number), geometry, shards)


@dataclass
class RingCell:
    """One cell: its node, and what runs there."""

    node: SimNode
    running: RunningCell | None = None
    nursery: trio.Nursery | None = None
    order_key: bytes = b""
    requests: list[m.Request] = field(default_factory=list)

    @property
    def cell_id(self) -> Any:
        assert self.running is not None
        return self.running.peer_id

    @property
    def store(self) -> Any:
        assert self.running is not None
        return self.running.store

    async def holds(self, segment: Segment, slot: int) -> bool:
        """Whether the right shard of a slot is here, whole."""
        entry = await self.store.index.find((segment.segment_id, slot))
        if entry is None or entry.bad:
            return False
        units = -(-entry.shard_bytes // entry.unit_bytes)
        data = b""
        for first in range(units):
            data += (
                await self.store.read((segment.segment_id, slot), first, 1, want_leaves=False)
            )[1]
        return data == segment.shards[slot]


class RingRig:
    """Cells ``cell-0`` and so on, of which the first N hold the slots of the ring by number."""

    def __init__(self, cells: int = N, **config: Any) -> None:
        self.swarm = SimWorld(1)
        self.node = self.swarm.node("coordinator")
        self.identity = KeyPair.generate(self.node.world.entropy)
        self.writer = KeyPair.generate(self.swarm.node("writer").world.entropy)
        self.bandwidth: int | None = config.pop("bandwidth", None)
        """Of background work: less than a configuration may say."""
        self.config = config
        self.cells = [RingCell(self.swarm.node(f"cell-{number}")) for number in range(cells)]
        self.holders = list(range(N))
        self.sources: dict[int, int] = {}
        self.segments: dict[SegmentId, Segment] = {}
        self.garbage: set[SegmentId] = set()
        self.missing: dict[Key, bool] = {}
        """Whether the source lacks it too."""
        self.suspects: set[Key] = set()
        self.lost: list[Key] = []
        self.settled: list[Key] = []
        self.asked: list[m.MissingGet] = []
        self.reported: dict[int, m.CellFacts] = {}
        """The facts of the last heartbeat, by the cell's number."""
        self.is_silent = False
        self.interval_s = 5
        self.intercept: dict[str, Any] = {}
        """By the name of a request, what answers in the place of this rig."""
        self.settle_fault: Any = None
        self.action = OrderAction.REBUILD
        self.page = 1000
        self.history: dict[str, Any] = {"run_id": RUN}
        self.last_transaction = 1000
        """Of every run that a cell names: less than it has seen, in a store that is older."""

    # --- running ---------------------------------------------------------------------------

    async def run(self, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        world = self.node.world
        handlers = {
            m.CellJoin: self._join,
            m.Heartbeat: self._heartbeat,
            m.Settle: self._settle,
            m.ShardsLost: self._lost,
            m.MissingGet: self._missing,
            m.ExpectedGet: self._expected,
        }
        server = PeerServer(
            self.identity,
            {kind: self._answering(handler) for kind, handler in handlers.items()},
            entropy=world.entropy,
            log=world.log,
            buffer_budget_bytes=CELL_BUFFER_BUDGET_BYTES,
            new_session=lambda: None,
        )
        listener = await world.network.listen(Address("coordinator", 7000), identity=self.identity)
        writer = self.swarm.node("writer").world
        self.pool = PeerPool(
            writer.network,
            self.writer,
            connections_per_peer=1,
            chance=writer.chance,
            log=writer.log,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve, listener)
            await nursery.start(self.pool.run)
            self.nursery = nursery
            for cell in self.cells:
                await self.start(cell)
            await trio.sleep(1)
            task_status.started()
            await trio.sleep_forever()

    async def start(self, cell: RingCell, **changes: Any) -> None:
        """Begin a life of a cell."""
        token = JoinToken(
            1, "cell", "sim", (TokenAddress("coordinator", 7000),), self.identity.peer_id, b"s" * 16
        )
        given = {
            "data": ".",
            "listen": f"{cell.node.name}:7000",
            "http": f"{cell.node.name}:7001",
            "token": encode_token(token),
            "reserve_bytes": 0,
            "volume_bytes": 4 << 20,
            **self.config,
            **changes,
        }

        async def live(*, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
            died = cell.node.died
            async with trio.open_nursery() as nursery:
                cell.nursery = nursery
                config = CellConfig.parse(given)
                if self.bandwidth is not None:
                    config = replace(config, repair_bandwidth=self.bandwidth)
                cell.running = await nursery.start(serve, cell.node.world, config)
                task_status.started()
                await died.wait()
                nursery.cancel_scope.cancel()

        await self.nursery.start(live)

    async def crash(self, cell: RingCell, *, power: bool = True) -> None:
        """End a life of a cell."""
        cell.node.crash(power=power)
        for _ in range(3):
            await trio.lowlevel.checkpoint()
        await trio.sleep(0.1)

    async def metric(self, cell: RingCell, name: str) -> float:
        """A figure of a cell's metrics, of all labels together."""
        network = self.swarm.node("watcher").world.network
        async with httpx.AsyncClient(transport=SimTransport(network), timeout=60) as client:
            reply = await client.get(f"http://{cell.node.name}:7001/metrics")
        lines = [
            line for line in reply.text.splitlines() if line.startswith(f"alveary_cell_{name}")
        ]
        return sum(float(line.split()[-1]) for line in lines)

    # --- writing ---------------------------------------------------------------------------

    async def write(self, number: int, size: int, *, without: Sequence[int] = ()) -> Segment:
        """Commit a segment whose shards all slots have but those ``without``."""
        segment = make_segment(number, size)
        for slot, shard in enumerate(segment.shards):
            if slot not in without:
                await self.put(self.cells[self.holders[slot]], segment, slot, shard)
        self.segments[segment.segment_id] = segment
        for slot in without:
            self.missing[segment.segment_id, slot] = True
        return segment

    async def put(self, cell: RingCell, segment: Segment, slot: int, shard: bytes) -> None:
        """Store a shard on a cell's disk, past its handlers."""
        store, unit = cell.store, segment.geometry.unit_bytes
        key = (segment.segment_id, slot)
        if len(shard) <= unit:
            await store.put(key, unit, root_of(shard, unit), memoryview(shard))
            return
        upload = await store.begin_upload(key, unit, len(shard))
        for at in range(0, len(shard), unit):
            await upload.append(at // unit, memoryview(shard)[at : at + unit])
        await upload.finish(root_of(shard, unit))

    def move(self, slot: int, target: int) -> None:
        """Give a slot to another cell: its shards are missing there."""
        self.sources[slot] = self.holders[slot]
        self.holders[slot] = target
        for segment in self.segments:
            self.missing.setdefault((segment, slot), False)

    def delete(self, segment: Segment) -> None:
        """Delete a segment: whatever cells have of it is garbage."""
        del self.segments[segment.segment_id]
        self.garbage.add(segment.segment_id)
        for slot in range(MAX_SLOTS):
            self.missing.pop((segment.segment_id, slot), None)
            self.suspects.discard((segment.segment_id, slot))

    async def until(self, is_so: Any, within_s: float = 600.0) -> None:
        """Wait until something is so, in simulated time."""
        end = trio.current_time() + within_s
        while True:
            answer = is_so()
            if hasattr(answer, "__await__"):
                answer = await answer
            if answer:
                return
            assert trio.current_time() < end, "it never was so"
            await trio.sleep(0.5)

    def said(self, cell: RingCell, event: str) -> int:
        """How often a cell logged an event."""
        return len(self.facts(cell, event))

    def facts(self, cell: RingCell, event: str) -> list[str]:
        """What a cell logged under an event."""
        return [
            each.facts
            for each in self.swarm.trace.events
            if each.node == cell.node.name and each.event.removeprefix("warning: ") == event
        ]

    # --- answering -------------------------------------------------------------------------

    def _answering(self, handler: Any) -> Any:
        async def answer(caller: Any, request: Any, payload: memoryview) -> Any:
            if self.is_silent:
                raise Unavailable(Outage.TOO_BUSY)
            chosen = self.intercept.get(type(request).__name__, handler)
            return await chosen(self._number(caller.peer_id), caller, request)

        return answer

    def _number(self, peer_id: Any) -> int:
        for number, cell in enumerate(self.cells):
            if cell.running is not None and cell.cell_id == peer_id:
                return number
        return -1

    async def _join(self, number: int, caller: Any, request: Any) -> m.Reply:
        return m.CellJoined("sim", b"i" * 16)

    async def _heartbeat(self, number: int, caller: Any, request: Any) -> m.Reply:
        self.reported[number] = request.facts
        key = cell_order_key(SECRET, caller.peer_id)
        has_missing = bool(self._due(number)) or bool(self._suspects_of(number))
        return m.HeartbeatReply(
            key,
            self.interval_s,
            (),
            self.order_time(),
            int(self.node.world.clock.now() * 1000),
            ends=(self.last_transaction,) * len(request.seen),
            has_missing=has_missing,
            **self.history,
        )

    def order_time(self) -> int:
        return 1_000_000 + int(trio.current_time())

    def _due(self, number: int) -> list[Key]:
        return [key for key in self.missing if self.holders[key[1]] == number]

    def _suspects_of(self, number: int) -> list[Key]:
        return sorted(key for key in self.suspects if self.holders[key[1]] == number)

    async def _settle(self, number: int, caller: Any, request: Any) -> m.Reply:
        if self.settle_fault is not None:
            await self.settle_fault(number, request)
        verdicts = bytes(self._verdict(number, shard) for shard in request.shards)
        return m.SettleReply(verdicts, self.history["run_id"])

    def _verdict(self, number: int, shard: m.HeldShard) -> int:
        key = (shard.segment_id, shard.slot)
        self.settled.append(key)
        segment = self.segments.get(shard.segment_id)
        if segment is None:
            return GARBAGE if shard.segment_id in self.garbage else PENDING
        if self.holders[shard.slot] != number:
            is_source = self.sources.get(shard.slot) == number and key in self.missing
            return COMMITTED if is_source else GARBAGE
        if segment.roots[shard.slot] != shard.root:
            self.missing.setdefault(key, True)
            return GARBAGE
        self.missing.pop(key, None)
        return COMMITTED

    async def _lost(self, number: int, caller: Any, request: Any) -> m.Reply:
        for shard in request.shards:
            key = (shard.segment_id, shard.slot)
            self.lost.append(key)
            if shard.segment_id in self.segments and self.holders[shard.slot] == number:
                self.missing.setdefault(key, True)
                self.suspects.discard(key)
        return m.Done()

    async def _missing(self, number: int, caller: Any, request: m.MissingGet) -> m.Reply:
        self.asked.append(request)
        for each in request.whole:
            self.suspects.discard((each.segment_id, each.slot))
        passed = {(each.segment_id, each.slot) for each in request.passed}
        due = [key for key in self._due(number) if key not in passed]
        cells = self.cells
        endpoints = tuple(m.Endpoint(cell.cell_id, cell.node.name, 7000) for cell in cells)
        shards = tuple(
            m.MissingShard(self.place(caller.peer_id, key[0]), key[1], self._spare(key[0]))
            for key in due[: request.limit]
        )
        suspects = tuple(m.ShardName(*key) for key in self._suspects_of(number))
        return m.MissingShards(endpoints, shards, suspects, len(due) - len(shards))

    def _at(self, key: Key) -> int | None:
        """Which cell may have a shard."""
        if key not in self.missing:
            return self.holders[key[1]]
        return None if self.missing[key] else self.sources.get(key[1])

    def _spare(self, segment: SegmentId) -> int:
        return max(0, sum(self._at((segment, slot)) is not None for slot in range(N)) - K)

    def place(self, caller: Any, segment: SegmentId) -> m.SegmentPlace:
        """Where a segment is, with orders for a caller."""
        known = self.segments[segment]
        geometry = known.geometry
        at = [self._at((segment, slot)) for slot in range(N)]
        return m.SegmentPlace(
            segment,
            K,
            N,
            geometry.segment_bytes,
            geometry.unit_bytes,
            geometry.shard_bytes,
            b"".join(known.roots),
            tuple(self.holders[slot] if cell is None else cell for slot, cell in enumerate(at)),
            tuple(
                b"" if cell is None else self.order(self.cells[cell], segment, slot, caller)
                for slot, cell in enumerate(at)
            ),
        )

    def order(
        self, cell: RingCell, segment: SegmentId, slot: int, caller: Any, action: Any = None
    ) -> bytes:
        """An order for a cell."""
        given = Order(action or self.action, segment, slot, caller, 0, self.order_time() + 900, 0)
        return issue(cell_order_key(SECRET, cell.cell_id), given)

    async def _expected(self, number: int, caller: Any, request: m.ExpectedGet) -> m.Reply:
        all_of_it = sorted(
            (1, segment, slot)
            for segment in self.segments
            for slot, holder in enumerate(self.holders)
            if holder == number and (segment, slot) not in self.missing
        )
        rest = [each for each in all_of_it if each[:2] > (request.ring, request.after)]
        page = rest[: self.page]
        shards = tuple(
            m.HeldShard(
                segment,
                slot,
                self.segments[segment].roots[slot],
                len(self.segments[segment].shards[slot]),
            )
            for _, segment, slot in page
        )
        if len(page) == len(rest):
            return m.ExpectedShards(shards, 0, segment_id(0))
        return m.ExpectedShards(shards, page[-1][0], page[-1][1])
