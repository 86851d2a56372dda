"""No handler can be reached around ``authorize``: every operation times every way to authenticate.

The requests are generated from the table of operations, so a new row is tested with it. One handler
that notes what it was called with stands in the place of all: only the way to it matters here.
"""

from __future__ import annotations

import itertools
import json

import form_client
import pytest
from gate import (
    IMPLEMENTED,
    TEMPORARY,
    Gate,
    Sign,
    asked_of,
    by_nobody,
    can_carry,
    every_sign,
    every_way,
    found,
    needed_of,
    set_policy,
    statement,
)
from gateway_rig import Rig
from object_rig import SECRET
from trio.testing import MockClock

from gateway.access.permissions import OF_OBJECTS, OWNERS_ALWAYS
from gateway.access.rules import POLICY
from gateway.authorization import OF_TENANT, Action, Allow, Denial, Deny
from gateway.configurations import set_document
from gateway.principals import Anonymous, Bucket, KeyHolder
from gateway_s3.request.operations import Operation, Scope


def key_of(operation: Operation) -> bytes | None:
    return b"key" if operation.scope is Scope.OBJECT else None


@pytest.mark.incident(4)
@every_sign
async def test_the_owner_reaches_every_handler_by_what_was_allowed(sign: Sign) -> None:
    gate = Gate()
    rig = await gate.open()
    for operation in IMPLEMENTED:
        with gate.asked(operation) as asked:
            answer = await sign(rig, asked, "AK", SECRET)
            if can_carry(sign, operation):
                check_reached(gate, rig, operation)
            else:
                assert answer.status in {400, 403}
                assert not gate.judged
                assert not gate.reached


def check_reached(gate: Gate, rig: Rig, operation: Operation) -> None:
    """The owner's request was allowed once, and the handler has what was decided about."""
    (call,) = gate.reached
    (principal, action, bucket, key, _, verdict) = gate.judged[0]
    assert [(each[4], each[5]) for each in gate.judged] == [
        (permission, Allow()) for permission in needed_of(operation)
    ]
    assert verdict == Allow()
    assert isinstance(principal, KeyHolder)
    assert (principal.access_key_id == "AK") is (principal.session is None)
    assert (principal.tenant, principal.caller.is_account) == (rig.tenant, True)
    assert action is call.route.operation.action is operation.action
    assert key == key_of(operation)
    assert call.principal == principal
    assert call.asking_tenant == rig.tenant
    if operation.action in OF_TENANT:
        assert bucket is None
    else:
        assert isinstance(bucket, Bucket)
        assert call.bucket == bucket
        assert (bucket.name, bucket.owner, bucket.revision) == ("bucket", rig.tenant, 1)


@pytest.mark.incident(4)
@every_sign
async def test_what_is_denied_reaches_no_handler(sign: Sign) -> None:
    gate = Gate(lambda *_: Deny(Denial.NOT_OWNER))
    rig = await gate.open()
    for operation in IMPLEMENTED:
        with gate.asked(operation) as asked:
            answer = await sign(rig, asked, "AK", SECRET)
            assert answer.status in {400, 403}
            assert not gate.reached
            judged = [operation.action] if can_carry(sign, operation) else []
            assert [each[1] for each in gate.judged] == judged


@every_sign
async def test_another_tenants_key_reaches_no_handler_of_a_bucket(sign: Sign) -> None:
    gate = Gate()
    rig = await gate.open()
    for operation in IMPLEMENTED:
        with gate.asked(operation) as asked:
            answer = await sign(rig, asked, "OTHER", SECRET)
            if not can_carry(sign, operation):
                assert not gate.reached
                continue
            _, action, bucket, _, _, verdict = gate.judged[0]
            assert action is operation.action
            if operation.action in OF_TENANT:
                (call,) = gate.reached
                assert call.asking_tenant != rig.tenant
                continue
            assert answer.status == 403
            assert isinstance(bucket, Bucket)
            assert bucket.owner == rig.tenant
            assert verdict == Deny(Denial.NOT_OWNER)
            assert not gate.reached


@pytest.mark.incident(3, 5)
@every_sign
@pytest.mark.parametrize(("key", "secret"), [("AK", "wrong"), ("NOBODY", SECRET)])
async def test_a_signature_that_does_not_hold_is_not_even_judged(
    sign: Sign, key: str, secret: str
) -> None:
    gate = Gate()
    rig = await gate.open()
    for operation in IMPLEMENTED:
        with gate.asked(operation) as asked:
            answer = await sign(rig, asked, key, secret)
            assert answer.status == 403 or not can_carry(sign, operation)
            assert not gate.judged
            assert not gate.reached


async def test_an_anonymous_caller_reaches_no_handler_and_costs_no_call_of_a_known_bucket() -> None:
    gate = Gate()
    rig = await gate.open()
    await rig.send("GET", "/bucket/key", "", b"", {"host": rig.host})
    rig.coordinators.requests.clear()
    for operation in IMPLEMENTED:
        with gate.asked(operation) as asked:
            headers = asked.with_length({"host": rig.host, **asked.headers})
            answer = await rig.send(asked.method, asked.path, asked.query, b"", headers)
            assert answer.status == 403
            ((principal, action, _, _, _, verdict),) = gate.judged
            assert (principal, action) == (Anonymous(), operation.action)
            assert verdict == Deny(Denial.ANONYMOUS)
            assert not gate.reached
            assert rig.coordinators.calls == []


@every_way
async def test_who_is_no_owner_reaches_every_handler_that_a_policy_allows(
    sign: Sign, autojump_clock: MockClock
) -> None:
    gate = Gate()
    rig = await gate.open()
    await set_policy(rig, statement("Allow"))
    for operation in IMPLEMENTED:
        with gate.asked(operation) as asked:
            answer = await sign(rig, asked, "OTHER", SECRET)
            if operation.action in OF_TENANT or not can_carry(sign, operation):
                continue
            principal, _, bucket, _, permission, verdict = gate.judged[-1]
            if permission in OWNERS_ALWAYS:
                assert answer.status == 405
                assert verdict == Deny(Denial.OWNER_ONLY)
                assert not gate.reached
                continue
            assert verdict == Allow()
            (call,) = gate.reached
            assert call.bucket == bucket
            assert call.bucket.owner == rig.tenant
            assert call.principal == principal
            assert principal.caller.account != rig.tenant.tenant_id.hex()


@every_way
async def test_a_permission_that_is_denied_closes_its_handlers_and_no_others(
    sign: Sign, autojump_clock: MockClock
) -> None:
    gate = Gate()
    rig = await gate.open()
    needed = {each.name: needed_of(each) for each in IMPLEMENTED}
    of_buckets = [each for each in IMPLEMENTED if each.action not in OF_TENANT]
    others = itertools.cycle(each for each in of_buckets if needed[each.name] != (None,))
    every = itertools.chain.from_iterable(needed[each.name] for each in of_buckets)
    for denied in sorted({each for each in every if each is not None}):
        resource = "arn:aws:s3:::bucket" + ("/*" if denied in OF_OBJECTS else "")
        await set_policy(
            rig, statement("Deny", Action=denied, Resource=resource), statement("Allow")
        )
        named = [each for each in of_buckets if denied in needed[each.name]]
        for operation in (*named, next(others)):
            if not can_carry(sign, operation):
                continue
            for key in ("AK", "OTHER"):
                with gate.asked(operation) as asked:
                    await sign(rig, asked, key, SECRET)
                    is_open = denied not in needed[operation.name]
                    if OWNERS_ALWAYS & set(needed[operation.name]):
                        is_open = key == "AK" and sign is not by_nobody
                    assert len(gate.reached) == is_open, (denied, key)


@pytest.mark.incident(26)
@every_sign
async def test_a_user_reaches_what_its_own_policy_allows_and_nothing_else(
    sign: Sign, autojump_clock: MockClock
) -> None:
    gate = Gate()
    rig = await gate.open()
    everything = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    rig.add_user("all", everything)
    rig.add_user("none", {**everything, "Resource": "arn:aws:s3:::other/*"})
    permissions = sorted({each for op in IMPLEMENTED for each in needed_of(op) if each})
    for number, denied in enumerate(permissions):
        rig.add_user(
            f"not-{number}", everything, {**everything, "Effect": "Deny", "Action": denied}
        )
    for operation in IMPLEMENTED:
        if not can_carry(sign, operation):
            continue
        needed = needed_of(operation)
        reached = {"all": True, "none": needed == (None,)}
        reached |= {
            f"not-{number}": False for number, denied in enumerate(permissions) if denied in needed
        }
        for user, expected in reached.items():
            with gate.asked(operation) as asked:
                await sign(rig, asked, user, SECRET)
                assert bool(gate.reached) is expected, user


@pytest.mark.parametrize("sign", TEMPORARY.values(), ids=TEMPORARY)
async def test_a_session_reaches_what_its_policy_allows_and_nothing_else(
    sign: Sign, autojump_clock: MockClock
) -> None:
    gate = Gate()
    rig = await gate.open()
    everything = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    permissions = sorted({each for op in IMPLEMENTED for each in needed_of(op) if each})
    statements = {"all": [everything], "none": [{**everything, "Resource": "arn:aws:s3:::other/*"}]}
    for denied in permissions:
        statements[denied] = [everything, {**everything, "Effect": "Deny", "Action": denied}]
    for name, given in statements.items():
        rig.session_policies[name] = json.dumps({"Statement": given}).encode()
    for operation in IMPLEMENTED:
        if not can_carry(sign, operation):
            continue
        needed = needed_of(operation)
        reached = {"all": True, "none": needed == (None,)}
        reached |= {each: False for each in needed if each is not None}
        for name, expected in reached.items():
            with gate.asked(operation) as asked:
                await sign(rig, asked, name, SECRET)
                assert bool(gate.reached) is expected, name


@every_way
async def test_rules_that_cannot_be_read_let_the_owner_at_the_policy_only(
    sign: Sign, autojump_clock: MockClock
) -> None:
    gate = Gate()
    rig = await gate.open()
    await set_document(rig.backend, await found(rig), POLICY, b"\x63")
    for operation in IMPLEMENTED:
        if operation.action in {*OF_TENANT, Action.DELETE_BATCH} or not can_carry(sign, operation):
            continue
        for key in ("AK", "OTHER"):
            with gate.asked(operation) as asked:
                await sign(rig, asked, key, SECRET)
                _, _, _, _, permission, verdict = gate.judged[0]
                is_owner = key == "AK" and sign is not by_nobody
                if permission in OWNERS_ALWAYS and is_owner:
                    assert verdict == Allow()
                else:
                    assert verdict == Deny(Denial.UNREADABLE)
                    assert not gate.reached


@pytest.mark.parametrize(
    ("key", "secret", "reaches"),
    [("AK", SECRET, True), ("OTHER", SECRET, False), ("AK", "wrong", False), ("", "", False)],
)
async def test_a_form_reaches_its_handler_by_what_was_allowed(
    key: str, secret: str, reaches: bool
) -> None:
    gate = Gate()
    rig = await gate.open()
    fields = {"key": "name"}
    if key:
        fields = form_client.signed(rig, fields, access_key=key, secret=secret)
    answer = await form_client.post(rig, fields)
    assert (answer.status == 200) is reaches
    assert bool(gate.reached) is reaches
    if reaches:
        ((principal, action, bucket, name, permission, verdict),) = gate.judged
        assert permission == "s3:PutObject"
        assert (action, name, verdict) == (Action.WRITE_OBJECT, b"name", Allow())
        assert isinstance(principal, KeyHolder)
        assert isinstance(bucket, Bucket)
        assert (principal.tenant, bucket.owner) == (rig.tenant, rig.tenant)
    else:
        assert answer.status == 403


@pytest.mark.incident(25)
@pytest.mark.parametrize(
    "operation",
    [each for each in IMPLEMENTED if each.header == b"x-amz-copy-source"],
    ids=lambda each: each.name,
)
async def test_the_source_of_a_copy_must_be_readable_by_the_caller(operation: Operation) -> None:
    rig = Rig()
    await rig.put("/bucket", b"")
    await rig.put("/bucket/key", b"not theirs")
    await rig.ask("PUT", "/theirs", access_key="OTHER")
    await rig.ask("PUT", "/theirs/key", "", b"their own", access_key="OTHER")
    begun = await rig.ask("POST", "/theirs/new", "uploads=", access_key="OTHER")
    query = asked_of(operation).query.replace("uploadId=1", f"uploadId={begun.text('UploadId')}")
    for source, status in (("/bucket/key", 403), ("/theirs/key", 200)):
        headers = {"x-amz-copy-source": source}
        answer = await rig.ask("PUT", "/theirs/new", query, b"", headers, access_key="OTHER")
        assert answer.status == status
        if status == 403:
            assert answer.code == "AccessDenied"
            assert ("theirs", b"new") not in rig.coordinators.current
            assert not any(each.parts for each in rig.coordinators.uploads.values())
