"""No handler can be reached around ``authorize``: every operation times every way to authenticate.

The requests are generated from the table of operations, so a new row is tested with it. One handler
that notes what it was called with stands in the place of all: only the way to it matters here.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import form_client
import pytest
import signing_v2
from botocore.auth import HmacV1Auth
from gateway_rig import Answer, Rig
from object_rig import SECRET
from trio.testing import MockClock

from common.format.configurations import PolicyText
from common.http.records import HttpRequest, HttpResponse
from gateway.access.permissions import ALL, OF_OBJECTS, OWNERS_ALWAYS
from gateway.access.policy_document import parse_policy
from gateway.access.rules import BLOCK_NOTHING, POLICY, PUBLIC_ACCESS
from gateway.authorization import OF_TENANT, Action, Allow, Denial, Deny, Verdict, authorize
from gateway.configurations import set_document
from gateway.principals import Anonymous, Bucket, ForeignBucket, KeyHolder, Principal
from gateway_s3.app import HANDLERS, App
from gateway_s3.auth.circumstances import RequestCircumstances
from gateway_s3.auth.sigv2 import SignatureV2
from gateway_s3.backend import Backend, Call
from gateway_s3.request.operations import OPERATIONS, SUBRESOURCES, Operation, Scope
from gateway_s3.request.permissions import permissions_of
from gateway_s3.request.query import Query

IMPLEMENTED = [each for each in OPERATIONS if each.action is not None and not each.is_form]
"""A form has a way of its own to prove its caller: see test_post_handlers.py."""
PATHS = {Scope.SERVICE: "/", Scope.BUCKET: "/bucket", Scope.OBJECT: "/bucket/key"}
CHUNKED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"


@dataclass(frozen=True)
class Asked:
    """A request without its signature."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]

    def with_length(self, headers: Mapping[str, str]) -> dict[str, str]:
        if self.method in {"PUT", "POST"}:
            return {"content-length": "0", **headers}
        return dict(headers)


def asked_of(operation: Operation) -> Asked:
    """A request for this operation and no other."""
    pairs = [each.partition("=") for each in operation.selectors]
    values = {name: value for name, _, value in pairs} | dict.fromkeys(operation.required, "x")
    values |= {name: "1" for name in values if name in {"uploadId", "partNumber"}}
    query = "&".join(f"{name}={value}" for name, value in sorted(values.items()))
    headers = {} if operation.header is None else {operation.header.decode(): "/bucket/key"}
    return Asked(operation.method, PATHS[operation.scope], query, headers)


async def by_v4_header(rig: Rig, asked: Asked, key: str, secret: str) -> Answer:
    headers = asked.with_length(asked.headers)
    signed = rig.sign(asked.method, asked.path, asked.query, headers, access_key=key, secret=secret)
    return await rig.send(asked.method, asked.path, asked.query, b"", signed)


async def by_chunks(rig: Rig, asked: Asked, key: str, secret: str) -> Answer:
    headers = {
        **asked.headers,
        "content-length": "86",
        "content-encoding": "aws-chunked",
        "x-amz-decoded-content-length": "0",
    }
    signed = rig.sign(
        asked.method,
        asked.path,
        asked.query,
        headers,
        access_key=key,
        payload=CHUNKED,
        secret=secret,
    )
    return await rig.send(asked.method, asked.path, asked.query, bytes(86), signed)


async def by_v4_url(rig: Rig, asked: Asked, key: str, secret: str) -> Answer:
    headers = asked.with_length({"host": rig.host, **asked.headers})
    query = rig.presign(
        asked.method, asked.path, asked.query, asked.headers, access_key=key, secret=secret
    )
    return await rig.send(asked.method, asked.path, query, b"", headers)


async def by_v2_header(rig: Rig, asked: Asked, key: str, secret: str) -> Answer:
    signed = signing_v2.signed(
        rig,
        asked.method,
        asked.path,
        asked.query,
        dict(asked.headers),
        access_key=key,
        secret=secret,
    )
    return await rig.send(asked.method, asked.path, asked.query, b"", asked.with_length(signed))


async def by_v2_url(rig: Rig, asked: Asked, key: str, secret: str) -> Answer:
    query = signing_v2.url(
        rig,
        asked.method,
        asked.path,
        asked.query,
        dict(asked.headers),
        access_key=key,
        secret=secret,
    )
    headers = asked.with_length({"host": rig.host})
    return await rig.send(asked.method, asked.path, query, b"", headers)


SIGNED = {
    "v4-header": by_v4_header,
    "v4-chunked": by_chunks,
    "v4-presigned": by_v4_url,
    "v2-header": by_v2_header,
    "v2-presigned": by_v2_url,
}
Sign: TypeAlias = Callable[[Rig, Asked, str, str], Awaitable[Answer]]


def can_carry(sign: Sign, operation: Operation) -> bool:
    """Whether a request for the operation can be signed so at all.

    A body in chunks says that the path is meant as an object's, not a bucket's to make or remove;
    Version 2 is older than some subresources, and signs none of those.
    """
    if sign is by_chunks:
        return operation.name not in {"CreateBucket", "DeleteBucket"}
    if sign in {by_v2_header, by_v2_url}:
        selectors = {each.partition("=")[0] for each in operation.selectors}
        return (selectors & SUBRESOURCES) <= set(HmacV1Auth.QSAOfInterest)
    return True


every_sign = pytest.mark.parametrize("sign", SIGNED.values(), ids=SIGNED)


class Gate:
    """A gateway whose handlers note their calls, and whose decisions are noted."""

    def __init__(self, judge: Callable[..., Verdict] = authorize) -> None:
        self.rig = Rig(signature_v2=SignatureV2.ALL)
        self.judged: list[
            tuple[
                Principal, Action, Bucket | ForeignBucket | None, bytes | None, str | None, Verdict
            ]
        ] = []
        self.reached: list[Call] = []
        self._judge = judge

    @contextmanager
    def asked(self, operation: Operation) -> Iterator[Asked]:
        """A request for the operation, with nothing noted before; a failure tells which it is."""
        self.judged.clear()
        self.reached.clear()
        try:
            yield asked_of(operation)
        except Exception as error:
            error.add_note(f"operation: {operation.name}")
            raise

    async def open(self) -> Rig:
        """Make the bucket, then put the handler that notes in the place of all."""
        await self.rig.put("/bucket", b"")
        self.rig.app = App(
            self.rig.backend,
            self.rig.keys,
            (),
            SignatureV2.ALL,
            handlers=dict.fromkeys(HANDLERS, self._handle),
            judge=self._authorize,
        )
        return self.rig

    def _authorize(
        self,
        principal: Principal,
        action: Action,
        bucket: Bucket | ForeignBucket | None,
        key: bytes | None,
        circumstances: RequestCircumstances,
        permission: str | None,
        new_bucket: str,
    ) -> Verdict:
        verdict = self._judge(principal, action, bucket, key, circumstances, permission, new_bucket)
        self.judged.append((principal, action, bucket, key, permission, verdict))
        return verdict

    async def _handle(self, backend: Backend, call: Call) -> HttpResponse:
        self.reached.append(call)
        return HttpResponse(200)


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
    assert (principal.access_key_id, principal.tenant) == ("AK", rig.tenant)
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


def needed_of(operation: Operation) -> tuple[str | None, ...]:
    """The permissions of a request for an operation without further headers; each is one that a
    policy can give, or no policy decides."""
    plain = HttpRequest("GET", b"/", b"/", b"", [])
    needed = permissions_of(operation, Query(b""), plain)
    if operation.action is Action.DELETE_BATCH:
        assert needed == (None,)
    else:
        assert set(needed) <= ALL
    return needed


async def set_policy(rig: Rig, *statements: dict[str, object]) -> None:
    """Set the policy of the bucket, and let it be public."""
    await set_document(rig.backend, await found(rig), PUBLIC_ACCESS, BLOCK_NOTHING.pack())
    text = json.dumps({"Version": "2012-10-17", "Statement": list(statements)}).encode()
    parse_policy(text, "bucket")
    await set_document(rig.backend, await found(rig), POLICY, PolicyText(1, text).pack())


async def found(rig: Rig) -> Bucket:
    return await rig.backend.buckets.find(rig.tenant, "bucket")


def statement(effect: str, **more: object) -> dict[str, object]:
    return {
        "Effect": effect,
        "Principal": "*",
        "Action": "s3:*",
        "Resource": ["arn:aws:s3:::bucket", "arn:aws:s3:::bucket/*"],
        **more,
    }


async def by_nobody(rig: Rig, asked: Asked, _key: str, _secret: str) -> Answer:
    headers = asked.with_length({"host": rig.host, **asked.headers})
    return await rig.send(asked.method, asked.path, asked.query, b"", headers)


every_way = pytest.mark.parametrize(
    "sign", [*SIGNED.values(), by_nobody], ids=[*SIGNED, "anonymous"]
)


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
