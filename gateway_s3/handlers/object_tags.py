"""Tags of objects: set, shown and removed.

Source: Amazon S3 API Reference, PutObjectTagging, GetObjectTagging, DeleteObjectTagging.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from common.format.configurations import CONFIGURATION_VERSION, Tags
from common.http.records import Headers, HttpRequest, HttpResponse
from gateway.notifications import EventKind
from gateway.objects import FoundObject, find_object
from gateway.tagging import set_tags
from gateway_s3.backend import Backend, Call
from gateway_s3.documents import read_document
from gateway_s3.handlers.answers import xml_response
from gateway_s3.request.permissions import of_version
from gateway_s3.request.tags import HEADER, object_tags, parse_tagging_header
from gateway_s3.request.version_ids import version_headers
from gateway_s3.xml.configurations import parse_tagging, tagging_tree
from gateway_s3.xml.write import configuration

_READ: Final = "s3:GetObjectTagging"
_NONE = Tags(CONFIGURATION_VERSION, ())


def tags_of_request(request: HttpRequest) -> bytes:
    """The tags that a request's header gives to the object that it makes, packed; empty: none.

    Raises:
        S3Error: as :func:`gateway_s3.request.tags.parse_tagging_header`.
    """
    value = request.header(HEADER)
    tags = parse_tagging_header(value) if value else _NONE
    return tags.pack() if tags.tags else b""


def tags_of_object(found: FoundObject) -> bytes:
    """The tags of an object, packed; empty: none."""
    return b"" if found.tags is None else found.tags.pack()


def count_header(call: Call, found: FoundObject) -> Headers:
    """The header with the number of an object's tags; none for none, or for a caller who may not
    read them."""
    if found.tags is None:
        return []
    permission = _READ if call.route.version is None else of_version(_READ)
    if not call.may_read_setting(permission):
        return []
    return [(b"x-amz-tagging-count", b"%d" % len(found.tags.tags))]


async def read_object_tags(backend: Backend, call: Call) -> Mapping[str, str]:
    """The tags that the body of a request gives an object.

    Raises:
        S3Error: MalformedXML; and as :func:`gateway_s3.request.tags.object_tags`.
    """
    return object_tags(await read_document(backend, call, parse_tagging)).as_mapping()


async def put_tagging(backend: Backend, call: Call) -> HttpResponse:
    """Set an object's tags in place of those that it has."""
    # Its absence is said before anything else.
    await find_object(backend, call.bucket, call.name, named=call.route.version)
    given = call.circumstances.given_tags
    if given is None:
        given = await read_object_tags(backend, call)
    tags = object_tags([*given.items()])
    found = await set_tags(
        backend, call.bucket, call.name, tags, call.route.version, call.cause(EventKind.TAG)
    )
    return HttpResponse(200, version_headers(found.version))


async def get_tagging(backend: Backend, call: Call) -> HttpResponse:
    """Show an object's tags."""
    found = await find_object(backend, call.bucket, call.name, named=call.route.version)
    document = configuration(tagging_tree(found.tags or _NONE))
    return xml_response(document, version_headers(found.version))


async def delete_tagging(backend: Backend, call: Call) -> HttpResponse:
    """Remove an object's tags; 204 also where it has none."""
    found = await set_tags(
        backend, call.bucket, call.name, None, call.route.version, call.cause(EventKind.UNTAG)
    )
    return HttpResponse(204, version_headers(found.version))
