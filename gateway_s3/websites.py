"""Buckets as websites: pages, index and error documents, and redirects, for anonymous browsers.

A website has host names of its own (``website_domains`` in the gateway's configuration), with no
other operation under them. Its pages must be readable for everybody by the bucket's policy.

Source: docs/s3-compatibility.md, "Websites".
"""

from __future__ import annotations

import html
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from http import HTTPStatus
from typing import Final, TypeAlias

from common.errors import AlvearyError, Unavailable
from common.format.configurations import Website, unpack_website
from common.http.records import BytesBody, HttpRequest, HttpResponse
from common.reasons import Outage
from gateway.objects import ObjectBody
from gateway_s3 import errors
from gateway_s3.backend import Backend
from gateway_s3.errors import S3Error
from gateway_s3.handlers.configurations import WEBSITE
from gateway_s3.request.headers import REDIRECT
from gateway_s3.request.query import decode_percent
from gateway_s3.request.website import MOVED, Sent, index_key, path_of, redirect_of
from gateway_s3.translation import from_error
from gateway_s3.turns import REFUSAL_PAUSE_S, is_share_used

Fetch: TypeAlias = Callable[[HttpRequest, str, bytes], Awaitable[HttpResponse]]
"""Answers GET or HEAD of an object of a bucket as an anonymous caller's. Raises what it raises."""
_METHODS: Final = frozenset({"GET", "HEAD"})
_FACTS: Final = frozenset({b"host", b"referer", b"user-agent"})
"""Headers of a browser's request that policies may ask about, whichever object is shown."""
_KEPT: Final = _FACTS | {
    b"range",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
}
"""Those that mean something for a page."""
_FOUND: Final = 302


async def answer_website(
    backend: Backend, request: HttpRequest, bucket: str, fetch: Fetch, request_id: str
) -> HttpResponse:
    """Answer a request to the website of a bucket; every error as a page.

    Args:
        bucket: in the host name.

    Raises:
        Unavailable: ``client_gone`` only.
    """
    website: Website | None = None
    key = b""
    try:
        if request.method not in _METHODS:
            raise S3Error(errors.METHOD_NOT_ALLOWED)
        key = decode_percent(request.path[1:])
        found = await backend.owners.find(bucket)
        if found is None:
            raise S3Error(errors.NO_SUCH_BUCKET, BucketName=bucket[:63])
        body = found.settings.document(WEBSITE)
        if body is None:
            raise S3Error(errors.NO_SUCH_WEBSITE_CONFIGURATION, BucketName=bucket)
        website = unpack_website(body)
        sent = _redirect(website, request, key, 0)
        if sent is not None:
            return _sent(sent)
        return await _page(request, bucket, website, key, fetch)
    except AlvearyError as error:
        if isinstance(error, Unavailable) and error.reason == Outage.CLIENT_GONE:
            raise
        told = from_error(error)
        pause_s = REFUSAL_PAUSE_S if is_share_used(error) else 0.0
    if website is not None:
        sent = _redirect(website, request, key, told.status)
        if sent is not None:
            return _sent(sent)
        if website.error and 400 <= told.status < 500:
            try:
                # Of the whole document: what the browser knows of a page is of another object.
                bare = _asked(request, request.method, _FACTS)
                shown = await fetch(bare, bucket, website.error.encode("utf-8"))
            except AlvearyError as error:
                if isinstance(error, Unavailable) and error.reason == Outage.CLIENT_GONE:
                    raise
            else:
                shown.status = told.status
                return shown
    page = _error_page(request, told, request_id)
    page.pause_s = pause_s
    return page


async def _page(
    request: HttpRequest, bucket: str, website: Website, key: bytes, fetch: Fetch
) -> HttpResponse:
    """The page of a path; a directory whose slash is missing is sent to its own path."""
    shown = index_key(website, key)
    try:
        asked = _asked(request, request.method, _KEPT)
        return await _moved(await fetch(asked, bucket, shown))
    except AlvearyError as error:
        if shown != key or from_error(error).status not in {403, 404}:
            raise
        try:
            bare = _asked(request, "HEAD", _FACTS)
            await fetch(bare, bucket, index_key(website, key + b"/"))
        except AlvearyError:
            raise error from None
        return _sent(Sent(_FOUND, b"/" + path_of(key) + b"/"))


def _asked(request: HttpRequest, method: str, names: Collection[bytes]) -> HttpRequest:
    """The request for an object that a browser's request makes, over the same connection.

    Args:
        names: of the headers that it keeps.
    """
    headers = [(name, value) for name, value in request.headers if name in names]
    return replace(request, method=method, query=b"", headers=headers, body=BytesBody())


async def _moved(page: HttpResponse) -> HttpResponse:
    """The page, or the way to where its object says that it is."""
    for name, value in page.headers:
        if name == REDIRECT:
            if isinstance(page.body, ObjectBody):
                await page.body.aclose()
            return _sent(Sent(MOVED, value))
    return page


def _redirect(website: Website, request: HttpRequest, key: bytes, error: int) -> Sent | None:
    host = (request.header(b"host") or b"").decode("latin-1")
    scheme = "https" if request.secure else "http"
    return redirect_of(website, key, error=error, scheme=scheme, host=host)


def _sent(sent: Sent) -> HttpResponse:
    return HttpResponse(sent.status, [(b"location", sent.location)])


def _error_page(request: HttpRequest, error: S3Error, request_id: str) -> HttpResponse:
    """An error as a page, in S3's form. What the client sent is shown as text."""
    title = f"{error.status} {_phrase(error.status)}"
    facts = {"Code": error.code.code, "Message": error.message, **error.fields}
    rows = "".join(
        f"<li>{html.escape(name)}: {html.escape(str(value))}</li>\n"
        for name, value in [*facts.items(), ("RequestId", request_id)]
    )
    page = (
        f"<html>\n<head><title>{title}</title></head>\n<body>\n<h1>{title}</h1>\n<ul>\n{rows}"
        "</ul>\n<hr/>\n</body>\n</html>\n"
    ).encode("utf-8", "replace")
    headers = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-length", b"%d" % len(page)),
    ]
    return HttpResponse(error.status, headers, b"" if request.method == "HEAD" else page)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
