"""The corpus of the S3 front, as it is and changed: what it says, or the one refusal.

``corpus/`` has requests, chunked bodies, documents and forms that reach far into the parsers, good
ones and (``bad-``) those by which others fell. Policies have a corpus of their own: ``policies/``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.http.head import BadHead, parse_head
from common.http.records import HttpRequest
from gateway_s3.auth.chunked import ChunkDecoder
from gateway_s3.auth.sigv2 import form_of, parse_v2
from gateway_s3.auth.sigv4 import Payload, Verified, parse_authorization
from gateway_s3.errors import S3Error
from gateway_s3.request.form import FormHead
from gateway_s3.request.presigned import lift_headers
from gateway_s3.request.query import Query
from gateway_s3.request.tags import bucket_tags
from gateway_s3.xml.configurations import parse_cors, parse_tagging
from gateway_s3.xml.read import (
    parse_complete_upload,
    parse_create_bucket,
    parse_delete,
    parse_versioning,
)
from gateway_s3.xml.website import parse_website

CORPUS = Path(__file__).parent / "corpus"
CONTENT_BYTES = 21
CHUNKED = {
    "signed": (Payload.SIGNED_CHUNKS, frozenset[str]()),
    "trailer": (Payload.SIGNED_CHUNKS_TRAILER, frozenset({"x-amz-checksum-crc32"})),
    "unsigned": (Payload.UNSIGNED_CHUNKS_TRAILER, frozenset({"x-amz-checksum-crc32"})),
}
DOCUMENTS: dict[str, Callable[[bytes], object]] = {
    "delete": parse_delete,
    "complete": parse_complete_upload,
    "create": parse_create_bucket,
    "versioning": parse_versioning,
    "tagging": lambda data: bucket_tags(parse_tagging(data)).pack(),
    "cors": lambda data: parse_cors(data).pack(),
    "website": lambda data: parse_website(data).pack(),
}


def read_signature(name: str, data: bytes) -> None:
    """Read who claims to have signed a request."""
    head = parse_head(data)
    path, _, query = head.target.partition(b"?")
    request = HttpRequest(head.method, head.target, path, query, head.headers)
    parameters = Query(query)
    lift_headers(request, parameters)
    form = form_of(request, parameters)
    if form is None:
        parse_authorization(request, region="us-east-1")
    else:
        parse_v2(request, parameters, form, "")


def read_chunks(name: str, data: bytes) -> None:
    """Decode a body; no more may come out than is promised, signed or not."""
    payload, trailers = CHUNKED[name.split("-", maxsplit=1)[0]]
    size = 0 if "none" in name else CONTENT_BYTES
    verified = Verified("A", payload, None, b"k" * 32, "0" * 64, "t", "s", False)
    decoder = ChunkDecoder(verified, decoded_bytes=size, trailers=trailers)
    released = 0
    for at in range(0, len(data), 7):
        released += sum(map(len, decoder.feed(data[at : at + 7])))
        assert released <= size
    decoder.finish()
    assert released == size


def read_document(name: str, data: bytes) -> None:
    """Read a document of its kind."""
    DOCUMENTS[name.split("-", maxsplit=1)[0]](data)


def read_form(name: str, data: bytes) -> None:
    """Read the fields of a form before its file."""
    head = FormHead(b"b")
    for at in range(0, len(data), 7):
        if head.feed(data[at : at + 7]):
            return


READERS: dict[str, Callable[[str, bytes], None]] = {
    "signatures": read_signature,
    "chunks": read_chunks,
    "documents": read_document,
    "forms": read_form,
}
FILES = [
    (kind, path.name, path.read_bytes())
    for kind in READERS
    for path in sorted((CORPUS / kind).iterdir())
]


def is_taken(kind: str, name: str, data: bytes) -> bool:
    """Whether a reader takes it; else it must refuse it with a status of a client's error."""
    refused: S3Error | BadHead
    try:
        READERS[kind](name.removeprefix("bad-"), data)
        return True
    except (S3Error, BadHead) as error:
        refused = error
    assert 400 <= refused.status < 500 or refused.status in {501, 505}
    return False


@pytest.mark.parametrize(("kind", "name", "data"), FILES, ids=[f"{k}/{n}" for k, n, _ in FILES])
def test_the_corpus_has_what_is_taken_and_what_is_not(kind: str, name: str, data: bytes) -> None:
    assert is_taken(kind, name, data) is not name.startswith("bad-")


EDITS = st.lists(
    st.tuples(
        st.integers(0, 6000),
        st.integers(0, 40),
        st.binary(max_size=4)
        | st.sampled_from(
            [b"\r\n", b"\n", b"\0", b";", b"=", b"&", b"%", b'"', b"<", b">", b"]]>", b"--b", b"0"]
        ),
    ),
    min_size=1,
    max_size=6,
)


@pytest.mark.parametrize("kind", READERS)
@given(number=st.integers(0, 1000), edits=EDITS, other=st.integers(0, 1000), cut=st.booleans())
def test_what_is_made_of_the_corpus_is_taken_or_refused(
    kind: str, number: int, edits: list[tuple[int, int, bytes]], other: int, cut: bool
) -> None:
    files = [(name, data) for each, name, data in FILES if each == kind]
    name, data = files[number % len(files)]
    if cut:
        more = files[other % len(files)][1]
        data = data[: len(data) // 2] + more[len(more) // 2 :]
    for where, length, text in edits:
        at = where % (len(data) + 1)
        data = data[:at] + text + data[at + length :]
    is_taken(kind, name, data)
