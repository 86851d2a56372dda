"""Filling the slots of this cell that miss their shards, and looking at shards that readers
complained of.

Nothing is kept of this work: a coordinator names what is missing until it is here, so after a
crash between any two steps it is named again.

Source: docs/repair.md, "Filling"; docs/decisions/0031-repair.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import trio

from cell.background_turns import BackgroundTurns
from cell.metrics import CellMetrics
from cell.owner_rules import OwnerRules
from cell.rounds.filling import FilledShard, Filling, ShardFiller
from cell.rounds.heartbeat import HeartbeatRound
from cell.rounds.passed_shards import PassedShards
from cell.rounds.settling import Settling
from cell.storage.index_tables import HeldRow
from cell.storage.shard_store import ShardStore
from cell.storage.shards import ShardKey
from common import limits
from common.errors import AlvearyError, Corrupt, NotFound, Refused
from common.ports import Chance, Log
from common.reasons import Refusal
from common.rpc.coordinators import Coordinators
from common.tasks import log_fault
from common.wire.messages.base import ShardName
from common.wire.messages.membership import COMMITTED
from common.wire.messages.repair import MissingGet, MissingShard, MissingShards

SHORT_PAUSE_S: Final = 2.0
LONGEST_PAUSE_S: Final = 60.0
"""Pauses while nothing can be filled: twice as long each time, unless there are others to try."""
TELL_EVERY_S: Final = 60.0
BEGIN_WITHIN_S: Final = 300.0
"""Age of orders at which no shard is begun any more: one of 64 MiB then has ten minutes."""
SUSPECTS_AT_ONCE: Final = 16
"""Shards that are read whole between two questions: what is missing goes before what may be."""


class RebuildRound:
    """Fills what is missing."""

    def __init__(
        self,
        store: ShardStore,
        coordinators: Coordinators,
        heartbeat: HeartbeatRound,
        settling: Settling,
        filler: ShardFiller,
        background: BackgroundTurns,
        owner_rules: OwnerRules,
        metrics: CellMetrics,
        chance: Chance,
        log: Log,
    ) -> None:
        self._store = store
        self._coordinators = coordinators
        self._heartbeat = heartbeat
        self._settling = settling
        self._filler = filler
        self._background = background
        self._owner_rules = owner_rules
        self._metrics = metrics
        self._log = log
        self._passed = PassedShards(chance)
        self._looked_at = PassedShards(chance)
        """Suspects: a complaint that is not struck at once must not have a shard read in a loop."""
        self._whole: list[ShardKey] = []
        self._to_settle: list[ShardKey] = []
        self._settling_now = trio.Lock()
        self._owned: set[ShardKey] = set()
        """Those of the last reply that were settled: named again, they wait their turn."""
        self._untold = 0
        self._told_at = trio.current_time()
        self._are_others_waiting = False
        self._pause_s = SHORT_PAUSE_S

    def pause_s(self) -> float:
        """Return the seconds until the next time."""
        return self._pause_s

    async def run(self) -> bool:
        """Wait until something is missing; fill some of it.

        Returns:
            Whether there may be more that can be filled at once.

        Raises:
            AlvearyError: no coordinator can be reached.
        """
        await self._heartbeat.wait_missing()
        self._are_others_waiting = False
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        # A cell that has nearly used its transit fills nothing and looks at suspects all the same.
        can_work = not (self._store.writer.read_only_reason or self._owner_rules.is_quiet)
        has_progressed = can_work and await self._fill_some()
        if has_progressed or self._are_others_waiting:
            self._pause_s = SHORT_PAUSE_S
        return has_progressed

    async def _fill_some(self) -> bool:
        whole = self._whole[: limits.MAX_DELETE_BATCH]
        reply = await self._coordinators.call(
            MissingGet(
                0 if self._owner_rules.rest else limits.MAX_SEGMENTS_PER_GRANT,
                tuple(ShardName(*key) for key in self._passed.names(trio.current_time())),
                tuple(ShardName(*key) for key in whole),
            )
        )
        assert isinstance(reply, MissingShards)
        del self._whole[: len(whole)]
        self._metrics.waiting_to_fill = reply.waiting + len(reply.shards)
        self._are_others_waiting = reply.waiting > 0
        last, self._owned = self._owned, set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look_at, reply.suspects)
            await self._fill_page(reply, last, nursery)
        self._tell(reply.waiting)
        return bool(self._owned or self._whole)

    def _tell(self, waiting: int) -> None:
        """Log what was filled: when nothing more waits, and now and then before."""
        self._untold += len(self._owned)
        is_due = not waiting or trio.current_time() - self._told_at >= TELL_EVERY_S
        if self._untold and is_due:
            self._log.info("shards_filled", shards=self._untold, waiting=waiting)
            self._untold, self._told_at = 0, trio.current_time()

    async def _fill_page(
        self, reply: MissingShards, last: set[ShardKey], nursery: trio.Nursery
    ) -> None:
        """Begin with the shards of a reply, in its order, as memory allows."""
        begin_by = trio.current_time() + BEGIN_WITHIN_S
        for missing in reply.shards:
            if (missing.place.segment_id, missing.slot) in last:
                self._pass(missing, "named_again")
                continue
            try:
                filling = await self._filler.begin(missing, reply.endpoints)
            except AlvearyError as error:
                self._pass(missing, str(error))
                continue
            nursery.start_soon(self._try_to_fill, missing, filling)
            if trio.current_time() > begin_by:
                break

    async def _try_to_fill(self, missing: MissingShard, filling: Filling) -> None:
        try:
            filled = await filling.run()
            self._count(filled)
            await self._settle(filled.key)
            if filled.key in self._owned:
                self._passed.forget(filled.key)
            else:
                self._pass(missing, "not_owned")
        except AlvearyError as error:
            self._pass(missing, str(error))
            if isinstance(error, Refused) and error.reason == Refusal.SHARD_EXISTS:
                await self._ask_about_other(missing)
        except Exception as error:
            # One shard that meets a fault of ours must not keep the others waiting.
            log_fault(self._log, "rebuild_broke", error, segment=missing.place.segment_id)
            self._pass(missing, "fault")

    def _count(self, filled: FilledShard) -> None:
        if filled.copied_bytes or filled.computed_bytes:
            self._metrics.filled(filled.copied_bytes, filled.computed_bytes)

    def _pass(self, missing: MissingShard, error: str) -> None:
        self._passed.add((missing.place.segment_id, missing.slot), trio.current_time())
        self._metrics.passed_over()
        self._log.warning(
            "shard_not_filled",
            segment=missing.place.segment_id,
            slot=missing.slot,
            spare=missing.spare,
            error=error,
        )

    async def _settle(self, key: ShardKey) -> None:
        """Ask about a shard that is here; together with those that came while others were asked
        about.

        Raises:
            AlvearyError: no coordinator can be reached.
        """
        self._to_settle.append(key)
        async with self._settling_now:
            if key in self._to_settle:
                keys, self._to_settle = self._to_settle, []
                self._owned.update(await self._ask_about(keys))

    async def _ask_about(self, keys: Sequence[ShardKey]) -> list[ShardKey]:
        """Return those of the shards that a coordinator owns, and that are whole as far as this
        cell knows."""
        rows = []
        for key in keys:
            entry = await self._store.index.find(key)
            if entry is not None and not entry.bad:
                rows.append(HeldRow(key, entry.sequence, entry.root, entry.shard_bytes, 0, False))
        if not rows:
            return []
        settled = await self._settling.ask(rows)
        return [
            row.key
            for row, verdict in zip(rows, settled.verdicts, strict=True)
            if verdict == COMMITTED
        ]

    async def _ask_about_other(self, missing: MissingShard) -> None:
        """Ask about a shard that lies here under the name of a missing one: a coordinator that
        owns another calls it garbage, and then there is room for the right one."""
        try:
            await self._ask_about([(missing.place.segment_id, missing.slot)])
        except AlvearyError as error:
            self._log.warning("rebuild_failed", error=str(error))

    # --- suspects ------------------------------------------------------------------------------

    async def _look_at(self, suspects: Sequence[ShardName]) -> None:
        """Read shards whole that readers complained of."""
        now = trio.current_time()
        keys = [(each.segment_id, each.slot) for each in suspects]
        new = [key for key in keys if not self._looked_at.has(key, now)][:SUSPECTS_AT_ONCE]
        try:
            whole = [key for key in new if await self._is_whole(key)]
            # Whole, and what was committed: the root that it was compared with is its own.
            self._whole += await self._ask_about(whole)
        except AlvearyError as error:
            self._log.warning("rebuild_failed", error=str(error))
        except Exception as error:
            log_fault(self._log, "suspects_broke", error)

    async def _is_whole(self, key: ShardKey) -> bool:
        """Read a suspect; one that is bad, or not here, is going to be reported as lost."""
        self._looked_at.add(key, trio.current_time())
        try:
            await self._store.check(key, self._background.turn)
        except (Corrupt, NotFound) as error:
            self._log.warning("suspect_lost", segment=key[0], slot=key[1], error=error.reason)
            self._metrics.suspect_lost()
            self._store.index.miss([key])
            return False
        return True
