"""The sizes that a request may have: exactly so much is taken, and one more is refused."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from urllib.parse import quote

import pytest
from form_client import BOUNDARY, body_of, post, signed
from gateway_rig import Answer, Rig

from common import limits
from common.http.head import BadHead, parse_head

KIB = 1024


@pytest.fixture
async def rig() -> Rig:
    made = Rig()
    assert (await made.ask("PUT", "/bucket")).status == 200
    return made


def status_of(head: bytes) -> int:
    try:
        parse_head(head)
    except BadHead as error:
        return error.status
    return 200


def head_of(lines: Sequence[bytes], target: bytes = b"/") -> bytes:
    return b"\r\n".join([b"GET " + target + b" HTTP/1.1", b"Host: a", *lines, b"", b""])


def test_a_head_has_200_headers_at_most() -> None:
    for count, status in ((199, 200), (200, 431)):
        assert status_of(head_of([b"X-A: b"] * count)) == status


def test_a_target_has_16_kib_at_most() -> None:
    assert limits.MAX_HTTP_TARGET_BYTES == 16 * KIB
    for size, status in ((16 * KIB, 200), (16 * KIB + 1, 414)):
        assert status_of(head_of([], b"/" + b"a" * (size - 1))) == status


async def put(rig: Rig, **headers: str) -> Answer:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return await rig.ask("PUT", "/bucket/key", "", b"x", given)


async def test_a_key_has_1024_bytes_at_most(rig: Rig) -> None:
    for key, code in (("k" * 1024, ""), ("k" * 1025, "KeyTooLongError"), ("é" * 512, "")):
        answer = await rig.ask("PUT", f"/bucket/{quote(key)}", "", b"x")
        assert (answer.status == 200) is (not code)
        assert not code or answer.code == code


async def test_metadata_has_two_kib_at_most(rig: Rig) -> None:
    for size, code in ((2047, ""), (2048, "MetadataTooLarge")):
        answer = await put(rig, x_amz_meta_a="v" * size)
        assert (answer.status == 200) is (not code)
        assert not code or answer.code == code


async def test_content_headers_have_eight_kib_at_most(rig: Rig) -> None:
    for size, status in ((7 * KIB, 200), (9 * KIB, 400)):
        assert (await put(rig, cache_control="a" * size)).status == status


async def test_an_object_has_ten_tags_of_128_and_256_units_at_most(rig: Rig) -> None:
    whole = "&".join(f"{number}{'k' * 127}={'v' * 256}" for number in range(10))
    assert (await put(rig, x_amz_tagging=whole)).status == 200
    for tags in (f"{whole}&k=v", f"{'k' * 129}=v", f"k={'v' * 257}"):
        answer = await put(rig, x_amz_tagging=tags)
        assert answer.status == 400
        assert answer.code in {"BadRequest", "InvalidTag", "InvalidArgument"}


async def sent_document(rig: Rig, query: str, document: bytes, method: str = "POST") -> Answer:
    digest = base64.b64encode(hashlib.md5(document).digest()).decode()
    return await rig.ask(method, "/bucket", query, document, {"content-md5": digest})


async def test_a_document_has_two_mib_at_most(rig: Rig) -> None:
    assert limits.MAX_XML_BODY_BYTES == 2 * KIB * KIB
    start, end = b"<Delete><Object><Key>k</Key></Object>", b"</Delete>"
    for size, status in ((2 * KIB * KIB, 200), (2 * KIB * KIB + 1, 400)):
        document = start + b" " * (size - len(start) - len(end)) + end
        assert (await sent_document(rig, "delete=", document)).status == status


async def test_a_document_has_eight_levels_at_most(rig: Rig) -> None:
    for depth in (limits.MAX_XML_DEPTH + 1, 10_000):
        document = b"<Delete>" + b"<a>" * depth + b"</a>" * depth + b"</Delete>"
        answer = await sent_document(rig, "delete=", document)
        assert (answer.status, answer.code) == (400, "MalformedXML")


async def test_a_list_of_deletions_has_a_thousand_keys_at_most(rig: Rig) -> None:
    for count, status in ((1000, 200), (1001, 400)):
        objects = b"".join(b"<Object><Key>%d</Key></Object>" % n for n in range(count))
        answer = await sent_document(rig, "delete=", b"<Delete>" + objects + b"</Delete>")
        assert answer.status == status


async def test_rules_for_other_origins_have_64_kib_at_most(rig: Rig) -> None:
    def document(size: int) -> bytes:
        start = (
            b"<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod>"
            b"<AllowedOrigin>*</AllowedOrigin></CORSRule>"
        )
        end = b"</CORSConfiguration>"
        return start + b" " * (size - len(start) - len(end)) + end

    for size, status in ((64 * KIB, 200), (64 * KIB + 1, 400)):
        assert (await sent_document(rig, "cors=", document(size), "PUT")).status == status


async def test_a_policy_has_20_kib_at_most(rig: Rig) -> None:
    start = (
        b'{"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Principal": "*",'
        b' "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bucket/*"}'
    )
    for size, status in ((20 * KIB, 204), (20 * KIB + 1, 400)):
        document = start + b" " * (size - len(start) - 1) + b"}"
        assert (await rig.ask("PUT", "/bucket", "policy=", document)).status == status


async def test_the_fields_of_a_form_have_20_kib_at_most(rig: Rig) -> None:
    for size, code in ((15_000, ""), (21_000, "MaxPostPreDataLengthExceeded")):
        fields = signed(rig, {"key": "key"})
        answer = await post(rig, [*fields.items(), ("x-ignore-a", "i" * size)])
        assert (answer.status == 204) is (not code)
        assert not code or answer.code == code


async def test_a_boundary_of_a_form_has_70_bytes_at_most(rig: Rig) -> None:
    for size, status in ((70, 204), (71, 400)):
        answer = await post(rig, signed(rig, {"key": "key"}), boundary="b" * size)
        assert answer.status == status
    assert body_of([], b"", boundary=BOUNDARY)


async def test_a_query_has_a_hundred_parameters_at_most(rig: Rig) -> None:
    for count, status in ((100, 200), (101, 400)):
        query = "&".join(f"x-{number:03}=" for number in range(count))
        assert (await rig.ask("GET", "/bucket", query)).status == status
