"""Presigned URLs: what their queries say in place of headers, and what they cannot smuggle in."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from gateway_rig import Answer, Rig

DATA = b"some bytes"


@pytest.fixture
async def rig() -> Rig:
    made = Rig()
    await made.put("/bucket", b"")
    return made


async def put(
    rig: Rig, query: str, headers: list[tuple[str, str]] | None = None, body: bytes = DATA
) -> Answer:
    sent = [("host", rig.host), ("content-length", str(len(body))), *(headers or [])]
    return await rig.send("PUT", "/bucket/key", query, body, sent)


@pytest.mark.incident(1)
@pytest.mark.fault("M3")
async def test_a_parameter_makes_no_room_for_unsigned_header_lines(rig: Rig) -> None:
    query = rig.presign("PUT", "/bucket/key", "x-amz-meta-role=reader")
    name = "x-amz-meta-role"
    for lines in (["reader", "admin"], ["admin", "reader"], ["admin"], ["reader", "reader"]):
        answer = await put(rig, query, [(name, line) for line in lines])
        assert (answer.status, answer.code) == (400, "InvalidArgument"), lines
    for headers in ([], [(name, "reader")]):
        assert (await put(rig, query, headers)).status == 200
        got = await rig.ask("GET", "/bucket/key")
        assert got.headers[name] == "reader"


@pytest.mark.fault("M3")
async def test_a_parameter_that_is_given_twice_must_say_the_same(rig: Rig) -> None:
    for again in ("x-amz-meta-role=admin", "X-Amz-Meta-Role=admin", "x-amz-meta-role="):
        query = rig.presign("PUT", "/bucket/key", f"x-amz-meta-role=reader&{again}")
        assert (await put(rig, query)).code == "InvalidArgument"


@pytest.mark.fault("M4")
@pytest.mark.parametrize(
    "name", ["a%0D%0Ab", "a%00", "a%0A", "a%3A", "a%20b", "a%C3%BC", "a%2F", "a%7F", "a%09", "a%22"]
)
async def test_a_parameter_becomes_a_header_only_with_the_name_of_one(rig: Rig, name: str) -> None:
    query = rig.presign("PUT", "/bucket/key", f"x-amz-meta-{name}=b")
    answer = await put(rig, query)
    assert (answer.status, answer.code) == (400, "InvalidArgument")
    assert not rig.coordinators.current


@pytest.mark.incident(19)
@pytest.mark.fault("M4")
@pytest.mark.parametrize("code", [*range(9), *range(10, 32), 127])
async def test_a_parameter_becomes_a_header_only_with_the_value_of_one(rig: Rig, code: int) -> None:
    for name in ("x-amz-meta-a", "x-amz-storage-class"):
        query = rig.presign("PUT", "/bucket/key", f"{name}=b%{code:02X}c")
        answer = await put(rig, query)
        assert (answer.status, answer.code) == (400, "InvalidArgument")
    assert not rig.coordinators.current


@pytest.mark.fault("M4")
async def test_a_control_character_in_an_encoded_word_is_refused(rig: Rig) -> None:
    headers = {"x-amz-meta-a": "=?UTF-8?Q?a=0D=0AX-Evil:_1?="}
    answer = await rig.ask("PUT", "/bucket/key", "", DATA, headers)
    assert (answer.status, answer.code) == (400, "InvalidArgument")


@pytest.mark.fault("B02")
@pytest.mark.parametrize(
    "names",
    [
        "x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-sdk-checksum-algorithm=CRC32",
        "x-amz-sdk-checksum-algorithm=SHA256",
        "x-amz-checksum-sha256=nonsense",
        "x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-checksum-crc32c=AAAAAA%3D%3D",
    ],
)
async def test_a_checksum_in_a_query_binds_nothing(rig: Rig, names: str) -> None:
    query = rig.presign("PUT", "/bucket/key", f"{names}&x-id=PutObject")
    answer = await put(rig, query)
    assert answer.status == 200
    assert (await rig.ask("GET", "/bucket/key")).body == DATA


@pytest.mark.fault("B02")
async def test_a_checksum_in_a_signed_header_binds_the_body(rig: Rig) -> None:
    for name, value in (("x-amz-checksum-crc32", "AAAAAA=="), ("content-md5", "A" * 22 + "==")):
        query = rig.presign("PUT", "/bucket/key", "", {name: value})
        answer = await put(rig, query, [(name, value)])
        assert (answer.status, answer.code) == (400, "BadDigest")
    assert not rig.coordinators.current


@pytest.mark.fault("B02", "M3")
async def test_a_checksum_in_a_query_makes_no_room_for_an_unsigned_header(rig: Rig) -> None:
    query = rig.presign("PUT", "/bucket/key", "x-amz-checksum-crc32=AAAAAA%3D%3D")
    answer = await put(rig, query, [("x-amz-checksum-crc32", "AAAAAA==")])
    assert (answer.status, answer.code) == (403, "AccessDenied")


@pytest.mark.fault("B33")
async def test_a_presigned_get_may_have_the_clients_own_parameters(rig: Rig) -> None:
    await rig.put("/bucket/key", DATA)
    for own in ("x-flag=", "x-flag=1", "max-keys=5&list-type=2", "x-id=GetObject"):
        query = rig.presign("GET", "/bucket/key", own)
        got = await rig.send("GET", "/bucket/key", query, b"", {"host": rig.host})
        assert (got.status, got.body) == (200, DATA), own


@pytest.mark.fault("B06")
async def test_a_lifted_value_that_is_not_ascii_comes_back_as_encoded_words(rig: Rig) -> None:
    query = rig.presign("PUT", "/bucket/key", f"x-amz-meta-n={quote('grün')}")
    assert (await put(rig, query)).status == 200
    got = await rig.ask("HEAD", "/bucket/key")
    assert got.headers["x-amz-meta-n"] == "=?UTF-8?B?Z3LDvG4=?="
