"""Rules by which someone is told of events, set and shown; which events are told, and how."""

from __future__ import annotations

import base64
import hashlib
import re

import form_client
import pytest
import versions_client as v
from gateway_rig import Rig
from lifecycle_client import days, pass_days
from lifecycle_client import rule as lifecycle_rule
from lifecycle_client import run as expire
from lifecycle_client import set_rules as set_lifecycle
from notifications_client import (
    ARN,
    Receiver,
    deliver,
    listen,
    put_rules,
    rule,
    set_rules,
    waiting,
)

from common import limits

ALL = (
    "s3:ObjectCreated:*",
    "s3:ObjectRemoved:*",
    "s3:LifecycleExpiration:*",
    "s3:ObjectTagging:*",
    "s3:ObjectAcl:Put",
)


@pytest.fixture
async def rig() -> Rig:
    made = Rig()
    await made.put("/bucket", b"")
    return made


@pytest.fixture
def receiver(rig: Rig) -> Receiver:
    return listen(rig)


async def test_rules_are_shown_as_they_were_set(rig: Rig, receiver: Receiver) -> None:
    empty = await rig.ask("GET", "/bucket", "notification=")
    assert (empty.status, list(empty.xml())) == (200, [])
    listen(rig, receiver, "hook", "other")
    topic = rule(
        "s3:ObjectRemoved:Delete",
        "s3:ObjectTagging:*",
        arn="arn:aws:sns:eu:1:other",
        element="Topic",
        prefix="in/",
        suffix=".jpg",
        id="one",
    )
    function = rule(
        "s3:ObjectAcl:Put", arn="arn:aws:lambda:::function:hook", element="CloudFunction"
    )
    minio = rule("s3:LifecycleExpiration:*", arn="arn:minio:sqs::hook:webhook")
    await set_rules(rig, rule("s3:ObjectCreated:*"), topic, function, minio)
    shown = (await rig.ask("GET", "/bucket", "notification=")).xml()
    assert [each.tag for each in shown] == [
        "QueueConfiguration",
        "TopicConfiguration",
        "CloudFunctionConfiguration",
        "QueueConfiguration",
    ]
    assert shown[0].findtext("Queue") == ARN
    assert re.fullmatch(r"[0-9a-f]{36}", shown[0].findtext("Id") or "")
    assert shown[1].findtext("Id") == "one"
    assert shown[1].findtext("Topic") == "arn:aws:sns:eu:1:other"
    assert [each.text for each in shown[1].iterfind("Event")] == [
        "s3:ObjectRemoved:Delete",
        "s3:ObjectTagging:*",
    ]
    assert [each.text for each in shown[1].iterfind("Filter/S3Key/FilterRule/*")] == [
        *("Prefix", "in/"),
        *("Suffix", ".jpg"),
    ]
    assert shown[2].findtext("CloudFunction") == "arn:aws:lambda:::function:hook"
    await set_rules(rig)
    assert list((await rig.ask("GET", "/bucket", "notification=")).xml()) == []


async def test_a_receiver_is_sent_one_test_event_and_must_take_it(
    rig: Rig, receiver: Receiver
) -> None:
    await set_rules(rig, rule("s3:ObjectCreated:*"), rule("s3:ObjectRemoved:*"))
    (document,) = receiver.taken
    assert (document["Event"], document["Bucket"]) == ("s3:TestEvent", "bucket")
    for status in (None, 500, 302):
        receiver.answers = lambda _, status=status: status
        answer = await put_rules(rig, rule("s3:ObjectRemoved:*"))
        assert (answer.status, answer.code) == (400, "InvalidArgument")
        assert "hook" in (answer.text("Message") or "")
    skip = {"x-amz-skip-destination-validation": "true"}
    assert (await put_rules(rig, rule("s3:ObjectRemoved:*"), headers=skip)).status == 200


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        (["<Wrong/>"], "MalformedXML"),
        (["<QueueConfiguration><Queue>x</Queue></QueueConfiguration>"], "MalformedXML"),
        ([rule("s3:ObjectCreated:*", element="Topic")], "InvalidArgument"),
        ([rule("s3:ObjectCreated:*", arn="hook")], "InvalidArgument"),
        ([rule("s3:ObjectCreated:*", arn="arn:aws:sqs:::nobody")], "InvalidArgument"),
        ([rule("s3:ObjectCreated:*", arn="arn:aws:sqs:::http://127.0.0.1")], "InvalidArgument"),
        ([rule("s3:ObjectCreated:Move")], "InvalidArgument"),
        ([rule("s3:*")], "InvalidArgument"),
        ([rule("ObjectCreated:*")], "InvalidArgument"),
        ([rule("s3:ObjectRestore:*")], "NotImplemented"),
        (["<EventBridgeConfiguration/>"], "NotImplemented"),
        ([rule("s3:ObjectCreated:Put"), rule("s3:ObjectCreated:*")], "InvalidArgument"),
        (
            [
                rule("s3:ObjectCreated:*", prefix="a", suffix=".x"),
                rule("s3:ObjectCreated:Copy", prefix="ab", suffix="y.x"),
            ],
            "InvalidArgument",
        ),
        (
            [rule("s3:ObjectCreated:*", id="a"), rule("s3:ObjectRemoved:*", id="a")],
            "InvalidArgument",
        ),
        ([rule("s3:ObjectCreated:*", id="a" * 256)], "InvalidArgument"),
        ([rule("s3:ObjectCreated:*", prefix="a" * 1025)], "InvalidArgument"),
        (
            [
                rule("s3:ObjectCreated:*", prefix=f"{n:03}/")
                for n in range(limits.MAX_NOTIFICATION_RULES + 1)
            ],
            "InvalidArgument",
        ),
    ],
)
async def test_what_cannot_be_told_is_refused(
    rig: Rig, receiver: Receiver, rules: list[str], code: str
) -> None:
    answer = await put_rules(rig, *rules)
    assert answer.code == code, answer.body
    assert list((await rig.ask("GET", "/bucket", "notification=")).xml()) == []


async def test_rules_that_cannot_be_for_one_event_stand_beside_each_other(
    rig: Rig, receiver: Receiver
) -> None:
    await set_rules(
        rig,
        rule("s3:ObjectCreated:Put", prefix="a", id="1"),
        rule("s3:ObjectCreated:Put", prefix="b", id="2"),
        rule("s3:ObjectCreated:Copy", prefix="a", id="3"),
        rule("s3:ObjectCreated:Post", suffix="x", id="4"),
        rule("s3:ObjectCreated:Post", suffix="y", id="5"),
    )
    for key in ("a", "b", "c"):
        await rig.put(f"/bucket/{key}", b"")
    await deliver(rig)
    assert sorted(each["s3"]["configurationId"] for each in receiver.records) == ["1", "2"]


async def test_a_gateway_without_receivers_knows_none(rig: Rig) -> None:
    answer = await put_rules(rig, rule("s3:ObjectCreated:*"))
    assert (answer.status, answer.code) == (400, "InvalidArgument")
    assert (await put_rules(rig)).status == 200


async def test_each_event_is_told_once_and_as_s3_tells_it(rig: Rig, receiver: Receiver) -> None:
    await set_rules(rig, rule(*ALL, id="rule"))
    await rig.put("/bucket/a%20b/c%2Bd", b"12345")
    await deliver(rig)
    (record,) = receiver.records
    assert record["eventVersion"].startswith("2.")
    assert record["eventSource"] == "aws:s3"
    assert record["eventName"] == "ObjectCreated:Put"
    assert record["requestParameters"] == {"sourceIPAddress": "192.0.2.7"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record["eventTime"])
    assert len(record["responseElements"]["x-amz-request-id"]) == 16
    told = record["s3"]
    assert told["s3SchemaVersion"] == "1.0"
    assert told["configurationId"] == "rule"
    assert told["bucket"]["name"] == "bucket"
    assert told["bucket"]["arn"] == "arn:aws:s3:::bucket"
    assert told["bucket"]["ownerIdentity"]["principalId"] == rig.tenant.tenant_id.hex()
    assert told["object"]["key"] == "a+b/c%2Bd"
    assert told["object"]["size"] == 5
    assert told["object"]["eTag"] == "827ccb0eea8a706c4c34a16891f84e7b"
    assert "versionId" not in told["object"]
    assert waiting(rig) == 0


async def test_every_kind_of_event_is_told_by_its_name(rig: Rig, receiver: Receiver) -> None:
    await set_rules(rig, rule(*ALL))
    await set_lifecycle(rig, lifecycle_rule(prefix="old", Expiration=days(1)))
    await rig.put("/bucket/old", b"")
    await rig.put("/bucket/put", b"")
    await rig.ask("PUT", "/bucket/copy", headers={"x-amz-copy-source": "/bucket/put"})
    fields = form_client.signed(rig, {"key": "post"})
    assert (await form_client.post(rig, fields, b"file")).status == 204
    begun = await rig.ask("POST", "/bucket/parts", "uploads=")
    upload = begun.text("UploadId")
    part = await rig.ask("PUT", "/bucket/parts", f"partNumber=1&uploadId={upload}", b"x")
    body = (
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>"
        f"<ETag>{part.headers['etag']}</ETag></Part></CompleteMultipartUpload>"
    ).encode()
    done = await rig.ask("POST", "/bucket/parts", f"uploadId={upload}", body)
    assert done.status == 200, done.body
    tags = b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"
    assert (await rig.ask("PUT", "/bucket/put", "tagging=", tags)).status == 200
    assert (await rig.ask("DELETE", "/bucket/put", "tagging=")).status == 204
    owned = (
        b"<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule>"
        b"</OwnershipControls>"
    )
    md5 = {"content-md5": base64.b64encode(hashlib.md5(owned).digest()).decode()}
    answer = await rig.ask("PUT", "/bucket", "ownershipControls=", owned, md5)
    assert answer.status == 200, answer.body
    private = {"x-amz-acl": "private"}
    assert (await rig.ask("PUT", "/bucket/put", "acl=", headers=private)).status == 200
    await v.delete(rig, "put")
    await v.delete(rig, "put")
    await v.delete_many(rig, "<Key>copy</Key>", "<Key>never</Key>")
    pass_days(rig, 3)
    await expire(rig)
    await deliver(rig)
    assert sorted(receiver.told) == sorted(
        [
            ("ObjectCreated:Put", "old"),
            ("ObjectCreated:Put", "put"),
            ("ObjectCreated:Copy", "copy"),
            ("ObjectCreated:Post", "post"),
            ("ObjectCreated:CompleteMultipartUpload", "parts"),
            ("ObjectTagging:Put", "put"),
            ("ObjectTagging:Delete", "put"),
            ("ObjectAcl:Put", "put"),
            ("ObjectRemoved:Delete", "put"),
            ("ObjectRemoved:Delete", "copy"),
            ("LifecycleExpiration:Delete", "old"),
        ]
    ), "nothing of what was not there"


async def test_events_of_versions_name_them(rig: Rig, receiver: Receiver) -> None:
    await set_rules(rig, rule(*ALL))
    await rig.put("/bucket/key", b"0")
    await v.set_versioning(rig, "Enabled")
    first = await v.put(rig, "key", b"1")
    marked = await v.delete(rig, "key")
    marker = marked.headers["x-amz-version-id"]
    await v.delete(rig, "key", marker)
    await v.delete(rig, "key", first)
    await v.delete(rig, "key", "null")
    await v.set_versioning(rig, "Suspended")
    await rig.put("/bucket/key", b"2")
    await v.delete(rig, "key")
    await deliver(rig)
    assert [
        (each["eventName"].partition(":")[2], each["s3"]["object"].get("versionId"))
        for each in receiver.records
    ] == [
        ("Put", None),
        ("Put", first),
        ("DeleteMarkerCreated", marker),
        ("Delete", marker),
        ("Delete", first),
        ("Delete", "null"),
        ("Put", "null"),
        ("DeleteMarkerCreated", "null"),
    ]
    sequencers = [each["s3"]["object"]["sequencer"] for each in receiver.records]
    assert sequencers == sorted(set(sequencers))
    assert len({len(each) for each in sequencers}) == 1


async def test_what_was_refused_is_no_event(rig: Rig, receiver: Receiver) -> None:
    await set_rules(rig, rule(*ALL))
    await rig.put("/bucket/key", b"0")
    absent = await rig.ask("PUT", "/bucket/key", "", b"1", {"if-none-match": "*"})
    assert absent.status == 412
    assert (await rig.ask("DELETE", "/bucket/key", headers={"if-match": '"x"'})).status == 412
    assert waiting(rig) == 1


async def test_a_bucket_without_rules_has_no_notifications_and_no_calls(
    rig: Rig, receiver: Receiver
) -> None:
    await rig.put("/bucket/key", b"")
    await v.delete(rig, "key")
    assert waiting(rig) == 0
    assert not [each for each in rig.coordinators.calls if each.startswith("Notifications")]
    commits = [each for each in rig.coordinators.requests if hasattr(each, "notification")]
    assert [each.notification for each in commits] == [None]


async def test_a_coordinator_learns_nothing_of_an_event(rig: Rig, receiver: Receiver) -> None:
    await set_rules(rig, rule(*ALL, id="secretrule"))
    await rig.put("/bucket/key", b"")
    (sealed,) = rig.coordinators.sql.execute("SELECT sealed FROM notifications").fetchone()
    (lane,) = rig.coordinators.sql.execute("SELECT lane_id FROM notification_lanes").fetchone()
    for word in (b"hook", b"key", b"secretrule", b"Put", b"AK", b"192.0.2.7"):
        assert word not in sealed
        assert word not in lane
