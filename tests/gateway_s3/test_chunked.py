"""The aws-chunked form: Amazon's published examples, every cut, every tampering."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.http.records import HttpRequest
from common.limits import MAX_SIGNED_CHUNK_BYTES
from gateway_s3.auth.chunked import ChunkDecoder, announced_trailers, payload_bytes
from gateway_s3.auth.sigv4 import Payload, Verified, derive_signing_key, parse_authorization, verify
from gateway_s3.errors import S3Error

# Amazon's published example ("Signature calculations for the authorization header: transferring
# payload in multiple chunks"): 65 KiB of "a" in chunks of 64 KiB.
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
SEED = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
CHUNK_SIGNATURES = (
    "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
    "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
    "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
)
EXAMPLE_AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
    "SignedHeaders=content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;"
    "x-amz-decoded-content-length;x-amz-storage-class,Signature=" + SEED
)
EXAMPLE_TIME = 1369353600.0


def example_request() -> HttpRequest:
    return HttpRequest(
        "PUT",
        b"/examplebucket/chunkObject.txt",
        b"/examplebucket/chunkObject.txt",
        b"",
        [
            (b"host", b"s3.amazonaws.com"),
            (b"x-amz-date", b"20130524T000000Z"),
            (b"x-amz-storage-class", b"REDUCED_REDUNDANCY"),
            (b"authorization", EXAMPLE_AUTHORIZATION.encode()),
            (b"x-amz-content-sha256", b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
            (b"content-encoding", b"aws-chunked"),
            (b"x-amz-decoded-content-length", b"66560"),
            (b"content-length", b"66824"),
        ],
    )


def example_body() -> bytes:
    pieces = [b"a" * 65536, b"a" * 1024, b""]
    return b"".join(
        b"%x;chunk-signature=%s\r\n%s\r\n" % (len(piece), signature.encode(), piece)
        for piece, signature in zip(pieces, CHUNK_SIGNATURES, strict=True)
    )


def example_verified() -> Verified:
    claim = parse_authorization(example_request(), region="us-east-1")
    return verify(claim, derive_signing_key(SECRET, claim.date, claim.region), EXAMPLE_TIME)


def decode(decoder: ChunkDecoder, data: bytes, cuts: Iterable[int] = ()) -> bytes:
    found = b""
    at = 0
    for cut in [*sorted(min(cut, len(data)) for cut in cuts), len(data)]:
        found += b"".join(decoder.feed(data[at:cut]))
        at = cut
    return found


def test_amazons_example_holds_from_the_request_to_the_last_chunk() -> None:
    request = example_request()
    verified = example_verified()
    assert verified.payload is Payload.SIGNED_CHUNKS
    assert verified.seed_signature == SEED
    decoder = ChunkDecoder(verified, decoded_bytes=payload_bytes(request, verified.payload))
    assert decode(decoder, example_body()) == b"a" * 66560
    assert decoder.finish() == {}


def whole(decoder: ChunkDecoder, data: bytes) -> dict[str, str]:
    decode(decoder, data)
    return decoder.finish()


KEY = b"k" * 32
SCOPE = "20260101/us-east-1/s3/aws4_request"
TIMESTAMP = "20260101T000000Z"


def made(kind: Payload) -> Verified:
    return Verified("AK", kind, None, KEY, "0" * 64, TIMESTAMP, SCOPE, False)


def sign(text: str) -> str:
    return hmac.new(KEY, text.encode(), "sha256").hexdigest()


def signed_body(
    pieces: Iterable[bytes], trailer: tuple[str, str] | None = None, *, minio: bool = False
) -> bytes:
    """As the specification says it; ``minio``: with minio-go's line ends in the trailer."""
    before = "0" * 64
    empty = hashlib.sha256(b"").hexdigest()
    out = b""
    for piece in [*pieces, b""]:
        digest = hashlib.sha256(piece).hexdigest()
        text = f"AWS4-HMAC-SHA256-PAYLOAD\n{TIMESTAMP}\n{SCOPE}\n{before}\n{empty}\n{digest}"
        before = sign(text)
        out += b"%x;chunk-signature=%s\r\n" % (len(piece), before.encode())
        out += piece + b"\r\n" if piece else b""
    if trailer is None:
        return out + b"\r\n"
    line = f"{trailer[0]}:{trailer[1]}"
    digest = hashlib.sha256(f"{line}\n".encode()).hexdigest()
    signature = sign(f"AWS4-HMAC-SHA256-TRAILER\n{TIMESTAMP}\n{SCOPE}\n{before}\n{digest}")
    end = "\n\r\n" if minio else "\r\n"
    return out + f"{line}{end}x-amz-trailer-signature:{signature}\r\n\r\n".encode()


def unsigned_body(pieces: Iterable[bytes], tail: bytes) -> bytes:
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return chunks + b"0\r\n" + tail


PIECES = [b"first" * 500, b"second", b"3"]
WHOLE = b"".join(PIECES)
CRC = ("x-amz-checksum-crc32", "AAAAAA==")
TRAILERS = frozenset({CRC[0]})
LINE = f"{CRC[0]}:{CRC[1]}".encode()

FORMS: dict[str, tuple[Payload, bytes, frozenset[str]]] = {
    "signed": (Payload.SIGNED_CHUNKS, signed_body(PIECES), frozenset()),
    "signed, trailer": (Payload.SIGNED_CHUNKS_TRAILER, signed_body(PIECES, CRC), TRAILERS),
    "signed, minio": (
        Payload.SIGNED_CHUNKS_TRAILER,
        signed_body(PIECES, CRC, minio=True),
        TRAILERS,
    ),
    "unsigned": (
        Payload.UNSIGNED_CHUNKS_TRAILER,
        unsigned_body(PIECES, LINE + b"\r\n\r\n"),
        TRAILERS,
    ),
    "unsigned, minio": (
        Payload.UNSIGNED_CHUNKS_TRAILER,
        unsigned_body(PIECES, LINE + b"\n\r\n\r\n"),
        TRAILERS,
    ),
}


def decoder_of(form: str, *, decoded_bytes: int = len(WHOLE)) -> tuple[ChunkDecoder, bytes]:
    kind, body, trailers = FORMS[form]
    decoder = ChunkDecoder(made(kind), decoded_bytes=decoded_bytes, trailers=trailers)
    return decoder, body


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=50)
@given(cuts=st.lists(st.integers(0, 4000), max_size=20))
def test_any_cut_gives_the_same_content(form: str, cuts: list[int]) -> None:
    decoder, body = decoder_of(form)
    assert decode(decoder, body, cuts) == WHOLE
    assert decoder.finish() == ({} if form == "signed" else dict([CRC]))


@pytest.mark.parametrize("form", FORMS)
def test_byte_by_byte_gives_the_same_content(form: str) -> None:
    decoder, body = decoder_of(form)
    assert decode(decoder, body, range(len(body))) == WHOLE
    decoder.finish()


@pytest.mark.incident(10)
@pytest.mark.parametrize("form", FORMS)
def test_every_truncation_is_an_error_and_never_a_shorter_body(form: str) -> None:
    _, body = decoder_of(form)
    for length in range(len(body)):
        decoder, _ = decoder_of(form)
        decode(decoder, body[:length])
        if form in {"signed", "unsigned, minio"} and length == len(body) - 2:
            decoder.finish()  # All but the last line end, which says nothing.
            continue
        with pytest.raises(S3Error) as caught:
            decoder.finish()
        assert caught.value.code.code in {"IncompleteBody", "MalformedTrailerError"}


@pytest.mark.incident(6)
@pytest.mark.parametrize("form", ["signed", "signed, trailer"])
def test_any_changed_byte_of_a_signed_body_is_found_before_its_bytes_are_released(
    form: str,
) -> None:
    _, body = decoder_of(form)
    for at in range(len(body)):
        changed = bytearray(body)
        changed[at] ^= 1
        decoder, _ = decoder_of(form)
        found: list[bytes] = []
        with pytest.raises(S3Error):
            slowly(decoder, bytes(changed), found)
        assert WHOLE.startswith(b"".join(found))


def slowly(decoder: ChunkDecoder, data: bytes, found: list[bytes]) -> None:
    for at in range(0, len(data), 64):
        found += [bytes(piece) for piece in decoder.feed(data[at : at + 64])]
    decoder.finish()


@pytest.mark.incident(6)
def test_no_byte_is_released_before_its_chunk_is_whole_and_its_signature_holds() -> None:
    decoder, body = decoder_of("signed")
    first_end = body.index(PIECES[0]) + len(PIECES[0])
    assert decoder.feed(body[: first_end + 1]) == []
    assert b"".join(decoder.feed(body[first_end + 1 : first_end + 2])) == PIECES[0]


def test_chunks_cannot_be_swapped_or_repeated() -> None:
    body = signed_body([b"a" * 10, b"b" * 10])
    first, second, rest = body[:96], body[96:192], body[192:]
    for swapped in (second + first + rest, first + first + rest, first + rest):
        decoder = ChunkDecoder(made(Payload.SIGNED_CHUNKS), decoded_bytes=20)
        with pytest.raises(S3Error):
            whole(decoder, swapped)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("off_by", [-1, 1, 10**9])
def test_the_promised_length_is_held_both_ways(form: str, off_by: int) -> None:
    decoder, body = decoder_of(form, decoded_bytes=len(WHOLE) + off_by)
    with pytest.raises(S3Error) as caught:
        whole(decoder, body)
    assert caught.value.code.code == "IncompleteBody"


@pytest.mark.parametrize(
    "tail",
    [
        b"\r\n",
        b"",
        b"x-amz-checksum-sha1:x\r\n\r\n",
        LINE + b"\r\n" + LINE + b"\r\n\r\n",
        LINE + b"\r\nx-amz-meta-a:b\r\n\r\n",
        LINE + b"\r\nx-amz-trailer-signature:0\r\n\r\n",
        b"no colon\r\n\r\n",
        LINE + b"\r\n" + b"x" * 5000,
    ],
)
def test_a_trailer_that_is_not_the_announced_one_is_refused(tail: bytes) -> None:
    decoder = ChunkDecoder(
        made(Payload.UNSIGNED_CHUNKS_TRAILER), decoded_bytes=len(WHOLE), trailers=TRAILERS
    )
    with pytest.raises(S3Error):
        whole(decoder, unsigned_body(PIECES, tail))


def test_a_signed_trailer_without_signature_is_refused() -> None:
    kind, body, trailers = FORMS["signed, trailer"]
    cut = body.index(b"x-amz-trailer-signature")
    decoder = ChunkDecoder(made(kind), decoded_bytes=len(WHOLE), trailers=trailers)
    decode(decoder, body[:cut] + b"\r\n")
    with pytest.raises(S3Error) as caught:
        decoder.finish()
    assert caught.value.code.code == "MalformedTrailerError"


@pytest.mark.parametrize(
    "body",
    [
        b"10000000000000000;chunk-signature=0\r\n",
        b"%x;chunk-signature=0\r\n" % (MAX_SIGNED_CHUNK_BYTES + 1),
        b"-1;chunk-signature=0\r\n",
        b";chunk-signature=0\r\n",
        b"5\r\nhello\r\n",
        b"5;chunk-signature=\r\nhello\r\n",
        b"5;other=0\r\nhello\r\n",
        b"0" * 1000,
        b"\r\n\r\n",
    ],
)
def test_a_chunk_that_is_none_is_refused_and_nothing_after_it(body: bytes) -> None:
    decoder = ChunkDecoder(made(Payload.SIGNED_CHUNKS), decoded_bytes=2**40)
    with pytest.raises(S3Error) as caught:
        decoder.feed(body)
    assert caught.value.code.code in {"IncompleteBody", "InvalidChunkSizeError"}
    with pytest.raises(S3Error):
        decoder.feed(body)
    with pytest.raises(S3Error):
        decoder.finish()


def test_no_bytes_at_all_are_the_empty_body_where_nothing_more_was_promised() -> None:
    assert ChunkDecoder(made(Payload.SIGNED_CHUNKS), decoded_bytes=0).finish() == {}
    for decoded, trailers in [(1, frozenset[str]()), (0, TRAILERS)]:
        decoder = ChunkDecoder(
            made(Payload.UNSIGNED_CHUNKS_TRAILER), decoded_bytes=decoded, trailers=trailers
        )
        with pytest.raises(S3Error):
            decoder.finish()


def test_small_pieces_of_a_signed_chunk_are_joined() -> None:
    body = signed_body([b"x" * 5000])
    decoder = ChunkDecoder(made(Payload.SIGNED_CHUNKS), decoded_bytes=5000)
    released: list[memoryview] = []
    for at in range(len(body)):
        released += decoder.feed(body[at : at + 1])
    assert len(released) == 1


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(S3Error) as caught:
        action()
    return caught.value.code.code


def promising(length: bytes | None) -> HttpRequest:
    """The example's request with another promise of the decoded length; None: without one."""
    headers = [pair for pair in example_request().headers if b"decoded" not in pair[0]]
    if length is not None:
        headers.append((b"x-amz-decoded-content-length", length))
    return replace(example_request(), headers=headers)


def test_the_promised_length_is_read_where_it_stands() -> None:
    assert payload_bytes(example_request(), Payload.SIGNED_CHUNKS) == 66560
    cases = [
        ("MissingContentLength", (None, b"", b"-1", b"1e3", b"1" * 30 + b" ")),
        ("EntityTooLarge", (b"%d" % (5 * 2**30 + 1), b"9" * 30)),
    ]
    for code, lengths in cases:
        for length in lengths:
            request = promising(length)
            said = refusal(lambda request=request: payload_bytes(request, Payload.SIGNED_CHUNKS))
            assert said == code, length


def test_a_trailer_may_only_be_announced_where_one_can_come() -> None:
    request = HttpRequest("PUT", b"/", b"/", b"", [(b"x-amz-trailer", b" X-Amz-Checksum-CRC32 ")])
    assert announced_trailers(request, Payload.UNSIGNED_CHUNKS_TRAILER) == TRAILERS
    for kind in (Payload.SIGNED_CHUNKS, Payload.UNSIGNED, Payload.HASHED):
        assert refusal(lambda kind=kind: announced_trailers(request, kind)) == "InvalidRequest"
