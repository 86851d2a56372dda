"""Leases of one store that several coordinators share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from common.errors import Refused
from common.ids import PeerId
from common.limits import MAX_LEASES_PER_CALLER
from coordinator.store import leases
from coordinator.store.leases import LeaseBook, LivingLease
from coordinator.store.schema import migrate
from sim.stores import connect_in_memory

OWNER = PeerId(bytes(32))
TTL_S = 10


@pytest.fixture
def sql() -> Iterator[Any]:
    connection = connect_in_memory()
    migrate(connection)
    yield connection
    connection.close()


def book_of(sql: Any, now: float) -> LeaseBook:
    book = LeaseBook(TTL_S)
    book.load(leases.alive(sql), now)
    return book


def save(sql: Any, book: LeaseBook, now: float) -> int:
    """What the round of renewals does; returns how many leases it wrote."""
    taken = book.take_unsaved(now)
    book.saved(taken, leases.renew(sql, taken), now)
    return len(taken)


def end(sql: Any, book: LeaseBook, now: float) -> list[int]:
    """What the round of ends does; returns which leases have ended."""
    expired = book.take_expired(now)
    renewed = leases.end_silent(sql, book.silent(expired))
    book.renewed_elsewhere(renewed, now)
    book.ended(expired)
    return sorted(set(expired) - {each.lease for each in renewed})


def test_a_lease_that_one_process_renews_is_not_ended_by_another(sql: Any) -> None:
    lease = leases.open_lease(sql, OWNER, 1, 0)
    first, second = book_of(sql, 0), book_of(sql, 0)
    for now in range(8, 100, 8):
        first.renew(lease, OWNER, now)
        save(sql, first, now)
        assert end(sql, second, now + 3) == []
        leases.check(sql, lease, OWNER)
    assert end(sql, first, 96 + TTL_S) == []
    assert end(sql, first, 97 + TTL_S) == [lease]
    with pytest.raises(Refused, match="lease_ended"):
        leases.check(sql, lease, OWNER)


@pytest.mark.parametrize("every_s", [0.5, 1, 3, 5, 7, 9.5])
@pytest.mark.parametrize("offset_s", [0, 1.7, 3.3, 6.6, 9.9])
def test_no_lease_ends_that_is_renewed_in_time_whatever_the_phase(
    sql: Any, every_s: float, offset_s: float
) -> None:
    lease = leases.open_lease(sql, OWNER, 1, 0)
    first, second = book_of(sql, 0), book_of(sql, offset_s)
    renew_at, writes = every_s, 0
    for tick in range(2000):
        now = tick / 10
        if now >= renew_at:
            first.renew(lease, OWNER, now)
            renew_at += every_s
        writes += save(sql, first, now)
        if now >= offset_s:
            assert end(sql, second, now) == []
    assert writes <= 1 + 200 / (TTL_S / 3)


def test_a_lease_whose_owner_and_process_are_gone_is_ended_by_another(sql: Any) -> None:
    lease = leases.open_lease(sql, OWNER, 1, 0)
    first, second = book_of(sql, 0), book_of(sql, 0)
    first.renew(lease, OWNER, 5)
    save(sql, first, 5)
    assert end(sql, second, 11) == []
    assert lease in second
    assert end(sql, second, 21) == []
    assert end(sql, second, 22) == [lease]
    assert leases.alive(sql) == []


def test_a_process_learns_that_another_has_ended_a_lease(sql: Any) -> None:
    lease = leases.open_lease(sql, OWNER, 1, 0)
    first = book_of(sql, 0)
    assert leases.end_silent(sql, [LivingLease(lease, OWNER, 1)]) == []
    first.renew(lease, OWNER, 5)
    save(sql, first, 5)
    with pytest.raises(Refused, match="lease_ended"):
        first.renew(lease, OWNER, 6)
    for _ in range(MAX_LEASES_PER_CALLER):
        first.begin(OWNER, [1])


def test_a_book_takes_in_what_others_opened_renewed_and_ended(sql: Any) -> None:
    opened_before, renewed, ended = (leases.open_lease(sql, OWNER, 1, 0) for _ in range(3))
    book = book_of(sql, 0)
    leases.renew(sql, [renewed])
    leases.end_silent(sql, [LivingLease(ended, OWNER, 1)])
    opened = leases.open_lease(sql, OWNER, 1, 0)
    known, living = set(book.numbers()), leases.alive(sql)
    late = leases.open_lease(sql, OWNER, 1, 0)  # opened here after the others were read
    book.begin(OWNER, [1])
    book.opened(LivingLease(late, OWNER, 1), 9)
    book.observe(living, known, 9)
    assert set(book.numbers()) == {opened_before, renewed, opened, late}
    assert end(sql, book, 11) == [opened_before]
    assert end(sql, book, 20) == [renewed, opened, late]


def test_a_renewal_that_could_not_be_written_is_written_later(sql: Any) -> None:
    lease = leases.open_lease(sql, OWNER, 1, 0)
    book = book_of(sql, 0)
    book.renew(lease, OWNER, 5)
    book.not_saved(book.take_unsaved(5))
    assert save(sql, book, 6) == 1
    book.renew(lease, OWNER, 7)
    assert save(sql, book, 7) == 0
    assert save(sql, book, 9) == 0
    assert save(sql, book, 9.5) == 1
