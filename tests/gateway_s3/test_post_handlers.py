"""Forms that browsers send: what they store, what they are answered, and all that is refused."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from form_client import body_of, policy_of, post, signed, signed_v2
from gateway_rig import Rig

from common import limits
from common.errors import Unavailable
from common.reasons import Outage
from common.wire import messages as m
from gateway_s3.app import App
from gateway_s3.auth.sigv2 import SignatureV2

KEY = {"key": "folder/name"}


@pytest.fixture
async def rig() -> Rig:
    made = Rig()
    await made.put("/bucket", b"")
    return made


@dataclass(frozen=True)
class StoppedClock:
    """A wall clock that stands."""

    time: float

    def now(self) -> float:
        return self.time


def nothing_stored(rig: Rig) -> bool:
    return not rig.coordinators.current and not rig.swarm.segments


async def test_a_signed_form_stores_its_file(rig: Rig) -> None:
    fields = {
        **KEY,
        "Content-Type": "image/png",
        "x-amz-meta-Color": "grün",
        "acl": "private",
        "x-amz-server-side-encryption": "AES256",
        "tagging": "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>",
    }
    answer = await post(rig, signed(rig, fields), b"content")
    assert (answer.status, answer.body) == (204, b""), answer.body
    md5 = hashlib.md5(b"content").hexdigest()
    assert answer.headers["etag"] == f'"{md5}"'
    assert answer.headers["location"] == "http://s3.test/bucket/folder%2Fname"
    assert answer.headers["x-amz-checksum-type"] == "FULL_OBJECT"
    assert answer.headers["x-amz-server-side-encryption"] == "AES256"
    stored = await rig.ask("GET", "/bucket/folder/name")
    assert stored.body == b"content"
    assert stored.headers["content-type"] == "image/png"
    assert stored.headers["x-amz-tagging-count"] == "1"
    assert "x-amz-meta-color" in stored.headers


async def test_without_a_content_type_the_object_has_the_default_one(rig: Rig) -> None:
    assert (await post(rig, signed(rig, KEY))).status == 204
    stored = await rig.ask("HEAD", "/bucket/folder/name")
    assert stored.headers["content-type"] == "binary/octet-stream"


@pytest.mark.parametrize("size", [0, 1, 70_000, limits.FORM_TAIL_BYTES, 2_500_000])
@pytest.mark.parametrize("after", [(), (("submit", "Send it"),)])
async def test_a_file_of_any_size_is_stored_whole(
    rig: Rig, size: int, after: tuple[tuple[str, str], ...]
) -> None:
    content = bytes(hashlib.shake_128(b"%d" % size).digest(size))
    answer = await post(rig, signed(rig, KEY), content, after=after)
    assert answer.status == 204, answer.body
    assert answer.headers["etag"] == f'"{hashlib.md5(content).hexdigest()}"'
    stored = await rig.ask("GET", "/bucket/folder/name")
    assert stored.body == content
    if size:
        end = await rig.ask("GET", "/bucket/folder/name", headers={"range": "bytes=-9"})
        assert end.body == content[-9:]


async def test_a_file_with_pieces_of_boundaries_in_it_is_stored_whole(rig: Rig) -> None:
    content = b"\r\n--xYzZ\r\n--xYz\r\n\r\n--" * 70_000
    assert (await post(rig, signed(rig, KEY), content)).status == 204
    assert (await rig.ask("GET", "/bucket/folder/name")).body == content


@pytest.mark.parametrize(
    ("key", "filename", "stored"),
    [
        ("up/${filename}", "photo.jpg", "up/photo.jpg"),
        ("up/${filename}", "C:\\dir\\photo.jpg", "up/photo.jpg"),
        ("up/${filename}", "/home/me/a b.jpg", "up/a%20b.jpg"),
        ("up/${filename}x", "", "up/x"),
        ("up/${filename}", None, "up/%24%7Bfilename%7D"),
        ("${filename}/${filename}", "a", "a/a"),
    ],
)
async def test_the_name_of_the_file_is_put_into_the_key(
    rig: Rig, key: str, filename: str | None, stored: str
) -> None:
    fields = signed(rig, {"key": key}, [["starts-with", "$key", ""]])
    answer = await post(rig, fields, filename=filename)
    assert answer.status == 204, answer.body
    assert (await rig.ask("HEAD", f"/bucket/{stored}")).status == 200


@pytest.mark.parametrize(
    ("status", "answered"),
    [("200", 200), ("201", 201), ("204", 204), ("404", 204), ("", 204), ("x", 204)],
)
async def test_the_form_chooses_the_status_of_its_answer(
    rig: Rig, status: str, answered: int
) -> None:
    fields = signed(rig, {**KEY, "success_action_status": status})
    answer = await post(rig, fields)
    assert answer.status == answered
    if answered != 201:
        assert answer.body == b""
        return
    document = answer.xml()
    assert document.tag == "PostResponse"
    assert b"xmlns" not in answer.body
    assert [(each.tag, each.text) for each in document] == [
        ("Location", "http://s3.test/bucket/folder%2Fname"),
        ("Bucket", "bucket"),
        ("Key", "folder/name"),
        ("ETag", answer.headers["etag"]),
    ]


@pytest.mark.parametrize(
    ("field", "target", "begins"),
    [
        ("success_action_redirect", "https://app.example/done", "https://app.example/done?bucket="),
        ("redirect", "http://app.example/?a=b c", "http://app.example/?a=b%20c&bucket="),
        ("success_action_redirect", "http://app.example/#top", "http://app.example/?bucket="),
        (
            "success_action_redirect",
            "http://a/\r\nSet-Cookie: x",
            "http://a/%0D%0ASet-Cookie:%20x?",
        ),
    ],
)
async def test_the_form_can_send_the_browser_on(
    rig: Rig, field: str, target: str, begins: str
) -> None:
    answer = await post(rig, signed(rig, {**KEY, field: target, "success_action_status": "201"}))
    assert (answer.status, answer.body) == (303, b"")
    location = answer.headers["location"]
    assert location.startswith(begins)
    said = parse_qs(urlsplit(location).query)
    assert said["key"] == ["folder/name"]
    assert said["bucket"] == ["bucket"]
    assert said["etag"] == [answer.headers["etag"]]


async def test_a_place_that_is_no_url_sends_nobody_on(rig: Rig) -> None:
    for target in ("/relative", "javascript:alert(1)", "ftp://x/"):
        fields = signed(rig, {**KEY, "success_action_redirect": target})
        assert (await post(rig, fields)).status == 204


async def test_a_bucket_in_the_host_name_takes_forms(rig: Rig) -> None:
    by_host = Rig(domains=("s3.test",), beside=rig)
    by_host.host = "bucket.s3.test"
    answer = await post(by_host, signed(by_host, KEY), path="/")
    assert answer.headers["location"] == "http://bucket.s3.test/folder%2Fname"
    assert (await rig.ask("GET", "/bucket/folder/name")).body == b"content"


async def test_names_of_fields_and_conditions_have_no_case_and_values_have(rig: Rig) -> None:
    conditions = [["StArTs-WiTh", "$KeY", "folder/"], {"AcL": "private"}]
    fields = signed(rig, {"kEy": "folder/name", "aCl": "private"}, conditions)
    fields = {
        {"policy": "pOLICy", "x-amz-signature": "X-Amz-Signature"}.get(name, name): value
        for name, value in fields.items()
    }
    assert (await post(rig, fields)).status == 204
    fields = signed(rig, {"key": "Folder/name"}, [["starts-with", "$key", "folder/"]])
    assert (await post(rig, fields)).status == 403


async def test_fields_that_begin_with_x_ignore_need_no_condition(rig: Rig) -> None:
    assert (await post(rig, {**signed(rig, KEY), "x-ignore-this": "at all"})).status == 204


async def test_the_digests_of_a_form_are_verified(rig: Rig) -> None:
    sha256 = base64.b64encode(hashlib.sha256(b"content").digest()).decode()
    md5 = base64.b64encode(hashlib.md5(b"content").digest()).decode()
    right = signed(rig, {**KEY, "x-amz-checksum-sha256": sha256, "content-md5": md5})
    answer = await post(rig, right)
    assert (answer.status, answer.headers["x-amz-checksum-sha256"]) == (204, sha256)
    for size in (7, 2_000_000):
        other = await post(rig, right, b"another" * (size // 7))
        assert (other.status, other.code) == (400, "BadDigest")
    bad = await post(rig, signed(rig, {**KEY, "x-amz-checksum-sha256": "sailorjerry"}))
    assert (bad.status, bad.code) == (400, "InvalidRequest")
    assert len(rig.swarm.segments) == 1, "what was refused was abandoned"


async def test_version_2_signs_forms_unless_it_is_off(rig: Rig) -> None:
    assert (await post(rig, signed_v2(rig, KEY))).status == 204
    wrong = await post(rig, signed_v2(rig, KEY, secret="wrong"))
    assert (wrong.status, wrong.code) == (403, "SignatureDoesNotMatch")
    off = Rig(signature_v2=SignatureV2.OFF, beside=rig)
    refused = await post(off, signed_v2(off, KEY))
    assert (refused.status, refused.code) == (400, "InvalidRequest")


Change = Callable[[Rig, dict[str, str]], dict[str, str]]


def without(*names: str) -> Change:
    return lambda _, fields: {k: v for k, v in fields.items() if k not in names}


def changed(name: str, value: str) -> Change:
    return lambda _, fields: {**fields, name: value}


def credential(part: int, value: str) -> Change:
    def change(_: Rig, fields: dict[str, str]) -> dict[str, str]:
        parts = fields["x-amz-credential"].split("/")
        parts[part] = value
        return {**fields, "x-amz-credential": "/".join(parts)}

    return change


SIGNING = ("x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature")


@pytest.mark.incident(15)
@pytest.mark.parametrize(
    ("change", "status", "code", "argument"),
    [
        (without("key"), 400, "InvalidArgument", "key"),
        (changed("key", ""), 400, "InvalidArgument", "key"),
        (without("policy"), 400, "InvalidArgument", "Policy"),
        *[(without(name), 400, "InvalidArgument", name.title()) for name in SIGNING],
        (without(*SIGNING[:2]), 400, "InvalidArgument", "X-Amz-Algorithm"),
        (without("policy", *SIGNING), 403, "AccessDenied", None),
        (without(*SIGNING), 403, "AccessDenied", None),
        (
            changed("x-amz-algorithm", "AWS4-HMAC-SHA512"),
            400,
            "InvalidArgument",
            SIGNING[0].title(),
        ),
        (changed("x-amz-date", "yesterday"), 400, "InvalidArgument", "X-Amz-Date"),
        (changed("x-amz-credential", "AK"), 400, "InvalidArgument", "X-Amz-Credential"),
        (credential(0, ""), 400, "InvalidArgument", "X-Amz-Credential"),
        (credential(0, "a b"), 400, "InvalidArgument", "X-Amz-Credential"),
        (credential(0, "NOBODY"), 403, "InvalidAccessKeyId", None),
        (credential(0, "OTHER"), 403, "AccessDenied", None),
        (credential(1, "20200101"), 400, "InvalidArgument", "X-Amz-Credential"),
        (credential(2, "eu-west-1"), 400, "InvalidArgument", "X-Amz-Credential"),
        (credential(3, "ec2"), 400, "InvalidArgument", "X-Amz-Credential"),
        (credential(4, "aws5"), 400, "InvalidArgument", "X-Amz-Credential"),
        (changed("x-amz-signature", "0" * 64), 403, "SignatureDoesNotMatch", None),
        (changed("x-amz-signature", "é"), 403, "SignatureDoesNotMatch", None),
        (changed("x-amz-security-token", "token"), 400, "InvalidToken", None),
        (changed("signature", "x"), 400, "InvalidArgument", "Authorization"),
        (changed("extra", "x"), 403, "AccessDenied", None),
        (changed("x-amz-meta-a", "x"), 403, "AccessDenied", None),
        (changed("key", "another"), 403, "AccessDenied", None),
        (changed("acl", "public-read"), 403, "AccessDenied", None),
        (changed("x-amz-object-lock-mode", "GOVERNANCE"), 403, "AccessDenied", None),
        (changed("x-amz-object-lock-x", "GOVERNANCE"), 501, "NotImplemented", None),
        (changed("x-amz-meta-a b", "x"), 400, "InvalidArgument", "x-amz-meta-a b"),
    ],
)
async def test_a_form_that_was_not_signed_so_stores_nothing(
    rig: Rig, change: Change, status: int, code: str, argument: str | None
) -> None:
    answer = await post(rig, change(rig, signed(rig, KEY)))
    assert (answer.status, answer.code) == (status, code), answer.body
    if argument is not None:
        assert answer.text("ArgumentName") == argument
    assert nothing_stored(rig)


@pytest.mark.parametrize("name", ["key", "policy", "x-amz-signature", "x-amz-credential", "acl"])
async def test_a_field_that_comes_twice_is_refused(rig: Rig, name: str) -> None:
    fields = [*signed(rig, {**KEY, "acl": "private"}).items()]
    value = dict(fields)[name]
    answer = await post(rig, [*fields, (name.upper(), value)])
    assert (answer.status, answer.code) == (400, "InvalidArgument")
    assert nothing_stored(rig)


async def test_metadata_that_comes_twice_is_one_value(rig: Rig) -> None:
    conditions = [{"key": "k"}, {"x-amz-meta-a": "one,two"}]
    fields = [*signed(rig, {"key": "k"}, conditions).items()]
    answer = await post(rig, [*fields, ("x-amz-meta-a", "one"), ("X-Amz-Meta-A", "two")])
    assert answer.status == 204, answer.body
    assert (await rig.ask("HEAD", "/bucket/k")).headers["x-amz-meta-a"] == "one,two"


@pytest.mark.incident(16)
@pytest.mark.fault("S3-15", "S3-16")
async def test_the_bucket_of_the_request_is_the_one_that_the_policy_is_about(rig: Rig) -> None:
    await rig.put("/other", b"")
    fields = signed(rig, KEY)
    for given in (fields, {**fields, "bucket": "bucket"}, {**fields, "bucket": "other"}):
        answer = await post(rig, given, path="/other")
        assert (answer.status, answer.code) == (403, "AccessDenied")
    assert (await post(rig, {**fields, "bucket": "other"})).status == 403
    assert nothing_stored(rig)
    assert (await post(rig, {**fields, "bucket": "bucket"})).status == 204
    unnamed = [{"key": "folder/name"}]
    stamp, scope = rig.scope()
    ours = [
        {"x-amz-algorithm": "AWS4-HMAC-SHA256"},
        {"x-amz-credential": f"AK/{scope}"},
        {"x-amz-date": stamp},
    ]
    for_any = signed(rig, KEY, policy=policy_of(rig, [*unnamed, *ours]))
    assert (await post(rig, for_any)).status == 403


async def test_a_policy_ends(rig: Rig) -> None:
    answer = await post(rig, signed(rig, KEY, expires_s=0))
    assert (answer.status, answer.code) == (403, "AccessDenied")
    assert answer.text("Message") == "Invalid according to Policy: Policy expired."


@pytest.mark.parametrize(
    ("step_s", "message"),
    [(8 * 86400, "Request has expired"), (-16 * 60, "Request is not valid yet")],
)
async def test_a_signature_is_for_now(rig: Rig, step_s: int, message: str) -> None:
    fields = signed(rig, KEY, expires_s=365 * 86400)
    moved = rig.node.world.clock.now() + step_s
    backend = replace(rig.backend, clock=StoppedClock(moved))
    rig.app = App(backend, rig.keys, ())
    answer = await post(rig, fields)
    assert (answer.status, answer.code) == (403, "AccessDenied")
    assert answer.text("Message") == message


@pytest.mark.incident(15)
@pytest.mark.parametrize(
    ("conditions", "fields", "shown"),
    [
        ([["eq", "$key", "a"]], {"key": "b"}, '["eq", "$key", "a"]'),
        ([{"key": "a"}], {"key": "b"}, '["eq", "$key", "a"]'),
        ([["eq", "key", "a"]], {"key": "a"}, '["eq", "key", "a"]'),
        ([["starts-with", "$key", "a/"]], {"key": "b"}, '["starts-with", "$key", "a/"]'),
        (
            [{"key": "a"}, ["starts-with", "$x-amz-meta-a", ""]],
            {"key": "a"},
            '["starts-with", "$x-amz-meta-a", ""]',
        ),
        (
            [{"key": "a"}, ["starts-with", "$Content-Type", "image/"]],
            {"key": "a", "Content-Type": "image/png,text/html"},
            '["starts-with", "$Content-Type", "image/"]',
        ),
        (
            [{"key": "a"}, ["content-length-range", "x", "9"]],
            {"key": "a"},
            '["content-length-range", "x", "9"]',
        ),
    ],
)
async def test_a_condition_that_does_not_hold_is_shown(
    rig: Rig, conditions: list[Any], fields: dict[str, str], shown: str
) -> None:
    answer = await post(rig, signed(rig, fields, conditions))
    assert (answer.status, answer.code) == (403, "AccessDenied")
    message = f"Invalid according to Policy: Policy Condition failed: {shown}"
    assert answer.text("Message") == message
    assert nothing_stored(rig)


async def test_a_list_of_content_types_fits_where_each_does(rig: Rig) -> None:
    conditions = [{"key": "a"}, ["starts-with", "$Content-Type", "image/"]]
    fields = {"key": "a", "Content-Type": "image/png, image/gif"}
    assert (await post(rig, signed(rig, fields, conditions))).status == 204


def document(**members: Any) -> bytes:
    whole = {"expiration": "2099-01-01T00:00:00Z", "conditions": [], **members}
    return json.dumps({k: v for k, v in whole.items() if v is not None}).encode()


@pytest.mark.parametrize(
    "policy",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"[" * 9000,
        b'{"expiration": "2099-01-01T00:00:00Z", "conditions": [], "conditions": []}',
        document(expiration=None),
        document(expiration="2099-01-01 00:00:00"),
        document(expiration="2099-13-01T00:00:00Z"),
        document(expiration="2099-01-01T00:00:00+02:00"),
        document(expiration=5),
        document(conditions=None),
        document(conditions={}),
        document(conditions=[{}]),
        document(conditions=[[]]),
        document(conditions=["x"]),
        document(conditions=[{"a": "b", "c": "d"}]),
        document(conditions=[{"a": 5}]),
        document(conditions=[{"a": None}]),
        document(conditions=[["eq", "$a"]]),
        document(conditions=[["eq", "$a", 5]]),
        document(conditions=[["ends-with", "$a", "b"]]),
        document(conditions=[["content-length-range", 0]]),
        document(conditions=[["content-length-range", -1, 0]]),
        document(conditions=[["content-length-range", 0, 512.5]]),
        document(conditions=[{"a": "b"}] * 101),
        document(CONDITIONS=[]),
        document(Statement=[]),
    ],
)
async def test_a_policy_that_cannot_be_read_is_refused(rig: Rig, policy: bytes) -> None:
    fields = signed(rig, KEY, policy=base64.b64encode(policy).decode() or "x")
    answer = await post(rig, fields)
    assert (answer.status, answer.code) == (400, "InvalidPolicyDocument"), answer.body
    assert nothing_stored(rig)


@pytest.mark.parametrize(
    ("bounds", "size", "code"),
    [
        ((5, 10), 4, "EntityTooSmall"),
        ((5, 10), 5, None),
        ((5, 10), 10, None),
        ((5, 10), 11, "EntityTooLarge"),
        (("5", "10"), 10, None),
        ((0, 0), 3, "EntityTooLarge"),
        ((0, 0), 0, None),
        ((10, 5), 7, "EntityTooLarge"),
        ((0, 1_500_000), 1_500_001, "EntityTooLarge"),
        ((1_500_000, 9_000_000), 1_499_999, "EntityTooSmall"),
        ((1_500_000, 1_500_000), 1_500_000, None),
        ((0, 1000), 3_000_000, "EntityTooLarge"),
        ((2_000_000, 3_000_000), 10, "EntityTooSmall"),
    ],
)
async def test_the_policy_bounds_the_size_of_the_file(
    rig: Rig, bounds: tuple[Any, Any], size: int, code: str | None
) -> None:
    conditions = [{"key": "a"}, ["content-length-range", *bounds]]
    answer = await post(rig, signed(rig, {"key": "a"}, conditions), bytes(size))
    if code is None:
        assert answer.status == 204, answer.body
    else:
        assert (answer.status, answer.code) == (400, code)
        assert nothing_stored(rig)


HEAD = b'--xYzZY\r\nContent-Disposition: form-data; name="key"\r\n\r\nname\r\n'
FILE = b'--xYzZY\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "MalformedPOSTRequest"),
        (b"nothing like a form", "MalformedPOSTRequest"),
        (HEAD, "MalformedPOSTRequest"),
        (HEAD + b"--xYzZY--\r\n", "InvalidArgument"),
        (HEAD + FILE[:-2], "MalformedPOSTRequest"),
        (b"--xYzZY\r\n\r\nvalue\r\n--xYzZY--", "MalformedPOSTRequest"),
        (b"--xYzZY\r\nContent-Disposition: form-data\r\n\r\nv\r\n" + FILE, "MalformedPOSTRequest"),
        (HEAD.replace(b"form-data", b"file") + FILE, "MalformedPOSTRequest"),
        (HEAD.replace(b'"key"', b'"key') + FILE, "MalformedPOSTRequest"),
        (HEAD.replace(b'"key"', b'"key"; name="b"') + FILE, "MalformedPOSTRequest"),
        (HEAD.replace(b"--xYzZY", b"--xYzZYjunk", 1) + FILE, "MalformedPOSTRequest"),
        (HEAD.replace(b"name\r\n", b"\xff\r\n") + FILE + b"x\r\n--xYzZY--", "MalformedPOSTRequest"),
        (
            HEAD.replace(b"Content-D", b"X: " + b"y" * 5000 + b"\r\nContent-D") + FILE,
            "MalformedPOSTRequest",
        ),
        (HEAD.replace(b"name\r\n", b"n" * 21_000) + FILE, "MaxPostPreDataLengthExceeded"),
        (HEAD * 400 + FILE, "MaxPostPreDataLengthExceeded"),
        (b"x" * 21_000, "MaxPostPreDataLengthExceeded"),
    ],
)
async def test_what_is_no_form_is_refused(rig: Rig, body: bytes, code: str) -> None:
    headers = {
        "host": rig.host,
        "content-type": "multipart/form-data; boundary=xYzZY",
        "content-length": str(len(body)),
    }
    answer = await rig.send("POST", "/bucket", "", body, headers)
    assert (answer.status, answer.code) == (400, code)


@pytest.mark.parametrize("size", [7, 2_000_000])
async def test_a_file_whose_end_is_missing_is_not_stored(rig: Rig, size: int) -> None:
    whole = body_of([*signed(rig, KEY).items()], b"c" * size)
    for cut in (b"\r\n--xYzZY--\r\n", b"\r\n--xYzZY"):
        body = whole[: whole.rindex(cut[:4])]
        headers = {
            "host": rig.host,
            "content-type": 'multipart/form-data; boundary="xYzZY"',
            "content-length": str(len(body)),
        }
        answer = await rig.send("POST", "/bucket", "", body, headers)
        assert (answer.status, answer.code) == (400, "MalformedPOSTRequest")
    assert nothing_stored(rig)


async def test_more_behind_the_file_than_may_be_is_refused(rig: Rig) -> None:
    after = [("submit", "x" * (limits.FORM_TAIL_BYTES + 100_000))]
    answer = await post(rig, signed(rig, KEY), b"c" * 500_000, after=after)
    assert (answer.status, answer.code) == (400, "MalformedPOSTRequest")
    assert nothing_stored(rig)


@pytest.mark.parametrize(
    ("content_type", "status", "code"),
    [
        (None, 412, "PreconditionFailed"),
        ("text/html", 412, "PreconditionFailed"),
        ("application/x-www-form-urlencoded", 412, "PreconditionFailed"),
        ("multipart/form-data", 400, "MalformedPOSTRequest"),
        ("multipart/form-data; boundary=", 400, "MalformedPOSTRequest"),
        ("multipart/form-data; boundary=" + "x" * 71, 400, "MalformedPOSTRequest"),
        ('multipart/form-data; boundary="a\\"b"', 400, "MalformedPOSTRequest"),
    ],
)
async def test_a_post_to_a_bucket_is_a_form(
    rig: Rig, content_type: str | None, status: int, code: str
) -> None:
    headers = {"host": rig.host, "content-length": "0"}
    if content_type is not None:
        headers["content-type"] = content_type
    answer = await rig.send("POST", "/bucket", "", b"", headers)
    assert (answer.status, answer.code) == (status, code)


async def test_a_form_has_one_proof(rig: Rig) -> None:
    fields = signed(rig, KEY)
    answer = await post(rig, fields, headers={"authorization": "AWS4-HMAC-SHA256 x"})
    assert (answer.status, answer.code) == (400, "InvalidArgument")
    assert nothing_stored(rig)


async def test_a_form_to_a_missing_bucket_says_so(rig: Rig) -> None:
    answer = await post(rig, signed(rig, KEY, bucket="nothing"), path="/nothing")
    assert (answer.status, answer.code) == (404, "NoSuchBucket")


async def test_a_commit_that_fails_leaves_none_of_both_runs_behind(rig: Rig) -> None:
    async def fail(request: m.Request) -> None:
        raise Unavailable(Outage.NO_COORDINATOR)

    rig.coordinators.faults[m.ObjectCommit] = fail
    answer = await post(rig, signed(rig, KEY), bytes(3_000_000))
    assert answer.status == 503
    assert not rig.swarm.segments
    assert len(rig.swarm.abandoned) == 2


async def test_a_form_costs_no_more_calls_than_a_put(rig: Rig) -> None:
    await rig.put("/bucket/warm", b"x")
    rig.coordinators.requests.clear()
    await rig.put("/bucket/key", b"x")
    put, rig.coordinators.requests[:] = list(rig.coordinators.calls), []
    await post(rig, signed(rig, KEY), b"x")
    assert rig.coordinators.calls == put


async def test_a_form_makes_a_version_where_the_bucket_has_versions(rig: Rig) -> None:
    body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    await rig.ask("PUT", "/bucket", "versioning=", body)
    first = (await post(rig, signed(rig, KEY), b"first")).headers["x-amz-version-id"]
    second = (await post(rig, signed(rig, KEY), b"second")).headers["x-amz-version-id"]
    assert first != second
    old = await rig.ask("GET", "/bucket/folder/name", f"versionId={first}")
    assert old.body == b"first"
