"""Election of the process that does what only one may do: plan rings, end leases, purge.

Several processes may have the store open. One row names the epoch of the one that leads; a
process that begins to lead begins a new epoch. What only the leader may do is done in transactions
that find their epoch in the row, so a leader that was paused, or that others presumed dead, changes
nothing. Each process decides by its own monotonic clock when to take over: the leader counts beats
in the row, and one that counts none for a while is silent. A wrong guess costs a change of leaders.

Source: docs/placement.md, "Leadership"; docs/decisions/0023-several-coordinators.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import trio

from common.data_classes import dataclass
from common.errors import Refused
from common.ports import Log, Sql, Store
from common.reasons import Refusal

T = TypeVar("T")
BEAT_S: Final = 5.0
"""Interval at which the leader of a shared store counts a beat, and the others look."""
SILENT_S: Final = 4 * BEAT_S
"""A leader that counted no beat for so long is replaced."""


@dataclass(frozen=True, slots=True)
class Sign:
    """A sign of life: the leader's epoch (0: nobody has led yet), and its beats."""

    epoch: int
    beats: int


def last_sign(sql: Sql) -> Sign:
    """The leader's last sign of life."""
    return Sign(*sql.execute("SELECT epoch, beats FROM leadership").fetchone())


def begin(sql: Sql, run_id: str) -> int:
    """Begin a new epoch, whichever process leads, and return it."""
    epoch: int = sql.execute(
        "UPDATE leadership SET epoch = epoch + 1, beats = 0, run_id = ? RETURNING epoch", (run_id,)
    ).fetchone()[0]
    return epoch


def take_over(sql: Sql, run_id: str, silent: Sign) -> int | None:
    """Begin a new epoch unless the leader has given a sign of life since; returns it, or None."""
    return begin(sql, run_id) if last_sign(sql) == silent else None


def check(sql: Sql, epoch: int) -> None:
    """Check that an epoch is current, and let nobody begin another before the transaction ends.

    Raises:
        Refused: ``not_leader``.
    """
    current = sql.execute("SELECT epoch FROM leadership").fetchone()[0]
    if epoch != current:
        raise Refused(Refusal.NOT_LEADER, epoch=epoch, current=current)


def beat(sql: Sql) -> None:
    """Give a sign of life."""
    sql.execute("UPDATE leadership SET beats = beats + 1")


class Leadership:
    """This process's leadership, or the lack of it.

    A process leads from its start: the first transaction that needs it begins its epoch. It follows
    once another process has begun a later one, until that is silent.

    Args:
        run_id: of this process, for people.
        is_shared: whether other processes may have the store open at the same time. Otherwise no
            beats are counted.
    """

    def __init__(self, store: Store, run_id: bytes, log: Log, *, is_shared: bool) -> None:
        self.is_shared = is_shared
        self._store = store
        self._run_id = run_id.hex()
        self._log = log
        self._epoch = 0
        self._follows = False
        self._sign: Sign | None = None
        self._sign_at = 0.0
        self._leads_again = trio.Event()

    @property
    def leads(self) -> bool:
        """Return whether this process leads, as far as it knows."""
        return not self._follows

    async def wait(self) -> None:
        """Wait until this process leads, as far as it knows."""
        if self._follows:
            await self._leads_again.wait()

    async def transact(self, work: Callable[[Sql], T]) -> T:
        """Run a transaction of the leader. See :class:`common.ports.Store`.

        Raises:
            Refused: ``not_leader``: another process leads; nothing was changed.
        """
        epoch = self._epoch
        if self._follows:
            raise Refused(Refusal.NOT_LEADER, epoch=epoch)

        def leading(sql: Sql) -> tuple[T, int]:
            current = epoch or begin(sql, self._run_id)
            check(sql, current)
            return work(sql), current

        try:
            result, current = await self._store.transact(leading)
        except Refused as error:
            if error.reason == Refusal.NOT_LEADER:
                self._lost(epoch)
            raise
        if not epoch:
            self._began(current)
        return result

    async def keep(self) -> None:
        """Count a beat, or look for the leader's: to be called every BEAT_S of a shared store."""
        if self._follows:
            await self._look()
        else:
            await self.transact(beat)

    async def _look(self) -> None:
        sign = await self._store.read(last_sign)
        now = trio.current_time()
        if sign != self._sign:
            self._sign, self._sign_at = sign, now
        elif now - self._sign_at >= SILENT_S:
            epoch = await self._store.transact(lambda sql: take_over(sql, self._run_id, sign))
            if epoch is not None:
                self._began(epoch)

    def _began(self, epoch: int) -> None:
        if epoch <= self._epoch:
            return
        self._epoch = epoch
        self._log.info("leadership_began", epoch=epoch)
        if self._follows:
            self._follows = False
            self._leads_again.set()

    def _lost(self, epoch: int) -> None:
        if epoch == self._epoch and not self._follows:
            self._log.warning("leadership_lost", epoch=epoch)
            self._follows = True
            self._sign = None
            self._leads_again = trio.Event()
