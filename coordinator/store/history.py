"""The history of the store, and what follows when the swarm has seen a newer one.

Every start of a coordinator is a run with an id of its own, noted in the store; every transaction
has a number. Cells and gateways are sent both and send them back (:mod:`common.crypto.positions`).
A store whose history lacks what they send was put back from an older copy, or another copy of it
was run beside it: then nothing may be deleted by what it says.

Source: docs/placement.md, "The store's history"; docs/decisions/0005-store-generation.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

import trio

from common import limits
from common.crypto import positions
from common.crypto.positions import Position
from common.errors import Unavailable
from common.ports import Log, Sql, Store, WallClock
from common.reasons import Outage
from coordinator.policy.history import CoordinatorRun, Past, Standing, judge, lacking
from coordinator.store import order_epoch
from coordinator.store.order_epoch import OrderEpoch
from coordinator.store.schema import counter_value, next_number

T = TypeVar("T")
WHAT_TO_DO: Final = {
    Standing.BEHIND: (
        "this store is older than what its swarm has seen: stop this coordinator and put the newer"
        " store back; if it is lost, accept the loss of what is newer with"
        " `alveary coordinator accept-store`"
    ),
    Standing.FORKED: (
        "another copy of this store was run beside it: nothing is deleted until you say that this"
        " one counts, with `alveary coordinator accept-store`"
    ),
}


class Kept:
    """The store's record of its history. Made inside a transaction."""

    def __init__(self, sql: Sql) -> None:
        self.commit = counter_value(sql, "commit")
        self.last_lease = counter_value(sql, "lease")
        self.runs = [
            CoordinatorRun(*row)
            for row in sql.execute("SELECT run, run_id, begun, reached FROM runs ORDER BY run")
        ]
        rows = list(sql.execute("SELECT run_id, position, accepted FROM told_positions"))
        self.accepted = {run_id for run_id, _, accepted in rows if accepted}
        self.told = {run_id: position for run_id, position, accepted in rows if not accepted}


class StoreHistory:
    """The store's history as this process knows it.

    Args:
        kept: what the store holds.
        run_id: drawn for this process's own run, which is durable once :meth:`begun` was called.
        swarm_secret: vouches for positions.
        settled_at: trio's time until which peers have a chance to report a newer store.
        inherited_until: trio's time until which leases of earlier runs make no garbage.
        is_shared: whether other processes may go on beside this one.
    """

    def __init__(
        self,
        kept: Kept,
        run_id: bytes,
        swarm_secret: bytes,
        log: Log,
        *,
        settled_at: float,
        inherited_until: float,
        is_shared: bool = False,
    ) -> None:
        self.is_shared = is_shared
        self.commit = kept.commit
        self.run_id = run_id
        self.standing = Standing.CURRENT
        self.has_begun = False
        """True once this process's run is in the store; not while that can only be read."""
        self.was_replaced = trio.Event()
        """Set once the store is found to lack what this process has committed: its run is over."""
        self.has_acknowledged = False
        """True once a gateway got an acknowledgement in this run."""
        self._own = run_id if is_shared else None
        self._past = Past(kept.runs, kept.accepted, own=self._own)
        self._key = positions.position_key(swarm_secret)
        self._log = log
        self._told: dict[bytes, bytes] = {}
        self._is_inherited = bool(kept.runs)
        self._settled_at = settled_at
        self._inherited_until = inherited_until
        self._last_inherited_lease = kept.last_lease
        self._changed = trio.Event()
        self._note(kept.told.values())

    def begun(self, run: CoordinatorRun) -> None:
        """Note that the run of this process is durable."""
        self.commit = run.begun
        others = [each for each in self._past.runs if each.run_id != run.run_id]
        self._past = Past([*others, run], self._past.accepted, own=self._own)
        self.has_begun = True
        self._judge()

    def position(self) -> bytes:
        """Return the store's position, for peers to remember; empty when it was never begun."""
        run = self._past.current
        if run is None:
            return b""
        return positions.issue(self._key, Position(run.run, run.run_id, run.begun, self.commit))

    def ends(self, seen: Iterable[bytes]) -> tuple[int, ...]:
        """For each position the last transaction of its run in this history; 0 if it has none.

        Raises:
            PeerViolation: ``bad_position``.
        """
        return tuple(self._past.end(positions.read(each).run_id, self.commit) for each in seen)

    def hear(self, seen: Sequence[bytes]) -> list[bytes]:
        """Take in what a peer has seen.

        Returns:
            Positions that this history lacks and that were not known, to be kept (:func:`keep`).

        Raises:
            PeerViolation: ``bad_position``.
        """
        missing = [each for each in seen if not self._past.has(positions.read(each), self.commit)]
        genuine = [each for each in missing if positions.is_genuine(self._key, each)]
        if len(genuine) != len(missing):
            self._log.warning("position_not_ours", positions=len(missing) - len(genuine))
        return self._note(genuine)

    def lacks(self, seen: Iterable[bytes]) -> bool:
        """Return whether a position is of another process on this store perhaps, which has gone on
        since :meth:`learn` was called last. Raises as :meth:`hear`."""
        return self.is_shared and not all(
            self._past.has(positions.read(each), self.commit) for each in seen
        )

    def learn(self, kept: Kept, own_commit: int) -> list[bytes]:
        """Take in how far the other processes have come, and what they have heard.

        Args:
            own_commit: the last transaction of this process before ``kept`` was read.

        Returns:
            A position that the store lacks, to be kept (:func:`keep`): it had come further for this
            process, so another copy was put in its place (:attr:`was_replaced`).
        """
        own = next((each for each in kept.runs if each.run_id == self._own), None)
        if self.has_begun and (own is None or own.reached < own_commit):
            return self.replaced(own_commit)
        self._past = Past(kept.runs, kept.accepted, own=self._own)
        for run_id in kept.accepted & self._told.keys():
            del self._told[run_id]
        self._note(kept.told.values())
        self._judge()
        return []

    def replaced(self, own_commit: int) -> list[bytes]:
        """Note that the store lacks transactions of this process, whose run is over. Returns as
        :meth:`learn`."""
        lacking = self.position()
        self._log.error("store_replaced", own_transaction=own_commit)
        return [lacking] if lacking else []

    def _note(self, told: Iterable[bytes]) -> list[bytes]:
        news = []
        for data in told:
            position = positions.read(data)
            before = self._told.get(position.run_id)
            if before is None and len(self._told) >= limits.MAX_LOST_RUNS:
                continue
            if before is None or positions.read(before).commit < position.commit:
                self._told[position.run_id] = data
                news.append(data)
        if news:
            self._judge()
        return news

    @property
    def _last_run(self) -> int:
        run = self._past.current
        return 0 if run is None else run.run

    def _judge(self) -> None:
        told = [positions.read(each) for each in self._told.values()]
        standing = judge(self._past, self.commit, told)
        if standing is self.standing:
            return
        self.standing = standing
        if standing is not Standing.CURRENT:
            furthest = max(told, key=lambda each: (each.run, each.commit))
            self._log.error(
                "store_behind" if standing is Standing.BEHIND else "store_forked",
                own_run=self._last_run,
                own_transaction=self.commit,
                seen_run=furthest.run,
                seen_transaction=furthest.commit,
                what_to_do=WHAT_TO_DO[standing],
            )
        self._changed.set()
        self._changed = trio.Event()

    # --- what may be destroyed ------------------------------------------------------------

    def may_destroy(self, now: float) -> bool:
        """Return whether cells may be ordered to delete anything."""
        if self.standing is not Standing.CURRENT:
            return False
        return not self._is_inherited or now >= self._settled_at

    async def wait_may_destroy(self) -> None:
        """Wait until cells may be ordered to delete something, perhaps forever."""
        while not self.may_destroy(trio.current_time()):
            changed = self._changed
            until = self._settled_at if self.standing is Standing.CURRENT else float("inf")
            with trio.move_on_at(until):
                await changed.wait()

    def kept_leases(self, now: float) -> int:
        """The number up to which leases make no garbage yet, though they have ended."""
        if self._is_inherited and now < self._inherited_until:
            return self._last_inherited_lease
        return 0

    # --- the operator's word --------------------------------------------------------------

    async def accept(self, store: Store) -> int:
        """Accept this store as the one that counts: what it lacks is lost.

        Returns:
            The number of runs of other histories that are abandoned.
        """
        given_up = list(self._told.items())
        await store.transact(lambda sql: _accept(sql, given_up))
        for run_id, _ in given_up:
            del self._told[run_id]
        accepted = self._past.accepted | {run_id for run_id, _ in given_up}
        self._past = Past(self._past.runs, accepted, own=self._own)
        self._judge()
        if given_up:
            self._log.warning("store_accepted", runs_given_up=len(given_up))
        return len(given_up)

    def tell(self) -> dict[str, Any]:
        """For operators, JSON-like."""
        told = {
            "run": self._last_run,
            "run_id": self.run_id.hex(),
            "transaction": self.commit,
            "standing": self.standing.value,
            "deletes": self.may_destroy(trio.current_time()),
        }
        if self.standing is not Standing.CURRENT:
            seen = [positions.read(each) for each in self._told.values()]
            told["lacks_transactions"] = lacking(self._past, self.commit, seen)
            told["what_to_do"] = WHAT_TO_DO[self.standing]
        return told


def keep(sql: Sql, told: Iterable[bytes]) -> None:
    """Remember positions that this store's history lacks."""
    sql.executemany(
        "INSERT INTO told_positions (run_id, position) VALUES (?, ?)"
        " ON CONFLICT (run_id) DO UPDATE SET position = excluded.position",
        [(positions.read(each).run_id, each) for each in told],
    )


def _accept(sql: Sql, given_up: Iterable[tuple[bytes, bytes]]) -> None:
    sql.executemany(
        "INSERT INTO told_positions (run_id, position, accepted) VALUES (?, ?, 1)"
        " ON CONFLICT (run_id) DO UPDATE SET accepted = 1",
        list(given_up),
    )


class _ReplacedError(Exception):
    """An older copy was put in the place of the store, under this process."""


def _first_number(sql: Sql) -> int:
    """The number of the transaction that begins a run, where runs go on beside each other: beyond
    those of all others until then."""
    number: int = sql.execute("SELECT coalesce(max(reached), 0) + 1 FROM runs").fetchone()[0]
    return number


class NumberedStore:
    """A :class:`common.ports.Store` whose transactions are numbered, and known by number here.

    Args:
        history: learns of each transaction; its run is begun before the first.
        epoch: begins with the run.
    """

    def __init__(
        self, store: Store, history: StoreHistory, clock: WallClock, epoch: OrderEpoch
    ) -> None:
        self._store = store
        self._history = history
        self._epoch = epoch
        self._clock = clock
        self._beginning = trio.Lock()

    async def begin_run(self) -> None:
        """Note the start of this process in the store, once.

        Raises:
            Unavailable: the store cannot be written.
        """
        async with self._beginning:
            if self._history.has_begun:
                return
            run_id, now_ms = self._history.run_id, int(self._clock.now() * 1000)
            step, is_shared = self._epoch.step(), self._epoch.is_shared

            def begin(sql: Sql) -> tuple[CoordinatorRun, int]:
                begun = _first_number(sql) if is_shared else next_number(sql, "commit")
                # It may be there: the caller that wrote it was cancelled before it heard so.
                number, begun = sql.execute(
                    "INSERT INTO runs (run_id, begun, started_ms, reached) VALUES (?, ?, ?, ?)"
                    " ON CONFLICT (run_id) DO UPDATE SET run_id = excluded.run_id"
                    " RETURNING run, begun",
                    (run_id, begun, now_ms, begun),
                ).fetchone()
                epoch = order_epoch.begin(sql, step, is_shared=is_shared)
                return CoordinatorRun(number, run_id, begun, begun), epoch

            run, epoch = await self._store.transact(begin)
            self._epoch.moved(epoch)
            self._history.begun(run)

    async def transact(self, work: Callable[[Sql], T]) -> T:
        """See :class:`common.ports.Store`.

        Raises:
            Unavailable: ``store_behind``: an older copy was put in the place of the store.
        """
        if not self._history.has_begun:
            await self.begin_run()
        before = self._history.commit

        def numbered(sql: Sql) -> tuple[T, int]:
            return work(sql), self._number(sql, before)

        try:
            result, commit = await self._store.transact(numbered)
        except _ReplacedError as error:
            await self._keep(self._history.replaced(before))
            raise Unavailable(
                Outage.STORE_BEHIND, detail="it lacks what this run had written"
            ) from error
        self._history.commit = max(self._history.commit, commit)
        return result

    def _number(self, sql: Sql, before: int) -> int:
        """Number a transaction.

        Args:
            before: a number that was given in this run.

        Raises:
            _ReplacedError: it is given again.
        """
        if not self._history.is_shared:
            return next_number(sql, "commit")
        # Of this run alone: so its next number says whether the store has all before.
        row = sql.execute(
            "UPDATE runs SET reached = reached + 1 WHERE run_id = ? RETURNING reached",
            (self._history.run_id,),
        ).fetchone()
        if row is None or row[0] <= before:
            raise _ReplacedError
        number: int = row[0]
        return number

    async def refresh(self) -> None:
        """Learn how far the other processes on the store have come. Raises as :meth:`transact`."""
        commit = self._history.commit
        await self._keep(self._history.learn(await self._store.read(Kept), commit))

    async def _keep(self, lacking: Sequence[bytes]) -> None:
        if not lacking:
            return
        with trio.CancelScope(shield=True):  # others may find the same, and end this run
            try:
                await self._store.transact(lambda sql: keep(sql, lacking))
            finally:  # if it is not kept, cells know
                self._history.was_replaced.set()

    async def read(self, work: Callable[[Sql], T]) -> T:
        """See :class:`common.ports.Store`."""
        return await self._store.read(work)

    async def check(self) -> None:
        """See :class:`common.ports.Store`."""
        await self._store.check()

    async def close(self) -> None:
        """See :class:`common.ports.Store`."""
        await self._store.close()
