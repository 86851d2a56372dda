"""The keeper of the journal: commits go to the cells that follow it, and pass once most have them.

Source: docs/journal.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import trio

from common import limits
from common.crypto.journal import JournalKey
from common.data_classes import dataclass
from common.errors import AlvearyError, OutcomeUnknown, Refused, Unavailable
from common.format.journal import ChainEnd
from common.ports import Sql, Store, World
from common.reasons import Outage, Refusal, Uncertainty
from common.recording import unrecorded
from common.rpc.peers import PeerPool
from common.wire.messages.base import Endpoint
from common.wire.messages.journal import JournalMembers
from coordinator.journal.cells import JournalCell
from coordinator.journal.gate import Done, GateMode, JournalGate, SealedCommit
from coordinator.journal.lease import EpochLease, note_own_epoch
from coordinator.journal.members import CONFIRM_WITHIN_S, Member, Recent
from coordinator.journal.opening import OpenedStore, StoreOpener
from coordinator.journal.recovery_file import write_recovery
from coordinator.journal.sent_snapshots import SentSnapshots
from coordinator.journal.settling import (
    FURTHEST_LEAP,
    BegunEpoch,
    later_epoch,
    seal_members,
)
from coordinator.policy.journal import FEWEST, JournalCandidate, choose, passed, quorum, weakness
from coordinator.secrets import Keys
from coordinator.store import journal

LOOK_EVERY_S: Final = 5.0
"""Interval at which it is looked at who should keep the journal."""
LOOK_SOON_S: Final = 0.25
"""The same, while other cells should."""
REST_AFTER_S: Final = 0.2
"""Time after which the cells get a commit that it can pass without: that much it waits where one of
the others has just gone."""
REPLACE_AFTER_S: Final = 60.0
"""Time after which a cell that does not answer is replaced, where another can take its place:
longer than a restart, shorter than the next loss takes to come."""


LONGEST_PATIENCE_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class KnownCell:
    """A cell that may keep the journal, and where it is."""

    candidate: JournalCandidate
    endpoint: Endpoint


@dataclass(slots=True)
class LaterPromises:
    """The patience of one process with single cells that have promised a later epoch. It doubles
    each time: a cell that lies must not keep the others from being written."""

    pause_s: float = limits.JOURNAL_HELD_S


class JournalKeeper:
    """Keeps the journal of one opened store, from :meth:`run` on.

    Args:
        opened: the store, and the epoch that its journal began.
        opener: settles the journal later, where its cells did not answer.
        known_cells: returns all cells of the swarm.
        later_promises: of this process.
    """

    def __init__(
        self,
        world: World,
        pool: PeerPool,
        opener: StoreOpener,
        opened: OpenedStore,
        gate: JournalGate,
        key: JournalKey,
        keys: Keys,
        run_id: bytes,
        store_name: str,
        known_cells: Callable[[], Sequence[KnownCell]],
        later_promises: LaterPromises | None = None,
    ) -> None:
        self.stale = trio.Event()
        """Set when the store in hand must be opened again: the journal has more than it."""
        self.is_kept = False
        """True while every commit that passes is on most of the journal's cells."""
        self.kept = trio.Event()
        """Set when commits may pass after a start."""
        self.fenced: Refused | None = None
        """The refusal of a cell that has promised a later epoch: another coordinator is active."""
        self.gave_way = False
        """True when the journal's cells heard another coordinator at the start."""
        self.lease = EpochLease(is_enforced=opened.row.is_leased)
        if gate.is_closed:
            self.lease.groups = ()
        self._world = world
        self._pool = pool
        self._opener = opener
        self._store: Store = opened.store
        self._row = opened.row
        self._settled = opened.settled
        self._gate = gate
        self._key = key
        self._keys = keys
        self._run_id = run_id
        self._known_cells = known_cells
        self._later_promises = later_promises or LaterPromises()
        self._recent = Recent(opened.row.end)
        self._members: dict[bytes, Member] = {}
        self._configured: JournalMembers | None = None
        self._groups: list[tuple[bytes, ...]] = []
        self._later: set[bytes] = set()
        """Cells that have promised a later epoch."""
        self._at_gate: tuple[SealedCommit, Done] | None = None
        self._progress = trio.Event()
        self._has_rest = trio.Event()
        """Set when some cells were not sent the latest records yet."""
        self._nursery: trio.Nursery
        self._snapshots = SentSnapshots(world, gate, key, store_name)
        self._passed_over: dict[bytes, float] = {}
        """Cells that did not answer, and until when they are not asked again."""
        self._is_relocated = False
        """True: cells answer elsewhere than is remembered."""
        self._trouble = ""
        """The failure of the last change of the cells."""
        self._is_stopped = False
        gate.connect(self._submit, self.stale.set)

    @property
    def epoch(self) -> int:
        """The epoch of this coordinator; 0: none was begun."""
        return 0 if self._settled is None else self._settled.epoch

    @property
    def sequence(self) -> int:
        """The number of the journal's last record."""
        return self._recent.end.sequence

    # --- life ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the journal until cancelled, or until ``stale`` is set.

        Raises:
            Refused: ``journal_epoch``: another coordinator keeps it now.
            Corrupt: ``journal_forked``.
        """
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._keep_rest_close)
                if self._gate.mode is GateMode.HOLDING and self._settled is None:
                    await self._settle()
                if self._settled is not None:
                    await self._go_on(self._settled)
                await self._keep_members()
        finally:
            self._stop()

    def _stop(self) -> None:
        self._is_stopped = True
        self.is_kept = False
        self._lose_lease()
        if self._gate.mode is GateMode.RECORDING:
            self._gate.mode = GateMode.HOLDING
        if self._at_gate is not None:
            _, done = self._at_gate
            self._at_gate = None
            # It is on some cells, and counts if the next coordinator finds it there.
            done(OutcomeUnknown(Uncertainty.STORE_UNKNOWN))

    def _lose_lease(self) -> None:
        """Answer nothing any more that a lease is needed for."""
        if self.lease.groups is not None:
            self.lease.groups = ()

    def has_member(self, cell_id: bytes) -> bool:
        """Return whether a cell kept the journal when the store was opened."""
        members = self._row.members
        return members is not None and cell_id in {each.cell_id for each in members.members}

    async def enforce_lease(self) -> None:
        """Have requests refused without a lease from now on, here and by all successors: a standby
        follows. Raises as :meth:`common.ports.Store.transact`; call it again then."""
        self.lease.is_enforced = True
        await self._store.transact(journal.set_leased)

    async def _settle(self) -> None:
        members = self._row.members
        assert members is not None
        try:
            settled = await self._opener.settle_patiently(
                self._row.end, members, is_leased=self.lease.is_enforced
            )
        except Unavailable:
            self.gave_way = True
            self.stale.set()
            await trio.sleep_forever()
        while settled.source is None:
            try:
                await self._store.transact(partial(_move, settled))
                await self._opener.wait_alone(self._row, settled)
                self._settled = settled
                return
            except Unavailable as error:  # its medium is full, or can only be read
                self._world.log.info("journal_unsettled", error=str(error))
            await trio.sleep(LOOK_EVERY_S)
        # The cells must know, when it is opened again, that this epoch's coordinator was this one.
        await self._opener.wait_alone(self._row, settled)
        self.stale.set()
        await trio.sleep_forever()

    async def _go_on(self, settled: BegunEpoch) -> None:
        """Take up the journal where the epoch began."""
        self._gate.epoch = settled.epoch
        self._gate.end = settled.begun.end
        await self._load_numbers()
        self._recent = Recent(settled.begun.end)
        self._configured = settled.members
        self._is_relocated = settled.is_relocated
        for endpoint in settled.members.members:
            self._follow(endpoint)
        self._count([tuple(bytes(each.cell_id) for each in settled.members.members)])
        self.is_kept = True
        self._gate.mode = GateMode.RECORDING
        self.kept.set()
        await write_recovery(self._world.disk, self._world.log, self._keys, settled.members)
        self._world.log.info(
            "journal_kept", epoch=settled.epoch, cells=len(settled.members.members)
        )

    async def _load_numbers(self) -> None:
        texts = await self._store.read(journal.texts)
        self._gate.numbers = {text: number for number, text in texts.items()}

    # --- commits ------------------------------------------------------------------------------

    def _submit(self, commit: SealedCommit, done: Done) -> None:
        """Take a commit to the cells; it passes at once while no journal is kept yet."""
        assert self._at_gate is None, "one commit at a time"
        if self._is_stopped:
            done(Unavailable(Outage.JOURNAL_UNSETTLED))
            return
        for record in commit.records:
            self._recent.add(record)
        self._wake(commit.records[0].end.sequence - 1)
        if not self.is_kept:
            done(None)
            return
        self._at_gate = (commit, done)

    def _wake(self, before: int) -> None:
        """Have just so many cells sent a commit that it passes: of each group the fastest ones that
        have all records up to ``before``. The others get it with the next ones, a little later; at
        once, where those are too few."""
        front: list[Member] = []
        for group in self._groups:
            members = [self._members[each] for each in group if each in self._members]
            ready = [each for each in members if each.has(before)]
            front += sorted(ready, key=_answer_s)[: quorum(len(group))]
            if len(ready) < quorum(len(group)):
                front = []
                break
        for member in front or self._members.values():
            member.wake()
        self._has_rest.set()

    async def _keep_rest_close(self) -> None:
        while True:
            await self._has_rest.wait()
            await trio.sleep(REST_AFTER_S)
            self._has_rest = trio.Event()
            for member in self._members.values():
                member.wake()

    def _on_progress(self) -> None:
        self._progress.set()
        self._progress = trio.Event()
        if self._at_gate is None:
            return
        commit, done = self._at_gate
        if passed(self._groups, self._acked()) >= commit.end.sequence:
            self._at_gate = None
            done(None)

    def _count(self, groups: list[tuple[bytes, ...]]) -> None:
        """Take most cells of each of these groups for enough."""
        self._groups = self.lease.groups = groups

    def _acked(self) -> dict[bytes, int]:
        return {
            cell_id: member.acked.sequence
            for cell_id, member in self._members.items()
            if member.acked is not None
        }

    def _on_fenced(self, cell_id: bytes, current: int) -> None:
        """Note that a cell has promised a later epoch. One that most cells have promised has begun;
        a cell that is alone with it, from a coordinator that did not get further, follows again in
        an epoch after that."""
        if self.fenced is not None or current <= self._gate.epoch:
            return
        if not self._later:
            self._nursery.start_soon(self._begin_again_later)
        self._later.add(cell_id)
        # At first there is no group yet: those that are to keep it.
        groups = self._groups or [tuple(self._members)]
        if any(len(self._later & set(each)) >= quorum(len(each)) for each in groups):
            self.fenced = Refused(Refusal.JOURNAL_EPOCH, current=current)
            self._lose_lease()
            self._world.log.error("journal_fenced", epoch=self._gate.epoch, current=current)
            self._nursery.start_soon(self._end_fenced)

    async def _begin_again_later(self) -> None:
        """Have the store opened again, unless it turns out that another coordinator is active."""
        await trio.sleep(self._later_promises.pause_s)
        self._later_promises.pause_s = min(2 * self._later_promises.pause_s, LONGEST_PATIENCE_S)
        self._world.log.warning("journal_epoch_passed", epoch=self._gate.epoch)
        self.stale.set()

    async def _end_fenced(self) -> None:
        assert self.fenced is not None
        raise self.fenced

    # --- members ------------------------------------------------------------------------------

    def _follow(self, endpoint: Endpoint) -> None:
        member = Member(
            JournalCell(self._pool, endpoint),
            self._recent,
            self._gate.epoch,
            self._run_id,
            self._opener.at,
            self._world.log,
            send_snapshot=partial(self._snapshots.send, self._recent),
            wants_snapshot=partial(self._snapshots.is_due, self._recent),
            on_progress=self._on_progress,
            on_confirmed=self.lease.confirm,
            on_fenced=self._on_fenced,
        )
        self._members[bytes(endpoint.cell_id)] = member
        self._nursery.start_soon(member.run)

    def _candidates(self) -> dict[bytes, KnownCell]:
        """All cells that are known, as those that may keep the journal: what does not answer this
        coordinator is not fit, though it be heard."""
        now = trio.current_time()
        found = {}
        for each in self._known_cells():
            candidate = each.candidate
            member = self._members.get(candidate.cell_id)
            if member is not None and now - member.well_at > REPLACE_AFTER_S:
                candidate = replace(candidate, is_fit=False, is_away=True)
            elif not each.endpoint.port or now < self._passed_over.get(
                candidate.cell_id, -math.inf
            ):
                candidate = replace(candidate, is_fit=False)
            found[candidate.cell_id] = replace(each, candidate=candidate)
        return found

    def _choose(self, current: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
        """The cells that should keep the journal in the place of the current ones."""
        known = self._candidates()
        ids = [bytes(each.cell_id) for each in current]
        where = {bytes(each.cell_id): each for each in current}
        where |= {each: cell.endpoint for each, cell in known.items() if cell.endpoint.port}
        chosen = choose(ids, [each.candidate for each in known.values()])
        return tuple(where[each] for each in chosen)

    async def _keep_members(self) -> None:
        before: tuple[Endpoint, ...] = ()
        while True:
            current = () if self._configured is None else self._configured.members
            wanted = self._choose(current)
            is_settled = wanted == current and not self._is_relocated
            # Cells join one after the other: what is wanted twice is done.
            if not is_settled and wanted == before and wanted:
                try:
                    await (self._begin(wanted) if not current else self._change(wanted))
                    self._trouble = ""
                except AlvearyError as error:
                    if self._trouble != str(error):
                        self._world.log.warning("journal_cells_not_changed", error=str(error))
                    self._trouble = str(error)
                    await trio.sleep(LOOK_EVERY_S)
            before = wanted
            await trio.sleep(LOOK_EVERY_S if is_settled else LOOK_SOON_S)

    async def _begin(self, wanted: tuple[Endpoint, ...]) -> None:
        """Begin to keep a journal: commits wait for it once most of the cells have everything."""
        highest = await self._promise(wanted)
        if self._gate.mode is GateMode.OPEN:
            await self._part_from_before(highest)
        for endpoint in wanted:
            self._follow(endpoint)
        group = tuple(bytes(each.cell_id) for each in wanted)
        try:
            await self._wait_followed(group, wanted)
        except Unavailable:
            self._unfollow(group)
            raise
        self._count([group])
        self.is_kept = True
        await self._configure(JournalMembers(self._gate.epoch, 1, wanted), [group])
        self._world.log.info("journal_kept", epoch=self._gate.epoch, cells=len(wanted))

    async def _promise(self, wanted: tuple[Endpoint, ...]) -> int:
        """Have these cells promise an epoch that none of them has promised to anyone.

        Returns:
            The highest number of a record that one of them has.

        Raises:
            Unavailable: ``journal_unsettled``: one of them did not, and is passed over for a while.
        """
        epoch, highest = max(self._gate.epoch, self._row.end.epoch) + 1, 0
        asked = [JournalCell(self._pool, each) for each in wanted]
        for cell in asked:
            try:
                state = await cell.begin(
                    epoch,
                    self._run_id,
                    succeeds=self._row.end.epoch,
                    at=self._opener.at,
                    timeout_s=CONFIRM_WITHIN_S,
                )
                highest = max(highest, state.end.sequence)
            except AlvearyError as error:
                current = later_epoch(error) if isinstance(error, Refused) else None
                is_new = asked.count(cell) == 1
                if current is not None and is_new and current - epoch <= FURTHEST_LEAP:
                    epoch = current + 1
                    asked.append(cell)
                    continue
                self._passed_over[cell.cell_id] = trio.current_time() + REPLACE_AFTER_S
                raise Unavailable(
                    Outage.JOURNAL_UNSETTLED, cell=cell.cell_id.hex()[:12], error=str(error)
                ) from error
        self._gate.epoch = epoch  # which those that promised an earlier one promise when followed
        return highest

    async def _part_from_before(self, highest: int) -> None:
        """Begin to record, at a point that no cell knows: what was committed while no journal was
        kept is in none of them, though one may have all that the store knows to be before it."""
        row = await self._store.read(journal.load)
        sequence = max(row.end.sequence, highest) + 1
        point = ChainEnd(sequence, self._gate.epoch, self._world.entropy(len(row.end.digest)))
        await self._store.transact(lambda sql: journal.move(unrecorded(sql), point))
        await self._load_numbers()
        self._gate.end = point
        self._recent = Recent(point)
        self._gate.mode = GateMode.RECORDING
        # Commits that began before are durable before this one: a copy of the store has them.
        await self._store.transact(lambda sql: journal.set_members(sql, b"", None))
        await note_own_epoch(self._world.disk, self._world.log, self._gate.epoch)

    def _unfollow(self, cells: Iterable[bytes]) -> None:
        for cell_id in cells:
            self._members.pop(cell_id).scope.cancel()

    async def _change(self, wanted: tuple[Endpoint, ...]) -> None:
        """Have other cells keep the journal: those that join get everything first."""
        assert self._configured is not None
        before = {bytes(each.cell_id): each for each in self._configured.members}
        after = {bytes(each.cell_id): each for each in wanted}
        for cell_id, endpoint in after.items():
            if before.get(cell_id) != endpoint:
                if cell_id in self._members:
                    self._unfollow([cell_id])
                self._follow(endpoint)
        old, new = tuple(before), tuple(after)
        try:
            await self._wait_followed(new, wanted)
            self._count([old, new])
            await self._wait_followed(new, wanted)
        except Unavailable:
            self._count([old])
            self._on_progress()
            self._unfollow(sorted(after.keys() - before.keys()))
            raise
        version = self._configured.version + 1
        await self._configure(JournalMembers(self._gate.epoch, version, wanted), [old, new])
        self._count([new])
        self._on_progress()
        self._unfollow(sorted(before.keys() - after.keys()))
        self._world.log.info("journal_cells_changed", cells=len(new), version=version)

    async def _wait_followed(self, group: tuple[bytes, ...], wanted: tuple[Endpoint, ...]) -> None:
        """Wait until most of a group have everything that was sent so far.

        Raises:
            Unavailable: ``journal_unsettled``: others should keep the journal by now.
        """
        end = self._recent.end.sequence
        while passed([group], self._acked()) < end:
            progress = self._progress
            with trio.move_on_after(LOOK_EVERY_S):
                await progress.wait()
                continue
            if {each.cell_id for each in self._choose(wanted)} != {e.cell_id for e in wanted}:
                raise Unavailable(Outage.JOURNAL_UNSETTLED)

    async def _configure(
        self, members: JournalMembers, groups: Sequence[tuple[bytes, ...]]
    ) -> None:
        """Have most cells of each group, and the store, remember who keeps the journal."""
        sealed = seal_members(self._key, members, self._world.entropy)
        done: set[bytes] = set()
        ids = {each for group in groups for each in group}
        while True:
            for cell_id in sorted(ids - done):
                try:
                    cell = self._members[cell_id].cell
                    await cell.configure(members.epoch, members.version, sealed)
                    done.add(cell_id)
                except AlvearyError as error:
                    self._world.log.info("journal_cell_silent", cell=cell_id, error=str(error))
            if all(len(done & set(group)) >= quorum(len(group)) for group in groups):
                break
            await trio.sleep(1)
        key_id = self._keys.swarm_id
        while True:
            try:
                await self._store.transact(lambda sql: journal.set_members(sql, key_id, members))
                break
            except Unavailable as error:  # of the medium; or the store is opened again soon
                self._world.log.info("journal_cells_not_changed", error=str(error))
            await trio.sleep(1)
        self._configured, self._is_relocated = members, False
        await write_recovery(self._world.disk, self._world.log, self._keys, members)

    # --- shown --------------------------------------------------------------------------------

    def tell(self) -> dict[str, Any]:
        """For operators, JSON-like."""
        known = {cell_id: each.candidate for cell_id, each in self._candidates().items()}
        ids = (
            [] if self._configured is None else [bytes(e.cell_id) for e in self._configured.members]
        )
        cells = []
        for cell_id in ids:
            member = self._members.get(cell_id)
            acked = None if member is None else member.acked
            cells.append(
                {
                    "cell_id": cell_id.hex(),
                    "behind": None if acked is None else self.sequence - acked.sequence,
                    "error": member.error if member is not None else "",
                }
            )
        return {
            "state": self._state(),
            "why": self._why(known, ids),
            "epoch": self._gate.epoch,
            "sequence": self.sequence,
            "cells": cells,
            "lease": {
                "enforced": self.lease.is_enforced,
                "held": self.lease.is_held(trio.current_time()),
            },
        }

    def _state(self) -> str:
        if self.is_kept and self._configured is not None:
            return "kept"
        return "unsettled" if self._gate.mode is GateMode.HOLDING else "not kept"

    def _why(self, known: dict[bytes, JournalCandidate], ids: Sequence[bytes]) -> str:
        if self._state() == "unsettled":
            return "too few of the cells that keep the journal answer: nothing can be written"
        if self._state() == "kept":
            return weakness([known[each] for each in ids if each in known])
        fit = sum(each.is_fit for each in known.values())
        alone = "what this coordinator writes is on its own disk alone"
        if fit < FEWEST:
            return f"it takes {FEWEST} cells, and {fit} can be reached: {alone}"
        if self._trouble:
            return f"cells do not take it ({self._trouble}): {alone}"
        return "the cells are being given what there is so far"


def _answer_s(member: Member) -> float:
    return member.answer_s


def _move(settled: BegunEpoch, sql: Sql) -> None:
    journal.move(unrecorded(sql), settled.begun.end)
