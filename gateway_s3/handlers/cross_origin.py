"""Answers to browsers about requests across origins: the preflight request, and the headers of the
answers to those that it asked for.

A preflight request proves nothing and does nothing to the bucket: the rules alone decide it, for
every caller.

Source: Amazon S3 API Reference, "OPTIONS object"; docs/s3-compatibility.md, "Tags and CORS".
"""

from __future__ import annotations

from collections.abc import Sequence

from common.errors import AlvearyError
from common.format.configurations import OriginRule, unpack_origin_rules
from common.http.records import Headers, HttpRequest, HttpResponse
from gateway.principals import Bucket
from gateway_s3.backend import Backend
from gateway_s3.handlers.configurations import CORS
from gateway_s3.request.cross_origin import (
    allowing_headers,
    matching_rule,
    preflight_headers,
    read_cross_request,
)
from gateway_s3.request.operations import Scope


async def answer_preflight(
    backend: Backend, request: HttpRequest, bucket_name: str, scope: Scope
) -> HttpResponse:
    """Say which requests of a page the bucket's rules allow.

    Raises:
        S3Error: as :func:`gateway_s3.request.cross_origin.preflight_headers`.
        Unavailable: no coordinator answers, or too many names are asked for.
    """
    asked = read_cross_request(request)
    bucket = None if asked is None else await backend.owners.find(bucket_name)
    rules = None if bucket is None else _rules(bucket)
    kind = "OBJECT" if scope is Scope.OBJECT else "BUCKET"
    return HttpResponse(200, preflight_headers(asked, rules, kind, exists=bucket is not None))


async def answer_headers(
    backend: Backend, request: HttpRequest, bucket_name: str, bucket: Bucket | None
) -> Headers:
    """The headers that an answer to a page's request gets, good or not; none where no rule allows
    it, or the rules cannot be read now: then the browser keeps the answer from the page.

    Args:
        bucket: where it is at hand.
    """
    asked = read_cross_request(request)
    if asked is None:
        return []
    try:
        found = bucket or await backend.owners.find(bucket_name)
        rules = None if found is None else _rules(found)
    except AlvearyError as error:
        backend.log.warning("origin_rules_unknown", bucket=bucket_name[:63], reason=error.reason)
        return []
    rule = None if rules is None else matching_rule(rules, asked)
    return [] if rule is None else allowing_headers(rule, asked)


def _rules(bucket: Bucket) -> Sequence[OriginRule] | None:
    body = bucket.settings.document(CORS)
    return None if body is None else unpack_origin_rules(body).rules
