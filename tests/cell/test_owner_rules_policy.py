"""What the owner of a cell allows is counted and timed as the owner said."""

from __future__ import annotations

from typing import Any

import pytest

from cell.owner_rules_policy import (
    DAY_S,
    TRANSIT_DAYS,
    QuietHours,
    Rest,
    TokenBucket,
    TransitLedger,
    quiet_hours,
    rest_of,
)
from common.errors import BadConfig, Corrupt

RATE = 1000
NOW = 20_000 * DAY_S + 500.0


def at(hour: int, minute: int = 0) -> float:
    return 12_345 * DAY_S + hour * 3600 + minute * 60


# --- the line -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 100, 5000])
def test_a_line_carries_its_bandwidth_and_no_more(size: int) -> None:
    line, now, moved = TokenBucket(RATE), 50.0, 0
    while now < 150.0:
        wait_s = line.reserve(size, now)
        assert wait_s is not None
        now += wait_s
        moved += size
    # A second that was saved up, and one piece.
    assert 100 * RATE <= moved <= 101 * RATE + 2 * size


def test_pieces_wait_behind_each_other() -> None:
    line = TokenBucket(RATE)
    waits = [line.reserve(RATE, 10.0) for _ in range(4)]
    assert waits == [0.0, 0.0, 1.0, 2.0]


def test_a_piece_that_would_wait_for_too_long_reserves_nothing() -> None:
    line = TokenBucket(RATE)
    line.reserve(6 * RATE, 10.0)
    assert line.reserve(RATE, 10.0, 4.9) is None
    assert line.reserve(RATE, 10.0, 5.0) == pytest.approx(5.0)
    assert line.reserve(RATE, 10.0, 5.9) is None


def test_a_line_that_is_free_takes_a_piece_of_any_size() -> None:
    assert TokenBucket(RATE).reserve(1000 * RATE, 0.0, 1.0) == 0.0


def test_an_unlimited_line_never_waits() -> None:
    line = TokenBucket(None)
    assert not line.is_limited
    assert [line.reserve(1 << 60, 0.0, 0.0) for _ in range(3)] == [0.0] * 3


# --- quiet hours --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "quiet", "awake"),
    [
        ("22:00-06:00", [at(22), at(23, 59), at(0), at(5, 59)], [at(6), at(12), at(21, 59)]),
        ("9:30-10:00", [at(9, 30), at(9, 59)], [at(9, 29), at(10)]),
        ("22:00-24:00", [at(22), at(23, 59)], [at(0), at(21, 59)]),
        ("20:00-00:00", [at(20), at(23, 59)], [at(0), at(19, 59)]),
        ("01:00-02:00, 12:00-13:00", [at(1), at(12, 30)], [at(2), at(11), at(13)]),
    ],
)
def test_quiet_hours_are_those_of_the_clock(
    text: str, quiet: list[float], awake: list[float]
) -> None:
    hours = quiet_hours("quiet_hours", text)
    assert all(hours.has(each) for each in quiet)
    assert not any(hours.has(each) for each in awake)


def test_without_quiet_hours_every_hour_is_for_work() -> None:
    assert not any(QuietHours().has(at(hour)) for hour in range(24))


@pytest.mark.parametrize(
    "value",
    [
        *[
            "",
            "22-06",
            "22:00",
            "25:00-26:00",
            "22:60-23:00",
            "12:00-12:00",
            "00:00-24:01",
            5,
            None,
        ],
        *["00:00-24:00", "04:00-03:00", "00:00-12:00,10:00-21:00", "x" * 1000, "01:00-02:00,"],
    ],
)
def test_bad_quiet_hours_name_their_key(value: Any) -> None:
    with pytest.raises(BadConfig) as raised:
        quiet_hours("quiet_hours", value)
    assert raised.value.fields["key"] == "quiet_hours"


# --- transit ------------------------------------------------------------------------------------


def test_bytes_count_for_thirty_days() -> None:
    ledger = TransitLedger()
    for day in range(TRANSIT_DAYS + 10):
        ledger.add(10, NOW + day * DAY_S)
        assert ledger.used(NOW + day * DAY_S) == 10 * min(day + 1, TRANSIT_DAYS)
    assert len(ledger.days) == TRANSIT_DAYS
    assert ledger.used(NOW + 500 * DAY_S) == 0


def test_days_that_have_not_come_yet_count_for_today() -> None:
    ledger = TransitLedger()
    ledger.add(7, NOW + 400 * DAY_S)
    ledger.add(1, NOW)
    assert ledger.used(NOW) == 8
    assert ledger.used(NOW + TRANSIT_DAYS * DAY_S) == 0


def test_a_ledger_is_kept_as_it_is() -> None:
    ledger = TransitLedger()
    for day in range(5):
        ledger.add(1 << (10 * day), NOW + day * DAY_S)
    assert TransitLedger.unpack(ledger.pack()) == ledger


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"\xff",
        b'{"version": 2, "days": {}}',
        b'{"version": 1}',
        b'{"version": 1, "days": [1]}',
        b'{"version": 1, "days": {"x": 1}}',
        b'{"version": 1, "days": {"1": -1}}',
        b'{"version": 1, "days": {"1": true}}',
        b'{"version": 1, "days": {"1": 1.5}}',
        b'{"version": 1, "days": {"1": 99999999999999999999}}',
        b'{"version": 1, "days": {' + b", ".join(b'"%d": 1' % day for day in range(31)) + b"}}",
    ],
)
def test_a_damaged_ledger_is_refused(data: bytes) -> None:
    with pytest.raises(Corrupt, match="bad_transit_file"):
        TransitLedger.unpack(data)


@pytest.mark.parametrize(
    ("is_quiet", "used", "transit", "rest"),
    [
        (False, 1 << 60, None, None),
        (True, 0, None, Rest.QUIET_HOURS),
        (False, 899, 1000, None),
        (False, 900, 1000, Rest.TRANSIT),
        (False, 2000, 1000, Rest.TRANSIT),
        (True, 899, 1000, Rest.QUIET_HOURS),
        (True, 900, 1000, Rest.TRANSIT),
    ],
)
def test_a_cell_rests_in_quiet_hours_and_with_a_tenth_of_its_transit_left(
    is_quiet: bool, used: int, transit: int | None, rest: Rest | None
) -> None:
    assert rest_of(is_quiet=is_quiet, used_bytes=used, transit_bytes=transit) is rest
