"""GetObject and HeadObject: one look-up, then the bytes as they come.

The answer's head is made once the first bytes are decoded, so an error before that has its
status. An error later cuts the connection: a client never mistakes a part for the whole.

Source: Amazon S3 API Reference, GetObject, HeadObject.
"""

from __future__ import annotations

from typing import Final

from common import limits
from common.data_classes import dataclass
from common.errors import NotFound, Unavailable
from common.format.objects import (
    Checksum,
    ObjectMetadata,
    PartSpan,
    part_count,
    part_spans,
)
from common.http.records import Headers, HttpResponse
from common.reasons import Absence, Outage
from gateway.checksums import Algorithm, encode
from gateway.conditions import Decision
from gateway.objects import FoundObject, open_body
from gateway.principals import KeyHolder
from gateway.spans import EVERYTHING, Span
from gateway_s3 import errors
from gateway_s3.backend import Backend, Call
from gateway_s3.errors import S3Error
from gateway_s3.handlers.answers import checksum_headers, etag_header, http_date, paired
from gateway_s3.handlers.called_object import find_called_object
from gateway_s3.handlers.encryption import check_key, headers_of, key_to_read
from gateway_s3.handlers.expiration import expiration_header
from gateway_s3.handlers.locks import lock_headers
from gateway_s3.handlers.object_tags import count_header, tags_of_object
from gateway_s3.handlers.smart_storage import answer_in_place
from gateway_s3.request.conditions import range_applies, read_conditions
from gateway_s3.request.headers import overridden, response_overrides, shown_content, shown_metadata
from gateway_s3.request.numbers import parse_number
from gateway_s3.request.ranges import content_range, parse_range, read_range
from gateway_s3.request.storage_classes import class_headers
from gateway_s3.request.version_ids import version_headers

WHOLE_BODY_BYTES: Final = 64 * limits.KIB
"""Up to here a body that came in one piece is copied and sent as one."""


@dataclass(frozen=True, slots=True)
class _Part:
    """The part of an object to answer with: a span, or all of it (None)."""

    span: Span | None
    part: PartSpan | None = None


async def get_object(backend: Backend, call: Call) -> HttpResponse:
    """Answer with an object's bytes, or a range of them. A version that was replaced or deleted and
    purged before its first byte could be had says nothing of the object: it is looked up again.

    Raises:
        NotFound: no such bucket or object.
        Unavailable: ``version_gone``: at every try.
    """
    header = call.request.header(b"range")
    number = _part_number(call, header)
    guess = _guess(header) if number is None else None
    for _ in range(limits.MAX_READ_TRIES):
        try:
            found = await find_called_object(backend, call, span=guess)
        except NotFound as error:
            return answer_in_place(backend, call, error)
        key = await key_to_read(backend, call, found)
        refusal = _decide(call, found)
        if refusal is not None:
            return refusal
        try:
            return await _answer(backend, call, found, _wanted(call, found, header, number), key)
        except NotFound as error:
            if error.reason != Absence.NO_SUCH_VERSION:
                raise
            if call.looked_up is not None:
                break  # Of what took its place nothing was decided.
    raise Unavailable(Outage.VERSION_GONE)


async def _answer(
    backend: Backend, call: Call, found: FoundObject, part: _Part, key: bytes | None
) -> HttpResponse:
    size = found.manifest.size
    span = part.span or Span(0, size - 1)
    status, headers = _head(backend, call, found, part)
    if not span.length:
        return HttpResponse(status, headers)
    counter = backend.metrics.sent_bytes
    body = await open_body(backend, call.bucket, call.name, found, span, counter, key)
    try:
        first = await body.begin()
    except BaseException:
        await body.aclose()
        raise
    if len(first) == span.length <= WHOLE_BODY_BYTES:
        whole = bytes(first)
        await body.aclose()
        backend.metrics.sent_bytes.inc(len(whole))
        return HttpResponse(status, headers, whole)
    return HttpResponse(status, headers, body)


async def head_object(backend: Backend, call: Call) -> HttpResponse:
    """Answer with what GetObject would say of the object, without its bytes."""
    header = call.request.header(b"range")
    number = _part_number(call, header)
    try:
        found = await find_called_object(backend, call)
    except NotFound as error:
        return answer_in_place(backend, call, error)
    await check_key(backend, call, found)
    refusal = _decide(call, found)
    if refusal is not None:
        return refusal
    status, headers = _head(backend, call, found, _wanted(call, found, header, number))
    return HttpResponse(status, headers)


def _part_number(call: Call, range_header: bytes | None) -> int | None:
    text = call.query.get("partNumber") if call.query.pairs else None
    if text is None:
        return None
    if range_header is not None:
        raise S3Error(
            errors.INVALID_REQUEST,
            "Cannot specify both Range header and partNumber query parameter",
        )
    number = parse_number(text) or 0
    if not 1 <= number <= limits.MAX_PARTS:
        raise S3Error(
            errors.INVALID_ARGUMENT,
            "Part number must be an integer between 1 and 10000, inclusive",
            ArgumentName="partNumber",
            ArgumentValue=text[:32],
        )
    return number


def _guess(header: bytes | None) -> Span | None:
    """The bytes that will be wanted, as far as that is known before the size is."""
    asked = read_range(header)
    if asked is None:
        return EVERYTHING
    return None if asked.suffix is not None else asked.of(EVERYTHING.length)


def _decide(call: Call, found: FoundObject) -> HttpResponse | None:
    """The answer to a condition that does not hold; None: go on.

    Raises:
        S3Error: PreconditionFailed.
    """
    conditions = read_conditions(call.request)
    decision = conditions.decide(found.metadata.etag, found.modified_s)
    if decision is Decision.FAILED:
        raise S3Error(errors.PRECONDITION_FAILED)
    if decision is Decision.NOT_MODIFIED:
        kept = [
            (name, value)
            for name, value in shown_content(paired(found.metadata.headers))
            if name in {b"cache-control", b"expires"}
        ]
        return HttpResponse(304, [*_identity(found), *kept])
    return None


def _wanted(call: Call, found: FoundObject, header: bytes | None, number: int | None) -> _Part:
    size = found.manifest.size
    if number is None:
        if header is None or not range_applies(call.request, found.metadata.etag, found.modified_s):
            return _Part(None)
        return _Part(parse_range(header, size))
    if not found.metadata.parts:
        if number != 1:
            raise S3Error(errors.INVALID_PART_NUMBER)
        return _Part(Span(0, size - 1) if size else None)
    for part in part_spans(found.metadata):
        if part.number == number:
            span = Span(part.start, part.start + part.size - 1)
            return _Part(span if part.size else None, part)
    raise S3Error(errors.INVALID_PART_NUMBER)


def _identity(found: FoundObject) -> Headers:
    return [
        (b"last-modified", http_date(found.modified_s)),
        etag_header(found.metadata.etag),
        *version_headers(found.version),
    ]


def _head(backend: Backend, call: Call, found: FoundObject, part: _Part) -> tuple[int, Headers]:
    """Status and headers of the answer to a GET or HEAD."""
    metadata = found.metadata
    size = found.manifest.size
    span = part.span
    headers = _identity(found)
    headers.append((b"accept-ranges", b"bytes"))
    headers.append((b"content-length", b"%d" % (size if span is None else span.length)))
    kept = shown_content(paired(metadata.headers))
    if call.query.pairs:
        kept = overridden(
            kept, response_overrides(call.query, signed=isinstance(call.principal, KeyHolder))
        )
    headers += kept
    headers += shown_metadata(paired(metadata.user))
    headers += class_headers(found.class_name)
    headers += headers_of(backend, call, found)
    headers += count_header(call, found)
    headers += lock_headers(call, found)
    if call.bucket.lifecycle is not None and call.route.version is None:
        tags = tags_of_object(found)
        headers += expiration_header(backend, call, metadata, size, tags)
    if part.part is not None:
        headers.append((b"x-amz-mp-parts-count", b"%d" % part_count(metadata)))
    if call.request.header(b"x-amz-checksum-mode") == b"ENABLED":
        headers += _checksum_headers(metadata, part, size)
    if span is None:
        return 200, headers
    headers.append((b"content-range", content_range(span, size)))
    return 206, headers


def _checksum_headers(metadata: ObjectMetadata, part: _Part, size: int) -> Headers:
    """The checksum of just what is answered; none for a range that has none."""
    checksum = metadata.checksum
    if checksum is None:
        return []
    if part.span is None or part.span.length == size:
        return checksum_headers(checksum)
    if part.part is None or not metadata.part_checksums:
        return []
    width = Algorithm(checksum.algorithm).digest_bytes
    at = part.part.index * width
    value = encode(metadata.part_checksums[at : at + width])
    return checksum_headers(Checksum(checksum.algorithm, value, checksum.composite))
