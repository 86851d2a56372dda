"""Any bytes into the parsers of the S3 front: a decision or the one error, bounded."""

from __future__ import annotations

import base64
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common import limits
from common.format.access_lists import AccessList
from common.http.head import BadHead, parse_head
from common.http.records import HttpRequest
from gateway_s3.auth.chunked import ChunkDecoder, announced_trailers, payload_bytes
from gateway_s3.auth.sigv2 import Form, parse_v2, verify_v2
from gateway_s3.auth.sigv4 import Claim, Payload, Verified, parse_authorization, verify
from gateway_s3.errors import S3Error
from gateway_s3.request.acl import asked_list
from gateway_s3.request.checksums import content_md5, expected_checksum
from gateway_s3.request.conditions import read_conditions, write_condition
from gateway_s3.request.copy_source import parse_copy_source
from gateway_s3.request.form import FormHead
from gateway_s3.request.headers import content_headers, user_metadata
from gateway_s3.request.listing_params import (
    list_buckets_params,
    list_objects_params,
    list_objects_v2_params,
    list_parts_params,
    list_uploads_params,
)
from gateway_s3.request.locks import lock_of_request, parse_date
from gateway_s3.request.post_policy import parse_post_policy
from gateway_s3.request.presigned import lift_headers
from gateway_s3.request.query import Query
from gateway_s3.request.router import Route, route
from gateway_s3.request.tags import bucket_tags, parse_tagging_header
from gateway_s3.xml.acl import parse_acl, parse_ownership
from gateway_s3.xml.configurations import parse_cors, parse_tagging
from gateway_s3.xml.locks import parse_hold, parse_lock_configuration, parse_retention
from gateway_s3.xml.read import (
    parse_complete_upload,
    parse_create_bucket,
    parse_delete,
    parse_versioning,
)
from gateway_s3.xml.website import parse_website

METHODS = st.sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"])
PIECES = st.sampled_from(
    [
        b"/",
        b"%",
        b"%2F",
        b"%00",
        b"..",
        b"bucket",
        b"?",
        b"&",
        b"=",
        b"uploads",
        b"uploadId",
        b"partNumber",
        b"acl",
        b"list-type=2",
        b"versionId",
        b"+",
        b"\xff",
        b"X-Amz-Signature",
        b"X-Amz-Credential",
        b"x-amz-acl",
        b"X-Amz-Expires=5",
    ]
)
TEXT = st.lists(PIECES | st.binary(max_size=6), max_size=20).map(b"".join)
NAMES = st.sampled_from(
    [
        b"host",
        b"authorization",
        b"x-amz-date",
        b"date",
        b"x-amz-content-sha256",
        b"x-amz-decoded-content-length",
        b"x-amz-trailer",
        b"x-amz-checksum-crc32",
        b"x-amz-sdk-checksum-algorithm",
        b"x-amz-copy-source",
        b"x-amz-meta-a",
        b"content-md5",
        b"content-encoding",
        b"if-match",
        b"if-none-match",
        b"if-modified-since",
        b"x-amz-acl",
    ]
)
VALUES = st.binary(max_size=40) | st.sampled_from(
    [
        b"AWS4-HMAC-SHA256 Credential=A/20260101/us-east-1/s3/aws4_request, SignedHeaders=host;"
        b"x-amz-date;x-amz-content-sha256, Signature=00",
        b"20260101T000000Z",
        b"20269999T999999Z",
        b"Thu, 01 Jan 2026 00:00:00 GMT",
        b"Thu, 99 Jan 99999999999 00:00:00 -9999",
        b"UNSIGNED-PAYLOAD",
        b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        b"*",
        b"1",
        b"",
        b"b/k",
    ]
)
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=10)


def request_of(method: str, target: bytes, headers: list[tuple[bytes, bytes]]) -> HttpRequest:
    path, _, query = (b"/" + target).partition(b"?")
    return HttpRequest(method, b"/" + target, path, query, list(headers))


@contextmanager
def refused_with(statuses: Container[int]) -> Iterator[None]:
    """Accept that S3 refuses what is done within, with one of these statuses."""
    refused: S3Error | None = None
    try:
        yield
    except S3Error as error:
        refused = error
    assert refused is None or refused.status in statuses


@pytest.mark.incident(22)
@settings(max_examples=200, deadline=None)
@given(METHODS, TEXT, HEADERS)
def test_any_request_is_routed_or_refused(
    method: str, target: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    with refused_with(range(400, 600)):
        found = route(request_of(method, target, headers), ["example.org"])
        assert isinstance(found, Route)
        assert found.operation.implemented
        assert found.operation.method == method
        assert len(found.key) <= 1024


@settings(max_examples=200, deadline=None)
@given(METHODS, TEXT, HEADERS)
def test_any_authorization_is_a_claim_that_does_not_hold_or_an_error(
    method: str, target: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    try:
        claim = parse_authorization(request_of(method, target, headers), region="us-east-1")
    except S3Error:
        return
    assert isinstance(claim, Claim)
    with pytest.raises(S3Error):
        verify(claim, b"k" * 32, claim.signed_at)


@settings(max_examples=200, deadline=None)
@given(METHODS, TEXT, HEADERS, st.sampled_from(list(Form)))
def test_any_version_2_signature_is_a_claim_that_does_not_hold_or_an_error(
    method: str, target: bytes, headers: list[tuple[bytes, bytes]], form: Form
) -> None:
    credentials = b"&AWSAccessKeyId=AK&Expires=99&Signature=x"
    request = request_of(method, target + (credentials if form is Form.QUERY else b""), headers)
    if form is Form.HEADER:
        request.add(b"authorization", b"AWS AK:x")
        request.add(b"x-amz-date", b"20260101T000000Z")
    try:
        query = Query(request.query)
        lift_headers(request, query)
        claim = parse_v2(request, query, form, "bucket")
    except S3Error:
        return
    with pytest.raises(S3Error):
        verify_v2(claim, "secret", claim.signed_at or 98.0)


@pytest.mark.incident(22)
@settings(max_examples=150, deadline=None)
@given(TEXT, HEADERS)
def test_any_headers_and_parameters_are_read_or_refused(
    text: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    request = request_of("PUT", text, headers)
    readers: Sequence[Callable[[], object]] = [
        lambda: content_md5(request),
        lambda: expected_checksum(request, announced_trailers(request, Payload.SIGNED_CHUNKS)),
        lambda: payload_bytes(request, Payload.SIGNED_CHUNKS),
        lambda: read_conditions(request).decide("e", 0),
        lambda: write_condition(request),
        lambda: user_metadata(request),
        lambda: content_headers(request),
        lambda: parse_copy_source(text),
        lambda: parse_tagging_header(text),
        lambda: lock_of_request(request, 0),
        lambda: asked_list(request_of("PUT", b"", [(b"x-amz-grant-read", text)])),
        lambda: list_objects_params(Query(text)),
        lambda: list_objects_v2_params(Query(text)),
        lambda: list_uploads_params(Query(text)),
        lambda: list_parts_params(Query(text)),
        lambda: list_buckets_params(Query(text)),
    ]
    for read in readers:
        with refused_with({400, 404, 405, 411, 501}):
            read()


CHUNK_PIECES = st.sampled_from(
    [
        b"5",
        b"0",
        b"\r\n",
        b"\n",
        b";chunk-signature=",
        b"0" * 64,
        b"hello",
        b"x-amz-checksum-crc32:AAAAAA==",
        b"x-amz-trailer-signature:",
        b"ffffff",
    ]
)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([kind for kind in Payload if kind.is_chunked]),
    st.lists(CHUNK_PIECES | st.binary(max_size=20), max_size=30).map(b"".join),
    st.integers(0, 20),
    st.integers(1, 30),
)
def test_any_body_is_decoded_within_its_promise_or_refused(
    kind: Payload, data: bytes, promised: int, step: int
) -> None:
    verified = Verified("A", kind, None, b"k" * 32, "0" * 64, "t", "s", False)
    decoder = ChunkDecoder(verified, decoded_bytes=promised)
    released = 0
    try:
        for at in range(0, len(data), step):
            released += sum(map(len, decoder.feed(data[at : at + step])))
        decoder.finish()
    except S3Error:
        assert released <= promised
    else:
        assert released == promised
    if kind is not Payload.UNSIGNED_CHUNKS_TRAILER:
        assert released == 0, "no signature of these can hold"


FORM_PIECES = st.sampled_from(
    [
        b"--b",
        b"\r\n--b\r\n",
        b"\r\n--b--",
        b"\r\n",
        b"\r\n\r\n",
        b'Content-Disposition: form-data; name="key"',
        b'Content-Disposition: form-data; name="file"; filename="a"',
        b'"',
        b"; name=",
        b"v" * 3000,
    ]
)


@pytest.mark.incident(18)
@settings(max_examples=200, deadline=None)
@given(st.lists(FORM_PIECES | st.binary(max_size=8), max_size=30).map(b"".join), st.integers(1, 40))
def test_any_form_is_read_alike_however_it_comes_or_refused(data: bytes, step: int) -> None:
    def read(step: int) -> tuple[object, ...]:
        head = FormHead(b"b")
        try:
            for at in range(0, len(data), step):
                if head.feed(data[at : at + step]):
                    return head.fields, head.file, head.file_start
        except S3Error as error:
            return (error.code,)
        return ()

    assert read(step) == read(len(data) or 1)


POLICY_PIECES = st.sampled_from(
    [
        "{",
        "}",
        "[",
        "]",
        ",",
        '"expiration": "2099-01-01T00:00:00Z"',
        '"conditions": [',
        '["starts-with", "$key", ""]',
        '["content-length-range", 0, 10]',
        '{"bucket": "b"}',
        '"eq"',
        "1e999",
        "NaN",
        "null",
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(POLICY_PIECES | st.text(max_size=5), max_size=20).map("".join))
def test_any_policy_of_a_form_is_read_or_refused(text: str) -> None:
    for encoded in (
        base64.b64encode(text.encode("utf-8", "replace")),
        text.encode("utf-8", "replace"),
    ):
        with refused_with({400, 403}):
            policy = parse_post_policy(encoded)
            policy.check({"key": "k"}, "b", 0.0)
            policy.check_size(5)


XML_PIECES = st.sampled_from(
    [
        b"<Delete>",
        b"</Delete>",
        b"<Object>",
        b"</Object>",
        b"<Key>",
        b"</Key>",
        b"k",
        b"<CompleteMultipartUpload>",
        b"</CompleteMultipartUpload>",
        b"<Part>",
        b"</Part>",
        b"<PartNumber>1</PartNumber>",
        b"<ETag>e</ETag>",
        b"<Tagging><TagSet>",
        b"</TagSet></Tagging>",
        b"<Tag><Key>a</Key><Value>b</Value></Tag>",
        b"<WebsiteConfiguration>",
        b"</WebsiteConfiguration>",
        b"<IndexDocument><Suffix>i</Suffix></IndexDocument>",
        b"<RoutingRules><RoutingRule><Redirect><HostName>h</HostName></Redirect>",
        b"</RoutingRule></RoutingRules>",
        b"<CORSConfiguration>",
        b"</CORSConfiguration>",
        b"<CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin>",
        b"<ExposeHeader>",
        b"</ExposeHeader>",
        b"<MaxAgeSeconds>1</MaxAgeSeconds>",
        b"</CORSRule>",
        b"<VersioningConfiguration>",
        b"<Status>Enabled</Status>",
        b"<MfaDelete>Disabled</MfaDelete>",
        b"</VersioningConfiguration>",
        b"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>",
        b"<Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Days>1</Days></DefaultRetention></Rule>",
        b"</ObjectLockConfiguration>",
        b"<Retention>",
        b"<Mode>COMPLIANCE</Mode>",
        b"<RetainUntilDate>2999-01-01T00:00:00Z</RetainUntilDate>",
        b"</Retention>",
        b"<LegalHold><Status>ON</Status></LegalHold>",
        b"<AccessControlPolicy><Owner><ID>o</ID></Owner><AccessControlList>",
        b"</AccessControlList></AccessControlPolicy>",
        b"<Grant><Grantee><EmailAddress>e</EmailAddress></Grantee><Permission>READ</Permission>",
        b"<Grant><Grantee><ID>%b</ID></Grantee><Permission>READ</Permission></Grant>" % (b"0" * 32),
        b"<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule>",
        b"</OwnershipControls>",
        b"<!DOCTYPE a>",
        b"&amp;",
        b"&x;",
        b"<![CDATA[",
        b"]]>",
        b"<!--",
        b"-->",
        b"<?pi ?>",
        b'<a xmlns="b">',
    ]
)


@pytest.mark.incident(18)
@settings(max_examples=200, deadline=None)
@given(st.lists(XML_PIECES | st.binary(max_size=5), max_size=30).map(b"".join))
def test_any_document_is_read_or_refused(data: bytes) -> None:
    parsers: Sequence[Callable[[bytes], object]] = (
        parse_delete,
        parse_complete_upload,
        parse_create_bucket,
        parse_versioning,
        lambda document: bucket_tags(parse_tagging(document)).pack(),
        lambda document: parse_cors(document).pack(),
        lambda document: parse_website(document).pack(),
        lambda document: parse_lock_configuration(document).pack(),
        lambda document: parse_retention(document).pack(),
        parse_hold,
        lambda document: AccessList(1, parse_acl(document).grants).pack(),
        parse_ownership,
    )
    for parse in parsers:
        with refused_with({400, 405, 501}):
            parse(data)


DATES = st.lists(
    st.sampled_from(
        ["2999-12-31T", "9999-12-31T23:59:59", "T", "23:59:59", ".5", "Z", "-14:00", "-W01-1"]
    )
    | st.text(max_size=3),
    max_size=6,
).map("".join)


@settings(max_examples=200, deadline=None)
@given(DATES)
def test_any_date_of_a_retention_is_a_time_that_can_be_kept_or_none(text: str) -> None:
    until_ms = parse_date(text)
    assert until_ms is None or 0 < until_ms <= limits.MAX_DATE_MS


HEAD_PIECES = st.sampled_from(
    [
        b"GET / HTTP/1.1\r\n",
        b"PUT /a HTTP/1.1\r\n",
        b"Host: a\r\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b":",
        b"\0",
        b"Connection: close\r\n",
        b"Expect: 100-continue\r\n",
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(HEAD_PIECES | st.binary(max_size=8), max_size=20).map(b"".join))
def test_any_head_is_unambiguous_or_refused(data: bytes) -> None:
    end = data.find(b"\r\n\r\n")
    bad: BadHead | None = None
    try:
        head = parse_head(data[: end + 4] if end >= 0 else data + b"\r\n\r\n")
    except BadHead as error:
        bad = error
    if bad is not None:
        assert bad.status in {400, 414, 431, 501, 505}
        return
    names = [name for name, _ in head.headers]
    assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1
    assert names.count(b"host") <= 1
    assert not any(b"\r" in value or b"\n" in value or b"\0" in value for _, value in head.headers)
