"""The tags of a bucket and its rules for other origins: set, shown and removed."""

from __future__ import annotations

import base64
import hashlib

import pytest
from gateway_rig import Answer, Rig

ROOTS = {
    "tagging": "Tagging",
    "cors": "CORSConfiguration",
    "website": "WebsiteConfiguration",
}
TAGGING = "<Tagging><TagSet>{}</TagSet></Tagging>"
RULE = (
    "<CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>http://a.example</AllowedOrigin>"
    "{}</CORSRule>"
)
CORS = "<CORSConfiguration>{}</CORSConfiguration>"
CONFIGURATIONS = {
    "tagging": (TAGGING.format("<Tag><Key>a</Key><Value>b</Value></Tag>"), 204, "NoSuchTagSet"),
    "cors": (CORS.format(RULE.format("")), 200, "NoSuchCORSConfiguration"),
    "website": (
        "<WebsiteConfiguration><IndexDocument><Suffix>index.html</Suffix></IndexDocument>"
        "<ErrorDocument><Key>error.html</Key></ErrorDocument></WebsiteConfiguration>",
        200,
        "NoSuchWebsiteConfiguration",
    ),
}
each_kind = pytest.mark.parametrize("kind", CONFIGURATIONS)


@pytest.fixture
async def rig() -> Rig:
    made = Rig()
    await made.put("/bucket", b"")
    return made


async def put(rig: Rig, kind: str, body: str, path: str = "/bucket", key: str = "AK") -> Answer:
    data = body.encode()
    md5 = base64.b64encode(hashlib.md5(data).digest()).decode()
    return await rig.ask("PUT", path, f"{kind}=", data, {"content-md5": md5}, access_key=key)


async def get(rig: Rig, kind: str, path: str = "/bucket", key: str = "AK") -> Answer:
    return await rig.ask("GET", path, f"{kind}=", access_key=key)


async def delete(rig: Rig, kind: str, path: str = "/bucket", key: str = "AK") -> Answer:
    return await rig.ask("DELETE", path, f"{kind}=", access_key=key)


@each_kind
async def test_a_configuration_is_set_shown_and_removed(rig: Rig, kind: str) -> None:
    body, status, absent = CONFIGURATIONS[kind]
    for _ in range(2):
        before = await get(rig, kind)
        assert (before.status, before.code, before.text("BucketName")) == (404, absent, "bucket")
        done = await put(rig, kind, body)
        assert (done.status, done.body) == (status, b"")
        shown = await get(rig, kind)
        assert (shown.status, shown.xml().tag) == (200, ROOTS[kind])
        assert body.encode() in shown.body.replace(
            b' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"', b""
        )
        assert (await put(rig, kind, shown.body.decode())).status == status, "what is shown is fine"
        for _ in range(2):
            gone = await delete(rig, kind)
            assert (gone.status, gone.body) == (204, b"")


@each_kind
async def test_another_gateway_shows_what_was_set_at_once(rig: Rig, kind: str) -> None:
    beside = Rig(beside=rig)
    assert (await get(beside, kind)).status == 404
    await put(rig, kind, CONFIGURATIONS[kind][0])
    assert (await get(beside, kind)).status == 200


@each_kind
async def test_a_configuration_survives_writes_to_the_bucket_and_the_other_configuration(
    rig: Rig, kind: str
) -> None:
    await put(rig, kind, CONFIGURATIONS[kind][0])
    await rig.put("/bucket/key", b"content")
    other = next(each for each in CONFIGURATIONS if each != kind)
    await put(rig, other, CONFIGURATIONS[other][0])
    await delete(rig, other)
    assert (await get(rig, kind)).status == 200
    assert (await rig.ask("GET", "/")).texts("Buckets/Bucket/Name") == ["bucket"]


@each_kind
async def test_only_the_owner_sets_shows_and_removes_it(rig: Rig, kind: str) -> None:
    body = CONFIGURATIONS[kind][0]
    for answer in (
        await put(rig, kind, body, key="OTHER"),
        await get(rig, kind, key="OTHER"),
        await delete(rig, kind, key="OTHER"),
    ):
        assert (answer.status, answer.code) == (403, "AccessDenied")
    assert (await get(rig, kind)).status == 404


@each_kind
async def test_a_missing_bucket_is_said_first(rig: Rig, kind: str) -> None:
    for answer in (
        await put(rig, kind, "<x>", "/nothing"),
        await get(rig, kind, "/nothing"),
        await delete(rig, kind, "/nothing"),
    ):
        assert (answer.status, answer.code) == (404, "NoSuchBucket")


@each_kind
async def test_a_document_must_be_vouched_for(rig: Rig, kind: str) -> None:
    body = CONFIGURATIONS[kind][0].encode()
    bare = await rig.ask("PUT", "/bucket", f"{kind}=", body, payload="UNSIGNED-PAYLOAD")
    assert (bare.status, bare.code) == (400, "InvalidRequest")
    md5 = base64.b64encode(hashlib.md5(b"another").digest()).decode()
    wrong = await rig.ask("PUT", "/bucket", f"{kind}=", body, {"content-md5": md5})
    assert (wrong.status, wrong.code) == (400, "BadDigest")
    assert (await get(rig, kind)).status == 404


async def test_no_tags_at_all_are_as_if_never_set(rig: Rig) -> None:
    await put(rig, "tagging", CONFIGURATIONS["tagging"][0])
    assert (await put(rig, "tagging", TAGGING.format(""))).status == 204
    assert (await get(rig, "tagging")).code == "NoSuchTagSet"


TAG = "<Tag><Key>{}</Key><Value>{}</Value></Tag>"


@pytest.mark.fault("S3-18")
@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("", "MalformedXML"),
        ("<Tagging>", "MalformedXML"),
        ("<Tagging/>", "MalformedXML"),
        ("<Tagging>text</Tagging>", "MalformedXML"),
        ("<Tags><TagSet/></Tags>", "MalformedXML"),
        ("<Tagging><TagSet/><TagSet/></Tagging>", "MalformedXML"),
        ("<Tagging><TagSet>text</TagSet></Tagging>", "MalformedXML"),
        (TAGGING.format("<Tag/>"), "MalformedXML"),
        (TAGGING.format("<Tag><Key>a</Key></Tag>"), "MalformedXML"),
        (TAGGING.format("<Tag><Key>a</Key><Key>b</Key></Tag>"), "MalformedXML"),
        (TAGGING.format("<Tag><Key><x/></Key><Value/></Tag>"), "MalformedXML"),
        (TAGGING.format("<Other><Key>a</Key><Value>b</Value></Other>"), "MalformedXML"),
        ("<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><Tagging/>", "MalformedXML"),
        (TAGGING.format(TAG.format("", "v")), "InvalidTag"),
        (TAGGING.format(TAG.format("aws:x", "v")), "InvalidTag"),
        (TAGGING.format(TAG.format("a", "1") * 2), "InvalidTag"),
        (TAGGING.format("".join(TAG.format(n, n) for n in range(51))), "BadRequest"),
    ],
)
async def test_tags_that_a_bucket_cannot_have_are_refused(rig: Rig, body: str, code: str) -> None:
    answer = await put(rig, "tagging", body)
    assert (answer.status, answer.code) == (400, code)
    assert (await get(rig, "tagging")).status == 404


def rule(extra: str = "", method: str = "GET", origin: str = "*") -> str:
    return CORS.format(
        f"<CORSRule><AllowedMethod>{method}</AllowedMethod>"
        f"<AllowedOrigin>{origin}</AllowedOrigin>{extra}</CORSRule>"
    )


@pytest.mark.fault("S3-19")
@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("", "MalformedXML"),
        (CORS.format(""), "MalformedXML"),
        (CORS.format("<CORSRule/>"), "MalformedXML"),
        (CORS.format("<Rule/>"), "MalformedXML"),
        (
            CORS.format("<CORSRule><AllowedOrigin>*</AllowedOrigin></CORSRule>"),
            "MalformedXML",
        ),
        (CORS.format("<CORSRule><AllowedMethod>GET</AllowedMethod></CORSRule>"), "MalformedXML"),
        (rule("<Unknown>x</Unknown>"), "MalformedXML"),
        (rule("<MaxAgeSeconds>-1</MaxAgeSeconds>"), "MalformedXML"),
        (rule("<MaxAgeSeconds>x</MaxAgeSeconds>"), "MalformedXML"),
        (rule("<MaxAgeSeconds>99999999999</MaxAgeSeconds>"), "MalformedXML"),
        (rule("<MaxAgeSeconds>1</MaxAgeSeconds><MaxAgeSeconds>1</MaxAgeSeconds>"), "MalformedXML"),
        (rule("<ID>a</ID><ID>b</ID>"), "MalformedXML"),
        (rule("<ID>" + "a" * 256 + "</ID>"), "InvalidRequest"),
        (rule(method="get"), "InvalidRequest"),
        (rule(method="OPTIONS"), "InvalidRequest"),
        (rule(method="GET</AllowedMethod><AllowedMethod>GET"), "MalformedXML"),
        (rule(origin="http://*.*"), "InvalidRequest"),
        (rule(origin="http://a&#10;b"), "InvalidRequest"),
        (rule("<AllowedHeader>x-*-*</AllowedHeader>"), "InvalidRequest"),
        (rule("<AllowedHeader>a b</AllowedHeader>"), "InvalidRequest"),
        (rule("<ExposeHeader>x-*</ExposeHeader>"), "InvalidRequest"),
        (rule("<ExposeHeader>a&#13;&#10;set-cookie: b</ExposeHeader>"), "InvalidRequest"),
        (rule("<ExposeHeader></ExposeHeader>"), "InvalidRequest"),
        (CORS.format(RULE.format("") * 101), "InvalidRequest"),
        (rule("<ID>" + "a" * 70_000 + "</ID>"), "MaxMessageLengthExceeded"),
    ],
)
async def test_rules_that_a_bucket_cannot_have_are_refused(rig: Rig, body: str, code: str) -> None:
    answer = await put(rig, "cors", body)
    assert (answer.status, answer.code) == (400, code)
    assert (await get(rig, "cors")).status == 404


async def test_a_hundred_rules_with_all_that_a_rule_can_have_are_kept_in_order(rig: Rig) -> None:
    body = CORS.format(
        "".join(
            f"<CORSRule><ID>{number}</ID><AllowedMethod>DELETE</AllowedMethod>"
            f"<AllowedMethod>GET</AllowedMethod><AllowedOrigin>https://*.{number}.example"
            "</AllowedOrigin><AllowedOrigin></AllowedOrigin><AllowedHeader>X-Amz-*</AllowedHeader>"
            "<ExposeHeader>ETag</ExposeHeader><MaxAgeSeconds>0</MaxAgeSeconds></CORSRule>"
            for number in range(100)
        )
    )
    assert (await put(rig, "cors", body)).status == 200
    shown = await get(rig, "cors")
    assert shown.texts("CORSRule/ID") == [str(number) for number in range(100)]
    assert shown.texts("CORSRule/AllowedMethod")[:2] == ["DELETE", "GET"]
    assert shown.texts("CORSRule/AllowedOrigin")[:2] == ["https://*.0.example", ""]
    assert shown.texts("CORSRule/MaxAgeSeconds")[0] == "0"
    assert shown.texts("CORSRule/AllowedHeader")[0] == "X-Amz-*"
