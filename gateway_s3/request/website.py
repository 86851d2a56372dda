"""Requests to a bucket that is a website: which key is shown, and where browsers are sent. Pure.

Source: Amazon S3 User Guide, "Hosting a static website", "Configuring a webpage redirect".
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote_from_bytes

from common.data_classes import dataclass
from common.format.configurations import (
    REPLACES_KEY,
    REPLACES_PREFIX,
    Website,
    WebsiteRedirect,
)

MOVED: Final = 301


@dataclass(frozen=True, slots=True)
class Sent:
    """A redirect to answer with. ``location``: as its header has it."""

    status: int
    location: bytes


def index_key(website: Website, key: bytes) -> bytes:
    """The key of what is shown for a path: a directory's is that of its index."""
    return key + website.index.encode("utf-8") if not key or key.endswith(b"/") else key


def redirect_of(website: Website, key: bytes, *, error: int, scheme: str, host: str) -> Sent | None:
    """Return where the first redirect that fits sends a request; None: none fits.

    Args:
        key: of the request's path.
        error: the status that would be answered; 0 before that is known.
        scheme: of the request.
        host: of the request, with its port.
    """
    if website.all_host:
        return Sent(MOVED, _url(website.all_protocol or scheme, website.all_host, key))
    for rule in website.redirects:
        if rule.error == error and key.startswith(rule.prefix.encode("utf-8")):
            url = _url(rule.protocol or scheme, rule.host or host, _replaced(rule, key))
            return Sent(rule.status, url)
    return None


def _replaced(rule: WebsiteRedirect, key: bytes) -> bytes:
    put = rule.key.encode("utf-8")
    if rule.replaces == REPLACES_KEY:
        return put
    if rule.replaces == REPLACES_PREFIX:
        return put + key[len(rule.prefix.encode("utf-8")) :]
    return key


def _url(scheme: str, host: str, key: bytes) -> bytes:
    return f"{scheme}://{host}/".encode("latin-1") + path_of(key)


def path_of(key: bytes) -> bytes:
    """A key as the path of a URL, without its first slash; nothing in it ends a header."""
    return quote_from_bytes(key, safe="/-_.~!$&'()*+,;=:@").encode("ascii")
