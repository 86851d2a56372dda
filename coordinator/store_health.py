"""Watch over the coordinator's store: whether it can be written and is whole, logged and retried.

A store that cannot be written still answers reads, so the coordinator goes on; what it may not do
is look healthy meanwhile. A damaged one answers nothing: what it does not find may be there, and
what it takes may be gone.

Source: docs/operations.md, "Metrics and health".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import trio

from common import limits
from common.errors import AlvearyError, Corrupt, PeerViolation, Unavailable
from common.ports import Disk, Log, Sql, Store
from common.reasons import Damage, Outage, Violation
from coordinator.store.schema import touch

T = TypeVar("T")

LOOK_EVERY_S: Final = 60.0
"""Interval at which the free space is looked at while all is well."""
TRY_AGAIN_S: Final = 5.0
"""Interval at which a store that could not be written is tried again."""
LOW_SPACE: Final = "low_space"
CHECK_EVERY_S: Final = 600.0
"""Interval at which the whole store is searched for damage."""
CHECKING_SHARE: Final = 0.02
"""At most so much of the time goes into that: a large store is looked through less often."""
WHAT_TO_DO: Final = (
    "the store is damaged and answers nothing: stop the coordinator, keep its directory, look at"
    " the disk, and put a backup back (docs/operations.md)"
)


class WatchedStore:
    """A store that remembers whether it could be written: a :class:`common.ports.Store`.

    Args:
        disk: where the store lies.
    """

    def __init__(self, store: Store, disk: Disk, log: Log) -> None:
        self.free_bytes = 0
        """Of its file system, as last looked at."""
        self._store = store
        self._disk = disk
        self._log = log
        self._failure = ""
        self._has_little_space = False
        self._failed = trio.Event()
        self.damage = ""
        """The damage of the store; empty while none is known."""

    @property
    def read_only_reason(self) -> str:
        """The reason why nothing can be written; empty when writing is possible."""
        if self.damage:
            return "store_damaged"
        return self._failure or (LOW_SPACE if self._has_little_space else "")

    async def transact(self, work: Callable[[Sql], T]) -> T:
        """See :class:`common.ports.Store`."""
        self.check_whole()
        try:
            result = await self._store.transact(work)
        except (Corrupt, PeerViolation) as error:
            self._judge(error)
            raise
        except Unavailable as error:
            # A queue that is full is load, and passes; this is the medium.
            if error.reason in (Outage.STORE_FAILED, Outage.JOURNAL_UNSETTLED):
                self._fail(error)
            raise
        return result

    async def read(self, work: Callable[[Sql], T]) -> T:
        """See :class:`common.ports.Store`."""
        self.check_whole()
        try:
            return await self._store.read(work)
        except (Corrupt, PeerViolation) as error:
            self._judge(error)
            raise

    def check_whole(self) -> None:
        """Raise Unavailable ``store_damaged`` once the store is known to be damaged."""
        if self.damage:
            raise Unavailable(Outage.STORE_DAMAGED, message=WHAT_TO_DO)

    def _judge(self, error: AlvearyError) -> None:
        """Stop for good if an error says that the store is damaged.

        Raises:
            Unavailable: ``store_damaged``.
        """
        # A record of ours that cannot be read was not written so.
        is_foreign = isinstance(error, PeerViolation) and error.reason == Violation.BAD_RECORD
        if error.reason == Damage.STORE_CORRUPT or is_foreign:
            if not self.damage:
                self._log.error("store_damaged", error=str(error), what_to_do=WHAT_TO_DO)
            self.damage = str(error)
            raise Unavailable(Outage.STORE_DAMAGED, message=WHAT_TO_DO) from error

    async def check(self) -> None:
        """See :class:`common.ports.Store`."""
        try:
            await self._store.check()
        except Corrupt as error:
            self._judge(error)
            raise

    async def _keep_checking(self) -> None:
        pause_s = CHECK_EVERY_S
        while not self.damage:
            await trio.sleep(pause_s)
            begun = trio.current_time()
            try:
                await self.check()
            except AlvearyError as error:
                if not self.damage:  # it could not be read just now
                    self._log.warning("store_not_checked", error=str(error))
            took_s = trio.current_time() - begun
            pause_s = max(CHECK_EVERY_S, took_s / CHECKING_SHARE)

    async def close(self) -> None:
        """See :class:`common.ports.Store`."""
        await self._store.close()

    async def run(self) -> None:
        """Look at the space, try a store that failed, and look for damage, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_looking)
            nursery.start_soon(self._keep_checking)

    async def _keep_looking(self) -> None:
        while True:
            await self.look()
            with trio.move_on_after(TRY_AGAIN_S if self._failure else LOOK_EVERY_S):
                if self._failure:
                    await trio.sleep_forever()
                await self._failed.wait()

    async def look(self) -> None:
        """Look at the space, and try to write if that failed last time."""
        self._notice_space((await self._disk.space()).free_bytes)
        if self._failure:
            await self.probe()

    async def probe(self) -> None:
        """Try to write."""
        try:
            await self._store.transact(touch)
        except AlvearyError as error:
            self._fail(error)
            return
        if self._has_little_space:
            return  # a few bytes may go in where the next real transaction does not
        if self._failure:
            self._log.warning("store_writable_again", after=self._failure)
        self._failure = ""
        self._failed = trio.Event()

    def _fail(self, error: AlvearyError) -> None:
        if not self._failure:
            if error.reason == Outage.JOURNAL_UNSETTLED:  # as after each start, for a moment
                self._log.info("store_waits_for_journal")
            else:
                self._log.error("store_not_writable", error=str(error), free_bytes=self.free_bytes)
        self._failure = error.reason
        self._failed.set()

    def _notice_space(self, free_bytes: int) -> None:
        self.free_bytes = free_bytes
        had_little, self._has_little_space = (
            self._has_little_space,
            free_bytes < limits.COORDINATOR_LEAST_FREE_BYTES,
        )
        if self._has_little_space and not had_little:
            self._log.error("store_space_low", free_bytes=free_bytes)
        elif had_little and not self._has_little_space:
            self._log.info("store_space_enough", free_bytes=free_bytes)
