"""Access control lists beside limits of public access, policies and users; and while an object is
replaced.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from acl_client import (
    ACL,
    AUTHENTICATED,
    EVERYONE,
    account,
    anonymous,
    document,
    list_of,
    made,
    other_account,
    refusal,
    set_list,
    shown,
    statuses,
)
from gateway_rig import Rig

from common.errors import NotFound
from common.reasons import Absence
from common.wire.messages import ObjectAclSet, ObjectGet, ObjectRecord, Request

PUBLIC_BLOCK = (
    "<PublicAccessBlockConfiguration>"
    "<BlockPublicAcls>{}</BlockPublicAcls><IgnorePublicAcls>{}</IgnorePublicAcls>"
    "</PublicAccessBlockConfiguration>"
)


async def block(rig: Rig, *, acls: bool, ignored: bool) -> None:
    body = PUBLIC_BLOCK.format(str(acls).lower(), str(ignored).lower()).encode()
    assert (await rig.ask("PUT", "/bucket", "publicAccessBlock=", body)).status == 200


async def test_public_lists_are_refused_where_they_are_blocked() -> None:
    rig = await made()
    await rig.put("/bucket/key", b"content")
    await block(rig, acls=True, ignored=False)
    other = other_account(rig)
    for canned in ("public-read", "public-read-write", "authenticated-read"):
        headers = {"x-amz-acl": canned}
        copied = {**headers, "x-amz-copy-source": "/bucket/key"}
        asked = (
            ("PUT", "/bucket/new", "", headers),
            ("PUT", "/bucket/new", "", copied),
            ("POST", "/bucket/new", "uploads=", headers),
            ("PUT", "/bucket/key", ACL, headers),
            ("PUT", "/bucket", ACL, headers),
            ("PUT", "/bucket/new", "", {"x-amz-grant-read-acp": f'uri="{AUTHENTICATED}"'}),
        )
        for method, path, query, given in asked:
            answer = await rig.ask(method, path, query, b"", given)
            assert refusal(answer) == (403, "AccessDenied"), (method, path, query)
    body = document(account(rig), (EVERYONE, "READ"))
    for path in ("/bucket", "/bucket/key"):
        assert refusal(await rig.ask("PUT", path, ACL, body)) == (403, "AccessDenied")
        body_of_other = document(account(rig), (other, "READ"))
        assert (await rig.ask("PUT", path, ACL, body_of_other)).status == 200
    assert (await rig.ask("HEAD", "/bucket/new")).status == 404
    assert await statuses(rig, "GET", "/bucket/key") == [200, 200, 403]


async def test_public_grants_are_ignored_and_shown_where_the_owner_says_so() -> None:
    rig = await made()
    await rig.put("/bucket/key", b"content", {"x-amz-acl": "public-read"})
    await set_list(rig, "/bucket", "public-read-write")
    await block(rig, acls=False, ignored=True)
    assert await statuses(rig, "GET", "/bucket/key") == [200, 403, 403]
    assert await statuses(rig, "GET", "/bucket") == [200, 403, 403]
    assert await statuses(rig, "PUT", "/bucket/key", "", b"x", keys=["OTHER", ""]) == [403, 403]
    assert (EVERYONE, "READ") in (await list_of(rig, "/bucket/key"))[1]
    rig.coordinators.requests.clear()
    await anonymous(rig, "GET", "/bucket/key")
    assert rig.coordinators.calls == [], "nothing could open it to nobody"
    body = document(account(rig), (other_account(rig), "READ"), (EVERYONE, "READ"))
    await rig.ask("PUT", "/bucket/key", ACL, body)
    assert await statuses(rig, "GET", "/bucket/key") == [200, 200, 403]
    await block(rig, acls=False, ignored=False)
    assert await statuses(rig, "GET", "/bucket/key") == [200, 200, 200]


async def test_whether_a_policy_is_public_is_not_a_matter_of_lists() -> None:
    rig = await made()
    await set_list(rig, "/bucket", "public-read")
    answer = await rig.ask("GET", "/bucket", "policyStatus=")
    assert refusal(answer) == (404, "NoSuchBucketPolicy")
    await set_policy(rig, "Deny", "s3:PutObject", "/*", {})
    answer = await rig.ask("GET", "/bucket", "policyStatus=")
    assert answer.text("IsPublic") == "false"


async def set_policy(
    rig: Rig, effect: str, action: object, resource: str, condition: dict[str, object]
) -> None:
    statement = {
        "Effect": effect,
        "Principal": "*",
        "Action": action,
        "Resource": f"arn:aws:s3:::bucket{resource}",
        **({"Condition": condition} if condition else {}),
    }
    text = json.dumps({"Version": "2012-10-17", "Statement": [statement]}).encode()
    answer = await rig.ask("PUT", "/bucket", "policy=", text)
    assert answer.status == 204, answer.body


async def test_a_policy_asks_for_the_list_by_which_the_bucket_owner_gets_the_object() -> None:
    """The pattern of S3's guide, "Requiring the bucket-owner-full-control canned ACL"."""
    rig = await made("BucketOwnerPreferred")
    full = {"StringEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}}
    await set_policy(rig, "Allow", "s3:PutObject", "/*", full)
    for headers, status in (
        ({}, 403),
        ({"x-amz-acl": "private"}, 403),
        ({"x-amz-acl": "bucket-owner-full-control"}, 200),
    ):
        answer = await rig.ask("PUT", "/bucket/key", "", b"x", headers, access_key="OTHER")
        assert answer.status == status
    assert (await list_of(rig, "/bucket/key"))[0] == account(rig)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("acl", "public-read"),
        ("grant-read", 'uri="http://acs.amazonaws.com/groups/global/AllUsers"'),
        ("grant-full-control", 'id="' + "0" * 32 + '"'),
        ("grant-write-acp", 'id="' + "0" * 32 + '"'),
        ("grant-read-acp", 'id="' + "0" * 32 + '"'),
        ("grant-write", 'id="' + "0" * 32 + '"'),
    ],
)
async def test_a_policy_forbids_a_list_by_its_headers(name: str, value: str) -> None:
    rig = await made()
    await rig.put("/bucket/key", b"content")
    condition = {"StringEquals": {f"s3:x-amz-{name}": value}}
    actions = ["s3:PutObject", "s3:PutObjectAcl"]
    await set_policy(rig, "Deny", actions, "/*", condition)
    headers = {f"x-amz-{name}": value}
    for path, query, given, status in (
        ("/bucket/new", "", headers, 403),
        ("/bucket/key", ACL, headers, 403),
        ("/bucket/new", "", {}, 200),
        ("/bucket/key", ACL, {"x-amz-acl": "private"}, 200),
    ):
        assert (await rig.ask("PUT", path, query, b"", given)).status == status, (path, query)


async def test_a_user_needs_its_own_permission_for_a_list_and_for_ownership() -> None:
    rig = await made()
    everything = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    for name, denied in (
        ("no-object-list", "s3:PutObjectAcl"),
        ("no-bucket-list", "s3:PutBucketAcl"),
        ("no-ownership", "s3:PutBucketOwnershipControls"),
    ):
        rig.add_user(name, everything, {**everything, "Effect": "Deny", "Action": denied})
    headers = {"x-amz-acl": "public-read"}
    for user, status in (("no-object-list", 403), ("no-bucket-list", 200)):
        answer = await rig.ask("PUT", "/bucket/key", "", b"x", headers, access_key=user)
        assert answer.status == status
    writers = {"x-amz-object-ownership": "ObjectWriter"}
    listed = {**writers, "x-amz-acl": "private"}
    for user, given, status in (
        ("no-bucket-list", listed, 403),
        ("no-ownership", writers, 403),
        ("no-bucket-list", writers, 200),
    ):
        answer = await rig.ask("PUT", f"/made-{status}", "", b"", given, access_key=user)
        assert answer.status == status


async def test_a_list_is_set_on_the_version_that_was_decided_about() -> None:
    rig = await made()
    await rig.put("/bucket/key", b"old")
    beside = Rig(beside=rig)
    calls = 0

    async def replace(request: Request) -> None:
        nonlocal calls
        calls += 1
        await beside.put("/bucket/key", b"new")

    rig.coordinators.faults[ObjectAclSet] = replace
    answer = await rig.ask("PUT", "/bucket/key", ACL, b"", {"x-amz-acl": "public-read"})
    assert answer.status == 409
    assert calls == 1, "no other version's list is set"
    assert await statuses(rig, "GET", "/bucket/key") == [200, 403, 403]


async def test_what_is_read_is_the_version_that_was_decided_about() -> None:
    rig = await made()
    await rig.put("/bucket/key", b"public", {"x-amz-acl": "public-read"})
    beside = Rig(beside=rig)
    looked_up = 0

    async def replace(request: Request) -> None:
        nonlocal looked_up
        looked_up += 1
        if looked_up == 2:
            await beside.put("/bucket/key", b"private")

    rig.coordinators.faults[ObjectGet] = replace
    answer = await anonymous(rig, "GET", "/bucket/key")
    assert (answer.status, answer.body, looked_up) == (200, b"public", 2)
    assert (await anonymous(rig, "GET", "/bucket/key")).status == 403


async def test_a_version_that_is_gone_for_good_is_not_replaced_by_another() -> None:
    rig = await made()
    await rig.put("/bucket/key", b"public", {"x-amz-acl": "public-read"})
    looked_up = 0

    async def lose(request: Request) -> None:
        nonlocal looked_up
        looked_up += 1
        if looked_up == 2:
            raise NotFound(Absence.NO_SUCH_VERSION)

    rig.coordinators.faults[ObjectGet] = lose
    answer = await anonymous(rig, "GET", "/bucket/key")
    assert (answer.status, looked_up) == (503, 2)


async def test_heads_cost_one_call_and_gets_two() -> None:
    rig = await made()
    await rig.put("/bucket/key", b"content", {"x-amz-acl": "public-read"})
    await anonymous(rig, "GET", "/bucket/key")  # whose bucket it is is known then
    for method, calls in (("HEAD", 1), ("GET", 2)):
        for send in (rig.ask, lambda *args: anonymous(rig, *args)):
            rig.coordinators.requests.clear()
            assert (await send(method, "/bucket/key")).status == 200
            asked = [each for each in rig.coordinators.requests if isinstance(each, ObjectGet)]
            assert len(asked) == calls == len(rig.coordinators.requests)


async def test_a_website_shows_what_everyone_may_read() -> None:
    rig = await made()
    await rig.put("/bucket/index.html", b"page", {"x-amz-acl": "public-read"})
    shown_page = await anonymous(rig, "GET", "/bucket/index.html")
    assert (shown_page.status, shown_page.body) == (200, b"page")
    assert shown(await rig.ask("GET", "/bucket/index.html", ACL))[0] == account(rig)


@pytest.mark.fault("H1")
async def test_a_list_of_another_version_opens_nothing() -> None:
    rig = await made()
    await rig.put("/bucket/open", b"open", {"x-amz-acl": "public-read"})
    await rig.put("/bucket/closed", b"closed")
    asked = ObjectGet(rig.tenant.tenant_id, "bucket", b"open", None, False, 0, 0)
    acl = (await rig.coordinators.ask(asked)).acl

    def lie(request: object, reply: object) -> object:
        if isinstance(request, ObjectGet) and request.name == b"closed":
            assert isinstance(reply, ObjectRecord)
            return replace(reply, acl=acl)
        return reply

    rig.coordinators.lie = lie
    assert await statuses(rig, "GET", "/bucket/closed") == [500, 500, 500]
    assert await statuses(rig, "GET", "/bucket/open") == [200, 200, 200]
