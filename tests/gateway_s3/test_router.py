"""The router: every operation of S3 is told from every other, and none falls through."""

from __future__ import annotations

import re
from pathlib import Path

import botocore.session
import pytest

from common.http.records import HttpRequest
from gateway_s3.app import HANDLERS
from gateway_s3.errors import CODES, S3Error
from gateway_s3.request.header_rules import ACCEPTED, REFUSED_FAMILIES
from gateway_s3.request.operations import BY_NAME, OPERATIONS, SUBRESOURCES, Operation, Scope
from gateway_s3.request.router import Route, route

DOMAINS = ["s3.example.org", "example.org"]
PATHS = {Scope.SERVICE: "/", Scope.BUCKET: "/bucket", Scope.OBJECT: "/bucket/key"}
IMPLEMENTED = [operation for operation in OPERATIONS if operation.implemented]
OF_SDKS = [operation for operation in IMPLEMENTED if not operation.is_form]


def ask(
    method: str,
    target: str,
    headers: dict[str, str] | None = None,
    *,
    host: str = "127.0.0.1:9000",
) -> Route:
    raw = target.encode("latin-1")
    path, _, query = raw.partition(b"?")
    pairs = [(b"host", host.encode())]
    pairs += [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    return route(HttpRequest(method, raw, path, query, pairs), DOMAINS)


def refusal(
    method: str, target: str, headers: dict[str, str] | None = None, *, host: str = "h"
) -> str:
    with pytest.raises(S3Error) as caught:
        ask(method, target, headers, host=host)
    return caught.value.code.code


def target_of(operation: Operation) -> tuple[str, dict[str, str]]:
    target = PATHS[operation.scope]
    if operation.selectors:
        target += "?" + "&".join(
            each if "=" in each or each not in {"uploadId", "partNumber"} else f"{each}=1"
            for each in operation.selectors
        )
    if operation.required:
        target += "".join(f"&{name}=x" for name in sorted(operation.required))
    headers = {operation.header.decode(): "/b/k"} if operation.header else {}
    return target, headers


@pytest.mark.parametrize("operation", IMPLEMENTED, ids=lambda each: each.name)
def test_an_implemented_operation_is_found(operation: Operation) -> None:
    target, headers = target_of(operation)
    found = ask(operation.method, target, headers).operation
    # Of two names for one request the first is found.
    assert HANDLERS[found.name] is HANDLERS[operation.name]
    assert (found.selectors, found.required) == (operation.selectors, operation.required)


@pytest.mark.parametrize(
    "operation",
    [each for each in OPERATIONS if not (each.implemented or each.is_preflight)],
    ids=lambda each: each.name,
)
def test_an_operation_that_is_not_implemented_is_said_so(operation: Operation) -> None:
    target, headers = target_of(operation)
    assert refusal(operation.method, target, headers) == "NotImplemented"
    if operation.selectors and "=" not in operation.selectors[-1]:
        assert refusal(operation.method, target + "=", headers) == "NotImplemented"


def test_every_operation_of_the_sdk_has_its_row() -> None:
    model = botocore.session.get_session().get_service_model("s3")
    for name in model.operation_names:
        http = model.operation_model(name).http
        row = BY_NAME[name]
        assert row.method == http["method"], name
        path, _, query = http["requestUri"].partition("?")
        if query:
            assert row.selectors == tuple(query.split("&")), name
        scope = {"/{Bucket}": Scope.BUCKET, "/{Bucket}/{Key+}": Scope.OBJECT}.get(
            path, Scope.SERVICE
        )
        assert row.scope is scope, name


@pytest.mark.parametrize("subresource", sorted(SUBRESOURCES))
@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE", "HEAD"])
@pytest.mark.parametrize("path", ["/bucket", "/bucket/key"])
def test_a_subresource_never_falls_through_to_the_plain_operation(
    method: str, path: str, subresource: str
) -> None:
    for suffix in ("", "=", "=x"):
        try:
            found = ask(method, f"{path}?{subresource}{suffix}").operation
        except S3Error as error:
            assert error.code.code in {"NotImplemented", "MethodNotAllowed"}  # noqa: PT017  # it may pass, too
        else:
            assert subresource in found.selectors


@pytest.mark.parametrize(
    ("method", "target", "code"),
    [
        ("PUT", "/bucket/key?somethingNew", "NotImplemented"),
        ("PUT", "/bucket/key?somethingNew=", "NotImplemented"),
        ("PUT", "/bucket/key?partNumber=1", "NotImplemented"),
        ("PUT", "/bucket/key?uploadId=1", "NotImplemented"),
        ("GET", "/bucket/key?versionId=abc", "InvalidArgument"),
        ("GET", f"/bucket/key?versionId={'A1' * 16}", "InvalidArgument"),
        ("GET", "/bucket/key?versionId=", "InvalidArgument"),
        ("GET", "/bucket?list-type=1", "NotImplemented"),
        ("GET", "/bucket?list-type=2&list-type=2", "InvalidArgument"),
        ("GET", "/bucket?prefix=a&prefix=b", "InvalidArgument"),
        ("GET", "/bucket?acl&policy", "InvalidArgument"),
        ("GET", "/bucket?prefix=%zz", "InvalidURI"),
        ("GET", "/bucket/%f", "InvalidURI"),
        ("GET", "/bucket/%ff", "InvalidURI"),
        ("GET", "/%ff/key", "InvalidURI"),
        ("GET", "//key", "InvalidBucketName"),
        ("GET", "/bucket/" + "a" * 1025, "KeyTooLongError"),
        ("GET", "/bucket/" + "%61" * 1025, "KeyTooLongError"),
        ("POST", "/bucket/key", "MethodNotAllowed"),
        ("PATCH", "/bucket/key", "MethodNotAllowed"),
        ("PUT", "/", "MethodNotAllowed"),
        ("GET", "/bucket?" + "a=b&" * 200, "InvalidURI"),
        ("GET", "/bucket/key?x-amz-acl=public-read", "NotImplemented"),
    ],
)
def test_what_cannot_be_meant_is_refused(method: str, target: str, code: str) -> None:
    assert refusal(method, target) == code


@pytest.mark.incident(32)
@pytest.mark.parametrize(
    ("target", "bucket", "key"),
    [
        ("/bucket/a/../b//c", "bucket", b"a/../b//c"),
        ("/bucket//", "bucket", b"/"),
        ("/bucket/a%2Fb%00%0d%0a", "bucket", b"a/b\x00\r\n"),
        ("/bucket/a+b%20c", "bucket", b"a+b c"),
        ("/bucket/%E2%82%AC", "bucket", "€".encode()),
        ("/bucket/" + "a" * 1024, "bucket", b"a" * 1024),
        ("/buck%2Fet/key", "buck/et", b"key"),
        ("/..%2Fother/key", "../other", b"key"),
        ("/bucket/k?foo=bar", "bucket", b"k"),
    ],
)
def test_a_path_is_split_before_it_is_decoded(target: str, bucket: str, key: bytes) -> None:
    found = ask("GET", target)
    assert (found.bucket, found.key) == (bucket, key)


@pytest.mark.parametrize(
    ("host", "target", "operation", "bucket", "key"),
    [
        ("bucket.s3.example.org", "/key/a", "GetObject", "bucket", b"key/a"),
        ("bucket.s3.example.org:9000", "/", "ListObjects", "bucket", b""),
        ("BUCKET.S3.Example.Org", "/key", "GetObject", "bucket", b"key"),
        ("a.b.s3.example.org", "/key", "GetObject", "a.b", b"key"),
        ("s3.example.org", "/bucket/key", "GetObject", "bucket", b"key"),
        ("s3.example.org", "/", "ListBuckets", "", b""),
        ("other.org", "/bucket/key", "GetObject", "bucket", b"key"),
        ("xs3.other.org", "/bucket", "ListObjects", "bucket", b""),
        ("b.example.org", "/bucket/key", "GetObject", "b", b"bucket/key"),
        ("b.s3.example.org", "//x", "GetObject", "b", b"/x"),
    ],
)
def test_a_bucket_may_stand_in_the_host(
    host: str, target: str, operation: str, bucket: str, key: bytes
) -> None:
    found = ask("GET", target, host=host)
    assert (found.operation.name, found.bucket, found.key) == (operation, bucket, key)


@pytest.mark.incident(17)
def test_a_copy_source_makes_a_copy_even_when_it_is_empty() -> None:
    assert ask("PUT", "/b/k", {"x-amz-copy-source": ""}).operation.name == "CopyObject"
    found = ask("PUT", "/b/k?uploadId=a&partNumber=1", {"x-amz-copy-source": ""})
    assert found.operation.name == "UploadPartCopy"


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
@pytest.mark.parametrize("target", ["/b", "/b/k"])
def test_a_copy_source_where_nothing_is_copied_is_refused(method: str, target: str) -> None:
    with pytest.raises(S3Error, match="InvalidArgument"):
        ask(method, target, {"x-amz-copy-source": "b/k"})


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("x-amz-acl", "private", None),
        ("x-amz-grant-write-everything", "id=1", "NotImplemented"),
        ("x-amz-acl", "public-ready", "InvalidArgument"),
        ("x-amz-metadata-directive", "MERGE", "InvalidArgument"),
        ("x-amz-object-ownership", "ObjectWriter", "NotImplemented"),
        ("x-amz-object-ownership", "Nobody", "InvalidArgument"),
        ("x-amz-tagging-directive", "MERGE", "InvalidArgument"),
        ("x-amz-storage-class", "STANDARD", None),
        ("x-amz-storage-class", "GLACIER", "NotImplemented"),
        ("x-amz-storage-class", "COLD", "InvalidStorageClass"),
        ("x-amz-server-side-encryption", "AES256", None),
        ("x-amz-server-side-encryption", "aws:kms", None),
        ("x-amz-server-side-encryption", "rot13", "InvalidEncryptionAlgorithmError"),
        ("x-amz-server-side-encryption-customer-new", "AES256", "NotImplemented"),
        ("x-amz-copy-source-server-side-encryption-customer-key", "x", "InvalidArgument"),
        ("x-amz-server-side-encryption-aws-kms-key-id", "x", None),
        ("x-amz-tagging", "a=b", None),
        ("x-amz-object-lock-mode", "COMPLIANCE", None),
        ("x-amz-object-lock-legal-hold", "ON", None),
        ("x-amz-bypass-governance-retention", "true", "NotImplemented"),
        ("x-amz-bucket-object-lock-enabled", "true", "NotImplemented"),
        ("x-amz-object-lock-something-new", "ON", "NotImplemented"),
        ("x-amz-website-redirect-location", "/", None),
        ("x-amz-checksum-sha512", "x", "NotImplemented"),
        ("x-amz-expected-bucket-owner", "1", None),
        ("x-amz-write-offset-bytes", "5", "NotImplemented"),
        ("x-amz-mfa", "1 2", "NotImplemented"),
        ("x-amz-meta-anything", "at all", None),
        ("x-amz-user-agent", "sdk", None),
        ("content-range", "bytes 0-1/2", "NotImplemented"),
        ("if-unmodified-since", "x", "NotImplemented"),
        ("if-none-match", "*", None),
    ],
)
def test_a_header_that_changes_the_meaning_is_never_ignored(
    name: str, value: str, code: str | None
) -> None:
    if code is None:
        assert ask("PUT", "/b/k", {name: value}).operation.name == "PutObject"
    else:
        assert refusal("PUT", "/b/k", {name: value}) == code


def test_a_condition_on_a_write_that_has_none_is_refused() -> None:
    assert refusal("PUT", "/b/k?uploadId=a&partNumber=1", {"if-none-match": "*"}) == (
        "NotImplemented"
    )
    assert refusal("DELETE", "/b/k", {"if-none-match": "*"}) == "NotImplemented"
    assert ask("DELETE", "/b/k", {"if-match": '"x"'}).operation.name == "DeleteObject"


def test_every_header_that_the_sdk_can_send_is_decided() -> None:
    model = botocore.session.get_session().get_service_model("s3")
    for operation in OF_SDKS:
        shape = model.operation_model(operation.name).input_shape
        for member in shape.members.values() if shape is not None else []:
            name = str(member.serialization.get("name", "")).lower().encode()
            if member.serialization.get("location") != "header" or name[:6] != b"x-amz-":
                continue
            assert name.startswith(REFUSED_FAMILIES), name
    assert all(name.startswith(REFUSED_FAMILIES) for name in ACCEPTED)


def test_every_parameter_that_the_sdk_can_send_is_decided() -> None:
    model = botocore.session.get_session().get_service_model("s3")
    refused = {"bucket-region"}
    for operation in OF_SDKS:
        shape = model.operation_model(operation.name).input_shape
        for member in shape.members.values() if shape is not None else []:
            if member.serialization.get("location") == "querystring":
                name = member.serialization["name"]
                assert name in operation.parameters | set(operation.selectors) | refused, name


def test_parameters_of_a_presigned_url_count_as_the_headers_they_stand_for() -> None:
    signed = "X-Amz-Signature=0&X-Amz-Algorithm=AWS4-HMAC-SHA256"
    assert refusal("PUT", f"/b/k?{signed}&x-amz-acl=public-ready") == "InvalidArgument"
    assert refusal("GET", f"/b/k?{signed}&X-Amz-Object-Lock-Mode=GOVERNANCE") == "NotImplemented"
    assert refusal("PUT", f"/b/k?{signed}&x-amz-expires=5") == "NotImplemented"
    assert refusal("PUT", f"/b/k?{signed}&x-amz-meta-a=b%0d%0ac") == "InvalidArgument"
    assert refusal("PUT", f"/b/k?{signed}&x-amz-meta-a=b", {"x-amz-meta-a": "c"}) == (
        "InvalidArgument"
    )
    request = HttpRequest(
        "PUT", b"", b"/b/k", (signed + "&X-Amz-Meta-A=b").encode(), [(b"host", b"h")]
    )
    assert route(request, []).operation.name == "PutObject"
    assert request.header(b"x-amz-meta-a") == b"b"
    copy = HttpRequest(
        "PUT", b"", b"/b/k", (signed + "&x-amz-copy-source=/b/o").encode(), [(b"host", b"h")]
    )
    assert route(copy, []).operation.name == "CopyObject"


@pytest.mark.fault("B33")
@pytest.mark.parametrize(
    ("method", "target", "name"),
    [
        ("GET", "/bucket/key?x-flag=", "GetObject"),
        ("GET", "/bucket/key?X-Flag", "GetObject"),
        ("GET", "/bucket/key?x-flag=1&x-other", "GetObject"),
        ("HEAD", "/bucket/key?max-keys=5&prefix=a&list-type=2", "HeadObject"),
        ("GET", "/bucket?response-content-type=a&partNumber=2", "ListObjects"),
        ("PUT", "/bucket/key?response-expires=x&marker=", "PutObject"),
    ],
)
def test_a_clients_own_parameters_and_those_of_others_are_ignored(
    method: str, target: str, name: str
) -> None:
    assert ask(method, target).operation.name == name


@pytest.mark.fault("B33")
@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("PUT", "/bucket/key?versionId=null"),
        ("PUT", "/bucket/key?partNumber=1"),
        ("GET", "/bucket/key?x-amz-flag="),
    ],
)
def test_a_parameter_that_says_what_is_meant_is_not_ignored(method: str, target: str) -> None:
    assert refusal(method, target) == "NotImplemented"


@pytest.mark.fault("L")
@pytest.mark.parametrize("dot", ["", "."])
@pytest.mark.parametrize("port", ["", ":", ":80", ":9000"])
def test_a_virtual_host_may_end_in_a_dot_and_have_an_empty_port(dot: str, port: str) -> None:
    found = ask("PUT", "/key", host=f"bucket.example.org{dot}{port}")
    assert (found.bucket, found.key, found.by_host) == ("bucket", b"key", True)
    found = ask("PUT", "/bucket/key", host=f"example.org{dot}{port}")
    assert (found.bucket, found.key, found.by_host) == ("bucket", b"key", False)


@pytest.mark.fault("L")
@pytest.mark.parametrize("host", [".example.org", ".s3.example.org:80", "b\xfc.example.org"])
def test_a_host_that_cannot_be_read_is_refused(host: str) -> None:
    assert refusal("PUT", "/bucket/key", host=host) == "InvalidURI"


def test_the_compatibility_page_says_what_the_router_does() -> None:
    page = Path(__file__).parents[2] / "docs" / "s3-compatibility.md"
    rows = re.findall(
        r"^\| (\w+) \| (yes|no) \| (\d{3}) \| (.*?) \|$", page.read_text("utf-8"), re.MULTILINE
    )
    shown = {name: (answer, int(status), note) for name, answer, status, note in rows}
    assert len(shown) == len(rows), "an operation has two rows"
    told = {
        each.name: ("no" if each.answer == 501 else "yes", each.answer, each.note)
        for each in OPERATIONS
    }
    assert shown == told
    assert CODES["NotImplemented"].status == 501
