"""The gate of the store's commits: each is sealed as a record of the journal before it passes.

Source: docs/journal.md, "Order of a commit".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum

from common import limits
from common.crypto.journal import JournalKey
from common.data_classes import dataclass
from common.errors import AlvearyError, Unavailable
from common.format.journal import BEGINNING, ChainEnd
from common.ports import Entropy, Sql, SqlStatement
from common.reasons import Outage
from coordinator.journal.commits import SealedRecord, pack_commit, seal_commit
from coordinator.store import journal

Done = Callable[[AlvearyError | None], None]


class GateMode(Enum):
    """The treatment of commits."""

    OPEN = "open"
    """No journal is kept."""
    HOLDING = "holding"
    """A journal is kept and not settled yet: nothing is committed."""
    RECORDING = "recording"
    """Every commit becomes records."""


@dataclass(frozen=True, slots=True)
class SealedCommit:
    """A commit at the gate."""

    records: Sequence[SealedRecord]
    definitions: Sequence[tuple[int, str]]

    @property
    def end(self) -> ChainEnd:
        """The point after its last record."""
        return self.records[-1].end


class JournalGate:
    """A :class:`common.ports.CommitGate`.

    Args:
        key: records are sealed under it.
    """

    def __init__(self, key: JournalKey, entropy: Entropy) -> None:
        self.mode = GateMode.OPEN
        self.epoch = 0
        self.end: ChainEnd = BEGINNING
        """The point after the last commit that passed."""
        self.numbers: dict[str, int] = {}
        self._key = key
        self._entropy = entropy
        self._on_submit: Callable[[SealedCommit, Done], None] | None = None
        self._on_behind: Callable[[], None] | None = None

    def connect(
        self,
        on_submit: Callable[[SealedCommit, Done], None],
        on_behind: Callable[[], None],
    ) -> None:
        """Name who carries commits to the cells, and who is called when the store lacks a commit
        that they have."""
        self._on_submit, self._on_behind = on_submit, on_behind

    @property
    def is_closed(self) -> bool:
        """See the port."""
        return self.mode is not GateMode.OPEN

    def seal(self, sql: Sql, statements: Sequence[SqlStatement], changes: int) -> SealedCommit:
        """See the port. Raises Unavailable ``journal_unsettled``."""
        if self.mode is not GateMode.RECORDING:
            raise Unavailable(Outage.JOURNAL_UNSETTLED)
        definitions: list[tuple[int, str]] = []
        known = len(self.numbers)
        for text in dict.fromkeys(each.sql for each in statements):
            if text not in self.numbers and known + len(definitions) < limits.MOST_JOURNAL_TEXTS:
                definitions.append((known + len(definitions) + 1, text))
        numbers = {**self.numbers, **{text: number for number, text in definitions}}
        packed = pack_commit(changes, definitions, statements, numbers)
        sealed = SealedCommit(
            seal_commit(self._key, self.epoch, self.end, packed, self._entropy), definitions
        )
        self.write(sql, sealed)
        return sealed

    def write(self, sql: Sql, sealed: object) -> None:
        """See the port."""
        assert isinstance(sealed, SealedCommit)
        if sealed.definitions:
            journal.define(sql, sealed.definitions)
        journal.move(sql, sealed.end)

    def submit(self, sealed: object, done: Done) -> None:
        """See the port."""
        assert isinstance(sealed, SealedCommit)
        assert self._on_submit is not None
        if self.mode is not GateMode.RECORDING:
            done(Unavailable(Outage.JOURNAL_UNSETTLED))
            return
        self._on_submit(sealed, done)

    def settled(self, sealed: object, *, is_committed: bool) -> None:
        """See the port."""
        assert isinstance(sealed, SealedCommit)
        if is_committed:
            self.end = sealed.end
            self.numbers.update({text: number for number, text in sealed.definitions})
            return
        # The cells have it: it is made again from there before anything else.
        self.mode = GateMode.HOLDING
        assert self._on_behind is not None
        self._on_behind()
