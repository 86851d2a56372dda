"""XML: what clients send is read within bounds, what they get is well-formed and escaped."""

from __future__ import annotations

from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from gateway.checksums import Algorithm
from gateway_s3 import errors
from gateway_s3.errors import S3Error
from gateway_s3.handlers.unset import REQUEST_PAYMENT
from gateway_s3.request.listing_params import list_objects_params, list_objects_v2_params
from gateway_s3.request.query import Query
from gateway_s3.xml import write
from gateway_s3.xml.read import (
    DeleteTarget,
    NamedPart,
    parse_complete_upload,
    parse_create_bucket,
    parse_delete,
)

NS = "{http://s3.amazonaws.com/doc/2006-03-01/}"
PARSERS = [parse_create_bucket, parse_delete, parse_complete_upload]


def refusal(parse, data: bytes) -> str:
    with pytest.raises(S3Error) as caught:
        parse(data)
    return caught.value.code.code


BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol">'
    + b"".join(
        b'<!ENTITY lol%d "%s">' % (n, b"&lol%s;" % (b"%d" % (n - 1) if n > 1 else b"") * 10)
        for n in range(1, 10)
    )
    + b"]><Delete><Object><Key>&lol9;</Key></Object></Delete>"
)


@pytest.mark.incident(9)
@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize(
    "data",
    [
        b"<",
        b"<a>",
        b"<a/>",
        b"no xml",
        b"\x00",
        b"<Delete></Delete>x",
        b"<Delete><Object></Delete>",
        BOMB,
        b'<!DOCTYPE Delete SYSTEM "file:///etc/passwd"><Delete/>',
        b'<!DOCTYPE Delete [<!ENTITY x SYSTEM "file:///etc/passwd">]><Delete>&x;</Delete>',
        b"<Delete>&undefined;</Delete>",
        b"<a>" * 100_000,
        b"<Delete>" + b"<Object>" * 20 + b"</Object>" * 20 + b"</Delete>",
        b"<CompleteMultipartUpload>" + b"<Part/>" * 200_000 + b"</CompleteMultipartUpload>",
        b"<Delete>" + b"<Object/>" * 200_000 + b"</Delete>",
        '<?xml version="1.0" encoding="UTF-16"?><Delete/>'.encode("utf-16"),
        b'<?xml version="1.0" encoding="utf-7"?><Delete/>',
        b"<Delete>" + b"x" * (2 * 1024 * 1024) + b"</Delete>",
    ],
)
def test_what_is_no_such_document_is_refused(parse, data: bytes) -> None:
    assert refusal(parse, data) == "MalformedXML"


@pytest.mark.parametrize("head", [b"", b' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'])
def test_objects_to_delete_are_read(head: bytes) -> None:
    data = (
        b'<?xml version="1.0" encoding="UTF-8"?>\n<Delete' + head + b">\n <Quiet>true</Quiet>"
        b"<Object><Key> a&lt;&#13;b </Key></Object>"
        b'<Object><Key>c</Key><VersionId>null</VersionId><ETag>"x"</ETag></Object></Delete>'
    )
    found = parse_delete(data)
    assert found.quiet
    assert found.targets == (
        DeleteTarget(b" a<\rb ", None, None),
        DeleteTarget(b"c", "null", "x"),
    )


def objects(count: int) -> bytes:
    return b"<Delete>" + b"<Object><Key>k</Key></Object>" * count + b"</Delete>"


def test_at_most_a_thousand_objects_are_deleted_at_once() -> None:
    assert len(parse_delete(objects(1000)).targets) == 1000
    for count in (0, 1001, 10_001):
        assert refusal(parse_delete, objects(count)) == "MalformedXML"


@pytest.mark.parametrize(
    ("inner", "code"),
    [
        (b"", "MalformedXML"),
        (b"<Key></Key>", "MalformedXML"),
        (b"<Key>a</Key><Key>b</Key>", "MalformedXML"),
        (b"<Key>a</Key><Other/>", "MalformedXML"),
        (b"<Key>a</Key><Size>x</Size>", "MalformedXML"),
        (b"<Key>a</Key><LastModifiedTime>x</LastModifiedTime>", "MalformedXML"),
    ],
)
def test_an_object_to_delete_is_refused_rather_than_half_understood(
    inner: bytes, code: str
) -> None:
    assert refusal(parse_delete, b"<Delete><Object>" + inner + b"</Object></Delete>") == code


def completion(*parts: bytes) -> bytes:
    return (
        b"<CompleteMultipartUpload>"
        + b"".join(b"<Part>" + part + b"</Part>" for part in parts)
        + b"</CompleteMultipartUpload>"
    )


def part(number: int) -> bytes:
    return b'<PartNumber>%d</PartNumber><ETag>"e"</ETag>' % number


def test_parts_are_read_with_their_checksums() -> None:
    data = completion(part(1) + b"<ChecksumCRC32> AAAAAA== </ChecksumCRC32>", part(7))
    assert parse_complete_upload(data) == (
        NamedPart(1, "e", {Algorithm.CRC32: "AAAAAA=="}),
        NamedPart(7, "e", {}),
    )
    assert len(parse_complete_upload(completion(*[part(n) for n in range(1, 10_001)]))) == 10_000


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ([], "MalformedXML"),
        ([part(2), part(1)], "InvalidPartOrder"),
        ([part(1), part(1)], "InvalidPartOrder"),
        ([part(0)], "InvalidArgument"),
        ([part(10_001)], "InvalidArgument"),
        ([b"<PartNumber>x</PartNumber><ETag>e</ETag>"], "MalformedXML"),
        ([b"<PartNumber>1</PartNumber>"], "MalformedXML"),
        ([b"<ETag>e</ETag>"], "MalformedXML"),
        ([part(1) + b"<ETag>f</ETag>"], "MalformedXML"),
        ([part(1) + b"<ChecksumSHA512>x</ChecksumSHA512>"], "NotImplemented"),
        ([part(1) + b"<Other/>"], "MalformedXML"),
    ],
)
def test_parts_that_make_no_object_are_refused(parts: list[bytes], code: str) -> None:
    assert refusal(parse_complete_upload, completion(*parts)) == code


def test_a_bucket_may_be_made_without_or_with_a_place() -> None:
    assert parse_create_bucket(b" \n") is None
    wrap = b"<CreateBucketConfiguration>%s</CreateBucketConfiguration>"
    assert parse_create_bucket(wrap % b"") is None
    place = b"<LocationConstraint>eu-west-1</LocationConstraint>"
    assert parse_create_bucket(wrap % place) == "eu-west-1"
    assert refusal(parse_create_bucket, wrap % (place * 2)) == "MalformedXML"
    assert refusal(parse_create_bucket, wrap % b"<Tags/>") == "NotImplemented"


KEYS = ["a<b>&\"'", "tab\tnewline\n", "é€😀", " lead", "a%20+b"]


def rows(keys: list[str]) -> list[write.ObjectElement]:
    return [write.ObjectElement(key.encode(), 1_234_567_890_123, "e", 5) for key in keys]


def test_keys_come_back_as_they_are() -> None:
    params = list_objects_params(Query(b"prefix=%3C&delimiter=%26"))
    document = write.list_objects(
        params, write.ObjectElements("b", rows(KEYS), [b"p<"], "o", True, b"n&")
    )
    root = ElementTree.fromstring(document)
    assert [each.text for each in root.iter(f"{NS}Key")] == KEYS
    assert root.findtext(f"{NS}NextMarker") == "n&"
    assert root.findtext(f"{NS}CommonPrefixes/{NS}Prefix") == "p<"
    assert root.findtext(f"{NS}Contents/{NS}LastModified") == "2009-02-13T23:31:30.123Z"
    assert root.findtext(f"{NS}Contents/{NS}ETag") == '"e"'


def test_url_encoding_carries_what_xml_cannot() -> None:
    keys = [*KEYS, "\0\x01\r\x7f\ufffe"]
    params = list_objects_v2_params(Query(b"encoding-type=url&delimiter=/"))
    document = write.list_objects_v2(
        params, write.ObjectElements("b", rows(keys), [b"a b/"], "o", True, b"n")
    )
    root = ElementTree.fromstring(document)
    assert [unquote(each.text or "") for each in root.iter(f"{NS}Key")] == keys
    assert root.findtext(f"{NS}CommonPrefixes/{NS}Prefix") == "a%20b/"
    assert root.findtext(f"{NS}KeyCount") == str(len(keys) + 1)
    assert root.find(f"{NS}Contents/{NS}Owner") is None


def test_without_it_they_are_character_references() -> None:
    params = list_objects_params(Query(b""))
    document = write.list_objects(
        params, write.ObjectElements("b", rows(["\x00\x01\r"]), [], "o", False, b"")
    )
    assert b"<Key>&#x0;&#x1;&#xD;</Key>" in document


def test_every_answer_is_well_formed() -> None:
    error = S3Error(errors.NO_SUCH_KEY, Key="<&>\x00", Extra="\ud800")
    failure = write.DeleteFailure(b"<k>", "AccessDenied", "no & no", "null")
    documents = [
        write.list_buckets("o", [("b", 0)], region="r", prefix="p", next_token="t"),
        write.location("us-east-1"),
        write.location("eu-west-1"),
        write.versioning(""),
        write.versioning("Enabled"),
        write.access_control("o", [("CanonicalUser", "o", "READ"), ("Group", "u", "WRITE")]),
        write.configuration(REQUEST_PAYMENT),
        write.copied("CopyObjectResult", "e", 0, Algorithm.SHA1, "x"),
        write.upload_created("b", b"<k>", "u"),
        write.upload_completed("http://h/<>", "b", b"k&", "e", Algorithm.CRC32, "x", "y"),
        write.deleted([write.DeletedElement(b"<a>", "null", "id")], [failure], quiet=False),
    ]
    for document in documents:
        ElementTree.fromstring(document)
    shown = write.error_document(error, resource="/b/<k>", request_id="1", host_id="2")
    assert b"<Code>NoSuchKey</Code>" in shown
    assert "<Key>&lt;&amp;&gt;\ufffd</Key>".encode() in shown
    quiet = write.deleted([write.DeletedElement(b"a")], [failure], quiet=True)
    assert b"<Deleted>" not in quiet
    assert b"<Error>" in quiet
