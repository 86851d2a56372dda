"""The beginning of an epoch: the cells promise it, and their journals become one.

Everything that was ever acknowledged is on most of the cells, so it is in the best journal of most
of them. That one is checked, copied to most of them, and closed with a record of the new epoch,
before the store takes in what it lacks. A coordinator that is cut short on the way has changed
nothing that counts.

Source: docs/journal.md, "Settling".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

import trio

from common import limits
from common.crypto.journal import MEMBERS, JournalKey, JournalReader
from common.data_classes import dataclass
from common.errors import AlvearyError, Corrupt, PeerViolation, Refused, Unavailable
from common.format.journal import ChainEnd, end_in, follow
from common.ports import Address, Entropy, Log
from common.reasons import Damage, Outage, Refusal, Violation
from common.rpc.peers import PeerPool
from common.wire.messages.base import Endpoint
from common.wire.messages.journal import JournalMembers, JournalState
from coordinator.journal.cells import NOWHERE, JournalCell
from coordinator.journal.commits import BEGUN, SealedRecord, open_record, seal_record
from coordinator.journal.lease import SUCCESSOR_WAIT_S
from coordinator.journal.snapshots import relay_snapshot
from coordinator.policy.journal import Tail, best_first, quorum

STRAGGLERS_S: Final = 1.0
"""Time for the other cells, once most have promised."""
FURTHEST_LEAP: Final = 1 << 32
"""Between two epochs: a cell that names a later one lies."""
_MEMBERS_CONTEXT: Final = b"members"


def seal_members(key: JournalKey, members: JournalMembers, entropy: Entropy) -> bytes:
    """Return the sealed list of members, as cells remember it."""
    return key.seal(MEMBERS, _MEMBERS_CONTEXT, members.pack(), entropy)


def open_members(key: JournalReader, sealed: bytes) -> JournalMembers:
    """Return the list of members. Raises Corrupt ``journal_not_authentic``."""
    return JournalMembers.unpack(key.open(MEMBERS, _MEMBERS_CONTEXT, sealed))


@dataclass(frozen=True, slots=True)
class MemberJournal:
    """A cell that has promised the epoch, with its journal."""

    cell: JournalCell
    state: JournalState

    @property
    def tail(self) -> Tail:
        """Its journal, for the policy."""
        return Tail(
            self.cell.cell_id, end_in(self.state.base), end_in(self.state.end), self.state.is_whole
        )


@dataclass(frozen=True, slots=True)
class BegunEpoch:
    """A journal that has begun a new epoch.

    ``source``: the cell that the store takes in from what it lacks; None: it lacks nothing.
    ``begun``: the record that closes what was before. ``is_behind_store``: the store has more than
    all cells together, so they are to be filled again. ``alone_at``: the monotonic time from which
    on no earlier coordinator holds a lease (:mod:`coordinator.journal.lease`). ``is_relocated``:
    the members have other addresses here than they themselves remember.
    """

    epoch: int
    members: JournalMembers
    source: MemberJournal | None
    begun: SealedRecord
    is_behind_store: bool
    alone_at: float
    is_relocated: bool


def later_epoch(error: Refused) -> int | None:
    """Return the epoch that a cell has promised already, if that is why it refused."""
    current = error.fields.get("current")
    is_that = error.reason == Refusal.JOURNAL_EPOCH and isinstance(current, int)
    return current if is_that and isinstance(current, int) else None


class EpochBeginning:
    """Begins an epoch.

    Args:
        local: the point up to which the store has everything.
        run_id: 16 bytes, drawn for this process.
        needs_all: whether all cells must answer, not just most: where the store is gone, one that
            answers with an older journal must not be needed.
        own_epoch: the last that a coordinator of this directory has begun; 0: none.
        heard_at: the places where cells were heard since, by id.
        attempted: the last epoch that this process has tried to begin; 0: none.
        at: where this coordinator takes calls.
    """

    def __init__(
        self,
        pool: PeerPool,
        key: JournalKey,
        entropy: Entropy,
        log: Log,
        *,
        local: ChainEnd,
        run_id: bytes,
        needs_all: bool = False,
        own_epoch: int = 0,
        heard_at: Mapping[bytes, Endpoint] = MappingProxyType({}),
        attempted: int = 0,
        at: Address = NOWHERE,
    ) -> None:
        self._pool = pool
        self._key = key
        self._entropy = entropy
        self._log = log
        self._local = local
        self._run_id = run_id
        self._needs_all = needs_all
        self._own_epoch = own_epoch
        self._heard_at = heard_at
        self._at = at
        # Never one that was tried before: there may be a record of it.
        self._epoch = max(local.epoch, attempted) + 1
        self._has_waited = False
        self._held: set[bytes] = set()
        self._promised_at = -math.inf
        self._unusable: set[bytes] = set()

    @property
    def epoch(self) -> int:
        """The epoch that was tried last."""
        return self._epoch

    async def run(self, members: JournalMembers) -> BegunEpoch:
        """Begin an epoch.

        Args:
            members: who kept the journal when last heard of.

        Raises:
            Unavailable: ``journal_unsettled``: too few cells answered; try again;
                ``journal_held_elsewhere``: cells hear another coordinator.
            Corrupt: ``journal_forked``: the store is not of this journal.
        """
        answers: dict[bytes, MemberJournal] = {}
        for _ in range(limits.MOST_SETTLING_TRIES):
            asked = [each for each in members.members if bytes(each.cell_id) not in answers]
            where = [self._heard_at.get(bytes(each.cell_id), each) for each in asked]
            await self._begin([JournalCell(self._pool, each) for each in where], answers, members)
            newest = self._newest_members(answers, members)
            if newest is members:
                break
            members = newest
        own = [bytes(each.cell_id) for each in members.members]
        return await self._settle([answers[each] for each in own if each in answers], members)

    def _newest_members(
        self, answers: dict[bytes, MemberJournal], members: JournalMembers
    ) -> JournalMembers:
        for answer in answers.values():
            if not answer.state.members:
                continue
            try:
                named = open_members(self._key, answer.state.members)
            except (Corrupt, PeerViolation) as error:
                self._suspect(answer, error)
                continue
            if (named.epoch, named.version) > (members.epoch, members.version):
                members = named
        return members

    async def _begin(
        self,
        cells: Sequence[JournalCell],
        answers: dict[bytes, MemberJournal],
        members: JournalMembers,
    ) -> None:
        """Have most of the members promise one epoch."""
        own = {bytes(each.cell_id) for each in members.members}
        needed = len(own) if self._needs_all else quorum(len(own))
        for number in range(1, limits.MOST_SETTLING_TRIES + 1):
            later = await self._ask(cells, answers, own, needed)
            # A cell with a later promise would follow no more: begin after that, unless it lies.
            is_last = not later or number == limits.MOST_SETTLING_TRIES
            if is_last and len(own & answers.keys()) >= needed:
                self._promised_at = trio.current_time()
                waited = [each for each in own & answers.keys() if answers[each].state.has_waited]
                self._has_waited = len(waited) >= quorum(len(own))
                return
            if not later:
                break
            self._epoch = max(later) + 1
            asked = {each.cell_id for each in cells}
            cells = [
                *cells,
                *(each.cell for each in answers.values() if each.cell.cell_id not in asked),
            ]
            answers.clear()
        raise Unavailable(
            Outage.JOURNAL_HELD_ELSEWHERE if self._held else Outage.JOURNAL_UNSETTLED,
            answered=len(own & answers.keys()),
            needed=needed,
        )

    async def _ask(
        self,
        cells: Sequence[JournalCell],
        answers: dict[bytes, MemberJournal],
        own: set[bytes],
        needed: int,
    ) -> list[int]:
        """Ask cells to promise the epoch, until all have answered or, a little later, most.

        Returns:
            The later epochs that some have promised already.
        """
        later: list[int] = []
        enough = trio.Event()

        async def ask(cell: JournalCell) -> None:
            try:
                state = await cell.begin(
                    self._epoch, self._run_id, succeeds=self._own_epoch, at=self._at
                )
            except Refused as error:
                if error.reason == Refusal.JOURNAL_HELD:
                    self._held.add(cell.cell_id)
                current = later_epoch(error)
                if current is not None and current - self._epoch < FURTHEST_LEAP:
                    later.append(current)
            except AlvearyError as error:
                self._log.info("journal_cell_silent", cell=cell.cell_id, error=str(error))
            else:
                answers[cell.cell_id] = MemberJournal(cell, state)
                if len(own & answers.keys()) >= needed:
                    enough.set()

        async with trio.open_nursery() as nursery:

            async def stop_soon() -> None:
                await enough.wait()
                await trio.sleep(STRAGGLERS_S)
                nursery.cancel_scope.cancel()

            nursery.start_soon(stop_soon)
            async with trio.open_nursery() as asking:
                for each in cells:
                    asking.start_soon(ask, each)
            nursery.cancel_scope.cancel()
        return later

    async def _settle(self, answers: list[MemberJournal], members: JournalMembers) -> BegunEpoch:
        needed = quorum(len(members.members))
        by_id = {each.cell.cell_id: each for each in answers}
        forks: list[AlvearyError] = []
        for tail in best_first(each.tail for each in answers):
            honest = [each for each in answers if each.cell.cell_id not in self._unusable]
            if len([each for each in honest if each.state.is_whole]) < needed:
                break
            best = by_id[tail.cell_id]
            if best.cell.cell_id in self._unusable:
                continue
            is_behind = (tail.end.epoch, tail.end.sequence) < (
                self._local.epoch,
                self._local.sequence,
            )
            if is_behind:
                self._log.error(
                    "journal_behind_store",
                    journal=tail.end.sequence,
                    store=self._local.sequence,
                )
                begun = self._begun(self._local)
                return self._begun_epoch(members, None, begun, is_behind_store=True)
            try:
                await self._check(best)
            except (Corrupt, PeerViolation) as error:
                if error.reason == Damage.JOURNAL_FORKED:
                    forks.append(error)  # of most cells, or one lies
                self._suspect(best, error)
                continue
            except AlvearyError as error:  # it was there a moment ago; others may be enough
                self._unusable.add(best.cell.cell_id)
                self._log.info("journal_cell_silent", cell=best.cell.cell_id, error=str(error))
                continue
            return await self._close(best, honest, members, needed)
        if len(forks) >= needed:
            raise forks[0]
        raise Unavailable(Outage.JOURNAL_UNSETTLED, answered=len(answers), needed=needed)

    def _suspect(self, answer: MemberJournal, error: AlvearyError) -> None:
        self._unusable.add(answer.cell.cell_id)
        self._log.error("journal_cell_lies", cell=answer.cell.cell_id, error=str(error))

    async def _check(self, best: MemberJournal) -> None:
        """Check that what the store lacks is authentic, follows what it has, and ends where the
        cell said.

        Raises:
            Corrupt: ``journal_not_authentic``, ``journal_forked``.
            PeerViolation: ``bad_record``, ``wrong_answer``.
        """
        end, base = end_in(best.state.end), end_in(best.state.base)
        # Of a store that is behind the snapshot, this is checked when it is read.
        at = base if self._local.sequence < base.sequence else self._local
        first = True
        while at.sequence < end.sequence:
            data = await best.cell.read(at.sequence)
            try:
                for head, record, after in follow(at, data):
                    open_record(self._key, head, record)
                    at, first = after, False
                    if at.sequence == end.sequence:
                        break
            except PeerViolation:
                if first and at is self._local:
                    raise Corrupt(Damage.JOURNAL_FORKED, sequence=at.sequence) from None
                raise
            if not len(data):
                raise PeerViolation(Violation.WRONG_ANSWER, what="journal is shorter than it said")
        if at is self._local and at != end:
            raise Corrupt(Damage.JOURNAL_FORKED, sequence=at.sequence)
        if at != end:
            raise PeerViolation(Violation.WRONG_ANSWER, what="another journal")

    async def _close(
        self,
        best: MemberJournal,
        answers: list[MemberJournal],
        members: JournalMembers,
        needed: int,
    ) -> BegunEpoch:
        """Bring most of the cells to the end of the best journal, and begin the epoch there."""
        end = end_in(best.state.end)
        begun = self._begun(end)
        reached: list[bytes] = []

        async def bring(other: MemberJournal) -> None:
            try:
                if other is not best:
                    await self._bring(best, other)
                await other.cell.append(self._epoch, end, begun.record)
            except AlvearyError as error:
                self._log.warning(
                    "journal_cell_not_settled", cell=other.cell.cell_id, error=str(error)
                )
            else:
                reached.append(other.cell.cell_id)

        async with trio.open_nursery() as nursery:
            for each in answers:
                nursery.start_soon(bring, each)
        if len(reached) < needed:
            raise Unavailable(Outage.JOURNAL_UNSETTLED, answered=len(reached), needed=needed)
        source = best if self._local.digest != end.digest else None
        return self._begun_epoch(members, source, begun, is_behind_store=False)

    def _begun_epoch(
        self,
        members: JournalMembers,
        source: MemberJournal | None,
        begun: SealedRecord,
        *,
        is_behind_store: bool,
    ) -> BegunEpoch:
        # This directory had begun the store's epoch, and most cells had promised no later one.
        is_alone = self._has_waited or self._own_epoch == self._local.epoch == self._epoch - 1
        alone_at = self._promised_at + (0.0 if is_alone else SUCCESSOR_WAIT_S)
        where = tuple(self._heard_at.get(bytes(each.cell_id), each) for each in members.members)
        return BegunEpoch(
            self._epoch,
            replace(members, members=where),
            source,
            begun,
            is_behind_store=is_behind_store,
            alone_at=alone_at,
            is_relocated=where != members.members,
        )

    def _begun(self, after: ChainEnd) -> SealedRecord:
        body = bytes([BEGUN]) + self._run_id
        return seal_record(self._key, self._epoch, after, body, self._entropy)

    async def _bring(self, best: MemberJournal, other: MemberJournal) -> None:
        """Give a cell what the best journal has and its own has not."""
        base, end = end_in(best.state.base), end_in(best.state.end)
        own = end_in(other.state.end)
        starts = [own] if other.state.is_whole and base.sequence <= own.sequence else []
        for start in [*starts, base]:
            if start.sequence > end.sequence:
                continue
            try:
                await self._stream(best, other, start, end)
                return
            except (Refused, PeerViolation):
                continue
        await relay_snapshot(best.cell, best.state, other.cell, self._epoch)
        await self._stream(best, other, base, end)

    async def _stream(
        self, best: MemberJournal, other: MemberJournal, at: ChainEnd, end: ChainEnd
    ) -> None:
        if at.sequence == end.sequence:
            # Nothing is to be sent; whether it has this point is seen when the epoch is begun.
            if at.digest != end.digest:
                raise PeerViolation(Violation.WRONG_ANSWER, what="another record")
            await other.cell.append(self._epoch, at, b"")
            return
        while at.sequence < end.sequence:
            data = await best.cell.read(at.sequence)
            ends = [after for _, _, after in follow(at, data)]
            if not ends:
                raise Unavailable(Outage.JOURNAL_FAILED)
            await other.cell.append(self._epoch, at, data)
            at = ends[-1]
