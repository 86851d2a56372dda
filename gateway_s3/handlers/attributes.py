"""GetObjectAttributes: what is known of an object and its parts, without its bytes.

Source: Amazon S3 API Reference, GetObjectAttributes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from common import limits
from common.format.objects import Checksum, ObjectMetadata, part_count, part_spans
from common.http.records import HttpResponse
from gateway.checksums import Algorithm, encode
from gateway.objects import FoundObject
from gateway_s3 import errors
from gateway_s3.backend import Backend, Call
from gateway_s3.errors import S3Error
from gateway_s3.handlers.answers import http_date, type_text, xml_response
from gateway_s3.handlers.called_object import find_called_object
from gateway_s3.handlers.encryption import check_key
from gateway_s3.request.numbers import parse_number
from gateway_s3.request.storage_classes import shown_class
from gateway_s3.request.version_ids import version_headers
from gateway_s3.xml.read import Tree
from gateway_s3.xml.write import configuration

_HEADER: Final = b"x-amz-object-attributes"
_NAMES: Final = frozenset({"ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"})


async def get_attributes(backend: Backend, call: Call) -> HttpResponse:
    """Show the attributes of an object that the request names."""
    asked = _asked(call)
    most = _number(call, b"x-amz-max-parts", limits.MAX_LIST_ENTRIES)
    after = _number(call, b"x-amz-part-number-marker", 0)
    found = await find_called_object(backend, call)
    await check_key(backend, call, found)
    children = tuple(_elements(found, asked, min(most, limits.MAX_LIST_ENTRIES), after))
    headers = [(b"last-modified", http_date(found.modified_s)), *version_headers(found.version)]
    return xml_response(configuration(Tree("GetObjectAttributesResponse", "", children)), headers)


def _asked(call: Call) -> frozenset[str]:
    """The attributes that a request names. Raises S3Error."""
    lines = call.request.all(_HEADER)
    if not any(lines):
        raise S3Error(
            errors.INVALID_REQUEST,
            "The x-amz-object-attributes header specifying the attributes to be retrieved is either"
            " missing or empty",
        )
    text = b",".join(lines).decode("latin-1")
    names = frozenset(each.strip() for each in text.split(","))
    if not names <= _NAMES:
        raise S3Error(
            errors.INVALID_ARGUMENT,
            "Invalid attribute name specified.",
            ArgumentName=_HEADER.decode("ascii"),
            ArgumentValue=text[:255],
        )
    return names


def _number(call: Call, header: bytes, default: int) -> int:
    value = call.request.header(header)
    if value is None:
        return default
    number = parse_number(value.decode("latin-1"))
    if number is None:
        raise S3Error(
            errors.INVALID_ARGUMENT,
            "Provided value must be a number.",
            ArgumentName=header.decode("ascii"),
            ArgumentValue=value.decode("latin-1")[:64],
        )
    return number


def _elements(found: FoundObject, asked: frozenset[str], most: int, after: int) -> Iterator[Tree]:
    metadata = found.metadata
    if "ETag" in asked:
        yield Tree("ETag", metadata.etag)
    if "Checksum" in asked and metadata.checksum is not None:
        yield Tree("Checksum", "", _checksum(metadata.checksum))
    if "ObjectParts" in asked and metadata.parts:
        yield Tree("ObjectParts", "", tuple(_parts(metadata, most, after)))
    if "StorageClass" in asked:
        yield Tree("StorageClass", shown_class(found.class_name))
    if "ObjectSize" in asked:
        yield Tree("ObjectSize", str(found.manifest.size))


def _checksum(checksum: Checksum) -> tuple[Tree, Tree]:
    return (
        Tree("Checksum" + checksum.algorithm, checksum.value),
        Tree("ChecksumType", type_text(checksum.composite)),
    )


def _parts(metadata: ObjectMetadata, most: int, after: int) -> Iterator[Tree]:
    """The parts with numbers above ``after``; only their number where they have no checksums, as on
    S3."""
    yield Tree("PartsCount", str(part_count(metadata)))
    if metadata.checksum is None or not metadata.part_checksums:
        return
    name = "Checksum" + metadata.checksum.algorithm
    width = Algorithm(metadata.checksum.algorithm).digest_bytes
    beyond = (span for span in part_spans(metadata) if span.number > after)
    shown = list(islice(beyond, most))
    yield Tree("PartNumberMarker", str(after))
    yield Tree("NextPartNumberMarker", str(shown[-1].number if shown else after))
    yield Tree("MaxParts", str(most))
    yield Tree("IsTruncated", "true" if next(beyond, None) is not None else "false")
    for span in shown:
        digest = metadata.part_checksums[span.index * width : (span.index + 1) * width]
        yield Tree(
            "Part",
            "",
            (
                Tree("PartNumber", str(span.number)),
                Tree("Size", str(span.size)),
                Tree(name, encode(digest)),
            ),
        )
