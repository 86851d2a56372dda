"""Is a history of operations on one key linearizable?

A Wing-Gong search with Lowe's memory of what was searched (smaller here, since operations of
unknown outcome may be left out), for one register that holds a value or nothing. Histories are
split by key before (linearizability is compositional). An operation whose outcome is unknown stays
open to the end of the history: it may take effect at any later moment, or never.

Source: Wing and Gong, "Testing and Verifying Concurrent Objects" (1993); Lowe, "Testing for
linearizability" (2017).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from enum import Enum
from typing import Final

from common.data_classes import dataclass

ABSENT: Final = None
SOME_VALUE: Final = "a value that nobody saw"
UNKNOWN_END: Final = math.inf
MAX_SEARCH_STATES: Final = 500_000


class RegisterEffect(Enum):
    """The effect of an operation on the register."""

    PUT = "put"
    DELETE = "delete"
    GET = "get"
    EXISTS = "exists"
    PUT_IF_ABSENT = "put-if-absent"
    PUT_IF_MATCH = "put-if-match"


@dataclass(frozen=True, slots=True)
class RegisterOperation:
    """One call on one key.

    Args:
        kind: what was asked.
        start_s, end_s: when it was called and answered; ``UNKNOWN_END`` when the outcome is
            unknown.
        value: what a put writes (unique in the history), or what a get returned (``ABSENT``: not
            found).
        expected: for PUT_IF_MATCH the value that must be there.
        holds: for EXISTS whether it was there; for the conditional puts whether they were done.
        given_up_s: of an unknown outcome, when the caller stopped to wait for it.
    """

    kind: RegisterEffect
    start_s: float
    end_s: float
    value: str | None = None
    expected: str | None = None
    holds: bool = True
    given_up_s: float = UNKNOWN_END

    @property
    def is_unknown(self) -> bool:
        return self.end_s == UNKNOWN_END


class SearchTooLarge(Exception):
    """The history needs more states than the search may visit: neither verdict is proven."""


def _step(operation: RegisterOperation, state: str | None) -> tuple[bool, str | None]:
    """Return whether the operation is possible in this state, and the state after it."""
    kind = operation.kind
    if kind is RegisterEffect.PUT:
        return True, operation.value
    if kind is RegisterEffect.DELETE:
        return True, ABSENT
    if kind is RegisterEffect.GET:
        return operation.is_unknown or state == operation.value, state
    if kind is RegisterEffect.EXISTS:
        return operation.is_unknown or (state is not ABSENT) == operation.holds, state
    condition = (
        state is ABSENT if kind is RegisterEffect.PUT_IF_ABSENT else state == operation.expected
    )
    after = operation.value if condition else state
    return operation.is_unknown or condition == operation.holds, after


class _Entry:
    """A call or a return in the doubly linked history."""

    __slots__ = ("index", "is_call", "matching", "next", "previous")

    def __init__(self, index: int, is_call: bool) -> None:
        self.index = index
        self.is_call = is_call
        self.matching: _Entry | None = None
        self.next: _Entry | None = None
        self.previous: _Entry | None = None


def _link(history: Sequence[RegisterOperation]) -> _Entry:
    """The history as a linked list of calls and returns in time order, behind a head entry."""
    events: list[tuple[float, int, int, _Entry]] = []
    for index, operation in enumerate(history):
        call, back = _Entry(index, True), _Entry(index, False)
        call.matching = back
        events.append((operation.start_s, 0, index, call))
        events.append((operation.end_s, 1, index, back))
    events.sort(key=lambda event: event[:3])
    head = last = _Entry(-1, False)
    for *_, entry in events:
        last.next, entry.previous = entry, last
        last = entry
    return head


def _lift(call: _Entry) -> None:
    """Take a call and its return out of the list."""
    for entry in (call, call.matching):
        assert entry is not None
        assert entry.previous is not None
        entry.previous.next = entry.next
        if entry.next is not None:
            entry.next.previous = entry.previous


def _unlift(call: _Entry) -> None:
    """Put them back, in the opposite order."""
    for entry in (call.matching, call):
        assert entry is not None
        assert entry.previous is not None
        entry.previous.next = entry
        if entry.next is not None:
            entry.next.previous = entry


class _Memory:
    """The configurations already searched: the set of operations done, and the state.

    An operation of unknown outcome need never happen. So a search that came to the same state with
    the same answered operations and fewer of the unknown ones could go on at least as well.
    """

    def __init__(self, history: Sequence[RegisterOperation]) -> None:
        self._unknown = sum(1 << at for at, each in enumerate(history) if each.is_unknown)
        self._seen: dict[tuple[int, str | None], list[int]] = {}
        self._count = 0

    def is_new(self, done: int, state: str | None) -> bool:
        """Return whether the configuration is worth searching, and remember it if so.

        Raises:
            SearchTooLarge: too much is remembered.
        """
        used = done & self._unknown
        before = self._seen.setdefault((done & ~self._unknown, state), [])
        if any(each & used == each for each in before):
            return False
        before[:] = [each for each in before if each & used != used]
        before.append(used)
        self._count += 1
        if self._count > MAX_SEARCH_STATES:
            raise SearchTooLarge
        return True


def _without_names_nobody_saw(history: Iterable[RegisterOperation]) -> list[RegisterOperation]:
    """The same history with one name for all values that nobody read or expected: which of them is
    there makes no difference, and so much less is to be searched."""
    history = list(history)
    seen = {each.value for each in history if each.kind is RegisterEffect.GET}
    seen |= {each.expected for each in history}
    return [
        each if each.value is ABSENT or each.value in seen else replace(each, value=SOME_VALUE)
        for each in history
    ]


def is_linearizable(history: Sequence[RegisterOperation], initial: str | None = ABSENT) -> bool:
    """Return whether some order of the operations, each between its start and end, explains all
    results.

    Args:
        history: operations on one key, in any order.
        initial: the register's value before the first one.

    Raises:
        SearchTooLarge: after MAX_SEARCH_STATES states; split the history or shorten it.
    """
    history = _without_names_nobody_saw(
        each
        for each in history
        if not (each.is_unknown and each.kind in (RegisterEffect.GET, RegisterEffect.EXISTS))
    )
    head = _link(history)
    state = initial
    linearized = 0
    memory = _Memory(history)
    stack: list[tuple[_Entry, str | None]] = []
    entry = head.next
    while head.next is not None:
        assert entry is not None
        if entry.is_call:
            possible, after = _step(history[entry.index], state)
            done = linearized | 1 << entry.index
            if possible and memory.is_new(done, after):
                stack.append((entry, state))
                state, linearized = after, done
                _lift(entry)
                entry = head.next
            else:
                entry = entry.next
        else:
            if history[entry.index].is_unknown:
                # Only operations of unknown outcome are left: they may never have happened.
                return True
            if not stack:
                return False
            entry, state = stack.pop()
            linearized &= ~(1 << entry.index)
            _unlift(entry)
            entry = entry.next
    return True


def shrink(
    history: Sequence[RegisterOperation], initial: str | None = ABSENT
) -> list[RegisterOperation]:
    """The shortest prefix (by end time) of a history that is not linearizable, for people.

    Args:
        history: one for which :func:`is_linearizable` is false.
    """
    ordered = sorted(history, key=lambda each: (each.end_s, each.start_s))
    low, high = 0, len(ordered)
    while low + 1 < high:
        middle = (low + high) // 2
        cut = ordered[:middle]
        horizon = cut[-1].end_s if cut else 0.0
        opened = [
            RegisterOperation(each.kind, each.start_s, UNKNOWN_END, each.value, each.expected)
            for each in ordered[middle:]
            if each.start_s < horizon
        ]
        if is_linearizable([*cut, *opened], initial):
            low = middle
        else:
            high = middle
    return list(ordered[:high])
