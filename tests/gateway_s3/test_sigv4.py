"""Signatures: what botocore signs is taken, and whatever was changed or left unsigned is not."""

from __future__ import annotations

import datetime as dt
from urllib.parse import urlsplit

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from common.http.records import HttpRequest
from gateway_s3.auth.sigv4 import Payload, Verified, derive_signing_key, parse_authorization, verify
from gateway_s3.errors import S3Error

ACCESS_KEY = "AKIDEXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
REGION = "us-east-1"
HOST = "127.0.0.1:9000"


def in_s(seconds: float = 0.0) -> float:
    """The time so much later than now. What botocore signs has the machine's time."""
    return dt.datetime.now(dt.UTC).timestamp() + seconds


class _SignsKind(S3SigV4Auth):
    """botocore's signer for headers, with the payload kind said by the test."""

    kind = ""

    def payload(self, request: AWSRequest) -> str:
        return self.kind


def signed_kind(kind: str) -> HttpRequest:
    url = f"http://{HOST}/bucket/key"
    request = AWSRequest("PUT", url, {}, b"")
    signer = _SignsKind(Credentials(ACCESS_KEY, SECRET), "s3", REGION)
    signer.kind = kind
    signer.add_auth(request)
    return from_url("PUT", url, dict(request.headers.items()))


def from_url(method: str, url: str, headers: dict[str, str]) -> HttpRequest:
    parts = urlsplit(url)
    path, query = parts.path.encode(), parts.query.encode()
    target = path + (b"?" + query if query else b"")
    pairs = [(name.lower().encode(), str(value).encode()) for name, value in headers.items()]
    if all(name != b"host" for name, _ in pairs):
        pairs.append((b"host", parts.netloc.encode()))
    return HttpRequest(method, target, path, query, pairs)


def signed(
    method: str = "PUT",
    path: str = "/bucket/key",
    query: str = "",
    body: bytes = b"body",
    headers: dict[str, str] | None = None,
    *,
    region: str = REGION,
    service: str = "s3",
) -> HttpRequest:
    url = f"http://{HOST}{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method, url, headers or {}, body)
    S3SigV4Auth(Credentials(ACCESS_KEY, SECRET), service, region).add_auth(request)
    return from_url(method, url, dict(request.headers.items()))


def presigned(
    method: str = "GET",
    path: str = "/bucket/key",
    query: str = "",
    headers: dict[str, str] | None = None,
    expires: int = 3600,
) -> HttpRequest:
    url = f"http://{HOST}{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method, url, headers or {})
    S3SigV4QueryAuth(Credentials(ACCESS_KEY, SECRET), "s3", REGION, expires=expires).add_auth(
        request
    )
    return from_url(method, request.url, dict(request.headers.items()))


def check(request: HttpRequest, *, secret: str = SECRET, now: float | None = None) -> Verified:
    claim = parse_authorization(request, region=REGION)
    assert claim.access_key_id == ACCESS_KEY
    now = in_s() if now is None else now
    return verify(claim, derive_signing_key(secret, claim.date, claim.region), now)


def refusal(request: HttpRequest, *, secret: str = SECRET, now: float | None = None) -> str:
    with pytest.raises(S3Error) as caught:
        check(request, secret=secret, now=now)
    assert SECRET not in str(caught.value)
    return caught.value.code.code


def replaced(request: HttpRequest, name: bytes, value: bytes) -> HttpRequest:
    request.headers = [
        (key, value if key == name else old) for key, old in request.headers if key != b""
    ]
    return request


@pytest.mark.parametrize("sign", [signed, presigned])
@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/", ""),
        ("/bucket", "list-type=2&prefix=a%2Fb%20c&delimiter=%2F"),
        ("/bucket/key", ""),
        ("/bucket/a%2Fb", ""),
        ("/bucket/..%2F..//x/../y", ""),
        ("/bucket/%E2%82%AC%20%2B%3D%26~._-", ""),
        ("/bucket/key", "uploads"),
        ("/bucket/key", "uploads="),
        ("/bucket/key", "partNumber=2&uploadId=x%2By"),
        ("/bucket", "a=2&a=10&a=1&A=3&b=~"),
    ],
)
def test_what_botocore_signs_is_taken(sign, path: str, query: str) -> None:
    check(sign(path=path, query=query))


def test_the_payload_kind_is_the_signed_one() -> None:
    verified = check(signed())
    assert verified.payload is Payload.HASHED
    assert verified.payload_sha256 is not None
    assert check(presigned()).payload is Payload.UNSIGNED
    assert check(signed_kind("UNSIGNED-PAYLOAD")).payload is Payload.UNSIGNED


@pytest.mark.parametrize("sign", [signed, presigned])
def test_another_secret_does_not_match(sign) -> None:
    assert refusal(sign(), secret=SECRET + "x") == "SignatureDoesNotMatch"


@pytest.mark.parametrize("sign", [signed, presigned])
def test_a_changed_request_does_not_match(sign) -> None:
    request = sign(path="/bucket/a/b", query="x=1")
    request.method = "DELETE"
    assert refusal(request) == "SignatureDoesNotMatch"
    request = sign(path="/bucket/a/b")
    request.path = b"/bucket/a%2Fb"
    assert refusal(request) == "SignatureDoesNotMatch"
    request = sign(query="x=1")
    request.query = request.query.replace(b"x=1", b"x=2")
    assert refusal(request) == "SignatureDoesNotMatch"
    request = sign()
    request.query += b"&uploads"
    assert refusal(request) == "SignatureDoesNotMatch"
    request = replaced(sign(), b"host", b"elsewhere:9000")
    assert refusal(request) == "SignatureDoesNotMatch"


@pytest.mark.incident(1)
@pytest.mark.parametrize("sign", [signed, presigned])
@pytest.mark.parametrize("name", [b"x-amz-copy-source", b"x-amz-acl", b"x-amz-meta-a"])
def test_an_unsigned_amz_header_is_refused(sign, name: bytes) -> None:
    request = sign()
    request.headers.append((name, b"/other/secret"))
    assert refusal(request) == "AccessDenied"


def test_signed_amz_headers_are_taken_and_bound() -> None:
    headers = {"x-amz-meta-a": "1  2", "x-amz-copy-source": "/b/k"}
    check(signed(headers=headers))
    request = replaced(signed(headers=headers), b"x-amz-copy-source", b"/b/other")
    assert refusal(request) == "SignatureDoesNotMatch"
    check(presigned("PUT", headers=headers))


def test_a_signed_header_that_was_taken_out_does_not_match() -> None:
    request = signed(headers={"content-md5": "1B2M2Y8AsgTpgAmY7PhCfg=="})
    request.headers = [pair for pair in request.headers if pair[0] != b"content-md5"]
    assert refusal(request) == "SignatureDoesNotMatch"


@pytest.mark.incident(8)
@pytest.mark.parametrize(
    ("seconds", "code"),
    [(899, None), (-899, None), (902, "RequestTimeTooSkewed"), (-902, "RequestTimeTooSkewed")],
)
def test_a_skewed_clock_is_refused(seconds: int, code: str | None) -> None:
    request = signed()
    now = dt.datetime.now(dt.UTC).timestamp() + seconds
    if code is None:
        check(request, now=now)
    else:
        assert refusal(request, now=now) == code


def test_a_presigned_url_holds_from_its_date_until_it_expires() -> None:
    request = presigned(expires=100)
    now = dt.datetime.now(dt.UTC).timestamp()
    check(request, now=now + 98)
    assert refusal(request, now=now + 102) == "AccessDenied"
    assert refusal(request, now=now - 905) == "AccessDenied"


@pytest.mark.parametrize("expires", [0, -1, 604801, 99999999])
def test_an_expiry_beyond_a_week_is_refused(expires: int) -> None:
    assert refusal(presigned(expires=expires)) == "AuthorizationQueryParametersError"


def test_the_date_header_does_when_there_is_no_amz_date() -> None:
    headers = {"Date": dt.datetime.now(dt.UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")}
    request = signed(headers=headers)
    assert request.header(b"x-amz-date") is None
    check(request)
    assert refusal(request, now=in_s(2000)) == "RequestTimeTooSkewed"


@pytest.mark.incident(8)
def test_no_date_at_all_is_refused() -> None:
    request = signed()
    request.headers = [pair for pair in request.headers if pair[0] != b"x-amz-date"]
    assert refusal(request) == "AccessDenied"


def test_the_body_hash_must_be_declared() -> None:
    request = signed()
    request.headers = [pair for pair in request.headers if pair[0] != b"x-amz-content-sha256"]
    assert refusal(request) == "InvalidRequest"


@pytest.mark.parametrize(
    ("declared", "code"),
    [
        ("", "InvalidArgument"),
        ("abc", "InvalidArgument"),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOADX", "InvalidArgument"),
        ("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "NotImplemented"),
        ("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER", "NotImplemented"),
    ],
)
def test_an_unknown_payload_kind_is_refused(declared: str, code: str) -> None:
    request = replaced(signed(), b"x-amz-content-sha256", declared.encode())
    assert refusal(request) == code


@pytest.mark.parametrize("kind", [kind for kind in Payload if kind.is_chunked])
def test_chunked_kinds_are_known_in_headers_only(kind: Payload) -> None:
    assert check(signed_kind(kind.value)).payload is kind
    request = presigned("PUT", headers={"X-Amz-Content-SHA256": kind.value})
    assert refusal(request) == "InvalidRequest"


@pytest.mark.parametrize(
    ("region", "service", "code"),
    [
        ("eu-west-1", "s3", "AuthorizationHeaderMalformed"),
        (REGION, "sqs", "AuthorizationHeaderMalformed"),
    ],
)
def test_another_scope_is_refused(region: str, service: str, code: str) -> None:
    assert refusal(signed(region=region, service=service)) == code


@pytest.mark.incident(34)
@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (b"AWS4-HMAC-SHA256 ", b"AWS ", "InvalidRequest"),
        (b"AWS4-HMAC-SHA256 ", b"AWS4-ECDSA-P256-SHA256 ", "NotImplemented"),
        (b"AWS4-HMAC-SHA256 ", b"Bearer ", "InvalidArgument"),
        (b"SignedHeaders=", b"SignedHeaders=;", "AuthorizationHeaderMalformed"),
        (b"SignedHeaders=host;", b"SignedHeaders=host;host;", "AuthorizationHeaderMalformed"),
        (b"SignedHeaders=host;", b"SignedHeaders=Host;", "AuthorizationHeaderMalformed"),
        (b"SignedHeaders=host;", b"SignedHeaders=", "AccessDenied"),
        (b"Signature=", b"Signature=0, Signature=", "AuthorizationHeaderMalformed"),
        (b", Signature=", b", Other=", "AuthorizationHeaderMalformed"),
        (b"/aws4_request", b"/aws5_request", "AuthorizationHeaderMalformed"),
        (b"/s3/", b"/s3/x/", "AuthorizationHeaderMalformed"),
        (b"Signature=", b"Signature=\xff", "SignatureDoesNotMatch"),
        (b"Credential=", b"Credential=/", "AuthorizationHeaderMalformed"),
    ],
)
def test_a_malformed_authorization_is_refused(old: bytes, new: bytes, code: str) -> None:
    request = signed()
    value = request.header(b"authorization") or b""
    assert old in value
    assert refusal(replaced(request, b"authorization", value.replace(old, new))) == code


def test_the_credential_must_be_of_the_day_of_the_request() -> None:
    request = replaced(signed(), b"x-amz-date", b"20200101T000000Z")
    assert refusal(request) == "AuthorizationHeaderMalformed"


@pytest.mark.incident(33)
@pytest.mark.parametrize("name", [b"authorization", b"x-amz-date", b"x-amz-content-sha256"])
def test_a_repeated_header_is_refused(name: bytes) -> None:
    request = signed()
    request.headers.append((name, request.header(name) or b""))
    assert refusal(request) == "InvalidArgument"


@pytest.mark.incident(34)
def test_credentials_in_two_places_are_refused() -> None:
    request = presigned()
    request.headers.append((b"authorization", b"AWS4-HMAC-SHA256 Credential=x"))
    assert refusal(request) == "InvalidArgument"
    request = signed()
    request.query = b"X-Amz-Signature=0"
    assert refusal(request) == "InvalidArgument"


@pytest.mark.incident(34)
@pytest.mark.parametrize(
    "name",
    ["Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature"],
)
def test_a_presigning_parameter_must_be_there_once(name: str) -> None:
    request = presigned()
    fields = request.query.split(b"&")
    mine = next(field for field in fields if field.startswith(f"X-Amz-{name}=".encode()))
    request.query = b"&".join([*fields, mine])
    assert refusal(request) == "AuthorizationQueryParametersError"
    request.query = b"&".join(field for field in fields if field is not mine)
    assert refusal(request) == "AuthorizationQueryParametersError"


def test_a_session_token_is_signed_and_given_once_where_the_signature_is() -> None:
    claim = parse_authorization(presigned(query="X-Amz-Security-Token=x%2By"), region=REGION)
    assert claim.token == "x+y"
    assert parse_authorization(signed(), region=REGION).token is None
    request = signed()
    request.headers.append((b"x-amz-security-token", b"x"))
    assert refusal(request) == "AccessDenied"  # It is not among the signed headers.
    for token in ("X-Amz-Security-Token=x", "x-amz-security-token=x"):
        request = signed()
        request.query = token.encode()
        assert refusal(request) == "InvalidArgument"
        request = presigned(query="X-Amz-Security-Token=x")
        request.query += b"&" + token.encode()
        assert refusal(request) == "InvalidArgument"
    request = presigned(query="X-Amz-Security-Token=x")
    request.headers.append((b"x-amz-security-token", b"x"))
    assert refusal(request) == "InvalidArgument"
    for query in (b"", b"X-Amz-Security-Token=x"):
        request = HttpRequest("GET", b"/b/k", b"/b/k", query, [(b"host", b"x")])
        if not query:
            request.headers.append((b"x-amz-security-token", b"x"))
        assert refusal(request) == "InvalidToken"
    assert "x+y" not in repr(claim)


def test_an_anonymous_request_is_denied() -> None:
    request = HttpRequest("GET", b"/b/k", b"/b/k", b"", [(b"host", b"x")])
    assert refusal(request) == "AccessDenied"
    request.headers.append((b"authorization", b""))
    assert refusal(request) == "AccessDenied"
    request.query = b"AWSAccessKeyId=x&Signature=y&Expires=1"
    assert refusal(request) == "InvalidRequest"


def test_an_amz_parameter_of_a_presigned_url_counts_as_signed_with_it() -> None:
    request = presigned("PUT", query="x-amz-meta-a=1")
    request.headers.append((b"x-amz-meta-a", b"1"))
    check(request)


@pytest.mark.incident(37)
def test_no_secret_shows_where_a_signature_is_printed() -> None:
    verified = check(signed())
    shown = repr(verified)
    assert repr(verified.signing_key) not in shown
    assert verified.seed_signature not in shown


@pytest.mark.fault("L")
@pytest.mark.parametrize("name", ["content-type", "x-custom", "cache-control"])
def test_a_signed_header_that_comes_twice_is_refused(name: str) -> None:
    request = signed(headers={name: "a,b"})
    request.headers = [pair for pair in request.headers if pair[0] != name.encode()]
    request.headers += [(name.encode(), b"a"), (name.encode(), b"b")]
    assert refusal(request) == "InvalidArgument"


@pytest.mark.fault("L")
@pytest.mark.parametrize("name", ["content-type", "x-amz-meta-a", "x-amz-copy-source"])
def test_a_signed_header_with_a_tab_for_a_space_is_refused(name: str) -> None:
    request = signed(headers={name: "a b"})
    check(request)
    assert refusal(replaced(request, name.encode(), b"a\tb")) == "InvalidArgument"


@pytest.mark.fault("L")
@pytest.mark.parametrize("name", ["x-amz-meta-a", "x-amz-object-attributes"])
def test_a_signed_list_in_several_lines_is_one_value(name: str) -> None:
    request = signed(headers={name: "a,b"})
    request.headers = [pair for pair in request.headers if pair[0] != name.encode()]
    request.headers += [(name.encode(), b"a"), (name.encode(), b"b")]
    check(request)
