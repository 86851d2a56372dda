"""Identities."""

import hashlib

import pytest

from common.crypto.identity import KeyPair, is_sound_key, peer_id_of, signature_holds
from common.errors import BadConfig
from common.ports import Identity

# RFC 8032, section 7.1, test 2.
SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


def test_signatures_are_those_of_rfc_8032():
    pair = KeyPair.from_private(SEED)
    assert pair.public_key == PUBLIC
    assert pair.sign(b"\x72") == SIGNATURE
    assert signature_holds(PUBLIC, b"\x72", SIGNATURE)


def test_a_peer_id_is_the_hash_of_the_public_key():
    pair: Identity = KeyPair.from_private(SEED)
    assert pair.peer_id == peer_id_of(PUBLIC) == hashlib.sha256(PUBLIC).digest()


def test_a_generated_identity_is_its_entropy_and_survives_storage():
    asked = []

    def entropy(count):
        asked.append(count)
        return SEED

    pair = KeyPair.generate(entropy)
    assert asked == [32]
    assert KeyPair.from_private(pair.private_key) == pair
    assert KeyPair.from_private(SEED[::-1]) != pair


def test_another_message_key_or_signature_does_not_hold():
    other = KeyPair.from_private(bytes(32)).public_key
    assert not signature_holds(PUBLIC, b"\x73", SIGNATURE)
    assert not signature_holds(other, b"\x72", SIGNATURE)
    for at in range(64):
        flipped = bytearray(SIGNATURE)
        flipped[at] ^= 1
        assert not signature_holds(PUBLIC, b"\x72", bytes(flipped))


@pytest.mark.parametrize("length", [0, 31, 33, 64, 1000])
def test_a_key_or_signature_of_another_length_does_not_hold(length):
    assert not signature_holds(bytes(length), b"\x72", SIGNATURE)
    if length != 64:
        assert not signature_holds(PUBLIC, b"\x72", bytes(length))


def test_a_public_key_that_is_no_point_does_not_hold():
    assert not signature_holds(b"\x02" + bytes(31), b"\x72", SIGNATURE)
    assert not signature_holds(b"\xff" * 32, b"\x72", SIGNATURE)


LOW_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    # The same points, encoded otherwise.
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


@pytest.mark.fault("L")
@pytest.mark.parametrize("key", LOW_ORDER)
def test_a_key_of_low_order_proves_nothing(key):
    public_key = bytes.fromhex(key)
    assert not is_sound_key(public_key)
    # The identity as R and zero as S hold for any message where the key times 8 is the identity.
    forged = b"\x01" + bytes(63)
    for number in range(16):
        assert not signature_holds(public_key, bytes([number]), forged)


@pytest.mark.fault("L")
def test_a_key_in_a_second_encoding_proves_nothing():
    for above in range(19):  # 2**255 - 19 + above is the same coordinate as above
        for sign in (0, 1 << 255):
            key = ((2**255 - 19 + above) | sign).to_bytes(32, "little")
            assert not is_sound_key(key)
    assert is_sound_key(PUBLIC)
    assert all(is_sound_key(KeyPair.from_private(bytes([n]) * 32).public_key) for n in range(50))


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_stored_seed_of_another_length_is_bad_config(length):
    with pytest.raises(BadConfig, match="bad_identity_key"):
        KeyPair.from_private(bytes(length))


def test_the_text_form_hides_the_private_key():
    text = repr(KeyPair.from_private(SEED))
    assert repr(SEED) not in text
    assert SEED.hex() not in text
