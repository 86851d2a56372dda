"""The owner that a client expects a bucket to have, and what happens when it has another."""

from __future__ import annotations

import form_client
import pytest
from gateway_rig import Rig

OURS = "x-amz-expected-bucket-owner"
SOURCES = "x-amz-source-expected-bucket-owner"


@pytest.fixture
async def rig() -> Rig:
    made = Rig()
    await made.put("/bucket", b"")
    await made.put("/bucket/key", b"content")
    return made


async def test_the_id_that_answers_show_is_the_owners(rig: Rig) -> None:
    shown = (await rig.ask("GET", "/bucket", "acl=")).text("Owner/ID")
    assert shown == rig.tenant.tenant_id.hex()
    for method, path, query in (
        ("GET", "/bucket/key", ""),
        ("HEAD", "/bucket/key", ""),
        ("PUT", "/bucket/new", ""),
        ("GET", "/bucket", "list-type=2"),
        ("HEAD", "/bucket", ""),
        ("DELETE", "/bucket/new", ""),
        ("GET", "/bucket", "tagging="),
    ):
        answer = await rig.ask(method, path, query, b"", {OURS: shown})
        assert answer.status < 300 or answer.code == "NoSuchTagSet"
        other = await rig.ask(method, path, query, b"", {OURS: "0" * 32})
        assert other.status == 403
    assert (await rig.ask("GET", "/bucket/key")).body == b"content"


@pytest.mark.parametrize(
    ("owner", "status", "code"),
    [
        ("123456789012", 403, "AccessDenied"),
        ("f" * 32, 403, "AccessDenied"),
        ("", 400, "InvalidBucketOwnerAWSAccountID"),
        ("abc", 400, "InvalidBucketOwnerAWSAccountID"),
        ("1" * 13, 400, "InvalidBucketOwnerAWSAccountID"),
        ("F" * 32, 400, "InvalidBucketOwnerAWSAccountID"),
    ],
)
async def test_another_owner_is_refused(rig: Rig, owner: str, status: int, code: str) -> None:
    answer = await rig.ask("PUT", "/bucket/key", "", b"new", {OURS: owner})
    assert (answer.status, answer.code) == (status, code)
    assert (await rig.ask("GET", "/bucket/key")).body == b"content"


async def test_a_copy_checks_the_owner_of_its_source_too(rig: Rig) -> None:
    ours = rig.tenant.tenant_id.hex()
    begun = await rig.ask("POST", "/bucket/parts", "uploads=")
    part = f"partNumber=1&uploadId={begun.text('UploadId')}"
    for path, query in (("/bucket/copy", ""), ("/bucket/parts", part)):
        source = {"x-amz-copy-source": "/bucket/key"}
        for headers, status in (
            ({SOURCES: ours}, 200),
            ({SOURCES: ours, OURS: ours}, 200),
            ({SOURCES: "0" * 32}, 403),
            ({SOURCES: ours, OURS: "0" * 32}, 403),
            ({SOURCES: "x"}, 400),
        ):
            answer = await rig.ask("PUT", path, query, b"", {**source, **headers})
            assert answer.status == status, answer.body


async def test_the_owner_of_a_source_means_nothing_without_one(rig: Rig) -> None:
    answer = await rig.ask("PUT", "/bucket/key", "", b"x", {SOURCES: "0" * 32})
    assert (answer.status, answer.code) == (501, "NotImplemented")


async def test_a_form_expects_an_owner_by_a_field_and_by_a_header(rig: Rig) -> None:
    ours, another = rig.tenant.tenant_id.hex(), "0" * 32
    for of_field, of_header, status in (
        (ours, ours, 204),
        (another, ours, 403),
        (ours, another, 403),
        ("x", ours, 400),
    ):
        fields = form_client.signed(rig, {"key": "key", OURS: of_field})
        answer = await form_client.post(rig, fields, headers={OURS: of_header})
        assert answer.status == status, answer.body
