"""Every operation of the table, asked once in the way that the page promises an answer to; what it
wrote is read back, and what it removed is gone."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Final

import pytest
from form_client import post, signed
from gateway_rig import Answer, Rig

from gateway_s3.request.operations import BY_NAME, OPERATIONS, Operation, Scope

NS = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
UNTIL = "2031-01-01T00:00:00Z"
ORIGIN = "https://page.example"


@dataclass(frozen=True)
class Document:
    """What can be set at a bucket or an object.

    ``shown``: what its reading shows; ``path``: of the bucket or object.
    """

    text: str
    shown: str
    path: str = "/bucket"


DOCUMENTS: Final = {
    "acl": Document("", "FULL_CONTROL"),
    "cors": Document(
        f"<CORSConfiguration {NS}><CORSRule><AllowedOrigin>{ORIGIN}</AllowedOrigin>"
        "<AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>",
        ORIGIN,
    ),
    "encryption": Document(
        f"<ServerSideEncryptionConfiguration {NS}><Rule><ApplyServerSideEncryptionByDefault>"
        "<SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule>"
        "</ServerSideEncryptionConfiguration>",
        "AES256",
    ),
    "legal-hold": Document(
        f"<LegalHold {NS}><Status>ON</Status></LegalHold>", "<Status>ON</Status>", "/locked/key"
    ),
    "lifecycle": Document(
        f"<LifecycleConfiguration {NS}><Rule><ID>some-rule</ID><Filter><Prefix>p</Prefix></Filter>"
        "<Status>Enabled</Status><Expiration><Days>3</Days></Expiration></Rule>"
        "</LifecycleConfiguration>",
        "some-rule",
    ),
    "logging": Document(
        f"<BucketLoggingStatus {NS}><LoggingEnabled><TargetBucket>bucket</TargetBucket>"
        "<TargetPrefix>some-logs/</TargetPrefix></LoggingEnabled></BucketLoggingStatus>",
        "some-logs/",
    ),
    "notification": Document(f"<NotificationConfiguration {NS}/>", "NotificationConfiguration"),
    "object-lock": Document(
        f"<ObjectLockConfiguration {NS}><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule>"
        "<DefaultRetention><Mode>GOVERNANCE</Mode><Days>77</Days></DefaultRetention></Rule>"
        "</ObjectLockConfiguration>",
        "<Days>77</Days>",
        "/locked",
    ),
    "ownershipControls": Document(
        f"<OwnershipControls {NS}><Rule><ObjectOwnership>BucketOwnerPreferred</ObjectOwnership>"
        "</Rule></OwnershipControls>",
        "BucketOwnerPreferred",
    ),
    "policy": Document(
        json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": {
                    "Sid": "SomeStatement",
                    "Effect": "Deny",
                    "Principal": "*",
                    "Action": "s3:PutObject",
                    "Resource": "arn:aws:s3:::bucket/never/*",
                },
            }
        ),
        "SomeStatement",
    ),
    "publicAccessBlock": Document(
        f"<PublicAccessBlockConfiguration {NS}><BlockPublicPolicy>false</BlockPublicPolicy>"
        "<IgnorePublicAcls>true</IgnorePublicAcls></PublicAccessBlockConfiguration>",
        "<BlockPublicPolicy>false</BlockPublicPolicy>",
    ),
    "requestPayment": Document(
        f"<RequestPaymentConfiguration {NS}><Payer>BucketOwner</Payer>"
        "</RequestPaymentConfiguration>",
        "<Payer>BucketOwner</Payer>",
    ),
    "retention": Document(
        f"<Retention {NS}><Mode>GOVERNANCE</Mode><RetainUntilDate>{UNTIL}</RetainUntilDate>"
        "</Retention>",
        "2031-01-01",
        "/locked/key",
    ),
    "tagging": Document(
        f"<Tagging {NS}><TagSet><Tag><Key>some-tag</Key><Value>v</Value></Tag></TagSet></Tagging>",
        "some-tag",
    ),
    "versioning": Document(
        f"<VersioningConfiguration {NS}><Status>Enabled</Status></VersioningConfiguration>",
        "<Status>Enabled</Status>",
    ),
    "website": Document(
        f"<WebsiteConfiguration {NS}><IndexDocument><Suffix>some.html</Suffix></IndexDocument>"
        "</WebsiteConfiguration>",
        "some.html",
    ),
}
"""By the parameter that selects them."""
UNCHANGEABLE: Final = {"acl", "encryption", "notification", "requestPayment"}
"""Of those that can be written, what shows the same before, and after it was removed."""


class Town(Rig):
    """A bucket and one with locks, a key in each, and an upload in parts with one part."""

    upload: str = ""
    part_etag: str = ""

    async def found(self) -> None:
        await self.put("/bucket", b"")
        await self.put("/locked", b"", {"x-amz-bucket-object-lock-enabled": "true"})
        await self.put("/bucket/key", b"content")
        await self.put("/locked/key", b"content")
        begun = await self.ask("POST", "/bucket/parts", "uploads=")
        self.upload = begun.text("UploadId") or ""
        part = await self.ask("PUT", "/bucket/parts", f"partNumber=1&uploadId={self.upload}", b"1")
        self.part_etag = part.headers["etag"]

    async def read(self, path: str) -> bytes:
        answer = await self.ask("GET", path)
        assert answer.status == 200, answer.body
        return answer.body


def digest_of(body: bytes) -> dict[str, str]:
    """The header without which S3 takes no document that deletes or locks."""
    return {"content-md5": base64.b64encode(hashlib.md5(body).digest()).decode()}


@pytest.fixture
async def rig() -> Town:
    made = Town()
    await made.found()
    return made


async def plain(rig: Town, name: str) -> Answer | None:
    """Ask for an operation on buckets, keys and parts, and check what it did."""
    ask = rig.ask
    upload = f"uploadId={rig.upload}"
    match name:
        case "ListBuckets":
            answer = await ask("GET", "/")
            assert answer.texts("Buckets/Bucket/Name") == ["bucket", "locked"]
        case "CreateBucket":
            answer = await ask("PUT", "/another")
            assert (await ask("HEAD", "/another")).status == 200
        case "HeadBucket":
            answer = await ask("HEAD", "/bucket")
            assert answer.headers["x-amz-bucket-region"] == rig.region
        case "DeleteBucket":
            await rig.put("/another", b"")
            answer = await ask("DELETE", "/another")
            assert (await ask("HEAD", "/another")).status == 404
        case "GetBucketLocation":
            answer = await ask("GET", "/bucket", "location=")
            assert answer.xml().tag == "LocationConstraint"
        case "ListObjects":
            answer = await ask("GET", "/bucket")
            assert answer.texts("Contents/Key") == ["key"]
        case "ListObjectsV2":
            answer = await ask("GET", "/bucket", "list-type=2")
            assert (answer.text("KeyCount"), answer.text("Contents/Key")) == ("1", "key")
        case "ListMultipartUploads":
            answer = await ask("GET", "/bucket", "uploads=")
            assert answer.text("Upload/UploadId") == rig.upload
        case "ListObjectVersions":
            answer = await ask("GET", "/bucket", "versions=")
            assert answer.text("Version/VersionId") == "null"
        case "DeleteObjects":
            listed = f"<Delete {NS}><Object><Key>key</Key></Object></Delete>".encode()
            answer = await ask("POST", "/bucket", "delete=", listed, digest_of(listed))
            assert answer.text("Deleted/Key") == "key"
            assert (await ask("HEAD", "/bucket/key")).status == 404
        case "PostObject":
            answer = await post(rig, signed(rig, {"key": "posted"}), b"from a form")
            assert await rig.read("/bucket/posted") == b"from a form"
        case "PutObject":
            answer = await ask("PUT", "/bucket/new", "", b"new content")
            assert await rig.read("/bucket/new") == b"new content"
        case "CopyObject":
            source = {"x-amz-copy-source": "/bucket/key"}
            answer = await ask("PUT", "/bucket/copy", "", b"", source)
            assert await rig.read("/bucket/copy") == b"content"
        case "GetObject":
            answer = await ask("GET", "/bucket/key")
            assert answer.body == b"content"
        case "HeadObject":
            answer = await ask("HEAD", "/bucket/key")
            assert (answer.headers["content-length"], answer.body) == ("7", b"")
        case "GetObjectAttributes":
            wanted = {"x-amz-object-attributes": "ObjectSize"}
            answer = await ask("GET", "/bucket/key", "attributes=", b"", wanted)
            assert answer.text("ObjectSize") == "7"
        case "RenameObject":
            source = {"x-amz-rename-source": "bucket/key"}
            answer = await ask("PUT", "/bucket/new", "renameObject=", b"", source)
            assert await rig.read("/bucket/new") == b"content"
            assert (await ask("HEAD", "/bucket/key")).status == 404
        case "DeleteObject":
            answer = await ask("DELETE", "/bucket/key")
            assert (await ask("HEAD", "/bucket/key")).status == 404
        case "CreateMultipartUpload":
            answer = await ask("POST", "/bucket/more", "uploads=")
            assert answer.text("Key") == "more"
        case "UploadPart":
            answer = await ask("PUT", "/bucket/parts", f"partNumber=2&{upload}", b"2")
            assert answer.headers["etag"]
        case "UploadPartCopy":
            source = {"x-amz-copy-source": "/bucket/key"}
            answer = await ask("PUT", "/bucket/parts", f"partNumber=2&{upload}", b"", source)
            assert answer.xml().tag == "CopyPartResult"
        case "CompleteMultipartUpload":
            part = f"<Part><PartNumber>1</PartNumber><ETag>{rig.part_etag}</ETag></Part>"
            whole = f"<CompleteMultipartUpload {NS}>{part}</CompleteMultipartUpload>".encode()
            answer = await ask("POST", "/bucket/parts", upload, whole)
            assert await rig.read("/bucket/parts") == b"1"
        case "AbortMultipartUpload":
            answer = await ask("DELETE", "/bucket/parts", upload)
            assert (await ask("GET", "/bucket", "uploads=")).text("Upload/UploadId") is None
        case "ListParts":
            answer = await ask("GET", "/bucket/parts", upload)
            assert answer.texts("Part/PartNumber") == ["1"]
        case "GetBucketPolicyStatus":
            await ask("PUT", "/bucket", "policy=", DOCUMENTS["policy"].text.encode())
            answer = await ask("GET", "/bucket", "policyStatus=")
            assert answer.text("IsPublic") == "false"
        case _:
            return None
    return answer


async def configured(rig: Town, operation: Operation) -> Answer:
    """Ask for one of those that read, write and remove a document."""
    (parameter,) = operation.selectors
    document = DOCUMENTS[parameter]
    path = document.path
    if operation.scope is Scope.OBJECT and path == "/bucket":
        path = "/bucket/key"
    text = document.text.encode()
    if parameter == "acl":
        text = (await rig.ask("GET", path, "acl=")).body
    before = await rig.ask("GET", path, f"{parameter}=")
    if parameter not in UNCHANGEABLE and operation.method != "GET":
        assert document.shown.encode() not in before.body
    written = await rig.ask("PUT", path, f"{parameter}=", text, digest_of(text))
    if operation.method == "PUT":
        assert document.shown.encode() in (await rig.ask("GET", path, f"{parameter}=")).body
        return written
    assert written.status in {200, 204}, written.body
    answer = await rig.ask(operation.method, path, f"{parameter}=")
    if operation.method == "GET":
        assert document.shown.encode() in answer.body
    elif parameter not in UNCHANGEABLE:
        assert document.shown.encode() not in (await rig.ask("GET", path, f"{parameter}=")).body
    return answer


async def never_set(rig: Town, operation: Operation) -> Answer:
    """Ask for one that has the same answer always."""
    path = "/bucket" if operation.scope is Scope.BUCKET else "/bucket/key"
    named = "".join(f"&{name}=x" for name in operation.required)
    query = "&".join(sorted(f"{operation.selectors[0]}={named}".split("&")))
    answer = await rig.ask(operation.method, path, query)
    if answer.status == 404:
        assert answer.code in operation.note
    return answer


@pytest.mark.parametrize(
    "operation", [each for each in OPERATIONS if each.implemented], ids=lambda each: each.name
)
async def test_an_operation_does_what_its_row_says(rig: Town, operation: Operation) -> None:
    answer = await plain(rig, operation.name)
    if answer is None and operation.selectors[0] in DOCUMENTS and len(operation.selectors) == 1:
        answer = await configured(rig, operation)
    elif answer is None:
        assert operation.note.startswith("always:") or operation.note == "there is none", (
            f"say above how {operation.name} is asked, and what shows that it was done"
        )
        answer = await never_set(rig, operation)
    assert answer.status == operation.answer, answer.body


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("CorsPreflightService", "/"),
        ("CorsPreflightBucket", "/bucket"),
        ("CorsPreflightObject", "/bucket/key"),
    ],
)
async def test_a_preflight_does_what_its_row_says(rig: Town, name: str, path: str) -> None:
    rules = DOCUMENTS["cors"].text.encode()
    await rig.ask("PUT", "/bucket", "cors=", rules, digest_of(rules))
    asked = {"host": rig.host, "origin": ORIGIN, "access-control-request-method": "GET"}
    answer = await rig.send("OPTIONS", path, "", b"", asked)
    assert answer.status == BY_NAME[name].answer
    assert answer.headers.get("access-control-allow-origin") == (
        ORIGIN if answer.status == 200 else None
    )
