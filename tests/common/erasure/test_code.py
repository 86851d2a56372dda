"""The erasure code: ISA-L gives zfec's bytes, and any k units give all back."""

import itertools
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import zfec
from hypothesis import given, settings
from hypothesis import strategies as st

from common.erasure.code import IsalCode, ZfecCode, isal_code, make_code
from common.erasure.isal import Isal, load_isal
from common.limits import MAX_SLOTS

needs_isal = pytest.mark.skipif(load_isal() is None, reason="no libisal on this machine")


def fast_code(k, n):
    isal = load_isal()
    assert isal is not None
    code = isal_code(isal, k, n)
    assert isinstance(code, IsalCode)
    return code


def units_of(code, sealed, unit_bytes):
    data = [sealed[at : at + unit_bytes] for at in range(0, len(sealed), unit_bytes)]
    return dict(enumerate([*data, *code.encode(sealed, unit_bytes)]))


def check_losses(codes, units, sealed, unit_bytes, present):
    """Every code decodes and rebuilds from the slots present, with the same bytes."""
    have = {slot: units[slot] for slot in present}
    absent = [slot for slot in units if slot not in have]
    for code in codes:
        out = memoryview(bytearray(len(sealed)))
        code.decode(have, unit_bytes, out)
        assert out == sealed
        assert code.rebuild(have, unit_bytes, absent) == [units[slot] for slot in absent]


@needs_isal
@settings(max_examples=80, deadline=None)
@given(st.data())
def test_isal_and_zfec_agree_for_any_code_size_and_loss(data):
    n = data.draw(st.integers(1, MAX_SLOTS), label="n")
    k = data.draw(st.integers(1, n), label="k")
    unit_bytes = data.draw(st.one_of(st.integers(1, 140), st.integers(1, 5000)), label="unit")
    chance = random.Random(data.draw(st.integers(0, 2**32), label="seed"))
    sealed = memoryview(chance.randbytes(k * unit_bytes))
    fast, reference = fast_code(k, n), ZfecCode(k, n)
    units = units_of(fast, sealed, unit_bytes)
    assert units == units_of(reference, sealed, unit_bytes)
    present = chance.sample(range(n), chance.randint(k, n))
    check_losses([fast, reference], units, sealed, unit_bytes, present)


@needs_isal
def test_all_8008_loss_patterns_of_10_of_16_decode():
    unit_bytes = 33
    sealed = memoryview(random.Random(1016).randbytes(10 * unit_bytes))
    fast = fast_code(10, 16)
    units = units_of(fast, sealed, unit_bytes)
    patterns = list(itertools.combinations(range(16), 10))
    assert len(patterns) == 8008
    for present in patterns:
        check_losses([fast], units, sealed, unit_bytes, present)


def test_all_loss_patterns_of_small_codes_decode_by_zfec_alone():
    for k, n in ((1, 1), (1, 3), (2, 3), (3, 5), (4, 6), (5, 5)):
        code = ZfecCode(k, n)
        sealed = memoryview(random.Random(k).randbytes(k * 7))
        units = units_of(code, sealed, 7)
        for count in range(k, n + 1):
            for present in itertools.combinations(range(n), count):
                check_losses([code], units, sealed, 7, present)


@pytest.mark.parametrize(("k", "n"), [(4, 6), (8, 12), (10, 16)])
def test_parity_is_what_zfec_itself_gives(k, n):
    sealed = random.Random(5).randbytes(k * 1000)
    blocks = tuple(sealed[at : at + 1000] for at in range(0, len(sealed), 1000))
    expected = zfec.Encoder(k, n).encode(blocks)
    assert list(units_of(make_code(k, n), memoryview(sealed), 1000).values()) == expected


@pytest.mark.parametrize("kind", ["isal", "zfec"])
def test_units_may_be_any_buffer_and_out_may_be_part_of_one(kind):
    if kind == "isal" and load_isal() is None:
        pytest.skip("no libisal on this machine")
    code = fast_code(3, 6) if kind == "isal" else ZfecCode(3, 6)
    sealed = memoryview(random.Random(9).randbytes(3 * 50))
    units = units_of(code, sealed, 50)
    around = bytes(5)
    have = {
        1: bytes(units[1]),
        5: bytearray(units[5]),
        4: memoryview(around + bytes(units[4]) + around)[5:-5],
    }
    target = memoryview(bytearray(160))
    code.decode(have, 50, target[3:153])
    assert target[3:153] == sealed
    assert bytes(target[:3]) + bytes(target[153:]) == bytes(10)
    assert code.rebuild(have, 50, [0, 3]) == [units[0], units[3]]
    have[5].append(0)  # no buffer is left locked


@needs_isal
def test_read_only_memory_is_never_written():
    code = fast_code(2, 3)
    units = units_of(code, memoryview(b"0123456789"), 5)
    with pytest.raises((AssertionError, TypeError)):
        code.decode({0: units[0], 2: units[2]}, 5, memoryview(bytes(10)))


@needs_isal
def test_buffers_are_unlocked_from_memory_that_is_still_there():
    """Under the allocator's debug hooks, which overwrite what was freed: else it shows rarely."""
    program = (
        "import sys; from common.erasure.isal import load_isal\n"
        "isal, units = load_isal(), [bytes([n]) * 4096 for n in (1, 2)]\n"
        "tables = isal.tables([bytes([1, 1])])\n"
        "before = [sys.getrefcount(each) for each in units]\n"
        "for _ in range(100): isal.multiply(tables, units, [bytearray(4096)], 4096)\n"
        "assert [sys.getrefcount(each) for each in units] == before"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONMALLOC": "debug"},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


@needs_isal
def test_too_few_or_uneven_units_are_our_bug():
    for code in (fast_code(2, 4), ZfecCode(2, 4)):
        with pytest.raises(AssertionError):
            code.rebuild({3: b"12345"}, 5, [0])
        with pytest.raises(AssertionError):
            code.rebuild({2: b"12345", 3: b"1234"}, 5, [0])
        with pytest.raises(AssertionError):
            code.encode(memoryview(b"123456789"), 5)


@needs_isal
def test_a_library_that_computes_other_bytes_is_not_used():
    class Wrong(Isal):
        def __init__(self):
            pass

        def tables(self, rows):
            return bytearray(32 * len(rows) * len(rows[0]))

        def multiply(self, tables, sources, targets, length):
            for target in targets:
                target[:] = bytes(len(target))

    assert isal_code(Wrong(), 4, 6) is None


def test_codes_are_made_once():
    assert make_code(4, 6) is make_code(4, 6)
    assert (make_code(10, 16).k, make_code(10, 16).n) == (10, 16)
    assert make_code(3, 3).encode(memoryview(b"abc"), 1) == []
