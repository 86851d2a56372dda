"""Access keys of users: they may do what their own policies allow."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from gateway_rig import Rig
from trio.testing import MockClock

ALLOW = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bucket/*"}


@pytest.fixture
async def rig(autojump_clock: MockClock) -> Rig:
    made = Rig()
    await made.put("/bucket", b"")
    await made.put("/bucket/key", b"content")
    await made.put("/bucket/home/ann/key", b"hers")
    return made


async def status(rig: Rig, user: str, method: str, path: str, query: str = "") -> int:
    return (await rig.ask(method, path, query, access_key=user)).status


@pytest.mark.incident(26)
async def test_a_user_does_what_its_policy_allows_and_no_more(rig: Rig) -> None:
    rig.add_user("ann", ALLOW)
    read = await rig.ask("GET", "/bucket/key", access_key="ann")
    assert (read.status, read.body) == (200, b"content")
    for method, path, query in (
        ("PUT", "/bucket/key", ""),
        ("DELETE", "/bucket/key", ""),
        ("GET", "/bucket", ""),
        ("GET", "/bucket", "policy="),
        ("PUT", "/bucket", "policy="),
        ("GET", "/bucket", "acl="),
        ("GET", "/", ""),
        ("PUT", "/another", ""),
        ("DELETE", "/bucket", ""),
        ("GET", "/bucket/none", ""),
    ):
        answer = await rig.ask(method, path, query, access_key="ann")
        assert (answer.status, answer.code) == (403, "AccessDenied"), (method, path, query)
    assert (await rig.ask("GET", "/bucket/key")).status == 200


async def test_a_user_lists_and_makes_buckets_where_its_policy_says_so(rig: Rig) -> None:
    rig.add_user(
        "ann",
        {"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"},
        {"Effect": "Allow", "Action": "s3:CreateBucket", "Resource": "arn:aws:s3:::ann-*"},
    )
    assert await status(rig, "ann", "GET", "/") == 200
    assert await status(rig, "ann", "PUT", "/ann-1") == 200
    assert await status(rig, "ann", "PUT", "/bob-1") == 403
    assert (await rig.ask("HEAD", "/ann-1")).status == 200  # It is the tenant's.


async def test_variables_and_conditions_are_the_users(rig: Rig) -> None:
    home = {**ALLOW, "Resource": "arn:aws:s3:::bucket/home/${aws:username}/*"}
    near = {
        "Effect": "Allow",
        "Action": "s3:ListBucket",
        "Resource": "arn:aws:s3:::bucket",
        "Condition": {
            "StringLike": {"s3:prefix": "home/${aws:username}/*"},
            "StringEquals": {"aws:PrincipalType": "User"},
        },
    }
    for name in ("ann", "bob"):
        rig.add_user(name, home, near)
    assert await status(rig, "ann", "GET", "/bucket/home/ann/key") == 200
    assert await status(rig, "bob", "GET", "/bucket/home/ann/key") == 403
    assert await status(rig, "ann", "GET", "/bucket", "prefix=home%2Fann%2F") == 200
    assert await status(rig, "ann", "GET", "/bucket", "prefix=home%2Fbob%2F") == 403


async def test_the_buckets_policy_adds_and_denies(rig: Rig) -> None:
    account = rig.tenant.tenant_id.hex()
    for name in ("ann", "bob", "eve"):
        rig.add_user(name, {**ALLOW, "Action": "s3:ListBucket", "Resource": "*"})
    rig.add_user("dan", {**ALLOW, "Effect": "Deny"})

    def to(name: str, **more: object) -> dict[str, Any]:
        return {**ALLOW, "Principal": {"AWS": name}, **more}

    document = {
        "Version": "2012-10-17",
        "Statement": [
            to(f"arn:aws:iam::{account}:user/ann"),
            to(f"arn:aws:iam::{account}:user/dan"),
            to(account, Action="s3:PutObject"),
            to(
                f"arn:aws:iam::{account}:user/eve",
                Effect="Deny",
                Action="s3:ListBucket",
                Resource="arn:aws:s3:::bucket",
            ),
        ],
    }
    policy = json.dumps(document).encode()
    assert (await rig.ask("PUT", "/bucket", "policy=", policy)).status == 204
    assert await status(rig, "ann", "GET", "/bucket/key") == 200
    assert await status(rig, "bob", "GET", "/bucket/key") == 403
    assert await status(rig, "dan", "GET", "/bucket/key") == 403
    assert await status(rig, "bob", "GET", "/bucket") == 200
    assert await status(rig, "eve", "GET", "/bucket") == 403
    # What the whole account may, a user may only where its own policy says so, too.
    assert await status(rig, "ann", "PUT", "/bucket/new") == 403
    assert (await rig.ask("PUT", "/bucket/new")).status == 200


async def test_in_anothers_bucket_both_policies_must_allow(rig: Rig) -> None:
    other = rig.coordinators.access_key("OTHER").tenant_id.hex()
    rig.add_user("ann", ALLOW, of="OTHER")
    rig.add_user("bob", {**ALLOW, "Action": "s3:PutObject"}, of="OTHER")
    assert await status(rig, "ann", "GET", "/bucket/key") == 403
    statement = {**ALLOW, "Principal": {"AWS": other}}
    policy = json.dumps({"Version": "2012-10-17", "Statement": statement}).encode()
    assert (await rig.ask("PUT", "/bucket", "policy=", policy)).status == 204
    assert await status(rig, "ann", "GET", "/bucket/key") == 200
    assert await status(rig, "bob", "GET", "/bucket/key") == 403
    assert await status(rig, "bob", "PUT", "/bucket/key") == 403


async def test_each_key_of_a_list_and_the_source_of_a_copy_are_the_users_too(rig: Rig) -> None:
    rig.add_user(
        "ann",
        {**ALLOW, "Action": ["s3:DeleteObject", "s3:PutObject"], "Resource": "*"},
        {**ALLOW, "Effect": "Deny", "Action": "s3:DeleteObject"},
    )
    batch = b"<Delete><Object><Key>key</Key></Object></Delete>"
    md5 = base64.b64encode(hashlib.md5(batch, usedforsecurity=False).digest()).decode()
    headers = {"content-md5": md5}
    answer = await rig.ask("POST", "/bucket", "delete=", batch, headers, access_key="ann")
    assert answer.texts("Error/Code") == ["AccessDenied"]
    source = {"x-amz-copy-source": "/bucket/key"}
    copied = await rig.ask("PUT", "/bucket/copy", "", b"", source, access_key="ann")
    assert copied.code == "AccessDenied"
    assert await status(rig, "ann", "PUT", "/bucket/copy") == 200


async def test_tags_of_objects_are_facts_for_a_users_policy(rig: Rig) -> None:
    condition = {"StringEquals": {"s3:ExistingObjectTag/access": "${aws:username}"}}
    rig.add_user("ann", {**ALLOW, "Condition": condition})
    await rig.put("/bucket/tagged", b"x", {"x-amz-tagging": "access=ann"})
    assert await status(rig, "ann", "GET", "/bucket/tagged") == 200
    assert await status(rig, "ann", "GET", "/bucket/key") == 403


async def test_a_key_whose_policy_cannot_be_read_is_no_key(rig: Rig) -> None:
    rig.add_user("ann", {**ALLOW, "Effect": "Perhaps"})
    answer = await rig.ask("GET", "/bucket/key", access_key="ann")
    assert (answer.status, answer.code) == (403, "InvalidAccessKeyId")


async def test_a_users_policy_costs_no_further_call(rig: Rig) -> None:
    rig.add_user("ann", ALLOW)
    assert await status(rig, "ann", "GET", "/bucket/key") == 200
    rig.coordinators.requests.clear()
    assert await status(rig, "ann", "GET", "/bucket/key") == 200
    assert rig.coordinators.calls == ["ObjectGet"]
