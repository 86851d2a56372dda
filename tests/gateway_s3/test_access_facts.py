"""Facts of requests that conditions of policies look at, however a request says them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

import form_client
import pytest
from access_client import other_account, set_policy, statement
from gateway_rig import Answer, Rig
from object_rig import SECRET
from trio.testing import MockClock


@pytest.fixture
async def rig(autojump_clock: MockClock) -> Rig:
    made = Rig()
    await made.put("/bucket", b"")
    await made.put("/bucket/key", b"content")
    await made.put("/bucket/private/key", b"secret")
    return made


async def test_a_version_is_a_fact_however_it_is_named(rig: Rig) -> None:
    other = {"AWS": other_account(rig)}
    this = {"StringEquals": {"s3:VersionId": "null"}}
    every = ["s3:GetObjectVersion", "s3:DeleteObjectVersion"]
    batch = b"<Delete><Object><Key>key</Key><VersionId>null</VersionId></Object></Delete>"
    md5 = base64.b64encode(hashlib.md5(batch, usedforsecurity=False).digest()).decode()
    source = {"x-amz-copy-source": "/bucket/key?versionId=null"}
    await rig.ask("PUT", "/theirs", access_key="OTHER")

    async def ask(method: str, path: str, *more: Any) -> Answer:
        return await rig.ask(method, path, *more, access_key="OTHER")

    for effect, reached in (("Deny", False), ("Allow", True)):
        allowed = [] if reached else [statement(every, Principal=other)]
        await set_policy(
            rig, *allowed, statement(every, Effect=effect, Principal=other, Condition=this)
        )
        status = 200 if reached else 403
        assert (await ask("GET", "/bucket/key", "versionId=null")).status == status
        assert (await ask("PUT", "/theirs/copy", "", b"", source)).status == status
        deleted = await ask("POST", "/bucket", "delete=", batch, {"content-md5": md5})
        assert deleted.texts("Deleted/Key") == ["key"] * reached
        assert deleted.texts("Error/Code") == ["AccessDenied"] * (not reached)


async def test_tags_of_objects_and_requests_are_facts(rig: Rig) -> None:
    other = other_account(rig)
    await rig.put("/bucket/public", b"x", {"x-amz-tagging": "access=public"})
    await rig.put("/bucket/closed", b"x", {"x-amz-tagging": "access=closed"})
    await set_policy(
        rig,
        statement(
            ["s3:GetObject", "s3:DeleteObject"],
            Principal={"AWS": other},
            Condition={"StringEquals": {"s3:ExistingObjectTag/access": "public"}},
        ),
        statement(
            ["s3:PutObject", "s3:PutObjectTagging"],
            Principal={"AWS": other},
            Condition={"StringEquals": {"s3:RequestObjectTag/access": ["public", "team"]}},
        ),
    )

    async def ask(method: str, path: str, **headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return (await rig.ask(method, path, "", b"", named, access_key="OTHER")).status

    assert await ask("GET", "/bucket/public") == 200
    assert await ask("GET", "/bucket/closed") == 403
    assert await ask("GET", "/bucket/key") == 403
    assert await ask("GET", "/bucket/none") == 403
    assert await ask("PUT", "/bucket/new", x_amz_tagging="access=team") == 200
    assert await ask("PUT", "/bucket/new", x_amz_tagging="access=closed") == 403
    assert await ask("PUT", "/bucket/new") == 403
    batch = b"<Delete><Object><Key>closed</Key></Object><Object><Key>public</Key></Object></Delete>"
    md5 = base64.b64encode(hashlib.md5(batch, usedforsecurity=False).digest()).decode()
    headers = {"content-md5": md5}
    deleted = await rig.ask("POST", "/bucket", "delete=", batch, headers, access_key="OTHER")
    assert deleted.texts("Deleted/Key") == ["public"]
    body = "<Tagging><TagSet><Tag><Key>access</Key><Value>{}</Value></Tag></TagSet></Tagging>"
    for value, expected in (("closed", 403), ("team", 200)):
        document = body.format(value).encode()
        answer = await rig.ask("PUT", "/bucket/new", "tagging=", document, access_key="OTHER")
        assert answer.status == expected
    shown = await rig.ask("GET", "/bucket/new", "tagging=")
    assert shown.texts("TagSet/Tag/Value") == ["team"]
    malformed = await rig.ask("PUT", "/bucket/new", "tagging=", b"<x/>", access_key="OTHER")
    assert malformed.code == "MalformedXML"


async def test_the_tags_of_a_copy_are_those_that_it_gets(rig: Rig) -> None:
    other = other_account(rig)
    await rig.ask("PUT", "/theirs", access_key="OTHER")
    for value in ("good", "bad"):
        tagged = {"x-amz-tagging": f"kind={value}"}
        await rig.ask("PUT", f"/theirs/{value}", "", b"x", tagged, access_key="OTHER")
    condition = {"StringEquals": {"s3:RequestObjectTag/kind": "good"}}
    await set_policy(
        rig,
        statement("s3:PutObject", Principal={"AWS": other}),
        statement("s3:PutObjectTagging", Principal={"AWS": other}, Condition=condition),
    )
    for source, given, expected in (
        ("good", {}, 200),
        ("bad", {}, 403),
        ("bad", {"x-amz-tagging": "kind=good"}, 403),
        ("bad", {"x-amz-tagging": "kind=good", "x-amz-tagging-directive": "REPLACE"}, 200),
        ("good", {"x-amz-tagging": "kind=bad", "x-amz-tagging-directive": "REPLACE"}, 403),
    ):
        headers = {"x-amz-copy-source": f"/theirs/{source}", **given}
        answer = await rig.ask("PUT", "/bucket/copy", "", b"", headers, access_key="OTHER")
        assert answer.status == expected, (source, given)


@pytest.mark.parametrize(
    ("condition", "method", "path", "query", "headers", "expected"),
    [
        ({"StringEquals": {"s3:prefix": ["a/"]}}, "GET", "/bucket", "prefix=a%2F", {}, 200),
        ({"StringEquals": {"s3:prefix": ["a/"]}}, "GET", "/bucket", "prefix=b%2F", {}, 403),
        ({"StringEquals": {"s3:prefix": ["a/"]}}, "GET", "/bucket", "", {}, 403),
        ({"StringEquals": {"s3:delimiter": "/"}}, "GET", "/bucket", "delimiter=%2F", {}, 200),
        ({"NumericLessThanEquals": {"s3:max-keys": 10}}, "GET", "/bucket", "max-keys=10", {}, 200),
        ({"NumericLessThanEquals": {"s3:max-keys": 10}}, "GET", "/bucket", "max-keys=11", {}, 403),
        ({"NumericLessThanEquals": {"s3:max-keys": 10}}, "GET", "/bucket", "", {}, 403),
        ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, "GET", "/bucket/key", "", {}, 403),
        ({"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}, "GET", "/bucket/key", "", {}, 200),
        ({"NotIpAddress": {"aws:SourceIp": "192.0.2.7"}}, "GET", "/bucket/key", "", {}, 403),
        ({"Bool": {"aws:SecureTransport": "true"}}, "GET", "/bucket/key", "", {}, 403),
        ({"Bool": {"aws:SecureTransport": False}}, "GET", "/bucket/key", "", {}, 200),
        (
            {"StringLike": {"aws:Referer": "https://a.example/*"}},
            "GET",
            "/bucket/key",
            "",
            {"referer": "https://a.example/page"},
            200,
        ),
        ({"StringLike": {"aws:Referer": "https://*"}}, "GET", "/bucket/key", "", {}, 403),
        (
            {"StringLike": {"aws:UserAgent": "curl/*"}},
            "GET",
            "/bucket/key",
            "",
            {"user-agent": "curl/8"},
            200,
        ),
        ({"DateLessThan": {"aws:CurrentTime": "2000-01-01"}}, "GET", "/bucket/key", "", {}, 403),
        ({"DateGreaterThan": {"aws:CurrentTime": "2000-01-01"}}, "GET", "/bucket/key", "", {}, 200),
        ({"StringEquals": {"s3:authType": "REST-HEADER"}}, "GET", "/bucket/key", "", {}, 200),
        ({"StringEquals": {"s3:authType": "POST"}}, "GET", "/bucket/key", "", {}, 403),
        (
            {"StringEquals": {"s3:signatureversion": "AWS4-HMAC-SHA256"}},
            "GET",
            "/bucket/key",
            "",
            {},
            200,
        ),
        ({"StringEquals": {"aws:PrincipalType": "Account"}}, "GET", "/bucket/key", "", {}, 200),
        ({"Null": {"aws:username": "true"}}, "GET", "/bucket/key", "", {}, 200),
        ({"Null": {"aws:PrincipalArn": "false"}}, "GET", "/bucket/key", "", {}, 200),
        ({"Null": {"aws:PrincipalAccount": "false"}}, "GET", "/bucket/key", "", {}, 200),
        ({"Null": {"aws:ResourceAccount": "false"}}, "GET", "/bucket/key", "", {}, 200),
        ({"Null": {"s3:ResourceAccount": "false"}}, "GET", "/bucket/key", "", {}, 200),
        ({"Null": {"aws:userid": "false"}}, "GET", "/bucket/key", "", {}, 200),
        ({"Null": {"s3:signatureAge": "true"}}, "GET", "/bucket/key", "", {}, 200),
        ({"Null": {"s3:RequestObjectTagKeys": "true"}}, "PUT", "/bucket/new", "", {}, 200),
        ({"Null": {"aws:SourceVpc": "true"}}, "GET", "/bucket/key", "", {}, 200),
        ({"NumericGreaterThan": {"aws:EpochTime": 1000}}, "GET", "/bucket/key", "", {}, 200),
        ({"StringEquals": {"aws:RequestedRegion": "us-east-1"}}, "GET", "/bucket/key", "", {}, 200),
        ({"StringEquals": {"aws:RequestedRegion": "eu"}}, "GET", "/bucket/key", "", {}, 403),
        (
            {"StringEquals": {"s3:if-none-match": "*"}},
            "PUT",
            "/bucket/new",
            "",
            {"if-none-match": "*"},
            200,
        ),
        ({"Null": {"s3:if-none-match": "false"}}, "PUT", "/bucket/new", "", {}, 403),
        (
            {"StringEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}},
            "PUT",
            "/bucket/new",
            "",
            {"x-amz-acl": "bucket-owner-full-control"},
            200,
        ),
        (
            {"StringEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}},
            "PUT",
            "/bucket/new",
            "",
            {"x-amz-acl": "private"},
            403,
        ),
        ({"StringEquals": {"s3:ExistingObjectTag/a": "b"}}, "GET", "/bucket/key", "", {}, 403),
    ],
)
async def test_conditions_look_at_the_request(
    rig: Rig,
    condition: object,
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    expected: int,
) -> None:
    other = other_account(rig)
    action = {"PUT": ["s3:PutObject", "s3:PutObjectAcl"]}.get(method) or (
        ["s3:ListBucket"] if path == "/bucket" else ["s3:GetObject"]
    )
    await set_policy(
        rig,
        statement(
            action,
            "" if path == "/bucket" else "/*",
            Principal={"AWS": other},
            Condition=condition,
        ),
    )
    answer = await rig.ask(method, path, query, b"", headers, access_key="OTHER")
    assert answer.status == expected


async def test_a_form_is_judged_by_its_fields(rig: Rig) -> None:
    other = other_account(rig)
    await set_policy(
        rig,
        statement(
            ["s3:PutObject", "s3:PutObjectTagging"],
            "/in/*",
            Principal={"AWS": other},
            Condition={
                "StringEquals": {"s3:authType": "POST", "s3:RequestObjectTag/a": "b"},
                "IpAddress": {"aws:SourceIp": "192.0.2.7"},
            },
        ),
    )
    tags = "<Tagging><TagSet><Tag><Key>a</Key><Value>{}</Value></Tag></TagSet></Tagging>"
    for key, value, status in (("in/1", "b", 204), ("in/1", "c", 403), ("out/1", "b", 403)):
        fields = form_client.signed(
            rig, {"key": key, "tagging": tags.format(value)}, access_key="OTHER", secret=SECRET
        )
        assert (await form_client.post(rig, fields)).status == status
    unsigned = {"key": "in/1", "tagging": tags.format("b")}
    assert (await form_client.post(rig, unsigned)).status == 403


async def test_the_tags_of_a_form_are_those_that_the_object_gets(rig: Rig) -> None:
    other = other_account(rig)
    tags = "<Tagging><TagSet><Tag><Key>a</Key><Value>secret</Value></Tag></TagSet></Tagging>"

    async def send(**fields: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        whole = form_client.signed(rig, {"key": "new", **named}, access_key="OTHER", secret=SECRET)
        return await form_client.post(rig, whole)

    tagged = {"StringEquals": {"s3:RequestObjectTag/a": "b"}}
    await set_policy(
        rig,
        statement(
            ["s3:PutObject", "s3:PutObjectTagging"], Principal={"AWS": other}, Condition=tagged
        ),
    )
    assert (await send(tagging=tags)).code == "AccessDenied"
    for fields in ({"x_amz_tagging": "a=b"}, {"x_amz_tagging": "a=b", "tagging": tags}):
        assert (await send(**fields)).code == "NotImplemented"
    await set_policy(rig, statement("s3:PutObject", Principal={"AWS": other}))
    assert (await send(tagging=tags)).code == "AccessDenied"
    assert (await send(x_amz_tagging="", tagging=tags)).code == "NotImplemented"
    assert (await rig.ask("HEAD", "/bucket/new")).status == 404


async def test_no_header_makes_the_signature_of_a_form_newer(rig: Rig) -> None:
    old = {"StringEquals": {"s3:signatureversion": "AWS"}}
    await set_policy(rig, statement("s3:PutObject", Effect="Deny", Condition=old))
    fields = form_client.signed_v2(rig, {"key": "new"})
    for headers in ({}, {"x-amz-signature": "0" * 64}):
        assert (await form_client.post(rig, fields, headers=headers)).code == "AccessDenied"
    newer = form_client.signed(rig, {"key": "new"})
    assert (await form_client.post(rig, newer)).status == 204


async def test_parts_can_be_exempted_from_what_new_objects_need(rig: Rig) -> None:
    await set_policy(
        rig,
        statement(
            "s3:PutObject",
            Effect="Deny",
            Condition={
                "Null": {"s3:if-none-match": "true"},
                "Bool": {"s3:ObjectCreationOperation": "true"},
            },
        ),
    )
    assert (await rig.ask("PUT", "/bucket/new", "", b"x")).code == "AccessDenied"
    unless_there = {"if-none-match": "*"}
    assert (await rig.ask("PUT", "/bucket/new", "", b"x", unless_there)).status == 200
    begun = await rig.ask("POST", "/bucket/parts", "uploads=")
    query = f"partNumber=1&uploadId={begun.text('UploadId')}"
    assert (await rig.ask("PUT", "/bucket/parts", query, b"x")).status == 200


async def test_a_form_cannot_promise_to_replace_nothing(rig: Rig) -> None:
    await set_policy(
        rig,
        statement("s3:PutObject", Effect="Deny", Condition={"Null": {"s3:if-none-match": "true"}}),
    )
    fields = form_client.signed(rig, {"key": "key"})
    assert (await form_client.post(rig, fields, b"other")).code == "AccessDenied"
    for name, value in (("if-none-match", "*"), ("if-match", '"e"'), ("content-range", "0-1/2")):
        answer = await form_client.post(rig, fields, b"other", headers={name: value})
        assert answer.code == "NotImplemented"
    assert (await rig.ask("GET", "/bucket/key")).body == b"content"
