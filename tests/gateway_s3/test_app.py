"""The gate and the frame: nobody passes unproven, every error has S3's form."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest
from gateway_rig import Rig

from common.errors import Corrupt, OutcomeUnknown, PeerViolation, Unavailable
from common.reasons import Damage, Outage, Uncertainty, Violation
from gateway_s3.request.operations import OPERATIONS, Scope

DATA = b"some bytes"


@pytest.fixture
async def rig() -> Rig:
    made = Rig()
    await made.put("/bucket", b"")
    await made.put("/bucket/key", DATA)
    return made


async def test_unsigned_wrongly_signed_and_unknown_requests_are_refused(rig: Rig) -> None:
    unsigned = await rig.send("GET", "/bucket/key", "", b"", {"host": "s3.test"})
    assert (unsigned.status, unsigned.code) == (403, "AccessDenied")
    wrong = await rig.ask("GET", "/bucket/key", secret="wrong")
    assert (wrong.status, wrong.code) == (403, "SignatureDoesNotMatch")
    unknown = await rig.ask("GET", "/bucket/key", access_key="NOBODY")
    assert (unknown.status, unknown.code) == (403, "InvalidAccessKeyId")
    signed = rig.sign("GET", "/bucket/other", "", {})
    replayed = await rig.send("GET", "/bucket/key", "", b"", signed)
    assert replayed.code == "SignatureDoesNotMatch"


async def test_a_header_added_after_signing_is_not_acted_on(rig: Rig) -> None:
    for name, value in (
        ("x-amz-copy-source", "/bucket/key"),
        ("x-amz-meta-a", "b"),
        ("x-amz-metadata-directive", "REPLACE"),
    ):
        signed = rig.sign("PUT", "/bucket/new", "", {"content-length": "0"})
        answer = await rig.send("PUT", "/bucket/new", "", b"", signed | {name: value})
        assert (answer.status, answer.code) == (403, "AccessDenied")
    assert ("bucket", b"new") not in rig.coordinators.current


async def test_a_skewed_clock_is_refused(rig: Rig) -> None:
    signed = rig.sign("GET", "/bucket/key", "", {})
    for offset_s, status in ((899.0, 200), (901.0, 403), (-901.0, 403)):
        rig.node.clock_offset_s = offset_s
        answer = await rig.send("GET", "/bucket/key", "", b"", signed)
        assert answer.status == status
        if status == 403:
            assert answer.code == "RequestTimeTooSkewed"


@pytest.mark.fault("L")
async def test_a_date_long_past_asks_no_coordinator(rig: Rig) -> None:
    signed = rig.sign("GET", "/bucket/key", "", {}, access_key="INVENTED")
    rig.node.clock_offset_s = 100_000.0
    rig.coordinators.requests.clear()
    answer = await rig.send("GET", "/bucket/key", "", b"", signed)
    assert (answer.status, answer.code) == (403, "RequestTimeTooSkewed")
    assert rig.coordinators.calls == []


async def test_every_operation_that_is_not_implemented_is_501(rig: Rig) -> None:
    paths = {Scope.SERVICE: "/", Scope.BUCKET: "/bucket", Scope.OBJECT: "/bucket/key"}
    before = dict(rig.coordinators.current)
    for operation in OPERATIONS:
        if operation.implemented or operation.method == "OPTIONS":
            continue
        query = "&".join(
            each if "=" in each else each + "=" for each in sorted(operation.selectors)
        )
        answer = await rig.ask(operation.method, paths[operation.scope], query, b"")
        assert answer.status == 501, operation.name
        assert answer.code == "NotImplemented"
    assert rig.coordinators.current == before


async def test_errors_are_documents_and_head_has_none(rig: Rig) -> None:
    answer = await rig.ask("GET", "/bucket/no%26key")
    assert answer.headers["content-type"] == "application/xml"
    assert answer.text("Code") == "NoSuchKey"
    assert answer.text("Message")
    assert answer.text("Resource") == "/bucket/no%26key"
    assert answer.text("RequestId") == answer.headers["x-amz-request-id"]
    assert answer.text("HostId") == answer.headers["x-amz-id-2"]
    head = await rig.ask("HEAD", "/bucket/none")
    assert (head.status, head.body) == (404, b"")
    head = await rig.ask("HEAD", "/bucket/key", secret="wrong")
    assert (head.status, head.body) == (403, b"")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Unavailable(Outage.NO_RING), 503, "ServiceUnavailable"),
        (Unavailable.received("anything"), 503, "ServiceUnavailable"),
        (OutcomeUnknown(Uncertainty.CONNECTION_LOST), 503, "ServiceUnavailable"),
        (Corrupt(Damage.RECORD_NOT_AUTHENTIC), 500, "InternalError"),
        (PeerViolation(Violation.BAD_RECORD), 500, "InternalError"),
        (RuntimeError("secret detail"), 500, "InternalError"),
        (ExceptionGroup("many", [RuntimeError("secret detail")]), 500, "InternalError"),
    ],
)
async def test_what_fails_behind_is_told_without_details(
    rig: Rig, error: Exception, status: int, code: str
) -> None:
    call: Callable[[Any], Awaitable[Any]] = rig.coordinators.call

    async def failing(request: Any, **_: Any) -> Any:
        if type(request).__name__ in {"ObjectGet", "ObjectCommit"}:
            raise error
        return await call(request)

    rig.coordinators.call = failing
    got = await rig.ask("GET", "/bucket/key")
    assert (got.status, got.code) == (status, code)
    assert b"secret" not in got.body
    put = await rig.ask("PUT", "/bucket/key", "", DATA)
    assert (put.status, put.code) == (status, code)
    assert len(rig.swarm.segments) == 1, "what could not be committed was abandoned"


async def test_a_read_that_fails_at_once_is_told_and_later_cuts(rig: Rig) -> None:
    await rig.put("/bucket/big", bytes(200_000))
    segment = list(rig.swarm.segments)[-1]
    kept = rig.swarm.segments[segment]
    read = rig.swarm.read

    async def broken(*arguments: Any) -> Any:
        taken = 0
        async with aclosing(read(*arguments)) as pieces:
            async for piece in pieces:
                if taken >= fails_after:
                    raise Unavailable(Outage.TOO_FEW_SHARDS)
                taken += len(piece)
                yield piece

    rig.swarm.read = broken
    fails_after = 0
    answer = await rig.ask("GET", "/bucket/big")
    assert (answer.status, answer.code) == (503, "ServiceUnavailable")
    fails_after = 65536
    with pytest.raises(Unavailable, match="too_few_shards"):
        await rig.ask("GET", "/bucket/big")
    assert rig.swarm.segments[segment] == kept


async def test_virtual_hosts_name_the_bucket() -> None:
    rig = Rig(domains=("s3.test",))
    await rig.put("/bucket", b"")
    rig.host = "bucket.s3.test:9000"
    await rig.put("/a/b", DATA)
    rig.host = "s3.test"
    assert (await rig.ask("GET", "/bucket/a/b")).body == DATA


async def test_documents_that_attack_are_refused(rig: Rig) -> None:
    bomb = b'<!DOCTYPE a [<!ENTITY b "ccccc">]><Delete><Object><Key>&b;</Key></Object></Delete>'
    deep = b"<Delete>" + b"<Object>" * 10_000
    for body in (bomb, deep, b"\xff\xfe", b"<Delete/>" * 2, b"", b"\0" * 1000):
        md5 = {"x-amz-checksum-sha256": _b64(hashlib.sha256(body).digest())}
        answer = await rig.ask("POST", "/bucket", "delete=", body, md5)
        assert (answer.status, answer.code) == (400, "MalformedXML"), body[:40]


def _b64(digest: bytes) -> str:

    return base64.b64encode(digest).decode()


async def test_requests_are_counted_by_operation_and_class(rig: Rig) -> None:
    await rig.ask("GET", "/bucket/key")
    await rig.ask("GET", "/bucket/none")
    await rig.ask("GET", "/bucket/none", secret="wrong")
    registry = rig.backend.metrics.registry
    name = "alveary_s3_requests_total"
    value = registry.get_sample_value
    assert value(name, {"operation": "GetObject", "status": "2xx"}) == 1
    assert value(name, {"operation": "GetObject", "status": "4xx"}) == 2
    assert value("alveary_s3_sent_bytes_total") == len(DATA)
    assert value("alveary_s3_received_bytes_total") == len(DATA)


@pytest.mark.incident(37)
async def test_no_secret_is_logged(rig: Rig) -> None:
    await rig.ask("GET", "/bucket/none", secret="wrong")
    signed = rig.sign("GET", "/bucket/key", "", {})
    await rig.send("GET", "/bucket/key", "", b"", signed)
    signature = signed["authorization"].rpartition("=")[2]
    logged = repr(rig.node.swarm.trace.__dict__)
    assert signature not in logged
    assert "secret-of-the-rig" not in logged


@pytest.mark.fault("B07")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_every_client_error_about_a_bucket_names_its_region(method: str) -> None:
    rig = Rig(region="eu-test-1")
    await rig.put("/bucket", b"")
    await rig.put("/bucket/key", DATA)
    name = "x-amz-bucket-region"
    answers = {
        "missing key": await rig.ask(method, "/bucket/none"),
        "missing bucket": await rig.ask(method, "/nowhere"),
        "wrong secret": await rig.ask(method, "/bucket/key", secret="wrong"),
        "unknown key": await rig.ask(method, "/bucket/key", access_key="NOBODY"),
        "unsigned": await rig.send(method, "/bucket/key", "", b"", {"host": rig.host}),
        "condition": await rig.ask(method, "/bucket/key", headers={"If-Match": '"x"'}),
        "range": await rig.ask(method, "/bucket/key", headers={"Range": "bytes=99-"}),
        "conflict": await rig.ask(method, "/bucket?", "acl=&policy="),
    }
    for case, answer in answers.items():
        assert 400 <= answer.status < 500, case
        assert answer.headers[name] == "eu-test-1", case
    assert name not in (await rig.ask("GET", "/", "max-buckets=x")).headers


@pytest.mark.fault("B07")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_request_for_another_region_is_answered_with_the_right_one(method: str) -> None:
    rig = Rig(region="eu-test-1")
    await rig.put("/bucket", b"")
    rig.region = "us-east-1"
    header = await rig.ask(method, "/bucket/key")
    query = rig.presign(method, "/bucket/key")
    url = await rig.send(method, "/bucket/key", query, b"", {"host": rig.host})
    for answer, code in (
        (header, "AuthorizationHeaderMalformed"),
        (url, "AuthorizationQueryParametersError"),
    ):
        assert (answer.status, answer.headers["x-amz-bucket-region"]) == (400, "eu-test-1")
        if method == "GET":
            assert (answer.code, answer.text("Region")) == (code, "eu-test-1")


@pytest.mark.fault("B46")
async def test_an_error_names_the_key_as_it_is_called_and_by_its_host_too() -> None:
    rig = Rig(domains=("s3.test",))
    await rig.put("/bucket", b"")
    for host, path in (("s3.test", "/bucket/%2Fa%20b"), ("bucket.s3.test", "/%2Fa%20b")):
        rig.host = host
        answer = await rig.ask("GET", path)
        assert (answer.code, answer.text("Key")) == ("NoSuchKey", "/a b")
    rig.host = "nowhere.s3.test"
    answer = await rig.ask("GET", "/bucket/key")
    assert (answer.code, answer.text("BucketName")) == ("NoSuchBucket", "nowhere")


async def test_an_error_about_a_key_that_xml_cannot_hold_can_be_read(rig: Rig) -> None:
    answer = await rig.ask("GET", "/bucket/no%00%01key%EF%BF%BF")
    assert (answer.code, answer.text("Key")) == ("NoSuchKey", "no\ufffd\ufffdkey\ufffd")
