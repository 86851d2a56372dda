"""What was never set: S3's own answer for each configuration, and writes that change nothing."""

from __future__ import annotations

import pytest
from gateway_rig import Answer, Rig

from gateway_s3.handlers.unset import HANDLERS
from gateway_s3.request.operations import OPERATIONS, Operation, Scope

pytestmark = pytest.mark.fault("B36")
ROWS = [each for each in OPERATIONS if each.name in HANDLERS]


@pytest.fixture
async def rig() -> Rig:
    made = Rig()
    await made.put("/bucket", b"")
    await made.put("/bucket/key", b"content")
    return made


def query_of(operation: Operation) -> str:
    return operation.selectors[0] + "=" + "".join(f"&{name}=x" for name in operation.required)


async def get(rig: Rig, path: str, query: str) -> Answer:
    return await rig.ask("GET", path, query + "=")


@pytest.mark.parametrize(
    ("path", "query", "status", "code"),
    [
        ("/bucket", "lifecycle", 404, "NoSuchLifecycleConfiguration"),
        ("/bucket", "object-lock", 404, "ObjectLockConfigurationNotFoundError"),
        ("/bucket", "policy", 404, "NoSuchBucketPolicy"),
        ("/bucket", "policyStatus", 404, "NoSuchBucketPolicy"),
        ("/bucket", "replication", 404, "ReplicationConfigurationNotFoundError"),
        ("/bucket", "id=x&metrics", 404, "NoSuchConfiguration"),
        ("/bucket", "id=x&analytics", 404, "NoSuchConfiguration"),
        ("/bucket", "id=x&inventory", 404, "NoSuchConfiguration"),
        ("/bucket", "id=x&intelligent-tiering", 404, "NoSuchConfiguration"),
        ("/bucket/key", "legal-hold", 400, "InvalidRequest"),
        ("/bucket/key", "retention", 400, "InvalidRequest"),
    ],
)
async def test_what_was_never_set_is_not_there(
    rig: Rig, path: str, query: str, status: int, code: str
) -> None:
    answer = await get(rig, path, query)
    assert (answer.status, answer.code) == (status, code)


@pytest.mark.parametrize(
    ("path", "query", "root", "texts"),
    [
        ("/bucket", "accelerate", "AccelerateConfiguration", {}),
        ("/bucket", "logging", "BucketLoggingStatus", {}),
        ("/bucket", "notification", "NotificationConfiguration", {}),
        ("/bucket", "versioning", "VersioningConfiguration", {}),
        ("/bucket", "requestPayment", "RequestPaymentConfiguration", {"Payer": "BucketOwner"}),
        ("/bucket", "abac", "AbacStatus", {"Status": "Disabled"}),
        (
            "/bucket",
            "encryption",
            "ServerSideEncryptionConfiguration",
            {
                "Rule/ApplyServerSideEncryptionByDefault/SSEAlgorithm": "AES256",
                "Rule/BucketKeyEnabled": "false",
            },
        ),
        (
            "/bucket",
            "ownershipControls",
            "OwnershipControls",
            {"Rule/ObjectOwnership": "BucketOwnerEnforced"},
        ),
        (
            "/bucket",
            "publicAccessBlock",
            "PublicAccessBlockConfiguration",
            {"BlockPublicAcls": "true", "RestrictPublicBuckets": "true"},
        ),
        ("/bucket", "metrics", "ListMetricsConfigurationsResult", {"IsTruncated": "false"}),
        ("/bucket", "inventory", "ListInventoryConfigurationsResult", {"IsTruncated": "false"}),
    ],
)
async def test_what_was_never_set_is_as_it_is_by_default(
    rig: Rig, path: str, query: str, root: str, texts: dict[str, str]
) -> None:
    answer = await get(rig, path, query)
    assert answer.status == 200, answer.body
    document = answer.xml()
    assert document.tag == root
    assert {path: document.findtext(path) for path in texts} == texts
    if not texts:
        assert len(document) == 0


@pytest.mark.parametrize("path", ["/bucket", "/bucket/key"])
async def test_the_owner_has_full_control_and_nobody_else_any(rig: Rig, path: str) -> None:
    answer = await get(rig, path, "acl")
    owner = answer.text("Owner/ID")
    assert owner
    assert answer.texts("AccessControlList/Grant/Grantee/ID") == [owner]
    assert answer.texts("AccessControlList/Grant/Permission") == ["FULL_CONTROL"]
    assert (await rig.ask("PUT", path, "acl=", answer.body)).status == 200, "it says what is so"


@pytest.mark.parametrize("operation", ROWS, ids=lambda each: each.name)
async def test_a_missing_bucket_or_key_is_said_first(rig: Rig, operation: Operation) -> None:
    query = "&".join(sorted(query_of(operation).split("&")))
    at_bucket = operation.scope is Scope.BUCKET
    path = "/nothing" if at_bucket else "/nothing/key"
    answer = await rig.ask(operation.method, path, query)
    assert (answer.status, answer.code) == (404, "NoSuchBucket")
    if not at_bucket:
        answer = await rig.ask(operation.method, "/bucket/nothing", query)
        assert (answer.status, answer.code) == (404, "NoSuchKey")


@pytest.mark.parametrize(
    "operation", [each for each in ROWS if each.method != "PUT"], ids=lambda each: each.name
)
async def test_each_answer_is_the_one_that_the_table_promises(
    rig: Rig, operation: Operation
) -> None:
    query = "&".join(sorted(query_of(operation).split("&")))
    path = "/bucket" if operation.scope is Scope.BUCKET else "/bucket/key"
    answer = await rig.ask(operation.method, path, query)
    assert answer.status == operation.answer
    if answer.body and answer.code:
        assert answer.code in operation.note


@pytest.mark.parametrize(
    ("path", "query", "body"),
    [
        ("/bucket", "logging", "<BucketLoggingStatus/>"),
        ("/bucket", "notification", '<NotificationConfiguration xmlns="http://x/"/>'),
        (
            "/bucket",
            "requestPayment",
            "<RequestPaymentConfiguration><Payer>BucketOwner</Payer></RequestPaymentConfiguration>",
        ),
        (
            "/bucket",
            "encryption",
            "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault>"
            "<SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault>"
            "</Rule></ServerSideEncryptionConfiguration>",
        ),
        (
            "/bucket",
            "publicAccessBlock",
            "<PublicAccessBlockConfiguration><RestrictPublicBuckets>true</RestrictPublicBuckets>"
            "<BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>true</IgnorePublicAcls>"
            "<BlockPublicPolicy>true</BlockPublicPolicy></PublicAccessBlockConfiguration>",
        ),
    ],
)
async def test_a_write_that_says_what_is_so_already_is_fine(
    rig: Rig, path: str, query: str, body: str
) -> None:
    answer = await rig.ask("PUT", path, query + "=", body.encode())
    assert (answer.status, answer.body) == (200, b"")
    assert (await rig.ask("GET", "/bucket/key")).body == b"content"


@pytest.mark.parametrize(
    ("path", "query", "body", "status"),
    [
        ("/bucket", "logging", "<BucketLoggingStatus>", 400),
        ("/bucket", "logging", "", 400),
        (
            "/bucket",
            "requestPayment",
            "<RequestPaymentConfiguration><Payer>Requester</Payer></RequestPaymentConfiguration>",
            501,
        ),
        ("/bucket", "acl", "", 400),
    ],
)
async def test_a_write_that_would_change_something_is_not_carried_out(
    rig: Rig, path: str, query: str, body: str, status: int
) -> None:
    assert (await rig.ask("PUT", path, query + "=", body.encode())).status == status


async def test_only_a_canned_acl_that_grants_nobody_anything_can_be_set(rig: Rig) -> None:
    for path in ("/bucket", "/bucket/key"):
        private = await rig.ask("PUT", path, "acl=", b"", {"x-amz-acl": "private"})
        assert (private.status, private.body) == (200, b"")
        public = await rig.ask("PUT", path, "acl=", b"", {"x-amz-acl": "public-read"})
        assert (public.status, public.code) == (400, "AccessControlListNotSupported")
        both = await rig.ask("PUT", path, "acl=", b"<x/>", {"x-amz-acl": "private"})
        assert both.status == 400


async def test_every_object_has_one_version_called_null(rig: Rig) -> None:
    for key in ("a/1", "a/2", "b"):
        await rig.put(f"/bucket/{key}", b"x")
    answer = await get(rig, "/bucket", "versions")
    assert answer.texts("Version/Key") == ["a/1", "a/2", "b", "key"]
    assert set(answer.texts("Version/VersionId")) == {"null"}
    assert set(answer.texts("Version/IsLatest")) == {"true"}
    assert answer.texts("DeleteMarker") == []
    rolled = await rig.ask("GET", "/bucket", "delimiter=%2F&versions=")
    assert rolled.texts("CommonPrefixes/Prefix") == ["a/"]
    assert rolled.texts("Version/Key") == ["b", "key"]
    keys: list[str] = []
    page = await rig.ask("GET", "/bucket", "max-keys=1&versions=")
    while page.text("IsTruncated") == "true":
        keys += page.texts("Version/Key")
        marker, version = page.text("NextKeyMarker") or "", page.text("NextVersionIdMarker")
        query = f"key-marker={marker.replace('/', '%2F')}&max-keys=1"
        page = await rig.ask("GET", "/bucket", f"{query}&version-id-marker={version}&versions=")
        assert page.text("KeyMarker") == marker
    assert keys + page.texts("Version/Key") == ["a/1", "a/2", "b", "key"]
    for query in ("version-id-marker=null", "key-marker=a&version-id-marker=x"):
        bad = await rig.ask("GET", "/bucket", query + "&versions=")
        assert (bad.status, bad.code) == (400, "InvalidArgument")


async def test_the_tags_of_the_null_version_can_be_asked_for_and_of_no_other(rig: Rig) -> None:
    answer = await rig.ask("GET", "/bucket/key", "tagging=&versionId=null")
    assert answer.status == 200
    other = await rig.ask("GET", "/bucket/key", "tagging=&versionId=abc")
    assert (other.status, other.code) == (400, "InvalidArgument")
    other = await rig.ask("GET", "/bucket/key", f"tagging=&versionId={'a1' * 16}")
    assert (other.status, other.code) == (404, "NoSuchVersion")
