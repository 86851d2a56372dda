"""Requests of a bucket are logged, line by line as S3 does it, in another bucket: no secret, no
loop, bounded, and without any request that waits for it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import trio
import versions_client as v
from gateway_rig import Answer, Rig
from notifications_client import deliver, listen, rule
from notifications_client import set_rules as notify
from trio.testing import MockClock

from common import limits
from common.errors import Unavailable
from common.format import key_ring
from common.http.records import HttpRequest
from common.reasons import Outage
from common.wire import messages as m
from gateway.access_log import AccessLogs
from gateway_s3.log_line import LogLine, format_line, operation_of
from gateway_s3.request.customer_keys import SECRETS

LINE = re.compile(
    r"(\S+) (\S+) \[(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000)\] (\S+) (\S+) (\S+) (\S+)"
    r' (\S+) "([^"]*)" (\d{3}) (\S+) (\d+|-) (\d+|-) (\d+) (\d+|-) "([^"]*)" "([^"]*)" (\S+)'
    r" (\S+) (SigV2|SigV4|-) (\S+) (AuthHeader|QueryString|-) (\S+) (\S+) (\S+) (Yes|-) (\S+)\n"
)
NAMES = (
    *("owner", "bucket", "time", "address", "requester", "request_id", "operation", "key", "uri"),
    *("status", "code", "sent", "size", "took", "turned", "referrer", "agent", "version"),
    *("host_id", "signature", "cipher", "authentication", "host", "tls", "point", "acl", "region"),
)
STATUS = "<BucketLoggingStatus>{}</BucketLoggingStatus>"
ENABLED = (
    "<LoggingEnabled><TargetBucket>{}</TargetBucket><TargetPrefix>{}</TargetPrefix>{}"
    "</LoggingEnabled>"
)
FORMAT = "<TargetObjectKeyFormat>{}</TargetObjectKeyFormat>"
PARTITIONED = FORMAT.format(
    "<PartitionedPrefix><PartitionDateSource>{}</PartitionDateSource></PartitionedPrefix>"
)


async def put_logging(rig: Rig, inner: str) -> Answer:
    return await rig.ask("PUT", "/bucket", "logging=", STATUS.format(inner).encode())


async def log_to(rig: Rig, target: str = "logs", prefix: str = "log/", more: str = "") -> None:
    answer = await put_logging(rig, ENABLED.format(target, prefix, more))
    assert answer.status == 200, answer.body


@pytest.fixture
async def rig() -> Rig:
    made = Rig()
    made.logs = AccessLogs(made.backend, "us-east-1", 300, made.backend.metrics)
    made.app._logs = logs(made)
    await made.put("/bucket", b"")
    await made.put("/logs", b"")
    return made


def logs(rig: Rig) -> AccessLogs:
    found: AccessLogs = rig.logs
    return found


async def keys(rig: Rig, bucket: str = "logs") -> list[str]:
    return (await rig.ask("GET", f"/{bucket}", "list-type=2")).texts("Contents/Key")


async def lines(rig: Rig) -> list[dict[str, str]]:
    """All lines that were written, by the names of their fields."""
    await logs(rig).flush()
    found = []
    for key in await keys(rig):
        if not key.startswith("log/"):
            continue
        stored = await rig.ask("GET", f"/logs/{key}")
        assert stored.headers["content-type"] == "text/plain"
        for line in stored.body.decode("ascii").splitlines(keepends=True):
            match = LINE.fullmatch(line)
            assert match is not None, line
            found.append(dict(zip(NAMES, match.groups(), strict=True)))
    return found


async def test_it_is_shown_as_it_was_set_and_can_be_taken_back(rig: Rig) -> None:
    assert list((await rig.ask("GET", "/bucket", "logging=")).xml()) == []
    await log_to(rig, prefix="a b/")
    shown = await rig.ask("GET", "/bucket", "logging=")
    assert shown.text("LoggingEnabled/TargetBucket") == "logs"
    assert shown.text("LoggingEnabled/TargetPrefix") == "a b/"
    form = "LoggingEnabled/TargetObjectKeyFormat/"
    assert shown.xml().find(form + "SimplePrefix") is not None
    for source in ("EventTime", "DeliveryTime"):
        await log_to(rig, more=PARTITIONED.format(source))
        shown = await rig.ask("GET", "/bucket", "logging=")
        assert shown.text(form + "PartitionedPrefix/PartitionDateSource") == source
    assert (await put_logging(rig, "")).status == 200
    assert list((await rig.ask("GET", "/bucket", "logging=")).xml()) == []


@pytest.mark.parametrize(
    ("inner", "code"),
    [
        ("<Wrong/>", "MalformedXML"),
        ("<LoggingEnabled><TargetBucket>logs</TargetBucket></LoggingEnabled>", "MalformedXML"),
        (ENABLED.format("none", "", ""), "InvalidTargetBucketForLogging"),
        (ENABLED.format("theirs", "", ""), "InvalidTargetBucketForLogging"),
        (ENABLED.format("NO", "", ""), "InvalidTargetBucketForLogging"),
        (ENABLED.format("logs", "a" * 801, ""), "InvalidArgument"),
        (ENABLED.format("logs", "", FORMAT.format("")), "MalformedXML"),
        (ENABLED.format("logs", "", PARTITIONED.format("Never")), "MalformedXML"),
        (
            ENABLED.format("logs", "", "<TargetGrants><Grant/></TargetGrants>"),
            "NotImplemented",
        ),
    ],
)
async def test_what_cannot_be_is_refused(rig: Rig, inner: str, code: str) -> None:
    assert (await rig.ask("PUT", "/theirs", access_key="OTHER")).status == 200
    assert (await put_logging(rig, inner)).code == code
    assert list((await rig.ask("GET", "/bucket", "logging=")).xml()) == []


async def test_each_request_has_a_line_with_all_that_is_known(rig: Rig) -> None:
    await log_to(rig)
    await v.set_versioning(rig, "Enabled")
    given = {"user-agent": "client/1.0 (a b)", "referer": "http://page.test/"}
    put = await rig.ask("PUT", "/bucket/dir/a%20b", "", b"12345", given)
    await rig.ask("GET", "/bucket/dir/a%20b", "", b"", {"range": "bytes=1-2"})
    await rig.ask("GET", "/bucket/none")
    await rig.ask("HEAD", "/bucket/dir/a%20b")
    await rig.ask("GET", "/bucket", "list-type=2")
    await rig.ask("PUT", "/logs/other", "", b"is not logged")
    found = await lines(rig)
    assert [(each["operation"], each["status"]) for each in found] == [
        ("REST.PUT.VERSIONING", "200"),
        ("REST.PUT.OBJECT", "200"),
        ("REST.GET.OBJECT", "206"),
        ("REST.GET.OBJECT", "404"),
        ("REST.HEAD.OBJECT", "200"),
        ("REST.GET.BUCKET", "200"),
    ]
    stored = next(each for each in found if each["operation"] == "REST.PUT.OBJECT")
    account = rig.tenant.tenant_id.hex()
    assert stored == stored | {
        "owner": account,
        "bucket": "bucket",
        "address": "192.0.2.7",
        "requester": account,
        "request_id": put.headers["x-amz-request-id"],
        "key": "dir/a%20b",
        "uri": "PUT /bucket/dir/a%20b HTTP/1.1",
        "code": "-",
        "sent": "-",
        "size": "5",
        "referrer": "http://page.test/",
        "agent": "client/1.0 (a b)",
        "version": put.headers["x-amz-version-id"],
        "host_id": put.headers["x-amz-id-2"],
        "signature": "SigV4",
        "authentication": "AuthHeader",
        "host": "s3.test",
        "tls": "-",
        "acl": "-",
    }
    part, missing = [each for each in found if each["operation"] == "REST.GET.OBJECT"]
    assert (part["sent"], part["size"]) == ("2", "5")
    assert (missing["code"], missing["size"], missing["key"]) == ("NoSuchKey", "-", "none")
    assert int(missing["sent"]) > 100
    head = next(each for each in found if each["operation"] == "REST.HEAD.OBJECT")
    assert (head["sent"], head["size"]) == ("-", "5")


async def test_an_answer_is_logged_when_it_was_sent_or_broke_off(rig: Rig) -> None:
    await log_to(rig)
    await rig.put("/bucket/big", bytes(3 << 20))
    signed = rig.sign("GET", "/bucket/big", "", {})
    request = HttpRequest(
        "GET",
        b"/bucket/big",
        b"/bucket/big",
        b"",
        [(name.encode(), value.encode()) for name, value in signed.items()],
        remote="[2001:db8::1]:9",
    )
    response = await rig.app(request)
    body: Any = response.body
    first = await anext(body)
    assert logs(rig).size < 2000
    await body.aclose()
    found = [each for each in await lines(rig) if each["key"] == "big"][-1]
    assert (found["sent"], found["size"]) == (str(len(first)), str(3 << 20))
    assert found["address"] == "2001:db8::1"


async def test_what_is_denied_is_logged_with_who_asked(rig: Rig) -> None:
    await log_to(rig)
    rig.add_user("UA", {"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"})
    assert (await rig.ask("GET", "/bucket/key", access_key="UA")).status == 403
    assert (await rig.send("GET", "/bucket/key", "", b"", {"host": "s3.test"})).status == 403
    denied = [each for each in await lines(rig) if each["status"] == "403"]
    account = rig.tenant.tenant_id.hex()
    assert denied[0]["requester"] == f"arn:aws:iam::{account}:user/UA"
    assert denied[0]["code"] == "AccessDenied"
    for each in denied[1:]:
        assert (each["requester"], each["signature"], each["authentication"]) == ("-", "-", "-")


async def test_no_signature_or_token_is_logged(rig: Rig) -> None:
    await log_to(rig)
    await rig.put("/bucket/key", b"")
    query = rig.presign("GET", "/bucket/key")
    assert (await rig.send("GET", "/bucket/key", query, b"", {"host": "s3.test"})).status == 200
    signature = query.rpartition("=")[2]
    found = (await lines(rig))[-1]
    assert signature not in str(await lines(rig))
    assert "X-Amz-Signature=REDACTED" in found["uri"]
    assert "X-Amz-Expires=60" in found["uri"]
    assert (found["signature"], found["authentication"]) == ("SigV4", "QueryString")


async def test_a_log_is_under_no_named_key_of_its_target(rig: Rig) -> None:
    rig.change_ring(key_ring.create, "archive", 0, rig.node.world.entropy)
    applied = "<SSEAlgorithm>aws:kms</SSEAlgorithm>"
    for tag in ("ApplyServerSideEncryptionByDefault", "Rule", "ServerSideEncryptionConfiguration"):
        applied = f"<{tag}>{applied}</{tag}>"
    answer = await rig.ask("PUT", "/logs", "encryption=", applied.encode())
    assert answer.status == 200, answer.body
    await log_to(rig)
    await rig.put("/bucket/key", b"")
    await logs(rig).flush()
    (written,) = await keys(rig)
    assert rig.opened("logs", written.encode()).inner is None


def some_line(**changes: Any) -> LogLine:
    line = LogLine(
        *("o", "b", 1_700_000_000.5, "1.2.3.4", "r", "ID", "REST.GET.OBJECT", b"k", "GET"),
        *(b"/b/k", 200, "", 0, None, 0.0001, 0.0, "", "", "", "h", "", "", ""),
    )
    return replace(line, **changes)


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        (b"/k?Signature=a%2Fb&Expires=1", "/k?Signature=REDACTED&Expires=1"),
        (b"/k?x=1&x-amz-security-TOKEN=t", "/k?x=1&x-amz-security-TOKEN=REDACTED"),
        (
            b"/k?X-Amz-Signature=1&X-Amz-Signature=2",
            "/k?X-Amz-Signature=REDACTED&X-Amz-Signature=REDACTED",
        ),
        *(
            (b"/k?" + name + b"=a2V5&x=1", f"/k?{name.decode()}=REDACTED&x=1")
            for name in sorted(SECRETS)
        ),
        (b"/Signature=1?versionId=2", "/Signature=1?versionId=2"),
    ],
)
def test_only_what_proves_something_is_redacted(target: bytes, shown: str) -> None:
    assert f'"GET {shown} HTTP/1.1"' in format_line(some_line(target=target)).decode()


def test_no_client_can_end_a_line_or_a_field() -> None:
    evil = 'x" 200 - "\r\nnext \\ \x00\xff line'
    line = format_line(
        some_line(
            agent=evil,
            referrer=evil,
            host=evil,
            version=evil,
            address=evil,
            requester=evil,
            key=evil.encode("latin-1"),
            target=evil.encode("latin-1"),
        )
    ).decode()
    assert LINE.fullmatch(line) is not None
    long = format_line(some_line(agent="a" * 100_000)).decode()
    assert len(long) < 10_000


@pytest.mark.parametrize(
    ("name", "method", "selectors", "is_object", "word"),
    [
        ("GetObject", "GET", (), True, "REST.GET.OBJECT"),
        ("CopyObject", "PUT", (), True, "REST.COPY.OBJECT"),
        ("UploadPartCopy", "PUT", ("uploadId", "partNumber"), True, "REST.COPY.PART"),
        ("CompleteMultipartUpload", "POST", ("uploadId",), True, "REST.POST.UPLOAD"),
        ("CreateMultipartUpload", "POST", ("uploads",), True, "REST.POST.UPLOADS"),
        ("DeleteObjects", "POST", ("delete",), False, "REST.POST.MULTI_OBJECT_DELETE"),
        ("GetBucketPolicy", "GET", ("policy",), False, "REST.GET.BUCKETPOLICY"),
        ("GetBucketLocation", "GET", ("location",), False, "REST.GET.LOCATION"),
        ("PutObjectTagging", "PUT", ("tagging",), True, "REST.PUT.OBJECT_TAGGING"),
        ("GetBucketAcl", "GET", ("acl",), False, "REST.GET.ACL"),
        ("ListObjectsV2", "GET", ("list-type=2",), False, "REST.GET.BUCKET"),
        ("DeleteBucket", "DELETE", (), False, "REST.DELETE.BUCKET"),
    ],
)
def test_operations_have_s3s_words(
    name: str, method: str, selectors: tuple[str, ...], is_object: bool, word: str
) -> None:
    assert operation_of(name, method, selectors, is_object=is_object) == word


async def test_keys_say_when_and_where_the_log_is_from(rig: Rig) -> None:
    account = rig.tenant.tenant_id.hex()
    moment = r"\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d-[0-9A-F]{16}"
    await log_to(rig)
    await rig.put("/bucket/key", b"")
    await logs(rig).flush()
    (key,) = await keys(rig)
    assert re.fullmatch(rf"log/{moment}", key)
    where = rf"log/{account}/us-east-1/bucket/\d{{4}}/\d\d/\d\d/"
    for source in ("DeliveryTime", "EventTime"):
        await log_to(rig, more=PARTITIONED.format(source))
        await rig.put("/bucket/key", b"")
        before = set(await keys(rig))
        rig.node.clock_offset_s += 86_400
        await rig.put("/bucket/key", b"")
        await logs(rig).flush()
        made = sorted(key for key in set(await keys(rig)) - before if account in key)
        assert made
        if source == "DeliveryTime":
            assert all(re.fullmatch(where + moment, each) for each in made)
        else:
            days = [
                re.fullmatch(where + r"(\d{4}-\d\d-\d\d)-00-00-00-[0-9A-F]{16}", each)
                for each in made
            ]
            assert len({each[1] for each in days if each is not None}) == 2


async def test_a_log_that_is_logged_itself_does_not_grow_by_its_own(rig: Rig) -> None:
    await log_to(rig, target="bucket")
    await rig.put("/bucket/key", b"")
    await logs(rig).flush()
    for _ in range(3):
        await logs(rig).flush()
    logged = await keys(rig, "bucket")
    assert len([key for key in logged if key.startswith("log/")]) == 1


async def test_lines_are_written_at_an_interval_and_when_many_have_come(
    rig: Rig, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await log_to(rig)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(logs(rig).run)
        await trio.sleep(1)
        await rig.put("/bucket/key", b"")
        await trio.sleep(250)
        assert await keys(rig) == []
        await trio.sleep(100)
        assert len(await keys(rig)) == 1
        monkeypatch.setattr(limits, "ACCESS_LOG_OBJECT_BYTES", 2000)
        for _ in range(10):
            await rig.put("/bucket/key", b"")
        await trio.sleep(1)
        assert len(await keys(rig)) > 1
        nursery.cancel_scope.cancel()
    assert logs(rig).size < 2000


def counted(rig: Rig, outcome: str) -> float:
    value = rig.backend.metrics.registry.get_sample_value(
        "alveary_gateway_access_log_lines_total", {"outcome": outcome}
    )
    return value or 0.0


async def test_memory_is_bounded_and_what_is_dropped_is_counted(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_ACCESS_LOG_BYTES", 3000)
    await log_to(rig)
    for _ in range(30):
        await rig.put("/bucket/key", b"")
    assert logs(rig).size <= 3000
    assert counted(rig, "dropped") > 15
    found = await lines(rig)
    assert counted(rig, "written") == len(found)
    assert logs(rig).size == 0


async def test_lines_wait_while_they_cannot_be_written_and_go_with_their_target(rig: Rig) -> None:
    await log_to(rig)
    await rig.put("/bucket/key", b"")

    async def fail(request: m.ObjectCommit) -> None:
        if request.bucket == "logs":
            raise Unavailable(Outage.TOO_BUSY)

    rig.coordinators.faults[m.ObjectCommit] = fail
    await logs(rig).flush()
    size = logs(rig).size
    assert size > 0
    await rig.put("/bucket/key", b"")
    rig.coordinators.faults.clear()
    found = await lines(rig)
    assert [each["operation"] for each in found].count("REST.PUT.OBJECT") == 2
    await rig.put("/bucket/key", b"")
    for key in await keys(rig):
        assert (await rig.ask("DELETE", f"/logs/{key}")).status == 204
    assert (await rig.ask("DELETE", "/logs")).status == 204
    rig.backend.buckets.forget(rig.tenant, "logs")
    await logs(rig).flush()
    assert logs(rig).size == 0
    assert counted(rig, "dropped") == 1


async def test_a_log_object_is_an_event_like_any_other(rig: Rig) -> None:
    receiver = listen(rig)
    logs(rig)._service = rig.backend
    await notify(rig, rule("s3:ObjectCreated:*"), bucket="logs")
    await log_to(rig)
    await rig.put("/bucket/key", b"")
    await logs(rig).flush()
    await deliver(rig)
    (record,) = receiver.records
    assert record["userIdentity"]["principalId"] == "logging.s3.amazonaws.com"


async def test_a_bucket_that_is_not_logged_has_no_lines(rig: Rig) -> None:
    await rig.put("/bucket/key", b"")
    assert logs(rig).size == 0
