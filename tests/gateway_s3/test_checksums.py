"""Checksums agree with independent implementations, and combine as the whole would give."""

from __future__ import annotations

import base64
import hashlib
import random

import pytest
from awscrt import checksums as crt

from common.http.records import HttpRequest
from gateway.checksums import Algorithm, combine, composite, encode, new_checksum
from gateway_s3.errors import S3Error
from gateway_s3.request.checksums import (
    Expected,
    Type,
    content_md5,
    expected_checksum,
    parse_checksum,
    upload_checksum,
)

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


def request_with(*headers: tuple[bytes, bytes]) -> HttpRequest:
    return HttpRequest("PUT", b"/b/k", b"/b/k", b"", list(headers))


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


@pytest.mark.parametrize("text", ["", "!", "AAAA", "AAAAAA", "AAAAAA==\n", "AAAAAA=", "äAAAAA=="])
def test_a_value_that_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(S3Error) as caught:
        parse_checksum(Algorithm.CRC32, text)
    assert caught.value.code.code == "InvalidRequest"
    assert parse_checksum(Algorithm.CRC32, "AAAAAA==") == bytes(4)


def test_the_checksum_is_found_in_a_header_or_announced_for_the_trailer() -> None:
    request = request_with((b"x-amz-checksum-sha1", encode(bytes(20)).encode()))
    assert expected_checksum(request, frozenset()) == Expected(Algorithm.SHA1, bytes(20))
    trailers = frozenset({"x-amz-checksum-crc64nvme"})
    assert expected_checksum(request_with(), trailers) == Expected(Algorithm.CRC64NVME, None)
    assert expected_checksum(request_with(), frozenset()) is None


@pytest.mark.parametrize(
    ("headers", "trailers"),
    [
        ([(b"x-amz-checksum-crc32", b"AAAAAA=="), (b"x-amz-checksum-crc32c", b"AAAAAA==")], []),
        ([(b"x-amz-checksum-crc32", b"AAAAAA==")] * 2, []),
        ([(b"x-amz-checksum-crc32", b"AAAAAA==")], ["x-amz-checksum-crc32"]),
        ([], ["x-amz-meta-a"]),
        ([(b"x-amz-sdk-checksum-algorithm", b"CRC32")], []),
        ([(b"x-amz-sdk-checksum-algorithm", b"MD4")], ["x-amz-checksum-crc32"]),
        ([(b"x-amz-sdk-checksum-algorithm", b"SHA1")], ["x-amz-checksum-crc32"]),
    ],
)
def test_a_checksum_that_is_not_one_is_refused(
    headers: list[tuple[bytes, bytes]], trailers: list[str]
) -> None:
    with pytest.raises(S3Error) as caught:
        expected_checksum(request_with(*headers), frozenset(trailers))
    assert caught.value.code.code == "InvalidRequest"


def test_content_md5_is_strict_base64_of_16_bytes() -> None:
    assert content_md5(request_with()) is None
    value = base64.b64encode(bytes(16))
    assert content_md5(request_with((b"content-md5", value))) == bytes(16)
    for bad in (b"", b"x", value[:-2], base64.b64encode(bytes(15))):
        with pytest.raises(S3Error) as caught:
            content_md5(request_with((b"content-md5", bad)))
        assert caught.value.code.code == "InvalidDigest"


def test_the_type_of_an_upload_follows_the_rules_of_its_algorithm() -> None:
    assert upload_checksum(None, None) is None
    assert upload_checksum("CRC64NVME", None) == (Algorithm.CRC64NVME, Type.FULL_OBJECT)
    assert upload_checksum("crc32", None) == (Algorithm.CRC32, Type.COMPOSITE)
    assert upload_checksum("CRC32C", "FULL_OBJECT") == (Algorithm.CRC32C, Type.FULL_OBJECT)
    for algorithm, kind in [
        (None, "COMPOSITE"),
        ("SHA256", "FULL_OBJECT"),
        ("CRC64NVME", "COMPOSITE"),
        ("CRC32", "X"),
        ("MD5", None),
    ]:
        with pytest.raises(S3Error):
            upload_checksum(algorithm, kind)
