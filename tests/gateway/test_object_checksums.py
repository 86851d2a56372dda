"""Checksums agree with independent implementations, and combine as the whole would give."""

from __future__ import annotations

import base64
import hashlib
import random

import pytest
from awscrt import checksums as crt

from gateway.checksums import Algorithm, combine, composite, encode, new_checksum, parse_digest

CHECK = {
    Algorithm.CRC32: "cbf43926",
    Algorithm.CRC32C: "e3069283",
    Algorithm.CRC64NVME: "ae8b14860a799888",
    Algorithm.SHA1: hashlib.sha1(b"123456789").hexdigest(),
    Algorithm.SHA256: hashlib.sha256(b"123456789").hexdigest(),
}
CRCS = [algorithm for algorithm in Algorithm if algorithm.is_crc]


def digest_of(algorithm: Algorithm, data: bytes) -> bytes:
    checksum = new_checksum(algorithm)
    checksum.update(data)
    return checksum.digest()


@pytest.mark.parametrize("algorithm", Algorithm)
def test_the_check_value_of_the_catalogue_is_given(algorithm: Algorithm) -> None:
    checksum = new_checksum(algorithm)
    for part in (b"123", bytearray(b"45"), memoryview(bytearray(b"6789"))):
        checksum.update(part)
    assert checksum.digest().hex() == CHECK[algorithm]
    assert len(checksum.digest()) == algorithm.digest_bytes


@pytest.mark.parametrize("algorithm", CRCS)
def test_the_checksums_of_parts_combine_to_that_of_the_whole(algorithm: Algorithm) -> None:
    rng = random.Random(3)
    for _ in range(30):
        parts = [rng.randbytes(rng.choice([0, 1, 7, 8, 1000])) for _ in range(rng.randrange(6))]
        parts += [rng.randbytes(513)] * rng.randrange(3)
        whole = digest_of(algorithm, b"".join(parts))
        assert combine(algorithm, [(digest_of(algorithm, p), len(p)) for p in parts]) == whole


def test_combining_agrees_with_the_common_runtime_for_large_parts() -> None:
    rng = random.Random(4)
    theirs = {
        Algorithm.CRC32: crt.combine_crc32,
        Algorithm.CRC32C: crt.combine_crc32c,
        Algorithm.CRC64NVME: crt.combine_crc64nvme,
    }
    for algorithm, function in theirs.items():
        for size in (5 * 2**30, 8 * 2**20, 2**40 + 3):
            first, second = (rng.randbytes(algorithm.digest_bytes) for _ in range(2))
            expected = function(int.from_bytes(first, "big"), int.from_bytes(second, "big"), size)
            found = combine(algorithm, [(first, 1), (second, size)])
            assert int.from_bytes(found, "big") == expected


def test_a_composite_is_of_the_digests_and_says_how_many() -> None:
    digests = [digest_of(Algorithm.SHA256, bytes([n])) for n in range(3)]
    expected = base64.b64encode(hashlib.sha256(b"".join(digests)).digest()).decode()
    assert composite(Algorithm.SHA256, digests) == expected + "-3"


def test_a_digest_as_text_is_strict_base64() -> None:
    for algorithm in Algorithm:
        digest = digest_of(algorithm, b"123456789")
        assert parse_digest(encode(digest), algorithm.digest_bytes) == digest
        assert parse_digest(encode(digest), algorithm.digest_bytes + 1) is None
        assert parse_digest(encode(digest) + " ", algorithm.digest_bytes) is None
