"""Requests that a page of another origin makes (CORS): the rule of the bucket that allows one, and
the headers that say so to browsers. Pure.

Source: Amazon S3 User Guide, "Using cross-origin resource sharing (CORS)"; the WHATWG's Fetch
standard, "HTTP CORS protocol".
"""

from __future__ import annotations

from collections.abc import Sequence

from common.data_classes import dataclass
from common.format.configurations import OriginRule
from common.http.records import Headers, HttpRequest
from gateway_s3 import errors
from gateway_s3.errors import S3Error

_VARY = b"Origin, Access-Control-Request-Headers, Access-Control-Request-Method"
_NOT_ALLOWED = (
    "CORSResponse: This CORS request is not allowed. This is usually because the evalution of "
    "Origin, request method / Access-Control-Request-Method or Access-Control-Request-Headers are "
    "not whitelisted by the resource's CORS spec."
)


@dataclass(frozen=True, slots=True)
class CrossRequest:
    """The words of a browser about a request across origins. ``method``: of the request that is
    asked for, or of this one; ``names_method``: the browser named it; ``headers``: those that it
    wants to send, in lower case."""

    origin: str
    method: str
    names_method: bool
    headers: tuple[str, ...]


def read_cross_request(request: HttpRequest) -> CrossRequest | None:
    """Read what a browser says. None: the request has no ``Origin``, so it is none of this kind."""
    origin = request.header(b"origin")
    if not origin:
        return None
    method = request.header(b"access-control-request-method")
    headers = b",".join(request.all(b"access-control-request-headers"))
    return CrossRequest(
        origin.decode("latin-1"),
        request.method if method is None else method.decode("latin-1"),
        method is not None,
        tuple(
            name for each in headers.decode("latin-1").split(",") if (name := each.strip().lower())
        ),
    )


def matching_rule(rules: Sequence[OriginRule], asked: CrossRequest) -> OriginRule | None:
    """Return the first rule that allows a request: its origin, its method and all its headers."""
    for rule in rules:
        if (
            asked.method in rule.methods
            and any(_fits(pattern, asked.origin) for pattern in rule.origins)
            and all(
                any(_fits(pattern.lower(), name) for pattern in rule.headers)
                for name in asked.headers
            )
        ):
            return rule
    return None


def _fits(pattern: str, text: str) -> bool:
    """Return whether a text is a pattern's, in which one ``*`` stands for any characters."""
    before, star, after = pattern.partition("*")
    if not star:
        return text == pattern
    return (
        len(text) >= len(before) + len(after) and text.startswith(before) and text.endswith(after)
    )


def allowing_headers(rule: OriginRule, asked: CrossRequest) -> Headers:
    """The headers that let a browser hand an answer to the page."""
    everyone = "*" in rule.origins
    headers = [
        (b"access-control-allow-origin", b"*" if everyone else asked.origin.encode("latin-1")),
        (b"access-control-allow-methods", ", ".join(rule.methods).encode("ascii")),
    ]
    if asked.headers:
        headers.append(
            (b"access-control-allow-headers", ", ".join(asked.headers).encode("latin-1"))
        )
    if rule.exposed:
        headers.append(
            (b"access-control-expose-headers", ", ".join(rule.exposed).encode("latin-1"))
        )
    if rule.max_age_s is not None:
        headers.append((b"access-control-max-age", b"%d" % rule.max_age_s))
    if not everyone:
        headers.append((b"access-control-allow-credentials", b"true"))
    headers.append((b"vary", _VARY))
    return headers


def preflight_headers(
    asked: CrossRequest | None, rules: Sequence[OriginRule] | None, kind: str, *, exists: bool
) -> Headers:
    """The headers of the answer to a preflight request.

    Args:
        asked: None: the request has no ``Origin``.
        rules: of the bucket; None: it has none.
        kind: of the resource, for the error: ``BUCKET`` or ``OBJECT``.
        exists: there is such a bucket.

    Raises:
        S3Error: BadRequest: something is not said; AccessForbidden: no rule allows it.
    """
    if asked is None:
        raise S3Error(errors.BAD_REQUEST, "Insufficient information. Origin request header needed.")
    method = asked.method[:64]
    if rules is None:
        raise S3Error(
            errors.ACCESS_FORBIDDEN,
            "CORSResponse: CORS is not enabled for this bucket."
            if exists
            else "CORSResponse: Bucket not found",
            Method=method,
            ResourceType="BUCKET",
        )
    if not asked.names_method:
        raise S3Error(errors.BAD_REQUEST, "Invalid Access-Control-Request-Method: null")
    rule = matching_rule(rules, asked)
    if rule is None:
        raise S3Error(errors.ACCESS_FORBIDDEN, _NOT_ALLOWED, Method=method, ResourceType=kind)
    return allowing_headers(rule, asked)
