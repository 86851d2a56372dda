"""Handlers of the requests by which cells fill missing shards and compare what they hold.

Source: docs/decisions/0031-repair.md; docs/protocol.md, "Messages".
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Final

import trio

from common import limits
from common.crypto.orders import OrderAction
from common.ids import SegmentId
from common.ports import Sql, Store
from common.rpc.caller import Answer
from common.wire.messages.repair import (
    ExpectedGet,
    ExpectedShards,
    MissingGet,
    MissingShard,
    MissingShards,
)
from coordinator.handlers.places import Places, ReplyPlaces
from coordinator.membership import Membership
from coordinator.policy.health import READABLE, WRITABLE, CellState
from coordinator.policy.repair_order import Candidate, bits, rank
from coordinator.session import ByRequest, Caller
from coordinator.store import homes, missing, segments
from coordinator.store.homes import HomeShard
from coordinator.store.missing import MissingRow
from coordinator.store.segments import Stored

LISTED: Final = 1024
"""Missing shards of a slot that are looked at at a time, those of segments that miss most first."""
LISTED_OF_CELL: Final = LISTED + limits.MAX_PASSED_SHARDS
"""Missing shards of a cell that are kept, the most urgent of all its slots: as many as of one slot,
and those that it passes over."""
LISTED_FOR_S: Final = 10.0
"""Time for which a list of missing shards is used up before the store is asked again."""


class RepairHandlers:
    """Answers cells that fill and compare."""

    def __init__(self, store: Store, membership: Membership, places: Places) -> None:
        self._store = store
        self._membership = membership
        self._places = places

    def by_request(self) -> ByRequest:
        """Return the handler of each request."""
        return {MissingGet: self.missing, ExpectedGet: self.expected}

    async def missing(self, caller: Caller, request: MissingGet, _: memoryview) -> Answer:
        """Name the next missing shards of a cell, and suspects.

        A cell that takes shards fills all its slots. One that leaves fills those that moved to it
        before: only then do they move on, for until then its sources are needed.
        """
        cell = self._membership.cell_of(caller.peer_id)
        now = trio.current_time()
        states = self._membership.states(now)
        takes = states[cell.cell] in WRITABLE
        slots = self._membership.slots_of(cell.cell)
        if not takes:
            leaves = states[cell.cell] is CellState.DRAINING
            rings = self._membership.rings
            slots = tuple(each for each in slots if leaves and each[1] in rings[each[0]].sources)
        if request.whole:
            await self._store.transact(
                lambda sql: missing.absolve_of(sql, cell.cell, request.whole)
            )
        listed = caller.session.listed
        if not slots:
            listed.rows = []
        elif now >= listed.until:
            listed.rows = await self._store.read(lambda sql: self._list(sql, slots, states))
            listed.until = now + LISTED_FOR_S
        passed = {(each.segment_id, each.slot) for each in request.passed}
        chosen: list[MissingRow] = []
        limit = min(request.limit, limits.MAX_SEGMENTS_PER_GRANT)
        while listed.rows and len(chosen) < limit:
            row = listed.rows.pop()
            if (row.segment_id, row.slot) not in passed:
                chosen.append(row)
        if not listed.rows:
            listed.until = 0.0  # look again with the next request
        ids = [row.segment_id for row in chosen]
        found, suspects = await self._store.read(
            lambda sql: (
                segments.stored(sql, ids),
                missing.suspects_of(sql, cell.cell, limits.MAX_DELETE_BATCH),
            )
        )
        of_segment = {stored.segment_id: stored for stored in found}
        places = self._places.reply_to(caller.peer_id)
        shards = []
        for row in chosen:
            stored = of_segment.get(row.segment_id)
            if stored is not None and row.slot in stored.missing:
                spare = self._spare(stored, states)
                place = places.stored(stored, OrderAction.REBUILD)
                shards.append(MissingShard(place, row.slot, spare))
        if takes and not listed.rows:
            shards += await self._going_home(cell.cell, places, passed, limit - len(shards))
        return MissingShards(places.endpoints, tuple(shards), tuple(suspects), len(listed.rows))

    async def _going_home(
        self, cell: int, places: ReplyPlaces, passed: Set[tuple[SegmentId, int]], limit: int
    ) -> list[MissingShard]:
        """Name shards that a cell is to make of segments that return to their home class."""

        def look(sql: Sql) -> list[tuple[HomeShard, Stored]]:
            wanted = homes.wanted_of(sql, cell, limits.MAX_SEGMENTS_GOING_HOME)
            chosen = [each for each in wanted if (each.segment_id, each.slot) not in passed]
            chosen = chosen[: max(0, limit)]
            found = segments.stored(sql, [each.segment_id for each in chosen])
            return list(zip(chosen, found, strict=True))

        rings = self._membership.rings
        shards = []
        for wanted, stored in await self._store.read(look):
            if wanted.ring not in rings or stored.ring not in rings:
                continue  # another process made it just now
            place = places.at_home(stored, rings[stored.ring], rings[wanted.ring], wanted.roots)
            former = places.stored(stored, OrderAction.REBUILD)
            shards.append(MissingShard(place, wanted.slot, 1, (former,)))
        return shards

    def _list(
        self, sql: Sql, slots: tuple[tuple[int, int], ...], states: Mapping[int, CellState]
    ) -> list[MissingRow]:
        candidates = []
        for ring_number, slot in slots:
            ring = self._membership.rings[ring_number]
            holders = bits(i for i, cell in enumerate(ring.cells) if states[cell] in READABLE)
            sources = bits(
                i for i, source in ring.sources.items() if states[source.cell] in READABLE
            )
            for row in missing.of_slot(
                sql, ring_number, slot, holders=holders, sources=sources, limit=LISTED
            ):
                spare = holders.bit_count() - row.lacking - ring.redundancy.k
                has_source = not row.source_lacks and bool(sources >> slot & 1)
                candidates.append(Candidate(row, spare, has_source))
        return rank(candidates)[-LISTED_OF_CELL:]

    def _spare(self, stored: Stored, states: Mapping[int, CellState]) -> int:
        ring = self._membership.rings[stored.ring]
        at = [stored.missing.get(slot, cell) for slot, cell in enumerate(ring.cells)]
        readable = sum(cell is not None and states[cell] in READABLE for cell in at)
        return max(0, readable - ring.redundancy.k)

    async def expected(self, caller: Caller, request: ExpectedGet, _: memoryview) -> Answer:
        """Name a page of what a cell should hold."""
        cell = self._membership.cell_of(caller.peer_id)
        shards, ring, segment = await self._store.read(
            lambda sql: missing.expected(
                sql, cell.cell, request.ring, request.after, limits.MAX_SETTLE_BATCH
            )
        )
        return ExpectedShards(tuple(shards), ring, SegmentId(segment))
