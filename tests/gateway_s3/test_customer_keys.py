"""Objects under keys that clients give (SSE-C): who reads them, who does not, and what is kept."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from form_client import post, signed
from gateway_rig import Answer, Rig
from keys_client import KEY_A, KEY_B, customer, source_customer
from prometheus_client import CollectorRegistry, Counter

from common.limits import MIN_PART_BYTES
from common.wire import messages as m
from common.wire.messages.base import Request
from gateway.following import PageOfVersion, rewrite_page

PLAIN = b"a secret that nobody else may read" * 10
PART = bytes(range(256)) * (MIN_PART_BYTES // 256)
NEEDED = "The object was stored using a form of Server Side Encryption."
MD5_HEADER = "x-amz-server-side-encryption-customer-key-md5"


@pytest.fixture
async def rig() -> Rig:
    made = Rig()
    made.secure = True
    await made.put("/bucket", b"")
    return made


def stored(rig: Rig) -> bytes:
    """All bytes that are sealed in stripes: what the tenant's key shows."""
    return b"".join(content for _, content in rig.swarm.segments.values())


def refused(answer: Answer) -> tuple[int, str, str]:
    return answer.status, answer.code, answer.text("Message") or ""


async def get(rig: Rig, key: bytes | None, path: str = "/bucket/key", **more: str) -> Answer:
    headers = {} if key is None else customer(key)
    return await rig.ask("GET", path, headers={**headers, **more})


async def test_an_object_is_read_with_its_key_only(rig: Rig) -> None:
    made = await rig.put("/bucket/key", PLAIN, customer(KEY_A))
    assert made.headers["x-amz-server-side-encryption-customer-algorithm"] == "AES256"
    assert base64.b64decode(made.headers[MD5_HEADER]) == hashlib.md5(KEY_A).digest()
    assert "x-amz-server-side-encryption" not in made.headers
    assert hashlib.md5(PLAIN).hexdigest() not in made.headers["etag"]
    assert PLAIN not in stored(rig)
    got = await get(rig, KEY_A)
    assert (got.status, got.body, got.headers["etag"]) == (200, PLAIN, made.headers["etag"])
    assert got.headers[MD5_HEADER] == made.headers[MD5_HEADER]
    status, code, message = refused(await get(rig, None))
    assert (status, code, message.startswith(NEEDED)) == (400, "InvalidRequest", True)
    assert refused(await get(rig, KEY_B))[:2] == (403, "AccessDenied")
    head = await rig.ask("HEAD", "/bucket/key", headers=customer(KEY_A))
    assert (head.status, head.headers["content-length"]) == (200, str(len(PLAIN)))
    assert (await rig.ask("HEAD", "/bucket/key")).status == 400
    assert (await rig.ask("HEAD", "/bucket/key", headers=customer(KEY_B))).status == 403


async def test_every_range_is_decrypted_where_it_begins(rig: Rig) -> None:
    await rig.put("/bucket/key", PLAIN, customer(KEY_A))
    for first in (0, 1, 15, 16, 17, 100):
        for last in (first, first + 1, first + 15, first + 16, len(PLAIN) - 1):
            got = await get(rig, KEY_A, Range=f"bytes={first}-{last}")
            assert (got.status, got.body) == (206, PLAIN[first : last + 1]), (first, last)


async def test_the_same_bytes_under_the_same_key_are_stored_otherwise(rig: Rig) -> None:
    one = await rig.put("/bucket/one", PLAIN, customer(KEY_A))
    first = stored(rig)
    two = await rig.put("/bucket/two", PLAIN, customer(KEY_A))
    assert stored(rig) != first * 2
    assert one.headers["etag"] != two.headers["etag"]


async def test_nothing_that_is_kept_or_logged_has_the_key(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[object] = []
    monkeypatch.setattr(rig.node, "note", lambda *facts: noted.append(facts))
    await rig.put("/bucket/key", PLAIN, customer(KEY_A))
    await get(rig, KEY_A)
    await get(rig, KEY_B)
    manifest = rig.opened("bucket", b"key")
    inner = manifest.inner
    assert inner is not None
    assert inner.envelope is not None
    packed = manifest.pack()
    for key in (KEY_A, hashlib.md5(KEY_A).digest(), hashlib.sha256(KEY_A).digest()):
        assert key not in packed
        assert base64.b64encode(key) not in packed
    rig.swarm.segments.clear()  # a read fails, and that is logged
    assert (await get(rig, KEY_A)).status == 500
    assert noted
    said = repr(noted) + repr(manifest)
    assert base64.b64encode(KEY_A).decode() not in said
    assert base64.b64encode(KEY_B).decode() not in said


async def test_a_key_for_an_object_that_needs_none_is_refused(rig: Rig) -> None:
    await rig.put("/bucket/key", PLAIN)
    for method in ("GET", "HEAD"):
        answer = await rig.ask(method, "/bucket/key", headers=customer(KEY_A))
        assert answer.status == 400
    assert refused(await get(rig, KEY_A)) == (
        400,
        "InvalidRequest",
        "The encryption parameters are not applicable to this object.",
    )


@pytest.mark.parametrize(
    ("lacks", "message"),
    [
        ("algorithm", "a valid encryption algorithm"),
        ("key", "an appropriate secret key"),
        ("key-MD5", "the client calculated MD5 of the secret key"),
    ],
)
async def test_each_header_of_a_key_is_needed(rig: Rig, lacks: str, message: str) -> None:
    headers = customer(KEY_A)
    del headers["x-amz-server-side-encryption-customer-" + lacks]
    answer = await rig.ask("PUT", "/bucket/key", "", PLAIN, headers)
    assert refused(answer)[:2] == (400, "InvalidArgument")
    assert message in refused(answer)[2]
    assert not rig.swarm.segments


@pytest.mark.parametrize(
    ("header", "value", "code"),
    [
        ("algorithm", "AES128", "InvalidEncryptionAlgorithmError"),
        ("algorithm", "aws:kms", "InvalidEncryptionAlgorithmError"),
        ("key", base64.b64encode(bytes(16)).decode(), "InvalidArgument"),
        ("key", base64.b64encode(bytes(33)).decode(), "InvalidArgument"),
        ("key", "not base64!", "InvalidArgument"),
        ("key", "", "InvalidArgument"),
        ("key", base64.b64encode(KEY_B).decode(), "InvalidArgument"),
        ("key-MD5", base64.b64encode(bytes(16)).decode(), "InvalidArgument"),
        ("key-MD5", "%", "InvalidArgument"),
        ("key-MD5", hashlib.md5(KEY_A).hexdigest(), "InvalidArgument"),
    ],
)
async def test_a_key_that_is_none_is_refused_and_not_shown(
    rig: Rig, header: str, value: str, code: str
) -> None:
    headers = {**customer(KEY_A), "x-amz-server-side-encryption-customer-" + header: value}
    for method in ("PUT", "GET"):
        answer = await rig.ask(method, "/bucket/key", "", PLAIN, headers)
        if method == "GET":
            assert answer.code in {code, "NoSuchKey"}
        else:
            assert refused(answer)[:2] == (400, code)
        for secret in (KEY_A, KEY_B):
            assert base64.b64encode(secret) not in answer.body
    assert not rig.swarm.segments


async def test_keys_are_not_taken_in_the_clear_unless_that_is_configured(rig: Rig) -> None:
    await rig.put("/bucket/key", PLAIN, customer(KEY_A))
    rig.secure = False
    for method, path in (("PUT", "/bucket/other"), ("GET", "/bucket/key")):
        status, code, message = refused(await rig.ask(method, path, headers=customer(KEY_A)))
        assert (status, code) == (400, "InvalidRequest")
        assert message.endswith("must be made over a secure connection.")
    object.__setattr__(rig.backend, "customer_keys_in_clear", True)
    assert (await get(rig, KEY_A)).body == PLAIN


async def test_a_key_beside_another_method_is_refused(rig: Rig) -> None:
    headers = {**customer(KEY_A), "x-amz-server-side-encryption": "AES256"}
    answer = await rig.ask("PUT", "/bucket/key", "", PLAIN, headers)
    assert refused(answer)[:2] == (400, "InvalidArgument")


@pytest.mark.parametrize("operation", ["DELETE", "tagging"])
async def test_a_key_means_nothing_to_other_operations(rig: Rig, operation: str) -> None:
    await rig.put("/bucket/key", PLAIN)
    method, query = ("DELETE", "") if operation == "DELETE" else ("GET", "tagging=")
    answer = await rig.ask(method, "/bucket/key", query, headers=customer(KEY_A))
    assert (answer.status, answer.code) == (501, "NotImplemented")


async def test_a_key_in_a_url_is_refused(rig: Rig) -> None:
    name = "x-amz-server-side-encryption-customer-key"
    query = rig.presign("GET", "/bucket/key", f"{name}=eA%3D%3D")
    answer = await rig.send("GET", "/bucket/key", query, b"", {"host": rig.host})
    assert refused(answer)[:2] == (400, "InvalidArgument")
    assert b"eA==" not in answer.body


async def test_a_presigned_url_takes_the_key_as_headers(rig: Rig) -> None:
    await rig.put("/bucket/key", PLAIN, customer(KEY_A))
    lowered = {name.lower(): value for name, value in customer(KEY_A).items()}
    query = rig.presign("GET", "/bucket/key", headers=lowered)
    got = await rig.send("GET", "/bucket/key", query, b"", {"host": rig.host, **lowered})
    assert got.body == PLAIN


async def test_an_empty_object_has_a_key_too(rig: Rig) -> None:
    await rig.put("/bucket/key", b"", customer(KEY_A))
    assert (await get(rig, KEY_A)).body == b""
    assert (await get(rig, KEY_B)).status == 403
    assert (await get(rig, None)).status == 400


async def test_what_is_not_what_it_was_said_to_be_is_not_stored(rig: Rig) -> None:
    wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    answer = await rig.ask(
        "PUT", "/bucket/key", "", PLAIN, {**customer(KEY_A), "Content-MD5": wrong}
    )
    assert answer.code == "BadDigest"
    right = base64.b64encode(hashlib.md5(PLAIN).digest()).decode()
    await rig.put("/bucket/key", PLAIN, {**customer(KEY_A), "Content-MD5": right})
    got = await get(rig, KEY_A, **{"x-amz-checksum-mode": "ENABLED"})
    plain = await rig.put("/bucket/plain", PLAIN)
    name = "x-amz-checksum-crc64nvme"
    assert got.headers[name] == plain.headers[name], "checksums are of what the client sent"


# --- uploads in parts --------------------------------------------------------------------------


async def begin(rig: Rig, headers: dict[str, str], key: str = "key") -> str:
    answer = await rig.ask("POST", f"/bucket/{key}", "uploads=", b"", headers)
    assert answer.status == 200, answer.body
    return answer.text("UploadId") or ""


async def part(rig: Rig, upload: str, number: int, body: bytes, headers: dict[str, str]) -> Answer:
    query = f"partNumber={number}&uploadId={upload}"
    return await rig.ask("PUT", "/bucket/key", query, body, headers)


async def complete(
    rig: Rig, upload: str, etags: list[str], headers: dict[str, str] | None = None
) -> Answer:
    rows = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
        for number, etag in enumerate(etags, 1)
    )
    body = f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()
    return await rig.ask("POST", "/bucket/key", f"uploadId={upload}", body, headers or {})


async def test_parts_are_of_the_key_that_the_upload_was_begun_with(rig: Rig) -> None:
    upload = await begin(rig, customer(KEY_A))
    for headers, message in (
        ({}, "Subsequent part requests must include the appropriate encryption parameters."),
        (customer(KEY_B), "did not match the ones used originally."),
    ):
        answer = await part(rig, upload, 1, PART, headers)
        assert refused(answer)[:2] == (400, "InvalidRequest")
        assert refused(answer)[2].endswith(message)
    etags = []
    for number, body in ((1, PART), (2, PART), (3, PLAIN)):
        answer = await part(rig, upload, number, body, customer(KEY_A))
        assert answer.status == 200, answer.body
        assert hashlib.md5(body).hexdigest() not in answer.headers["etag"]
        etags.append(answer.headers["etag"])
    done = await complete(rig, upload, etags)
    assert done.status == 200, done.body
    again = await complete(rig, upload, etags)
    assert again.text("ETag") == done.text("ETag")
    whole = PART + PART + PLAIN
    assert (await get(rig, KEY_A)).body == whole
    assert refused(await get(rig, KEY_B))[0] == 403
    assert (await get(rig, None)).status == 400
    for first in (len(PART) - 5, 2 * len(PART) - 1, 2 * len(PART), len(PART) + 16):
        got = await get(rig, KEY_A, Range=f"bytes={first}-{first + 40}")
        assert got.body == whole[first : first + 41]
    third = await rig.ask("GET", "/bucket/key", "partNumber=3", headers=customer(KEY_A))
    assert third.body == PLAIN
    assert PLAIN not in stored(rig)
    assert PART[:1000] not in stored(rig)


async def test_a_key_that_is_none_completes_nothing(rig: Rig) -> None:
    upload = await begin(rig, customer(KEY_A))
    etag = (await part(rig, upload, 1, PLAIN, customer(KEY_A))).headers["etag"]
    headers = customer(KEY_A)
    del headers["x-amz-server-side-encryption-customer-algorithm"]
    assert refused(await complete(rig, upload, [etag], headers))[:2] == (400, "InvalidArgument")
    rig.secure = False
    answer = await complete(rig, upload, [etag], customer(KEY_A))
    assert refused(answer)[:2] == (400, "InvalidRequest")
    rig.secure = True
    assert (await get(rig, KEY_A)).status == 404
    done = await complete(rig, upload, [etag], customer(KEY_A))
    assert (done.status, base64.b64decode(done.headers[MD5_HEADER])) == (
        200,
        hashlib.md5(KEY_A).digest(),
    )
    assert (await get(rig, KEY_A)).body == PLAIN


async def test_a_part_that_is_sent_again_is_encrypted_otherwise(rig: Rig) -> None:
    """Two plaintexts under one stream of keys would show their difference."""
    upload = await begin(rig, customer(KEY_A))
    await part(rig, upload, 1, bytes(64), customer(KEY_A))
    await part(rig, upload, 1, bytes(64), customer(KEY_A))
    await part(rig, upload, 2, bytes(64), customer(KEY_A))
    contents = [content for _, content in rig.swarm.segments.values()]
    assert len(set(contents)) == 3


async def test_a_key_for_parts_of_an_upload_without_one_is_refused(rig: Rig) -> None:
    upload = await begin(rig, {})
    answer = await part(rig, upload, 1, PART, customer(KEY_A))
    assert refused(answer)[:2] == (400, "InvalidRequest")
    assert "did not request encryption" in refused(answer)[2]


# --- copies ------------------------------------------------------------------------------------


async def copy(rig: Rig, source: str, target: str, headers: dict[str, str]) -> Answer:
    return await rig.ask("PUT", target, "", b"", {"x-amz-copy-source": source, **headers})


async def test_a_copy_between_keys_moves_nothing(rig: Rig) -> None:
    await rig.put("/bucket/key", PLAIN, customer(KEY_A))
    before = dict(rig.swarm.segments)
    made = await copy(
        rig, "/bucket/key", "/bucket/copy", {**source_customer(KEY_A), **customer(KEY_B)}
    )
    assert made.status == 200, made.body
    assert base64.b64decode(made.headers[MD5_HEADER]) == hashlib.md5(KEY_B).digest()
    assert rig.swarm.segments == before
    assert (await get(rig, KEY_B, "/bucket/copy")).body == PLAIN
    assert (await get(rig, KEY_A, "/bucket/copy")).status == 403
    assert (await get(rig, KEY_B, "/bucket/key")).status == 403


@pytest.mark.parametrize(("of_source", "of_copy"), [(None, KEY_A), (KEY_A, None), (None, None)])
async def test_a_copy_is_under_the_key_that_it_is_given(
    rig: Rig, of_source: bytes | None, of_copy: bytes | None
) -> None:
    made = await rig.put("/bucket/key", PLAIN, customer(of_source) if of_source else {})
    headers = source_customer(of_source) if of_source else {}
    headers |= customer(of_copy) if of_copy else {}
    answer = await copy(rig, "/bucket/key", "/bucket/copy", headers)
    assert answer.status == 200, answer.body
    got = await get(rig, of_copy, "/bucket/copy")
    assert got.body == PLAIN
    is_md5 = hashlib.md5(PLAIN).hexdigest() in (answer.text("ETag") or "")
    assert is_md5 is (of_copy is None)
    assert (got.headers["etag"] == made.headers["etag"]) is (of_source is of_copy)
    if of_copy is not None:
        assert (await get(rig, None, "/bucket/copy")).status == 400


@pytest.mark.parametrize(
    ("key", "status", "code"), [(None, 400, "InvalidRequest"), (KEY_B, 403, "AccessDenied")]
)
async def test_a_source_is_not_copied_without_its_key(
    rig: Rig, key: bytes | None, status: int, code: str
) -> None:
    await rig.put("/bucket/key", PLAIN, customer(KEY_A))
    headers = {} if key is None else source_customer(key)
    answer = await copy(rig, "/bucket/key", "/bucket/copy", {**headers, **customer(KEY_A)})
    assert refused(answer)[:2] == (status, code)
    upload = await begin(rig, customer(KEY_A))
    answer = await rig.ask(
        "PUT",
        "/bucket/key",
        f"partNumber=1&uploadId={upload}",
        b"",
        {"x-amz-copy-source": "/bucket/key", **headers, **customer(KEY_A)},
    )
    assert refused(answer)[:2] == (status, code)
    await rig.put("/bucket/plain", PLAIN)
    answer = await copy(rig, "/bucket/plain", "/bucket/copy", source_customer(KEY_A))
    assert "not applicable" in refused(answer)[2]


@pytest.mark.parametrize("of_source", [None, KEY_A, KEY_B])
@pytest.mark.parametrize("of_upload", [None, KEY_A])
@pytest.mark.parametrize("given_range", ["bytes=7-200", None])
async def test_a_copied_part_is_under_the_key_of_its_upload(
    rig: Rig, of_source: bytes | None, of_upload: bytes | None, given_range: str | None
) -> None:
    await rig.put("/bucket/source", PLAIN, customer(of_source) if of_source else {})
    given = customer(of_upload) if of_upload else {}
    upload = await begin(rig, given)
    headers = {
        "x-amz-copy-source": "/bucket/source",
        **({} if given_range is None else {"x-amz-copy-source-range": given_range}),
        **(source_customer(of_source) if of_source else {}),
        **given,
    }
    query = f"partNumber=1&uploadId={upload}"
    copied = await rig.ask("PUT", "/bucket/key", query, b"", headers)
    assert copied.status == 200, copied.body
    assert (await complete(rig, upload, [copied.text("ETag") or ""])).status == 200
    assert (await get(rig, of_upload)).body == PLAIN[slice(7, 201) if given_range else slice(None)]


@pytest.mark.parametrize("copied", ["bytes=0-9", None])
async def test_a_part_of_the_object_that_its_upload_became_meanwhile_is_none(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, copied: str | None
) -> None:
    """Source and upload have one object key then."""
    upload = await begin(rig, customer(KEY_A))
    etag = (await part(rig, upload, 1, PLAIN, customer(KEY_A))).headers["etag"]
    call = rig.coordinators.call
    completed: list[bool] = []

    async def overtaken(request: Request, **more: Any) -> Any:
        reply = await call(request, **more)
        if isinstance(request, m.UploadGet) and not completed:
            completed.append(True)
            assert (await complete(rig, upload, [etag])).status == 200
        return reply

    monkeypatch.setattr(rig.coordinators, "call", overtaken)
    headers = {**source_customer(KEY_A), **customer(KEY_A), "x-amz-copy-source": "/bucket/key"}
    if copied is not None:
        headers["x-amz-copy-source-range"] = copied
    answer = await rig.ask("PUT", "/bucket/key", f"partNumber=2&uploadId={upload}", b"", headers)
    assert completed
    assert (answer.status, answer.code) == (404, "NoSuchUpload")
    assert (await get(rig, KEY_A)).body == PLAIN


async def test_an_object_gets_another_key_by_a_copy_onto_itself(rig: Rig) -> None:
    await rig.put("/bucket/key", PLAIN, customer(KEY_A))
    headers = {**source_customer(KEY_A), **customer(KEY_B)}
    assert (await copy(rig, "/bucket/key", "/bucket/key", headers)).status == 200
    assert (await get(rig, KEY_B)).body == PLAIN
    assert (await get(rig, KEY_A)).status == 403


async def test_a_copy_for_another_tenant_has_bytes_of_its_own(rig: Rig) -> None:
    await rig.put("/bucket/key", PLAIN, customer(KEY_A))
    owner = rig.tenants[rig.coordinators.access_key("OTHER").tenant_id].tenant_id.hex()
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:aws:iam::{owner}:root"},
                "Action": "s3:GetObject",
                "Resource": "arn:aws:s3:::bucket/*",
            }
        ],
    }
    answer = await rig.ask("PUT", "/bucket", "policy=", json.dumps(policy).encode())
    assert answer.status == 204, answer.body
    await rig.ask("PUT", "/others", access_key="OTHER")
    headers = {
        "x-amz-copy-source": "/bucket/key",
        **source_customer(KEY_A),
        **customer(KEY_B),
    }
    made = await rig.ask("PUT", "/others/copy", "", b"", headers, access_key="OTHER")
    assert made.status == 200, made.body
    got = await rig.ask("GET", "/others/copy", headers=customer(KEY_B), access_key="OTHER")
    assert got.body == PLAIN


# --- the rest ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10, 30_000, 200_000])
async def test_a_form_stores_its_file_under_a_key(rig: Rig, size: int) -> None:
    content = (PLAIN * (size // len(PLAIN) + 1))[:size]
    fields = {"key": "key", **{name.lower(): each for name, each in customer(KEY_A).items()}}
    answer = await post(rig, signed(rig, fields), content)
    assert answer.status == 204, answer.body
    assert base64.b64decode(answer.headers[MD5_HEADER]) == hashlib.md5(KEY_A).digest()
    assert (await get(rig, KEY_A)).body == content
    assert (await get(rig, None)).status == 400
    assert content[:100] not in stored(rig)


async def test_attributes_are_shown_with_the_key(rig: Rig) -> None:
    await rig.put("/bucket/key", PLAIN, customer(KEY_A))
    asked = {"x-amz-object-attributes": "ObjectSize"}
    answer = await rig.ask("GET", "/bucket/key", "attributes=", b"", asked | customer(KEY_A))
    assert answer.text("ObjectSize") == str(len(PLAIN))
    assert (await rig.ask("GET", "/bucket/key", "attributes=", b"", asked)).status == 400


async def test_listings_and_deletes_need_no_key(rig: Rig) -> None:
    made = await rig.put("/bucket/key", PLAIN, customer(KEY_A))
    listed = await rig.ask("GET", "/bucket", "list-type=2")
    assert listed.text("Contents/ETag") == made.headers["etag"]
    assert (await rig.ask("DELETE", "/bucket/key")).status == 204
    assert (await get(rig, KEY_A)).status == 404


async def test_a_page_is_written_again_without_the_key(rig: Rig) -> None:
    upload = await begin(rig, customer(KEY_A))
    etags = []
    for number, body in ((1, PART), (2, PLAIN)):
        etags.append((await part(rig, upload, number, body, customer(KEY_A))).headers["etag"])
    await complete(rig, upload, etags)
    before = rig.opened("bucket", b"key")
    counter = Counter("rewritten", "Bytes", registry=CollectorRegistry())
    bucket = await rig.backend.buckets.find(rig.tenant, "bucket")
    record = rig.coordinators.current["bucket", b"key"]
    for number in range(len(before.pages)):
        page = PageOfVersion(bucket, b"key", record.version_id, number)
        await rewrite_page(rig.backend, page, "STANDARD", counter)
    after = rig.opened("bucket", b"key")
    assert after.inner == before.inner
    assert not {page.digest for page in after.pages} & {page.digest for page in before.pages}
    assert (await get(rig, KEY_A)).body == PART + PLAIN
    assert PART[:1000] not in stored(rig)


async def test_a_policy_can_ask_for_a_key(rig: Rig) -> None:
    rig.add_user(
        "careful",
        {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "*"},
        {
            "Effect": "Deny",
            "Action": "s3:PutObject",
            "Resource": "*",
            "Condition": {"Null": {"s3:x-amz-server-side-encryption-customer-algorithm": "true"}},
        },
    )
    answer = await rig.ask("PUT", "/bucket/key", "", PLAIN, access_key="careful")
    assert answer.code == "AccessDenied"
    answer = await rig.ask("PUT", "/bucket/key", "", PLAIN, customer(KEY_A), access_key="careful")
    assert answer.status == 200, answer.body
