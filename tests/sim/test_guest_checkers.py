"""The checkers for liars, greedy callers and older stores find what they are there for, and excuse
no more than what somebody else answers for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.crypto.keys import TenantKey, segment_key
from common.crypto.stream import StripeCipher
from common.ids import SegmentId, TenantId
from sim.checkers.excuses import without_reigns, without_rollbacks
from sim.checkers.linearizability import (
    UNKNOWN_END,
    RegisterEffect,
    RegisterOperation,
    is_linearizable,
)
from sim.checkers.naming import Names
from sim.checkers.sealing import SealWatch
from sim.checkers.waits import check_waits, p99_s
from sim.history import Wait
from sim.world import EPOCH_S

TENANT = TenantId(bytes(16))
SEGMENT = SegmentId(bytes(16))
KEY = bytes(range(32))


def seal_stripe(upload_key, segment, plaintext):
    cipher = StripeCipher(segment_key(upload_key, segment, 0), TENANT, segment)
    cipher.seal_into(0, True, plaintext, memoryview(bytearray(len(plaintext) + 16)))


# --- what is sealed -----------------------------------------------------------------------------


@pytest.mark.fault("C1")
def test_two_plaintexts_under_one_key_and_nonce_are_found():
    watch = SealWatch()
    with watch.watching():
        seal_stripe(KEY, SEGMENT, b"one")
        seal_stripe(KEY, SEGMENT, b"two")
    assert len(watch.violations) == 1
    assert watch.sealed == 2


def test_the_same_again_and_other_keys_are_no_finding():
    watch = SealWatch()
    with watch.watching():
        seal_stripe(KEY, SEGMENT, b"one")
        seal_stripe(KEY, SEGMENT, b"one")
        seal_stripe(bytes(32), SEGMENT, b"two")
        seal_stripe(KEY, SegmentId(b"x" * 16), b"two")
    assert not watch.violations


def test_records_are_watched_too():
    watch = SealWatch()
    tenant = TenantKey(TENANT, KEY)
    with watch.watching():
        tenant.seal("manifest", (b"a",), b"one", bytes)
        tenant.seal("manifest", (b"b",), b"one", bytes)
    assert watch.violations, "a salt came twice"


def test_nothing_is_watched_afterwards():
    watch = SealWatch()
    with watch.watching():
        pass
    seal_stripe(KEY, SEGMENT, b"one")
    assert not watch.sealed


# --- what is shown under a name -------------------------------------------------------------------


@pytest.fixture
def names():
    found = Names()
    found.allow("hive/a", "v1", b"one")
    found.allow("comb/a", "v2", b"seven")
    found.tagged('"tag-1"', "v1")
    found.tagged('"tag-2"', "v2")
    return found


@pytest.mark.fault("H1")
def test_a_value_of_another_bucket_is_found(names):
    assert names.read("hive/a", "v1")
    assert not names.read("hive/a", "v2")
    assert len(names.violations) == 1


@pytest.mark.fault("H1")
def test_a_copy_may_have_what_its_source_had_and_nothing_else(names):
    names.allow_all_of("hive/copy", "hive/a")
    names.allow("hive/a", "v3", b"later")
    assert names.read("hive/copy", "v1")
    assert names.read("hive/copy", "v3")
    assert not names.read("hive/copy", "v2")


@pytest.mark.fault("H1")
def test_a_row_of_another_bucket_is_found(names):
    names.listed("hive/a", "tag-2", 5, EPOCH_S)
    assert len(names.violations) == 1


@pytest.mark.fault("M8")
def test_a_row_with_another_size_or_a_time_long_before_is_found(names):
    names.listed("hive/a", "tag-1", 3, EPOCH_S + 60)
    names.dated("hive/a", "Fri, 15 Jan 2027 08:00:10 GMT")
    assert not names.violations
    names.listed("hive/a", "tag-1", 4, EPOCH_S)
    names.listed("hive/a", "tag-1", 3, EPOCH_S - 86_400)
    names.dated("hive/a", "Fri, 15 Jan 2021 08:00:10 GMT")
    assert len(names.violations) == 3


def test_a_tag_that_nobody_was_given_says_nothing(names):
    names.listed("hive/a", "tag-9", 12, EPOCH_S)
    assert not names.violations


def test_two_values_of_the_same_bytes_have_one_tag(names):
    names.allow("hive/b", "v9", b"one")
    names.listed("hive/b", "tag-1", 3, EPOCH_S)
    assert not names.violations


# --- what is excused ------------------------------------------------------------------------------

PUT = RegisterOperation(RegisterEffect.PUT, 1.0, 2.0, "v1")
STALE = RegisterOperation(RegisterEffect.GET, 5.0, 6.0)


def rolled_back_at(*times):
    return lambda start, end: any(start <= each <= end for each in times)


def test_a_stale_read_is_excused_at_the_very_moment_only():
    assert not is_linearizable([PUT, STALE])
    assert is_linearizable(without_rollbacks([PUT, STALE], rolled_back_at(5.5)))
    assert not is_linearizable(without_rollbacks([PUT, STALE], rolled_back_at(4.9, 6.1)))


def test_a_lost_write_is_not_excused_by_a_rollback():
    again = RegisterOperation(RegisterEffect.GET, 8.0, 9.0)
    assert not is_linearizable(without_rollbacks([PUT, STALE, again], rolled_back_at(1.5, 5.5)))


def test_a_condition_that_held_is_not_excused():
    put = RegisterOperation(RegisterEffect.PUT_IF_ABSENT, 5.0, 6.0, "v2", holds=True)
    assert not is_linearizable(without_rollbacks([PUT, put], rolled_back_at(5.5)))


@pytest.mark.fault("M1")
def test_what_was_acknowledged_before_a_reign_must_be_there_after_it():
    reigns = [(4.0, 10.0)]
    inside = [
        RegisterOperation(RegisterEffect.GET, 5.0, 6.0),
        RegisterOperation(RegisterEffect.PUT, 6.0, 7.0, "v2"),
    ]
    after = RegisterOperation(RegisterEffect.GET, 11.0, 12.0, "v1")
    assert is_linearizable(without_reigns([PUT, *inside, after], reigns))
    for lost in (None, "v2"):
        after = RegisterOperation(RegisterEffect.GET, 11.0, 12.0, lost)
        assert not is_linearizable(without_reigns([PUT, *inside, after], reigns))


def test_a_write_that_failed_in_a_reign_never_was():
    failed = RegisterOperation(RegisterEffect.DELETE, 5.0, UNKNOWN_END, given_up_s=9.0)
    late = RegisterOperation(RegisterEffect.DELETE, 5.0, UNKNOWN_END, given_up_s=11.0)
    assert without_reigns([failed, late], [(4.0, 10.0)]) == [late]


def test_a_write_that_reaches_into_a_reign_may_be_in_either_store():
    reigns = [(1.5, 10.0)]
    kept = without_reigns([PUT], reigns)
    assert [each.end_s for each in kept] == [UNKNOWN_END]


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 10)), max_size=20))
def test_without_a_reign_nothing_is_excused(times):
    operations = [
        RegisterOperation(RegisterEffect.GET, start, start + length) for start, length in times
    ]
    assert without_reigns(operations, []) == operations
    assert without_rollbacks(operations, rolled_back_at()) == operations


# --- how long others wait -------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "p99"), [(0, 0.0), (1, 1.0), (100, 99.0), (200, 198.0)])
def test_p99_is_what_one_of_a_hundred_exceeds(count, p99):
    assert p99_s([float(each + 1) for each in range(count)]) == p99


@pytest.mark.fault("H2", "H3")
def test_long_waits_and_missing_answers_beside_a_greedy_caller_are_found():
    quiet = [Wait(float(each), 0.5, True) for each in range(100)]
    spans = [(200.0, 300.0)]
    assert not check_waits([*quiet, Wait(210.0, 2.0, True)], spans)
    assert check_waits([*quiet, Wait(210.0, 3.0, True)], spans)
    assert check_waits([*quiet, Wait(210.0, 0.1, False)], spans)
    assert check_waits([*quiet, Wait(150.0, 60.0, True)], spans), "it waited into the span"
