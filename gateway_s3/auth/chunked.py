"""The aws-chunked form of a body, decoded without I/O.

Signed chunks: the bytes of a chunk are given out only after its signature holds, so one chunk is
held at a time. Unsigned chunks with a trailer: bytes are given out as they come; what vouches for
them is the checksum in the trailer, so nothing may be made of them before :meth:`finish`.

Source: AWS, "Signature calculations for the authorization header: transferring payload in multiple
chunks" (and "... including trailing headers").
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Final, NoReturn

from common import limits
from common.http.records import HttpRequest
from common.ports import Buffer
from gateway_s3 import errors
from gateway_s3.auth.sigv4 import EMPTY_SHA256, Payload, Verified
from gateway_s3.errors import S3Error
from gateway_s3.request.numbers import parse_number

_SMALL_BYTES: Final = 1024
_HEX: Final = frozenset(b"0123456789abcdefABCDEF")
_SIGNATURE: Final = re.compile(rb"chunk-signature=([0-9a-fA-F]{64})")
_TRAILER_SIGNATURE: Final = "x-amz-trailer-signature"
_LINE, _DATA, _DATA_END, _TAIL, _BROKEN = range(5)


def payload_bytes(request: HttpRequest, payload: Payload) -> int:
    """Return the number of bytes of content that a request promises, after decoding.

    Raises:
        S3Error: MissingContentLength; NotImplemented: a body of unknown length; EntityTooLarge:
            more than one PUT may carry.
    """
    if not payload.is_chunked:
        if request.body.length is None:
            raise S3Error(errors.NOT_IMPLEMENTED, Header="Transfer-Encoding")
        if request.body.length == 0 and request.header(b"content-length") is None:
            raise S3Error(errors.MISSING_CONTENT_LENGTH)
        size = request.body.length
    else:
        number = parse_number(request.header(b"x-amz-decoded-content-length") or b"")
        if number is None:
            raise S3Error(
                errors.MISSING_CONTENT_LENGTH,
                "You must provide the x-amz-decoded-content-length HTTP header.",
            )
        size = number
    if size > limits.MAX_SINGLE_PUT_BYTES:
        raise S3Error(
            errors.ENTITY_TOO_LARGE, ProposedSize=size, MaxSizeAllowed=limits.MAX_SINGLE_PUT_BYTES
        )
    return size


def announced_trailers(request: HttpRequest, payload: Payload) -> frozenset[str]:
    """The names of the trailer fields that a request announces, in lower case.

    Raises:
        S3Error: InvalidRequest: announced, but the body's form has no trailer.
    """
    value = request.header(b"x-amz-trailer")
    if value is None:
        return frozenset()
    if payload not in {Payload.SIGNED_CHUNKS_TRAILER, Payload.UNSIGNED_CHUNKS_TRAILER}:
        raise S3Error(
            errors.INVALID_REQUEST, "x-amz-trailer needs a body that is sent with a trailer."
        )
    names = (name.strip().lower() for name in value.decode("latin-1").split(","))
    return frozenset(name for name in names if name)


class ChunkDecoder:
    """One body in aws-chunked form.

    Args:
        verified: the request's signature, which the chunks' signatures continue.
        decoded_bytes: how many bytes of content are promised.
        trailers: which trailer fields are announced; each must come, and no other.
    """

    def __init__(
        self, verified: Verified, *, decoded_bytes: int, trailers: frozenset[str] = frozenset()
    ) -> None:
        assert verified.payload.is_chunked
        self._key = verified.signing_key
        self._signature = verified.seed_signature
        self._prefix = f"AWS4-HMAC-SHA256-PAYLOAD\n{verified.timestamp}\n{verified.scope}\n"
        self._trailer_prefix = f"AWS4-HMAC-SHA256-TRAILER\n{verified.timestamp}\n{verified.scope}\n"
        self._signed = verified.payload is not Payload.UNSIGNED_CHUNKS_TRAILER
        self._has_trailer = verified.payload is not Payload.SIGNED_CHUNKS
        self._announced = trailers
        self._state = _LINE
        self._line = bytearray()
        self._left = decoded_bytes
        self._chunk_left = 0
        self._held: list[memoryview | bytearray] = []
        self._hash = hashlib.sha256()
        self._claimed = b""
        self._tail = bytearray()
        self._begun = False

    def feed(self, data: Buffer) -> list[memoryview]:
        """Decode the next bytes of the body.

        It hashes what it is given: with signed chunks, large pieces are worth a worker thread.

        Args:
            data: must not be written to afterwards; views of it are given out.

        Returns:
            The content that is released by these bytes, in order; may be empty.

        Raises:
            S3Error: SignatureDoesNotMatch, InvalidRequest (not in this form), InvalidChunkSizeError
                (a signed chunk too large), IncompleteBody (more content than promised).
                Nothing more is decoded after that.
        """
        if self._state == _BROKEN:
            raise S3Error(errors.INVALID_REQUEST)
        view = memoryview(data)
        released: list[memoryview] = []
        try:
            at = 0
            end = len(view)
            while at < end:
                if self._state == _DATA:
                    at = self._take_data(view, at, released)
                elif self._state == _TAIL:
                    self._tail += view[at:]
                    if len(self._tail) > limits.MAX_SIGNED_TRAILER_BYTES:
                        raise S3Error(errors.MALFORMED_TRAILER)
                    at = end
                else:
                    at = self._take_line(view, at, released)
        except S3Error:
            self._state = _BROKEN
            self._held.clear()
            raise
        return released

    def finish(self) -> dict[str, str]:
        """Check that the body ended where it had to.

        Returns:
            The trailer fields by lower-case name, as announced.

        Raises:
            S3Error: IncompleteBody, MalformedTrailerError, SignatureDoesNotMatch.
        """
        if self._state == _BROKEN:
            raise S3Error(errors.INVALID_REQUEST)
        if not self._begun and not self._left and not self._announced and not self._line:
            return {}  # Nothing was promised, and that is what came: some clients send no chunk.
        if self._state != _TAIL or self._left:
            raise S3Error(errors.INCOMPLETE_BODY)
        if not self._has_trailer:
            if self._tail == b"\r":
                raise S3Error(errors.INCOMPLETE_BODY)
            if bytes(self._tail) not in {b"", b"\r\n"}:
                _malformed()
            return {}
        fields, canonical = self._parse_tail()
        signature = fields.pop(_TRAILER_SIGNATURE, None)
        if self._signed:
            self._check_trailer(signature, canonical)
        elif signature is not None:
            raise S3Error(errors.MALFORMED_TRAILER)
        if fields.keys() != self._announced:
            raise S3Error(errors.MALFORMED_TRAILER)
        return fields

    # --- lines ---------------------------------------------------------------------------------

    def _take_line(self, view: memoryview, at: int, released: list[memoryview]) -> int:
        room = limits.MAX_SIGNED_CHUNK_LINE_BYTES - len(self._line)
        window = bytes(view[at : at + room])
        newline = window.find(b"\n")
        if newline < 0:
            if len(window) == room:
                _malformed()
            self._line += window
            return at + len(window)
        line = bytes(self._line) + window[: newline + 1]
        self._line.clear()
        if not line.endswith(b"\r\n"):
            _malformed()
        if self._state == _DATA_END:
            if line != b"\r\n":
                _malformed()
            self._end_chunk(released)
            self._state = _LINE
        else:
            self._begin_chunk(line[:-2])
        return at + newline + 1

    def _begin_chunk(self, line: bytes) -> None:
        self._begun = True
        digits, _, extension = line.partition(b";")
        if not 0 < len(digits) <= 15 or not _HEX.issuperset(digits):
            _malformed()
        size = int(digits, 16)
        if self._signed:
            if size > limits.MAX_SIGNED_CHUNK_BYTES:
                raise S3Error(
                    errors.INVALID_CHUNK_SIZE,
                    f"A signed chunk is at most {limits.MAX_SIGNED_CHUNK_BYTES} bytes.",
                )
            claimed = _SIGNATURE.fullmatch(extension)
            if claimed is None:
                _malformed()
            self._claimed = claimed[1]
            self._hash = hashlib.sha256()
        if size > self._left:
            raise S3Error(errors.INCOMPLETE_BODY, "The body is longer than promised.")
        self._left -= size
        self._chunk_left = size
        if size:
            self._state = _DATA
        else:
            self._end_chunk([])
            self._state = _TAIL

    # --- content -------------------------------------------------------------------------------

    def _take_data(self, view: memoryview, at: int, released: list[memoryview]) -> int:
        piece = view[at : at + self._chunk_left]
        if self._signed:
            self._hash.update(piece)
            self._hold(piece)
        else:
            released.append(piece)
        self._chunk_left -= len(piece)
        if not self._chunk_left:
            self._state = _DATA_END
        return at + len(piece)

    def _hold(self, piece: memoryview) -> None:
        """Keep a piece of a chunk. Small ones are joined, or a client that sends byte by byte
        would have us hold an object for each."""
        if len(piece) >= _SMALL_BYTES:
            self._held.append(piece)
        elif self._held and isinstance(self._held[-1], bytearray):
            self._held[-1] += piece
        else:
            self._held.append(bytearray(piece))

    def _end_chunk(self, released: list[memoryview]) -> None:
        """Check the signature of the chunk that is whole now, and let its bytes go."""
        if not self._signed:
            return
        self._check(
            f"{self._prefix}{self._signature}\n{EMPTY_SHA256}\n{self._hash.hexdigest()}",
            self._claimed,
        )
        released += [memoryview(piece) for piece in self._held]
        self._held.clear()

    def _check(self, string_to_sign: str, claimed: bytes) -> None:
        expected = hmac.digest(self._key, string_to_sign.encode("ascii"), "sha256").hex()
        if not hmac.compare_digest(expected.encode("ascii"), claimed):
            raise S3Error(errors.SIGNATURE_DOES_NOT_MATCH)
        self._signature = expected

    # --- trailer -------------------------------------------------------------------------------

    def _parse_tail(self) -> tuple[dict[str, str], bytes]:
        """The fields of the trailer, and the text of them that is signed.

        Lines may end in LF or CRLF, and empty ones may stand between: minio-go ends each field
        with LF and puts an empty line before the signature.
        """
        if not self._tail.endswith(b"\n\r\n") and self._tail != b"\r\n":
            raise S3Error(errors.INCOMPLETE_BODY)
        fields: dict[str, str] = {}
        canonical = b""
        for raw in bytes(self._tail).split(b"\n"):
            line = raw.removesuffix(b"\r")
            if not line:
                continue
            name, colon, value = line.partition(b":")
            name, value = name.strip(b" \t").lower(), value.strip(b" \t")
            key = name.decode("latin-1")
            if not colon or not key or key in fields or _TRAILER_SIGNATURE in fields:
                raise S3Error(errors.MALFORMED_TRAILER)
            fields[key] = value.decode("latin-1")
            if key != _TRAILER_SIGNATURE:
                canonical += name + b":" + value + b"\n"
        return fields, canonical

    def _check_trailer(self, signature: str | None, canonical: bytes) -> None:
        if signature is None:
            if canonical or self._announced:
                raise S3Error(errors.MALFORMED_TRAILER)
            return
        digest = hashlib.sha256(canonical).hexdigest()
        self._check(
            f"{self._trailer_prefix}{self._signature}\n{digest}", signature.encode("latin-1")
        )


def _malformed() -> NoReturn:
    raise S3Error(errors.INCOMPLETE_BODY, "The body is not in the aws-chunked form.")
