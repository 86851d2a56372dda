"""Names, copy sources, listing parameters and content headers: read strictly, bounded."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from common.errors import Corrupt, NotFound, OutcomeUnknown, PeerViolation, Refused, Unavailable
from common.http.records import HttpRequest
from common.reasons import Absence, Damage, Outage, Refusal, Uncertainty, Violation
from gateway.names import IdentityNames, is_bucket_name
from gateway.versions import VersionName
from gateway_s3 import errors
from gateway_s3.errors import S3Error
from gateway_s3.request.copy_source import CopySource, parse_copy_source
from gateway_s3.request.headers import (
    content_headers,
    overridden,
    response_overrides,
    user_metadata,
)
from gateway_s3.request.listing_params import (
    list_buckets_params,
    list_objects_params,
    list_objects_v2_params,
    list_parts_params,
    list_uploads_params,
    make_token,
    read_token,
)
from gateway_s3.request.names import check_bucket_name, check_key
from gateway_s3.request.query import Query
from gateway_s3.translation import from_error


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(S3Error) as caught:
        action()
    return caught.value.code.code


def with_headers(*headers: tuple[bytes, bytes]) -> HttpRequest:
    return HttpRequest("PUT", b"", b"", b"", list(headers))


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["abc", "a-b.c", "123", "a" * 63, "1.2.3", "a.b"])
def test_a_name_that_a_bucket_may_have(name: str) -> None:
    assert check_bucket_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "ab",
        "a" * 64,
        "Abc",
        "a_b",
        "-abc",
        "abc-",
        ".abc",
        "a..b",
        "a.-b",
        "a-.b",
        "192.168.1.1",
        "xn--abc",
        "abc-s3alias",
        "a/b",
        "a\nb",
        "abc\n",
        "äbc",
        "..",
    ],
)
def test_a_name_that_a_bucket_may_not_have(name: str) -> None:
    assert not is_bucket_name(name)
    assert refusal(lambda: check_bucket_name(name)) == "InvalidBucketName"


def test_a_key_is_1_to_1024_bytes_of_utf8_and_otherwise_opaque() -> None:
    for key in (b"\0", b"..", b"../../x", b"//", "é".encode() * 512, b"\r\n", b" "):
        assert check_key(key) == key
        assert IdentityNames().decode(IdentityNames().encode(key)) == key
    assert refusal(lambda: check_key(b"a" * 1025)) == "KeyTooLongError"
    for key in (b"", b"\xff", b"\xed\xa0\x80", b"\xc0\x80"):
        assert refusal(lambda key=key: check_key(key)) == "InvalidURI"


# --- copy source ---------------------------------------------------------------------------------


@pytest.mark.incident(23)
@pytest.mark.parametrize(
    ("header", "source"),
    [
        (b"/bucket/key", CopySource("bucket", b"key")),
        (b"bucket/key", CopySource("bucket", b"key")),
        (b"bucket/a%2Fb%20c/d", CopySource("bucket", b"a/b c/d")),
        (b"bucket%2Fkey", CopySource("bucket", b"key")),
        (b"%2Fbucket%2Fkey", CopySource("bucket", b"key")),
        (b"bucket/key?versionId=null", CopySource("bucket", b"key", VersionName(None))),
        (b"bucket/../other/key", CopySource("bucket", b"../other/key")),
        (b"bucket/a%3Fb", CopySource("bucket", b"a?b")),
        (b"bucket/a+b", CopySource("bucket", b"a b")),
        (b"bucket/a%2Bb", CopySource("bucket", b"a+b")),
    ],
)
def test_a_copy_source_is_split_before_it_is_decoded(header: bytes, source: CopySource) -> None:
    assert parse_copy_source(header) == source


@pytest.mark.incident(17)
@pytest.mark.parametrize(
    ("header", "code"),
    [
        (b"", "InvalidArgument"),
        (b"/", "InvalidArgument"),
        (b"bucket", "InvalidArgument"),
        (b"bucket/", "InvalidArgument"),
        (b"/../key", "InvalidArgument"),
        (b"//key", "InvalidArgument"),
        (b"Bucket/key", "InvalidArgument"),
        (b"bucket/%zz", "InvalidArgument"),
        (b"bucket/%ff", "InvalidArgument"),
        (b"bucket/key?acl", "InvalidArgument"),
        (b"bucket/key?versionId=x", "InvalidArgument"),
        (b"arn:aws:s3:us-east-1:1:accesspoint/x/object/k", "NotImplemented"),
        (b"bucket/" + b"a" * 1025, "KeyTooLongError"),
    ],
)
def test_a_copy_source_that_is_none_is_refused(header: bytes, code: str) -> None:
    assert refusal(lambda: parse_copy_source(header)) == code


# --- listings ------------------------------------------------------------------------------------


@pytest.mark.incident(21)
def test_listing_parameters_have_their_defaults_and_bounds() -> None:
    params = list_objects_params(Query(b"prefix=a%2F&delimiter=/&marker=a/b&max-keys=5000"))
    assert (params.prefix, params.delimiter, params.after) == (b"a/", b"/", b"a/b")
    assert (params.limit, params.encode_url) == (1000, False)
    assert list_objects_params(Query(b"max-keys=0&encoding-type=url")).limit == 0
    token = make_token(b"a\0\xff")
    found = list_objects_v2_params(Query(b"start-after=x&continuation-token=" + token.encode()))
    assert (found.after, found.start_after, found.token) == (b"a\0\xff", b"x", token)
    assert list_objects_v2_params(Query(b"start-after=x&fetch-owner=true")).after == b"x"
    empty = list_objects_v2_params(Query(b"start-after=x&continuation-token="))
    assert (empty.after, empty.token) == (b"x", "")
    parts = list_parts_params(Query(b"part-number-marker=7&max-parts=2"))
    assert (parts.after, parts.limit) == (7, 2)
    uploads = list_uploads_params(Query(b"key-marker=k&upload-id-marker=u"))
    assert (uploads.after, uploads.after_upload) == (b"k", "u")
    assert list_uploads_params(Query(b"upload-id-marker=u")).after_upload == ""
    buckets = list_buckets_params(Query(b"max-buckets=3&prefix=p"))
    assert (buckets.limit, buckets.prefix, buckets.after) == (3, "p", "")


@pytest.mark.incident(21)
@pytest.mark.parametrize(
    "query",
    [
        b"max-keys=-1",
        b"max-keys=x",
        b"max-keys=99999999999",
        b"max-keys=2147483648",
        b"max-keys=%D9%A1",
        b"encoding-type=base64",
        b"prefix=" + b"a" * 1025,
        b"prefix=%ff",
        b"continuation-token=AAAA",
        b"continuation-token=***",
        b"continuation-token=" + make_token(b"a" * 2000).encode(),
    ],
)
def test_a_listing_parameter_that_is_none_is_refused(query: bytes) -> None:
    assert refusal(lambda: list_objects_v2_params(Query(query))) == "InvalidArgument"


def test_a_token_brings_back_its_name() -> None:
    for name in (b"", b"a", b"\xff\0/+", b"x" * 1024):
        assert read_token(make_token(name)) == name


def test_no_bucket_limit_below_one() -> None:
    for text in (b"0", b"10001", b"x"):
        assert refusal(lambda text=text: list_buckets_params(Query(b"max-buckets=" + text)))


# --- headers -------------------------------------------------------------------------------------


def test_user_metadata_is_kept_in_order_and_bounded() -> None:
    request = with_headers(
        (b"x-amz-meta-b", b"1"), (b"x-amz-meta-a", b"2"), (b"x-amz-meta-b", b"3"), (b"x", b"y")
    )
    assert user_metadata(request) == [(b"b", b"1,3"), (b"a", b"2")]
    assert user_metadata(with_headers((b"x-amz-meta-a", b"v" * 2047)))
    too_much = with_headers((b"x-amz-meta-a", b"v" * 2048))
    assert refusal(lambda: user_metadata(too_much)) == "MetadataTooLarge"


def test_content_headers_are_kept_without_the_form_of_transfer() -> None:
    request = with_headers(
        (b"content-encoding", b"aws-chunked, gzip"), (b"cache-control", b"no-cache"), (b"x", b"y")
    )
    assert content_headers(request) == [
        (b"cache-control", b"no-cache"),
        (b"content-encoding", b"gzip"),
        (b"content-type", b"binary/octet-stream"),
    ]
    request = with_headers((b"content-encoding", b"aws-chunked"), (b"content-type", b"text/plain"))
    assert content_headers(request) == [(b"content-type", b"text/plain")]


@pytest.mark.incident(20)
def test_overrides_replace_headers_for_signed_requests_and_inject_nothing() -> None:
    query = Query(b"response-content-type=text%2Fhtml&response-expires=x")
    overrides = response_overrides(query, signed=True)
    assert overridden([(b"content-type", b"a"), (b"etag", b"b")], overrides) == [
        (b"etag", b"b"),
        (b"content-type", b"text/html"),
        (b"expires", b"x"),
    ]
    assert refusal(lambda: response_overrides(query, signed=False)) == "InvalidRequest"
    for bad in (b"a%0d%0ab", b"a%0ab", b"a%00b"):
        query = Query(b"response-content-disposition=" + bad)
        assert refusal(lambda query=query: response_overrides(query, signed=True)) == (
            "InvalidArgument"
        )


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound(Absence.NO_SUCH_BUCKET), "NoSuchBucket"),
        (NotFound(Absence.NO_SUCH_OBJECT), "NoSuchKey"),
        (Refused(Refusal.CONDITION_FAILED), "PreconditionFailed"),
        (Refused(Refusal.BODY_TOO_SHORT), "IncompleteBody"),
        (Unavailable(Outage.NO_RING), "ServiceUnavailable"),
        (Unavailable.received("anything else"), "ServiceUnavailable"),
        (OutcomeUnknown(Uncertainty.CONNECTION_LOST), "ServiceUnavailable"),
        (Corrupt(Damage.RECORD_NOT_AUTHENTIC), "InternalError"),
        (Refused.received("a reason of tomorrow"), "InternalError"),
        (PeerViolation(Violation.BAD_RECORD), "InternalError"),
        (S3Error(errors.NO_SUCH_KEY), "NoSuchKey"),
    ],
)
def test_our_errors_become_theirs_and_keep_our_facts_inside(error: Exception, code: str) -> None:
    told = from_error(error)
    assert told.code.code == code
    assert not told.fields
