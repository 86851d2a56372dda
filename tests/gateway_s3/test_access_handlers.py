"""Policies of buckets and limits of public access: set, shown, removed, obeyed."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping

import pytest
import trio
from access_client import POLICY, anonymous, document, other_account, set_policy, statement
from gateway_rig import Answer, Rig
from trio.testing import MockClock

from common import limits

LIMITS = "publicAccessBlock="
NAMES = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")


def limits_document(**values: str) -> bytes:
    rows = "".join(f"<{name}>{value}</{name}>" for name, value in values.items())
    return f"<PublicAccessBlockConfiguration>{rows}</PublicAccessBlockConfiguration>".encode()


async def set_limits(rig: Rig, body: bytes) -> Answer:
    md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    return await rig.ask("PUT", "/bucket", LIMITS, body, {"content-md5": md5})


@pytest.fixture
async def rig(autojump_clock: MockClock) -> Rig:
    made = Rig()
    await made.put("/bucket", b"")
    await made.put("/bucket/key", b"content")
    await made.put("/bucket/private/key", b"secret")
    return made


@pytest.fixture
async def open_rig(rig: Rig) -> Rig:
    """A bucket that may be public."""
    assert (await rig.ask("DELETE", "/bucket", LIMITS)).status == 204
    return rig


# --- the documents -------------------------------------------------------------------------------
async def test_a_policy_is_shown_as_it_was_set_and_removed(open_rig: Rig) -> None:
    rig = open_rig
    for method, query in (("GET", POLICY), ("GET", "policyStatus=")):
        absent = await rig.ask(method, "/bucket", query)
        assert (absent.status, absent.code) == (404, "NoSuchBucketPolicy")
        assert absent.text("BucketName") == "bucket"
    text = b'{"Statement" :' + json.dumps(statement("s3:GetObject")).encode() + b"}\n"
    assert (await rig.ask("PUT", "/bucket", POLICY, text)).status == 204
    shown = await rig.ask("GET", "/bucket", POLICY)
    assert (shown.status, shown.body) == (200, text)
    assert shown.headers["content-type"] == "application/json"
    for _ in range(2):
        assert (await rig.ask("DELETE", "/bucket", POLICY)).status == 204
    assert (await rig.ask("GET", "/bucket", POLICY)).code == "NoSuchBucketPolicy"


async def test_the_status_says_whether_a_policy_is_public(open_rig: Rig) -> None:
    rig = open_rig
    owner = rig.tenant.tenant_id.hex()
    for principal, expected in (("*", "true"), ({"AWS": owner}, "false")):
        await set_policy(rig, statement("s3:GetObject", Principal=principal))
        status = await rig.ask("GET", "/bucket", "policyStatus=")
        assert status.xml().tag == "PolicyStatus"
        assert status.text("IsPublic") == expected


async def test_what_is_no_policy_is_refused_and_changes_nothing(open_rig: Rig) -> None:
    rig = open_rig
    await set_policy(rig, statement("s3:GetObject"))
    for body, message in (
        (b"", "Policies must be valid JSON and the first byte must be '{'"),
        (document(statement("s3:Fly")), "Policy has invalid action"),
        (
            document(statement("s3:GetObject", Sid="x" * limits.MAX_POLICY_BYTES)),
            "Policy exceeds the maximum allowed document size.",
        ),
    ):
        answer = await rig.ask("PUT", "/bucket", POLICY, body)
        assert (answer.status, answer.code) == (400, "MalformedPolicy")
        assert answer.text("Message") == message
    assert (await anonymous(rig, "GET", "/bucket/key")).status == 200


async def test_limits_of_public_access_are_all_set_until_the_owner_says_otherwise(rig: Rig) -> None:
    shown = await rig.ask("GET", "/bucket", LIMITS)
    assert [shown.text(name) for name in NAMES] == ["true"] * 4
    assert (await set_limits(rig, limits_document(BlockPublicPolicy="TRUE"))).status == 200
    shown = await rig.ask("GET", "/bucket", LIMITS)
    assert [shown.text(name) for name in NAMES] == ["false", "false", "true", "false"]
    assert (await rig.ask("DELETE", "/bucket", LIMITS)).status == 204
    absent = await rig.ask("GET", "/bucket", LIMITS)
    assert (absent.status, absent.code) == (404, "NoSuchPublicAccessBlockConfiguration")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<x/>",
        limits_document(BlockPublicPolicy="perhaps"),
        limits_document(BlockEverything="true"),
        limits_document(BlockPublicAcls="<x/>"),
        limits_document(BlockPublicAcls="true</BlockPublicAcls><BlockPublicAcls>true"),
    ],
)
async def test_limits_that_cannot_be_read_are_refused(rig: Rig, body: bytes) -> None:
    answer = await set_limits(rig, body)
    assert (answer.status, answer.code) == (400, "MalformedXML")
    assert (await rig.ask("GET", "/bucket", LIMITS)).text("BlockPublicAcls") == "true"


# --- public access -------------------------------------------------------------------------------
async def test_a_public_policy_is_refused_where_it_is_blocked(rig: Rig) -> None:
    answer = await rig.ask("PUT", "/bucket", POLICY, document(statement("s3:GetObject")))
    assert (answer.status, answer.code) == (403, "AccessDenied")
    assert (await rig.ask("GET", "/bucket", POLICY)).code == "NoSuchBucketPolicy"
    other = other_account(rig)
    await set_policy(rig, statement("s3:GetObject", Principal={"AWS": other}))


async def test_a_public_bucket_is_read_without_a_signature(open_rig: Rig) -> None:
    rig = open_rig
    assert (await anonymous(rig, "GET", "/bucket/key")).code == "AccessDenied"
    await set_policy(rig, statement("s3:GetObject"))
    read = await anonymous(rig, "GET", "/bucket/key")
    assert (read.status, read.body) == (200, b"content")
    assert (await anonymous(rig, "HEAD", "/bucket/key")).status == 200
    for method, path, query in (
        ("PUT", "/bucket/key", ""),
        ("DELETE", "/bucket/key", ""),
        ("GET", "/bucket", ""),
        ("GET", "/bucket", POLICY),
        ("GET", "/bucket/key", "acl="),
        ("POST", "/bucket/key", "uploads="),
        ("GET", "/", ""),
        ("PUT", "/other", ""),
    ):
        answer = await anonymous(rig, method, path, query)
        assert (answer.status, answer.code) == (403, "AccessDenied"), (method, path, query)
    override = await anonymous(rig, "GET", "/bucket/key", "response-content-type=text/html")
    assert (override.status, override.code) == (400, "InvalidRequest")


async def test_the_public_reads_nothing_once_public_buckets_are_restricted(open_rig: Rig) -> None:
    rig = open_rig
    other = other_account(rig)
    await set_policy(
        rig,
        statement("s3:GetObject", Sid="1"),
        statement("s3:ListBucket", "", Principal={"AWS": other}),
    )
    assert (await anonymous(rig, "GET", "/bucket/key")).status == 200
    assert (await rig.ask("GET", "/bucket", access_key="OTHER")).status == 200
    await set_limits(rig, limits_document(RestrictPublicBuckets="true"))
    assert (await anonymous(rig, "GET", "/bucket/key")).code == "AccessDenied"
    assert (await rig.ask("GET", "/bucket/key", access_key="OTHER")).code == "AccessDenied"
    # Not even what the public policy allows to a named tenant, as on AWS.
    assert (await rig.ask("GET", "/bucket", access_key="OTHER")).code == "AccessDenied"
    assert (await rig.ask("GET", "/bucket/key")).status == 200


async def test_another_gateway_obeys_a_policy_within_ten_seconds(
    open_rig: Rig, autojump_clock: MockClock
) -> None:
    rig = open_rig
    beside = Rig(beside=rig)
    await set_policy(rig, statement("s3:GetObject"))
    assert (await anonymous(beside, "GET", "/bucket/key")).status == 200
    await rig.ask("DELETE", "/bucket", POLICY)
    assert (await anonymous(rig, "GET", "/bucket/key")).status == 403
    await trio.sleep(10)
    assert (await anonymous(beside, "GET", "/bucket/key")).status == 403


async def test_the_public_writes_where_a_policy_allows_it_and_the_owner_has_it(
    open_rig: Rig,
) -> None:
    rig = open_rig
    await set_policy(rig, statement("s3:PutObject"))
    put = await anonymous(rig, "PUT", "/bucket/given", body=b"gift")
    assert put.status == 200
    assert (await rig.ask("GET", "/bucket/given")).body == b"gift"
    batch = b"<Delete><Object><Key>given</Key></Object></Delete>"
    md5 = base64.b64encode(hashlib.md5(batch, usedforsecurity=False).digest()).decode()
    refused = await anonymous(rig, "POST", "/bucket", "delete=", batch, {"content-md5": md5})
    assert refused.texts("Error/Code") == ["AccessDenied"]
    assert (await rig.ask("HEAD", "/bucket/given")).status == 200


async def test_a_bucket_that_is_nowhere_here_does_not_exist_for_the_public(rig: Rig) -> None:
    answer = await anonymous(rig, "GET", "/nobodys/key")
    assert (answer.status, answer.code) == (404, "NoSuchBucket")


# --- other tenants -------------------------------------------------------------------------------
async def test_another_tenant_does_what_a_policy_allows_and_no_more(rig: Rig) -> None:
    other = other_account(rig)
    await set_policy(
        rig,
        statement(["s3:GetObject", "s3:PutObject"], Principal={"AWS": other}),
        statement("s3:*", "/private/*", Principal="*", Effect="Deny"),
    )
    assert (await rig.ask("GET", "/bucket/key", access_key="OTHER")).body == b"content"
    put = await rig.ask("PUT", "/bucket/theirs", "", b"theirs", access_key="OTHER")
    assert put.status == 200
    assert (await rig.ask("GET", "/bucket/theirs")).body == b"theirs"
    for method, path, query in (
        ("DELETE", "/bucket/theirs", ""),
        ("GET", "/bucket", ""),
        ("PUT", "/bucket/private/new", ""),
        ("GET", "/bucket/private/key", ""),
    ):
        answer = await rig.ask(method, path, query, access_key="OTHER")
        assert (answer.status, answer.code) == (403, "AccessDenied"), (method, path)
    # A statement that denies holds for the owner as well.
    assert (await rig.ask("GET", "/bucket/private/key")).code == "AccessDenied"
    assert (await anonymous(rig, "GET", "/bucket/key")).code == "AccessDenied"


async def test_the_owner_is_never_locked_out_of_the_policy(rig: Rig) -> None:
    await set_policy(
        rig,
        statement("s3:*", Effect="Deny", Resource=["arn:aws:s3:::bucket", "arn:aws:s3:::bucket/*"]),
    )
    assert (await rig.ask("GET", "/bucket/key")).code == "AccessDenied"
    assert (await rig.ask("GET", "/bucket", "policyStatus=")).code == "AccessDenied"
    assert (await rig.ask("GET", "/bucket", POLICY)).status == 200
    assert (await rig.ask("DELETE", "/bucket", POLICY)).status == 204
    assert (await rig.ask("GET", "/bucket/key")).status == 200


async def test_a_policy_is_the_owners_whatever_it_allows_to_others(rig: Rig) -> None:
    other = other_account(rig)
    await set_policy(rig, statement("s3:*", "", Principal={"AWS": other}))
    for method in ("GET", "DELETE", "PUT"):
        answer = await rig.ask(method, "/bucket", POLICY, access_key="OTHER")
        assert (answer.status, answer.code) == (405, "MethodNotAllowed")
    assert (await rig.ask("GET", "/bucket", POLICY)).status == 200


async def test_who_may_not_read_tags_does_not_learn_how_many_there_are(open_rig: Rig) -> None:
    rig = open_rig
    await rig.put("/bucket/tagged", b"content", {"x-amz-tagging": "a=b&c=d"})
    count = "x-amz-tagging-count"
    for version in ("", "Version"):
        query = "versionId=null" if version else ""
        read, tags = f"s3:GetObject{version}", f"s3:GetObject{version}Tagging"
        await set_policy(rig, statement(read))
        for method in ("GET", "HEAD"):
            for shown in (
                await anonymous(rig, method, "/bucket/tagged", query),
                await rig.ask(method, "/bucket/tagged", query, access_key="OTHER"),
            ):
                assert shown.status == 200
                assert count not in shown.headers
        assert (await rig.ask("HEAD", "/bucket/tagged", query)).headers[count] == "2"
        await set_policy(rig, statement([read, tags]))
        assert (await anonymous(rig, "HEAD", "/bucket/tagged", query)).headers[count] == "2"


async def test_who_may_not_list_does_not_learn_which_keys_there_are(open_rig: Rig) -> None:
    rig = open_rig
    await set_policy(rig, statement("s3:GetObject"))
    for ask in (anonymous(rig, "GET", "/bucket/none"), anonymous(rig, "HEAD", "/bucket/none")):
        assert (await ask).status == 403
    assert (await rig.ask("GET", "/bucket/none", access_key="OTHER")).code == "AccessDenied"
    assert (await rig.ask("GET", "/bucket/none")).code == "NoSuchKey"
    await set_policy(rig, statement("s3:GetObject"), statement("s3:ListBucket", ""))
    assert (await anonymous(rig, "GET", "/bucket/none")).code == "NoSuchKey"


@pytest.mark.parametrize("query", ["", "prefix=a%2F", "delimiter=%2F&prefix=a%2F"])
async def test_who_may_list_a_part_does_not_learn_of_other_keys(rig: Rig, query: str) -> None:
    other = {"AWS": other_account(rig)}
    part = {"StringEquals": {"s3:prefix": "a/"}}
    await set_policy(
        rig,
        statement(["s3:GetObject", "s3:DeleteObject"], Principal=other),
        statement("s3:ListBucket", "", Principal=other, Condition=part),
    )
    for method, path in (("GET", "/bucket/b"), ("HEAD", "/bucket/b"), ("HEAD", "/bucket")):
        assert (await rig.ask(method, path, query, access_key="OTHER")).status == 403
    await rig.ask("PUT", "/theirs", access_key="OTHER")
    source = {"x-amz-copy-source": "/bucket/b"}
    copied = await rig.ask("PUT", "/theirs/copy", query, b"", source, access_key="OTHER")
    assert copied.code == "AccessDenied"
    listed = await rig.ask("GET", "/bucket", "prefix=a%2F", access_key="OTHER")
    assert listed.status == 200


async def test_a_copy_needs_the_source_and_the_destination(rig: Rig) -> None:
    other = other_account(rig)
    await rig.ask("PUT", "/theirs", access_key="OTHER")
    source = {"x-amz-copy-source": "/bucket/key"}

    async def copy(path: str, headers: Mapping[str, str] = source) -> Answer:
        return await rig.ask("PUT", path, "", b"", headers, access_key="OTHER")

    assert (await copy("/theirs/copy")).code == "AccessDenied"
    await set_policy(rig, statement("s3:GetObject", Principal={"AWS": other}))
    assert (await copy("/theirs/copy")).status == 200
    assert (await rig.ask("GET", "/theirs/copy", access_key="OTHER")).body == b"content"
    assert (await copy("/bucket/copy")).code == "AccessDenied"
    none = {"x-amz-copy-source": "/bucket/none"}
    assert (await copy("/theirs/copy", none)).code == "AccessDenied"
    await set_policy(rig, statement("s3:PutObject", Principal={"AWS": other}))
    assert (await copy("/bucket/copy")).code == "AccessDenied"
    assert (await copy("/bucket/copy", {"x-amz-copy-source": "/theirs/copy"})).status == 200
    assert (await rig.ask("GET", "/bucket/copy")).body == b"content"


@pytest.mark.parametrize("size", [0, 1, 200_000])
async def test_a_copy_between_tenants_is_written_anew(rig: Rig, size: int) -> None:
    content = bytes(range(251)) * (size // 251 + 1)
    await rig.put("/bucket/source", content[:size], {"x-amz-meta-a": "b"})
    await set_policy(rig, statement("s3:GetObject", Principal={"AWS": other_account(rig)}))
    await rig.ask("PUT", "/theirs", access_key="OTHER")
    source = {"x-amz-copy-source": "/bucket/source"}
    copied = await rig.ask("PUT", "/theirs/copy", "", b"", source, access_key="OTHER")
    assert copied.status == 200
    begun = await rig.ask("POST", "/theirs/parts", "uploads=", access_key="OTHER")
    query = f"partNumber=1&uploadId={begun.text('UploadId')}"
    part = await rig.ask("PUT", "/theirs/parts", query, b"", source, access_key="OTHER")
    etag = part.text("ETag")
    wanted = (
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>"
        f"<ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    )
    query = query.partition("&")[2]
    done = await rig.ask("POST", "/theirs/parts", query, wanted.encode(), access_key="OTHER")
    assert done.status == 200
    # The copies need nothing of the source.
    assert (await rig.ask("DELETE", "/bucket/source")).status == 204
    for path in ("/theirs/copy", "/theirs/parts"):
        read = await rig.ask("GET", path, access_key="OTHER")
        assert read.body == content[:size]
    read = await rig.ask("HEAD", "/theirs/copy", access_key="OTHER")
    assert read.headers["x-amz-meta-a"] == "b"


async def test_tags_are_copied_by_who_may_read_and_set_them(rig: Rig) -> None:
    other = other_account(rig)
    await rig.put("/bucket/tagged", b"x", {"x-amz-tagging": "a=b"})
    await rig.ask("PUT", "/theirs", access_key="OTHER")
    source = {"x-amz-copy-source": "/bucket/tagged"}
    await set_policy(rig, statement("s3:GetObject", Principal={"AWS": other}))
    refused = await rig.ask("PUT", "/theirs/copy", "", b"", source, access_key="OTHER")
    assert refused.code == "AccessDenied"
    without = {**source, "x-amz-tagging-directive": "REPLACE"}
    copied = await rig.ask("PUT", "/theirs/copy", "", b"", without, access_key="OTHER")
    assert copied.status == 200
    await set_policy(
        rig, statement(["s3:GetObject", "s3:GetObjectTagging"], Principal={"AWS": other})
    )
    copied = await rig.ask("PUT", "/theirs/copy", "", b"", source, access_key="OTHER")
    assert copied.status == 200
    shown = await rig.ask("GET", "/theirs/copy", "tagging=", access_key="OTHER")
    assert shown.texts("TagSet/Tag/Key") == ["a"]


async def test_each_key_of_a_list_of_deletions_needs_its_permission(rig: Rig) -> None:
    other = other_account(rig)
    await set_policy(rig, statement("s3:DeleteObject", "/k*", Principal={"AWS": other}))
    batch = (
        b"<Delete><Object><Key>key</Key></Object><Object><Key>private/key</Key></Object>"
        b"<Object><Key>key</Key><VersionId>null</VersionId></Object></Delete>"
    )
    md5 = base64.b64encode(hashlib.md5(batch, usedforsecurity=False).digest()).decode()
    headers = {"content-md5": md5}
    answer = await rig.ask("POST", "/bucket", "delete=", batch, headers, access_key="OTHER")
    assert answer.texts("Deleted/Key") == ["key"]
    assert answer.texts("Error/Key") == ["private/key", "key"]
    assert answer.texts("Error/Code") == ["AccessDenied"] * 2
    assert (await rig.ask("HEAD", "/bucket/private/key")).status == 200


async def test_headers_that_ask_for_more_need_their_permission_too(rig: Rig) -> None:
    other = other_account(rig)
    await set_policy(rig, statement("s3:PutObject", Principal={"AWS": other}))
    acl = {"x-amz-acl": "bucket-owner-full-control"}
    refused = await rig.ask("PUT", "/bucket/new", "", b"", acl, access_key="OTHER")
    assert refused.code == "AccessDenied"
    await set_policy(rig, statement(["s3:PutObject", "s3:PutObjectAcl"], Principal={"AWS": other}))
    allowed = await rig.ask("PUT", "/bucket/new", "", b"", acl, access_key="OTHER")
    assert allowed.status == 200


async def test_a_condition_on_an_etag_needs_the_object_to_be_readable(rig: Rig) -> None:
    other = other_account(rig)
    etag = (await rig.ask("HEAD", "/bucket/key")).headers["etag"]
    batch = f"<Delete><Object><Key>key</Key><ETag>{etag}</ETag></Object></Delete>".encode()
    md5 = base64.b64encode(hashlib.md5(batch, usedforsecurity=False).digest()).decode()

    async def delete(**headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await rig.ask("DELETE", "/bucket/key", "", b"", named, access_key="OTHER")

    async def delete_list() -> Answer:
        headers = {"content-md5": md5}
        return await rig.ask("POST", "/bucket", "delete=", batch, headers, access_key="OTHER")

    may_delete = statement(
        "s3:DeleteObject",
        Principal={"AWS": other},
        Condition={"Null": {"s3:if-match": "false"}},
    )
    await set_policy(rig, may_delete)
    assert (await delete()).code == "AccessDenied"
    assert (await delete(if_match=etag)).code == "AccessDenied"
    assert (await delete_list()).texts("Error/Code") == ["AccessDenied"]
    assert (await rig.ask("HEAD", "/bucket/key")).status == 200
    await set_policy(rig, may_delete, statement("s3:GetObject", Principal={"AWS": other}))
    assert (await delete_list()).texts("Deleted/Key") == ["key"]
    await rig.put("/bucket/key", b"content")
    assert (await delete(if_match=etag)).status == 204
    await rig.put("/bucket/key", b"content")
    await set_policy(rig, may_delete)
    assert (await delete(if_match="*")).status == 204


async def test_who_may_not_list_does_not_learn_from_a_condition_that_a_key_is_missing(
    rig: Rig,
) -> None:
    other = {"AWS": other_account(rig)}
    on_objects = statement(["s3:DeleteObject", "s3:GetObject"], Principal=other)
    batch = b"<Delete><Object><Key>nothing</Key><ETag>x</ETag></Object></Delete>"
    md5 = base64.b64encode(hashlib.md5(batch, usedforsecurity=False).digest()).decode()

    async def codes() -> list[str]:
        in_list = await rig.ask(
            "POST", "/bucket", "delete=", batch, {"content-md5": md5}, access_key="OTHER"
        )
        alone = await rig.ask(
            "DELETE", "/bucket/nothing", "", b"", {"if-match": "x"}, access_key="OTHER"
        )
        return [*in_list.texts("Error/Code"), alone.code]

    await set_policy(rig, on_objects)
    assert await codes() == ["AccessDenied"] * 2
    may_list = statement("s3:ListBucket", "", Principal=other)
    await set_policy(rig, on_objects, may_list)
    assert await codes() == ["NoSuchKey"] * 2


async def test_a_bucket_with_a_policy_costs_no_further_call(open_rig: Rig) -> None:
    rig = open_rig
    await set_policy(rig, statement("s3:GetObject"))
    for ask in (
        lambda: rig.ask("GET", "/bucket/key"),
        lambda: rig.ask("GET", "/bucket/key", access_key="OTHER"),
        lambda: anonymous(rig, "GET", "/bucket/key"),
    ):
        assert (await ask()).status == 200
        rig.coordinators.requests.clear()
        assert (await ask()).status == 200
        assert rig.coordinators.calls == ["ObjectGet"]
