"""STREAM: every way to damage a row of stripes is refused."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.crypto.keys import segment_key
from common.crypto.stream import StripeCipher
from common.errors import Corrupt
from common.limits import MAX_STRIPES_PER_SEGMENT

UPLOAD = b"\x11" * 32
TENANT, OTHER_TENANT = b"T" * 16, b"U" * 16
SEGMENT, OTHER_SEGMENT = b"S" * 16, b"R" * 16
STRIPES = (b"first stripe of it", b"second stripe, too", b"third and last one")


def cipher_of(upload=UPLOAD, tenant=TENANT, segment=SEGMENT):
    return StripeCipher(segment_key(upload, segment, 0), tenant, segment)


def seal(cipher, stripe, last, plaintext):
    out = bytearray(len(plaintext) + 16)
    cipher.seal_into(stripe, last, plaintext, memoryview(out))
    return bytes(out)


def open_(cipher, stripe, last, sealed):
    out = bytearray(max(0, len(sealed) - 16))
    cipher.open_into(stripe, last, sealed, memoryview(out))
    return bytes(out)


def seal_row(cipher, stripes):
    last = len(stripes) - 1
    return [seal(cipher, i, i == last, plaintext) for i, plaintext in enumerate(stripes)]


def open_row(cipher, sealed):
    last = len(sealed) - 1
    return [open_(cipher, i, i == last, each) for i, each in enumerate(sealed)]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=200), min_size=1, max_size=6))
def test_a_row_of_stripes_opens_as_it_was_sealed(stripes):
    assert open_row(cipher_of(), seal_row(cipher_of(), stripes)) == stripes


@pytest.mark.incident(31)
def test_no_other_row_of_authentic_stripes_opens():
    """Exhaustive: dropped, cut off, repeated, reordered, extended, spliced with another segment,
    another tenant's, another upload's, or with the same data cut as the last stripe."""
    cipher = cipher_of()
    row = seal_row(cipher, STRIPES)
    pool = {
        **{("own", i): sealed for i, sealed in enumerate(row)},
        ("own, first as last", 0): seal(cipher, 0, True, STRIPES[0]),
        ("own, last as not last", 2): seal(cipher, 2, False, STRIPES[2]),
        ("other segment", 1): seal_row(cipher_of(segment=OTHER_SEGMENT), STRIPES)[1],
        ("other tenant", 1): seal_row(cipher_of(tenant=OTHER_TENANT), STRIPES)[1],
        ("other upload", 2): seal_row(cipher_of(upload=UPLOAD[::-1][:31] + b"x"), STRIPES)[2],
    }
    opened = set()
    for length in range(1, 5):
        for names in itertools.product(pool, repeat=length):
            try:
                open_row(cipher, [pool[name] for name in names])
            except Corrupt:
                continue
            opened.add(names)
    # No writer seals its first stripe as the last too: it stands here to show what the flag does.
    assert opened == {
        (("own", 0), ("own", 1), ("own", 2)),
        (("own, first as last", 0),),
    }


def test_a_stripe_opens_only_under_its_own_number_and_flag():
    cipher = cipher_of()
    row = seal_row(cipher, STRIPES)
    for sealed_as, opened_as, last in itertools.product(range(3), range(6), (False, True)):
        if (opened_as, last) == (sealed_as, sealed_as == 2):
            assert open_(cipher, opened_as, last, row[sealed_as]) == STRIPES[sealed_as]
        else:
            with pytest.raises(Corrupt, match="stripe_not_authentic"):
                open_(cipher, opened_as, last, row[sealed_as])


@pytest.mark.incident(31)
def test_a_stripe_opens_only_for_its_tenant_segment_upload_key_and_number():
    sealed = seal(cipher_of(), 0, True, STRIPES[0])
    same_key_other_names = [
        StripeCipher(segment_key(UPLOAD, SEGMENT, 0), OTHER_TENANT, SEGMENT),
        StripeCipher(segment_key(UPLOAD, SEGMENT, 0), TENANT, OTHER_SEGMENT),
        StripeCipher(segment_key(UPLOAD, SEGMENT, 0), SEGMENT, TENANT),
        StripeCipher(segment_key(UPLOAD, OTHER_SEGMENT, 0), TENANT, SEGMENT),
        StripeCipher(segment_key(UPLOAD[:31] + b"x", SEGMENT, 0), TENANT, SEGMENT),
        StripeCipher(segment_key(UPLOAD, SEGMENT, 1), TENANT, SEGMENT),
    ]
    for cipher in same_key_other_names:
        with pytest.raises(Corrupt, match="stripe_not_authentic"):
            open_(cipher, 0, True, sealed)


def test_no_bit_of_a_stripe_can_be_changed():
    cipher = cipher_of()
    sealed = seal(cipher, 1, False, STRIPES[1])
    for bit in range(8 * len(sealed)):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Corrupt, match="stripe_not_authentic"):
            open_(cipher, 1, False, changed)


def test_a_stripe_cannot_be_cut_or_lengthened():
    cipher = cipher_of()
    sealed = seal(cipher, 1, False, STRIPES[1])
    for changed in [*(sealed[:length] for length in range(len(sealed))), sealed + b"\0"]:
        with pytest.raises(Corrupt, match="stripe_not_authentic"):
            open_(cipher, 1, False, changed)


def test_buffers_of_every_kind_are_read_and_written_in_place():
    cipher = cipher_of()
    sealed = seal(cipher, 0, True, STRIPES[0])
    for kind in (bytes, bytearray, memoryview):
        assert seal(cipher, 0, True, kind(STRIPES[0])) == sealed
        assert open_(cipher, 0, True, kind(sealed)) == STRIPES[0]
    inside = memoryview(bytearray(b"<" + bytes(len(sealed)) + b">"))
    cipher.seal_into(0, True, STRIPES[0], inside[1:-1])
    assert inside == b"<" + sealed + b">"


def test_every_nonce_of_a_segment_is_used_for_one_stripe_only():
    cipher = cipher_of()
    tags = {
        seal(cipher, stripe, last, b"")
        for stripe in range(MAX_STRIPES_PER_SEGMENT)
        for last in (False, True)
    }
    assert len(tags) == 2 * MAX_STRIPES_PER_SEGMENT
    for beyond in (-1, MAX_STRIPES_PER_SEGMENT):
        with pytest.raises(AssertionError):
            seal(cipher, beyond, False, b"")
