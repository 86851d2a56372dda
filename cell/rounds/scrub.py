"""Scrubbing: every shard is read whole and compared with its root, once in a period, so that rot is
found while there are others to mend it from.

Source: docs/repair.md, "Scrub".
"""

from __future__ import annotations

from typing import Final

import trio

from cell.background_turns import BackgroundTurns
from cell.metrics import CellMetrics
from cell.rounds.scrub_policy import ScrubPass, in_time, rest_s, wait_s
from cell.storage.index_tables import HeldRow
from cell.storage.shard_store import ShardStore
from common.errors import AlvearyError, Corrupt, NotFound
from common.ports import Disk, Log, WallClock
from common.state_files import read_whole, write_whole

NAME: Final = "scrub"
PAGE_SHARDS: Final = 64
LONGEST_SLEEP_S: Final = 3600.0
"""The schedule is looked at again after so long: the cell may hold more by then, or the clock may
have been set."""
SAVE_EVERY_S: Final = 600.0
"""The most that is read again after a crash."""
SCRUB_RETRY_S: Final = 60.0


class ScrubRound:
    """Reads all shards, a page at a time.

    Args:
        period_s: in which each shard is read once.
    """

    def __init__(
        self,
        store: ShardStore,
        background: BackgroundTurns,
        metrics: CellMetrics,
        *,
        period_s: float,
        disk: Disk,
        clock: WallClock,
        log: Log,
    ) -> None:
        self._store = store
        self._background = background
        self._metrics = metrics
        self._period_s = period_s
        self._disk = disk
        self._clock = clock
        self._log = log
        self._pass: ScrubPass | None = None
        self._saved_at = trio.current_time()

    async def run(self) -> bool:
        """Read the next shards when they are due.

        Raises:
            AlvearyError: the index cannot be read.
        """
        if self._pass is None:
            self._pass = await self._load()
        self._metrics.scrub_began_s = self._pass.began
        page = await self._store.index.held(after=self._pass.after, limit=PAGE_SHARDS)
        if not page:
            await self._rest(self._pass)
            return True
        for row in page:
            await self._wait(self._pass, row.shard_bytes)
            is_bad = await self._is_bad(row)
            self._pass = self._in_time(self._pass).has_read(row.key, row.shard_bytes, is_bad=is_bad)
            self._metrics.scrubbed(row.shard_bytes, is_bad=is_bad)
            self._metrics.scrub_part = self._pass.part(self._held_bytes)
            if trio.current_time() - self._saved_at >= SAVE_EVERY_S:
                await self._save(self._pass)
        return True

    @property
    def _held_bytes(self) -> int:
        return sum(each.shard_bytes for each in self._store.index.volumes.values())

    def _in_time(self, scrub: ScrubPass) -> ScrubPass:
        return in_time(scrub, self._held_bytes, self._period_s, self._clock.now())

    async def _wait(self, scrub: ScrubPass, size: int) -> None:
        """Wait until a shard is due."""
        while True:
            now = self._clock.now()
            scrub = self._in_time(scrub)
            left_s = wait_s(scrub, size, self._held_bytes, self._period_s, now)
            await trio.sleep(min(left_s, LONGEST_SLEEP_S))
            if left_s <= LONGEST_SLEEP_S:
                return

    async def _is_bad(self, row: HeldRow) -> bool:
        try:
            await self._store.check(row.key, self._background.patient_turn)
        except NotFound:
            return False  # deleted since the page was read
        except Corrupt:
            return True
        return False

    async def _rest(self, done: ScrubPass) -> None:
        """Wait for the next pass, and begin it."""
        if done.after_segment:
            self._log.info("scrubbed", read_bytes=done.read_bytes, bad=done.bad)
            await self._save(done)
        left_s = rest_s(self._in_time(done), self._period_s, self._clock.now())
        if not done.after_segment:
            left_s = min(left_s, LONGEST_SLEEP_S)  # there was nothing to read
        await trio.sleep(left_s)
        self._pass = ScrubPass(self._clock.now())
        await self._save(self._pass)

    async def _load(self) -> ScrubPass:
        try:
            data = await read_whole(self._disk, NAME)
            if data is not None:
                return ScrubPass.unpack(data)
        except Corrupt as error:
            self._log.error("scrub_unreadable", error=str(error))
        return ScrubPass(self._clock.now())

    async def _save(self, scrub: ScrubPass) -> None:
        """Keep how far the pass has come, as far as the disk allows: else a part of it is read
        twice."""
        self._saved_at = trio.current_time()
        try:
            await write_whole(self._disk, NAME, scrub.pack())
        except AlvearyError as error:
            self._log.warning("scrub_not_saved", error=str(error))
