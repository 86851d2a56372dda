"""How far a standby may follow, and when the journal is free, by what the cells say."""

from __future__ import annotations

import pytest

from common.format.journal import BEGINNING, ChainEnd
from coordinator.policy.standby import SettledRecords, WatchedCell, is_free, settled

A, B, C, D, E = (bytes([number]) * 32 for number in range(5))
THREE = (A, B, C)


def cell(
    sequence: int, epoch: int, *, promised: int = 0, is_whole: bool = True, is_held: bool = True
) -> WatchedCell:
    end = ChainEnd(sequence, epoch, b"d" * 32)
    return WatchedCell(promised or epoch, BEGINNING, end, is_whole, is_held)


@pytest.mark.fault("M4")
@pytest.mark.parametrize(
    ("cells", "found"),
    [
        ({}, None),
        ({A: cell(9, 2)}, None),
        ({A: cell(9, 2), B: cell(7, 2)}, SettledRecords(2, 7, (A, B))),
        ({A: cell(9, 2), B: cell(7, 2), C: cell(8, 2)}, SettledRecords(2, 8, (A, C))),
        # An earlier coordinator's records, which a later one may have begun to copy.
        ({A: cell(9, 2, promised=3), B: cell(9, 2, promised=3), C: cell(5, 2)}, None),
        ({A: cell(9, 3), B: cell(7, 2), C: cell(7, 2)}, SettledRecords(2, 7, (C, B))),
        ({A: cell(9, 3), B: cell(8, 3), C: cell(12, 2)}, SettledRecords(3, 8, (A, B))),
        # One that lies claims whatever it likes.
        ({A: cell(10**9, 2), B: cell(7, 2), C: cell(7, 2)}, SettledRecords(2, 7, (A, C))),
        ({A: cell(10**9, 10**6), B: cell(7, 2), C: cell(7, 2)}, SettledRecords(2, 7, (C, B))),
        ({A: cell(9, 2), B: cell(9, 2, is_whole=False)}, None),
        (
            {A: cell(9, 2), B: cell(9, 2), D: cell(99, 9), E: cell(99, 9)},
            SettledRecords(2, 9, (B, A)),
        ),
    ],
)
def test_what_is_settled_is_on_most_members_under_one_epoch(
    cells: dict[bytes, WatchedCell], found: SettledRecords | None
) -> None:
    assert settled(THREE, cells) == found


@pytest.mark.fault("M4")
@pytest.mark.parametrize(
    ("held", "free", "found"),
    [
        ((), (A, B, C), True),
        ((A,), (B, C), True),
        ((A, B), (C,), False),
        ((), (A, B), True),
        ((), (A,), False),
        ((A, B, C), (D, E), False),
    ],
)
def test_the_journal_is_free_when_most_members_hear_nobody(
    held: tuple[bytes, ...], free: tuple[bytes, ...], found: bool
) -> None:
    cells = {each: cell(1, 1) for each in held}
    cells |= {each: cell(1, 1, is_held=False) for each in free}
    assert is_free(THREE, cells) is found
