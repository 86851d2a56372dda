"""Every field of every way of signing, changed: refused with S3's code, and nothing is stored.

The codes are those of AWS where it documents them or SDKs rely on them (SignatureDoesNotMatch,
AccessDenied, InvalidAccessKeyId, AuthorizationHeaderMalformed, AuthorizationQueryParametersError,
RequestTimeTooSkewed, IncompleteBody, MalformedTrailerError, BadDigest); for repeated fields, where
it says nothing, InvalidArgument.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from gateway_rig import Rig
from signature_cases import BODY, WAYS, cases

from gateway_s3.auth.sigv2 import SignatureV2

DIFFERS = "SignatureDoesNotMatch"
DENIED = "AccessDenied"
HEADER = "AuthorizationHeaderMalformed"
QUERY = "AuthorizationQueryParametersError"
ARGUMENT = "InvalidArgument"
NOBODY = "InvalidAccessKeyId"
SHORT = "IncompleteBody"
TRAILER = "MalformedTrailerError"
LEAST_CASES = 300

CODES = (
    # What cannot be meant is refused before anybody asks who signed it.
    ("*:headers:x-amz-storage-class:mutated", "InvalidStorageClass"),
    ("*:headers:x-amz-storage-class:repeated otherwise", "InvalidStorageClass"),
    ("*:query:list-type:mutated", "NotImplemented"),
    # Forms: the policy is signed, and decides the other fields.
    ("form-*:conditions:*", DIFFERS),
    ("form-*:credential:0:mutated", NOBODY),
    ("form-*:fields:AWSAccessKeyId:mutated", NOBODY),
    ("form-*:fields:policy:mutated", DIFFERS),
    ("form-*:fields:*signature:mutated", DIFFERS),
    ("form-*:fields:key:mutated", DENIED),
    ("form-*:fields:Content-Type:mutated", DENIED),
    ("form-*:fields:Content-Type:dropped", DENIED),
    ("form-*:fields:x-amz-meta-role:*", DENIED),
    ("form-*", ARGUMENT),
    # Chunks: a chain of signatures, or the checksum in the trailer.
    ("v4-unsigned-chunks-trailer:chunks:[01]:reordered", "BadDigest"),
    ("v4-unsigned-chunks-trailer:chunks:[012]:mutated", "BadDigest"),
    ("v4-unsigned-chunks-trailer:trailer:*:mutated", "BadDigest"),
    ("*-trailer:chunks:3:repeated*", TRAILER),
    ("v4-unsigned-chunks-trailer:chunks:*", SHORT),
    ("*:chunks:0:*", DIFFERS),
    ("*:chunks:3:dropped", SHORT),
    ("*:chunks:*:repeated*", SHORT),
    ("*:chunks:*", DIFFERS),
    ("*:trailer:*:mutated", DIFFERS),
    ("v4-chunked-trailer:trailer:x-amz-checksum-crc32:dropped", DIFFERS),
    ("*:trailer:*", TRAILER),
    # The names of signed headers.
    ("v4-presigned-get:signed-headers:host:dropped", QUERY),
    ("*:signed-headers:*:repeated otherwise", DIFFERS),
    ("*:signed-headers:content-md5:mutated", DIFFERS),
    ("*:signed-headers:content-md5:dropped", DIFFERS),
    ("*:signed-headers:*:mutated", DENIED),
    ("*:signed-headers:*:dropped", DENIED),
    ("*:signed-headers:*:reordered", DIFFERS),
    ("v4-presigned*:signed-headers:*", QUERY),
    ("*:signed-headers:*", HEADER),
    # Credentials.
    ("*:credential:0:mutated", NOBODY),
    ("v4-presigned*:credential:*", QUERY),
    ("*:credential:*", HEADER),
    # The parts of Authorization.
    ("v4-*:authorization:Signature:mutated", DIFFERS),
    ("v4-*:authorization:SignedHeaders:mutated", DENIED),
    ("v4-*:authorization:*:*", HEADER),
    # Parameters.
    ("v4-presigned*:query:X-Amz-Signature:mutated", DIFFERS),
    ("v4-presigned*:query:X-Amz-Expires:mutated", DIFFERS),
    ("v4-presigned*:query:X-Amz-SignedHeaders:mutated", DENIED),
    ("v4-presigned*:query:X-Amz-*", QUERY),
    ("v2-*:query:AWSAccessKeyId:mutated", NOBODY),
    ("v2-*:query:AWSAccessKeyId:dropped", DENIED),
    ("v2-*:query:Signature:dropped", DENIED),
    ("v2-*:query:Expires:dropped", DENIED),
    ("v4-presigned-get:query:x-id:*", DIFFERS),
    ("*:query:*:mutated", DIFFERS),
    ("*:query:*:dropped", DIFFERS),
    ("*:query:*:repeated*", ARGUMENT),
    # Headers.
    ("*:headers:x-amz-meta-role:*", DIFFERS),
    ("*:headers:*:repeated*", ARGUMENT),
    ("*:headers:authorization:dropped", DENIED),
    ("v2-*:headers:authorization:mutated", DIFFERS),
    ("*:headers:authorization:mutated", DENIED),
    ("*:headers:x-amz-content-sha256:dropped", "InvalidRequest"),
    ("v4-header:headers:x-amz-content-sha256:mutated", DIFFERS),
    ("*:headers:x-amz-content-sha256:mutated", ARGUMENT),
    ("*:headers:x-amz-date:*", DENIED),
    ("*:headers:date:dropped", DENIED),
    ("*:headers:date:mutated", "RequestTimeTooSkewed"),
    ("*:headers:*", DIFFERS),
)


def expected(name: str) -> str:
    return next(code for pattern, code in CODES if fnmatchcase(name, pattern))


@pytest.fixture
async def rig() -> Rig:
    made = Rig(signature_v2=SignatureV2.ALL)
    assert (await made.ask("PUT", "/bucket")).status == 200
    await made.put("/bucket/old", b"old")
    return made


@pytest.mark.incident(2, 5, 33, 34)
@pytest.mark.parametrize("way", WAYS)
async def test_a_changed_field_is_refused_with_its_code(rig: Rig, way: str) -> None:
    before = dict(rig.coordinators.current)
    found = {}
    for case in cases(way, rig):
        answer = await case.wire.send(rig)
        assert 400 <= answer.status < 500 or answer.status == 501, case.name
        found[case.name] = answer.code
    assert found == {name: expected(name) for name in found}
    assert rig.coordinators.current == before
    make, _ = WAYS[way]
    good = await make(rig).send(rig)
    assert good.status in {200, 204}, good.body
    if make(rig).method in {"PUT", "POST"}:
        assert (await rig.ask("GET", "/bucket/key")).body == BODY


async def test_there_are_enough_of_them_and_of_every_way() -> None:
    rig = Rig()
    names = [case.name for way in WAYS for case in cases(way, rig)]
    assert len(set(names)) == len(names) >= LEAST_CASES
    used = {next(pattern for pattern, _ in CODES if fnmatchcase(name, pattern)) for name in names}
    assert used == {pattern for pattern, _ in CODES}
    for change in ("mutated", "dropped", "repeated", "repeated otherwise", "reordered"):
        assert sum(name.endswith(f":{change}") for name in names) >= 40
