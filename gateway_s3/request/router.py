"""Routing: the operation that a request asks for, and its resource.

Pure: from method, host, path, query and headers. The rule throughout: a request that asks for more
than is implemented gets 501 NotImplemented, and is never carried out as something plainer.

Source: Amazon S3 API Reference; User Guide, "Virtual hosting of buckets".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from common.data_classes import dataclass
from common.http.records import HttpRequest
from gateway.versions import VersionName
from gateway_s3 import errors
from gateway_s3.errors import S3Error
from gateway_s3.request.header_rules import check_headers
from gateway_s3.request.names import check_key
from gateway_s3.request.operations import OPERATIONS, SUBRESOURCES, Operation, Scope
from gateway_s3.request.presigned import lift_headers
from gateway_s3.request.query import Query, decode_percent
from gateway_s3.request.version_ids import parse_version_id
from gateway_s3.request.virtual_hosts import NOT_SET_UP, check_style


@dataclass(frozen=True, slots=True)
class Route:
    """The operation that a request asks for, and its resource.

    ``bucket``: as in the path or host, NOT yet checked against the rules for bucket names (an
    impossible name is of a bucket that does not exist, but for CreateBucket); empty for
    the service. ``key``: decoded, UTF-8 of 1..1024 bytes; empty but for objects. ``by_host``: the
    bucket is in the host, and the path is of the key alone. ``version``: that ``versionId`` names.
    """

    operation: Operation
    bucket: str
    key: bytes
    query: Query
    by_host: bool = False
    version: VersionName | None = None


@dataclass(frozen=True, slots=True)
class Resource:
    """The resource that the host and path name, not yet checked."""

    scope: Scope
    bucket: str
    key: bytes
    by_host: bool = False


def route(request: HttpRequest, domains: Sequence[str]) -> Route:
    """Decide what a request asks for.

    Args:
        request: its body is not touched; ``x-amz-`` parameters of a presigned URL are added to its
            headers, which S3 takes them for.
        domains: host names that buckets are subdomains of, in lower case, without port.

    Raises:
        S3Error: NotImplemented, MethodNotAllowed, InvalidURI, InvalidArgument, KeyTooLongError,
            or what :func:`gateway_s3.request.header_rules.check_headers` raises.
    """
    query = Query(request.query)
    lift_headers(request, query)
    resource = locate(request, domains)
    operation = _operation(request, resource.scope, query)
    by_host = bool(resource.bucket) and request.path == b"/"
    check_style(request, operation, query, by_host=by_host)
    if not operation.implemented:
        raise S3Error(errors.NOT_IMPLEMENTED, Operation=operation.name)
    _check_parameters(operation, query)
    check_headers(request, operation.name)
    if resource.scope is Scope.OBJECT:
        check_key(resource.key)
    version = None
    if "versionId" in operation.parameters and "versionId" in query:
        version = parse_version_id(query.get("versionId") or "", "versionId")
    return Route(operation, resource.bucket, resource.key, query, resource.by_host, version)


def locate(request: HttpRequest, domains: Sequence[str]) -> Resource:
    """The bucket and key that a request names, by its host (virtual-host style) or its path.

    The path is split before it is decoded, so ``%2F`` in the first segment is part of a
    (then impossible) bucket name and never a separator.

    Raises:
        S3Error: InvalidURI.
    """
    path = request.path
    if path[:1] != b"/":
        if path == b"*" and request.method == "OPTIONS":
            return Resource(Scope.SERVICE, "", b"")
        raise S3Error(errors.INVALID_URI)
    bucket = bucket_of_host(request.header(b"host") or b"", domains)
    by_host = bucket is not None
    if bucket is None:
        name, _, rest = path[1:].partition(b"/")
        if not name:
            if rest:
                raise S3Error(errors.INVALID_BUCKET_NAME, BucketName="")
            return Resource(Scope.SERVICE, "", b"")
        try:
            bucket = decode_percent(name).decode("utf-8")
        except UnicodeDecodeError:
            raise S3Error(errors.INVALID_URI) from None
    else:
        rest = path[1:]
    if not rest:
        return Resource(Scope.BUCKET, bucket, b"", by_host)
    return Resource(Scope.OBJECT, bucket, decode_percent(rest), by_host)


def bucket_of_host(host: bytes, domains: Sequence[str]) -> str | None:
    """The bucket in a host name; None: the host names none.

    A name may end in the root's dot, and its port may be empty (RFC 3986, 3.2.2 and 3.2.3): a
    host that is mistaken for another makes the first segment of a key a bucket.

    Raises:
        S3Error: InvalidURI: not ASCII, or an empty label before a domain.
    """
    if not domains:
        return None
    try:
        name = host.decode("ascii").lower()
    except UnicodeDecodeError:
        raise S3Error(errors.INVALID_URI) from None
    head, colon, port = name.rpartition(":")
    if colon and (not port or port.isdigit()):
        name = head
    name = name.removesuffix(".")
    fits = [domain for domain in domains if name.endswith("." + domain) or name == domain]
    if not fits:
        return None
    longest = max(fits, key=len)
    if name == longest:
        return None
    bucket = name[: -len(longest) - 1]
    if not bucket:
        raise S3Error(errors.INVALID_URI)
    return bucket


def _operation(request: HttpRequest, scope: Scope, query: Query) -> Operation:
    """The row of the table that a request fits best."""
    subresources = [
        name
        for name in (raw_name.decode("utf-8", "replace") for raw_name, _ in query)
        if name in SUBRESOURCES
    ]
    if len(subresources) > 1:
        raise S3Error(
            errors.INVALID_ARGUMENT,
            "Conflicting query string parameters: " + ", ".join(sorted(set(subresources))),
            ArgumentName="ResourceType",
            ArgumentValue=subresources[0],
        )
    rows = _ROWS if query.pairs else _ROWS_WITHOUT_QUERY
    for operation in rows.get((scope, request.method), ()):
        if subresources and subresources[0] not in operation.selectors:
            continue
        if operation.header is not None and request.header(operation.header) is None:
            continue
        if not all(name in query for name in operation.required):
            continue
        if all(_selected(selector, query) for selector in operation.selectors):
            return operation
    if subresources:
        # The subresource is known, but not with this method or in this combination.
        raise S3Error(errors.NOT_IMPLEMENTED, Resource=subresources[0])
    message = None
    if scope is Scope.SERVICE:
        message = f"{errors.METHOD_NOT_ALLOWED.message} {NOT_SET_UP}"
    raise S3Error(errors.METHOD_NOT_ALLOWED, message, Method=request.method)


def _selected(selector: str, query: Query) -> bool:
    name, equals, value = selector.partition("=")
    if not equals:
        return name in query
    return query.get(name) == value


def _check_parameters(operation: Operation, query: Query) -> None:
    """Refuse parameters that could mean something we do not do.

    A parameter without a value has the form of a subresource (``?something``): one that we have
    never heard of is refused too. One with a value that S3 does not know either is ignored, as
    S3 does, and so are a client's own (``x-...``) and those of other operations, unless they say
    which bytes or rows are meant.
    """
    selectors = {selector.partition("=")[0] for selector in operation.selectors}
    seen: set[str] = set()
    for raw_name, value in query:
        name = raw_name.decode("utf-8", "replace")
        known = name in selectors or name in operation.parameters
        if known and name in seen:
            raise S3Error(
                errors.INVALID_ARGUMENT,
                "A parameter is given more than once.",
                ArgumentName=name,
            )
        seen.add(name)
        if known or name[:2].lower() == "x-":
            continue
        if _is_meant(name, operation) or (not value and name not in _EVERY_PARAMETER):
            raise S3Error(errors.NOT_IMPLEMENTED, Parameter=name[:255])


def _is_meant(name: str, operation: Operation) -> bool:
    """Return whether an operation that does not understand a parameter would do something else than
    is asked for: write or delete another version or the whole for a part, or list otherwise."""
    if operation.method not in {"GET", "HEAD"}:
        return name in {"versionId", "partNumber", "select-type"}
    return (name, operation.scope) in {
        ("list-type", Scope.BUCKET),
    }


_EVERY_PARAMETER: Final = frozenset().union(
    {"bucket-region", "versionId", "partNumber", "list-type", "select-type"},
    *(operation.parameters for operation in OPERATIONS),
)
"""Parameters that some operation of S3 understands."""


def _rows(operations: Iterable[Operation]) -> dict[tuple[Scope, str], tuple[Operation, ...]]:
    """The rows by what is plain in a request, the most particular first."""
    rows: dict[tuple[Scope, str], list[Operation]] = {}
    for operation in operations:
        rows.setdefault((operation.scope, operation.method), []).append(operation)
    return {
        place: tuple(sorted(found, key=lambda each: -each.weight)) for place, found in rows.items()
    }


_ROWS: Final = _rows(OPERATIONS)
_ROWS_WITHOUT_QUERY: Final = _rows(
    operation for operation in OPERATIONS if not (operation.selectors or operation.required)
)
"""The rows that a request without parameters can fit: few of all."""
