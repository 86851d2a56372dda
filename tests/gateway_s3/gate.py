"""A gateway whose decisions and calls are noted, and requests for operations, signed in each way.

The requests are generated from the table of operations, so a new row is tested with it. One handler
that notes what it was called with stands in the place of all: only the way to it matters here.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeAlias
from urllib.parse import quote

import pytest
import signing_v2
from botocore.auth import HmacV1Auth
from gateway_rig import Answer, Rig

from common.format.configurations import PolicyText
from common.http.records import HttpRequest, HttpResponse
from gateway.access.lists import Subject
from gateway.access.permissions import ALL
from gateway.access.policy_document import parse_policy
from gateway.access.rules import BLOCK_NOTHING, POLICY, PUBLIC_ACCESS
from gateway.authorization import Action, Verdict, authorize
from gateway.configurations import set_document
from gateway.principals import Bucket, ForeignBucket, Principal
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


Sign: TypeAlias = Callable[[Rig, Asked, str, str], Awaitable[Answer]]
PERMANENT: Mapping[str, Sign] = {
    "v4-header": by_v4_header,
    "v4-chunked": by_chunks,
    "v4-presigned": by_v4_url,
    "v2-header": by_v2_header,
    "v2-presigned": by_v2_url,
}


def temporarily(sign: Sign) -> Sign:
    """The same with a temporary key that was given to the key."""

    async def by_session(rig: Rig, asked: Asked, key: str, secret: str) -> Answer:
        access_key, token = rig.temporary(key)
        if sign is by_v4_url:
            given = f"X-Amz-Security-Token={quote(token, safe='')}"
            query = f"{asked.query}&{given}" if asked.query else given
            return await sign(rig, replace(asked, query=query), access_key, secret)
        headers = {**asked.headers, "x-amz-security-token": token}
        return await sign(rig, replace(asked, headers=headers), access_key, secret)

    return by_session


TEMPORARY: Mapping[str, Sign] = {
    f"{name}-temporary": temporarily(sign) for name, sign in PERMANENT.items()
}
SIGNED: Mapping[str, Sign] = {**PERMANENT, **TEMPORARY}
OF_CHUNKS = {PERMANENT["v4-chunked"], TEMPORARY["v4-chunked-temporary"]}
OF_V2 = {each for name, each in SIGNED.items() if name.startswith("v2-")}


def can_carry(sign: Sign, operation: Operation) -> bool:
    """Whether a request for the operation can be signed so at all.

    A body in chunks says that the path is meant as an object's, not a bucket's to make or remove;
    Version 2 is older than some subresources, and signs none of those.
    """
    if sign in OF_CHUNKS:
        return operation.name not in {"CreateBucket", "DeleteBucket"}
    if sign in OF_V2:
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
        subject: Subject | None,
    ) -> Verdict:
        verdict = self._judge(
            principal, action, bucket, key, circumstances, permission, new_bucket, subject
        )
        self.judged.append((principal, action, bucket, key, permission, verdict))
        return verdict

    async def _handle(self, backend: Backend, call: Call) -> HttpResponse:
        self.reached.append(call)
        return HttpResponse(200)


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
