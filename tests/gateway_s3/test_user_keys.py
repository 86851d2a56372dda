"""Access keys of users: they may do what their own policies allow."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
import trio
from gateway_rig import Rig
from trio.testing import MockClock

from cli import roster_changes
from coordinator.store import tenants
from gateway_s3.auth.access_keys import FRESH_S

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


async def test_a_policy_is_changed_in_its_place_within_seconds(
    rig: Rig, autojump_clock: MockClock
) -> None:
    rig.add_user("ann", ALLOW)
    assert await status(rig, "ann", "GET", "/bucket/key") == 200
    rig.put_policy("ann", {**ALLOW, "Action": "s3:PutObject"})
    await trio.sleep(FRESH_S + 0.1)
    assert await status(rig, "ann", "GET", "/bucket/key") == 403
    assert await status(rig, "ann", "PUT", "/bucket/key") == 200
    rig.coordinators.requests.clear()
    for _ in range(3):
        await trio.sleep(FRESH_S + 0.1)
        assert await status(rig, "ann", "HEAD", "/bucket/key") == 403
    assert rig.coordinators.calls.count("AccessKeyGet") == 3
    assert "RosterGet" not in rig.coordinators.calls, "it did not change"


async def test_policies_of_a_user_add_up_and_a_detached_one_counts_no_more(
    rig: Rig, autojump_clock: MockClock
) -> None:
    rig.add_user("ann", ALLOW)
    rig.put_policy("write", {**ALLOW, "Action": "s3:PutObject"})

    def attach(*policies: str) -> None:
        rig.change_roster(
            lambda was: replace(was, users=(replace(was.users[0], policies=policies),))
        )

    attach("ann", "write")
    assert await status(rig, "ann", "GET", "/bucket/key") == 200
    assert await status(rig, "ann", "PUT", "/bucket/key") == 200
    attach("write")
    await trio.sleep(FRESH_S + 0.1)
    assert await status(rig, "ann", "GET", "/bucket/key") == 403
    attach()
    await trio.sleep(FRESH_S + 0.1)
    assert await status(rig, "ann", "PUT", "/bucket/key") == 403


async def test_a_disabled_key_is_refused_until_it_is_enabled(
    rig: Rig, autojump_clock: MockClock
) -> None:
    rig.add_user("ann", ALLOW)

    def set_active(is_active: bool) -> None:
        rig.change_roster(lambda was: roster_changes.set_active(was, "ann", is_active))

    for is_active, code in ((True, ""), (False, "InvalidAccessKeyId"), (True, "")):
        set_active(is_active)
        await trio.sleep(FRESH_S + 0.1)
        answer = await rig.ask("GET", "/bucket/key", access_key="ann")
        assert answer.status == (403 if code else 200)
        assert not code or answer.code == code


async def test_a_coordinator_that_keeps_what_was_removed_lets_nobody_in(
    rig: Rig, autojump_clock: MockClock
) -> None:
    rig.add_user("ann", ALLOW)
    assert await status(rig, "ann", "GET", "/bucket/key") == 200
    name = rig.tenant.tenant_id.hex()
    old = tenants.roster(rig.coordinators.sql, name)
    rig.change_roster(lambda was: roster_changes.remove_user(was, "ann"))  # Its key's record stays.
    await trio.sleep(FRESH_S + 0.1)
    assert await status(rig, "ann", "GET", "/bucket/key") == 403
    rig.coordinators.sql.execute("UPDATE rosters SET revision = ?, sealed = ?", old)
    await trio.sleep(FRESH_S + 0.1)
    for gateway in (rig, Rig(beside=rig)):  # The other one has the same disk, and a new life.
        assert await status(gateway, "ann", "GET", "/bucket/key") == 403


async def test_a_new_key_is_worth_nothing_with_a_roster_from_before_it(
    rig: Rig, autojump_clock: MockClock
) -> None:
    rig.add_user("ann", ALLOW)
    name = rig.tenant.tenant_id.hex()
    old = tenants.roster(rig.coordinators.sql, name)
    rig.add_user("bob", ALLOW)
    rig.coordinators.sql.execute("UPDATE rosters SET revision = ?, sealed = ?", old)
    assert await status(rig, "bob", "GET", "/bucket/key") == 403
    assert await status(rig, "ann", "GET", "/bucket/key") == 200
