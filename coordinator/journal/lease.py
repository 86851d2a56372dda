"""The lease by which a coordinator with a journal answers: most of the journal's cells have
confirmed its epoch a short while ago.

A cell confirms an epoch with every answer to a request that names it, and confirms none after it
has promised a later one. So a coordinator of a later epoch, to which most cells have promised,
knows that SUCCESSOR_WAIT_S after these promises no earlier one holds a lease: it may answer what
the earlier one would contradict. A successor waits for :attr:`BegunEpoch.alone_at`, in
:meth:`StoreOpener.open`.

A confirmation counts from the moment at which its request was sent, by the monotonic clock of the
coordinator that counts. Only the speeds of two clocks are compared, never their times.

**Enforced or not.** Where nobody takes over by himself, nothing would be gained by a lease, and no
object could be read while most of the journal's cells are away, though its shards can be. So a
lease is only watched until :meth:`JournalKeeper.enforce_lease` notes in the store, through the
journal, that a standby follows. From then on, across restarts, this coordinator and its successors
refuse requests without it. A standby takes over by itself only where the store that it made from
the journal says :func:`coordinator.store.journal.is_leased`.

Source: docs/journal.md, "The lease".
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from common import limits
from common.errors import Corrupt, Unavailable
from common.ports import Disk, Log
from common.reasons import Outage
from common.state_files import read_whole, write_whole
from coordinator.policy.journal import confirmed_at

LEASE_S: Final = 6.0
"""Duration of a lease after the confirmation of most cells: longer than a disk that stalls for a
moment keeps a cell's answer back."""
RENEW_S: Final = 1.5
"""Age of a cell's confirmation at which it is asked for the next one."""
SUCCESSOR_WAIT_S: Final = 7.0
"""Time after which a later coordinator takes every earlier lease for ended: the speeds of two
clocks may differ by a sixth."""
EPOCH_NAME: Final = "journal.epoch"
"""The last epoch that a coordinator of this directory has begun, in decimal digits. One process
holds the directory, so at a start nobody holds a lease of that epoch."""

assert RENEW_S * 2 < LEASE_S < SUCCESSOR_WAIT_S <= limits.JOURNAL_HELD_S


class EpochLease:
    """The lease of one coordinator's epoch."""

    def __init__(self, *, is_enforced: bool) -> None:
        self.is_enforced = is_enforced
        """True: requests are refused without it."""
        self.groups: Sequence[Collection[bytes]] | None = None
        """The cells whose confirmation counts: most of each group. None: nobody keeps a journal, so
        nobody can take over; empty: there is no epoch yet that they could confirm."""
        self._confirmed: dict[bytes, float] = {}

    def confirm(self, cell_id: bytes, sent_at: float) -> None:
        """Note that a cell has answered a request of this epoch.

        Args:
            sent_at: monotonic seconds just before the request was sent.
        """
        self._confirmed[cell_id] = max(sent_at, self._confirmed.get(cell_id, sent_at))

    def is_held(self, now: float) -> bool:
        """Return whether no later coordinator can have begun to answer."""
        if self.groups is None:
            return True
        return bool(self.groups) and now - confirmed_at(self.groups, self._confirmed) < LEASE_S

    def check(self, now: float) -> None:
        """Raise Unavailable ``no_lease`` where the lease is enforced and not held. Call it when a
        request has come, before anything is read for it."""
        if self.is_enforced and not self.is_held(now):
            raise Unavailable(Outage.NO_LEASE)


async def own_epoch(disk: Disk, log: Log) -> int:
    """Return the last epoch that this directory's coordinators have begun; 0: none is known, or it
    cannot be read."""
    try:
        text = await read_whole(disk, EPOCH_NAME)
    except Corrupt as error:
        log.warning("journal_epoch_not_read", error=str(error))
        return 0
    digits = (text or b"").strip()
    return int(digits) if digits.isdigit() else 0


async def note_own_epoch(disk: Disk, log: Log, epoch: int) -> None:
    """Remember an epoch that this coordinator has begun. Where that cannot be written, the next
    start waits for a lease that nobody holds."""
    try:
        await write_whole(disk, EPOCH_NAME, b"%d\n" % epoch)
    except Unavailable as error:
        log.warning("journal_epoch_not_noted", error=str(error))
