"""Checksums in headers and trailers, read strictly."""

from __future__ import annotations

import base64

import pytest

from common.http.records import HttpRequest
from gateway.checksums import Algorithm, encode
from gateway_s3.errors import S3Error
from gateway_s3.request.checksums import (
    Expected,
    Type,
    content_md5,
    expected_checksum,
    parse_checksum,
    upload_checksum,
)


def request_with(*headers: tuple[bytes, bytes]) -> HttpRequest:
    return HttpRequest("PUT", b"/b/k", b"/b/k", b"", list(headers))


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
