"""The store takes in what the journal has and it has not.

Source: docs/journal.md, "Settling" and "Recovery".
"""

from __future__ import annotations

from collections.abc import Sequence

from common.crypto.journal import JournalReader
from common.errors import Corrupt, PeerViolation
from common.format.journal import ChainEnd, end_in, follow
from common.ports import Buffer, Sql, Store
from common.reasons import Damage, Violation
from common.recording import run, unrecorded
from coordinator.journal.cells import JournalCell
from coordinator.journal.commits import Assembly, Commit, open_record, unpack_commit
from coordinator.journal.settling import BegunEpoch
from coordinator.store import dialect, journal
from coordinator.store.journal import JournalRow


class Replay:
    """Makes the commits of a journal again, in a store, from the store's point on.

    ``at``: the point up to which records were taken. The store gets as far as the last whole commit
    among them: a commit is made as a whole, or read again.
    """

    def __init__(self, store: Store, key: JournalReader, row: JournalRow, texts: dict[int, str]):
        self.at = row.end
        self._store = store
        self._key = key
        self._texts = texts
        self._assembly = Assembly()

    @classmethod
    async def load(cls, store: Store, key: JournalReader) -> Replay:
        """Begin where the store is."""
        return cls(
            store, key, *await store.read(lambda sql: (journal.load(sql), journal.texts(sql)))
        )

    async def take(self, records: Buffer, last: int) -> int:
        """Take in records that follow, up to the one of a number.

        Returns:
            The number of commits made.

        Raises:
            PeerViolation: ``bad_record``, ``wrong_answer``: these are not the next records.
            Corrupt: ``journal_not_authentic``, ``journal_diverged``: a commit does other things
                here than where it was made.
            AlvearyError: of the store. Whatever was raised, begin again with :meth:`load`.
        """
        commits: list[Commit] = []
        whole: ChainEnd | None = None
        before = self.at
        for head, record, end in follow(self.at, records):
            for packed in self._assembly.take(head.epoch, open_record(self._key, head, record)):
                commits.append(unpack_commit(packed, self._texts))
                self._texts.update(commits[-1].definitions)
            self.at = end
            if self._assembly.is_whole:
                whole = end
            if end.sequence == last:
                break  # a record that nobody has settled may follow
        if self.at is before:
            raise PeerViolation(Violation.WRONG_ANSWER, what="journal is shorter than it said")
        if whole is not None:
            await self._store.transact(_Applying(commits, whole))
        return len(commits)


async def replay(store: Store, settled: BegunEpoch, key: JournalReader) -> int:
    """Make the commits that the store lacks, from its point on, and note the epoch's beginning.

    Returns:
        The number of commits.

    Raises:
        AlvearyError: as :func:`catch_up`.
    """
    count, source = 0, settled.source
    if source is not None:
        count = await catch_up(store, source.cell, end_in(source.state.end), key)
    await store.transact(lambda sql: journal.move(unrecorded(sql), settled.begun.end))
    return count


async def catch_up(store: Store, cell: JournalCell, end: ChainEnd, key: JournalReader) -> int:
    """Make the commits between the store's point and another, as a cell has them.

    Returns:
        The number of commits.

    Raises:
        Corrupt: ``journal_not_authentic``, ``journal_diverged``: a commit does other things here
            than where it was made.
        PeerViolation: the cell does not have what it said.
        AlvearyError: of a call, or of the store.
    """
    replaying, count = await Replay.load(store, key), 0
    while replaying.at.sequence < end.sequence:
        data = await cell.read(replaying.at.sequence)
        count += await replaying.take(data, end.sequence)
    if replaying.at != end:
        raise PeerViolation(Violation.WRONG_ANSWER, what="another journal")
    return count


class _Applying:
    """A transaction that makes commits again."""

    def __init__(self, commits: Sequence[Commit], end: ChainEnd) -> None:
        self._commits = commits
        self._end = end

    def __call__(self, sql: Sql) -> None:
        plain = unrecorded(sql)
        for commit in self._commits:
            before = dialect.changes(plain)
            run(plain, commit.statements)
            changes = dialect.changes(plain) - before
            if changes != commit.changes:
                raise Corrupt(Damage.JOURNAL_DIVERGED, changed=changes, wanted=commit.changes)
            if commit.definitions:
                journal.define(plain, commit.definitions)
        journal.move(plain, self._end)
