"""The rules of the owner of a cell, kept in one place: what shards are moved, and when.

Source: docs/repair.md, "The owner's rules".
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import trio

from cell.config import CellConfig
from cell.owner_rules_policy import Rest, TokenBucket, TransitLedger, rest_of
from common.errors import AlvearyError, Corrupt, Unavailable
from common.ports import Disk, Log, WallClock
from common.reasons import Outage
from common.state_files import read_whole, write_whole
from common.wire.messages.base import CellFacts

NAME: Final = "transit"
OWNER_RULES_S: Final = 60.0
SAVE_EVERY_S: Final = 600.0
"""The most that a crash makes the ledger forget."""
LONGEST_WAIT_S: Final = 10.0
"""Time that a reader or a writer waits for the line: below the caller's patience, so that the
caller hears that the cell is busy instead of nothing."""
_REASONS: Final = {
    Rest.QUIET_HOURS: Outage.QUIET_HOURS,
    Rest.TRANSIT: Outage.TRANSIT_USED,
}


class OwnerRules:
    """The rules of one cell, and what was moved under them.

    Args:
        ledger: of the bytes that were moved before.
    """

    def __init__(
        self, config: CellConfig, ledger: TransitLedger, *, disk: Disk, clock: WallClock, log: Log
    ) -> None:
        self._up = TokenBucket(config.bandwidth_up)
        self._down = TokenBucket(config.bandwidth_down)
        self._transit_bytes = config.monthly_transit
        self._quiet_hours = config.quiet_hours
        self._ledger = ledger
        self._disk = disk
        self._clock = clock
        self._log = log
        self._unposted_bytes = 0
        """Moved, and not in the ledger yet: a look at it costs more than this."""
        self._is_saved = True
        self._saved_at = trio.current_time()
        self._told: Rest | None = None
        self._is_over = False

    @classmethod
    async def load(
        cls, config: CellConfig, *, disk: Disk, clock: WallClock, log: Log
    ) -> OwnerRules:
        """Take up the ledger of earlier lives. A damaged one is reported and begun again."""
        ledger = TransitLedger()
        try:
            data = await read_whole(disk, NAME)
            if data is not None:
                ledger = TransitLedger.unpack(data)
        except Corrupt as error:
            log.error("transit_unreadable", error=str(error))
        return cls(config, ledger, disk=disk, clock=clock, log=log)

    # --- resting -------------------------------------------------------------------------------

    @property
    def is_quiet(self) -> bool:
        """Return whether these are quiet hours."""
        if not self._quiet_hours.spans:
            return False
        return self._quiet_hours.has(self._clock.now() + self._clock.utc_offset_s())

    @property
    def transit_used(self) -> int:
        """Bytes of shards moved in the last 30 days."""
        now = self._clock.now()
        if self._unposted_bytes:
            self._ledger.add(self._unposted_bytes, now)
            self._unposted_bytes = 0
            self._is_saved = False
        return self._ledger.used(now)

    @property
    def rest(self) -> Rest | None:
        """The reason why the cell takes no new shards now and does no repair."""
        used = 0 if self._transit_bytes is None else self.transit_used
        return rest_of(is_quiet=self.is_quiet, used_bytes=used, transit_bytes=self._transit_bytes)

    def tell(self, facts: CellFacts) -> CellFacts:
        """Return the facts to report: a cell that rests is read-only."""
        rest = self.rest
        if rest is None or facts.read_only:
            return facts
        return replace(facts, read_only=True, read_only_reason=rest.value)

    def check_repair(self) -> None:
        """Check that shards may be moved for repair.

        Raises:
            Unavailable: ``quiet_hours``, ``transit_used``.
        """
        rest = self.rest
        if rest is not None:
            raise Unavailable(_REASONS[rest])

    def check_quiet(self) -> None:
        """Check that work on the cell's own disk may be done.

        Raises:
            Unavailable: ``quiet_hours``.
        """
        if self.is_quiet:
            raise Unavailable(Outage.QUIET_HOURS)

    # --- moving --------------------------------------------------------------------------------

    @property
    def limits_up(self) -> bool:
        """Return whether :meth:`wait_up` may wait."""
        return self._up.is_limited

    async def wait_up(self, size: int) -> None:
        """Wait until so many bytes may be sent.

        Raises:
            Unavailable: ``too_busy``: it would take longer than ``LONGEST_WAIT_S``.
        """
        await self._wait(self._up, size, LONGEST_WAIT_S)

    async def wait_down(self, size: int) -> None:
        """Wait until so many bytes may be received. Raises as :meth:`wait_up`."""
        await self._wait(self._down, size, LONGEST_WAIT_S)

    async def wait_to_fetch(self, size: int) -> None:
        """Wait, however long it takes, until so many bytes may be fetched for repair.

        Raises:
            Unavailable: as :meth:`check_repair`.
        """
        self.check_repair()
        await self._wait(self._down, size, float("inf"))

    async def _wait(self, line: TokenBucket, size: int, most_wait_s: float) -> None:
        wait_s = line.reserve(size, trio.current_time(), most_wait_s)
        if wait_s is None:
            raise Unavailable(Outage.TOO_BUSY)
        if wait_s:
            await trio.sleep(wait_s)

    def moved(self, size: int) -> None:
        """Count bytes of shards that were sent or received."""
        self._unposted_bytes += size

    # --- keeping -------------------------------------------------------------------------------

    async def run(self) -> bool:
        """Report what has begun or ended, and keep the ledger from time to time."""
        self._report()
        now = trio.current_time()
        if not self._is_saved and now - self._saved_at >= SAVE_EVERY_S:
            self._saved_at = now
            self._is_saved = True
            try:
                await write_whole(self._disk, NAME, self._ledger.pack())
            except AlvearyError as error:
                self._is_saved = False
                self._log.warning("transit_not_saved", error=str(error))
        return False

    def _report(self) -> None:
        rest = self.rest
        if rest is not self._told:
            if rest is None:
                self._log.info("rest_over", reason=self._told)
            else:
                self._log.info("rests", reason=rest)
            self._told = rest
        used = self.transit_used
        is_over = self._transit_bytes is not None and used >= self._transit_bytes
        if is_over and not self._is_over:
            self._log.warning(
                "transit_exceeded", used_bytes=used, monthly_transit=self._transit_bytes
            )
        self._is_over = is_over
