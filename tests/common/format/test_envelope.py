"""Envelopes and inner layers: opened by one key, by any range, and by nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.crypto.inner_layer import InnerStream, Stretch, pack_stretches, unpack_stretches
from common.errors import Corrupt, Refused
from common.format.envelope import KeyEnvelope, WrappingKey

KEY, OTHER, OBJECT_KEY = b"k" * 32, b"o" * 32, b"x" * 32
CUSTOMER = WrappingKey(KEY)
NAMED = WrappingKey(KEY, "archive", 2, b'{"a":"b"}', True)


def entropy(length: int) -> bytes:
    return bytes(range(length))


@pytest.mark.parametrize("wrapping", [CUSTOMER, NAMED])
def test_an_envelope_opens_with_its_key_only(wrapping: WrappingKey) -> None:
    envelope = wrapping.wrap(OBJECT_KEY, entropy)
    assert wrapping.unwrap(envelope) == OBJECT_KEY
    others = [
        replace(wrapping, key=OTHER),
        replace(wrapping, name="other"),
        replace(wrapping, version=wrapping.version + 1),
        CUSTOMER if wrapping is NAMED else NAMED,
    ]
    for other in others:
        assert not other.fits(envelope)
        with pytest.raises(Refused, match="wrong_object_key"):
            other.unwrap(envelope)


def test_a_customers_key_is_not_a_named_key_of_the_same_bytes() -> None:
    envelope = CUSTOMER.wrap(OBJECT_KEY, entropy)
    moved = replace(envelope, name="archive", version=2)
    with pytest.raises(Refused, match="wrong_object_key"):
        NAMED.unwrap(moved)


@pytest.mark.parametrize("wrapping", [CUSTOMER, NAMED])
def test_a_changed_envelope_does_not_open(wrapping: WrappingKey) -> None:
    envelope = wrapping.wrap(OBJECT_KEY, entropy)
    for at in range(len(envelope.wrapped)):
        wrapped = bytearray(envelope.wrapped)
        wrapped[at] ^= 1
        with pytest.raises((Refused, Corrupt)):
            wrapping.unwrap(replace(envelope, wrapped=bytes(wrapped)))
    with pytest.raises(Corrupt, match="record_not_authentic"):
        wrapping.unwrap(replace(envelope, context=b"{}"))


def test_each_wrap_is_another_one() -> None:
    one = CUSTOMER.wrap(OBJECT_KEY, lambda length: b"1" * length)
    two = CUSTOMER.wrap(OBJECT_KEY, lambda length: b"2" * length)
    assert one.wrapped != two.wrapped


def test_the_text_of_keys_shows_none() -> None:
    envelope = NAMED.wrap(OBJECT_KEY, entropy)
    assert "kkkk" not in repr(NAMED) + repr(envelope)
    assert KeyEnvelope.unpack(envelope.pack()) == envelope


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 70), min_size=1, max_size=6),
    st.data(),
)
def test_any_range_in_any_pieces_is_decrypted(lengths: list[int], data: st.DataObject) -> None:
    stretches = [Stretch(bytes([at]) * 16, length) for at, length in enumerate(lengths)]
    assert unpack_stretches(pack_stretches(stretches)) == stretches
    size = sum(lengths)
    plain = bytes(at % 251 for at in range(size))
    sealed = InnerStream(OBJECT_KEY, stretches, 0).apply(plain)
    assert len(sealed) == size
    first = data.draw(st.integers(0, size))
    stream = InnerStream(OBJECT_KEY, stretches, first)
    at = first
    while at < size:
        end = data.draw(st.integers(at, size))
        assert stream.apply(memoryview(sealed)[at:end]) == plain[at:end]
        at = end + (end == at)
        if end == at - 1:  # an empty piece; the next one takes the byte
            assert stream.apply(sealed[end:at]) == plain[end:at]
    with pytest.raises(Corrupt):
        stream.apply(b"one byte more than there is" * (1 + (at >= size)))
