"""Objects under keys that tenants have names for (SSE-KMS): used, rotated, disabled, destroyed."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
import trio
from form_client import post, signed
from gateway_rig import Answer, Rig
from keys_client import KEY_A, customer, source_customer
from prometheus_client import CollectorRegistry, Counter
from trio.testing import MockClock

from common import limits
from common.format import key_ring
from common.format.key_ring import KeyRing
from common.limits import MIN_PART_BYTES
from common.wire import messages as m
from coordinator.store import key_rings
from gateway.following import PageOfVersion, rewrite_page

PLAIN = b"a secret that nobody else may read" * 10
PART = bytes(range(256)) * (MIN_PART_BYTES // 256)
METHOD = "x-amz-server-side-encryption"
KEY_ID = METHOD + "-aws-kms-key-id"
BUCKET_KEY = METHOD + "-bucket-key-enabled"


@pytest.fixture
async def rig() -> Rig:
    made = Rig()
    made.secure = True
    await made.put("/bucket", b"")
    make(made, "archive")
    make(made, "other")
    return made


def make(rig: Rig, name: str) -> None:
    rig.change_ring(key_ring.create, name, 0, rig.node.world.entropy)


def kms(name: str | None = None) -> dict[str, str]:
    return {METHOD: "aws:kms"} | ({} if name is None else {KEY_ID: name})


def arn(rig: Rig, name: str) -> str:
    return f"arn:aws:kms:{rig.region}:{rig.tenant.tenant_id.hex()}:key/{name}"


def stored(rig: Rig) -> bytes:
    return b"".join(content for _, content in rig.swarm.segments.values())


def protects(rig: Rig, key: bytes = b"key") -> tuple[str, int]:
    """The named key and the version that protect an object."""
    inner = rig.opened("bucket", key).inner
    assert inner is not None
    assert inner.envelope is not None
    return inner.envelope.name, inner.envelope.version


async def get(rig: Rig, path: str = "/bucket/key", **more: str) -> Answer:
    return await rig.ask("GET", path, headers=more)


async def settled() -> None:
    """Wait until no gateway has an older key ring."""
    await trio.sleep(limits.KEY_RING_AGE_S)


def rule(method: str, key: str = "", more: str = "") -> bytes:
    key = f"<KMSMasterKeyID>{key}</KMSMasterKeyID>" if key else ""
    return (
        "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault>"
        f"<SSEAlgorithm>{method}</SSEAlgorithm>{key}</ApplyServerSideEncryptionByDefault>{more}"
        "</Rule></ServerSideEncryptionConfiguration>"
    ).encode()


async def test_an_object_is_protected_by_the_key_that_is_named(rig: Rig) -> None:
    made = await rig.put("/bucket/key", PLAIN, kms("archive"))
    assert (made.headers[METHOD], made.headers[KEY_ID]) == ("aws:kms", arn(rig, "archive"))
    assert hashlib.md5(PLAIN).hexdigest() not in made.headers["etag"]
    assert PLAIN not in stored(rig)
    assert protects(rig) == ("archive", 1)
    for answer in (await get(rig), await rig.ask("HEAD", "/bucket/key")):
        assert answer.status == 200
        assert (answer.headers[METHOD], answer.headers[KEY_ID]) == ("aws:kms", arn(rig, "archive"))
        assert BUCKET_KEY not in answer.headers
    assert (await get(rig)).body == PLAIN
    assert (await get(rig, Range="bytes=17-40")).body == PLAIN[17:41]


@pytest.mark.parametrize(
    "written",
    [
        "archive",
        "alias/archive",
        "arn:aws:kms:us-east-1:{account}:key/archive",
        "arn:aws:kms:us-east-1:{account}:alias/archive",
    ],
)
async def test_a_key_has_a_name_an_alias_and_an_arn(rig: Rig, written: str) -> None:
    account = rig.tenant.tenant_id.hex()
    await rig.put("/bucket/key", PLAIN, kms(written.format(account=account)))
    assert protects(rig) == ("archive", 1)


@pytest.mark.parametrize("written", [None, "alias/aws/s3"])
async def test_who_names_no_key_gets_the_default_one(
    rig: Rig, autojump_clock: MockClock, written: str | None
) -> None:
    await rig.put("/bucket/key", PLAIN, kms(written))
    assert protects(rig) == ("archive", 1)
    rig.change_ring(key_ring.set_default, "other")
    await settled()
    await rig.put("/bucket/key", PLAIN, kms(written))
    assert protects(rig) == ("other", 1)


@pytest.mark.parametrize(
    "written",
    [
        "nowhere",
        "Archive",
        "alias/",
        "alias/nowhere",
        "key/archive",
        "arn:aws:kms:us-east-1:{account}:archive",
        "arn:aws:kms:eu-west-1:{account}:key/archive",
        "arn:aws:kms:us-east-1:000000000000:key/archive",
        "arn:aws:kms:us-east-1:{account}:key/",
        "arn:",
        "x" * 200,
        "\xff",
    ],
)
async def test_a_key_that_is_not_there_is_refused(rig: Rig, written: str) -> None:
    headers = kms(written.format(account=rig.tenant.tenant_id.hex()))
    answer = await rig.ask("PUT", "/bucket/key", "", PLAIN, headers)
    assert (answer.status, answer.code) == (400, "KMS.NotFoundException")
    assert not rig.swarm.segments


async def test_a_tenant_without_keys_has_none(rig: Rig) -> None:
    await rig.ask("PUT", "/others", access_key="OTHER")
    for headers in (kms(), kms("archive")):
        answer = await rig.ask("PUT", "/others/key", "", PLAIN, headers, access_key="OTHER")
        assert answer.code == "KMS.NotFoundException"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({KEY_ID: "archive"}, "InvalidArgument"),
        ({METHOD: "AES256", KEY_ID: "archive"}, "InvalidArgument"),
        ({METHOD + "-context": "e30="}, "InvalidArgument"),
        ({METHOD: "aws:kms:dsse"}, "NotImplemented"),
        ({METHOD: "aws:other"}, "InvalidEncryptionAlgorithmError"),
        ({**kms(), METHOD + "-context": "e30"}, "InvalidArgument"),
        ({**kms(), METHOD + "-context": "W10="}, "InvalidArgument"),
        ({**kms(), METHOD + "-context": base64.b64encode(b'{"a":1}').decode()}, "InvalidArgument"),
        ({**kms(), METHOD + "-context": base64.b64encode(b"[" * 5000).decode()}, "InvalidArgument"),
        (
            {
                **kms(),
                METHOD + "-context": base64.b64encode(b'{"a":"%b"}' % (b"b" * 5000)).decode(),
            },
            "InvalidArgument",
        ),
        ({**kms(), BUCKET_KEY: "maybe"}, "NotImplemented"),
        ({**kms("archive"), **customer(KEY_A)}, "InvalidArgument"),
    ],
)
async def test_what_cannot_be_meant_is_refused(
    rig: Rig, headers: dict[str, str], code: str
) -> None:
    answer = await rig.ask("PUT", "/bucket/key", "", PLAIN, headers)
    assert answer.code == code
    assert not rig.swarm.segments


async def test_a_method_means_nothing_where_nothing_is_made(rig: Rig) -> None:
    await rig.put("/bucket/key", PLAIN, kms())
    answer = await rig.ask("GET", "/bucket/key", headers=kms())
    assert (answer.status, answer.code) == (400, "InvalidArgument")
    answer = await rig.ask("GET", "/bucket/key", headers=customer(KEY_A))
    assert (answer.status, answer.code) == (400, "InvalidRequest")
    assert (await rig.ask("HEAD", "/bucket/key", headers=customer(KEY_A))).status == 400


async def test_a_context_is_kept_and_authenticated(rig: Rig) -> None:
    context = base64.b64encode(b'{"b": "2", "a": "1"}').decode()
    await rig.put("/bucket/key", PLAIN, {**kms(), METHOD + "-context": context})
    inner = rig.opened("bucket", b"key").inner
    assert inner is not None
    assert inner.envelope is not None
    assert inner.envelope.context == b'{"a":"1","b":"2"}'
    assert (await get(rig)).body == PLAIN


async def test_a_rotated_key_opens_what_it_closed_before(
    rig: Rig, autojump_clock: MockClock
) -> None:
    await rig.put("/bucket/key", PLAIN, kms("archive"))
    rig.change_ring(key_ring.rotate, "archive", 1, rig.node.world.entropy)
    await settled()
    await rig.put("/bucket/new", PLAIN, kms("archive"))
    assert protects(rig) == ("archive", 1)
    assert protects(rig, b"new") == ("archive", 2)
    for path in ("/bucket/key", "/bucket/new"):
        assert (await get(rig, path)).body == PLAIN


async def test_a_disabled_key_is_used_for_nothing_until_it_is_enabled(
    rig: Rig, autojump_clock: MockClock
) -> None:
    upload = await begin(rig, kms("archive"))
    await rig.put("/bucket/key", PLAIN, kms("archive"))
    rig.change_ring(key_ring.set_enabled, "archive", 1, enabled=False)
    await settled()
    for answer in (
        await get(rig),
        await rig.ask("PUT", "/bucket/new", "", PLAIN, kms("archive")),
        await rig.ask("PUT", "/bucket/key", f"partNumber=1&uploadId={upload}", PLAIN),
        await copy(rig, "/bucket/key", "/bucket/copy"),
        await copy(rig, "/bucket/key", "/bucket/copy", kms("other")),
        await rig.ask("POST", "/bucket/new", "uploads=", b"", kms("archive")),
    ):
        assert (answer.status, answer.code) == (400, "KMS.DisabledException")
    head = await rig.ask("HEAD", "/bucket/key")
    assert (head.status, head.headers["content-length"]) == (200, str(len(PLAIN)))
    checked = await rig.ask("HEAD", "/bucket/key", headers={"x-amz-checksum-mode": "ENABLED"})
    assert checked.status == 400
    await rig.put("/bucket/else", PLAIN, kms("other"))
    rig.change_ring(key_ring.set_enabled, "archive", 2, enabled=True)
    await settled()
    assert (await get(rig)).body == PLAIN


async def test_a_destroyed_key_is_used_by_no_gateway_a_second_later(
    rig: Rig, autojump_clock: MockClock
) -> None:
    other = Rig(beside=rig)
    await rig.put("/bucket/key", PLAIN, kms("archive"))
    await rig.put("/bucket/kept", PLAIN, kms("other"))
    assert (await get(other)).body == PLAIN
    ring = rig.change_ring(key_ring.destroy, "archive", 1)
    assert ring.find("archive").versions == ()
    await trio.sleep(1)
    for gateway in (rig, other):
        answer = await get(gateway)
        assert (answer.status, answer.code) == (400, "KMS.NotFoundException")
        answer = await gateway.ask("PUT", "/bucket/new", "", PLAIN, kms("archive"))
        assert answer.code == "KMS.NotFoundException"
        assert (await get(gateway, "/bucket/kept")).body == PLAIN
        assert (await gateway.ask("HEAD", "/bucket/key")).status == 200
    assert (await rig.ask("DELETE", "/bucket/key")).status == 204


async def test_no_material_of_a_destroyed_key_is_in_the_store(rig: Rig) -> None:
    ring = rig.change_ring(lambda ring: ring)
    gone, kept = ring.find("archive").versions[0].key, ring.find("other").versions[0].key
    rig.change_ring(key_ring.destroy, "archive", 1)
    number = rig.coordinators.numbers[rig.tenant.tenant_id]
    found = key_rings.get(rig.coordinators.sql, number)
    packed = key_ring.open_key_ring(rig.tenant, found.revision, found.sealed).pack()
    assert gone not in packed
    assert kept in packed
    count = rig.coordinators.sql.execute("SELECT count(*) FROM key_rings").fetchone()
    assert count == (1,)


async def test_a_coordinator_that_shows_an_older_ring_brings_no_key_back(
    rig: Rig, autojump_clock: MockClock
) -> None:
    await rig.put("/bucket/key", PLAIN, kms("archive"))
    number = rig.coordinators.numbers[rig.tenant.tenant_id]
    old = key_rings.get(rig.coordinators.sql, number)
    rig.change_ring(key_ring.destroy, "archive", 1)
    await settled()
    assert (await get(rig)).code == "KMS.NotFoundException"
    rig.coordinators.sql.execute(
        "UPDATE key_rings SET revision = ?, sealed = ?", (old.revision, old.sealed)
    )
    await settled()
    assert (await get(rig)).status == 500
    rig.coordinators.sql.execute("UPDATE key_rings SET revision = revision + 7")
    await settled()
    assert (await get(rig)).status == 500, "a ring is sealed with its revision"


async def test_a_ring_is_asked_for_once_in_a_second_and_only_where_it_is_used(
    rig: Rig, autojump_clock: MockClock
) -> None:
    await rig.put("/bucket/plain", PLAIN)
    await get(rig, "/bucket/plain")
    assert m.KeyRingGet.__name__ not in rig.coordinators.calls
    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(rig.put, f"/bucket/{number}", PLAIN, kms())
    assert rig.coordinators.calls.count(m.KeyRingGet.__name__) == 1


async def test_a_public_object_is_not_read_with_a_named_key(rig: Rig) -> None:
    await rig.put("/bucket/key", PLAIN, kms())
    await rig.ask("DELETE", "/bucket", "publicAccessBlock=")
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": "*",
                "Action": ["s3:GetObject", "s3:PutObject"],
                "Resource": "arn:aws:s3:::bucket/*",
            }
        ],
    }
    done = await rig.ask("PUT", "/bucket", "policy=", json.dumps(policy).encode())
    assert done.status == 204, done.body
    answer = await rig.send("GET", "/bucket/key", "", b"", {"host": rig.host})
    assert (answer.status, answer.code) == (400, "InvalidArgument")
    headers = {"host": rig.host, "content-length": str(len(PLAIN)), **kms()}
    answer = await rig.send("PUT", "/bucket/new", "", PLAIN, headers)
    assert answer.code == "InvalidArgument"


# --- defaults of buckets -----------------------------------------------------------------------


async def test_new_objects_get_the_key_of_their_bucket(rig: Rig) -> None:
    more = "<BucketKeyEnabled>true</BucketKeyEnabled>"
    done = await rig.ask("PUT", "/bucket", "encryption=", rule("aws:kms", "other", more))
    assert done.status == 200, done.body
    shown = await rig.ask("GET", "/bucket", "encryption=")
    assert shown.text("Rule/ApplyServerSideEncryptionByDefault/SSEAlgorithm") == "aws:kms"
    assert shown.text("Rule/ApplyServerSideEncryptionByDefault/KMSMasterKeyID") == "other"
    assert shown.text("Rule/BucketKeyEnabled") == "true"
    made = await rig.put("/bucket/key", PLAIN)
    assert made.headers[KEY_ID] == arn(rig, "other")
    assert made.headers[BUCKET_KEY] == "true"
    assert protects(rig) == ("other", 1)
    plain = await rig.put("/bucket/plain", PLAIN, {METHOD: "AES256"})
    assert plain.headers[METHOD] == "AES256"
    assert rig.opened("bucket", b"plain").inner is None
    await rig.put("/bucket/named", PLAIN, kms("archive"))
    assert protects(rig, b"named") == ("archive", 1)
    await rig.put("/bucket/customers", PLAIN, customer(KEY_A))
    assert protects(rig, b"customers") == ("", 0)
    copied = await copy(rig, "/bucket/plain", "/bucket/copy")
    assert copied.headers[KEY_ID] == arn(rig, "other")
    fields = {"key": "form"}
    assert (await post(rig, signed(rig, fields), PLAIN)).status == 204
    assert protects(rig, b"form") == ("other", 1)
    assert (await rig.ask("DELETE", "/bucket", "encryption=")).status == 204
    await rig.put("/bucket/key", PLAIN)
    assert rig.opened("bucket", b"key").inner is None
    shown = await rig.ask("GET", "/bucket", "encryption=")
    assert shown.text("Rule/ApplyServerSideEncryptionByDefault/SSEAlgorithm") == "AES256"


async def test_a_bucket_without_a_key_of_its_own_has_the_default_one(rig: Rig) -> None:
    done = await rig.ask("PUT", "/bucket", "encryption=", rule("aws:kms"))
    assert done.status == 200, done.body
    await rig.put("/bucket/key", PLAIN)
    assert protects(rig) == ("archive", 1)
    await rig.ask("PUT", "/bucket", "encryption=", rule("AES256"))
    await rig.put("/bucket/key", PLAIN)
    assert rig.opened("bucket", b"key").inner is None


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (rule("aws:kms", "nowhere"), "KMS.NotFoundException"),
        (rule("aws:kms:dsse"), "NotImplemented"),
        (rule("AES256", "archive"), "InvalidArgument"),
        (rule("AES128"), "MalformedXML"),
        (rule("aws:kms", "archive", "<BucketKeyEnabled>yes</BucketKeyEnabled>"), "MalformedXML"),
        (rule("aws:kms", "archive", "<Other/>"), "MalformedXML"),
        (
            rule(
                "aws:kms",
                "archive",
                "<BlockedEncryptionTypes><EncryptionType>SSE-C</EncryptionType>"
                "</BlockedEncryptionTypes>",
            ),
            "NotImplemented",
        ),
        (b"<ServerSideEncryptionConfiguration/>", "MalformedXML"),
        (
            b"<ServerSideEncryptionConfiguration><Rule/></ServerSideEncryptionConfiguration>",
            "MalformedXML",
        ),
        (b"", "MalformedXML"),
    ],
)
async def test_a_default_that_cannot_be_meant_is_refused(rig: Rig, body: bytes, code: str) -> None:
    assert (await rig.ask("PUT", "/bucket", "encryption=", body)).code == code
    await rig.put("/bucket/key", PLAIN)
    assert rig.opened("bucket", b"key").inner is None


# --- parts, copies, pages ----------------------------------------------------------------------


async def begin(rig: Rig, headers: dict[str, str]) -> str:
    answer = await rig.ask("POST", "/bucket/key", "uploads=", b"", headers)
    assert answer.status == 200, answer.body
    return answer.text("UploadId") or ""


async def copy(rig: Rig, source: str, target: str, headers: dict[str, str] | None = None) -> Answer:
    return await rig.ask("PUT", target, "", b"", {"x-amz-copy-source": source, **(headers or {})})


async def test_parts_are_protected_by_the_key_of_their_upload(
    rig: Rig, autojump_clock: MockClock
) -> None:
    upload = await begin(rig, kms("archive"))
    rows = ""
    for number, body in ((1, PART), (2, PLAIN)):
        query = f"partNumber={number}&uploadId={upload}"
        answer = await rig.ask("PUT", "/bucket/key", query, body)
        assert answer.headers[KEY_ID] == arn(rig, "archive")
        etag = answer.headers["etag"]
        rows += f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
        rig.change_ring(key_ring.rotate, "archive", 1, rig.node.world.entropy)
        await settled()
    refused = await rig.ask("PUT", "/bucket/key", query, PLAIN, customer(KEY_A))
    assert (refused.status, refused.code) == (400, "InvalidRequest")
    document = f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()
    done = await rig.ask("POST", "/bucket/key", f"uploadId={upload}", document)
    assert done.headers[KEY_ID] == arn(rig, "archive")
    assert protects(rig) == ("archive", 1)
    assert (await get(rig)).body == PART + PLAIN


@pytest.mark.parametrize("target", ["plain", "same", "other", "customer"])
async def test_a_copy_is_under_the_key_that_it_names(rig: Rig, target: str) -> None:
    await rig.put("/bucket/key", PLAIN, kms("archive"))
    before = dict(rig.swarm.segments)
    headers = {
        "plain": {},
        "same": kms("archive"),
        "other": kms("other"),
        "customer": customer(KEY_A),
    }[target]
    made = await copy(rig, "/bucket/key", "/bucket/copy", headers)
    assert made.status == 200, made.body
    assert (rig.swarm.segments == before) is (target != "plain")
    given = customer(KEY_A) if target == "customer" else {}
    assert (await rig.ask("GET", "/bucket/copy", headers=given)).body == PLAIN
    if target == "customer":
        back = await copy(
            rig, "/bucket/copy", "/bucket/back", {**source_customer(KEY_A), **kms("other")}
        )
        assert back.headers[KEY_ID] == arn(rig, "other")
        assert (await get(rig, "/bucket/back")).body == PLAIN


@pytest.mark.parametrize("by_parts", [False, True])
async def test_another_tenants_source_is_read_with_the_keys_of_its_owner(
    rig: Rig, by_parts: bool
) -> None:
    await rig.put("/bucket/key", PLAIN, kms("archive"))
    account = rig.tenants[rig.coordinators.access_key("OTHER").tenant_id].tenant_id.hex()
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{account}:root"},
        "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::bucket/*",
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    await rig.ask("PUT", "/bucket", "policy=", json.dumps(policy).encode())
    await rig.ask("PUT", "/others", access_key="OTHER")
    headers, query = {"x-amz-copy-source": "/bucket/key"}, ""
    if by_parts:
        begun = await rig.ask("POST", "/others/copy", "uploads=", access_key="OTHER")
        query = f"partNumber=1&uploadId={begun.text('UploadId')}"
    made = await rig.ask("PUT", "/others/copy", query, b"", headers, access_key="OTHER")
    assert made.status == 200, made.body
    if not by_parts:
        got = await rig.ask("GET", "/others/copy", access_key="OTHER")
        assert (got.body, got.headers[METHOD]) == (PLAIN, "AES256")


async def test_a_copy_outlives_the_key_of_its_source(rig: Rig, autojump_clock: MockClock) -> None:
    await rig.put("/bucket/key", PLAIN, kms("archive"))
    await copy(rig, "/bucket/key", "/bucket/copy", kms("other"))
    rig.change_ring(key_ring.destroy, "archive", 1)
    await settled()
    assert (await get(rig)).code == "KMS.NotFoundException"
    assert (await get(rig, "/bucket/copy")).body == PLAIN


async def test_pages_move_while_their_key_is_destroyed(rig: Rig, autojump_clock: MockClock) -> None:
    """Nothing is read of them, and an object that is locked may have to move for ever."""
    await rig.put("/bucket/key", PLAIN, kms("archive"))
    ring = rig.change_ring(lambda ring: ring)
    rig.change_ring(key_ring.destroy, "archive", 1)
    await settled()
    counter = Counter("rewritten", "Bytes", registry=CollectorRegistry())
    bucket = await rig.backend.buckets.find(rig.tenant, "bucket")
    record = rig.coordinators.current["bucket", b"key"]
    page = PageOfVersion(bucket, b"key", record.version_id, 0)
    await rewrite_page(rig.backend, page, "STANDARD", counter)

    def bring_back(_: KeyRing) -> KeyRing:
        return ring

    rig.change_ring(bring_back)
    await settled()
    assert (await get(rig)).body == PLAIN


@pytest.mark.parametrize(
    ("key", "value", "headers", "allowed"),
    [
        (METHOD, "aws:kms", kms(), True),
        (METHOD, "aws:kms", {METHOD: "AES256"}, False),
        (METHOD, "aws:kms", {}, False),
        (KEY_ID, "archive", kms("archive"), True),
        (KEY_ID, "archive", kms("other"), False),
        (KEY_ID, "archive", kms(), False),
    ],
)
async def test_a_policy_can_ask_for_a_named_key(
    rig: Rig, key: str, value: str, headers: dict[str, str], allowed: bool
) -> None:
    statement: dict[str, Any] = {
        "Effect": "Allow",
        "Action": "s3:PutObject",
        "Resource": "*",
        "Condition": {"StringEquals": {f"s3:{key}": value}},
    }
    rig.add_user("careful", statement)
    answer = await rig.ask("PUT", "/bucket/key", "", PLAIN, headers, access_key="careful")
    assert (answer.status == 200) is allowed, answer.body
