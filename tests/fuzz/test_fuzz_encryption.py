"""Any bytes into what reads keys and encryptions: a decision or the one error, and no key shown."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from common import limits
from common.crypto.inner_layer import STRETCH_BYTES, unpack_stretches
from common.errors import Corrupt, NotFound, PeerViolation
from common.format.envelope import InnerLayer, KeyEnvelope
from common.format.key_ring import KeyRing
from common.http.records import HttpRequest
from gateway_s3.errors import S3Error
from gateway_s3.request.customer_keys import NAMES, PREFIX, SOURCE_PREFIX, read_customer_key
from gateway_s3.request.encryption import (
    BUCKET_KEY,
    CONTEXT,
    KEY_ID,
    KMS,
    METHOD,
    key_name,
    read_encryption,
)
from gateway_s3.xml.encryption import encryption_tree, parse_encryption
from gateway_s3.xml.write import configuration

T = TypeVar("T")
KEY = bytes(range(32))
ENCODED = base64.b64encode(KEY)
DIGEST = base64.b64encode(hashlib.md5(KEY).digest())
VALUES = st.sampled_from(
    [ENCODED, DIGEST, b"AES256", KMS.encode(), b"", b"true", b"e30=", b"eyJhIjoiYiJ9", b"[" * 99]
) | st.binary(max_size=60)
HEADERS = st.lists(
    st.tuples(st.sampled_from([*sorted(NAMES), METHOD, KEY_ID, CONTEXT, BUCKET_KEY]), VALUES),
    max_size=9,
)


def tried(read: Callable[[], T]) -> tuple[T | None, S3Error | None]:
    """What was read, or how it was refused."""
    try:
        return read(), None
    except S3Error as error:
        return None, error


@settings(max_examples=300, deadline=None)
@given(HEADERS, st.booleans())
def test_any_headers_of_encryption_are_read_or_refused(
    headers: list[tuple[bytes, bytes]], secure: bool
) -> None:
    request = HttpRequest("PUT", b"/b/k", b"/b/k", b"", headers, secure=secure)
    for prefix in (PREFIX, SOURCE_PREFIX):
        found, refused = tried(
            lambda prefix=prefix: read_customer_key(request, in_clear=False, prefix=prefix)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        )
        if refused is not None:
            assert refused.status == 400
            assert ENCODED.decode() not in f"{refused} {refused.message} {refused.fields}"
            continue
        assert (found is not None) is any(name.startswith(prefix) for name, _ in headers)
        if found is not None:
            assert secure
            assert len(found.wrapping.key) == 32
            assert ENCODED.decode() not in repr(found)
    asked, refused = tried(lambda: read_encryption(request))
    assert refused is None or refused.status == 400
    if asked is not None and asked.context:
        pairs = json.loads(asked.context)
        assert all(isinstance(each, str) for each in pairs.values())
        assert len(asked.context) <= limits.MAX_ENCRYPTION_CONTEXT_BYTES


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(["arn:aws:kms:", "r", ":", "a", "key/", "alias/", "aws/s3", "name"])
        | st.text(max_size=4),
        max_size=9,
    ).map("".join)
)
def test_any_key_id_is_a_name_or_none(text: str) -> None:
    try:
        name = key_name(text, "r", "a")
    except NotFound:
        return
    assert len(name) <= limits.MAX_KEY_NAME_CHARACTERS
    assert text.endswith(name) or not name
    assert name or text in {"", "alias/aws/s3", "arn:aws:kms:r:a:alias/aws/s3"}


PIECES = st.sampled_from(
    [
        b"<ServerSideEncryptionConfiguration>",
        b"</ServerSideEncryptionConfiguration>",
        b"<Rule>",
        b"</Rule>",
        b"<ApplyServerSideEncryptionByDefault>",
        b"</ApplyServerSideEncryptionByDefault>",
        b"<SSEAlgorithm>aws:kms</SSEAlgorithm>",
        b"<SSEAlgorithm>AES256</SSEAlgorithm>",
        b"<KMSMasterKeyID>archive</KMSMasterKeyID>",
        b"<BucketKeyEnabled>true</BucketKeyEnabled>",
        b"<BlockedEncryptionTypes><EncryptionType>NONE</EncryptionType></BlockedEncryptionTypes>",
        b"<!--",
        b"&x;",
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(PIECES | st.binary(max_size=5), max_size=14).map(b"".join))
def test_any_document_of_encryption_is_read_or_refused(data: bytes) -> None:
    found, refused = tried(lambda: parse_encryption(data))
    if found is None:
        assert refused is not None
        assert refused.status in {400, 501}
    else:
        assert parse_encryption(configuration(encryption_tree(found))) == found


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_record_of_keys_or_refused(data: bytes) -> None:
    for record in (KeyRing, KeyEnvelope, InnerLayer):
        with suppress(PeerViolation):
            assert record.unpack(data).pack()
    with suppress(Corrupt):
        assert len(unpack_stretches(data)) * STRETCH_BYTES == len(data)
