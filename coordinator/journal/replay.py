"""The store takes in what the journal has and it has not.

Source: docs/journal.md, "Settling" and "Recovery".
"""

from __future__ import annotations

from collections.abc import Sequence

from common.crypto.journal import JournalReader
from common.errors import Corrupt, PeerViolation
from common.format.journal import ChainEnd, follow
from common.ports import Sql, Store
from common.reasons import Damage, Violation
from common.recording import run, unrecorded
from coordinator.journal.cells import JournalCell, end_in
from coordinator.journal.commits import Assembly, Commit, open_record, unpack_commit
from coordinator.journal.settling import BegunEpoch
from coordinator.store import dialect, journal


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
    at, count = (await store.read(journal.load)).end, 0
    assembly = Assembly()
    texts = await store.read(journal.texts)
    while at.sequence < end.sequence:
        data = await cell.read(at.sequence)
        commits, at = _opened(key, at, end, data, assembly, texts)
        await store.transact(_Applying(commits, at))
        count += len(commits)
    if at != end:
        raise PeerViolation(Violation.WRONG_ANSWER, what="another journal")
    return count


def _opened(
    key: JournalReader,
    at: ChainEnd,
    last: ChainEnd,
    data: memoryview,
    assembly: Assembly,
    texts: dict[int, str],
) -> tuple[list[Commit], ChainEnd]:
    """The commits in records after a point, up to the last one that is wanted."""
    commits: list[Commit] = []
    before = at
    for head, record, end in follow(at, data):
        for packed in assembly.take(head.epoch, open_record(key, head, record)):
            commits.append(unpack_commit(packed, texts))
            texts.update(commits[-1].definitions)
        at = end
        if at.sequence == last.sequence:
            break  # the record that begins this epoch may be there, too
    if at is before:
        raise PeerViolation(Violation.WRONG_ANSWER, what="journal is shorter than it said")
    return commits, at


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
