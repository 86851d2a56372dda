"""Temporary credentials: given out, what they may do, and ended."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest
import sts_client
import trio
from gateway_rig import Rig
from sts_client import READ, Temporary, ask, role, role_of, session, signed, status, use
from trio.testing import MockClock

from cli import roster_changes
from common import limits
from common.errors import Unavailable
from common.reasons import Outage
from gateway_s3.auth.access_keys import FRESH_S

ALL = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
ASSUME = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}


def document(*statements: object) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


@pytest.fixture
async def rig(autojump_clock: MockClock) -> Rig:
    return await sts_client.gateway()


async def test_a_session_of_a_key_of_the_tenants_own_does_what_the_tenant_may(rig: Rig) -> None:
    answer = await ask(rig, "GetSessionToken")
    assert answer.headers["content-type"] == "text/xml"
    assert answer.headers["x-amzn-requestid"] == answer.text("ResponseMetadata/RequestId")
    assert (
        b'<GetSessionTokenResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
        in answer.body
    )
    made = sts_client.made_of(answer)
    assert (made.access_key[:4], len(made.access_key), len(made.secret)) == ("ASIA", 20, 40)
    assert len(made.token) < limits.MAX_SESSION_TOKEN_CHARACTERS
    for method, path in (("GET", "/bucket/key"), ("PUT", "/bucket/new"), ("PUT", "/second")):
        assert await status(rig, made, method, path) == 200
    assert (await use(rig, made, "GET", "/")).status == 200
    assert (await session(rig)).access_key != made.access_key


async def test_a_session_of_a_user_does_what_the_user_may_now(
    rig: Rig, autojump_clock: MockClock
) -> None:
    rig.add_user("ann", READ)
    made = await session(rig, "ann")
    assert await status(rig, made) == 200
    assert await status(rig, made, "PUT") == 403
    rig.put_policy("ann", {**READ, "Action": "s3:PutObject"})
    await trio.sleep(FRESH_S + 0.1)
    assert await status(rig, made) == 403
    assert await status(rig, made, "PUT") == 200


async def test_a_sessions_policy_takes_and_never_gives(rig: Rig) -> None:
    rig.add_user("ann", READ, {**READ, "Action": "s3:PutObject"})
    less = await session(rig, "ann", policy=document(READ, {**READ, "Action": "s3:DeleteObject"}))
    assert await status(rig, less) == 200
    assert await status(rig, less, "PUT") == 403
    assert await status(rig, less, "DELETE") == 403
    own = await session(rig, policy=document(READ))
    assert await status(rig, own) == 200
    for method, path, query in (
        ("PUT", "/bucket/key", ""),
        ("GET", "/", ""),
        ("PUT", "/another", ""),
        ("GET", "/bucket", "policy="),
        ("PUT", "/bucket", "policy="),
        ("DELETE", "/bucket", "policy="),
        ("GET", "/bucket", ""),
    ):
        answer = await use(rig, own, method, path, query)
        assert (answer.status, answer.code) == (403, "AccessDenied"), (method, path, query)


async def test_a_buckets_policy_gives_a_session_no_more_than_its_own_allows(rig: Rig) -> None:
    account = rig.tenant.tenant_id.hex()
    rig.add_user("ann", {**READ, "Action": "s3:ListBucket"})
    statement = {
        **READ,
        "Action": ["s3:GetObject", "s3:PutObject"],
        "Principal": {"AWS": f"arn:aws:iam::{account}:user/ann"},
    }
    policy = document(statement).encode()
    assert (await rig.ask("PUT", "/bucket", "policy=", policy)).status == 204
    whole = await session(rig, "ann")
    assert [await status(rig, whole, each) for each in ("GET", "PUT")] == [200, 200]
    less = await session(rig, "ann", policy=document(READ))
    assert [await status(rig, less, each) for each in ("GET", "PUT")] == [200, 403]


async def test_each_key_of_a_list_and_the_source_of_a_copy_are_within_the_session(
    rig: Rig,
) -> None:
    made = await session(rig, policy=document({**READ, "Action": "s3:PutObject"}))
    token = {"x-amz-security-token": made.token}
    own = {"access_key": made.access_key, "secret": made.secret}
    batch = b"<Delete><Object><Key>key</Key></Object></Delete>"
    md5 = b64encode(hashlib.md5(batch, usedforsecurity=False).digest()).decode()
    headers = {**token, "content-md5": md5}
    deleted = await rig.ask("POST", "/bucket", "delete=", batch, headers, **own)
    assert deleted.texts("Error/Code") == ["AccessDenied"]
    copied = await rig.ask(
        "PUT", "/bucket/copy", "", b"", {**token, "x-amz-copy-source": "/bucket/key"}, **own
    )
    assert copied.code == "AccessDenied"
    assert (await rig.ask("GET", "/bucket/key")).body == b"content"


async def test_a_role_is_assumed_by_whom_a_policy_allows_it_and_has_its_own_rights(
    rig: Rig, autojump_clock: MockClock
) -> None:
    account = rig.tenant.tenant_id.hex()
    reader = f"arn:aws:iam::{account}:role/reader"
    rig.put_policy("reader", READ, is_role=True)
    rig.put_policy("plain", READ)
    rig.add_user("ann", {**ASSUME, "Resource": reader}, {**READ, "Action": "s3:PutObject"})
    rig.add_user("bob", ALL)
    rig.add_user("dan", ASSUME, {**ASSUME, "Effect": "Deny", "Resource": f"{reader[:-1]}?"})
    rig.add_user("eve", {**ASSUME, "Condition": {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}})
    answer = await ask(rig, "AssumeRole", role_of(rig, "reader"), access_key="ann")
    assert answer.text(".//AssumedRoleUser/Arn") == (
        f"arn:aws:sts::{account}:assumed-role/reader/job"
    )
    assert answer.text(".//PackedPolicySize") == "0"
    made = sts_client.made_of(answer)
    assert await status(rig, made) == 200
    assert await status(rig, made, "PUT") == 403, "the role's rights, not the user's"
    assert await status(rig, await role(rig, "reader", "eve")) == 200
    assert await status(rig, await role(rig, "reader"), "PUT") == 403
    for name, who in (
        ("reader", "bob"),
        ("reader", "dan"),
        ("plain", "dan"),
        ("plain", "AK"),
        ("none", "AK"),
    ):
        refused = await ask(rig, "AssumeRole", role_of(rig, name), access_key=who)
        assert (refused.status, refused.text("Error/Code")) == (403, "AccessDenied"), (name, who)
        assert "is not authorized to perform: sts:AssumeRole on resource" in refused.body.decode()
    other = {**role_of(rig, "reader"), "RoleArn": f"arn:aws:iam::{'0' * 32}:role/reader"}
    assert (await ask(rig, "AssumeRole", other)).text("Error/Code") == "AccessDenied"
    rig.put_policy("reader", {**READ, "Action": "s3:PutObject"}, is_role=True)
    await trio.sleep(FRESH_S + 0.1)
    assert [await status(rig, made, each) for each in ("GET", "PUT")] == [403, 200]
    rig.put_policy("reader", READ, is_role=False)
    await trio.sleep(FRESH_S + 0.1)
    assert (await use(rig, made)).code == "InvalidToken"


async def test_a_role_is_a_principal_of_buckets_and_no_account_itself(
    rig: Rig, autojump_clock: MockClock
) -> None:
    account = rig.tenant.tenant_id.hex()
    rig.put_policy("reader", {**READ, "Action": "s3:ListBucket"}, is_role=True)
    await trio.sleep(FRESH_S + 0.1)
    made = await role(rig, "reader", session_name="night")
    assert await status(rig, made) == 403
    for principal, allows in (
        (f"arn:aws:iam::{account}:role/reader", True),
        (account, False),
        (f"arn:aws:iam::{account}:user/reader", False),
    ):
        policy = document({**READ, "Principal": {"AWS": principal}}).encode()
        assert (await rig.ask("PUT", "/bucket", "policy=", policy)).status == 204
        assert await status(rig, made) == (200 if allows else 403)
        assert await status(rig, made, "GET", "/bucket", "policy=") == 403


async def test_variables_and_conditions_are_those_of_the_session(
    rig: Rig, autojump_clock: MockClock
) -> None:
    account = rig.tenant.tenant_id.hex()

    def of(**facts: str) -> dict[str, object]:
        return {**READ, "Condition": {"StringEquals": {f"aws:{k}": v for k, v in facts.items()}}}

    rig.add_user("ann", of(username="ann", PrincipalType="User", userid=f"{account}:ann"), ASSUME)
    assert await status(rig, await session(rig, "ann")) == 200
    facts = {
        "PrincipalType": "AssumedRole",
        "userid": f"{account}:reader:job",
        "PrincipalArn": f"arn:aws:iam::{account}:role/reader",
        "PrincipalAccount": account,
    }
    rig.put_policy("reader", of(**facts), is_role=True)
    rig.put_policy("named", of(username="ann"), is_role=True)
    await trio.sleep(FRESH_S + 0.1)
    made = await role(rig, "reader", "ann")
    assert await status(rig, made) == 200
    assert await status(rig, await role(rig, "named")) == 403, "a role has no user's name"


async def test_old_sessions_can_be_told_from_new_ones(rig: Rig, autojump_clock: MockClock) -> None:
    begin = rig.node.world.clock.now()
    old = await session(rig)
    await trio.sleep(100)
    new = await session(rig)
    limit = {"DateLessThan": {"aws:TokenIssueTime": str(int(begin) + 50)}}
    deny = {**READ, "Effect": "Deny", "Principal": "*", "Condition": limit}
    policy = document(deny).encode()
    assert (await rig.ask("PUT", "/bucket", "policy=", policy)).status == 204
    assert await status(rig, old) == 403
    assert await status(rig, new) == 200
    assert (await rig.ask("GET", "/bucket/key")).status == 200, "it was not issued at all"


async def test_a_session_ends_at_its_time(rig: Rig, autojump_clock: MockClock) -> None:
    made = await session(rig, duration_s=900)
    longer = await session(rig)
    await trio.sleep(899)
    assert await status(rig, made) == 200
    await trio.sleep(1)
    answer = await use(rig, made)
    assert (answer.status, answer.code) == (400, "ExpiredToken")
    refused = await ask(rig, "GetCallerIdentity", by=made)
    assert (refused.status, refused.text("Error/Code")) == (403, "ExpiredToken")
    assert await status(rig, longer) == 200
    await trio.sleep(2700)
    assert (await use(rig, longer)).code == "ExpiredToken"


async def test_a_session_ends_with_the_key_that_it_was_given_to(
    rig: Rig, autojump_clock: MockClock
) -> None:
    rig.add_user("ann", READ, ASSUME)
    rig.put_policy("reader", READ, is_role=True)
    both = [await session(rig, "ann"), await role(rig, "reader", "ann")]

    async def codes() -> list[str]:
        await trio.sleep(FRESH_S + 0.1)
        answers = [await use(rig, each) for each in both]
        return ["" if each.status == 200 else each.code for each in answers]

    assert await codes() == ["", ""]
    rig.change_roster(lambda was: roster_changes.set_active(was, "ann", is_active=False))
    assert await codes() == ["InvalidAccessKeyId"] * 2
    rig.change_roster(lambda was: roster_changes.set_active(was, "ann", is_active=True))
    assert await codes() == ["", ""]
    rig.change_roster(lambda was: roster_changes.remove_user(was, "ann"))
    assert await codes() == ["InvalidAccessKeyId"] * 2


async def test_any_gateway_of_the_tenant_knows_a_session_without_a_call(rig: Rig) -> None:
    rig.add_user("ann", READ)
    made = await session(rig, "ann", policy=document(READ))
    other = Rig(beside=rig)
    assert await status(other, made) == 200
    for gateway in (rig, other):
        rig.coordinators.requests.clear()
        assert await status(gateway, made) == 200
        assert rig.coordinators.calls == ["ObjectGet"]


async def test_a_gateway_that_is_shown_an_older_roster_than_a_sessions_refuses_it(
    rig: Rig,
) -> None:
    rig.add_user("ann", READ)
    sql = rig.coordinators.sql
    old = sql.execute("SELECT revision, sealed FROM rosters").fetchone()
    rig.change_roster(lambda was: was)
    made = await session(rig, "ann")
    sql.execute("UPDATE rosters SET revision = ?, sealed = ?", old)
    behind = Rig(beside=rig)
    await behind.node.world.disk.unlink(f"roster-{rig.tenant.tenant_id.hex()}")
    assert (await behind.ask("GET", "/bucket/key", access_key="ann")).status == 200
    assert (await use(behind, made)).code == "InvalidToken"
    assert await status(rig, made) == 200


async def test_who_asks_is_told_who_it_is(rig: Rig) -> None:
    account = rig.tenant.tenant_id.hex()
    rig.add_user("ann", ASSUME)
    rig.put_policy("reader", READ, is_role=True)

    async def identity(access_key: str = "AK", by: Temporary | None = None) -> list[str | None]:
        answer = await ask(rig, "GetCallerIdentity", access_key=access_key, by=by)
        assert answer.status == 200
        path = "GetCallerIdentityResult/"
        return [answer.text(path + each) for each in ("Arn", "UserId", "Account")]

    root = [f"arn:aws:iam::{account}:root", account, account]
    user = [f"arn:aws:iam::{account}:user/ann", f"{account}:ann", account]
    assert await identity() == root
    assert await identity(by=await session(rig)) == root
    assert await identity("ann") == user
    assert await identity(by=await session(rig, "ann")) == user
    assert await identity(by=await role(rig, "reader", "ann")) == [
        f"arn:aws:sts::{account}:assumed-role/reader/job",
        f"{account}:reader:job",
        account,
    ]


async def test_temporary_credentials_get_no_others(rig: Rig) -> None:
    rig.put_policy("reader", READ, is_role=True)
    made = await session(rig)
    for action, parameters in (("GetSessionToken", {}), ("AssumeRole", role_of(rig, "reader"))):
        answer = await ask(rig, action, parameters, by=made)
        assert (answer.status, answer.text("Error/Code")) == (403, "AccessDenied")


@pytest.mark.parametrize(
    ("action", "parameters", "code"),
    [
        ("GetSessionToken", {"DurationSeconds": "899"}, "ValidationError"),
        ("GetSessionToken", {"DurationSeconds": "3601"}, "ValidationError"),
        ("GetSessionToken", {"DurationSeconds": "1e3"}, "ValidationError"),
        ("GetSessionToken", {"DurationSeconds": "9" * 5000}, "ValidationError"),
        ("GetSessionToken", {"Policy": "{}"}, "MalformedPolicyDocument"),
        ("GetSessionToken", {"Policy": "{" + " " * 2048}, "PackedPolicyTooLarge"),
        ("GetSessionToken", {"Policy": ""}, "ValidationError"),
        ("AssumeRole", {"Policy": ""}, "ValidationError"),
        ("GetSessionToken", {"SerialNumber": "x", "TokenCode": "1"}, "AccessDenied"),
        ("GetSessionToken", {"Tags.member.1.Key": "x"}, "ValidationError"),
        ("AssumeRole", {}, "ValidationError"),
        ("AssumeRole", {"RoleArn": "reader", "RoleSessionName": "job"}, "ValidationError"),
        ("AssumeRole", {"RoleSessionName": "a"}, "ValidationError"),
        ("AssumeRole", {"RoleSessionName": "a b"}, "ValidationError"),
        ("AssumeRole", {"DurationSeconds": "43201"}, "ValidationError"),
        ("AssumeRole", {"PolicyArns.member.1.arn": "x"}, "ValidationError"),
        ("AssumeRole", {"ExternalId": "x"}, "ValidationError"),
        ("AssumeRole", {"SourceIdentity": "x"}, "ValidationError"),
        ("AssumeRole", {"TransitiveTagKeys.member.1": "x"}, "ValidationError"),
        ("GetFederationToken", {"Name": "x"}, "InvalidAction"),
        ("", {}, "InvalidAction"),
        ("GetCallerIdentity", {"Version": "2010-01-01"}, "InvalidAction"),
        ("GetCallerIdentity", {"ü": "x"}, "ValidationError"),
    ],
)
async def test_what_is_asked_wrongly_is_refused_in_the_words_of_sts(
    rig: Rig, action: str, parameters: dict[str, str], code: str
) -> None:
    rig.put_policy("reader", READ, is_role=True)
    whole = {**role_of(rig, "reader"), **parameters} if "RoleArn" not in parameters else parameters
    given = whole if action == "AssumeRole" and parameters else parameters
    answer = await ask(rig, action, given)
    assert answer.text("Error/Code") == code
    assert answer.text("Error/Type") == "Sender"
    assert answer.text("RequestId")
    assert 400 <= answer.status < 500


async def test_sessions_last_as_long_as_on_aws(rig: Rig) -> None:
    rig.add_user("ann", ASSUME)
    rig.put_policy("reader", READ, is_role=True)
    assume = role_of(rig, "reader")
    now = int(rig.node.world.clock.now())
    for who, action, parameters, lasts_s in (
        ("AK", "GetSessionToken", {}, 3600),
        ("ann", "GetSessionToken", {}, 43_200),
        ("ann", "GetSessionToken", {"DurationSeconds": "129600"}, 129_600),
        ("ann", "AssumeRole", assume, 3600),
        ("ann", "AssumeRole", {**assume, "DurationSeconds": "43200"}, 43_200),
        ("ann", "AssumeRole", {**assume, "DurationSeconds": "900"}, 900),
    ):
        answer = await ask(rig, action, parameters, access_key=who)
        shown = answer.text(".//Credentials/Expiration") or ""
        end = datetime.strptime(shown, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
        assert end - now == lasts_s
    answer = await ask(rig, "GetSessionToken", {"DurationSeconds": "129601"}, access_key="ann")
    assert answer.text("Error/Code") == "ValidationError"


async def test_a_request_for_credentials_must_be_signed_for_the_service(rig: Rig) -> None:
    body = urlencode({"Action": "GetSessionToken", **sts_client.ACTION}).encode()
    good = signed(rig, body)

    async def code(headers: dict[str, str], content: bytes = body) -> str | None:
        answer = await rig.send("POST", "/", "", content, headers)
        assert 400 <= answer.status < 500
        return answer.text("Error/Code")

    kind = {"host": rig.host, "content-type": good["content-type"]}
    assert await code({**kind, "content-length": str(len(body))}) == "MissingAuthenticationToken"
    assert await code(good, body.replace(b"Get", b"Set")) == "SignatureDoesNotMatch"
    assert await code(signed(rig, body, service="s3")) == "IncompleteSignature"
    assert await code(signed(rig, body, secret="wrong")) == "SignatureDoesNotMatch"
    assert await code(signed(rig, body, access_key="NOBODY")) == "InvalidClientTokenId"
    assert await code(signed(rig, body, token="x")) == "InvalidClientTokenId"
    assert await code(signed(rig, body, skew_s=-3600)) == "RequestExpired"
    # Whoever invents keys needs at least a clock.
    rig.coordinators.requests.clear()
    assert await code(signed(rig, body, access_key="NONE", skew_s=-3600)) == "RequestExpired"
    assert rig.coordinators.calls == []
    unsigned = {**good, "x-amz-meta-a": "x"}
    assert await code(unsigned) == "IncompleteSignature"
    for declared in ("UNSIGNED-PAYLOAD", "0" * 64):
        headers = signed(rig, body, headers={"x-amz-content-sha256": declared})
        assert await code(headers) == "SignatureDoesNotMatch"
    large = body + b"&x=" + b"y" * limits.MAX_STS_BODY_BYTES
    assert await code(signed(rig, large), large) == "ValidationError"
    twice = body + b"&Action=AssumeRole"
    assert await code(signed(rig, twice), twice) == "ValidationError"
    assert (await rig.send("POST", "/", "", body, good)).status == 200


async def test_without_a_coordinator_nobody_is_given_anything(rig: Rig) -> None:
    async def none(*_: object, **__: object) -> object:
        raise Unavailable(Outage.NO_COORDINATOR)

    rig.coordinators.call = none
    answer = await ask(rig, "GetSessionToken", access_key="SECOND")
    assert (answer.status, answer.text("Error/Code")) == (503, "ServiceUnavailable")
    assert answer.text("Error/Type") == "Receiver"
