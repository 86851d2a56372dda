"""The audits of cells that are due, and those under way.

No I/O: time, chance and random bytes are arguments. A question is put until it is answered: one
that was left without an answer comes again, about the same shard, and the AUDIT_TRIES-th time
without an answer is the answer.

Source: docs/repair.md, "Audits".
"""

from __future__ import annotations

import math
from dataclasses import field
from typing import Final

from common import limits
from common.data_classes import dataclass
from common.errors import NotFound, Refused
from common.ports import Chance
from common.reasons import Absence, Refusal
from coordinator.policy.audit import (
    DRAW_BYTES,
    SampledShard,
    Sampler,
    Subject,
    commit_within_s,
    cost_bytes,
    drawn_units,
    interval_s,
    units_opened,
)

AUDIT_ID_BYTES: Final = 16


@dataclass(slots=True)
class Question:
    """A question to a cell. ``commitment``: the fresh root that it named; empty: none yet."""

    audit_id: bytes
    nonce: bytes
    subject: Subject
    deadline: float
    """For the commitment; trio's time."""
    commitment: bytes = b""
    units: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A shard about which a cell gave no answer. ``was_asked``: it knew which one."""

    cell: int
    sample: SampledShard
    was_asked: bool


@dataclass(slots=True)
class _Watch:
    """A cell that is audited."""

    planned_at: float
    """The time at which shards were last drawn, or at which the cell was first heard."""
    samples: list[SampledShard] = field(default_factory=list)
    stored_bytes: int = 0
    is_planning: bool = False
    due_at: float = math.inf
    announced_at: float | None = None
    """The time since which heartbeats say that an audit is due."""
    sample: SampledShard | None = None
    """The shard that is being asked about."""
    question: Question | None = None
    lapses: int = 0
    """Questions about it that were left without an answer."""


class AuditBook:
    """Decides when cells are asked and about what, and remembers what they were asked.

    Args:
        traffic_ppm: millionths of what a cell should hold that its audits may move in a day; 0:
            there are no audits.
        least_s: the shortest interval between two audits of a cell.
    """

    def __init__(self, *, traffic_ppm: int, least_s: float) -> None:
        self._traffic_ppm = traffic_ppm
        self._least_s = least_s
        self._watches: dict[int, _Watch] = {}
        self._to_plan: dict[int, None] = {}
        self._unanswered: list[Unanswered] = []

    # --- heartbeats and plans --------------------------------------------------------------------

    def heard(self, cell: int, now: float) -> bool:
        """Take in a heartbeat. Return whether an audit of the cell is due."""
        if not self._traffic_ppm:
            return False
        watch = self._watches.setdefault(cell, _Watch(now))
        age_s = now - watch.planned_at
        is_old = age_s > (limits.AUDIT_PLAN_AGE_S if watch.samples else self._least_s)
        if is_old and not watch.is_planning:
            watch.is_planning = True
            self._to_plan[cell] = None
        if not self._is_due(watch, now):
            return False
        if watch.announced_at is None:
            watch.announced_at = now
        elif now - watch.announced_at > limits.AUDIT_PATIENCE_S:
            self._lapse(cell, watch, now)
            return False
        return True

    def _is_due(self, watch: _Watch, now: float) -> bool:
        return now >= watch.due_at and bool(watch.samples or watch.sample)

    def take_to_plan(self) -> int | None:
        """Take a cell of which shards are to be drawn, if there is one. Call :meth:`planned` or
        :meth:`not_planned` about it."""
        cell = next(iter(self._to_plan), None)
        if cell is not None:
            del self._to_plan[cell]
        return cell

    def planned(self, cell: int, sampler: Sampler, now: float, chance: Chance) -> None:
        """Take in the shards that were drawn of a cell."""
        watch = self._watches[cell]
        watch.is_planning = False
        watch.planned_at = now
        watch.samples = list(sampler.drawn)
        watch.stored_bytes = sampler.total_bytes
        if watch.samples and watch.due_at == math.inf:
            # Not all cells at once after a start; nor is one asked more often by many starts.
            watch.due_at = now + chance.uniform(0.5, 1.0) * self._interval_s(watch)

    def not_planned(self, cell: int) -> None:
        """Take in that no shards could be drawn: it is tried again."""
        self._watches[cell].is_planning = False

    def _interval_s(self, watch: _Watch) -> float:
        sample = watch.sample or (watch.samples[-1] if watch.samples else None)
        cost = 0 if sample is None else cost_bytes(sample.unit_bytes, sample.shard_bytes)
        return interval_s(
            cost,
            watch.stored_bytes,
            traffic_ppm=self._traffic_ppm,
            least_s=self._least_s,
            cells=len(self._watches),
        )

    def _lapse(self, cell: int, watch: _Watch, now: float) -> None:
        """Take in that a question, or the word that one is due, was left without an answer."""
        watch.announced_at = None
        watch.due_at = now + self._interval_s(watch)
        watch.sample = watch.sample or watch.samples.pop()
        watch.lapses += 1
        if watch.lapses >= limits.AUDIT_TRIES:
            was_asked = watch.question is not None
            self._unanswered.append(Unanswered(cell, watch.sample, was_asked))
            self._forget(watch)

    def take_unanswered(self) -> Unanswered | None:
        """Take a shard about which its cell did not answer, if there is one."""
        return self._unanswered.pop() if self._unanswered else None

    def _forget(self, watch: _Watch) -> None:
        watch.sample = watch.question = None
        watch.lapses = 0

    @property
    def has_work(self) -> bool:
        """Return whether there is something to plan or to note."""
        return bool(self._to_plan or self._unanswered)

    # --- questions -------------------------------------------------------------------------------

    def current(self, cell: int, now: float) -> Question | None:
        """Return the question that the cell was asked, where it can still be answered as it is."""
        watch = self._watches.get(cell)
        question = None if watch is None else watch.question
        if question is None or watch is None or self._is_due(watch, now):
            return None
        return question if question.commitment or now <= question.deadline else None

    def next_sample(self, cell: int, now: float) -> SampledShard | None:
        """Return the shard that a cell is to be asked about now; None: no audit is due.

        Call :meth:`ask` or :meth:`skip` about it.
        """
        watch = self._watches.get(cell)
        if watch is None or not self._is_due(watch, now):
            return None
        if watch.question is not None:
            self._lapse(cell, watch, now)
            if watch.sample is None:
                return None
            watch.due_at = now  # the question is put again at once
        if watch.sample is None:
            watch.sample = watch.samples.pop()
        return watch.sample

    def skip(self, cell: int) -> Question | None:
        """Take in that the cell is not to be asked about the shard any more. Return the question
        about it that it left without an answer."""
        watch = self._watches[cell]
        question = watch.question
        self._forget(watch)
        return question

    def ask(self, cell: int, subject: Subject, now: float, random_bytes: bytes) -> Question:
        """Return the question about a shard. A commitment that was made stands.

        Args:
            random_bytes: 48 bytes that nobody could know before.
        """
        watch = self._watches[cell]
        watch.announced_at = None
        watch.due_at = now + self._interval_s(watch)
        question = watch.question
        if question is None or not question.commitment or question.subject != subject:
            audit_id, nonce = random_bytes[:AUDIT_ID_BYTES], random_bytes[AUDIT_ID_BYTES:]
            deadline = now + commit_within_s(subject.shard_bytes)
            question = watch.question = Question(audit_id, nonce, subject, deadline)
        return question

    def find(self, cell: int, audit_id: bytes) -> Question:
        """Return the question with this id.

        Raises:
            NotFound: ``no_such_audit``: it was answered, or others were asked since.
        """
        watch = self._watches.get(cell)
        question = None if watch is None else watch.question
        if question is None or question.audit_id != audit_id:
            raise NotFound(Absence.NO_SUCH_AUDIT)
        return question

    def commit(self, question: Question, root: bytes, draws: bytes, now: float) -> tuple[int, ...]:
        """Take in a commitment. Return the units that are to be opened.

        Args:
            root: the fresh root.
            draws: random bytes; :func:`draw_bytes` says how many.

        Raises:
            Refused: ``audit_answered``: the cell has committed to another root; ``audit_late``.
        """
        if question.commitment:
            if question.commitment != root:
                raise Refused(Refusal.AUDIT_ANSWERED)
            return question.units
        if now > question.deadline:
            raise Refused(Refusal.AUDIT_LATE)
        question.commitment = root
        question.units = drawn_units(question.subject, draws)
        return question.units

    def end(self, cell: int, question: Question) -> None:
        """Take in that a question is answered."""
        watch = self._watches[cell]
        if watch.question is question:
            self._forget(watch)


def draw_bytes(subject: Subject) -> int:
    """Return how many random bytes draw the units of a shard."""
    return DRAW_BYTES * units_opened(subject.unit_bytes, subject.shard_bytes)
