"""The key tree and sealed records."""

import hmac
import itertools

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from common import limits
from common.crypto.identity import KeyPair
from common.crypto.keys import RECORD_OVERHEAD_BYTES, TenantKey, commitment_of, segment_key
from common.errors import BadConfig, Corrupt

TENANT = b"T" * 16
KEY = bytes(range(32))
CONTEXT = (b"bucket", b"name", b"version")


def counting_entropy():
    count = itertools.count(1)
    return lambda length: next(count).to_bytes(length, "big")


def sealed_record(plaintext=b"some plaintext"):
    return TenantKey(TENANT, KEY).seal("manifest", CONTEXT, plaintext, counting_entropy())


def hkdf(key, salt, info, length):
    """RFC 5869 from the standard library, to check against."""
    secret = hmac.digest(salt or bytes(32), key, "sha256")
    return hkdf_expand(secret, info, length)


def hkdf_expand(secret, info, length):
    out = block = b""
    for number in range(1, -(-length // 32) + 1):
        block = hmac.digest(secret, block + info + bytes([number]), "sha256")
        out += block
    return out[:length]


def test_a_sealed_record_has_the_documented_bytes():
    salt = (1).to_bytes(24, "big")
    purpose_key = hkdf(KEY, TENANT, b"alveary record purpose v1\0manifest", 32)
    both = hkdf_expand(purpose_key, b"alveary record v1" + salt, 64)
    context = b"".join(len(x).to_bytes(4, "big") + x for x in (b"manifest", *CONTEXT))
    ciphertext = AESGCM(both[:32]).encrypt(bytes(12), b"some plaintext", context)
    assert sealed_record() == b"\x01" + salt + both[32:] + ciphertext


def test_the_proof_is_the_documented_derivation():
    pair = KeyPair.from_private(hkdf(KEY, TENANT, b"alveary tenant proof v1", 32))
    assert TenantKey(TENANT, KEY).proof_key() == pair.public_key
    assert TenantKey(TENANT, KEY).prove(b"message") == pair.sign(b"message")


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=300), st.lists(st.binary(max_size=20), max_size=5), st.text(max_size=9))
def test_what_is_sealed_opens(plaintext, context, purpose):
    key = TenantKey(TENANT, KEY)
    sealed = key.seal(purpose, context, plaintext, counting_entropy())
    assert len(sealed) == len(plaintext) + RECORD_OVERHEAD_BYTES
    assert TenantKey(TENANT, KEY).open(purpose, context, sealed) == plaintext


def test_a_record_opens_only_for_its_tenant_key_purpose_and_context():
    sealed = sealed_record()
    key = TenantKey(TENANT, KEY)
    cases = [
        (TenantKey(b"U" * 16, KEY), "manifest", CONTEXT),
        (TenantKey(TENANT, KEY[::-1]), "manifest", CONTEXT),
        (key, "part", CONTEXT),
        (key, "manifest", (b"bucket", b"name")),
        (key, "manifest", (*CONTEXT, b"")),
        (key, "manifest", (b"bucket", b"nam", b"eversion")),
        (key, "manifest", (b"name", b"bucket", b"version")),
        (key, "manifest", ()),
    ]
    for tenant, purpose, context in cases:
        with pytest.raises(Corrupt, match="record_not_authentic"):
            tenant.open(purpose, context, sealed)


def test_no_bit_of_a_record_can_be_changed():
    key = TenantKey(TENANT, KEY)
    sealed = sealed_record()
    for bit in range(8 * len(sealed)):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Corrupt, match="record_not_authentic"):
            key.open("manifest", CONTEXT, bytes(changed))


def test_a_record_cannot_be_cut_or_lengthened():
    key = TenantKey(TENANT, KEY)
    sealed = sealed_record()
    for length in range(len(sealed)):
        with pytest.raises(Corrupt, match="record_not_authentic"):
            key.open("manifest", CONTEXT, sealed[:length])
    for more in (b"\0", sealed):
        with pytest.raises(Corrupt, match="record_not_authentic"):
            key.open("manifest", CONTEXT, sealed + more)


def test_a_record_whose_tag_holds_is_refused_when_its_commitment_does_not():
    # GCM alone would open it: the tag covers neither salt nor commitment.
    sealed = bytearray(sealed_record())
    sealed[25:57] = bytes(32)
    with pytest.raises(Corrupt, match="record_not_authentic"):
        TenantKey(TENANT, KEY).open("manifest", CONTEXT, bytes(sealed))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_corrupt(data):
    with pytest.raises(Corrupt, match="record_not_authentic"):
        TenantKey(TENANT, KEY).open("manifest", CONTEXT, data)
    with pytest.raises(Corrupt, match="record_not_authentic"):
        TenantKey(TENANT, KEY).open("manifest", CONTEXT, b"\x01" + data)


def test_the_same_plaintext_is_sealed_differently_each_time():
    key, entropy = TenantKey(TENANT, KEY), counting_entropy()
    records = [key.seal("manifest", CONTEXT, b"same", entropy) for _ in range(20)]
    for part in (slice(1, 25), slice(25, 57), slice(57, None)):
        assert len({record[part] for record in records}) == 20


def test_the_keys_of_the_tree_all_differ():
    upload = KEY[::-1]
    key = TenantKey(TENANT, KEY)
    derived = [
        KEY,
        upload,
        key.proof_key(),
        TenantKey(b"U" * 16, KEY).proof_key(),
        commitment_of(upload),
        commitment_of(KEY),
        *(segment_key(upload, segment.to_bytes(16, "big"), 0) for segment in range(50)),
        *(segment_key(upload, bytes(16), number) for number in range(1, 50)),
        segment_key(upload, bytes(16), limits.MAX_UINT),
        segment_key(KEY, bytes(16), 0),
    ]
    assert len(set(derived)) == len(derived)
    assert {len(each) for each in derived} == {32}
    label = b"alveary segment key v1" + (258).to_bytes(8, "big")
    assert segment_key(upload, bytes(16), 258) == hkdf(upload, bytes(16), label, 32)


@pytest.mark.parametrize(("tenant", "key"), [(bytes(15), KEY), (bytes(17), KEY), (TENANT, KEY[1:])])
def test_a_tenant_key_of_another_length_is_bad_config(tenant, key):
    with pytest.raises(BadConfig, match="bad_tenant_key"):
        TenantKey(tenant, key)


def test_the_text_form_hides_the_key_even_after_use():
    key = TenantKey(TENANT, KEY)
    key.seal("manifest", CONTEXT, b"", counting_entropy())
    text = repr(key)
    assert repr(KEY) not in text
    assert "purpose" not in text
    assert key == TenantKey(TENANT, KEY)


def test_purposes_are_bounded():
    key, entropy = TenantKey(TENANT, KEY), counting_entropy()
    for number in range(limits.MAX_KEY_PURPOSES):
        key.seal(str(number), (), b"", entropy)
    with pytest.raises(AssertionError):
        key.seal("one more", (), b"", entropy)


def test_a_proof_does_not_open_what_the_key_opens():
    imposter = TenantKey(TENANT, TenantKey(TENANT, KEY).proof_key())
    with pytest.raises(Corrupt):
        imposter.open("manifest", CONTEXT, sealed_record())
    assert imposter.proof_key() != TenantKey(TENANT, KEY).proof_key()
