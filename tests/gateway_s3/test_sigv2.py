"""Signature Version 2: what botocore signs is taken, and whatever was changed is not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from urllib.parse import parse_qsl, quote, urlencode

import pytest
from gateway_rig import Answer, Rig
from object_rig import SECRET
from signing_v2 import HOST, signed, url

from common.format.manifest import AccessKeyRecord, seal_access_key
from coordinator.store import tenants
from gateway_s3.auth.sigv2 import SignatureV2

pytestmark = pytest.mark.fault("B03")

DATA = b"some bytes"
Headers = list[tuple[str, str]]


@pytest.fixture
async def rig() -> Rig:
    return await made()


async def made(signature_v2: SignatureV2 = SignatureV2.PRESIGNED) -> Rig:
    rig = Rig(signature_v2=signature_v2, domains=(HOST,))
    await rig.put("/bucket", b"")
    await rig.put("/bucket/key", DATA)
    return rig


async def send(
    rig: Rig,
    query: str,
    method: str = "GET",
    path: str = "/bucket/key",
    body: bytes = b"",
    headers: Headers | None = None,
    host: str = HOST,
) -> Answer:
    sent = [("host", host), *(headers or [])]
    if method in {"PUT", "POST"}:
        sent.append(("content-length", str(len(body))))
    return await rig.send(method, path, query, body, sent)


# --- what is taken -------------------------------------------------------------------------------


async def test_a_presigned_get_and_head_are_answered(rig: Rig) -> None:
    for method in ("GET", "HEAD"):
        assert (await send(rig, url(rig, method), method)).status == 200
    got = await send(rig, url(rig), headers=[("range", "bytes=1-2")])
    assert (got.status, got.body) == (206, DATA[1:3])


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        ({}, {}),
        ({"Content-Type": "text/x-bee"}, {"content-type": "text/x-bee"}),
        ({"x-amz-meta-bee": "queen of the hive"}, {"x-amz-meta-bee": "queen of the hive"}),
        ({"x-amz-acl": "private", "x-amz-storage-class": "STANDARD"}, {}),
    ],
)
async def test_a_presigned_put_has_the_headers_that_were_moved_to_its_query(
    rig: Rig, headers: dict[str, str], kept: dict[str, str]
) -> None:
    query = url(rig, "PUT", headers=headers)
    assert (await send(rig, query, "PUT", body=b"new")).status == 200
    got = await rig.ask("GET", "/bucket/key")
    assert got.body == b"new"
    assert kept.items() <= got.headers.items()


async def test_the_digest_in_a_presigned_put_binds_the_body(rig: Rig) -> None:
    digest = base64.b64encode(hashlib.md5(b"new").digest()).decode()
    query = url(rig, "PUT", headers={"Content-MD5": digest})
    assert (await send(rig, query, "PUT", body=b"other")).code == "BadDigest"
    assert (await send(rig, query, "PUT", body=b"new")).status == 200


@pytest.mark.parametrize(
    "path", ["/bucket/a%20b", "/bucket/a%2Bb", "/bucket/%C3%BC%2F%3F%26%3D", "/"]
)
async def test_keys_are_signed_as_they_are_on_the_wire(rig: Rig, path: str) -> None:
    if path != "/":
        await rig.put(path, path.encode())
    answer = await send(rig, url(rig, path=path), path=path)
    assert answer.status == 200
    assert path == "/" or answer.body == path.encode()


@pytest.mark.parametrize(
    "query",
    [
        "response-content-disposition=attachment%3B%20filename%3D%22a%26b%20c%22",
        "response-content-type=text%2Fplain&versionId=null",
        "partNumber=1",
        "x-flag=1",
    ],
)
async def test_overrides_and_sub_resources_are_signed(rig: Rig, query: str) -> None:
    assert (await send(rig, url(rig, query=query))).status in {200, 206}


@pytest.mark.parametrize(
    "query", ["location", "uploads", "uploads=", "versions", "acl", "prefix=k"]
)
async def test_bucket_operations_can_be_presigned(rig: Rig, query: str) -> None:
    path = "/bucket"
    assert (await send(rig, url(rig, path=path, query=query), path=path)).status == 200


async def test_a_parameter_without_a_value_may_be_signed_with_or_without_its_sign(
    rig: Rig,
) -> None:
    expires = str(int(rig.node.world.clock.now()) + 60)
    for written in ("/bucket?uploads", "/bucket?uploads="):
        text = f"GET\n\n\n{expires}\n{written}".encode()
        signature = base64.b64encode(hmac.digest(SECRET.encode(), text, "sha1")).decode()
        query = (
            f"uploads=&AWSAccessKeyId=AK&Expires={expires}&Signature={quote(signature, safe='')}"
        )
        assert (await send(rig, query, path="/bucket")).status == 200


@pytest.mark.parametrize("sent", ["/bucket", "/bucket/"])
@pytest.mark.parametrize("written", ["/bucket", "/bucket/"])
async def test_the_path_of_a_bucket_is_signed_with_or_without_its_slash(
    rig: Rig, sent: str, written: str
) -> None:
    assert (await send(rig, url(rig, path=sent, auth_path=written), path=sent)).status == 200


async def test_the_bucket_of_a_virtual_host_is_signed(rig: Rig) -> None:
    query = url(rig, path="/key", auth_path="/bucket/key")
    for host in ("bucket.s3.test", "Bucket.S3.test.:80"):
        assert (await send(rig, query, path="/key", host=host)).body == DATA
    await rig.put("/other", b"")
    await rig.put("/other/key", b"secret")
    answer = await send(rig, query, path="/key", host="other.s3.test")
    assert answer.code == "SignatureDoesNotMatch"


async def test_a_whole_upload_in_parts_can_be_presigned(rig: Rig) -> None:
    begun = await send(rig, url(rig, "POST", query="uploads"), "POST")
    upload = begun.text("UploadId")
    query = url(rig, "PUT", query=f"partNumber=1&uploadId={upload}")
    part = await send(rig, query, "PUT", body=DATA)
    document = (
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>"
        f"<ETag>{part.headers['etag']}</ETag></Part></CompleteMultipartUpload>"
    ).encode()
    query = url(rig, "POST", query=f"uploadId={upload}")
    assert (await send(rig, query, "POST", body=document)).status == 200


# --- what is not ---------------------------------------------------------------------------------


async def changed(rig: Rig, query: str, name: str, value: str | None) -> Answer:
    pairs = [pair for pair in parse_qsl(query, keep_blank_values=True) if pair[0] != name]
    if value is not None:
        pairs.append((name, value))
    return await send(rig, urlencode(pairs), "PUT", body=b"new")


MUTATIONS = [
    ("Expires", "9999999999"),
    ("Expires", None),
    ("Expires", ""),
    ("Expires", "soon"),
    ("Expires", "-1"),
    ("Signature", "AAAA"),
    ("Signature", ""),
    ("Signature", None),
    ("Signature", "\u00fc"),
    ("AWSAccessKeyId", "OTHER"),
    ("AWSAccessKeyId", "NOBODY"),
    ("AWSAccessKeyId", ""),
    ("AWSAccessKeyId", None),
    ("AWSAccessKeyId", "a b"),
    ("content-type", "text/html"),
    ("content-type", None),
    ("content-md5", "A" * 22 + "=="),
    ("x-amz-meta-role", "admin"),
    ("x-amz-meta-role", None),
    ("x-amz-meta-more", "x"),
    ("x-amz-copy-source", "/bucket/key"),
    ("x-amz-checksum-crc32", "AAAAAA=="),
    ("x-amz-checksum-a", "b\nx-amz-meta-role:reader"),
    ("x-amz-security-token", "x"),
    ("uploadId", "x"),
    ("uploads", ""),
    ("tagging", ""),
    ("acl", ""),
    ("encryption", ""),
    ("versionId", "null"),
    ("partNumber", "1"),
    ("response-content-type", "text/html"),
    ("X-Amz-Signature", "0" * 64),
]


@pytest.mark.parametrize(("name", "value"), MUTATIONS)
async def test_a_changed_url_is_refused(rig: Rig, name: str, value: str | None) -> None:
    headers = {"Content-Type": "text/plain", "x-amz-meta-role": "reader"}
    query = url(rig, "PUT", headers=headers)
    before = dict(rig.coordinators.current)
    answer = await changed(rig, query, name, value)
    assert answer.status in {400, 403, 501}, answer.body
    assert rig.coordinators.current == before


@pytest.mark.incident(1)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("content-type", "text/html"),
        ("content-md5", "A" * 22 + "=="),
        ("x-amz-meta-role", "admin"),
        ("x-amz-meta-more", "x"),
        ("x-amz-date", "20260101T000000Z"),
        ("x-amz-copy-source", "/bucket/key"),
        ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
        ("x-amz-security-token", "x"),
        ("authorization", "AWS AK:AAAA"),
        ("authorization", "AWS4-HMAC-SHA256 Credential=x"),
        ("authorization", "Bearer x"),
    ],
)
async def test_a_header_that_was_not_signed_is_refused(rig: Rig, name: str, value: str) -> None:
    query = url(rig, "PUT", headers={"x-amz-meta-role": "reader"})
    before = dict(rig.coordinators.current)
    answer = await send(rig, query, "PUT", body=b"new", headers=[(name, value)])
    assert answer.status in {400, 403}, answer.body
    assert rig.coordinators.current == before


async def test_another_method_path_or_secret_is_refused(rig: Rig) -> None:
    query = url(rig)
    await rig.put("/bucket/other", b"other")
    for method, path in (
        ("PUT", "/bucket/key"),
        ("DELETE", "/bucket/key"),
        ("GET", "/bucket/other"),
    ):
        answer = await send(rig, query, method, path)
        assert answer.code == "SignatureDoesNotMatch"
    assert (await send(rig, query, path="/bucket/%6Bey")).code == "SignatureDoesNotMatch"
    assert (await send(rig, query)).status == 200


async def test_a_value_that_reads_as_the_next_parameter_is_refused(rig: Rig) -> None:
    query = url(rig, query="response-content-type=text%2Fplain&versionId=null")
    assert (await send(rig, query)).status == 200
    pairs = dict(parse_qsl(query))
    del pairs["versionId"]
    pairs["response-content-type"] = "text/plain&versionId=null"
    assert (await send(rig, urlencode(pairs))).code == "AccessDenied"


async def test_a_parameter_that_is_not_signed_cannot_change_what_is_asked_for(rig: Rig) -> None:
    for name in ("encryption", "publicAccessBlock", "ownershipControls", "attributes", "retention"):
        query = url(rig, path="/bucket")
        answer = await send(rig, f"{query}&{name}", path="/bucket")
        assert answer.code in {"AccessDenied", "NotImplemented"}, name
        assert answer.status != 200


async def test_a_url_holds_until_it_expires_and_for_a_week_at_most(rig: Rig) -> None:
    query = url(rig, expires_s=100)
    for offset_s, status in ((0.0, 200), (99.0, 200), (102.0, 403)):
        rig.node.clock_offset_s = offset_s
        assert (await send(rig, query)).status == status
    rig.node.clock_offset_s = 0.0
    assert (await send(rig, url(rig, expires_s=7 * 86_400))).status == 200
    for expires_s in (8 * 86_400, 10**12, 10**30):
        answer = await send(rig, url(rig, expires_s=expires_s))
        assert (answer.status, answer.code) == (403, "AccessDenied")


# --- headers, and the switch ---------------------------------------------------------------------


async def test_headers_are_signed_where_the_gateway_allows_it() -> None:
    rig = await made(SignatureV2.ALL)
    sent = {"content-type": "text/plain", "x-amz-meta-a": "b", "content-length": "3"}
    headers = signed(rig, "PUT", "/bucket/key", headers=sent)
    assert (await rig.send("PUT", "/bucket/key", "", b"new", headers)).status == 200
    got = await rig.send("GET", "/bucket/key", "", b"", signed(rig, "GET", "/bucket/key"))
    assert (got.body, got.headers["x-amz-meta-a"]) == (b"new", "b")
    listed = signed(rig, "GET", "/bucket", "uploads")
    assert (await rig.send("GET", "/bucket", "uploads", b"", listed)).status == 200


@pytest.mark.parametrize("form", ["%a, %d %b %Y %H:%M:%S +0000", "%Y%m%dT%H%M%SZ"])
async def test_the_date_may_be_in_a_header_of_its_own_in_either_form(form: str) -> None:
    rig = await made(SignatureV2.ALL)
    date = time.strftime(form, time.gmtime(rig.node.world.clock.now()))
    text = f"GET\n\n\n\nx-amz-date:{date}\n/bucket/key".encode()
    signature = base64.b64encode(hmac.digest(SECRET.encode(), text, "sha1")).decode()
    headers = {"host": HOST, "x-amz-date": date, "authorization": f"AWS AK:{signature}"}
    assert (await rig.send("GET", "/bucket/key", "", b"", headers)).body == DATA
    later = dict(headers, date="Thu, 01 Jan 2015 00:00:00 GMT")
    assert (await rig.send("GET", "/bucket/key", "", b"", later)).body == DATA


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("content-type", "text/html"),
        ("content-md5", "A" * 22 + "=="),
        ("date", "Thu, 01 Jan 2015 00:00:00 GMT"),
        ("x-amz-date", "20150101T000000Z"),
        ("x-amz-meta-a", "c"),
        ("x-amz-meta-b", "c"),
        ("authorization", "AWS AK:AAAA"),
        ("authorization", "AWS AK"),
        ("authorization", "AWS :AAAA"),
        ("authorization", "AWS "),
    ],
)
async def test_a_changed_header_is_refused(name: str, value: str) -> None:
    rig = await made(SignatureV2.ALL)
    sent = {"content-type": "text/plain", "x-amz-meta-a": "b", "content-length": "3"}
    headers = signed(rig, "PUT", "/bucket/key", headers=sent) | {name: value}
    answer = await rig.send("PUT", "/bucket/key", "", b"new", headers)
    assert answer.status in {400, 403}
    assert (await rig.ask("GET", "/bucket/key")).body == DATA


@pytest.mark.incident(8)
async def test_a_date_that_is_missing_or_far_off_is_refused() -> None:
    rig = await made(SignatureV2.ALL)
    headers = signed(rig, "GET", "/bucket/key")
    del headers["date"]
    assert (await rig.send("GET", "/bucket/key", "", b"", headers)).code == "AccessDenied"
    for skew_s in (-1000.0, 1000.0):
        headers = signed(rig, "GET", "/bucket/key", skew_s=skew_s)
        answer = await rig.send("GET", "/bucket/key", "", b"", headers)
        assert answer.code == "RequestTimeTooSkewed"


@pytest.mark.parametrize("allowed", list(SignatureV2))
async def test_one_switch_says_where_it_is_accepted(allowed: SignatureV2) -> None:
    rig = await made(allowed)
    presigned = await send(rig, url(rig))
    headers = await rig.send("GET", "/bucket/key", "", b"", signed(rig, "GET", "/bucket/key"))
    for answer, accepted in (
        (presigned, allowed is not SignatureV2.OFF),
        (headers, allowed is SignatureV2.ALL),
    ):
        assert answer.status == (200 if accepted else 400)
        assert accepted or answer.code == "InvalidRequest"


@pytest.mark.parametrize("allowed", list(SignatureV2))
async def test_a_key_that_was_made_for_old_tools_signs_headers_unless_it_is_off(
    allowed: SignatureV2,
) -> None:
    rig = await made(allowed)
    record = AccessKeyRecord(secret=SECRET, created_ms=0, old_signatures=True)
    sealed = seal_access_key(rig.tenant, "OLD", record, rig.node.world.entropy)
    tenant = rig.tenant.tenant_id.hex()
    tenants.add_access_key(rig.coordinators.sql, tenant, "OLD", sealed, 0)
    headers = signed(rig, "GET", "/bucket/key", access_key="OLD")
    answer = await rig.send("GET", "/bucket/key", "", b"", headers)
    if allowed is SignatureV2.OFF:
        assert (answer.status, answer.code) == (400, "InvalidRequest")
    else:
        assert answer.body == DATA
    wrong = signed(rig, "GET", "/bucket/key", access_key="OLD", secret="wrong")
    assert (await rig.send("GET", "/bucket/key", "", b"", wrong)).status in {400, 403}
    assert (await rig.ask("GET", "/bucket/key", access_key="OLD")).body == DATA, "Version 4, too"
