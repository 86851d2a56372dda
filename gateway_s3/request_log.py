"""The facts of one request for the line of an access log that it may get.

Source: docs/s3-compatibility.md, "Access logs".
"""

from __future__ import annotations

import trio

from common.data_classes import dataclass
from common.http.records import HttpRequest, HttpResponse
from gateway.access_log import AccessLogs
from gateway.principals import Bucket, KeyHolder, Principal
from gateway_s3.auth.circumstances import arn_of
from gateway_s3.auth.sigv4 import Verified
from gateway_s3.log_line import LogLine, format_line, operation_of
from gateway_s3.request.router import Route


@dataclass(slots=True)
class RequestLog:
    """A request on its way. ``began``: by the monotonic clock; ``at_s``: unix seconds. What is None
    has not been found out yet. ``code``: of an error. ``is_website``: a page was asked for."""

    began: float
    at_s: float
    bucket: Bucket | None = None
    route: Route | None = None
    principal: Principal | None = None
    verified: Verified | None = None
    code: str = ""
    is_website: bool = False


def note(
    logs: AccessLogs,
    known: RequestLog,
    request: HttpRequest,
    response: HttpResponse,
    request_id: str,
    host_id: str,
    turned_s: float,
    sent: int,
) -> None:
    """Log a request whose answer has been sent, where its bucket is logged.

    Args:
        turned_s: from its head to the answer's.
        sent: bytes of the answer's body.
    """
    bucket, route = known.bucket, known.route
    if bucket is None or route is None:
        return
    rules = bucket.logging
    if rules is None:
        return
    headers = dict(response.headers)
    line = LogLine(
        owner=bucket.owner.tenant_id.hex(),
        bucket=bucket.name,
        at_s=known.at_s,
        address=request.remote.rpartition(":")[0].strip("[]"),
        requester=_requester(known.principal),
        request_id=request_id,
        operation=_operation(known, request, route),
        key=route.key or None,
        method=request.method,
        target=request.target,
        status=response.status,
        code=known.code,
        sent=sent,
        size=_size(request, response, headers),
        took_s=trio.current_time() - known.began,
        turned_s=turned_s,
        referrer=_text(request.header(b"referer")),
        agent=_text(request.header(b"user-agent")),
        version=_text(headers.get(b"x-amz-version-id")),
        host_id=host_id,
        signature=_signature(known),
        authentication=_authentication(known),
        host=_text(request.header(b"host")),
    )
    logs.add(bucket, rules, format_line(line), known.at_s)


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode("latin-1")


def _operation(known: RequestLog, request: HttpRequest, route: Route) -> str:
    if known.is_website:
        return f"WEBSITE.{request.method}.OBJECT"
    operation = route.operation
    return operation_of(
        operation.name, request.method, operation.selectors, is_object=bool(route.key)
    )


def _requester(principal: Principal | None) -> str:
    if not isinstance(principal, KeyHolder):
        return ""
    caller = principal.caller
    return (caller.account if caller.is_account else arn_of(caller)) or ""


def _is_signed(known: RequestLog) -> bool:
    return isinstance(known.principal, KeyHolder) and known.verified is not None


def _signature(known: RequestLog) -> str:
    if not _is_signed(known):
        return ""
    assert known.verified is not None
    return "SigV4" if known.verified.scope else "SigV2"


def _authentication(known: RequestLog) -> str:
    if not _is_signed(known):
        return ""
    assert known.verified is not None
    return "QueryString" if known.verified.presigned else "AuthHeader"


def _size(request: HttpRequest, response: HttpResponse, headers: dict[bytes, bytes]) -> int | None:
    """The size of the object that was read or written; None where there is none."""
    if request.method in {"GET", "HEAD"} and b"etag" in headers and response.status < 300:
        total = headers.get(b"content-range", b"").rpartition(b"/")[2]
        text = total or headers.get(b"content-length", b"")
        return int(text) if text.isdigit() else None
    if request.method == "PUT" and response.status < 300 and b"etag" in headers:
        text = request.header(b"x-amz-decoded-content-length") or b""
        return int(text) if text.isdigit() else request.body.length
    return None
