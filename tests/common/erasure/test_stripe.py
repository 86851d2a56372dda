"""A stripe's whole way: pad, seal, encode, hash; decode, open, cut."""

import itertools
import random

import pytest

from common.crypto.digest import leaf
from common.crypto.stream import StripeCipher
from common.erasure.code import ZfecCode, make_code
from common.erasure.geometry import Geometry
from common.erasure.stripe import decode_stripe, encode_stripe, home_unit
from common.errors import Corrupt

CIPHER = StripeCipher(b"k" * 32, b"T" * 16, b"S" * 16)


def plaintext_of(geometry, stripe):
    return random.Random(stripe).randbytes(geometry.plain_bytes(stripe))


def sizes():
    full = Geometry.plan(4, 6, 1 << 22).full_plain_bytes
    return [0, 1, 15, 16, 17, 100, 4096, 100_001, full - 1, full, full + 1, 2 * full + 777]


@pytest.mark.parametrize("size", sizes())
@pytest.mark.parametrize(("k", "n"), [(4, 6), (10, 16)])
def test_every_stripe_comes_back_from_data_units_and_from_the_last_k(size, k, n):
    geometry, code = Geometry.plan(k, n, size), make_code(k, n)
    for stripe in range(geometry.stripes):
        plaintext = plaintext_of(geometry, stripe)
        encoded = encode_stripe(CIPHER, code, geometry, stripe, plaintext)
        assert {len(unit) for unit in encoded.units} == {geometry.unit_bytes_of(stripe)}
        assert encoded.leaves == [leaf(unit) for unit in encoded.units]
        units = dict(enumerate(encoded.units))
        assert len(units) == n
        for have in (units, dict(list(units.items())[:k]), dict(list(units.items())[n - k :])):
            assert decode_stripe(CIPHER, code, geometry, stripe, have) == plaintext


def test_every_choice_of_k_units_gives_the_plaintext_by_either_code():
    geometry = Geometry.plan(4, 6, 1000)
    plaintext = plaintext_of(geometry, 0)
    units = dict(enumerate(encode_stripe(CIPHER, make_code(4, 6), geometry, 0, plaintext).units))
    for present in itertools.combinations(range(6), 4):
        have = {slot: units[slot] for slot in present}
        for code in (make_code(4, 6), ZfecCode(4, 6)):
            assert decode_stripe(CIPHER, code, geometry, 0, have) == plaintext


def test_a_wrong_unit_is_found_whichever_it_is():
    geometry, code = Geometry.plan(4, 6, 1000), make_code(4, 6)
    encoded = encode_stripe(CIPHER, code, geometry, 0, plaintext_of(geometry, 0))
    units = dict(enumerate(encoded.units))
    for present in itertools.combinations(range(6), 4):
        for guilty in present:
            have = {slot: units[slot] for slot in present}
            have[guilty] = bytearray(have[guilty])
            have[guilty][7] ^= 1
            with pytest.raises(Corrupt, match="stripe_not_authentic"):
                decode_stripe(CIPHER, code, geometry, 0, have)
            assert leaf(have[guilty]) != encoded.leaves[guilty]


def test_units_of_two_stripes_or_slots_do_not_mix():
    geometry, code = Geometry.plan(4, 6, 3 << 20), make_code(4, 6)
    first, second = (
        dict(enumerate(encode_stripe(CIPHER, code, geometry, i, plaintext_of(geometry, i)).units))
        for i in (0, 1)
    )
    swapped = {**first, 0: first[1], 1: first[0]}
    for have in (second, {**first, 2: second[2]}, swapped):
        with pytest.raises(Corrupt, match="stripe_not_authentic"):
            decode_stripe(CIPHER, code, geometry, 0, have)


def test_the_plaintext_may_be_reused_after_the_call():
    geometry, code = Geometry.plan(4, 6, 1000), make_code(4, 6)
    plaintext = bytearray(plaintext_of(geometry, 0))
    before = bytes(plaintext)
    encoded = encode_stripe(CIPHER, code, geometry, 0, plaintext)
    plaintext[:] = bytes(1000)
    assert decode_stripe(CIPHER, code, geometry, 0, dict(enumerate(encoded.units))) == before


def test_a_plaintext_of_another_length_is_our_bug():
    geometry, code = Geometry.plan(4, 6, 1000), make_code(4, 6)
    for length in (999, 1001):
        with pytest.raises(AssertionError):
            encode_stripe(CIPHER, code, geometry, 0, bytes(length))


@pytest.mark.parametrize("size", sizes())
@pytest.mark.parametrize(("k", "home_k"), [(2, 4), (1, 4), (3, 6), (2, 6), (1, 3)])
def test_units_of_the_home_class_are_made_of_any_k_of_a_fallback(size, k, home_k):
    home = Geometry.plan(home_k, home_k + 2, size)
    geometry = Geometry.plan(k, k + 2, size, home_k)
    code, home_code = make_code(k, k + 2), make_code(home_k, home_k + 2)
    for stripe in range(geometry.stripes):
        plaintext = plaintext_of(geometry, stripe)
        encoded = encode_stripe(CIPHER, code, geometry, stripe, plaintext, home_code)
        # What the class itself would have written under this key, to the byte.
        at_home = encode_stripe(CIPHER, home_code, home, stripe, plaintext)
        assert list(encoded.home_leaves) == at_home.leaves
        assert not at_home.home_leaves
        units = dict(enumerate(encoded.units))
        for have in (units, dict(list(units.items())[2:])):
            unit_bytes = geometry.unit_bytes_of(stripe)
            for slot in range(home.n):
                unit = home_unit(code, have, unit_bytes, home_code, slot)
                assert bytes(unit) == bytes(at_home.units[slot])
        assert decode_stripe(CIPHER, code, geometry, stripe, units) == plaintext
