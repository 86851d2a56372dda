"""Who keeps the journal, and up to which record most have it: as tables."""

from __future__ import annotations

import pytest

from common.format.journal import ChainEnd
from coordinator.policy.journal import JournalCandidate, Tail, best_first, choose, passed, weakness

A, B, C, D, E, F = b"a", b"b", b"c", b"d", b"e", b"f"


def cell(
    name: bytes, site: str = "", *, fit: bool = True, stays: bool = True, away: bool = False
) -> JournalCandidate:
    return JournalCandidate(
        name, site or name.decode(), name.decode(), is_fit=fit, stays=stays, is_away=away
    )


@pytest.mark.parametrize(
    ("current", "cells", "chosen"),
    [
        ((), [cell(A), cell(B)], ()),
        ((), [cell(A), cell(B), cell(C, fit=False)], ()),
        ((), [cell(A), cell(B), cell(C)], (A, B, C)),
        # Sites before ids.
        ((), [cell(A, "x"), cell(B, "x"), cell(C, "y"), cell(D, "z")], (A, C, D)),
        ((), [cell(A, "x"), cell(B, "x"), cell(C, "x"), cell(D, "x")], (A, B, C)),
        # Five cells give five, on one site or many; four give three.
        ((), [cell(each) for each in (A, B, C, D)], (A, B, C)),
        ((), [cell(each) for each in (A, B, C, D, E, F)], (A, B, C, D, E)),
        ((), [cell(each, "x") for each in (A, B, C, D, E, F)], (A, B, C, D, E)),
        # Sites have as many as others, or one more.
        (
            (),
            [*(cell(each, "x") for each in (A, B, C)), cell(D, "y"), cell(E, "z")],
            (A, D, E, B, C),
        ),
        (
            (),
            [*(cell(each, "x") for each in (A, B, C)), *(cell(each, "y") for each in (D, E, F))],
            (A, D, B, E, C),
        ),
        ((A, B, C), [*(cell(each, "x") for each in (A, B, C)), cell(D, "y")], (A, B, D)),
        ((A, B, D), [*(cell(each, "x") for each in (A, B, C)), cell(D, "y")], (A, B, D)),
        ((A, B), [cell(A), cell(B)], (A, B)),
        ((A, B, C), [cell(each) for each in (A, B, C, D, E)], (A, B, C, D, E)),
        # Those that keep it stay, silent or not, until they have left.
        ((D, B, C), [cell(A), cell(B), cell(C), cell(D, fit=False)], (D, B, C)),
        ((D, B, C), [cell(A), cell(B), cell(C), cell(D, fit=False, stays=False)], (B, C, A)),
        # Nobody takes the place: better a cell that leaves than none.
        ((D, B, C), [cell(B), cell(C), cell(D, stays=False)], (D, B, C)),
        ((D, B, C), [cell(B), cell(C)], (D, B, C)),
        # Of five, four are even and three are better than three and two that have left.
        ((A, B, C, D, E), [cell(A), cell(B), cell(C), cell(D)], (A, B, C, D, E)),
        ((A, B, C, D, E), [cell(A), cell(B), cell(C)], (A, B, C)),
        # One that is away stays until another is there.
        ((A, B, C), [cell(A), cell(B), cell(C, fit=False, away=True)], (A, B, C)),
        ((A, B, C), [cell(A), cell(B), cell(C, fit=False, away=True), cell(D)], (A, B, D)),
    ],
)
def test_the_cells_that_keep_the_journal(current, cells, chosen) -> None:
    assert choose(current, cells) == chosen


@pytest.mark.parametrize(
    ("groups", "acked", "number"),
    [
        ([(A, B, C)], {A: 5, B: 3, C: 1}, 3),
        ([(A, B, C)], {A: 5}, 0),
        ([(A, B, C, D, E)], {A: 9, B: 8, C: 7, D: 6, E: 5}, 7),
        # While members change, most of the old ones and most of the new ones.
        ([(A, B, C), (B, C, D)], {A: 9, B: 9, C: 1, D: 1}, 1),
        ([(A, B, C), (B, C, D)], {A: 1, B: 9, C: 9, D: 1}, 9),
    ],
)
def test_what_most_cells_have(groups, acked, number) -> None:
    assert passed(groups, acked) == number


def test_a_later_epoch_goes_before_a_longer_journal_and_a_torn_one_does_not_count() -> None:
    base = ChainEnd(0, 0, bytes(32))
    tails = [
        Tail(A, base, ChainEnd(9, 1, bytes(32)), is_whole=True),
        Tail(B, base, ChainEnd(3, 2, bytes(32)), is_whole=True),
        Tail(C, base, ChainEnd(4, 2, bytes(32)), is_whole=True),
        Tail(D, base, ChainEnd(9, 9, bytes(32)), is_whole=False),
    ]
    assert [each.cell_id for each in best_first(tails)] == [C, B, A]


def test_what_the_choice_does_not_survive_is_said() -> None:
    assert weakness([cell(A), cell(B), cell(C)]) == ""
    assert "one site" in weakness([cell(A, "x"), cell(B, "x"), cell(C, "x")])
    assert "2 sites" in weakness([cell(A, "x"), cell(B, "y"), cell(C, "x")])
